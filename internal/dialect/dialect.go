// Package dialect says what an API must know about itself so that the gateway's
// one loop can serve it: how to peek into a request, how to watch an answer, and
// how errors and keep-alives look. A dialect does no I/O.
package dialect

import (
	"time"

	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// Peeked is what one structural pass over a request body tells.
type Peeked struct {
	Model  string
	Stream bool

	// Session is what the body calls the conversation, Signal where it says so. It is
	// the client's word: unique to nobody.
	Session string
	Signal  Signal
	// Pins are the ids of what the provider keeps that the request names, those of
	// earlier answers first.
	Pins []string
	// Sealed says that the body holds what only the organization that made it can
	// read, Unkept that the provider is asked not to keep the answer.
	Sealed, Unkept bool
	CacheLife      time.Duration // how long the prompt is to be kept cached; zero: it does not say
	Tokens         int64         // an estimate of the prompt's

	system, turns []byte   // of the body
	latest        []uint32 // where the last elements of turns begin
	after         string   // the id of the answer that the request goes on from
}

// Keep says what a Dialect keeps of conversations for the record, besides names and
// numbers. The zero value keeps nothing.
type Keep struct {
	Prompt, Arguments, Reasoning bool
	Limit                        int // bytes of each piece
}

// Kind is what an event means to the gate that stands before the client.
type Kind uint8

// The kinds. An answer is committed at its first Content or End.
const (
	Preamble Kind = iota // nothing of the model's yet: may still be thrown away
	Content              // model output
	Failure              // the upstream's error, in the body of a 200
	End                  // the proper end of the answer
)

// Dialect is one API as the gateway sees it. Implementations are stateless and
// safe for concurrent use.
type Dialect interface {
	// Peek makes the one structural pass over a request body. Its error is a
	// *fault.Error that names what is wrong with the body.
	Peek(body []byte) (Peeked, error)
	// Observe returns the observer of one answer.
	Observe() Observer
	// Error is the JSON body that answers a request with an error of the
	// gateway, shaped as this API shapes its own. See Observer.Break for errors
	// after the commit.
	Error(*fault.Error) []byte
	// Ping is the event that keeps a silent stream alive.
	Ping() wire.Event
}

// Observer watches the events of one answer, blocking or streaming.
type Observer interface {
	Event(wire.Event) Kind
	// Turn is what is known so far.
	Turn() llm.Turn
	// Break is the event that ends a started stream with an error of the
	// gateway; it continues the numbering of the events seen.
	Break(*fault.Error) wire.Event
}

// Meterer is a dialect whose streams tell of their usage only if they are asked to.
type Meterer interface {
	// Meter asks for the usage of a stream whose client has not asked for it. Any other
	// request stays as it is, and asked is false.
	Meter(body []byte) (edited []byte, asked bool)
	// Unmeter takes out of an event what only a request that Meter has edited brings
	// about; show is false if nothing is left of it. The event is not changed. It stands
	// between what observes the upstream and a Splicer, and remembers nothing.
	Unmeter(e wire.Event) (shown wire.Event, show bool)
}

// Tooler is a dialect that can add tools to a conversation. All edits are surgical:
// what is not theirs keeps its bytes.
type Tooler interface {
	// Inject adds tools behind those that the request has, and returns the names of
	// those it has added: not those whose name the request uses itself, nor more than
	// the API takes. Where a request can carry none, none are, and body is returned.
	Inject(body []byte, tools []llm.ToolDef) (edited []byte, added []string, err error)
	// Splice returns what stands before the client of one exchange. mine says which
	// tools are the gateway's.
	Splice(mine func(name string) bool) Splicer
	// FollowUp is the request of the next turn: that of the last one with what the
	// model said in it and what the gateway's tools returned. With final the model is
	// asked to answer without another call.
	FollowUp(body []byte, s Step, final bool) ([]byte, error)
}

// Splicer stands before the client of one exchange and edits what it sees: several
// turns of the upstream become one answer, without the calls of the gateway's tools.
// As long as nothing had to be hidden every event is returned as it came.
type Splicer interface {
	// Event takes an event of the upstream's and returns those that the client sees.
	// What it returns is valid until the next call.
	Event(wire.Event) []wire.Event
	// Said is what the model has said in the turn whose last event was seen.
	Said() Said
	// End is called after each turn, behind Said; last says that no other follows. If
	// calls were hidden and the client got none of its own, the answer then ends as if
	// the model had ended it by itself.
	End(last bool) []wire.Event
}

// What a Splicer keeps of a streamed turn is bounded. Beyond that it forgets the turn,
// which is then Cut, and the rest goes by as it comes.
const (
	MostKept = 32 << 20 // bytes of one turn, about
	KeptCost = 256      // of keeping anything, besides its bytes
)

// Said is what the model has said in one turn.
type Said struct {
	ID     string         // the provider's id of the answer
	Mine   []llm.ToolCall // calls of the gateway's tools, in order
	Others []llm.ToolCall // calls of the client's tools
	Cut    bool           // the turn ended before the model was through: its calls may be incomplete
	// Bound says that Raw refers to what only the project that answered has, Sealed that
	// it holds what only that organization can read.
	Bound, Sealed bool
	// Container is the provider's id of what the turn's tools ran in; the next request
	// goes on there. "" if there is none.
	Container string
	// Refs are the ids, besides those of calls, by which a client may name parts of it.
	Refs []string
	// Raw is what the next request repeats, in the API's own form: the array of content
	// blocks of Messages, the assistant's message of Chat, the array of output items of
	// Responses.
	Raw []byte
}

// Step is one turn and what the gateway's tools returned for it.
type Step struct {
	Said    Said
	Results []llm.ToolResult // of Said.Mine, in its order
}

// Size is about how much memory the step takes.
func (s *Step) Size() int {
	n := KeptCost + len(s.Said.ID) + len(s.Said.Container) + len(s.Said.Raw)
	for _, calls := range [][]llm.ToolCall{s.Said.Mine, s.Said.Others} {
		for i := range calls {
			n += KeptCost + len(calls[i].ID) + len(calls[i].Name) + len(calls[i].Arguments)
		}
	}
	for _, id := range s.Said.Refs {
		n += KeptCost + len(id)
	}
	for i := range s.Results {
		for _, p := range s.Results[i].Parts {
			n += KeptCost + len(p.Text) + len(p.Data)
		}
	}
	return n
}

// Hidden is what a client has not seen of an exchange that has ended with calls of its
// own tools: the steps of all its turns, the last of them waiting for the client's results.
type Hidden struct {
	Steps []Step
	// Shown is the id that the client was shown for the answer, if a request may go on
	// from it; the provider knows the last turn by that of the last step.
	Shown string
}

// Recaller is a Tooler that puts back what a client has not seen.
type Recaller interface {
	// Recall looks for calls and answers in a request that find knows something hidden
	// of, by the id of a call of the client's or of an answer, and puts that back where
	// it belongs. What find does not know stays as it is.
	Recall(body []byte, find func(id string) *Hidden) ([]byte, error)
}
