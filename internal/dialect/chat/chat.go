// Package chat is the dialect of OpenAI's Chat Completions API and of the many
// upstreams that speak it.
package chat

import (
	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/wire"
)

// Dialect speaks the Chat Completions API.
type Dialect struct {
	Keep dialect.Keep // of what is observed
}

// New returns the dialect.
func New() Dialect { return Dialect{} }

// Peek reads the model and whether to stream; see dialect.Peek.
func (Dialect) Peek(body []byte) (dialect.Peeked, error) { return dialect.Peek(body) }

// Observe returns the observer of one answer.
func (d Dialect) Observe() dialect.Observer {
	return &observer{closed: true, heard: heard{gather: dialect.NewGather(d.Keep)}}
}

// Error is the API's error body.
func (Dialect) Error(f *fault.Error) []byte { return dialect.OpenAIError(f) }

// Ping is a comment: the API has no event for it.
func (Dialect) Ping() wire.Event { return dialect.Comment() }
