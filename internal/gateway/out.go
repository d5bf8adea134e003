package gateway

import (
	"bytes"
	"context"
	"errors"
	"maps"
	"net/http"
	"strconv"
	"sync"
	"time"

	"keybridge/internal/upstream"
	"keybridge/internal/wire"
)

const writePiece = 16 << 10 // so that a slow client with a large answer is not a stuck one

var (
	// ErrStopping is the cause with which the server's base context ends.
	ErrStopping = errors.New("the gateway is stopping")

	errIdle       = errors.New("the upstream fell silent")
	errLate       = errors.New("the upstream did not answer in time")
	errClientGone = errors.New("the client went away")
)

// editor changes what a client sees of an answer; see dialect.Splicer.
type editor interface {
	Event(wire.Event) []wire.Event
}

// out is the client's side of an exchange: the head that is to be sent, what is
// held back, and the clock of silences. The handler's goroutine and the watchdog
// timer share it under its lock; nobody else writes to the client.
type out struct {
	mu     sync.Mutex
	w      http.ResponseWriter
	rc     http.ResponseController
	conn   *conn
	head   bool // the request is HEAD: no bodies
	stream Stream
	ping   []byte
	splice editor // nil: the upstream's bytes as they are

	status    int
	header    http.Header    // of the gateway's own answer
	resp      *http.Response // else the upstream's
	rewrite   upstream.Rewrite
	started   bool // the head is written
	committed bool // the turn's answer is the client's
	complete  bool // the answer has ended well
	closed    bool
	dead      error // why nothing can be written any more
	dirty     bool  // written, not flushed
	pings     bool  // the answer is a stream that may be kept alive

	held      []byte // whole events
	heldSince time.Time
	attempts  int    // for the header; 0: not told
	id        string // beside it
	first     time.Time
	lastWrite time.Time

	waiting time.Time // since when the upstream is waited for; zero: it is not
	cancel  context.CancelCauseFunc
	timer   *time.Timer
}

func (o *out) init(w http.ResponseWriter, r *http.Request, s Stream) {
	o.w, o.rc, o.conn, o.head, o.stream = w, *http.NewResponseController(w), connOf(r.Context()), r.Method == http.MethodHead, s
	o.timer = time.AfterFunc(never, o.tick)
}

// prepare takes the head of an answer that may become the client's. A ping is for a
// stream, and nil for any other.
func (o *out) prepare(resp *http.Response, w upstream.Rewrite, ping []byte, cancel context.CancelCauseFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.started {
		o.status, o.header, o.resp, o.rewrite = resp.StatusCode, nil, resp, w
		o.ping, o.pings = ping, o.stream.Ping > 0 && len(ping) > 0
	}
	o.committed, o.held, o.heldSince = false, nil, time.Time{}
	o.cancel = cancel
	o.watch()
}

// hold keeps an event that may still be thrown away. It reports whether the
// answer is committed all the same: too much or for too long was held.
func (o *out) hold(ev wire.Event) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.committed {
		o.pass(ev)
		return true
	}
	if o.heldSince.IsZero() {
		o.heldSince = time.Now()
		o.watch()
	}
	o.held = append(o.held, ev.Raw...)
	if len(o.held) > o.stream.HoldBytes {
		o.commitNow()
	}
	return o.committed
}

// retract throws an answer away and returns what was held of it; ok is false if
// it is the client's already.
func (o *out) retract() (held []byte, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.committed {
		return nil, false
	}
	held = o.held
	o.held, o.heldSince, o.cancel = nil, time.Time{}, nil
	return held, true
}

// commit makes the answer the client's. What follows is written as it comes.
func (o *out) commit() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.committed {
		o.commitNow()
	}
}

func (o *out) commitNow() {
	o.committed = true
	if o.first.IsZero() {
		o.first = time.Now()
	}
	held := o.held
	o.held = nil
	if o.splice == nil {
		o.put(held)
		return
	}
	// A splicer remembers what it has seen, so it must not see what may still be
	// thrown away.
	events := wire.NewReader(wire.SSE, bytes.NewReader(held))
	for ev, err := events.Next(); err == nil; ev, err = events.Next() {
		o.pass(ev)
	}
}

// forward gives an event of a committed answer to the client.
func (o *out) forward(ev wire.Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.pass(ev)
}

