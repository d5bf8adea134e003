// Package wire cuts an answer's body into events without understanding what they
// say. Its one invariant: the raw bytes of all events, joined, are the body.
package wire

// Event is one piece of a body: a server-sent event with its blank line, a whole
// JSON document, or an opaque chunk. Raw is always set; Name and Data only for
// framings that have them.
//
// Raw and Data are valid until the next call of Reader.Next; keep a copy
// (Clone) of what must live longer.
type Event struct {
	Raw  []byte
	Name string // the SSE event field, "" if absent
	Data []byte // the joined data lines of an SSE event, or the whole JSON document; nil for comments, pings without data and opaque chunks
}

// Clone returns an event that owns its bytes.
func (e Event) Clone() Event {
	e.Raw = append([]byte(nil), e.Raw...)
	if e.Data != nil {
		e.Data = append([]byte(nil), e.Data...)
	}
	return e
}

// Framing says how a body is cut.
type Framing uint8

// The framings.
const (
	Opaque Framing = iota // whatever one Read returns
	SSE                   // server-sent events
	JSON                  // the whole body is one event
)
