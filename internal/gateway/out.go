package gateway

import (
	"context"
	"errors"
	"net/http"
	"sync"
	"time"
)

const (
	writePatience = time.Minute      // for a stuck client to take what is written
	writeRenew    = 10 * time.Second // how stale the write deadline may get
)

var (
	// ErrStopping is the cause with which the server's base context ends.
	ErrStopping = errors.New("the gateway is stopping")

	errIdle       = errors.New("the upstream fell silent")
	errLate       = errors.New("the upstream did not answer in time")
	errClientGone = errors.New("the client went away")
)

// out is the client's side of an exchange: the head that is to be sent, what is
// held back, and the clock of silences. The handler's goroutine and the watchdog
// timer share it under its lock; nobody else writes to the client.
type out struct {
	mu     sync.Mutex
	w      http.ResponseWriter
	rc     *http.ResponseController
	head   bool // the request is HEAD: no bodies
	stream Stream
	ping   []byte

	status    int
	header    http.Header
	started   bool // the head is written
	committed bool // the turn's answer is the client's
	complete  bool // the answer has ended well
	closed    bool
	dead      error // why nothing can be written any more
	dirty     bool  // written, not flushed
	pings     bool  // the answer is a stream that may be kept alive

	held      []byte
	heldSince time.Time
	first     time.Time
	lastWrite time.Time
	deadline  time.Time // when the write deadline was last set

	waiting time.Time // since when the upstream is waited for; zero: it is not
	cancel  context.CancelCauseFunc
	timer   *time.Timer
}

func newOut(w http.ResponseWriter, r *http.Request, s Stream, ping []byte) *out {
	return &out{w: w, rc: http.NewResponseController(w), head: r.Method == http.MethodHead, stream: s, ping: ping}
}

// prepare takes the head of an answer that may become the client's.
func (o *out) prepare(status int, h http.Header, streamed bool, cancel context.CancelCauseFunc) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if !o.started {
		o.status, o.header = status, h
	}
	o.committed, o.held, o.heldSince = false, o.held[:0], time.Time{}
	o.pings = streamed && o.stream.Ping > 0 && len(o.ping) > 0
	o.cancel = cancel
	o.watch()
}

// hold keeps an event that may still be thrown away. It reports whether the
// answer is committed all the same: too much or for too long was held.
func (o *out) hold(raw []byte) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.committed {
		o.put(raw)
		return true
	}
	if len(o.held) == 0 {
		o.heldSince = time.Now()
		o.watch()
	}
	o.held = append(o.held, raw...)
	if len(o.held) > o.stream.HoldBytes {
		o.commitNow()
	}
	return o.committed
}

// preamble is what is held, and whether it is still only held.
func (o *out) preamble() (held []byte, open bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.held, !o.committed
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
	if len(o.held) > 0 {
		o.put(o.held)
	}
	o.held = nil
}

// write sends bytes of the answer.
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
	now := time.Now()
	if now.Sub(o.deadline) > writeRenew {
		o.deadline = now
		_ = o.rc.SetWriteDeadline(now.Add(writePatience)) // not every writer can
	}
	o.dirty, o.lastWrite = true, now
	if _, err := o.w.Write(b); err != nil {
		o.lose(err)
	}
}

func (o *out) putHead() {
	if o.started {
		return
	}
	o.started = true
	h := o.w.Header()
	for k, v := range o.header {
		h[k] = v
	}
	if _, ok := o.header["Content-Type"]; !ok {
		h["Content-Type"] = nil // else net/http would guess one
	}
	o.w.WriteHeader(o.status)
	o.dirty = true
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
	if err := o.rc.Flush(); err != nil {
		o.lose(err)
	}
}

// whole sends an answer that is all there.
func (o *out) whole(status int, h http.Header, body []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.header = status, h
	o.putHead()
	o.put(body)
	o.complete = o.dead == nil
}

// end says that the answer has ended well.
func (o *out) end() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.putHead()
	o.complete = o.dead == nil
}

// pause is called before the upstream is read: what was written goes out, and the
// idle clock runs.
func (o *out) pause() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.push()
	o.waiting = time.Now()
}

func (o *out) resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = time.Time{}
}

// watch arms the watchdog for the next thing that can be due.
func (o *out) watch() {
	if o.closed {
		return
	}
	now := time.Now()
	next := time.Duration(-1)
	soon := func(since time.Time, d time.Duration) {
		if d <= 0 {
			return
		}
		if since.IsZero() {
			since = now
		}
		if left := since.Add(d).Sub(now); next < 0 || left < next {
			next = max(left, time.Millisecond)
		}
	}
	if !o.committed && len(o.held) > 0 {
		soon(o.heldSince, o.stream.Hold)
	}
	if o.pings {
		soon(o.lastWrite, o.stream.Ping)
	}
	soon(o.waiting, o.stream.IdleTimeout)
	switch {
	case next < 0:
	case o.timer == nil:
		o.timer = time.AfterFunc(next, o.tick)
	default:
		o.timer.Reset(next)
	}
}

// tick does what is due: it lets go of what was held long enough, keeps a silent
// stream alive, and gives a silent upstream up.
func (o *out) tick() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	now := time.Now()
	if !o.committed && len(o.held) > 0 && o.stream.Hold > 0 && now.Sub(o.heldSince) >= o.stream.Hold {
		o.commitNow()
		o.push()
	}
	if o.started && o.pings && now.Sub(o.lastWrite) >= o.stream.Ping {
		o.put(o.ping)
		o.push()
	}
	if !o.waiting.IsZero() && o.stream.IdleTimeout > 0 && now.Sub(o.waiting) >= o.stream.IdleTimeout && o.cancel != nil {
		o.cancel(errIdle)
	}
	o.watch()
}

// close ends the watch. Nothing is written after it.
func (o *out) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.push()
	o.closed = true
	if o.timer != nil {
		o.timer.Stop()
	}
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
