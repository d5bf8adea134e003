package gateway

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"keybridge/internal/fault"
)

const bodyPatience = 30 * time.Second // for the next bytes of a request's body

// upload is a body too large to keep: it can be sent once.
type upload struct {
	reader io.Reader
	length int64 // negative: unknown
}

// read takes the request's body in: whole, so that another key can be tried, or,
// where the route is for uploads and it is over the limit, as a stream.
func (x *exchange) read() *fault.Error {
	r, keep := x.r, x.s.Limits.MaxBody
	if r.Body == nil || r.Body == http.NoBody {
		return nil
	}
	if x.match.Bridged() {
		if enc := r.Header.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
			return fault.New(fault.Unsupported, "The request body is encoded as %q: send it without Content-Encoding.", shorten(enc))
		}
	}
	most := keep
	if x.match.Upload {
		most = max(keep, x.s.Limits.MaxUpload)
	}
	if r.ContentLength > most {
		return tooLarge(most)
	}
	x.source = &patient{r: r.Body, rc: x.out.rc}
	var begin []byte
	if r.ContentLength <= keep {
		body, err := readUpTo(x.source, r.ContentLength, keep)
		if over := int64(len(body)) > keep; over && most > keep && err == nil {
			begin = body
		} else {
			x.source.stop()
			switch {
			case err != nil:
				return bodyFault(err)
			case over:
				return tooLarge(most)
			}
			x.body = body
			return nil
		}
	}
	x.upload = &upload{
		reader: io.MultiReader(bytes.NewReader(begin), &capped{r: x.source, left: most - int64(len(begin)), limit: most}),
		length: r.ContentLength,
	}
	return nil
}

// readUpTo reads the whole body, or one byte over the limit if it is longer.
func readUpTo(r io.Reader, length, limit int64) ([]byte, error) {
	if length >= 0 {
		buf := make([]byte, length)
		_, err := io.ReadFull(r, buf)
		return buf, err
	}
	return io.ReadAll(io.LimitReader(r, limit+1))
}

func tooLarge(limit int64) *fault.Error {
	return fault.New(fault.TooLarge, "The request body is over the limit of %d bytes.", limit)
}

// bodyFault says what the caller did wrong that its body could not be read.
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

	mu   sync.Mutex
	done bool
}

func (p *patient) Read(b []byte) (int, error) {
	p.limit(time.Now().Add(bodyPatience))
	n, err := p.r.Read(b)
	if err != nil {
		// From here on the connection is read only to notice a client that leaves.
		p.stop()
		if !errors.Is(err, io.EOF) {
			return n, bodyFault(err)
		}
	}
	return n, err
}

// limit sets the connection's deadline. After stop it is no longer ours: the
// transport may still read an upload when the answer is through, and the
// connection serve another request.
func (p *patient) limit(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		_ = p.rc.SetReadDeadline(t) // not every writer can
	}
}

func (p *patient) stop() {
	p.limit(time.Time{})
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
}

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
