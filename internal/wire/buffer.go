package wire

import "sync"

// A body is read with a large buffer, so that what is there comes at once; a stream
// that brings little at a time waits with a small one, so that a silent one costs
// little.
const (
	smallBuf = 2 << 10
	largeBuf = 32 << 10
)

var (
	small = sync.Pool{New: func() any { return new([smallBuf]byte) }} //nolint:gochecknoglobals // a pool
	large = sync.Pool{New: func() any { return new([largeBuf]byte) }} //nolint:gochecknoglobals // a pool
)

// Release gives the reader's memory back. Neither the reader nor an event of its may
// be used after it. Without it the garbage collector does the same, dearer.
func (r *Reader) Release() {
	recycle(r.buf)
	r.buf, r.start, r.end = nil, 0, 0
}

// swap moves what has been read into a buffer of another size.
func (r *Reader) swap(size int) {
	var b []byte
	switch size {
	case smallBuf:
		b = small.Get().(*[smallBuf]byte)[:] //nolint:forcetypeassert // nothing else is put in
	case largeBuf:
		b = large.Get().(*[largeBuf]byte)[:] //nolint:forcetypeassert // nothing else is put in
	default:
		b = make([]byte, size)
	}
	copy(b, r.buf[:r.end])
	recycle(r.buf)
	r.buf = b
}

func recycle(b []byte) {
	switch len(b) {
	case smallBuf:
		small.Put((*[smallBuf]byte)(b))
	case largeBuf:
		large.Put((*[largeBuf]byte)(b))
	}
}
