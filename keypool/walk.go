package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

// Want is what one upstream call needs of a key.
type Want struct {
	Model    string // as asked; "" if the request names none
	Endpoint string // the route's pattern: a closed set
	// Tally counts over all the calls of one client request. Nil: this call
	// stands for itself.
	Tally *Tally
}

// asked is what a walk knows of a key from asking it.
type asked uint8

const (
	unasked asked = iota
	marked        // the answer spoke against the key
	refused       // the answer spoke against the request
	failed        // the upstream failed: it may be asked again
	stale         // the answer spoke of a time before the key's recovery
)

// walk is one upstream call's way through the pool.
type walk struct {
	pool  *Pool
	want  Want
	start int // where round robin begins

	asked      []asked
	outside    []*domain // scopes this request need not be asked in again
	denials    []pendingDenial
	suspects   []suspect
	impatient  bool // has waited for a trial long enough
	last       *member
	reason     verdict.Reason // of the last verdict: why the call moves on
	handed     int
	refusal    error // the last answer that refused the request itself
	failure    error // the last answer of an upstream that failed
	failedOn   *member
	resends    int
	restarts   int
	paused     bool          // has just waited to send again
	waited     time.Duration // for a cooling key
	patience   time.Duration // spent on other requests' trials
	toldDenied bool          // a key known to be denied has been asked for its answer
}

type pendingDenial struct {
	denial
	level verdict.Level
}

type suspect struct {
	member *member
	sent   time.Time
	status int
}

// pick chooses the next key under the book's lock: first a key whose trial is due,
// then by the strategy. wait is set when only keys that others are trying are left.
func (w *walk) pick(now time.Time) (m *member, wait chan struct{}) {
	var best *member
	var trying *block
	n := len(w.pool.members)
	for i := range n {
		c := w.pool.members[(w.start+i)%n]
		if w.asked[c.index] != unasked || w.isOutside(c) || !c.admits(w.want.Model) {
			continue
		}
		if w.pool.book.denials.denied(c, w.want.Model, w.want.Endpoint, now) {
			continue
		}
		r := free
		if w.pool.book.trouble > 0 {
			r = c.ready(clip(w.want.Model), now)
		}
		switch {
		case r == due:
			return c, nil
		case r <= halfOpen || (r == busy && w.impatient):
			best = w.better(best, c)
		case r == busy && trying == nil:
			trying = c.tried(clip(w.want.Model))
		}
	}
	if best == nil && trying != nil {
		wait = make(chan struct{})
		trying.waiters = append(trying.waiters, wait)
	}
	return best, wait
}

// better compares two usable keys, the first found before the second.
func (w *walk) better(a, b *member) *member {
	if a == nil || (w.pool.opts.Strategy == LeastBusy && b.key.inflight < a.key.inflight) {
		return b
	}
	return a
}

func (m *member) tried(model string) *block {
	var found *block
	m.blocks(model, func(b *block) {
		if b.trial != nil && found == nil {
			found = b
		}
	})
	return found
}

func (w *walk) isOutside(m *member) bool {
	for _, d := range w.outside {
		if d == m.key || d == m.project || d == m.org {
			return true
		}
	}
	return false
}

// pickDenied chooses a key known to be denied, once, when no other is left: its
// own answer is better than one of ours.
func (w *walk) pickDenied(now time.Time) *member {
	if w.toldDenied {
		return nil
	}
	for _, m := range w.pool.members {
		if w.asked[m.index] == unasked && !w.isOutside(m) && m.admits(w.want.Model) &&
			w.pool.book.denials.denied(m, w.want.Model, w.want.Endpoint, now) && m.ready(clip(w.want.Model), now) <= halfOpen {
			w.toldDenied = true
			return m
		}
	}
	return nil
}

// lease hands the key out under the book's lock.
func (w *walk) lease(m *member, now time.Time) *Lease {
	l := &Lease{pool: w.pool, member: m, model: w.want.Model, sent: now}
	if w.pool.book.trouble > 0 {
		m.blocks(clip(w.want.Model), func(b *block) {
			if b.trial == nil {
				b.trial = l
				l.trials = append(l.trials, b)
			}
		})
	}
	m.key.inflight++
	w.paused = false
	if m == w.last {
		return l // the same key again: neither handed out anew nor a move
	}
	if w.last != nil {
		w.pool.book.series.failover(w.reason)
	}
	w.last = m
	w.handed++
	return l
}

// soonest is the earliest permitted try among the eligible keys that return by a
// deadline.
func (w *walk) soonest(now time.Time) (time.Time, bool) {
	var at time.Time
	for _, m := range w.pool.members {
		if !m.admits(w.want.Model) || w.pool.book.denials.denied(m, w.want.Model, w.want.Endpoint, now) {
			continue
		}
		t, ok := m.returns(clip(w.want.Model), now)
		if ok && (at.IsZero() || t.Before(at)) {
			at = t
		}
	}
	return at, !at.IsZero()
}

// returns is when the key may be used again for the model; ok is false if nothing
// cools it, or if no deadline ends what keeps it out.
func (m *member) returns(model string, now time.Time) (at time.Time, ok bool) {
	dead := false
	m.blocks(model, func(b *block) {
		if !b.inForce(now) {
			return
		}
		if b.permanent {
			dead = true
			return
		}
		if t := b.nextTry(); t.After(at) {
			at = t
		}
	})
	return at, !dead && !at.IsZero()
}
