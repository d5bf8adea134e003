package dialect

import "keybridge/internal/llm"

// What is remembered of an answer is bounded, whatever an upstream makes up.
const (
	maxCalls    = 256
	maxThoughts = 256
	maxWord     = 256 // bytes of a name, an id or an error's word
)

// Gather collects the calls and the reasoning of one answer for its turn.
type Gather struct {
	keep     Keep
	calls    []*Call
	thoughts []*Excerpt
}

// Call is one call that is being gathered.
type Call struct {
	ID, Name, Error string
	Hosted          bool
	Arguments       Excerpt
}

// NewGather returns what collects as much as is to be kept.
func NewGather(k Keep) Gather { return Gather{keep: k} }

// Reasons says that reasoning is to be kept: else nobody needs to look at it.
func (g *Gather) Reasons() bool { return g.keep.Reasoning }

// Quotes says that arguments are kept, and so may be what quotes them.
func (g *Gather) Quotes() bool { return g.keep.Arguments }

// Full says that no further call is told of. Those that come are to be counted by
// whoever charges for them, and else forgotten.
func (g *Gather) Full() bool { return len(g.calls) >= maxCalls }

// Call begins a call, which is nil if there were too many.
func (g *Gather) Call() *Call {
	if g.Full() {
		return nil
	}
	c := &Call{}
	if g.keep.Arguments {
		c.Arguments.Limit = g.keep.Limit
	}
	g.calls = append(g.calls, c)
	return c
}

// Called is the last call of this id, nil if there is none.
func (g *Gather) Called(id string) *Call {
	for i := len(g.calls) - 1; i >= 0 && id != ""; i-- {
		if g.calls[i].ID == id {
			return g.calls[i]
		}
	}
	return nil
}

// Thought begins a piece of reasoning, which is nil if none is kept, or there were too many.
func (g *Gather) Thought() *Excerpt {
	if !g.keep.Reasoning || len(g.thoughts) >= maxThoughts {
		return nil
	}
	x := &Excerpt{Limit: g.keep.Limit}
	g.thoughts = append(g.thoughts, x)
	return x
}

// Tell puts what was gathered into the turn. Pieces of reasoning that say nothing are
// left out.
func (g *Gather) Tell(t *llm.Turn) {
	if len(g.calls) > 0 {
		t.Calls = make([]llm.ToolCall, len(g.calls))
	}
	for i, c := range g.calls {
		t.Calls[i] = llm.ToolCall{ID: c.ID, Name: c.Name, Size: c.Arguments.Size, Hosted: c.Hosted, Error: c.Error}
		if kept := c.Arguments.Bytes(); len(kept) > 0 {
			t.Calls[i].Arguments = kept
		}
	}
	for _, x := range g.thoughts {
		if x.Size > 0 {
			t.Thoughts = append(t.Thoughts, llm.Thought{Text: x.Text(), Size: x.Size})
		}
	}
}

// Word reads a JSON string that is a name, an id or the like: its beginning, should it
// be longer than any is.
func Word(value []byte) string {
	if len(value) <= maxWord {
		return Text(value)
	}
	x := Excerpt{Limit: maxWord}
	x.Quoted(value)
	return x.Text()
}
