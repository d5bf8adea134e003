package upstream

import (
	"bytes"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

// Buffers of other sizes are not kept: smaller ones cost little, larger ones are rare
// and much memory. They are powers of two.
const (
	smallestBuffer = 10
	largestBuffer  = 20
	smallPower     = 14 // up to which a body is copied rather than waited for
)

var buffers [largestBuffer + 1]sync.Pool //nolint:gochecknoglobals // pools of *Buffer, by power of two

// Buffer holds a request's body. Its memory serves another request once nobody
// needs it: a transport can still be reading a body when the answer is through.
type Buffer struct {
	Bytes []byte
	users atomic.Int32 // who made it, and the bodies under way that read it
	power int          // 0: not kept
}

// NewBuffer makes a buffer of n bytes, which hold anything.
func NewBuffer(n int) *Buffer {
	power := bits.Len(uint(max(n, 1) - 1))
	if power < smallestBuffer || power > largestBuffer {
		return &Buffer{Bytes: make([]byte, n)}
	}
	b, ok := buffers[power].Get().(*Buffer)
	if !ok {
		b = &Buffer{Bytes: make([]byte, 1<<power), power: power}
	}
	b.Bytes = b.Bytes[:n]
	b.users.Store(1)
	return b
}

// Hold says that one more reads the buffer, until it calls Release. A nil Buffer is
// not reused anyway.
func (b *Buffer) Hold() {
	if b != nil && b.power > 0 {
		b.users.Add(1)
	}
}

// Release says that its maker needs the buffer no more. A nil Buffer has none.
func (b *Buffer) Release() {
	if b != nil && b.power > 0 && b.users.Add(-1) == 0 {
		buffers[b.power].Put(b)
	}
}

// body is a request's body in memory. The transport may close it while another of
// its goroutines reads; after Close nothing of the memory is touched.
type body struct {
	mu     sync.Mutex
	r      bytes.Reader
	owner  *Buffer
	closed bool
}

func newBody(text []byte, owner *Buffer) io.ReadCloser {
	switch {
	case owner == nil || owner.power == 0:
		return io.NopCloser(bytes.NewReader(text)) // net/http knows it, and sends it together with the head
	case owner.power <= smallPower: // so that net/http knows it, too
		return io.NopCloser(bytes.NewReader(bytes.Clone(text)))
	}
	b := &body{owner: owner}
	b.r.Reset(text)
	owner.Hold()
	return b
}

// Read implements io.Reader.
func (b *body) Read(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed {
		return 0, io.ErrClosedPipe
	}
	return b.r.Read(p)
}

// Close implements io.Closer.
func (b *body) Close() error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.closed {
		b.closed = true
		b.r.Reset(nil)
		b.owner.Release()
	}
	return nil
}
