package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

// Affinity says whether a session stays with its key.
type Affinity string

// The affinities.
const (
	// AffinityAuto keeps sessions with their keys where a move would cost them their
	// prompt cache: if the pool's keys do not all share one.
	AffinityAuto Affinity = "auto"
	AffinityOff  Affinity = "off" // every call goes by the strategy
)

const (
	lowerTime = 30 * time.Minute
	// cachedPerSecond prices a move: so many cached tokens are worth a second's wait.
	// To write them again takes a provider 1/15 000 s a token, and costs about one
	// input token each (written at 1 to 1.25 of the price instead of read at 0.1 to
	// 0.25); with 10 000 input tokens, three to five cents, for the second of the
	// one who waits, that is 1/15 000 + 1/10 000 = 1/6 000 s a token.
	cachedPerSecond = 6_000
)

// cacheOf is what shares one prompt cache with the key: its workspace at Anthropic,
// its organization elsewhere. Where that is not known, the next best that is.
func (p *Pool) cacheOf(m *member) *domain {
	first, second := m.org, m.project
	if p.opts.Family == verdict.Anthropic {
		first, second = second, first
	}
	switch {
	case first != nil:
		return first
	case second != nil:
		return second
	}
	return m.key
}

// spans says that the pool's keys do not all share one prompt cache.
func (p *Pool) spans() bool {
	one := p.cacheOf(p.members[0])
	for _, m := range p.members[1:] {
		if p.cacheOf(m) != one {
			return true
		}
	}
	return false
}

// KeepsSessions says that it matters to the pool which session a call belongs to.
// If not, nobody needs to find out.
func (p *Pool) KeepsSessions() bool {
	if p.borrowed {
		return false
	}
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	return p.spans()
}

// belonging is what a walk knows of the session and the state its call belongs to.
type belonging struct {
	found bool      // what follows is known
	id    sessionID // 0: none, or it does not matter
	model uint64
	known *session // nil: a new one
	stay  *stay    // of known, for the model
	// bound is the only project, or organization, that can serve the call; nil: all can.
	bound *domain
	pin   pinID   // what bound it; zero: the session
	only  *domain // the cache within which a key is looked for just now
	told  string  // what the trail says of it
}

// bond is what a lease's answer tells of the session and the state of its call.
type bond struct {
	session sessionID
	model   uint64
	begins  bool
	visits  bool // the session's own key is not to blame that this one serves
	life    time.Duration
	pins    []string
	cached  int64 // as reported when the lease was released; -1: not yet, or not at all
}

func (w *walk) bond() bond {
	h := &w.home
	b := bond{session: h.id, model: h.model, begins: w.want.Begins, pins: w.want.Pins, cached: -1}
	if h.id != 0 {
		b.life = w.cacheLife()
		if h.stay != nil {
			home := w.pool.memberOf(h.stay.key)
			b.visits = home != nil && w.asked.of(home) == failed
		}
	}
	return b
}

// tellHome puts into the trail what the session or the pins have to do with the
// choice of the key.
func (w *walk) tellHome(m *member, now time.Time) {
	if w.want.Trail == nil {
		return
	}
	what := Began
	switch s := w.home.stay; {
	case w.home.bound != nil:
		what = Pinned
	case w.home.id == 0:
		return
	case s == nil:
	case s.key == m.key:
		what = Stayed
	default:
		what = Moved
	}
	if w.home.told != what {
		w.home.told = what
		w.want.Trail.Add(Decision{At: now, Key: m.id, What: what, Why: w.want.Signal})
	}
}

// belong finds out, at the beginning of a walk, where the call belongs.
func (w *walk) belong(now time.Time) {
	b := w.pool.book
	w.home = belonging{found: true, told: w.home.told}
	through := w.bind(now)
	if !w.pool.spans() {
		return
	}
	switch {
	case w.want.Session != "":
		w.home.id = b.sessions.id(w.want.Caller, w.want.Session)
	default:
		w.home.id = through
	}
	if w.home.id == 0 {
		return
	}
	w.home.model = b.sessions.model(clip(w.want.Model))
	if w.want.Begins {
		return
	}
	if w.home.known = b.sessions.find(w.home.id, now); w.home.known == nil {
		return
	}
	w.home.stay = w.home.known.of(w.home.model)
	if w.want.Sealed && w.home.bound == nil {
		if m := w.pool.memberOf(w.home.stay.key); m != nil {
			w.bindTo(m.at(verdict.Organization))
		}
	}
}

