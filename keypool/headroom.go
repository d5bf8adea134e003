package keypool

import (
	"math"
	"time"

	"keybridge/keypool/verdict"
)

// together is how far apart two requests may be sent and yet come to the provider
// in the other order.
const together = 100 * time.Millisecond

// meter is what is known of the rate limits of one domain for one model.
type meter struct {
	lane  *lane
	side  int // which of a lease's places is this one's
	rows  [verdict.Resources]row
	epoch time.Time
	// slopes are those of the rows that are known, for the walks.
	slopes [verdict.Resources]slope
	known  int
	asked  uint64 // for which choice answer is
	answer float64
	heard  bool      // an answer has come, whether it told limits or not
	base   time.Time // when the first of those was sent whose reports these are
	// first and last begin and end the line of the leases that were sent and may
	// not be in the reports yet, the oldest first.
	first, last *Lease
	// pending is what they will take; of the output what every answer that has not
	// ended will take, because it is taken only as it is written.
	pending need
}

// row is one rate limit as it was last reported.
type row struct {
	verdict.Limit
	sent, at time.Time // when the request was sent and its answer arrived
}

// known says that the limit's level can be told.
func (r *row) known() bool { return !r.Full.IsZero() }

func (r *row) ratio() float64 { return float64(r.Remaining) / float64(r.Max) }

// level is what is left now, as a token bucket that fills steadily until it is full.
// Only for a limit that told when. It is counted from the report's arrival, although
// that is a little older: rather too low than too high.
func (r *row) level(now time.Time) float64 {
	s := r.slope()
	return float64(r.Max) * s.at(now.Sub(r.at))
}

// slope is how a limit fills, as a share of it.
type slope struct {
	left   float64
	refill float64 // a nanosecond
	since  time.Duration
	unit   float64 // the share that 1 is
	of     verdict.Resource
}

func (r *row) slope() slope {
	s := slope{left: r.ratio(), refill: math.Inf(1), unit: 1 / float64(r.Max)}
	if d := r.Full.Sub(r.at); d > 0 {
		s.refill = (1 - s.left) / float64(d)
	}
	return s
}

func (s *slope) at(t time.Duration) float64 {
	if t <= s.since {
		return s.left
	}
	return min(1, s.left+s.refill*float64(t-s.since))
}

// spare is the share of the tightest limit that is left after the call. pick and now
// are of the choice that asks: keys of one organization are asked for it once.
func (mt *meter) spare(n *need, pick uint64, now time.Duration) float64 {
	if mt.asked == pick {
		return mt.answer
	}
	spare := 1.0
	for i := range mt.known {
		s := &mt.slopes[i]
		spare = min(spare, s.at(now)-float64(mt.pending[s.of]+n[s.of])*s.unit)
	}
	mt.asked, mt.answer = pick, spare
	return spare
}

// set takes over a report of one limit.
func (mt *meter) set(res verdict.Resource, l verdict.Limit, sent, at time.Time) {
	mt.rows[res] = row{Limit: l, sent: sent, at: at}
	mt.known = 0
	for i := range mt.rows {
		if r := &mt.rows[i]; r.known() {
			s := r.slope()
			s.since, s.of = r.at.Sub(mt.epoch), verdict.Resource(i) //nolint:gosec // there are five
			mt.slopes[mt.known] = s
			mt.known++
		}
	}
}

// report takes over what an answer says. What was sent about the same time may have
// reached the provider in any order: of such reports the one that leaves less holds.
func (mt *meter) report(told *verdict.Report, sent, now time.Time) {
	newer := sent.After(mt.base.Add(together))
	if !newer && sent.Before(mt.base.Add(-together)) {
		return
	}
	for i, l := range told {
		r := &mt.rows[i]
		if l.Max == 0 || mt.side == wide && mt.foreign(verdict.Resource(i), l, now) { //nolint:gosec // there are five
			continue
		}
		if newer || r.Max == 0 || !r.known() || float64(l.Remaining) < r.level(now) {
			mt.set(verdict.Resource(i), l, sent, now) //nolint:gosec // as above
		}
	}
	if newer {
		mt.base = sent
		for mt.first != nil && mt.first.sent.Before(sent.Add(-together)) {
			mt.first.passed(mt)
		}
	}
}

// foreign says that a limit is not the organization's own but a tighter one of a
// project, which says nothing of the other projects.
func (mt *meter) foreign(res verdict.Resource, l verdict.Limit, now time.Time) bool {
	r := &mt.rows[res]
	return res == verdict.ProjectTokens || l.Max < r.Max && r.known() && now.Before(r.Full)
}

// The places of a lease: in the meter of its project or, without one, its key, and
// in that of its organization.
const (
	narrow = iota
	wide
	sides
)

