package keypool

import (
	"math"
	"math/bits"
	"time"

	"keybridge/keypool/verdict"
)

const (
	// together is how far apart two requests may be sent and yet come to the provider
	// in the other order.
	together = 100 * time.Millisecond
	// remembered is how long what was reported of a limit is believed: it may not hold
	// any more, and a reset that is far off is verified as a deadline is.
	remembered = verifyRate
	// nothingLeft is the share of a limit that is as good as none.
	nothingLeft = 0.01
)

// meter is what is known of the rate limits of one domain for one model.
type meter struct {
	tanks [verdict.Resources]tank
	// pending is what the leases in line will take; of the output what every answer
	// that has not ended will take, because it is taken only as it is written.
	pending need
	filled  uint8  // which tanks anything is known of, as bits
	asked   uint64 // for which choice answer is
	cold    bool   // and for a call whose prompt is not cached here
	answer  float64
	heard   bool // an answer has come, whether it told limits or not

	lane  *lane
	side  int // which of a lease's places is this one's
	epoch time.Time
	rows  [verdict.Resources]row
	// claims are what an organization is waiting to hear from a second one.
	claims [verdict.Resources]claim
	base   time.Time // when the first of those was sent whose reports these are
	// first and last begin and end the line of the leases that were sent and may
	// not be in the reports yet, the oldest first.
	first, last *Lease
}

// row is one rate limit as it was last reported.
type row struct {
	verdict.Limit
	sent, at time.Time // when the request was sent and its answer arrived
}

func (r *row) ratio() float64 { return float64(r.Remaining) / float64(r.Max) }

// tank is what is left of a limit, as a share of it: a token bucket, which fills
// steadily. Times are counted from the meter's epoch.
type tank struct {
	left   float64
	since  time.Duration
	refill float64       // a nanosecond
	unit   float64       // the share that 1 is; 0: nothing is known
	until  time.Duration // when this is forgotten
}

func (b *tank) known(now time.Duration) bool { return b.unit > 0 && now < b.until }

func (b *tank) at(now time.Duration) float64 {
	if now <= b.since {
		return b.left
	}
	return min(1, b.left+b.refill*float64(now-b.since))
}

func (b *tank) take(n float64, now time.Duration) {
	b.left = b.at(now) - n*b.unit
	b.since = max(b.since, now)
}

// set takes over a report of one limit. It is counted from its arrival, although it
// is a little older: rather too low than too high.
func (mt *meter) set(res verdict.Resource, l verdict.Limit, sent, at time.Time) {
	r, b := &mt.rows[res], &mt.tanks[res]
	if l.Max != r.Max || b.refill == 0 {
		b.refill = 1 / float64(time.Minute) // as most limits are, until one in use tells
	}
	*r = row{Limit: l, sent: sent, at: at}
	b.left, b.since, b.unit = r.ratio(), at.Sub(mt.epoch), 0
	mt.filled &^= 1 << res
	if l.Full.IsZero() {
		return
	}
	mt.filled |= 1 << res
	b.unit = 1 / float64(l.Max)
	b.until = b.since + remembered
	switch d := l.Full.Sub(at); {
	case d <= 0:
		b.left = 1
	case b.left < 1:
		b.refill = (1 - b.left) / float64(d)
	}
}

// spare is the share of the tightest limit that is left after the call. Keys of one
// organization are asked for it once a choice.
func (mt *meter) spare(w *walk, cold bool) float64 {
	pick, now := w.pool.book.lanes.picks, w.clock
	if mt.filled == 0 {
		return 1
	}
	if mt.asked == pick && mt.cold == cold {
		return mt.answer
	}
	n := w.takes(cold)
	spare := 1.0
	for left := mt.filled; left != 0; left &= left - 1 {
		i := bits.TrailingZeros8(left)
		if b := &mt.tanks[i]; b.known(now) {
			spare = min(spare, b.at(now)-float64(mt.pending[i]+n[i])*b.unit)
		}
	}
	mt.asked, mt.cold, mt.answer = pick, cold, spare
	return spare
}

// report takes over what an answer says. What was sent about the same time may have
// reached the provider in any order: of such reports the one that leaves less holds.
func (mt *meter) report(told *verdict.Report, l *Lease, now time.Time) {
	newer := l.sent.After(mt.base.Add(together))
	if !newer && l.sent.Before(mt.base.Add(-together)) {
		return
	}
	var fresh reflected
	for i, limit := range told {
		if limit.Max == 0 {
			continue
		}
		res, b := verdict.Resource(i), &mt.tanks[i]
		fresh[res] = true
		if at := now.Sub(mt.epoch); newer || !b.known(at) || float64(limit.Remaining)*b.unit < b.at(at) {
			mt.set(res, limit, l.sent, now)
		}
	}
	if fresh == (reflected{}) {
		return
	}
	if newer {
		mt.base = l.sent
		for mt.first != nil && mt.first.sent.Before(l.sent.Add(-together)) {
			mt.first.passed(mt, fresh, now)
		}
	}
	l.passed(mt, fresh, now)
}

