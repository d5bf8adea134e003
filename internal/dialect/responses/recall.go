package responses

import (
	"cmp"
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

// edit puts other bytes in the place of those from one offset to another.
type edit struct {
	from, to int
	with     []byte
}

func apply(b []byte, edits []edit) []byte {
	slices.SortStableFunc(edits, func(x, y edit) int { return cmp.Compare(x.from, y.from) })
	var out []byte
	done := 0
	for _, e := range edits {
		out = append(append(out, b[done:e.from]...), e.with...)
		done = e.to
	}
	return append(out, b[done:]...)
}

// item is one of a request's input, or of an answer's output.
type item struct {
	from, to int // in the body
	raw      []byte
	kind     string
	id       string
	call     string // the id of the call that it makes or answers
	answer   bool   // it answers a call
	said     bool   // it is of the model's
	taken    bool   // it is part of an exchange that is put back
}

func itemOf(raw []byte) item {
	it := item{raw: raw}
	role, approves := "", ""
	for parts := dialect.PartsOf(raw); ; {
		name, value, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "type":
			it.kind = dialect.Text(value)
		case "id":
			it.id = dialect.Text(value)
		case "call_id":
			it.call = dialect.Text(value)
		case "approval_request_id":
			approves = dialect.Text(value)
		case "role":
			role = dialect.Text(value)
		}
	}
	switch it.kind {
	case "":
		it.kind = "message"
	case "mcp_approval_request":
		it.call = it.id
	case "mcp_approval_response":
		it.call = approves
	}
	it.answer = strings.HasSuffix(it.kind, "_output") || it.kind == "mcp_approval_response"
	it.said = !it.answer && (it.kind != "message" || role == "assistant")
	return it
}

// Recall puts back what the client has not seen; see dialect.Recaller. The client
// names an exchange by the id of its answer, by a call that it answers or by an item
// that it repeats.
func (Dialect) Recall(body []byte, find func(id string) *dialect.Hidden) ([]byte, error) {
	space, object := split(body)
	if !dialect.Whole(object) {
		return body, nil
	}
	r := readRequest(object)
	var edits []edit
	if id := dialect.Text(r.previous); id != "" {
		if h := find(id); h != nil && len(h.Steps) > 0 {
			if last := h.Steps[len(h.Steps)-1].Said.ID; last != "" && last != id {
				at := cap(object) - cap(r.previous)
				edits = append(edits, edit{at, at + len(r.previous), dialect.Quote(last)})
			}
		}
	}
	edits = append(edits, recallInput(object, &r, find)...)
	if len(edits) == 0 {
		return body, nil
	}
	return slices.Concat(space, apply(object, edits)), nil
}

func recallInput(object []byte, r *request, find func(id string) *dialect.Hidden) (edits []edit) {
	if len(r.input) == 0 || r.input[0] != '[' {
		return nil
	}
	var items []item
	for _, raw := range elements(r.input) {
		it := itemOf(raw)
		it.from = cap(object) - cap(raw)
		it.to = it.from + len(raw)
		items = append(items, it)
	}
	seen := map[*dialect.Hidden]bool{}
	for i := range items {
		for _, id := range []string{items[i].call, items[i].id} {
			if id == "" {
				continue
			}
			if h := find(id); h != nil && len(h.Steps) > 0 && !seen[h] {
				seen[h] = true
				edits = append(edits, restore(items, newPast(h), dialect.Says(r.previous))...)
			}
		}
	}
	return edits
}

// past is an exchange with all that the client has not seen of it.
type past struct {
	seen   []item   // what the client was shown, in order
	whole  [][]byte // all of it, with the results of the gateway's tools
	mine   map[string]bool
	others []string // the calls that wait for the client
	last   [][]byte // the results that belong to the last turn
}

func newPast(h *dialect.Hidden) *past {
	p := &past{mine: map[string]bool{}}
	for i := range h.Steps {
		s := &h.Steps[i]
		for _, c := range s.Said.Mine {
			p.mine[c.ID] = true
		}
		for _, c := range s.Said.Others {
			p.others = append(p.others, c.ID)
		}
		for _, raw := range elements(s.Said.Raw) {
			p.whole = append(p.whole, raw)
			if it := itemOf(raw); it.call == "" || !p.mine[it.call] {
				p.seen = append(p.seen, it)
			}
		}
		p.last = outputs(s)
		p.whole = append(p.whole, p.last...)
	}
	return p
}

