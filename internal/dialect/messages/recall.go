package messages

import (
	"bytes"
	"slices"

	"keybridge/internal/dialect"
)

// Recall puts back what the client has not seen; see dialect.Recaller.
func (Dialect) Recall(body []byte, find func(id string) *dialect.Hidden) ([]byte, error) {
	list := dialect.Member(body, "messages")
	r := recaller{find: find, there: map[string]bool{}}
	for parts := dialect.PartsOf(list); ; {
		_, raw, ok := parts.Next()
		if !ok {
			break
		}
		r.add(raw)
	}
	edited := false
	for from, to := 0, 0; from < len(r.all); from = to {
		if to = from + 1; r.all[from].role != "assistant" {
			continue
		}
		for to < len(r.all) && r.all[to].role == "assistant" {
			to++
		}
		edited = to < len(r.all) && r.restore(from, to) || edited
	}
	if !edited {
		return body, nil
	}
	var messages []byte
	done := 0
	for _, m := range r.all {
		at := cap(list) - cap(m.raw)
		if len(m.becomes) > 0 { // else the comma before it goes, too
			messages = append(append(messages, list[done:at]...), bytes.Join(m.becomes, []byte{','})...)
		}
		done = at + len(m.raw)
	}
	return dialect.Replace(body, list, append(messages, list[done:]...)), nil
}

// recaller goes over the messages of a request.
type recaller struct {
	find  func(id string) *dialect.Hidden
	all   []*entry
	there map[string]bool // the ids of the calls that are in the request
}

// entry is a message of the request.
type entry struct {
	raw     []byte
	role    string
	content []byte
	blocks  [][]byte
	becomes [][]byte // the messages that take its place
}

func (r *recaller) add(raw []byte) {
	m := &entry{
		raw: raw, role: dialect.Text(dialect.Member(raw, "role")),
		content: dialect.Member(raw, "content"), becomes: [][]byte{raw},
	}
	r.all = append(r.all, m)
	if len(m.content) == 0 {
		return
	}
	if m.content[0] == '"' {
		m.blocks = [][]byte{slices.Concat([]byte(`{"type":"text","text":`), m.content, []byte{'}'})}
	}
	for parts := dialect.PartsOf(m.content); m.content[0] == '['; {
		_, b, ok := parts.Next()
		if !ok {
			break
		}
		m.blocks = append(m.blocks, b)
		if id := callID(b); id != "" {
			r.there[id] = true
		}
	}
}

func callID(b []byte) string {
	if dialect.Text(dialect.Member(b, "type")) != "tool_use" {
		return ""
	}
	return dialect.Text(dialect.Member(b, "id"))
}

// restore puts back what is hidden of the assistant's messages from, up to the
// client's answer to.
func (r *recaller) restore(from, to int) bool {
	answer := r.all[to]
	h := r.known(answer)
	if h == nil || answer.role != "user" || answer.content[0] != '[' {
		return false
	}
	last := &h.Steps[len(h.Steps)-1]
	at, block, mark := r.begins(r.all[from:to], h, last)
	if at < 0 {
		return false
	}
	at += from
	begun := r.all[at]
	begun.becomes = nil
	if block > 0 { // what is not of this exchange stays
		end := cap(begun.content) - cap(begun.blocks[block-1]) + len(begun.blocks[block-1])
		kept := slices.Concat(begun.content[:end], []byte{']'})
		begun.becomes = [][]byte{dialect.Replace(begun.raw, begun.content, kept)}
	}
	for _, m := range r.all[at+1 : to] {
		m.becomes = nil
	}
	for i := range h.Steps {
		s := &h.Steps[i]
		if s == last {
			begun.becomes = append(begun.becomes, message("assistant", marked(s.Said.Raw, mark)))
			break
		}
		begun.becomes = append(begun.becomes, message("assistant", s.Said.Raw), message("user", dialect.Array(results(s.Results)...)))
	}
	if len(last.Results) > 0 {
		content := slices.Concat([]byte{'['}, bytes.Join(results(last.Results), []byte{','}), []byte{','}, answer.content[1:])
		answer.becomes = [][]byte{dialect.Replace(answer.raw, answer.content, content)}
	}
	return true
}

