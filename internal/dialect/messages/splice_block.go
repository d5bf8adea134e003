package messages

import (
	"encoding/json"
	"slices"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// block is a content block of one turn.
type block struct {
	raw    []byte // as it began
	kind   string
	name   string // of the tool that it calls
	mine   bool   // it calls one of the gateway's: the client does not see it
	closed bool
	index  int // where the client sees it

	grown     []field  // strings that deltas have brought, in the order of their first
	citations [][]byte // that deltas have brought
}

// field is a string of a block's. What is between its quotes is kept as it came,
// escapes and all: a signature is over the bytes, and an escape may be spread over
// two deltas.
type field struct {
	name string
	raw  []byte
}

func (s *splicer) newBlock(raw []byte) *block {
	b := &block{raw: slices.Clone(raw), kind: dialect.Text(dialect.Member(raw, "type"))}
	if b.kind == "tool_use" {
		b.name = dialect.Text(dialect.Member(raw, "name"))
		b.mine = s.mine(b.name)
	}
	return b
}

// again says that what begins is this block, which has not ended. A call of another name
// is another, whatever its id: whether the client sees it hangs on the name.
func (b *block) again(next *block) bool {
	c := contentOf(next.raw)
	return !b.closed && b.name == next.name && c.again(b.kind, dialect.Word(dialect.Member(b.raw, "id")))
}

// grow takes in a delta, and says how much of it is kept.
func (b *block) grow(delta []byte) (kept int) {
	switch dialect.Text(dialect.Member(delta, "type")) {
	case "text_delta":
		return b.join("text", dialect.Member(delta, "text"))
	case "thinking_delta":
		return b.join("thinking", dialect.Member(delta, "thinking"))
	case "signature_delta":
		return b.join("signature", dialect.Member(delta, "signature"))
	case "input_json_delta":
		return b.join("input", dialect.Member(delta, "partial_json"))
	case "compaction_delta":
		return b.join("content", dialect.Member(delta, "content")) + b.join("encrypted_content", dialect.Member(delta, "encrypted_content"))
	case "citations_delta":
		if c := dialect.Member(delta, "citation"); c != nil {
			b.citations = append(b.citations, slices.Clone(c))
			return len(c) + dialect.KeptCost
		}
	}
	return 0
}

func (b *block) join(name string, fragment []byte) (kept int) {
	if len(fragment) <= len(`""`) || fragment[0] != '"' {
		return 0
	}
	inner := fragment[1 : len(fragment)-1]
	for i := range b.grown {
		if b.grown[i].name == name {
			b.grown[i].raw = append(b.grown[i].raw, inner...)
			return len(inner)
		}
	}
	b.grown = append(b.grown, field{name, slices.Clone(inner)})
	return len(inner)
}

// whole is the block as the API takes it back: as it was said, but for the input of a
// call that is no object. input is what the model wrote, whatever it is.
func (b *block) whole() (raw, input []byte) {
	raw = b.raw
	for _, f := range b.grown {
		if f.name == "input" {
			input = []byte(dialect.Text(quoted(f.raw)))
			continue
		}
		raw = dialect.SetMember(raw, f.name, quoted(inside(dialect.Member(raw, f.name)), f.raw))
	}
	if len(b.citations) > 0 {
		list := dialect.Member(raw, "citations")
		if len(list) == 0 || list[0] != '[' {
			list = []byte("[]")
		}
		raw = dialect.SetMember(raw, "citations", dialect.Append(list, b.citations...))
	}
	if !b.calls() {
		return raw, nil
	}
	began := dialect.Member(raw, "input")
	switch {
	case input == nil:
		if input = slices.Clone(began); !isObject(began) {
			raw = dialect.SetMember(raw, "input", []byte("{}"))
		}
	case isObject(input):
		raw = dialect.SetMember(raw, "input", input)
	default:
		raw = dialect.SetMember(raw, "input", []byte("{}"))
	}
	return raw, input
}

// calls says that the block calls a tool, whoever runs it.
func (b *block) calls() bool {
	return b.kind == "tool_use" || b.kind == "server_tool_use" || b.kind == "mcp_tool_use"
}

func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' && json.Valid(value) }

func quoted(pieces ...[]byte) []byte {
	return slices.Concat([]byte{'"'}, slices.Concat(pieces...), []byte{'"'})
}

// inside is what stands between the quotes of a string; of any other value there is
// nothing.
func inside(value []byte) []byte {
	if len(value) < len(`""`) || value[0] != '"' {
		return nil
	}
	return value[1 : len(value)-1]
}

// tell makes of a turn's blocks what the splicer says of it. Blank texts are left out
// of what is sent again: the API makes them, but does not take them.
func tell(blocks []*block) (s dialect.Said) {
	var raw [][]byte
	for _, b := range blocks {
		whole, input := b.whole()
		if blankText(whole) {
			continue
		}
		raw = append(raw, whole)
		if b.kind != "tool_use" {
			continue
		}
		call := llm.ToolCall{ID: dialect.Text(dialect.Member(whole, "id")), Name: b.name, Arguments: input}
		if b.mine {
			s.Mine = append(s.Mine, call)
		} else {
			s.Others = append(s.Others, call)
		}
	}
	s.Raw = dialect.Array(raw...)
	return s
}
