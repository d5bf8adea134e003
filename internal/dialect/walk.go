package dialect

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"strconv"

	"keybridge/internal/fault"
)

// maxDepth is what encoding/json allows, too.
const maxDepth = 10_000

// Walk makes one structural pass over a JSON object and calls member for each of
// its own members, in order: name is the text between its quotes, escapes and
// all, value the bytes of its value, at where that begins. It checks that strings
// are closed, brackets balanced and nothing follows the object, and leaves what
// stands between brackets further in to whoever reads it. Its own errors are of
// code BadRequest and name the byte; member's end the pass and are returned.
func Walk(body []byte, member func(name, value []byte, at int) error) error {
	w := walker{body: body}
	return w.members(member, nil)
}

// members is Walk; m, if there is one, notes where the parts of the conversation begin.
func (w *walker) members(member func(name, value []byte, at int) error, m *marks) error {
	body := w.body
	i := skipSpace(body, 0)
	if i == len(body) {
		return fault.New(fault.BadRequest, "the body is empty: send a JSON object")
	}
	if body[i] != '{' {
		return bad(i, "the body is not a JSON object: send one")
	}
	for first := true; ; first = false {
		i = skipSpace(body, i+1)
		if first && i < len(body) && body[i] == '}' {
			return w.end(i + 1)
		}
		from, to, err := w.name(i)
		if err != nil {
			return err
		}
		var in *marks
		if m != nil && isConversation(body[from+1:to-1]) {
			m.n, in = 0, m
		}
		at, end, err := w.value(to, in)
		if err != nil {
			return err
		}
		if err = member(body[from+1:to-1], body[at:end], at); err != nil {
			return err
		}
		i = skipSpace(body, end)
		switch {
		case i == len(body):
			return bad(i, "the JSON object is not closed: send the whole body")
		case body[i] == '}':
			return w.end(i + 1)
		case body[i] != ',':
			return bad(i, "a comma or the object's end is missing before %q", body[i])
		}
	}
}

// Whole reports whether data is one complete JSON object.
func Whole(data []byte) bool {
	return Walk(data, func(_, _ []byte, _ int) error { return nil }) == nil
}

func bad(at int, format string, args ...any) error {
	e := fault.New(fault.BadRequest, format, args...)
	e.Public = "invalid JSON at byte " + strconv.Itoa(at) + ": " + e.Public
	return e
}

type walker struct {
	body []byte
	open [(maxDepth + 63) / 64]uint64 // one bit for each open bracket: set for a brace
	// peeks says that peeked is told of the strings between brackets that may matter.
	peeks  bool
	peeked Peeked
}

// end checks that only space follows the object.
func (w *walker) end(i int) error {
	if i = skipSpace(w.body, i); i < len(w.body) {
		return bad(i, "%q follows the JSON object: send one object and nothing else", w.body[i])
	}
	return nil
}

// name reads a member's name with its quotes.
func (w *walker) name(i int) (from, to int, err error) {
	if i == len(w.body) {
		return 0, 0, bad(i, "the JSON object is not closed: send the whole body")
	}
	if w.body[i] != '"' {
		return 0, 0, bad(i, "a member's name in quotes is expected, not %q", w.body[i])
	}
	if to = stringEnd(w.body, i); to < 0 {
		return 0, 0, unclosed(i)
	}
	return i, to, nil
}

// value reads the colon after a name and the value that follows.
func (w *walker) value(i int, m *marks) (from, to int, err error) {
	if i = skipSpace(w.body, i); i == len(w.body) || w.body[i] != ':' {
		return 0, 0, bad(i, "a colon is missing after the member's name")
	}
	if i = skipSpace(w.body, i+1); i == len(w.body) {
		return 0, 0, bad(i, "a value is missing: send the whole body")
	}
	switch w.body[i] {
	case '"':
		if to = stringEnd(w.body, i); to < 0 {
			return 0, 0, unclosed(i)
		}
	case '{', '[':
		if to, err = w.nested(i, m); err != nil {
			return 0, 0, err
		}
	default:
		to = i
		for to < len(w.body) && scalar[w.body[to]] {
			to++
		}
		if to == i {
			return 0, 0, bad(i, "a value is expected, not %q", w.body[i])
		}
	}
	return i, to, nil
}

