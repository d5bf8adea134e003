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
	"keybridge/internal/upstream"
)

const (
	bodyPatience = 30 * time.Second // for the next bytes of a request's body
	bodyLinger   = time.Second      // for the rest of a body nobody wants
)

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
	var begin []byte
	if r.ContentLength <= keep {
		body, err := x.readUpTo(r.ContentLength, keep)
		switch over := int64(len(body)) > keep; {
		case err != nil:
			return bodyFault(err)
		case !over:
			x.source.stop(time.Time{})
			x.body = body
			return nil
		case most == keep:
			return tooLarge(most)
		}
		begin = body
	}
	// Else net/http throws the rest of the body away when the answer begins before it has ended.
	_ = x.out.rc.EnableFullDuplex()
	x.upload = &upload{
		reader: io.MultiReader(bytes.NewReader(begin), &capped{r: &x.source, left: most - int64(len(begin)), limit: most}),
		length: r.ContentLength,
	}
	return nil
}

// readUpTo reads the whole body, or one byte over the limit if it is longer.
func (x *exchange) readUpTo(length, limit int64) ([]byte, error) {
	if length < 0 {
		return io.ReadAll(io.LimitReader(&x.source, limit+1))
	}
	x.buffer = upstream.NewBuffer(int(length))
	_, err := io.ReadFull(&x.source, x.buffer.Bytes)
	return x.buffer.Bytes, err
}

func tooLarge(limit int64) *fault.Error {
	return fault.New(fault.TooLarge, "The request body is over the limit of %d bytes (limits in the gateway's configuration).", limit)
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
	late bool // a piece has not come in time
}

func (p *patient) Read(b []byte) (int, error) {
	p.limit(time.Now().Add(bodyPatience))
	n, err := p.r.Read(b)
	switch {
	case err == nil:
		return n, nil
	case errors.Is(err, os.ErrDeadlineExceeded):
		p.mu.Lock()
		defer p.mu.Unlock()
		p.late, p.done = true, true // and nothing of this body is waited for again
	default:
		// From here on the connection is read only to notice a client that leaves.
		p.stop(time.Time{})
	}
	if errors.Is(err, io.EOF) {
		return n, err
	}
	return n, bodyFault(err)
}

func (p *patient) limit(t time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.done {
		_ = p.rc.SetReadDeadline(t) // not every writer can
	}
}

// stop sets the last deadline. After it the connection's are no longer ours: the
// transport may still read an upload when the answer is through, and the
// connection serve another request.
func (p *patient) stop(last time.Time) {
	p.limit(last)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done = true
}

// linger bounds what net/http does before an answer to a request whose body was
// not read to its end: it reads on.
func (p *patient) linger() { p.stop(time.Now().Add(bodyLinger)) }

// failed says that it is not the client's going away that has ended the request's
// context, but the time its body took.
func (p *patient) failed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.late
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