func (p *Pool) memberOf(key *domain) *member {
	for _, m := range p.members {
		if m.key == key {
			return m
		}
	}
	return nil
}

// keeps says that the call belongs to the key already: its session goes there, or
// what it needs is there. A key that takes no new sessions serves it still.
func (w *walk) keeps(m *member) bool {
	return w.home.bound != nil || w.home.known != nil && w.home.known.has(m.key)
}

// goHome chooses the key of the call's session; if that is out, another one with the
// same prompt cache. With neither it says that the session had better wait, for a
// trial or until a time, or ok is false and the call goes by the strategy.
func (w *walk) goHome(now time.Time) (m *member, trying []*block, ok bool) {
	s := w.home.stay
	if s == nil || w.pool.opts.Affinity == AffinityOff {
		return nil, nil, false
	}
	home := w.pool.memberOf(s.key)
	if w.leaves(s, home, now) {
		return nil, nil, false
	}
	if m, trying, ok = w.atHome(s, home, now); ok {
		return m, trying, true
	}
	m, at, returns := w.nearHome(s, home, now)
	switch {
	case m != nil && w.fits(m):
		return m, nil, true
	case returns && at.After(now) && w.worth(s, now, at):
		w.until = at
		if w.usable(home, now) {
			w.roomOf = home.at(verdict.Organization)
		}
		return nil, nil, true
	case w.usable(home, now): // but full
		if m, _ = w.choose(now); m == nil || !w.fits(m) {
			m = home // as is every other: the cache decides
		}
		return m, nil, true
	}
	return nil, nil, false
}

// nearHome chooses among the keys with the session's prompt cache, and says when the
// soonest of them returns, or its own has room.
func (w *walk) nearHome(s *stay, home *member, now time.Time) (m *member, at time.Time, returns bool) {
	w.home.only = s.cache
	if home != nil {
		w.home.only = w.pool.cacheOf(home)
	}
	m, _ = w.choose(now)
	at, returns = w.soonest(now)
	w.home.only = nil
	if full, ok := w.fills(home, now); ok && (!returns || full.Before(at)) {
		return m, full, true
	}
	return m, at, returns
}

// usable says that the key may be asked now, whether it has room or not.
func (w *walk) usable(m *member, now time.Time) bool {
	return m != nil && w.askable(m, now) && w.ready(m, now) <= halfOpen
}

// atHome says that the session's own key serves the call, now or after a trial that is
// worth the wait.
func (w *walk) atHome(s *stay, home *member, now time.Time) (m *member, trying []*block, ok bool) {
	if home == nil || !w.askable(home, now) || !w.fits(home) {
		return nil, nil, false
	}
	switch w.ready(home, now) {
	case free, halfOpen:
		return home, nil, true
	case busy:
		b := home.tried(clip(w.want.Model))
		left := w.patienceWith(b, now)
		if left <= 0 {
			return home, nil, true
		}
		if w.worth(s, now, now.Add(left)) {
			return nil, []*block{b}, true
		}
	case due, blocked:
	}
	return nil, nil, false
}

// fills is when a key that has no room for the call now will have some.
func (w *walk) fills(m *member, now time.Time) (time.Time, bool) {
	if !w.usable(m, now) {
		return time.Time{}, false
	}
	return w.roomAt(m, now)
}

// leaves says that a session on a lower key looks for a higher one: under Priority,
// when its cache is gone, or when it has been there for long.
func (w *walk) leaves(s *stay, home *member, now time.Time) bool {
	return w.pool.opts.Strategy == Priority && home != nil && home.index > 0 &&
		(now.Sub(s.used) >= s.life || now.Sub(s.since) >= lowerTime)
}

// fits says that the key's limits, as far as they are known, have room for the call.
func (w *walk) fits(m *member) bool { return w.spare(m) >= 0 }

// worth says that to wait until a time is cheaper than to write the session's cache
// anew with another key, that the cache will still be there, and that the call may
// wait so long.
func (w *walk) worth(s *stay, now, until time.Time) bool {
	wait := until.Sub(now)
	return s.cached > 0 &&
		wait <= time.Duration(s.cached)*time.Second/cachedPerSecond &&
		until.Before(s.used.Add(s.life)) &&
		w.waited+wait <= w.pool.opts.MaxWait
}

// cacheLife is how long the provider keeps the session's prompts after their last use.
func (w *walk) cacheLife() time.Duration {
	switch {
	case w.want.CacheLife > 0:
		return w.want.CacheLife
	case w.pool.opts.Family == verdict.Anthropic:
		return 5 * time.Minute
	}
	return 30 * time.Minute
}
