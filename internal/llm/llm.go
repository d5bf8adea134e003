// Package llm holds the few nouns every dialect translates into: what a turn
// used, asked for and ended with. It knows no API and does no I/O.
package llm

import "sync"

// Usage counts tokens the way the ledger, the metrics and the price list read
// them. The parts of the input do not overlap: a provider's total input is
// Input + CacheRead + CacheWrite. Reasoning is a part of Output, never on top.
type Usage struct {
	Input      int64 // prompt tokens neither read from nor written to a cache
	Output     int64 // everything the model produced, reasoning included
	CacheRead  int64
	CacheWrite int64
	// CacheWriteLong is the part of CacheWrite that is kept for an hour, not for minutes.
	CacheWriteLong int64
	Reasoning      int64
}

// Add sums the usage of two turns.
func (u Usage) Add(v Usage) Usage {
	return Usage{
		Input:          u.Input + v.Input,
		Output:         u.Output + v.Output,
		CacheRead:      u.CacheRead + v.CacheRead,
		CacheWrite:     u.CacheWrite + v.CacheWrite,
		CacheWriteLong: u.CacheWriteLong + v.CacheWriteLong,
		Reasoning:      u.Reasoning + v.Reasoning,
	}
}

// Total is every token of the turn, each counted once.
func (u Usage) Total() int64 { return u.Input + u.CacheRead + u.CacheWrite + u.Output }

// Turn is what an observer has learned of one model answer so far. It is valid
// at any moment of the answer, also of one that was cut off.
type Turn struct {
	ID string // the provider's id of the answer
	// Container is the provider's id of what the answer's tools ran in, for requests
	// that go on there; "" if there is none.
	Container  string
	Model      string // the model the provider says answered
	Stop       string // the provider's stop or finish reason, in its own word
	Tier       string // the service tier the provider says it served in, in its own word
	Usage      Usage
	Reported   bool // the provider has reported a usage at all
	Complete   bool // the answer may end here: its terminal event (or the whole JSON body) has been seen
	Calls      []ToolCall
	Searches   int64       // of the web, which the provider ran and charges by their number
	Iterations []Iteration // the parts of Usage, where the provider accounts for them one by one
	Thoughts   []Thought   // the reasoning, as much as is kept
}

// Iteration is a part of a turn that the provider accounts for by itself.
type Iteration struct {
	Kind  string // in the provider's own word
	Model string // "" if it is the turn's
	Usage Usage
}

// Thought is a piece of a turn's reasoning.
type Thought struct {
	Text string // as much as is kept; "" if the provider hides it
	Size int    // of the whole piece, in bytes
}

// ToolCall is one call of a tool the model asked for.
type ToolCall struct {
	ID        string
	Name      string
	Arguments []byte // JSON as the model wrote it; of an observed call as much as is kept
	Size      int    // of an observed call: of all its arguments, in bytes
	Hosted    bool   // of an observed call: the provider runs the tool itself
	Error     string // of an observed call that the provider ran: why it failed, in its own word
}

// ToolResult answers one ToolCall.
type ToolResult struct {
	CallID  string
	Parts   []Part // none: the tool has said nothing
	IsError bool
}

// Part is a piece of a tool's result: a text, or, if MIME is set, an image.
type Part struct {
	Text string
	MIME string // image/png, image/jpeg, image/gif or image/webp
	Data string // the image in base64, as JSON carries it
}

// ToolDef describes a tool to be offered to the model.
type ToolDef struct {
	Name        string
	Description string
	Schema      []byte // JSON Schema of the arguments
	// Forms keeps what is made of a definition that is offered again and again, as long as
	// nothing of it changes; nil: each time anew.
	Forms *Forms
}

// Forms are a tool's definition as each API takes it.
type Forms struct{ made sync.Map }

// Form returns the definition as the API of this name takes it, built if it has not been
// asked for yet. Nobody may change it.
func (d *ToolDef) Form(api string, build func(*ToolDef) []byte) []byte {
	if d.Forms == nil {
		return build(d)
	}
	form, ok := d.Forms.made.Load(api)
	if !ok {
		form, _ = d.Forms.made.LoadOrStore(api, build(d))
	}
	return form.([]byte) //nolint:forcetypeassert // nothing else is stored
}
