package keypool

import (
	"cmp"
	"math"
	"slices"
	"time"

	"keybridge/keypool/verdict"
)

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
			_, r := m.lastReport(l, verdict.Resource(res))
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
			if at, b := now.Sub(mt.epoch), &mt.tanks[res]; b.known(at) {
				room.Estimate = int64(max(0, math.Round(b.at(at)/b.unit)-float64(mt.pending[res])))
			}
			rooms = append(rooms, room)
		}
	}
	slices.SortFunc(rooms, func(a, b Room) int { return cmp.Or(cmp.Compare(a.Model, b.Model), cmp.Compare(a.Limit, b.Limit)) })
	return rooms
}
