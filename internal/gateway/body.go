package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"keybridge/internal/fault"
)

const bodyPatience = 30 * time.Second // for the next bytes of a request's body

// uploadBody is a body too large to keep: it can be sent once.
type uploadBody struct {
	reader io.Reader
	length int64 // negative: unknown
	used   bool
}

// read takes the request's body in: whole, so that another key can be tried, or,
// where the route is for uploads and it is over the limit, as a stream.
func (x *exchange) read() *fault.Error {
	r, limit := x.r, x.s.Limits.MaxBody
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength == 0 {
		return nil
	}
	if x.match.Bridged() {
		if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
			return fault.New(fault.Unsupported, "The request body is encoded as %q: send it without Content-Encoding.", shorten(enc))
		}
	}
	if r.ContentLength > limit && !x.match.Upload {
		return tooLarge(limit)
	}
	src := &patient{r: r.Body, rc: x.out.rc}
	defer src.done()
	buf, err := readUpTo(src, r.ContentLength, limit)
	switch {
	case err != nil:
		return bodyFault(err)
	case int64(len(buf)) <= limit:
		x.body = buf
		return nil
	case !x.match.Upload:
		return tooLarge(limit)
	case r.ContentLength > x.s.Limits.MaxUpload:
		return tooLarge(x.s.Limits.MaxUpload)
	}
	x.upload = &uploadBody{
		reader: io.MultiReader(bytes.NewReader(buf), &capped{r: src, left: x.s.Limits.MaxUpload - int64(len(buf)), limit: x.s.Limits.MaxUpload}),
		length: r.ContentLength,
	}
	return nil
}

// readUpTo reads the whole body, or one byte over the limit if it is longer.
func readUpTo(r io.Reader, length, limit int64) ([]byte, error) {
	if length >= 0 && length <= limit {
		buf := make([]byte, length)
		_, err := io.ReadFull(r, buf)
		return buf, err
	}
	return io.ReadAll(io.LimitReader(r, limit+1))
}

func tooLarge(limit int64) *fault.Error {
	return fault.New(fault.TooLarge, "The request body is over the limit of %d bytes.", limit)
}

func bodyFault(err error) *fault.Error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return fault.Wrap(fault.RequestTimeout, err, "The request body did not arrive in time.")
	}
	return fault.Wrap(fault.BadRequest, err, "The request body broke off.")
}

// patient gives a body's sender some time for each piece.
type patient struct {
	r  io.Reader
	rc *http.ResponseController
}

func (p *patient) Read(b []byte) (int, error) {
	_ = p.rc.SetReadDeadline(time.Now().Add(bodyPatience)) // not every writer can
	return p.r.Read(b)
}

// done lifts the deadline: from here on reading only notices a client that leaves.
func (p *patient) done() { _ = p.rc.SetReadDeadline(time.Time{}) }

// capped refuses to pass on more than the limit of uploads.
type capped struct {
	r           io.Reader
	left, limit int64
}

func (c *capped) Read(b []byte) (int, error) {
	n, err := c.r.Read(b)
	if c.left -= int64(n); c.left < 0 {
		return 0, tooLarge(c.limit)
	}
	return n, err
}
