package wire

import (
	"errors"
	"io"
)

const (
	maxEvent = 32 << 20 // the largest event, and the largest JSON document shown whole
	maxHeld  = 8 << 20  // the largest JSON document delivered as one event

	minRead  = 512
	maxEmpty = 100 // reads in a row that may bring neither bytes nor an error
	maxNames = 32
	maxName  = 64 // bytes of one
)

// Reader cuts one body into events. The raw bytes of the events it returns,
// followed by Rest, are the bytes it has read.
//
// An SSE event is delivered as soon as its blank line has arrived. A JSON
// document is delivered whole when the body ends; beyond 8 MiB it goes by in
// chunks instead (see KeepWhole) and, up to 32 MiB, is shown once more at the end in an event
// without raw bytes. An SSE event over 32 MiB turns the rest of the body into
// chunks.
type Reader struct {
	src     io.Reader
	waiter  Waiter // src, if it wants to know
	err     error  // what src ended with
	framing Framing

	// buf[start:end] has been read and not been delivered. The bytes of the last
	// event lie before start and stay untouched until the next read.
	buf        []byte
	start, end int
	last       int // what the last read brought
	hold, most int // maxHeld and maxEvent

	sse   scanner
	names map[string]string // one string per usual event name, so that an event costs none
}

// Waiter is what the source of a Reader may be besides. Wait is called before the
// source is read, while all events returned since the last time are still valid.
type Waiter interface{ Wait() }

// NewReader returns a reader of r's body. It reads r only inside Next.
func NewReader(f Framing, r io.Reader) *Reader {
	w, _ := r.(Waiter)
	return &Reader{src: r, waiter: w, framing: f, hold: maxHeld, most: maxEvent, sse: scanner{first: true}}
}

// KeepWhole has every document that is shown whole delivered as one event, for those who
// edit it.
func (r *Reader) KeepWhole() { r.hold = r.most }

// Next returns the next event, valid until Next is called again; its raw bytes in
// a stream are valid until the source is read. At the proper
// end of the body the error is io.EOF, after a last event that lacks its blank
// line; any other error is a cut, as the body's Read returned it.
func (r *Reader) Next() (Event, error) {
	switch r.framing {
	case SSE:
		return r.nextSSE()
	case JSON:
		return r.nextJSON()
	case Opaque:
	}
	return r.nextChunk()
}

// Rest is what a cut body ended with: bytes read that are not part of an event.
func (r *Reader) Rest() []byte { return r.buf[r.start:r.end] }

// Last returns the last n raw bytes of a stream's events, in one piece. The events
// must have been returned since the source was last read.
func (r *Reader) Last(n int) []byte { return r.buf[r.start-n : r.start : r.start] }

func (r *Reader) nextSSE() (Event, error) {
	for {
		if to, ok := r.sse.scan(r.buf[:r.end]); ok {
			return r.take(to), nil
		}
		held := r.end - r.start
		switch {
		case r.err == nil && held <= r.most:
		case r.err == nil:
			r.framing = Opaque
			return r.deliver(), nil
		case held > 0 && errors.Is(r.err, io.EOF):
			r.sse.finish(r.buf[:r.end])
			return r.take(r.end), nil
		default:
			return Event{}, r.err
		}
		r.wait()
		r.compact()
		r.fill()
	}
}

// take makes an event of the fields the scanner has collected.
func (r *Reader) take(to int) Event {
	e := Event{Raw: r.buf[r.start:to:to], Data: r.sse.data(r.buf)}
	if n := r.sse.name; n.to > n.from {
		e.Name = r.intern(r.buf[n.from:n.to])
	}
	r.sse.reset()
	r.start = to
	return e
}

func (r *Reader) intern(name []byte) string {
	if s, ok := r.names[string(name)]; ok {
		return s
	}
	s := string(name)
	if r.names == nil {
		r.names = make(map[string]string, 8)
	}
	if len(r.names) < maxNames && len(s) <= maxName {
		r.names[s] = s
	}
	return s
}

// nextJSON keeps the document from buf[0] on, delivered or not.
func (r *Reader) nextJSON() (Event, error) {
	for r.err == nil {
		r.wait()
		r.fill()
		switch {
		case r.end > r.most:
			r.framing = Opaque
			return r.deliver(), nil
		case r.end > r.hold && r.end > r.start:
			return r.deliver(), nil
		}
	}
	if !errors.Is(r.err, io.EOF) || r.end == 0 {
		return Event{}, r.err
	}
	whole := r.buf[:r.end:r.end]
	e := Event{Raw: whole[r.start:], Data: whole}
	r.start, r.end = 0, 0
	return e, nil
}

func (r *Reader) nextChunk() (Event, error) {
	if r.err == nil {
		r.wait()
	}
	r.start, r.end = 0, 0
	if r.err == nil {
		if len(r.buf) != largeBuf {
			r.swap(largeBuf)
		}
		r.fill()
	}
	if r.end == 0 {
		return Event{}, r.err
	}
	return r.deliver(), nil
}

// deliver hands out everything held as a chunk.
func (r *Reader) deliver() Event {
	e := Event{Raw: r.buf[r.start:r.end:r.end], Chunk: true}
	r.start = r.end
	return e
}

func (r *Reader) wait() {
	if r.waiter != nil {
		r.waiter.Wait()
	}
}

// compact moves the held bytes to the front when little room is left behind them.
func (r *Reader) compact() {
	if r.start > 0 && (r.start == r.end || len(r.buf)-r.end < minRead) {
		copy(r.buf, r.buf[r.start:r.end])
		r.sse.shift(r.start)
		r.end -= r.start
		r.start = 0
	}
	switch size := len(r.buf); {
	case size < largeBuf && r.last > size/2: // more is likely to come at once
		r.swap(largeBuf)
	case size >= largeBuf && r.end == 0 && r.last < smallBuf/2: // a stream can be silent for long
		r.swap(smallBuf)
	}
}

// fill reads once, into a larger buffer if need be; it brings bytes, or an error
// in r.err, or both.
func (r *Reader) fill() {
	if len(r.buf)-r.end < minRead {
		size := largeBuf
		if len(r.buf) >= largeBuf {
			size = 2 * len(r.buf)
		}
		// One byte beyond the limit must fit, to tell "at" from "over".
		if size = min(size, r.most+minRead); size > len(r.buf) {
			r.swap(size)
		}
	}
	for range maxEmpty {
		n, err := r.src.Read(r.buf[r.end:])
		r.end += n
		r.last = n
		if r.err = err; n > 0 || err != nil {
			return
		}
	}
	r.err = io.ErrNoProgress
}
