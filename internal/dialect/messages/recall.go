package messages

import (
	"bytes"
	"slices"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// Recall puts back what the client has not seen; see dialect.Recaller. What the client
// itself says stays as it is.
func (Dialect) Recall(body []byte, find func(id string) *dialect.Hidden) ([]byte, error) {
	list := dialect.Member(body, "messages")
	r := recaller{find: find, there: map[named]bool{}, done: map[*dialect.Hidden]bool{}}
	for parts := dialect.PartsOf(list); ; {
		_, raw, ok := parts.Next()
		if !ok {
			break
		}
		r.add(raw)
	}
	for from, to := len(r.all), 0; from > 0; { // an id that stands twice means the later call
		if to, from = from-1, from-1; to == 0 || r.all[to-1].role != "assistant" {
			continue
		}
		for from > 0 && r.all[from-1].role == "assistant" {
			from--
		}
		r.restore(from, to)
	}
	if len(r.done) == 0 {
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
	there map[named]bool           // the calls that are in the request
	done  map[*dialect.Hidden]bool // what is put back
}

// named is what tells calls apart: an id alone may be another's.
type named struct{ id, name string }

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
			r.there[named{id, dialect.Text(dialect.Member(b, "name"))}] = true
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
func (r *recaller) restore(from, to int) {
	answer := r.all[to]
	h := r.known(answer)
	if h == nil || answer.role != "user" || answer.content[0] != '[' {
		return
	}
	last := &h.Steps[len(h.Steps)-1]
	places := r.begins(r.all[from:to], h, last)
	if len(places) == 0 {
		return
	}
	r.done[h] = true
	at, block := from+places[0].at, places[0].block
	blocks := make([][]byte, len(places))
	for i, p := range places {
		blocks[i] = r.all[from+p.at].blocks[p.block]
	}
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
	for i, turn := range woven(h, blocks) {
		begun.becomes = append(begun.becomes, message("assistant", dialect.Array(turn...)))
		if s := &h.Steps[i]; s != last {
			begun.becomes = append(begun.becomes, message("user", dialect.Array(results(s.Results)...)))
		}
	}
	if len(last.Results) > 0 {
		content := slices.Concat([]byte{'['}, bytes.Join(results(last.Results), []byte{','}), []byte{','}, answer.content[1:])
		answer.becomes = [][]byte{dialect.Replace(answer.raw, answer.content, content)}
	}
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
		if h == nil || len(h.Steps) == 0 || r.done[h] {
			continue
		}
		for i := range h.Steps {
			for _, c := range h.Steps[i].Said.Mine {
				if r.there[named{c.ID, c.Name}] {
					return nil
				}
			}
		}
		return h
	}
	return nil
}

// place is where a block of the request stands.
type place struct{ at, block int }

// begins lists the blocks of the assistant's messages from which on the client repeats the
// exchange; none if it does not, or has changed one of its calls. Clients may leave out
// blocks or change them, and messages before may have been the assistant's, too: it goes
// back from the calls for as long as blocks are known.
func (r *recaller) begins(run []*entry, h *dialect.Hidden, last *dialect.Step) []place {
	calls := map[string]*llm.ToolCall{}
	for i := range last.Said.Others {
		calls[last.Said.Others[i].ID] = &last.Said.Others[i]
	}
	var places []place
	end := -1
	for i, m := range run {
		for j, b := range m.blocks {
			if blankText(b) { // the API makes them, but does not take them
				continue
			}
			if c := calls[callID(b)]; c != nil {
				if !dialect.SameCall(c, dialect.Text(dialect.Member(b, "name")), dialect.Member(b, "input")) {
					return nil
				}
				end = len(places)
			}
			places = append(places, place{i, j})
		}
	}
	if end < 0 {
		return nil
	}
	var shown []string
	for _, p := range pastOf(h) {
		if !p.hidden {
			shown = append(shown, sign(p.raw))
		}
	}
	if len(places) <= len(shown) {
		return places
	}
	of := func(p place) []byte { return run[p.at].blocks[p.block] }
	begin := end
	for n := lastIndex(shown, sign(of(places[end]))); n >= 0 && begin > 0; {
		if n = lastIndex(shown[:n], sign(of(places[begin-1]))); n >= 0 {
			begin--
		}
	}
	return places[begin:]
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
