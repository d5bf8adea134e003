package http1

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net/textproto"
)

const (
	maxChunkLine = 4096     // of the line before a chunk
	maxExcess    = 16 << 10 // of such lines beyond what the chunks justify
	maxTrailer   = 16 << 10
	maxDigits    = 16
)

// None of them quotes the answer, which may repeat a request.
var (
	errChunk      = errors.New("malformed chunked encoding")
	errChunkLine  = errors.New("the line before a chunk is too long")
	errExcess     = errors.New("the chunked encoding has too much that is no data")
	errTrailer    = errors.New("malformed trailer")
	errTrailerBig = errors.New("the trailer is too long")
)

// chunks takes the chunked encoding off a body piece by piece, so that it needs no
// buffer of its own. What it accepts is what net/http accepts.
type chunks struct {
	state   chunkState
	digits  int
	line    int    // bytes of the line so far, with the CR that ends it
	left    uint64 // data left of the chunk
	excess  int64
	trailer []byte
	surplus bool // bytes that were used are no part of the body
}

type chunkState uint8

const (
	inSize      chunkState = iota
	inSpace                // after the size: only space may follow
	inExtension            // skipped
	atLineFeed             // that ends the line
	inData
	atDataReturn
	atDataFeed
	inTrailer
	atEnd
)

// decode moves the data in src to dst, which may begin where src does. It takes
// framing even when dst is full. The error is io.EOF at the body's end, and nothing
// of src behind that is used.
func (c *chunks) decode(dst, src []byte) (n, used int, err error) {
	for used < len(src) {
		switch c.state {
		case inData:
			if n == len(dst) {
				return n, used, nil
			}
			k := uint64(min(len(src)-used, len(dst)-n))
			k = min(k, c.left)
			to := used + int(k) //nolint:gosec // no more than a length
			n += copy(dst[n:], src[used:to])
			used = to
			if c.left -= k; c.left == 0 {
				c.state = atDataReturn
			}
			continue
		case inTrailer:
			var k int
			k, err = c.end(src[used:])
			return n, used + k, err
		case atEnd:
			return n, used, io.EOF
		case inSize, inSpace, inExtension, atLineFeed, atDataReturn, atDataFeed:
		}
		if err = c.step(src[used]); err != nil {
			return n, used, err
		}
		used++
	}
	return n, used, nil
}

// step takes one byte of what is between the data.
func (c *chunks) step(b byte) error {
	switch c.state {
	case atDataReturn:
		return c.expect(b, '\r', atDataFeed)
	case atDataFeed:
		return c.expect(b, '\n', inSize)
	case atLineFeed:
		if err := c.expect(b, '\n', inData); err != nil {
			return err
		}
		return c.begin()
	case inSize, inSpace, inExtension, inData, inTrailer, atEnd:
	}
	if c.line++; c.line > maxChunkLine {
		return errChunkLine
	}
	return c.sized(b)
}

// sized takes one byte of the line before a chunk.
func (c *chunks) sized(b byte) error {
	switch {
	case b == '\r':
		c.state = atLineFeed
		return nil
	case b == '\n':
		return errChunk
	case c.state == inExtension:
	case b == ' ' || b == '\t':
		c.state = inSpace
	case c.state == inSpace:
		return errChunk
	case b == ';':
		c.state = inExtension
	default:
		v, ok := unhex(b)
		if c.digits++; !ok || c.digits > maxDigits {
			return errChunk
		}
		c.left = c.left<<4 | uint64(v)
	}
	return nil
}

func (c *chunks) expect(b, want byte, next chunkState) error {
	if b != want {
		return errChunk
	}
	c.state = next
	return nil
}

// begin is called where a chunk's size is known.
func (c *chunks) begin() error {
	if c.digits == 0 {
		return errChunk
	}
	// A byte per chunk is legitimate, long extensions are not.
	c.excess = max(0, c.excess+int64(c.line)+1-16-2*int64(c.left)) //nolint:gosec // a size beyond all bounds is none of a body that ends
	c.digits, c.line = 0, 0
	switch {
	case c.left == 0:
		c.state = inTrailer
	case c.excess > maxExcess:
		return errExcess
	}
	return nil
}

func unhex(b byte) (byte, bool) {
	switch {
	case '0' <= b && b <= '9':
		return b - '0', true
	case 'a' <= b && b <= 'f':
		return b - 'a' + 10, true
	case 'A' <= b && b <= 'F':
		return b - 'A' + 10, true
	}
	return 0, false
}

// end takes what follows the last chunk. Trailers are checked and dropped.
func (c *chunks) end(src []byte) (used int, err error) {
	if len(c.trailer) == 0 && bytes.HasPrefix(src, []byte("\r\n")) {
		c.state = atEnd
		return 2, io.EOF
	}
	for ; used < len(src); used++ {
		switch c.trailer = append(c.trailer, src[used]); {
		case string(c.trailer) == "\r\n":
			c.state = atEnd
			return used + 1, io.EOF
		case bytes.HasSuffix(c.trailer, []byte("\r\n\r\n")):
			r := bufio.NewReader(bytes.NewReader(c.trailer))
			if _, err := textproto.NewReader(r).ReadMIMEHeader(); err != nil {
				return used + 1, errTrailer
			}
			c.state, c.surplus = atEnd, r.Buffered() > 0
			return used + 1, io.EOF
		case len(c.trailer) >= maxTrailer:
			return used + 1, errTrailerBig
		}
	}
	return used, nil
}
