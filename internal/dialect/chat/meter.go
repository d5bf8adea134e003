package chat

import (
	"bytes"
	"slices"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// Meter asks for the usage of a stream whose client has not; see dialect.Meterer.
func (Dialect) Meter(body []byte) (edited []byte, asked bool) {
	object := unpadded(body)
	if !isObject(object) || string(dialect.Member(object, "stream")) != "true" {
		return body, false
	}
	options := dialect.Member(object, "stream_options")
	switch {
	case absent(options):
		options = []byte(`{"include_usage":true}`)
	case !isObject(options), string(dialect.Member(options, "include_usage")) == "true":
		return body, false
	default:
		options = dialect.SetMember(options, "include_usage", []byte("true"))
	}
	return set(body, "stream_options", options), true
}

// Unmeter takes the chunk away that has nothing but the usage, and from the others that
// they have none.
func (Dialect) Unmeter(e wire.Event) (shown wire.Event, show bool) {
	if e.Chunk || dialect.IsBody(e) || !bytes.Contains(e.Data, []byte(`"usage"`)) {
		return e, true
	}
	var m metered
	from, to := m.read(e.Data)
	switch {
	case !m.whole:
		return e, true
	case m.reported && m.empty && !m.failed:
		return wire.Event{}, false
	case from == to:
		return e, true
	}
	return dialect.WithData(e, slices.Concat(e.Data[:from], e.Data[to:])), true
}

// metered is what a chunk says of the usage.
type metered struct {
	reported bool // that it is
	empty    bool // there are no choices in it
	failed   bool
	whole    bool
}

// read returns where "usage":null stands, with the comma that goes with it; nothing if it
// does not.
func (m *metered) read(data []byte) (from, to int) {
	object := unpadded(data)
	pad := len(data) - len(object)
	first, end := true, 1 // end is that of the part before
	for parts := dialect.PartsOf(object); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		at := cap(object) - cap(v) + len(v)
		switch string(name) {
		case "usage":
			if m.reported = isObject(v); string(v) == "null" {
				from, to = pad+end, pad+at
				if first {
					to += comma(object[at:])
				}
			}
		case "choices":
			m.empty = isArray(v) && !dialect.Says(v)
		case "error":
			m.failed = dialect.Says(v)
		}
		first, end = false, at
	}
	m.whole = string(bytes.TrimSpace(object[min(end, len(object)):])) == "}"
	return from, to
}

// comma is how much of what follows the first part belongs to it.
func comma(rest []byte) int {
	if trimmed := bytes.TrimLeft(rest, " \t\r\n"); len(trimmed) > 0 && trimmed[0] == ',' {
		return len(rest) - len(trimmed) + 1
	}
	return 0
}
