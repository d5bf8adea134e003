package messages

import (
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

// maxOpen bounds the blocks that are written to at once; the API writes to one.
const maxOpen = 64

// blocks follows the content of one answer for what is told of it: the calls, and the
// reasoning if that is kept. Of text it sees nothing but where it begins.
type blocks struct {
	gather dialect.Gather
	open   []writing
}

// writing is a block of a stream that deltas go on with.
type writing struct {
	index   int64
	text    *dialect.Excerpt
	began   bool // what the block began with still stands: the first delta takes its place
	thought bool
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

// start tells the start of a block that is still empty from one that has its whole
// content at once, such as redacted thinking or a server tool's result.
func (b *blocks) start(event []byte) dialect.Kind {
	var block []byte
	index := int64(0)
	for parts := dialect.PartsOf(event); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "index":
			index = dialect.Count(v)
		case "content_block":
			block = v
		}
	}
	c := contentOf(block)
	text, thought := b.add(&c)
	if text != nil && len(b.open) < maxOpen {
		b.open = append(b.open, writing{index: index, text: text, began: true, thought: thought})
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
	w := &b.open[0]
	if len(b.open) > 1 {
		i := b.at(dialect.Count(dialect.Member(event, "index")))
		if i < 0 {
			return
		}
		w = &b.open[i]
	}
	name := `"partial_json":`
	if w.thought {
		name = `"thinking":`
	}
	piece := dialect.Seek(event, name)
	if len(piece) <= len(`""`) {
		return
	}
	if w.began && !w.thought {
		w.text.Reset() // the input was an empty object until now
	}
	w.began = false
	w.text.Quoted(piece)
}

func (b *blocks) at(index int64) int {
	return slices.IndexFunc(b.open, func(w writing) bool { return w.index == index })
}

// stop ends a block.
func (b *blocks) stop(event []byte) {
	if len(b.open) == 0 {
		return
	}
	if i := b.at(dialect.Count(dialect.Member(event, "index"))); i >= 0 {
		b.open = slices.Delete(b.open, i, i+1)
	}
}
