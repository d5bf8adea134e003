package keypool

import (
	"cmp"
	"math"
	"slices"
	"time"

	"keybridge/keypool/verdict"
)

const (
	// together is how far apart two requests may be sent and yet come to the provider
	// in the other order.
	together = 100 * time.Millisecond
	// weightOfNew is what one answer's usage counts in the running average.
	weightOfNew = 1. / 8
)

// need is what a call takes of its key's rate limits.
type need [verdict.Resources]int64

// lane is one model: what it is called, and what a call of it uses on average.
type lane struct {
	slot     int
	name     string
	used     uint64 // when it was last asked for, in calls
	reported bool   // a provider has told a limit for it

	input, fresh, output float64 // tokens a call; fresh: not read from a cache
}

// lanes are the models whose rate limits are kept. Clients choose their names, so
// they are few, and one that no provider knows displaces none that one does.
type lanes struct {
	byName map[string]*lane
	clock  uint64
}

// get finds the lane of a model or makes one; nil if there is no room for it.
func (ls *lanes) get(model string, reported bool) *lane {
	ls.clock++
	if l := ls.byName[model]; l != nil {
		l.used = ls.clock
		return l
	}
	l := &lane{slot: len(ls.byName), name: model, used: ls.clock}
	if l.slot == maxModels {
		victim := ls.victim(reported)
		if victim == nil {
			return nil
		}
		l.slot = victim.slot
		delete(ls.byName, victim.name)
	}
	if ls.byName == nil {
		ls.byName = map[string]*lane{}
	}
	ls.byName[model] = l
	return l
}

// victim is the lane that was not asked for the longest.
func (ls *lanes) victim(reported bool) (found *lane) {
	for _, l := range ls.byName {
		if (reported || !l.reported) && (found == nil || l.used < found.used) {
			found = l
		}
	}
	return found
}

// learn takes an answer's usage into the average.
func (l *lane) learn(u Usage) {
	if u.InputTokens+u.OutputTokens <= 0 {
		return
	}
	w := weightOfNew
	if l.input == 0 && l.output == 0 {
		w = 1
	}
	l.input += w * (float64(u.InputTokens) - l.input)
	l.fresh += w * (float64(max(0, u.InputTokens-u.CacheReadTokens)) - l.fresh)
	l.output += w * (float64(u.OutputTokens) - l.output)
}

// need estimates what a call takes. OpenAI counts all tokens when the request comes
// in; Anthropic the input that is not read from a cache, as a session's mostly is,
// and the output as it is written.
func (l *lane) need(w *Want) need {
	whole := l.input + l.output
	fresh := l.fresh
	if w.Tokens > 0 {
		whole = float64(w.Tokens)
		if w.Session == "" || w.Begins || fresh == 0 {
			fresh = whole
		}
	}
	return need{
		verdict.Requests: 1, verdict.Tokens: int64(whole), verdict.ProjectTokens: int64(whole),
		verdict.InputTokens: int64(fresh), verdict.OutputTokens: int64(l.output),
	}
}

// meter is what is known of the rate limits of one domain for one model.
type meter struct {
	lane  *lane
	side  int // which of a lease's places is this one's
	rows  [verdict.Resources]row
	heard bool      // an answer has come, whether it told limits or not
	base  time.Time // when the first of those was sent whose reports these are
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
	refill   float64   // a nanosecond
}

// level is what is left now: a token bucket fills steadily until it is full. Only
// for a limit that told when.
func (r *row) level(now time.Time) float64 {
	return min(float64(r.Max), float64(r.Remaining)+r.refill*float64(max(0, now.Sub(r.at))))
}

// known says that the limit's level can be told.
func (r *row) known() bool { return !r.Full.IsZero() }

func (r *row) ratio() float64 { return float64(r.Remaining) / float64(r.Max) }

// set takes over a report. Its levels are counted from its arrival, although they
// are a little older: rather too low than too high.
func (r *row) set(l verdict.Limit, sent, at time.Time) {
	*r = row{Limit: l, sent: sent, at: at, refill: math.Inf(1)}
	if d := l.Full.Sub(at); d > 0 {
		r.refill = float64(l.Max-l.Remaining) / float64(d)
	}
}

