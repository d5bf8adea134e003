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

	system, turns []byte // of the body
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

// Tooler is a dialect that can add tools to a conversation.
type Tooler interface {
	Inject(body []byte, tools []llm.ToolDef) ([]byte, error)
	Splice(mine func(name string) bool) Splicer
	FollowUp(body []byte, turn llm.Turn, results []llm.ToolResult) ([]byte, error)
}

// Splicer stands before the client of one exchange and may edit what it sees:
// several turns of the upstream become one answer.
type Splicer interface {
	Event(wire.Event) []wire.Event
	// End is called after each turn; last says that no other follows.
	End(turn llm.Turn, last bool) []wire.Event
}