// nested returns the end of the object or array that begins at i. m notes where its
// parts begin.
func (w *walker) nested(i int, m *marks) (int, error) {
	b := w.body
	start, foreign := i, maxDepth // within brackets deeper than foreign nothing is told of
	for depth := 0; ; {
		i = nextStructural(b, i)
		if i == len(b) {
			return 0, bad(start, "the %q opened here is not closed: send the whole body", b[start])
		}
		switch c := b[i]; c {
		case '"':
			end := stringEnd(b, i)
			if end < 0 {
				return 0, unclosed(i)
			}
			if depth <= foreign && w.tells(end-i-2) && w.peeked.nested(b, i, end) {
				foreign = depth
			}
			i = end
			continue
		case '{', '[':
			if depth == maxDepth {
				return 0, bad(i, "brackets are nested more than %d deep", maxDepth)
			}
			m.note(depth, i-start)
			bit := uint64(1) << (depth % 64)
			if w.open[depth/64] &^= bit; c == '{' {
				w.open[depth/64] |= bit
			}
			depth++
		case '}', ']':
			depth--
			if brace := w.open[depth/64]>>(depth%64)&1 == 1; brace != (c == '}') {
				return 0, bad(i, "%q closes a bracket of the other kind", c)
			}
			if depth == 0 {
				return i + 1, nil
			}
			if depth == foreign {
				foreign = maxDepth
			}
		}
		i++
	}
}

// tells says that a string of n bytes may matter to whoever peeks.
func (w *walker) tells(n int) bool { return w.peeks && worth(n) }

func unclosed(i int) error {
	return bad(i, "the string opened here is not closed: send the whole body")
}

// stringEnd returns where the string that begins at i ends, behind its quote, or -1.
func stringEnd(b []byte, i int) int {
	from := i + 1
	for j := from; ; j++ {
		if j = quote(b, j); j < 0 {
			return -1
		}
		n := j
		for n > from && b[n-1] == '\\' {
			n--
		}
		if (j-n)%2 == 0 {
			return j + 1
		}
	}
}

// quote returns where the next quote is at or after i, or -1. Where quotes stand
// close together, as in code and in JSON within JSON, a call of bytes.IndexByte for
// each would cost more than it finds.
func quote(b []byte, i int) int {
	for near := i + nearBy; i < near && i+8 <= len(b); i += 8 {
		q := binary.LittleEndian.Uint64(b[i:]) ^ quotes
		if hit := (q - ones) &^ q & highs; hit != 0 { // the lowest set bit marks the first quote
			return i + bits.TrailingZeros64(hit)/8
		}
	}
	if i >= len(b) {
		return -1
	}
	k := bytes.IndexByte(b[i:], '"')
	if k < 0 {
		return -1
	}
	return i + k
}

func skipSpace(b []byte, i int) int {
	for i < len(b) && (b[i] == ' ' || b[i] == '\n' || b[i] == '\r' || b[i] == '\t') {
		i++
	}
	return i
}

// scalar holds the bytes numbers, true, false and null are made of.
var scalar = func() (set [256]bool) { //nolint:gochecknoglobals // a constant table
	for _, c := range []byte("+-.0123456789Eaeflnrstu") {
		set[c] = true
	}
	return set
}()

const (
	ones   = 0x0101010101010101
	highs  = ones << 7
	quotes = ones * '"'
	nearBy = 24 // bytes
	// A bracket or brace with the bits 0x26 set is 0x7F, and so are few others.
	fold     = ones * 0x26
	brackets = ones * 0x7F
)

// nextStructural returns the first quote, brace or bracket at or after i, or
// len(b). It looks at eight bytes at a time: lists of numbers and white space
// make up much of some bodies.
func nextStructural(b []byte, i int) int {
	for i < len(b) {
		if i+8 <= len(b) {
			x := binary.LittleEndian.Uint64(b[i:])
			q, k := x^quotes, (x|fold)^brackets
			// The lowest set bit marks the first zero byte of q or k.
			hit := ((q-ones)&^q | (k-ones)&^k) & highs
			if hit == 0 {
				i += 8
				continue
			}
			i += bits.TrailingZeros64(hit) / 8
		}
		switch b[i] {
		case '"', '{', '}', '[', ']':
			return i
		}
		i++
	}
	return len(b)
}
