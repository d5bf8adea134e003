// Package messages is the dialect of Anthropic's Messages API.
package messages

import (
	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/wire"
)

// Dialect speaks the Messages API.
type Dialect struct {
	Keep dialect.Keep // of what is observed
}

// New returns the dialect.
func New() Dialect { return Dialect{} }

// Peek reads the model and whether to stream; see dialect.Peek.
func (Dialect) Peek(body []byte) (dialect.Peeked, error) { return dialect.Peek(body) }

// Observe returns the observer of one answer.
func (d Dialect) Observe() dialect.Observer {
	return &observer{closed: true, blocks: blocks{gather: dialect.NewGather(d.Keep)}}
}

// Error is the API's error body.
func (Dialect) Error(f *fault.Error) []byte { return dialect.AnthropicError(f) }

// Ping is the API's own ping event.
func (Dialect) Ping() wire.Event {
	return dialect.SSE("ping", []byte(`{"type": "ping"}`), true)
}
