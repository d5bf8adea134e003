package dialect

import (
	"bytes"
	"encoding/binary"
	"math/bits"
)

const (
	longestSample = 4 << 10
	mostStrings   = 64
)

// Sample is a piece of JSON that others are compared with: the chunks of a stream
// are mostly alike but for the text they bring. The zero value is like nothing.
type Sample struct {
	data   []byte
	values [][2]int // where its string values stand, from the first quote to behind the last
}

// Take makes data, of which a copy is kept, the sample.
func (s *Sample) Take(data []byte) {
	s.data, s.values = s.data[:0], s.values[:0]
	if len(data) > longestSample {
		return
	}
	for i := 0; ; {
		k := bytes.IndexByte(data[i:], '"')
		if k < 0 {
			break
		}
		from := i + k
		if i = stringEnd(data, from); i < 0 || len(s.values) == mostStrings {
			return
		}
		if next := skipSpace(data, i); next == len(data) || data[next] != ':' {
			s.values = append(s.values, [2]int{from, i})
		}
	}
	s.data = append(s.data, data...)
}

// Like reports whether data is the sample but for what its string values say.
func (s *Sample) Like(data []byte) bool {
	rest, done := s.data, 0 // what is to be compared, and how much of the sample lies before it
	values := s.values
	if len(rest) == 0 {
		return false
	}
	for {
		n := common(rest, data)
		if n == len(rest) {
			return n == len(data)
		}
		for len(values) > 0 && values[0][1] <= done+n {
			values = values[1:]
		}
		if len(values) == 0 || done+n <= values[0][0] {
			return false
		}
		end := stringEnd(data, values[0][0]-done)
		if end < 0 {
			return false
		}
		rest, data = rest[values[0][1]-done:], data[end:]
		done = values[0][1]
	}
}

// common returns how many bytes a and b have in common at their beginning.
func common(a, b []byte) int {
	most := min(len(a), len(b))
	i := 0
	for ; i+8 <= most; i += 8 {
		if x := binary.LittleEndian.Uint64(a[i:]) ^ binary.LittleEndian.Uint64(b[i:]); x != 0 {
			return i + bits.TrailingZeros64(x)/8
		}
	}
	for i < most && a[i] == b[i] {
		i++
	}
	return i
}