// restore puts an exchange in the place of what the client repeats of it. Where the
// provider has it, only the results of its last turn are missing.
func restore(items []item, p *past, kept bool) []edit {
	answered := map[string]int{}
	for i, it := range slices.Backward(items) {
		switch {
		case it.call != "" && p.mine[it.call]:
			return nil // it is there already
		case it.answer:
			answered[it.call] = i
		}
	}
	first := len(items) // the first answer to a call of its last turn
	for _, id := range p.others {
		i, ok := answered[id]
		if !ok {
			return nil // a call without an answer is refused: what is there is left alone
		}
		first = min(first, i)
	}
	if !p.match(items) {
		if !kept || first == len(items) || len(p.last) == 0 {
			return nil
		}
		var with []byte
		for _, o := range p.last {
			with = append(append(with, o...), ',')
		}
		return []edit{{items[first].from, items[first].from, with}}
	}
	return p.replace(items)
}

func (p *past) replace(items []item) (edits []edit) {
	for i := range items {
		if !items[i].taken || items[i].raw == nil {
			continue
		}
		items[i].raw = nil // another exchange's turn is another's
		if edits == nil {
			array := dialect.Array(p.whole...)
			edits = append(edits, edit{items[i].from, items[i].to, array[1 : len(array)-1]})
			continue
		}
		edits = append(edits, edit{items[i-1].to, items[i].to, nil}) // with the comma before it
	}
	return edits
}

// match takes the items that repeat the exchange, and says whether there are any. One
// of them is known by its call, or by its id and what it says: not every provider's ids
// are unique. What stands beside it needs only the one or the other, as clients that
// leave nothing with the provider send no ids.
func (p *past) match(items []item) bool {
	used := make([]bool, len(p.seen))
	lo, hi := p.pair(items, used, 0, len(items), func(it, v *item) bool {
		return it.call != "" && it.call == v.call || it.id != "" && it.id == v.id && (it.kind == "item_reference" || it.like(v))
	})
	if hi < lo {
		return false
	}
	for lo > 0 && items[lo-1].said {
		lo--
	}
	for hi+1 < len(items) && items[hi+1].said {
		hi++
	}
	p.pair(items, used, lo, hi+1, func(it, v *item) bool {
		return it.id != "" && it.id == v.id || (it.id == "" || v.id == "") && it.like(v)
	})
	return true
}

// pair takes the items within bounds that are the same as one seen, and returns where
// the first and the last of them are.
func (p *past) pair(items []item, used []bool, from, to int, same func(it, v *item) bool) (lo, hi int) {
	lo, hi = to, from-1
	for i := from; i < to; i++ {
		for k := range p.seen {
			if !used[k] && !items[i].taken && items[i].said && same(&items[i], &p.seen[k]) {
				items[i].taken, used[k] = true, true
				lo, hi = min(lo, i), i
			}
		}
	}
	return lo, hi
}

// like says that two items say the same.
func (it *item) like(v *item) bool {
	switch {
	case it.kind != v.kind:
		return false
	case it.kind == "reasoning":
		sealed := dialect.Text(dialect.Member(it.raw, "encrypted_content"))
		return sealed == dialect.Text(dialect.Member(v.raw, "encrypted_content")) && (sealed != "" || it.id == v.id)
	case it.kind == "message":
		return words(it.raw) == words(v.raw)
	}
	return false
}

// words is the text of a message.
func words(raw []byte) string {
	content := dialect.Member(raw, "content")
	if len(content) > 0 && content[0] == '"' {
		return dialect.Text(content)
	}
	var b strings.Builder
	for _, part := range elements(content) {
		b.WriteString(dialect.Text(dialect.Member(part, "text")))
		b.WriteString(dialect.Text(dialect.Member(part, "refusal")))
	}
	return b.String()
}
