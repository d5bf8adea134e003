package responses

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// turn is what is known of the turn that the upstream is at.
type turn struct {
	later bool // it is not the first
	gone  bool // it went by in pieces, or was unreadable: nothing is known of it
	ended bool // its terminal event has been seen
	id    string

	items  [][]byte // as they were said to be done
	output []byte   // as the end has it
	status string
	usage  []byte

	// By the upstream's counting: whether the item at a place, or of an id, is hidden,
	// and where the client sees it.
	places map[int64]bool
	ids    map[string]bool
	shown  map[int64]int64

	held *wire.Event  // its end
	tail []wire.Event // what came after that

	kept int // how much of it, in bytes
}

// bound forgets a turn of which too much is kept, unless it is over.
func (t *turn) bound() {
	if t.kept > dialect.MostKept && t.held == nil {
		*t = turn{later: t.later, id: t.id, gone: true}
	}
}

func newTurn() *turn {
	return &turn{places: map[int64]bool{}, ids: map[string]bool{}, shown: map[int64]int64{}}
}

// take reads the response that ends the turn.
func (t *turn) take(response []byte) {
	t.ended, t.status = true, "completed"
	for parts := dialect.PartsOf(response); ; {
		name, value, ok := parts.Next()
		if !ok {
			return
		}
		switch string(name) {
		case "output":
			t.output = bytes.Clone(value)
		case "usage":
			t.usage = bytes.Clone(value)
		case "status":
			if status := dialect.Text(value); status != "" {
				t.status = status
			}
		case "error":
			if dialect.Says(value) {
				t.status = "failed"
			}
		}
	}
}

// said lists the items of the turn. Some upstreams leave them out of the end.
func (t *turn) said() [][]byte {
	if all := elements(t.output); len(all) > 0 {
		return all
	}
	return t.items
}

// hides says that an event belongs to an item that the client does not see.
func (t *turn) hides(f fields) bool {
	if f.id != nil {
		if hidden, known := t.ids[dialect.Text(f.id)]; known {
			return hidden
		}
	}
	i, ok := f.place()
	return ok && t.places[i]
}

// mostRefs is how many items of a turn can be found again by their ids.
const mostRefs = 256

// Said is what the model has said in the turn; see dialect.Splicer.
func (s *splicer) Said() dialect.Said {
	t := s.turn
	said := dialect.Said{ID: t.id, Raw: t.output, Cut: !t.ended || t.gone || t.status != "completed"}
	all := t.said()
	if len(elements(t.output)) == 0 {
		said.Raw = dialect.Array(all...)
	}
	items, answered := make([]item, 0, len(all)), map[string]bool{}
	for _, raw := range all {
		it := itemOf(raw)
		items = append(items, it)
		answered[it.call] = answered[it.call] || it.answer
	}
	for _, it := range items {
		note(&said, it)
		switch {
		case s.own(it.raw):
			said.Mine = append(said.Mine, callOf(it))
			continue
		case waits(it) && !answered[it.call]:
			said.Others = append(said.Others, callOf(it))
		}
		if it.id != "" && len(said.Refs) < mostRefs {
			said.Refs = append(said.Refs, it.id)
		}
	}
	// What is no JSON can be repeated to nobody.
	said.Cut = said.Cut || len(said.Mine) > 0 && !json.Valid(said.Raw)
	return said
}

// note tells what an item refers to that only some keys can read.
func note(said *dialect.Said, it item) {
	sealed := dialect.Says(dialect.Member(it.raw, "encrypted_content"))
	said.Sealed = said.Sealed || sealed
	said.Bound = said.Bound || it.kind == "reasoning" && !sealed || dialect.Says(dialect.Member(it.raw, "container_id"))
}

// waits says that an item is a call which the client is to answer. The provider's own
// have no id to answer by, or their answer beside them.
func waits(it item) bool {
	return it.call != "" && (strings.HasSuffix(it.kind, "_call") || it.kind == "mcp_approval_request")
}

func callOf(it item) llm.ToolCall {
	c := llm.ToolCall{ID: it.call, Name: dialect.Text(dialect.Member(it.raw, "name"))}
	arguments := dialect.Member(it.raw, "arguments")
	if arguments == nil {
		arguments = dialect.Member(it.raw, "input")
	}
	c.Arguments = []byte(dialect.Text(arguments))
	return c
}

// fields are what an event of a stream says about its place.
type fields struct {
	number, index  []byte
	item, response []byte
	id             []byte // of the item
}

func fieldsOf(data []byte) (f fields) {
	for parts := dialect.PartsOf(data); ; {
		name, value, ok := parts.Next()
		if !ok {
			return f
		}
		switch string(name) {
		case "sequence_number":
			f.number = value
		case "output_index":
			f.index = value
		case "item":
			f.item = value
		case "item_id":
			f.id = value
		case "response":
			f.response = value
		}
	}
}

// place is where the upstream has the item that an event is about.
func (f *fields) place() (int64, bool) {
	i, err := strconv.ParseInt(string(f.index), 10, 64)
	return i, err == nil && i >= 0
}
