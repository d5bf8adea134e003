package http1

import (
	"errors"
	"io"
	"strconv"
	"sync"
	"sync/atomic"
)

// upload sends a stream.
type upload struct {
	from  io.Reader
	left  int64 // negative: unknown
	ended atomic.Bool
}

// end makes sure that no read of the stream begins any more.
func (u *upload) end() {
	if u != nil {
		u.ended.Store(true)
	}
}

// streamError is what the stream failed with, not the connection.
type streamError struct{ error }

var (
	errEnded = errors.New("the exchange has ended")
	errShort = errors.New("the request's body is shorter than its length")
	errLong  = errors.New("the request's body is longer than its length")
)

const (
	pieceSize = 32 << 10
	pieceHead = 10 // room for a chunk's size
)

var pieces = sync.Pool{New: func() any { return new([pieceHead + pieceSize + 2]byte) }} //nolint:gochecknoglobals // a pool

func (u *upload) run(cn *conn) {
	b := pieces.Get().(*[pieceHead + pieceSize + 2]byte) //nolint:forcetypeassert // nothing else is put in
	err := u.send(cn, b)
	pieces.Put(b)
	cn.wrote(err)
}

func (u *upload) send(cn *conn, b *[pieceHead + pieceSize + 2]byte) error {
	empty := 0
	for {
		if u.ended.Load() {
			return &streamError{errEnded}
		}
		n, err := u.from.Read(b[pieceHead : pieceHead+pieceSize])
		if empty++; n > 0 {
			empty = 0
			if failed := u.piece(cn, b, n); failed != nil {
				return failed
			}
		}
		switch {
		case err == io.EOF:
			return u.close(cn)
		case err != nil:
			return &streamError{err}
		case empty == maxEmpty:
			return &streamError{io.ErrNoProgress}
		}
	}
}

// close is called at the stream's end.
func (u *upload) close(cn *conn) error {
	switch {
	case u.left < 0:
		_, err := io.WriteString(cn, "0\r\n\r\n")
		return err
	case u.left > 0:
		return &streamError{errShort}
	}
	return nil
}

// piece sends n bytes that were read into b.
func (u *upload) piece(cn *conn, b *[pieceHead + pieceSize + 2]byte, n int) error {
	from, to := pieceHead, pieceHead+n
	switch {
	case u.left >= int64(n):
		u.left -= int64(n)
	case u.left >= 0:
		return &streamError{errLong}
	default:
		var size [pieceHead]byte
		s := append(strconv.AppendInt(size[:0], int64(n), 16), "\r\n"...)
		from -= copy(b[pieceHead-len(s):], s)
		to += copy(b[to:], "\r\n")
	}
	_, err := cn.Write(b[from:to])
	return err
}
