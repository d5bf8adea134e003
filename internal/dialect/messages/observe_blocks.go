package messages

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

// blocks follows the content of one answer for what is told of it: the calls, and the
// reasoning if that is kept. Of text it sees nothing but where it begins.
type blocks struct {
	gather dialect.Gather
	open   []writing // the API writes to one at a time; gather bounds how many there are
}

// writing is a block of a stream that deltas go on with.
type writing struct {
	index int64
	text  *dialect.Excerpt
	blank bool // it began with an empty object: the first delta takes its place

	block, id  string // the block's type, and its id if it is a call
	kind, name string // of the deltas, and of their member
	head       []byte // how those of the API begin
	member     string // name, as it stands behind that
}

func newWriting(index int64, c *content, text *dialect.Excerpt, thought bool) writing {
	w := writing{index: index, text: text, blank: !thought, kind: "input_json_delta", name: "partial_json"}
	w.block, w.id = dialect.Text(c.kind), dialect.Word(c.id)
	if thought {
		w.kind, w.name = "thinking_delta", "thinking"
	}
	w.head = fmt.Appendf(nil, `{"type":"content_block_delta","index":%d,"delta":{"type":%q,`, index, w.kind)
	w.member = `"` + w.name + `":`
	return w
}

// content is what is read of a block.
type content struct {
	kind, id, name, call      []byte
	text, thinking            []byte
	input, data, body, failed []byte
}

func contentOf(block []byte) (c content) {
	for parts := dialect.PartsOf(block); ; {
		name, v, ok := parts.Next()
		if !ok {
			return c
		}
		switch string(name) {
		case "type":
			c.kind = v
		case "id":
			c.id = v
		case "name":
			c.name = v
		case "tool_use_id":
			c.call = v
		case "text":
			c.text = v
		case "thinking":
			c.thinking = v
		case "input":
			c.input = v
		case "data":
			c.data = v
		case "content":
			c.body = v
		case "is_error":
			c.failed = v
		}
	}
}

// again says that the block begins anew which is open under its index, of this type and
// id: llama.cpp does that with what it sends last. One that says something is another.
func (c *content) again(kind, id string) bool {
	switch kind {
	case "text", "thinking":
	case "tool_use", "server_tool_use", "mcp_tool_use":
		if id == "" || dialect.Word(c.id) != id {
			return false
		}
	default:
		return false
	}
	return string(dialect.Spelled(c.kind)) == kind && !dialect.Says(c.text) && !dialect.Says(c.thinking) && !dialect.Says(c.input)
}

// start tells the start of a block that is still empty from one that has its whole
// content at once, such as redacted thinking or a server tool's result.
func (b *blocks) start(event []byte) dialect.Kind {
	index, block := indexed(event, "content_block")
	c := contentOf(block)
	if i := b.at(index); i < 0 || !c.again(b.open[i].block, b.open[i].id) {
		text, thought := b.add(&c)
		b.end(index) // an index that comes again means the later block
		if text != nil {
			b.open = append(b.open, newWriting(index, &c, text, thought))
		}
	}
	var said []byte
	switch string(c.kind) {
	case `"text"`:
		said = c.text
	case `"thinking"`:
		said = c.thinking
	case `"tool_use"`, `"server_tool_use"`:
		said = c.input
	default:
		return dialect.Content
	}
	if dialect.Says(said) {
		return dialect.Content
	}
	return dialect.Preamble
}

// all takes in the content of a whole answer.
func (b *blocks) all(list []byte) {
	if len(list) == 0 || list[0] != '[' {
		return
	}
	for parts := dialect.PartsOf(list); ; {
		_, block, ok := parts.Next()
		if !ok {
			return
		}
		c := contentOf(block)
		b.add(&c)
	}
}

