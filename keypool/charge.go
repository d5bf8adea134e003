package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

// place is a lease's place in the line of a meter.
type place struct {
	meter      *meter // nil: none
	waits      bool   // it is in the line
	prev, next *Lease
}

// charge counts the call as taken from its key's limits.
func (w *walk) charge(l *Lease) {
	if l.lane = w.lane; l.lane == nil {
		return
	}
	l.need, l.guess = *w.takes(w.comesCold(l.member)), w.want.Tokens
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

// passed takes the lease out of a meter's line. What it took is in the reports, or
// else is taken here.
func (l *Lease) passed(mt *meter, in reflected, now time.Time) {
	p := &l.places[mt.side]
	if p.meter != mt || !p.waits {
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
	at := now.Sub(mt.epoch)
	for i, n := range l.need {
		if i == int(verdict.OutputTokens) {
			continue
		}
		mt.pending[i] -= n
		if !in[i] && mt.tanks[i].known(at) && l.sent.After(mt.rows[i].sent) {
			mt.tanks[i].take(float64(n), at)
		}
	}
}

// report hands an answer's report to the meters of its key, which this very answer
// may have told.
func (l *Lease) report(told *verdict.Report, limited bool, now time.Time) {
	l.answered = now
	if limited && (l.lane == nil || l.lane.gone) {
		l.lane = l.pool.book.lanes.get(clip(l.model), true)
	}
	if limited {
		l.lane.reported = true
		l.share(told, now)
	}
	for i := range l.places {
		if mt := l.places[i].meter; mt != nil {
			mt.heard = mt.heard || i == narrow
			l.passed(mt, reflected{}, now)
		}
	}
}

// share gives each limit of a report to whom it belongs: those that an
// organization's keys share to its meter, the others to that of the project or key.
func (l *Lease) share(told *verdict.Report, now time.Time) {
	var meters [sides]*meter
	for side, d := range l.member.limited() {
		if d != nil {
			meters[side] = d.makeMeter(l.lane, side, l.pool.book.lanes.epoch)
		}
	}
	var parts [sides]verdict.Report
	for res, limit := range told {
		side := wide
		if limit.Max == 0 || meters[wide] == nil || !meters[wide].owns(verdict.Resource(res), limit, meters[narrow], now) {
			side = narrow
		}
		parts[side][res] = limit
	}
	for side, mt := range meters {
		if mt != nil {
			mt.heard = mt.heard || side == narrow || parts[side] != verdict.Report{}
			mt.report(&parts[side], l, now)
		}
	}
}

// settle ends what the lease counts for in the meters.
func (l *Lease) settle(u Usage) {
	if l.lane == nil {
		return
	}
	l.lane.learn(u, l.guess)
	now := time.Now()
	for i := range l.places {
		mt := l.places[i].meter
		if mt == nil {
			continue
		}
		l.passed(mt, reflected{}, now)
		const out = verdict.OutputTokens
		mt.pending[out] -= l.need[out]
		if at := now.Sub(mt.epoch); mt.tanks[out].known(at) {
			mt.tanks[out].take(float64(u.OutputTokens)*l.since(&mt.rows[out], now), at)
		}
		l.places[i].meter = nil
	}
}

// since is the part of the answer that was written after the row was reported.
func (l *Lease) since(r *row, now time.Time) float64 {
	if !r.sent.After(l.sent) {
		return 1
	}
	whole := now.Sub(l.answered)
	if l.answered.IsZero() || whole <= 0 {
		return 0
	}
	return min(1, float64(max(0, now.Sub(r.at)))/float64(whole))
}
