package keypool

import (
	"slices"
	"time"
)

// pick chooses the next key under the book's lock: that of the call's session, else
// a key whose trial is due, else by the strategy one that is free, else one whose
// trial has had its time. Without any of them it gives the trials that keep keys from
// this call.
func (w *walk) pick(now time.Time) (m *member, trying []*block) {
	if !w.home.found {
		w.belong(now)
	}
	w.measure(now)
	w.survey()
	w.chose = false
	w.until, w.roomOf = time.Time{}, nil
	if m, trying, ok := w.goHome(now); ok {
		return m, trying
	}
	return w.choose(now)
}

// choose is pick for a call that no session leads.
func (w *walk) choose(now time.Time) (m *member, trying []*block) {
	w.survey()
	w.roomy, w.chose = 0, true
	w.takeTurn()
	members := w.pool.members
	calm := w.pool.book.trouble == 0
	first := w.pool.opts.Strategy == Priority || w.pool.opts.Strategy == RoundRobin
	var best, tried choice
	for i, at := 0, w.start; i < len(members); i, at = i+1, at+1 {
		if at == len(members) {
			at = 0
		}
		c := members[at]
		if !w.askable(c, now) {
			w.skipped(c, free, now)
			continue
		}
		r := free
		if !calm {
			r = w.ready(c, now)
		} else if first && w.spare(c) >= w.reserve() {
			return c, nil // no trial can be due
		}
		switch r {
		case due:
			return c, nil
		case free, halfOpen:
			w.weigh(&best, c)
		case busy:
			if b := c.tried(clip(w.want.Model)); w.patienceWith(b, now) <= 0 {
				w.weigh(&tried, c)
			} else if !slices.Contains(trying, b) {
				trying = append(trying, b)
				w.skipped(c, busy, now)
			}
		case blocked:
			w.skipped(c, blocked, now)
		}
	}
	if best.member == nil {
		return tried.member, trying
	}
	return best.member, trying
}

// takeTurn is where round robin begins. A call that its session leads takes none.
func (w *walk) takeTurn() {
	if w.pool.opts.Strategy == RoundRobin && !w.turned {
		w.start = int(w.pool.turn.Add(1)-1) % len(w.pool.members) //nolint:gosec // far from overflow
		w.turned = true
	}
}

// askable says that the walk may still ask the key, were it not out.
func (w *walk) askable(m *member, now time.Time) bool {
	return w.asked.of(m) == unasked && (w.plain && !m.key.draining || !w.isOutside(m) && w.eligible(m, now))
}

// survey finds out whether every key must be looked at closely.
func (w *walk) survey() {
	w.plain = len(w.outside) == 0 && w.home.bound == nil && w.home.only == nil &&
		(w.unnamed || !w.pool.choosy) && w.pool.book.denials.none()
}

// choice is the best key found so far.
type choice struct {
	member *member
	spare  float64 // what it would have left of its limits
}

// weigh takes the key for the choice if it has room for the call and the one found
// before it has none, or the strategy prefers it. Of keys without room, whose provider
// would refuse the call, it takes the one that lacks the least.
func (w *walk) weigh(c *choice, m *member) {
	if w.pool.opts.Strategy == Weighted {
		w.weighTurn(c, m)
		return
	}
	switch {
	case c.member == nil:
		c.member, c.spare = m, w.spare(m)
	case w.pool.opts.Strategy == Headroom || c.spare < w.reserve():
		if s := w.spareAbove(m, c.spare); s > c.spare || s >= c.spare && m.key.inflight < c.member.key.inflight {
			c.member, c.spare = m, s
		}
	case w.prefers(m, c.member):
		if s := w.spareAbove(m, w.reserve()); s >= w.reserve() {
			c.member, c.spare = m, s
		}
	}
}

// weighTurn is weigh for Weighted, which must know of all keys whether they take part.
func (w *walk) weighTurn(c *choice, m *member) {
	s := w.spare(m)
	room := w.reserve()
	if s >= room && m.index < 64 {
		w.roomy |= 1 << m.index
	}
	if c.member == nil || c.spare < room && s > c.spare || s >= room && w.prefers(m, c.member) {
		c.member, c.spare = m, s
	}
}

// reserved is the share of a key's limits that is left to the sessions it has.
const reserved = 0.25

// reserve is the share of its limits that a key must have left for the call to count as
// one with room. A session that looks for a key leaves some to those that are there:
// when their key is full, they would have to move, which takes far more of the limits.
func (w *walk) reserve() float64 {
	if w.home.id == 0 || w.home.only != nil || w.pool.opts.Affinity == AffinityOff {
		return 0
	}
	return reserved
}

// prefers says that the strategy puts the key before one that stands before it in
// its order.
func (w *walk) prefers(m, than *member) bool {
	switch w.pool.opts.Strategy {
	case LeastBusy:
		return m.key.inflight < than.key.inflight
	case Weighted:
		return m.key.credit+m.weight > than.key.credit+than.weight
	case Priority, RoundRobin, Headroom:
	}
	return false
}

// pay counts a turn of smooth weighted round robin: each usable key gains its
// weight, and the one whose turn it is pays for all. Heavy keys are thus spread among
// the light ones instead of taking their turns in a row.
func (w *walk) pay(turn *member, now time.Time) {
	for _, m := range w.pool.members {
		usable := w.roomy>>m.index&1 == 1
		if !w.chose || m.index >= 64 {
			usable = w.askable(m, now) && w.ready(m, now) <= halfOpen && w.fits(m)
		}
		if usable || m == turn {
			m.key.credit += m.weight
			turn.key.credit -= m.weight
		}
	}
}
