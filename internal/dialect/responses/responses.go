// Package responses is the dialect of OpenAI's Responses API.
package responses

import (
	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/wire"
)

// Dialect speaks the Responses API.
type Dialect struct {
	Keep dialect.Keep // of what is observed
}

// New returns the dialect.
func New() Dialect { return Dialect{} }

// Peek reads the model and whether to stream; see dialect.Peek.
func (Dialect) Peek(body []byte) (dialect.Peeked, error) { return dialect.Peek(body) }

// Observe returns the observer of one answer.
func (d Dialect) Observe() dialect.Observer {
	return &observer{closed: true, items: items{gather: dialect.NewGather(d.Keep)}}
}

// Error is the API's error body.
func (Dialect) Error(f *fault.Error) []byte { return dialect.OpenAIError(f) }

// Ping is a comment: the API has no event for it that every client bears.
func (Dialect) Ping() wire.Event { return dialect.Comment() }