// place is a lease's place in the line of a meter.
type place struct {
	meter      *meter // nil: none
	waits      bool   // it is in the line
	prev, next *Lease
}

// limited are the domains whose rate limits hold for the key; the second may be nil.
func (m *member) limited() [sides]*domain {
	d := [sides]*domain{m.project, m.org}
	if d[narrow] == nil {
		d[narrow] = m.key
	}
	return d
}

// meter is the domain's meter of a lane, nil if there is none.
func (d *domain) meter(l *lane) *meter {
	if l.slot >= len(d.meters) {
		return nil
	}
	if mt := d.meters[l.slot]; mt != nil && mt.lane == l {
		return mt
	}
	return nil
}

func (d *domain) makeMeter(l *lane, side int, epoch time.Time) *meter {
	if mt := d.meter(l); mt != nil {
		return mt
	}
	for len(d.meters) <= l.slot {
		d.meters = append(d.meters, nil)
	}
	mt := &meter{lane: l, side: side, epoch: epoch}
	d.meters[l.slot] = mt
	return mt
}

// measure finds the call's lane and what it needs, before a choice.
func (w *walk) measure(now time.Time) {
	ls := &w.pool.book.lanes
	if w.lane == nil {
		if w.lane = ls.get(clip(w.want.Model), false); w.lane != nil {
			w.need = w.lane.need(&w.want)
		}
	}
	ls.picks++
	w.clock = now.Sub(ls.epoch)
}

// spare is how much of its tightest rate limit the key would have left after this
// call: below zero it cannot take the call now. What is not known is taken for full;
// but while nobody knows anything of a key, it gets one call at a time as long as
// another one has room. It is of the moment of the last choice.
func (w *walk) spare(m *member) float64 { return w.spareAbove(m, math.Inf(-1)) }

// spareAbove is spare, looked into only as long as it may be above a floor.
func (w *walk) spareAbove(m *member, floor float64) float64 {
	if w.lane == nil {
		return 1
	}
	spare, heard, sent := 1.0, false, false
	for _, d := range m.limited() {
		if d == nil {
			continue
		}
		mt := d.meter(w.lane)
		if mt == nil {
			continue
		}
		if spare = min(spare, mt.spare(&w.need, w.pool.book.lanes.picks, w.clock)); spare < floor {
			return spare
		}
		heard, sent = heard || mt.heard, sent || mt.first != nil
	}
	if sent && !heard {
		return 0
	}
	return spare
}

// charge counts the call as taken from its key's limits.
func (w *walk) charge(l *Lease) {
	if l.lane = w.lane; l.lane == nil {
		return
	}
	l.need = w.need
	for side, d := range l.member.limited() {
		if d == nil {
			continue
		}
		mt := d.makeMeter(l.lane, side, l.pool.book.lanes.epoch)
		p := &l.places[side]
		p.meter, p.waits, p.prev = mt, true, mt.last
		if mt.last == nil {
			mt.first = l
		} else {
			mt.last.places[side].next = l
		}
		mt.last = l
		for r, n := range l.need {
			mt.pending[r] += n
		}
	}
}

// passed takes the lease out of a meter's line: what it took is in the reports.
func (l *Lease) passed(mt *meter) {
	p := &l.places[mt.side]
	if !p.waits {
		return
	}
	if p.prev == nil {
		mt.first = p.next
	} else {
		p.prev.places[mt.side].next = p.next
	}
	if p.next == nil {
		mt.last = p.prev
	} else {
		p.next.places[mt.side].prev = p.prev
	}
	p.waits, p.prev, p.next = false, nil, nil
	for r, n := range l.need {
		if verdict.Resource(r) != verdict.OutputTokens { //nolint:gosec // there are five
			mt.pending[r] -= n
		}
	}
}

// report hands an answer's report to the meters of its key.
func (l *Lease) report(told *verdict.Report, limited bool, now time.Time) {
	if l.lane == nil && limited {
		l.lane = l.pool.book.lanes.get(clip(l.model), true)
	}
	for i := range l.places {
		if mt := l.places[i].meter; mt != nil {
			mt.heard = true
			l.passed(mt)
		}
	}
	if l.lane == nil || !limited {
		return
	}
	l.lane.reported = true
	for side, d := range l.member.limited() { // which this very answer may have told
		if d != nil {
			mt := d.makeMeter(l.lane, side, l.pool.book.lanes.epoch)
			mt.heard = true
			mt.report(told, l.sent, now)
		}
	}
}

// settle ends what the lease counts for in the meters.
func (l *Lease) settle(u Usage) {
	if l.lane == nil {
		return
	}
	l.lane.learn(u)
	for i := range l.places {
		if mt := l.places[i].meter; mt != nil {
			l.passed(mt)
			mt.pending[verdict.OutputTokens] -= l.need[verdict.OutputTokens]
			l.places[i].meter = nil
		}
	}
}