// reflected are the limits in whose reports a lease's part is counted.
type reflected [verdict.Resources]bool

// owns says that a limit is the organization's, whose meter this is, and not that of
// the project, key or workspace that reports it: of the two an answer tells only the
// tighter one. It is if another one has reported the same; and who is told a higher
// limit knows better.
func (mt *meter) owns(res verdict.Resource, l verdict.Limit, by *meter, now time.Time) bool {
	if res == verdict.ProjectTokens {
		return false
	}
	if mt.tanks[res].known(now.Sub(mt.epoch)) {
		return l.Max >= mt.rows[res].Max
	}
	first := &mt.claims[res]
	if first.limit == l.Max && first.by != by {
		return true
	}
	*first = claim{l.Max, by}
	return false
}

// claim is the last limit that was reported to an organization that knows none.
type claim struct {
	limit int64
	by    *meter
}

// The places of a lease: in the meter of its project or, without one, its key, and
// in that of its organization.
const (
	narrow = iota
	wide
	sides
)

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
	l.pool = nil
	return mt
}

// measure finds the call's lane and what it needs, before a choice.
func (w *walk) measure(now time.Time) {
	ls := &w.pool.book.lanes
	if w.lane == nil || w.lane.gone {
		if w.lane = ls.get(clip(w.want.Model), false); w.lane != nil {
			w.need = w.lane.need(&w.want)
			w.cold = w.need
			whole := w.lane.input
			if w.want.Tokens > 0 {
				whole = w.lane.takes(w.want.Tokens)
			}
			w.cold[verdict.InputTokens] = max(w.need[verdict.InputTokens], int64(whole))
		}
	}
	w.warm = nil
	if s := w.home.stay; s != nil && now.Before(s.used.Add(s.life)) {
		w.warm = s.cache
	}
	if w.lane != nil {
		w.meters = w.lane.of(w.pool)
	}
	ls.picks++
	w.clock = now.Sub(ls.epoch)
}

// takes is what the call needs of a key's limits where its prompt is cached, or is not.
func (w *walk) takes(cold bool) *need {
	if cold {
		return &w.cold
	}
	return &w.need
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
	spare, heard, sent, cold := 1.0, false, false, w.comesCold(m)
	for _, mt := range w.meters[m.index] {
		if mt == nil {
			continue
		}
		if spare = min(spare, mt.spare(w, cold)); spare < floor {
			return spare
		}
		heard, sent = heard || mt.heard, sent || mt.first != nil
	}
	if sent && !heard {
		return min(spare, reserved)
	}
	return spare
}

// roomAt is when the key's limits will have room for the call, if nobody else takes
// it; false: never.
func (w *walk) roomAt(m *member, now time.Time) (time.Time, bool) {
	if w.lane == nil {
		return now, true
	}
	n := w.takes(w.comesCold(m))
	var longest time.Duration
	for _, mt := range w.meters[m.index] {
		if mt == nil {
			continue
		}
		long, ok := mt.until(n, w.clock)
		if !ok {
			return time.Time{}, false
		}
		longest = max(longest, long)
	}
	return now.Add(longest), true
}

// usedUp says that next to nothing is left of one of the key's limits. As long as there
// is more, its refusal of a large call says nothing of the small ones; and in a shortage,
// when prompts that had to move are waiting everywhere, it is those that must go on.
func (w *walk) usedUp(m *member) bool {
	for _, mt := range w.meters[m.index] {
		if mt == nil {
			continue
		}
		for i := range mt.tanks {
			if t := &mt.tanks[i]; t.known(w.clock) && t.at(w.clock) < nothingLeft {
				return true
			}
		}
	}
	return false
}

// until is how long from now the limits need to fill for a call.
func (mt *meter) until(n *need, now time.Duration) (longest time.Duration, ok bool) {
	for i := range mt.tanks {
		t := &mt.tanks[i]
		if !t.known(now) {
			continue
		}
		if float64(n[i])*t.unit > 1 {
			return 0, false
		}
		lacks := float64(mt.pending[i]+n[i])*t.unit - t.at(now)
		if lacks > 0 {
			longest = max(longest, time.Duration(math.Ceil(lacks/t.refill)))
		}
	}
	return longest, true
}

// warmAt says that the call's session goes to the key and has its prompt cached there,
// where the limits do not count what is.
func (w *walk) warmAt(m *member) bool {
	return w.pool.opts.Family == verdict.Anthropic && w.home.stay != nil && w.home.stay.key == m.key && !w.comesCold(m)
}

// comesCold says that the call is of a session whose prompt is not cached where the key
// is, as far as is known: the limits of input tokens take it as a whole there. Of a
// session that is not known nothing is cached anywhere.
func (w *walk) comesCold(m *member) bool {
	return w.home.id != 0 && (w.warm == nil || w.pool.cacheOf(m) != w.warm)
}