// spare is the share of the tightest limit that is left after the call.
func (mt *meter) spare(n *need, now time.Time) float64 {
	spare := 1.0
	for i := range mt.rows {
		r := &mt.rows[i]
		if r.known() {
			spare = min(spare, (r.level(now)-float64(mt.pending[i]+n[i]))/float64(r.Max))
		}
	}
	return spare
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
			r.set(l, sent, now)
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

func (d *domain) makeMeter(l *lane, side int) *meter {
	if mt := d.meter(l); mt != nil {
		return mt
	}
	for len(d.meters) <= l.slot {
		d.meters = append(d.meters, nil)
	}
	mt := &meter{lane: l, side: side}
	d.meters[l.slot] = mt
	return mt
}

// measure finds the call's lane and what it needs.
func (w *walk) measure() {
	if w.lane == nil {
		if w.lane = w.pool.book.lanes.get(clip(w.want.Model), false); w.lane != nil {
			w.need = w.lane.need(&w.want)
		}
	}
}

// spare is how much of its tightest rate limit the key would have left after this
// call: below zero it cannot take the call now. What is not known is taken for full;
// but while nobody knows anything of a key, it gets one call at a time as long as
// another one has room.
func (w *walk) spare(m *member, now time.Time) float64 {
	if w.lane == nil {
		return 1
	}
	spare, heard, sent := 1.0, false, false
	for _, d := range m.limited() {
		if d == nil {
			continue
		}
		if mt := d.meter(w.lane); mt != nil {
			spare = min(spare, mt.spare(&w.need, now))
			heard, sent = heard || mt.heard, sent || mt.first != nil
		}
	}
	if sent && !heard {
		return 0
	}
	return spare
}

// charge counts the call as taken from its key's limits.
func (w *walk) charge(l *Lease) {
	w.measure()
	if l.lane = w.lane; l.lane == nil {
		return
	}
	l.need = w.need
	for side, d := range l.member.limited() {
		if d == nil {
			continue
		}
		mt := d.makeMeter(l.lane, side)
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
			mt := d.makeMeter(l.lane, side)
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

// lastReport is a key's limit as it was last reported for a model, by whichever key
// shares it.
func (m *member) lastReport(l *lane, res verdict.Resource) (mt *meter, last *row) {
	for _, d := range m.limited() {
		if d == nil {
			continue
		}
		if at := d.meter(l); at != nil && at.rows[res].Max > 0 && (last == nil || at.rows[res].sent.After(last.sent)) {
			mt, last = at, &at.rows[res]
		}
	}
	return mt, last
}

// ratios are what is left of a key's limits, as shares; below zero: unknown.
type ratios [verdict.ProjectTokens]float64

// ratios are the key's limits for its gauge, each as the last answer told it that
// told it at all. A project's own tokens are tokens, too.
func (m *member) ratios(ls *lanes) ratios {
	var newest [verdict.Resources]*row
	for _, l := range ls.byName {
		for res := range newest {
			_, r := m.lastReport(l, verdict.Resource(res)) //nolint:gosec // there are five
			if n := newest[res]; r != nil && (n == nil || r.sent.After(n.sent) || r.sent.Equal(n.sent) && r.ratio() < n.ratio()) {
				newest[res] = r
			}
		}
	}
	if p, t := newest[verdict.ProjectTokens], newest[verdict.Tokens]; p != nil && (t == nil || p.ratio() < t.ratio()) {
		newest[verdict.Tokens] = p
	}
	var shares ratios
	for i := range shares {
		shares[i] = -1
		if newest[i] != nil {
			shares[i] = newest[i].ratio()
		}
	}
	return shares
}

// rooms are the key's limits for its Status.
func (m *member) rooms(ls *lanes, now time.Time) []Room {
	var rooms []Room
	for _, l := range ls.byName {
		for res := range verdict.Resources {
			mt, r := m.lastReport(l, res)
			if r == nil {
				continue
			}
			room := Room{Model: l.name, Limit: res.String(), Max: r.Max, Remaining: r.Remaining, Full: r.Full, Reported: r.at, Estimate: r.Remaining}
			if r.known() {
				room.Estimate = int64(max(0, r.level(now)-float64(mt.pending[res])))
			}
			rooms = append(rooms, room)
		}
	}
	slices.SortFunc(rooms, func(a, b Room) int { return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Limit, b.Limit)) })
	return rooms
}
