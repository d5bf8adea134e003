package keypool

import (
	"container/list"
	"context"
	"time"
)

// maxLine bounds how many calls wait for one provider.
const maxLine = 4096

// roomTick is how often those who wait for room look for it, when no answer shows
// it before.
const roomTick = 100 * time.Millisecond

// line is where calls wait that no key can serve at the moment. Whatever ends a
// wait hands the lease over in the line's order, under the lock: callers in turns,
// and each caller's calls first in, first out. It needs one timer, however many wait.
type line struct {
	n       int
	room    int                // how many of them wait for room
	homes   map[*domain]int    // and for that of these limits
	passed  map[*domain]bool   // those that one in line waits for who comes before
	callers map[string]*caller // those who have calls in line
	turns   list.List          // of *caller, whose turn it is first
	timer   *time.Timer
	at      time.Time // when it fires; zero: not set
	stirred bool      // something has happened that those in line may have waited for
}

type caller struct {
	name  string
	calls list.List // of *waiter, the first come first
	turn  *list.Element
	next  *list.Element // the first call not looked at in the present round
}

// waiter is a call in line.
type waiter struct {
	walk   walk // the call's own, which is parked here
	wait   wait
	since  time.Time // from here on its waiting is not accounted yet
	caller *caller
	place  *list.Element
	done   chan struct{} // closed when it leaves the line
	lease  *Lease        // what it leaves with; nil: it has to look for itself
}

// wait is what a call waits for, and until when it is to be looked at by then.
type wait struct {
	what  awaited
	until time.Time
	of    *domain // whose limits are to have room for it, because its session is there; nil: any
}

type awaited uint8

const (
	nothing awaited = iota
	aTrial          // the head of another call's trial
	aKey            // a deadline, or the end of a permitted trial
	room            // as much of a rate limit as the call needs
)

var awaitedWords = [...]string{"", "trial", "deadline", "room"} //nolint:gochecknoglobals // a constant table

// class are the calls of which the same is to be said as long as they have asked no key.
type class struct {
	pool            *Pool
	model, endpoint string
	unnamed         bool
	bound           *domain  // the only keys that can serve them
	finishes        *session // whose keys the operator lets finish what they have begun
}

func (w *walk) class() class {
	c := class{w.pool, w.want.Model, w.want.Endpoint, w.unnamed, w.home.bound, nil}
	if s := w.home.known; s != nil && s.drains() {
		c.finishes = s
	}
	return c
}

// outlook is what the keys have for a class of calls now.
type outlook struct {
	usable bool      // some key may be asked
	trying bool      // some key is being tried
	at     time.Time // the soonest return by a deadline; zero: none
	full   bool      // there was no room for one of them
}

func (w *walk) outlook(now time.Time) (o outlook) {
	for _, m := range w.pool.members {
		if !w.eligible(m, now) {
			continue
		}
		switch w.ready(m, now) {
		case free, halfOpen, due:
			o.usable = true
		case busy:
			o.trying = true
		case blocked:
			if at, ok := m.returns(clip(w.want.Model), now); ok {
				sooner(&o.at, at)
			}
		}
	}
	return o
}

// join puts the call into the line; nil if that is full.
func (b *book) join(w *walk, what wait, now time.Time) *waiter {
	l := &b.line
	if l.n >= maxLine && !b.displace(w.want.Caller, now) {
		return nil
	}
	c := l.callers[w.want.Caller]
	if c == nil {
		if l.callers == nil {
			l.callers = map[string]*caller{}
		}
		c = &caller{name: w.want.Caller}
		c.turn = l.turns.PushBack(c)
		l.callers[c.name] = c
	}
	q := &waiter{walk: *w, since: now, caller: c, done: make(chan struct{})}
	q.place = c.calls.PushBack(q)
	l.n++
	b.expect(q, what, now)
	b.alarm(what.until, now)
	return q
}

// displace makes room in a full line at the cost of the caller who has the most calls
// in it, if the one who asks is not as much to blame.
func (b *book) displace(asks string, now time.Time) bool {
	own, most := 1, (*caller)(nil)
	for name, c := range b.line.callers {
		if name == asks {
			own += c.calls.Len()
		}
		if most == nil || c.calls.Len() > most.calls.Len() {
			most = c
		}
	}
	if most == nil || most.calls.Len() <= own {
		return false
	}
	last, _ := most.calls.Back().Value.(*waiter)
	b.leave(last, nil, now) // it finds the line full, and its caller has the most
	return true
}

// expect sets what a call in line waits for from now on.
func (b *book) expect(q *waiter, what wait, now time.Time) {
	q.account(now)
	if q.wait.what == room {
		b.line.room--
	}
	if what.what == room {
		b.line.room++
	}
	b.line.count(q.wait.of, -1)
	b.line.count(what.of, 1)
	q.wait = what
}

// count keeps how many wait for room of a domain's limits.
func (l *line) count(d *domain, n int) {
	if d == nil {
		return
	}
	if l.homes == nil {
		l.homes = map[*domain]int{}
	}
	if l.homes[d] += n; l.homes[d] == 0 {
		delete(l.homes, d)
	}
}

