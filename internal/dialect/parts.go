package dialect

import "bytes"

// Parts goes over the members of an object or the elements of an array. It is for
// what Walk has passed, where strings are closed and brackets balanced; of anything
// else it gives what comes before the first flaw.
type Parts struct {
	rest   []byte
	behind []byte // what follows the last part, once that has been seen
	named  bool
}

// PartsOf begins with the first part of value. What is neither an object nor an
// array has none. Space may stand before it.
func PartsOf(value []byte) Parts {
	value = value[skipSpace(value, 0):]
	if len(value) == 0 || value[0] != '{' && value[0] != '[' {
		return Parts{}
	}
	return Parts{rest: value[1:], named: value[0] == '{'}
}

// Next returns the next part: its name without escapes, nil in an array, and the
// bytes of its value. It is false after the last.
func (p *Parts) Next() (name, value []byte, ok bool) {
	if name, ok = p.name(); ok {
		value, ok = p.value()
	}
	if !ok {
		return nil, nil, false
	}
	return name, value, true
}

// name goes to the next part's value, which is to be read before the next name.
func (p *Parts) name() (name []byte, ok bool) {
	b := p.rest
	p.rest = nil
	i := skipSpace(b, 0)
	if i < len(b) && b[i] == ',' {
		i = skipSpace(b, i+1)
	}
	if i == len(b) {
		return nil, false
	}
	if b[i] == ']' || b[i] == '}' {
		p.behind = b[i+1:]
		return nil, false
	}
	if p.named {
		if b[i] != '"' {
			return nil, false
		}
		end := stringEnd(b, i)
		if end < 0 {
			return nil, false
		}
		name = b[i+1 : end-1]
		if i = skipSpace(b, end); i == len(b) || b[i] != ':' {
			return nil, false
		}
		i = skipSpace(b, i+1)
		if bytes.IndexByte(name, '\\') >= 0 {
			spelled, _ := unquote(name)
			name = []byte(spelled)
		}
	}
	p.rest = b[i:]
	return name, true
}

// value reads the value behind the name.
func (p *Parts) value() ([]byte, bool) {
	b := p.rest
	p.rest = nil
	end := valueEnd(b, 0)
	if end < 0 {
		return nil, false
	}
	p.rest = b[end:]
	return b[:end], true
}

// inside goes over the parts of the value behind the name, which is to be left before
// the next name.
func (p *Parts) inside() Parts { return PartsOf(p.rest) }

// leave goes behind a value whose parts have all been seen.
func (p *Parts) leave(inner *Parts) {
	for inner.behind == nil {
		if _, _, ok := inner.Next(); !ok {
			break
		}
	}
	p.rest = inner.behind
}

// begins says that the value behind the name begins with c.
func (p *Parts) begins(c byte) bool { return len(p.rest) > 0 && p.rest[0] == c }

// Member is the value of the named member of an object, the last if there are
// several, or nil.
func Member(object []byte, name string) (value []byte) {
	for parts := PartsOf(object); ; {
		n, v, ok := parts.Next()
		switch {
		case !ok:
			return value
		case n != nil && string(n) == name:
			value = v
		}
	}
}

// Seek is the string behind a name that is given with its quotes and colon, wherever in
// the event that stands, nil if there is none: within a string they would be escaped. It
// is for events that come by the thousand.
func Seek(event []byte, name string) []byte {
	i := 0
	for { // quotes are everywhere: one is not what to look for first
		at := bytes.Index(event[i:], []byte(name[1:]))
		if at < 0 {
			return nil
		}
		if i += at; i > 0 && event[i-1] == '"' {
			break
		}
		i++
	}
	i = skipSpace(event, i+len(name)-1)
	if i == len(event) || event[i] != '"' {
		return nil
	}
	end := stringEnd(event, i)
	if end < 0 {
		return nil
	}
	return event[i:end]
}

// valueEnd returns where the value that begins at i ends, or -1.
func valueEnd(b []byte, i int) int {
	if i == len(b) {
		return -1
	}
	switch b[i] {
	case '"':
		return stringEnd(b, i)
	case '{', '[':
		return nestedEnd(b, i)
	}
	to := i
	for to < len(b) && scalar[b[to]] {
		to++
	}
	if to == i {
		return -1
	}
	return to
}

// nestedEnd returns where the object or array that begins at i ends, or -1. Which
// bracket closes which is Walk's to check.
func nestedEnd(b []byte, i int) int {
	for depth := 0; ; {
		if i = nextStructural(b, i); i == len(b) {
			return -1
		}
		switch b[i] {
		case '"':
			if i = stringEnd(b, i); i < 0 {
				return -1
			}
			continue
		case '{', '[':
			depth++
		default:
			depth--
		}
		if i++; depth == 0 {
			return i
		}
	}
}
