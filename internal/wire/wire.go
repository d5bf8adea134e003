// Package wire cuts an answer's body into events without understanding what they
// say. Its one invariant: the raw bytes of all events, joined, are the body.
package wire

import "strings"

// Event is one piece of a body: a server-sent event with its blank line, a whole
// JSON document, or an opaque chunk. Name and Data are set only for framings that
// have them. Raw is empty in one case: the event that shows a JSON document whole
// after its bytes have gone by as chunks.
//
// Raw and Data are valid until the next call of Reader.Next; keep a copy
// (Clone) of what must live longer.
type Event struct {
	Raw  []byte
	Name string // the SSE event field, "" if absent
	Data []byte // the joined data lines of an SSE event, or the whole JSON document; nil for comments, pings without data and opaque chunks

	// Chunk says that the event is not a unit of its body but a piece of it:
	// an opaque body, a JSON document too large to hold, the rest of a stream
	// after an event beyond all bounds.
	Chunk bool
}

// Closed reports whether a server-sent event ends with its blank line. Only the
// last event of a body may not: close it before anything is written after it.
func (e Event) Closed() bool {
	n := len(e.Raw)
	switch {
	case n == 0:
		return true
	case n > 1 && e.Raw[n-2] == '\r' && e.Raw[n-1] == '\n':
		n -= 2
	case e.Raw[n-1] == '\r' || e.Raw[n-1] == '\n':
		n--
	default:
		return false
	}
	return n == 0 || e.Raw[n-1] == '\n' || e.Raw[n-1] == '\r'
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

// FramingOf chooses the framing by the Content-Type of an answer.
func FramingOf(contentType string) Framing {
	media, _, _ := strings.Cut(contentType, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	switch {
	case media == "text/event-stream":
		return SSE
	case media == "application/json", strings.HasSuffix(media, "+json"):
		return JSON
	}
	return Opaque
}