// add takes in a block and returns the text that deltas would go on with, if any is
// looked at.
func (b *blocks) add(c *content) (text *dialect.Excerpt, thought bool) {
	switch kind := dialect.Text(c.kind); kind {
	case "text":
	case "tool_use", "server_tool_use", "mcp_tool_use":
		call := b.gather.Call()
		if call == nil {
			break
		}
		call.ID, call.Name, call.Hosted = dialect.Word(c.id), dialect.Word(c.name), kind != "tool_use"
		call.Arguments.Value(c.input)
		return &call.Arguments, false
	case "thinking":
		if text = b.gather.Thought(); text != nil {
			text.Quoted(c.thinking)
		}
		return text, true
	case "redacted_thinking":
		if x := b.gather.Thought(); x != nil {
			x.Limit = 0 // it is not for reading
			x.Quoted(c.data)
		}
	default:
		if strings.HasSuffix(kind, "_tool_result") {
			b.failed(c)
		}
	}
	return nil, false
}

// failed notes that a tool that the provider ran has failed.
func (b *blocks) failed(c *content) {
	why := ""
	if len(c.body) > 0 && c.body[0] == '{' {
		why = dialect.Word(dialect.Member(c.body, "error_code"))
	}
	if why == "" && string(c.failed) == "true" {
		why = "is_error"
	}
	if why == "" {
		return
	}
	if call := b.gather.Called(dialect.Word(c.call)); call != nil {
		call.Error = why
	}
}

// delta takes in a piece of a block that is looked at.
func (b *blocks) delta(event []byte) {
	if len(b.open) > 0 {
		b.grow(event)
	}
}

func (b *blocks) grow(event []byte) {
	for i := range b.open {
		if piece := b.open[i].usual(event); piece != nil {
			b.open[i].add(piece)
			return
		}
	}
	index, delta := indexed(event, "delta")
	i := b.at(index)
	if i < 0 {
		return
	}
	if w := &b.open[i]; string(dialect.Spelled(dialect.Member(delta, "type"))) == w.kind {
		w.add(dialect.Member(delta, w.name))
	}
}

// usual is the piece that a delta in the API's own form brings the block, nil of any
// other event. The API puts spaces before the last bracket.
func (w *writing) usual(event []byte) []byte {
	rest, ok := bytes.CutPrefix(event, w.head)
	if !ok {
		return nil
	}
	piece := dialect.Seek(rest, w.member)
	if piece == nil {
		return nil
	}
	// Nothing may stand before the name, nor behind the piece.
	if tail, ok := bytes.CutPrefix(rest[len(w.member)+len(piece):], []byte{'}'}); !ok || string(bytes.TrimLeft(tail, " ")) != "}" {
		return nil
	}
	return piece
}

func (w *writing) add(piece []byte) {
	if len(piece) <= len(`""`) {
		return
	}
	if w.blank {
		w.text.Reset()
	}
	w.blank = false
	w.text.Quoted(piece)
}

func (b *blocks) at(index int64) int {
	return slices.IndexFunc(b.open, func(w writing) bool { return w.index == index })
}

// stop ends a block.
func (b *blocks) stop(event []byte) {
	if len(b.open) > 0 {
		index, _ := indexed(event, "")
		b.end(index)
	}
}

// end lets go of the block that deltas go on with under this index, if there is one.
func (b *blocks) end(index int64) {
	b.open = slices.DeleteFunc(b.open, func(w writing) bool { return w.index == index })
}

// indexed reads an event of a block: which it is, and the named member.
func indexed(event []byte, name string) (index int64, value []byte) {
	for parts := dialect.PartsOf(event); ; {
		n, v, ok := parts.Next()
		if !ok {
			return index, value
		}
		switch string(n) {
		case "index":
			index = ordinal(v)
		case name:
			value = v
		}
	}
}

// ordinal reads a block's index. What is below zero is no place, but a name as good as any.
func ordinal(index []byte) int64 {
	if below, is := bytes.CutPrefix(index, []byte{'-'}); is {
		return -dialect.Count(below)
	}
	return dialect.Count(index)
}