// account adds the time in line to what it was spent on.
func (q *waiter) account(now time.Time) {
	spent := now.Sub(q.since)
	q.since = now
	w := &q.walk
	switch q.wait.what {
	case nothing:
		return
	case aTrial:
		w.patience += spent
	case aKey, room:
		w.waited += spent
	}
	if spent > 0 {
		w.want.Trail.Add(Decision{At: now, What: Waited, Why: awaitedWords[q.wait.what], For: spent})
	}
}

// leave takes the call out of the line, with a lease if it has got one.
func (b *book) leave(q *waiter, with *Lease, now time.Time) {
	b.expect(q, wait{}, now)
	b.line.n--
	c := q.caller
	c.calls.Remove(q.place)
	q.lease, q.place = with, nil
	if c.calls.Len() == 0 {
		b.line.turns.Remove(c.turn)
		delete(b.line.callers, c.name)
	}
	close(q.done)
	if b.line.n == 0 {
		b.alarm(time.Time{}, now)
	}
}

// letGo hands keys to those in line who can be served now, in turns by caller, and
// sends away those who have nothing more to wait for. It costs nothing as long as
// nobody waits, little as long as nothing has happened.
func (b *book) letGo(now time.Time) {
	l := &b.line
	stirred := l.stirred
	l.stirred = false
	if l.n == 0 || !stirred && now.Before(l.at) {
		return
	}
	views := map[class]outlook{}
	clear(l.passed)
	var soonest time.Time
	round := make([]*caller, 0, l.turns.Len())
	for el := l.turns.Front(); el != nil; el = el.Next() {
		c, _ := el.Value.(*caller)
		c.next = c.calls.Front()
		round = append(round, c)
	}
	for len(round) > 0 {
		again := round[:0]
		for _, c := range round {
			if b.serve(c, views, &soonest, now) {
				again = append(again, c)
			}
		}
		round = again
	}
	l.at = time.Time{}
	b.alarm(soonest, now)
}

// serve looks for the caller's next call that can go, and says that one has gone
// with a key: then the next caller's turn has come.
func (b *book) serve(c *caller, views map[class]outlook, soonest *time.Time, now time.Time) bool {
	for c.next != nil {
		q, _ := c.next.Value.(*waiter)
		c.next = c.next.Next()
		if b.idle(q, views, now) {
			sooner(soonest, q.wait.until)
			continue
		}
		q.account(now)
		w := &q.walk
		if q.wait.what == aKey && w.cameBack(now) {
			w.restart()
		}
		s := w.look(now, true)
		switch {
		case s.lease != nil:
			clear(views) // the key may be busy or full from here on
			b.leave(q, s.lease, now)
			if c.calls.Len() > 0 {
				b.line.turns.MoveToBack(c.turn)
			}
			return true
		case s.wait.what != nothing:
			if v := views[q.walk.class()]; s.wait.what == room {
				v.full = true // so that those behind it do not overtake it
				views[q.walk.class()] = v
			}
			l := &b.line
			if s.wait.of != nil {
				if l.passed == nil {
					l.passed = map[*domain]bool{}
				}
				l.passed[s.wait.of] = true
			}
			b.expect(q, s.wait, now)
			sooner(soonest, q.wait.until)
		default:
			b.leave(q, nil, now)
		}
	}
	return false
}

// idle says that nothing has changed for the call: it waits on.
func (b *book) idle(q *waiter, views map[class]outlook, now time.Time) bool {
	if !now.Before(q.wait.until) {
		return false
	}
	class := q.walk.class()
	v, ok := views[class]
	if !ok {
		v = q.walk.outlook(now)
		views[class] = v
	}
	switch {
	case v.full && q.wait.what == room:
		return true
	case v.usable:
		return false
	case q.wait.what == aTrial:
		return v.trying
	}
	return !v.trying && !v.at.IsZero() && !v.at.After(q.since.Add(q.walk.mayWait()))
}

// sooner sets a time to another one that is before it, or if it is zero.
func sooner(at *time.Time, t time.Time) {
	if at.IsZero() || t.Before(*at) {
		*at = t
	}
}

// alarm makes the timer fire at that time if it would fire later; zero stops it.
func (b *book) alarm(at, now time.Time) {
	l := &b.line
	switch {
	case at.IsZero():
		if l.timer != nil {
			l.timer.Stop()
		}
	case !l.at.IsZero() && !at.Before(l.at):
		return
	case l.timer == nil:
		l.timer = time.AfterFunc(at.Sub(now), b.ring)
	default:
		l.timer.Reset(at.Sub(now))
	}
	l.at = at
}

// ring is what the timer does.
func (b *book) ring() {
	b.mu.Lock()
	now := time.Now()
	p := b.newest
	events := p.settle(now)
	b.line.stirred = true
	b.letGo(now)
	b.mu.Unlock()
	p.report(events)
}

// await waits in line until the call is let go, at best with a lease.
func (w *walk) await(ctx context.Context, q *waiter) (*Lease, error) {
	select {
	case <-q.done:
	case <-ctx.Done():
	}
	b := w.pool.book
	b.mu.Lock()
	if q.place != nil {
		b.leave(q, nil, time.Now())
	}
	*w = q.walk
	b.mu.Unlock()
	if ctx.Err() == nil {
		return q.lease, nil
	}
	if q.lease != nil { // it came as the client left
		q.lease.drop()
	}
	return nil, context.Cause(ctx)
}
