package gateway

import (
	"math"
	"time"
)

const (
	never = time.Duration(math.MaxInt64)
	busy  = 100 * time.Millisecond // until the watchdog looks again at a writer that is at work
)

// pause is called before the upstream is read: what was written goes out, the last
// of it b, and the idle clock runs. It stands still while the client is slow. The
// error is why nothing can be written any more.
func (o *out) pause(b []byte) error {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.put(b)
	o.push()
	o.waiting = time.Now()
	return o.dead
}

func (o *out) resume() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.waiting = time.Time{}
}

// watch arms the watchdog for the next thing that can be due.
func (o *out) watch() {
	if o.closed || o.dead != nil {
		return
	}
	now := time.Now()
	next := never
	soon := func(since time.Time, d time.Duration) {
		if d <= 0 {
			return
		}
		if since.IsZero() {
			since = now
		}
		next = min(next, max(since.Add(d).Sub(now), 0))
	}
	if !o.committed && !o.heldSince.IsZero() {
		soon(o.heldSince, o.stream.Hold)
	}
	if o.pings {
		soon(o.lastWrite, o.stream.Ping)
	}
	if o.cancel != nil {
		soon(o.waiting, o.stream.IdleTimeout)
	}
	if next < never {
		o.timer.Reset(next)
	}
}

// tick does what is due: it lets go of what was held long enough, keeps a silent
// stream alive, and gives a silent upstream up.
func (o *out) tick() {
	if !o.mu.TryLock() {
		o.timer.Reset(busy) // whoever writes is neither silent nor waiting
		return
	}
	defer o.mu.Unlock()
	if o.closed {
		return
	}
	due := func(since time.Time, d time.Duration) bool {
		return d > 0 && !since.IsZero() && time.Since(since) >= d
	}
	if !o.committed && due(o.heldSince, o.stream.Hold) {
		o.commitNow()
		o.push()
	}
	if o.started && o.pings && due(o.lastWrite, o.stream.Ping) {
		o.put(o.ping)
		o.push()
	}
	if o.cancel != nil && due(o.waiting, o.stream.IdleTimeout) {
		o.cancel(errIdle)
		o.cancel = nil // once
	}
	o.watch()
}
