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
	name     string // of the tool that it calls
	call     string // the id of the call that it makes or answers
	answer   bool   // it answers a call
	said     bool   // it is of the model's
	taken    bool   // it is part of an exchange that is put back
	as       int    // which of those that were seen
	text     string // see words
	read     bool   // text is there
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
		case "name":
			it.name = dialect.Text(value)
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
// that it repeats. What it repeats stays as it is.
func (Dialect) Recall(body []byte, find func(id string) *dialect.Hidden) ([]byte, error) {
	space, object := split(body)
	if !dialect.Whole(object) {
		return body, nil
	}
	r := readRequest(object)
	var edits []edit
	var kept *dialect.Hidden // the provider has it
	if id := dialect.Text(r.previous); id != "" {
		if h := find(id); h != nil && len(h.Steps) > 0 {
			kept = h
			if last := h.Steps[len(h.Steps)-1].Said.ID; last != "" && last != id {
				at := cap(object) - cap(r.previous)
				edits = append(edits, edit{at, at + len(r.previous), dialect.Quote(last)})
			}
		}
	}
	items := itemsOf(object, r.input)
	edits = append(edits, recallItems(items, kept, find)...)
	if kept != nil {
		edits = append(edits, settle(object, &r, items, newPast(kept))...)
	}
	if len(edits) == 0 {
		return body, nil
	}
	return slices.Concat(space, apply(object, edits)), nil
}

func itemsOf(object, input []byte) (items []item) {
	if len(input) == 0 || input[0] != '[' {
		return nil
	}
	for _, raw := range elements(input) {
		it := itemOf(raw)
		it.from = cap(object) - cap(raw)
		it.to = it.from + len(raw)
		items = append(items, it)
	}
	return items
}

func recallItems(items []item, kept *dialect.Hidden, find func(id string) *dialect.Hidden) (edits []edit) {
	seen := map[*dialect.Hidden]bool{}
	for i := range items {
		for _, id := range []string{items[i].call, items[i].id} {
			if id == "" {
				continue
			}
			if h := find(id); h != nil && len(h.Steps) > 0 && !seen[h] {
				seen[h] = true
				edits = append(edits, newPast(h).restore(items, h == kept)...)
			}
		}
	}
	return edits
}

// settle answers the calls of an exchange that the provider has and in which nothing waits
// for the client: the model has made them when it was asked for no more, or was cut off.
func settle(object []byte, r *request, items []item, p *past) []edit {
	if len(p.others) > 0 || len(p.last) == 0 || len(r.input) == 0 || p.there(items) {
		return nil
	}
	array := dialect.Array(p.last...)
	at := cap(object) - cap(r.input)
	switch {
	case r.input[0] == '[' && len(items) == 0:
		return []edit{{at, at + len(r.input), array}}
	case r.input[0] == '[':
		array[len(array)-1] = ','
		return []edit{{items[0].from, items[0].from, array[1:]}}
	case r.input[0] == '"':
		return []edit{{at, at + len(r.input), dialect.Append(array, asked(r.input))}}
	}
	return nil
}
