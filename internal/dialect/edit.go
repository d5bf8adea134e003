package dialect

import (
	"bytes"
	"math"
	"slices"
	"strconv"

	"keybridge/internal/wire"
)

// Quote is s as a JSON string, in which <, > and & stand as they are.
func Quote(s string) []byte { return marshal(s) }

// Replace returns a copy of whole with other bytes in the place of part, which must
// be a piece of it, such as a value that Walk, Parts or Member have found.
func Replace(whole, part, with []byte) []byte {
	at := cap(whole) - cap(part)
	return slices.Concat(whole[:at], with, whole[at+len(part):])
}

// SetMember returns a copy of the object with the named member set: in its place if
// there is one, else as the last.
func SetMember(object []byte, name string, value []byte) []byte {
	if old := Member(object, name); old != nil {
		return Replace(object, old, value)
	}
	return insert(object, '}', slices.Concat(Quote(name), []byte{':'}, value))
}

// Append returns a copy of the array with elements behind those it has.
func Append(array []byte, elements ...[]byte) []byte {
	if len(elements) == 0 {
		return bytes.Clone(array)
	}
	return insert(array, ']', bytes.Join(elements, []byte{','}))
}

// Array is the array of the elements.
func Array(elements ...[]byte) []byte {
	return slices.Concat([]byte{'['}, bytes.Join(elements, []byte{','}), []byte{']'})
}

// insert puts what right before the bracket that closes value.
func insert(value []byte, closing byte, what []byte) []byte {
	at := bytes.LastIndexByte(value, closing)
	if at < 0 {
		return bytes.Clone(value)
	}
	parts := PartsOf(value)
	if _, _, some := parts.Next(); some {
		what = append([]byte{','}, what...)
	}
	for at > 0 && skipSpace(value[:at], at-1) == at { // behind the last part, before the space that follows it
		at--
	}
	return slices.Concat(value[:at], what, value[at:])
}

// deepestSum is how deep usage objects are nested that are added up.
const deepestSum = 8

// SumUsage adds up two usage objects, the later one second, member by member and as
// deep as they go: numbers are added, arrays joined, and of what cannot be added the
// later is kept, unless it is null. What is not an object has nothing to add.
func SumUsage(a, b []byte) []byte { return sum(a, b, 0) }

func sum(a, b []byte, depth int) []byte {
	switch {
	case len(b) == 0 || string(b) == "null":
		return a
	case len(a) == 0 || depth == deepestSum:
		return b
	case a[0] == '{' && b[0] == '{':
		return sumObjects(a, b, depth)
	case a[0] == '[' && b[0] == '[':
		return join(a, b)
	case IsNumber(a) && IsNumber(b):
		return sumNumbers(a, b)
	}
	return b
}

func join(a, b []byte) []byte {
	var elements [][]byte
	for parts := PartsOf(b); ; {
		_, v, ok := parts.Next()
		if !ok {
			return Append(a, elements...)
		}
		elements = append(elements, v)
	}
}

// sumObjects keeps the form of b and puts what only a has behind it.
func sumObjects(a, b []byte, depth int) []byte {
	earlier, later := Members(a), Members(b)
	out, done := []byte{}, 0
	for parts := PartsOf(b); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		if at := cap(b) - cap(v); cap(v) == cap(later[string(name)]) { // of two with one name the last counts
			out = append(append(out, b[done:at]...), sum(earlier[string(name)], v, depth+1)...)
			done = at + len(v)
		}
	}
	out = append(out, b[done:]...)
	var others [][]byte
	for parts := PartsOf(a); ; {
		name, v, ok := parts.Next()
		switch {
		case ok && later[string(name)] == nil && cap(v) == cap(earlier[string(name)]):
			others = append(others, slices.Concat(Quote(string(name)), []byte{':'}, v))
		case !ok && len(others) > 0:
			return insert(out, '}', bytes.Join(others, []byte{','}))
		case !ok:
			return out
		}
	}
}

// Members are those of an object by name, of two with one name the last.
func Members(object []byte) map[string][]byte {
	all := map[string][]byte{}
	for parts := PartsOf(object); ; {
		name, v, ok := parts.Next()
		if !ok {
			return all
		}
		all[string(name)] = v
	}
}

func sumNumbers(a, b []byte) []byte {
	i, wrongA := strconv.ParseInt(string(a), 10, 64)
	j, wrongB := strconv.ParseInt(string(b), 10, 64)
	if wrongA == nil && wrongB == nil && (j < 0 || i <= math.MaxInt64-j) && (j >= 0 || i >= math.MinInt64-j) {
		return strconv.AppendInt(nil, i+j, 10)
	}
	x, wrongA := strconv.ParseFloat(string(a), 64)
	y, wrongB := strconv.ParseFloat(string(b), 64)
	if wrongA != nil || wrongB != nil || math.IsInf(x+y, 0) {
		return b
	}
	return strconv.AppendFloat(nil, x+y, 'f', -1, 64)
}

// WithData returns a copy of the event with other data, edited JSON, in the place of
// its own. All else of it stays; data that stood on several lines comes on one.
func WithData(e wire.Event, data []byte) wire.Event {
	if IsBody(e) {
		return wire.Event{Raw: data, Data: data}
	}
	at := dataAt(e)
	if at < 0 { // it stands on several lines
		return SSE(e.Name, bytes.ReplaceAll(data, []byte{'\n'}, []byte{' '}), true)
	}
	raw := slices.Concat(e.Raw[:at], data, e.Raw[at+len(e.Data):])
	return wire.Event{Raw: raw, Name: e.Name, Data: raw[at : at+len(data) : at+len(data)]}
}

// dataAt is where the data of an event begins in its raw bytes, -1 if it does not stand
// on one line. Lines that are no data, such as comments, may repeat it.
func dataAt(e wire.Event) int {
	if bytes.IndexByte(e.Data, '\n') >= 0 {
		return -1
	}
	found := -1
	for at := 0; ; {
		i := bytes.Index(e.Raw[at:], []byte("data:"))
		if i < 0 {
			return found
		}
		before := e.Raw[:at+i]
		marked := string(before) == "\xEF\xBB\xBF" // data only at the stream's beginning, where no other line is
		if at += i + len("data:"); len(before) > 0 && !marked && !bytes.HasSuffix(before, []byte{'\n'}) && !bytes.HasSuffix(before, []byte{'\r'}) {
			continue // within a line
		}
		if bytes.HasPrefix(e.Raw[at:], []byte{' '}) {
			at++
		}
		if bytes.HasPrefix(e.Raw[at:], e.Data) {
			found = at
		}
		if !marked {
			return found
		}
	}
}