func (o *out) pass(ev wire.Event) {
	if o.splice == nil {
		o.put(ev.Raw)
		return
	}
	for _, edited := range o.splice.Event(ev) {
		o.put(edited.Raw)
	}
}

// verbatim says that what follows is not cut into events: nothing can be edited
// in it, nor put between.
func (o *out) verbatim() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.splice, o.pings = nil, false
}

// write sends bytes of the gateway's own.
func (o *out) write(b []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.put(b)
}

func (o *out) put(b []byte) {
	if o.dead != nil || o.closed || len(b) == 0 {
		return
	}
	o.putHead()
	if o.head {
		return
	}
	o.soil()
	for len(b) > 0 && o.dead == nil {
		piece := b[:min(len(b), writePiece)]
		b = b[len(piece):]
		if _, err := o.w.Write(piece); err != nil { //nolint:gosec // an answer of an API, relayed as it came
			o.lose(err)
		}
	}
	o.wrote()
}

// wrote sets the clock of pings, where there are any, to now.
func (o *out) wrote() {
	if o.pings {
		o.lastWrite = time.Now()
	}
}

// soil notes that something is about to be written.
func (o *out) soil() {
	if !o.dirty {
		o.dirty = true
		o.conn.hold()
	}
}

func (o *out) putHead() {
	if o.started {
		return
	}
	o.started = true
	o.soil()
	h := o.w.Header()
	maps.Copy(h, o.header)
	if o.resp != nil {
		upstream.ClientHeader(h, o.resp, o.rewrite)
	}
	if _, ok := h["Content-Type"]; !ok {
		h["Content-Type"] = nil // else net/http would guess one
	}
	if o.attempts > 0 {
		h["X-Keybridge-Attempts"] = []string{strconv.Itoa(o.attempts)}
		h["X-Keybridge-Id"] = []string{o.id}
	}
	o.w.WriteHeader(o.status)
	o.wrote()
}

// count notes how many attempts the client is to be told of, and of which exchange.
func (o *out) count(attempts int, id string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.attempts, o.id = attempts, id
}

// begin sends the head of a committed answer before its first bytes, which may be
// long in coming.
func (o *out) begin() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putHead()
}

// lose notes that the client is gone, and calls the upstream off.
func (o *out) lose(err error) {
	o.dead = err
	if o.cancel != nil {
		o.cancel(errClientGone)
	}
}

func (o *out) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.push()
}

func (o *out) push() {
	if !o.dirty || o.dead != nil {
		return
	}
	o.dirty = false
	err := o.rc.Flush()
	if e := o.conn.send(); err == nil {
		err = e
	}
	if err != nil {
		o.lose(err)
	}
}

// whole sends an answer that is all there.
func (o *out) whole(status int, h http.Header, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.header, o.resp = status, h, nil
	if !o.head {
		h.Set("Content-Length", strconv.Itoa(len(body)))
	}
	o.putHead()
	o.put(body)
	o.push()
	o.complete = o.dead == nil
}

// end says that the answer has ended well. If net/http has an end of its own to
// write, the last of the answer goes out with it.
func (o *out) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putHead()
	if _, known := o.w.Header()["Content-Length"]; !known && !o.head && o.dirty && o.dead == nil && o.rc.Flush() == nil {
		o.dirty = false
		o.conn.leave()
	}
	o.push()
	o.complete = o.dead == nil
}

// close ends the watch. Nothing is written after it but what net/http ends an
// answer with.
func (o *out) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.push()
	o.closed = true
	o.timer.Stop()
}

func (o *out) begun() bool           { return locked(o, func() bool { return o.started }) }
func (o *out) ended() bool           { return locked(o, func() bool { return o.complete }) }
func (o *out) broken() bool          { return locked(o, func() bool { return o.dead != nil }) }
func (o *out) firstEvent() time.Time { return locked(o, func() time.Time { return o.first }) }

// sentStatus is the status the client was sent, 0 if none was.
func (o *out) sentStatus() int {
	return locked(o, func() int {
		if !o.started {
			return 0
		}
		return o.status
	})
}

func locked[T any](o *out, read func() T) T {
	o.mu.Lock()
	defer o.mu.Unlock()
	return read()
}