// known is what is hidden of the calls that the client answers, unless it is there.
func (r *recaller) known(answer *entry) *dialect.Hidden {
	for _, b := range answer.blocks {
		if dialect.Text(dialect.Member(b, "type")) != "tool_result" {
			continue
		}
		id := dialect.Text(dialect.Member(b, "tool_use_id"))
		if id == "" {
			continue
		}
		h := r.find(id)
		if h == nil || len(h.Steps) == 0 {
			continue
		}
		for i := range h.Steps {
			for _, c := range h.Steps[i].Said.Mine {
				if r.there[c.ID] {
					return nil
				}
			}
		}
		return h
	}
	return nil
}

// begins finds the block with which the client begins to repeat the exchange in the
// assistant's messages, -1 if it does not. mark is the last cache breakpoint from there.
// Clients may leave out blocks or change them, and messages before may have been the
// assistant's, too: it goes back from the calls for as long as blocks are known.
func (r *recaller) begins(run []*entry, h *dialect.Hidden, last *dialect.Step) (at, block int, mark []byte) {
	calls := map[string]bool{}
	for _, c := range last.Said.Others {
		calls[c.ID] = true
	}
	shown := visible(h)
	type place struct{ at, block int }
	var places []place
	end := -1
	for i, m := range run {
		for j, b := range m.blocks {
			if blankText(b) { // not among what is put back
				continue
			}
			if calls[callID(b)] {
				end = len(places)
			}
			places = append(places, place{i, j})
		}
	}
	if end < 0 {
		return -1, 0, nil
	}
	of := func(p place) []byte { return run[p.at].blocks[p.block] }
	begin := 0
	if len(places) > len(shown) {
		begin = end
		for n := lastIndex(shown, sign(of(places[end]))); n >= 0 && begin > 0; {
			if n = lastIndex(shown[:n], sign(of(places[begin-1]))); n >= 0 {
				begin--
			}
		}
	}
	for _, p := range places[begin:] {
		if c := dialect.Member(of(p), "cache_control"); len(c) > 0 && c[0] == '{' {
			mark = c
		}
	}
	return places[begin].at, places[begin].block, mark
}

func blankText(b []byte) bool {
	return dialect.Text(dialect.Member(b, "type")) == "text" && blank(dialect.Text(dialect.Member(b, "text")))
}

func lastIndex(list []string, s string) int {
	for i, one := range slices.Backward(list) {
		if one == s {
			return i
		}
	}
	return -1
}

// visible are the signs of the blocks that the client has seen of the exchange.
func visible(h *dialect.Hidden) (signs []string) {
	for i := range h.Steps {
		mine := map[string]bool{}
		for _, c := range h.Steps[i].Said.Mine {
			mine[c.ID] = true
		}
		for parts := dialect.PartsOf(h.Steps[i].Said.Raw); ; {
			_, b, ok := parts.Next()
			if !ok {
				break
			}
			if id := callID(b); id == "" || !mine[id] {
				signs = append(signs, sign(b))
			}
		}
	}
	return signs
}

// sign tells blocks apart: by what clients cannot change.
func sign(b []byte) string {
	kind := dialect.Text(dialect.Member(b, "type"))
	for _, name := range [...]string{"id", "tool_use_id", "signature", "data", "text", "thinking", "content"} {
		if v := dialect.Text(dialect.Member(b, name)); v != "" {
			return kind + "\x00" + v
		}
	}
	return kind
}

// marked sets the client's cache breakpoint to the last block that may have one.
func marked(raw, mark []byte) []byte {
	if mark == nil {
		return raw
	}
	var last []byte
	for parts := dialect.PartsOf(raw); ; {
		_, b, ok := parts.Next()
		if !ok {
			break
		}
		switch dialect.Text(dialect.Member(b, "type")) {
		case "thinking", "redacted_thinking":
		default:
			last = b
		}
	}
	if last == nil {
		return raw
	}
	return dialect.Replace(raw, last, dialect.SetMember(last, "cache_control", mark))
}
