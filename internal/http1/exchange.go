package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"sync"
)

// exchange is one request on one connection. Once the head is here it is the body
// of the answer.
type exchange struct {
	cn     *conn
	ctx    context.Context //nolint:containedctx // it bounds the body, and says why that ended
	stop   func() bool     // of the watch on ctx
	upload *upload
	resp   http.Response // here, for one allocation less; unused if http.ReadResponse had to make another

	framing framing
	left    int64 // in a body of a known length
	chunks  chunks
	reuse   bool // the connection may outlive the answer

	// br holds rest, which came with the head; nil if nothing did.
	br   *bufio.Reader
	rest []byte

	mu     sync.Mutex
	busy   bool  // in Read
	closed bool  // by the caller
	ended  error // what Read returns from now on
}

type framing uint8

const (
	ofLength framing = iota
	inChunks
	untilClose
)

// reason is the error that stands behind err.
func (x *exchange) reason(err error) error {
	if x.ctx.Err() != nil {
		return context.Cause(x.ctx)
	}
	if failed := x.cn.writeError(); failed != nil {
		if s, ok := errors.AsType[*streamError](failed); ok {
			return s.error
		}
		return failed
	}
	return err
}

// fail ends an exchange without an answer.
func (x *exchange) fail() {
	x.stop()
	x.upload.end()
	_ = x.cn.Close()
}

// open makes the exchange the body of resp. br has read the head, and perhaps more.
func (x *exchange) open(resp *http.Response, br *bufio.Reader) {
	x.reuse = !resp.Close && resp.StatusCode != http.StatusSwitchingProtocols
	switch {
	case resp.Body == http.NoBody:
		x.reuse = x.reuse && br.Buffered() == 0
		recycle(br)
		x.finish(io.EOF)
		if x.upload != nil {
			resp.Body = x // its Close ends the upload
		}
		return
	case len(resp.TransferEncoding) > 0:
		x.framing = inChunks
	case resp.ContentLength >= 0:
		x.left = resp.ContentLength
	default:
		x.framing, x.reuse = untilClose, false
	}
	resp.Body = x
	if n := br.Buffered(); n > 0 {
		x.br = br
		x.rest, _ = br.Peek(n)
		return
	}
	recycle(br)
}

// Read implements io.Reader.
func (x *exchange) Read(p []byte) (int, error) {
	x.mu.Lock()
	switch {
	case x.closed:
		x.mu.Unlock()
		return 0, http.ErrBodyReadAfterClose
	case x.ended != nil || len(p) == 0:
		defer x.mu.Unlock()
		return 0, x.ended
	}
	x.busy = true
	x.mu.Unlock()
	n, err := 0, error(nil)
	if x.ctx.Err() == nil {
		n, err = x.read(p)
	}
	if x.ctx.Err() != nil { // what ended well may be the peer's answer to our closing
		err = context.Cause(x.ctx)
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	x.busy = false
	switch {
	case err == nil && x.closed:
		x.finish(http.ErrBodyReadAfterClose)
	case err == io.EOF: //nolint:errorlint // the very value
		x.finish(err)
	case err != nil && x.closed:
		err = http.ErrBodyReadAfterClose
		x.finish(err)
	case err != nil:
		err = x.reason(err)
		x.finish(err)
	}
	return n, err
}

// Close implements io.Closer. It ends a Read that is under way.
func (x *exchange) Close() error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	x.closed = true
	x.upload.end()
	switch {
	case x.ended != nil:
	case x.busy:
		x.cn.abort()
	default:
		x.finish(x.drain())
	}
	return nil
}

// drain looks whether what is in memory already is the rest of the body.
func (x *exchange) drain() error {
	var waste [512]byte
	for len(x.rest) > 0 {
		_, err := x.take(waste[:])
		if err != nil {
			return err
		}
	}
	return http.ErrBodyReadAfterClose
}

const maxEmpty = 100 // reads in a row that bring nothing

// read brings data, or the end, or both.
func (x *exchange) read(p []byte) (int, error) {
	if len(x.rest) > 0 {
		if n, err := x.take(p); n > 0 || err != nil {
			return n, err
		}
	}
	empty := 0
	for {
		to := p
		if x.framing == ofLength {
			to = p[:min(int64(len(p)), x.left)]
		}
		got, failed := x.cn.Read(to)
		n, used, err := x.decode(p, to[:got])
		if used < got {
			x.reuse = false
		}
		if err == nil && failed != nil {
			err = failed
			if x.framing != untilClose {
				err = noEOF(err)
			}
		}
		if n > 0 || err != nil {
			return n, err
		}
		if empty++; got > 0 {
			empty = 0
		} else if empty == maxEmpty {
			return 0, io.ErrNoProgress
		}
	}
}

// take reads from the rest.
func (x *exchange) take(p []byte) (int, error) {
	n, used, err := x.decode(p, x.rest)
	x.rest = x.rest[used:]
	if err == nil && len(x.rest) > 0 {
		return n, nil
	}
	x.reuse = x.reuse && len(x.rest) == 0
	x.drop()
	return n, err
}

// drop gives the rest's memory back.
func (x *exchange) drop() {
	if x.br != nil {
		recycle(x.br)
		x.br, x.rest = nil, nil
	}
}

// decode takes the framing off src. Its error is io.EOF at the body's end.
func (x *exchange) decode(dst, src []byte) (n, used int, err error) {
	switch x.framing {
	case inChunks:
		n, used, err = x.chunks.decode(dst, src)
		x.reuse = x.reuse && !x.chunks.surplus
		return n, used, err
	case ofLength:
		n = copy(dst, src[:min(int64(len(src)), x.left)])
		if x.left -= int64(n); x.left == 0 {
			err = io.EOF
		}
		return n, n, err
	case untilClose:
	}
	n = copy(dst, src)
	return n, n, nil
}

// finish ends the answer. After it the connection is not the exchange's.
func (x *exchange) finish(err error) {
	x.ended = err
	x.drop()
	left := x.stop()                               // else it is being closed
	x.cn.release(left && x.reuse && err == io.EOF) //nolint:errorlint // the very value
	x.cn = nil
}

// write sends the head, and the body or what of it waits for nobody. sent says that
// the connection took something in.
func (x *exchange) write(r *Request) (sent bool, err error) {
	cn := x.cn
	cn.reset()
	room := writers.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put in
	b := r.appendHead((*room)[:0])
	n := r.length()
	small := r.Stream == nil && n <= smallBody
	if small {
		b = append(b, r.Body...)
	}
	cn.sending = !small && n != 0
	wrote, err := cn.Write(b)
	if wrote < len(b) && err == nil {
		err = io.ErrShortWrite
	}
	*room = b
	if cap(b) <= readBuffer+2*headRoom {
		writers.Put(room)
	}
	switch {
	case err != nil && wrote > 0:
		cn.wrote(err) // the answer may be on its way already
		return true, nil
	case err != nil:
		return false, err
	case !cn.sending:
	case r.Stream != nil:
		x.upload = &upload{from: r.Stream, left: r.Length}
		go x.upload.run(cn)
	default:
		if r.Owner != nil {
			r.Owner.Hold()
		}
		go cn.sendBody(r.Body, r.Owner)
	}
	return true, nil
}

func (cn *conn) sendBody(body []byte, owner Owner) {
	_, err := cn.Write(body)
	if owner != nil {
		owner.Release()
	}
	cn.wrote(err)
}
