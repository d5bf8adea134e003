package keypool

import (
	"slices"
	"time"

	"keybridge/keypool/verdict"
)

// Want is what one upstream call needs of a key.
type Want struct {
	Model    string // as asked; "" if the request names none: then any key may serve it
	Endpoint string // the route's pattern: a closed set
	Caller   string // who is asking: those who wait are served in turns by caller
	// Session names the conversation the call belongs to, which must be the caller's
	// own and nobody else's; "" if it belongs to none.
	Session string
	Begins  bool // the call is the session's first: it goes by the strategy
	// Signal is the word for what named the session, for the Trail.
	Signal string
	// Sealed says that the call holds what only the organization its session has been
	// with can read, such as encrypted reasoning.
	Sealed bool
	// Pins are the ids of what the provider keeps and the call needs, such as files
	// and earlier responses: only keys of the project that made them can serve it.
	Pins      []string
	CacheLife time.Duration // how long the provider keeps the session's prompt cached; zero: as its family does
	Tokens    int64         // an estimate of what the call will use; zero: unknown
	// Tally counts over all the calls of one client request. Nil: this call
	// stands for itself.
	Tally *Tally
	// Trail gets what is decided about the call. Nil: nobody asks.
	Trail *Trail
}

// told is what a walk knows of a key from asking it.
type told uint8

const (
	unasked told = iota
	marked       // the answer spoke against the key
	refused      // the answer spoke against the request
	failed       // the upstream failed: it may be asked again
)

// asked holds what the keys of a pool have told a walk. The first are in the walk
// itself, so that a call allocates nothing for them.
type asked struct {
	few  [64]told
	many []told // the others; as long as needed
}

func (a *asked) of(m *member) told {
	if m.index < len(a.few) {
		return a.few[m.index]
	}
	if i := m.index - len(a.few); i < len(a.many) {
		return a.many[i]
	}
	return unasked
}

func (a *asked) set(m *member, t told) {
	if m.index < len(a.few) {
		a.few[m.index] = t
		return
	}
	i := m.index - len(a.few)
	for len(a.many) <= i {
		a.many = append(a.many, unasked)
	}
	a.many[i] = t
}

// walk is one upstream call's way through the pool.
type walk struct {
	pool   *Pool
	want   Want
	start  int // where round robin begins
	turned bool
	// unnamed says that the request names no model: want has its endpoint instead.
	unnamed bool

	home       belonging
	until      time.Time // when the session's key is back, if that is to be waited for
	roomOf     *domain   // whose room that is, if the key is not out but full
	asked      asked
	outside    []*domain // scopes this request need not be asked in again
	denials    []denial
	suspects   []suspect
	last       *member
	reason     verdict.Reason // of the last verdict: why the call moves on
	handed     int
	refusal    error // the last answer that refused the request itself
	failure    error // the last answer of an upstream that failed
	resends    int
	restarts   int
	paused     bool          // has just waited to send again
	waited     time.Duration // for a cooling key
	patience   time.Duration // spent on other requests' trials
	begun      int           // how long the trail was when the call began
	explained  bool          // why keys are passed over has been noted before
	lane       *lane         // whose rate limits the call comes under; nil: none that are kept
	roomy      uint64        // of the first 64 keys those that the last choice among all found usable, with room
	chose      bool          // there was one, for this lease
	meters     []meters      // those of the pool's keys, at the time of the last choice
	need       need          // what it takes of them
	cold       need          // the same where its session's prompt is not cached
	warm       *domain       // where that is; nil: nowhere
	clock      time.Duration // when the present choice is made
	plain      bool          // no key is kept from it but by what it was asked and what it is out for
	overfull   bool          // it was refused by limits that were known to have no room for it
	toldDenied bool          // a key known to be denied has been asked for its answer
}

type suspect struct {
	member *member
	sent   time.Time
	status int
}

// follow takes the call over to the pool that has succeeded its own, if that is for
// the same upstream: a call that has no key to ask shall have those that have come
// since, and none that has gone.
func (w *walk) follow(p *Pool) bool {
	if w.pool == p || w.pool.host != p.host || w.pool.opts.Family != p.opts.Family {
		return false
	}
	known := map[*domain]told{}
	for _, m := range w.pool.members {
		known[m.key] = w.asked.of(m)
	}
	w.pool, w.start, w.asked = p, w.start%len(p.members), asked{}
	w.home.found = false
	for _, m := range p.members {
		w.asked.set(m, known[m.key])
	}
	return true
}

// tried is the block of a busy key on which the latest trial runs.
func (m *member) tried(model string) (found *block) {
	m.blocks(model, func(b *block) {
		if b.trial != nil && (found == nil || b.trial.sent.After(found.trial.sent)) {
			found = b
		}
	})
	return found
}

// admits says that the operator lets the key serve the request. One that names no
// model is anybody's.
func (w *walk) admits(m *member) bool { return w.unnamed || m.admits(w.want.Model) }

// ready is how usable the key is for the call's model now.
func (w *walk) ready(m *member, now time.Time) readiness { return m.ready(clip(w.want.Model), now) }

// isOutside says that a key of the same scope has told that none of it can serve the call.
func (w *walk) isOutside(m *member) bool { return slices.ContainsFunc(w.outside, m.in) }

// pickDenied chooses a key known to be denied, once, when no other is left: its
// own answer is better than one of ours.
func (w *walk) pickDenied(now time.Time) *member {
	if w.toldDenied {
		return nil
	}
	for _, m := range w.pool.members {
		if w.asked.of(m) == unasked && !w.isOutside(m) && w.admits(m) && w.within(m) &&
			w.pool.book.denials.denied(m, w.want.Model, w.want.Endpoint, now) && w.ready(m, now) <= halfOpen {
			return m
		}
	}
	return nil
}

// lease hands the key out under the book's lock.
func (w *walk) lease(m *member, now time.Time) *Lease {
	l := &Lease{pool: w.pool, member: m, model: w.want.Model, sent: now, bond: w.bond()}
	w.tellHome(m, now)
	if w.pool.book.trouble > 0 {
		m.blocks(clip(w.want.Model), func(b *block) {
			if b.inForce(now) {
				b.asked = now
			}
			if b.trial == nil || b.inForce(now) { // one that had its time is not waited for
				b.trial = l
				l.trials = append(l.trials, b)
			}
		})
	}
	m.key.inflight++
	if w.want.Trail != nil {
		w.leased(l, now)
	}
	w.paused = false
	l.foreseen = w.lane != nil && !w.fits(m) && !w.usedUp(m)
	w.charge(l)
	if w.last != nil && m.key == w.last.key {
		return l // the same key again: neither handed out anew nor a move
	}
	if w.last != nil {
		w.pool.book.series.failover(w.reason)
	}
	w.last = m
	if w.asked.of(m) == unasked {
		w.handed++
		if w.pool.opts.Strategy == Weighted {
			w.pay(m, now)
		}
	}
	return l
}
