package keypool

import (
	"encoding/hex"
	"time"

	"keybridge/keypool/verdict"
)

// enlist makes the pool's keys the members of its book, each linked with the
// domains it belongs to.
func (b *book) enlist(p *Pool) {
	kept := map[domainID]*domain{}
	get := func(id domainID) *domain {
		if d := kept[id]; d != nil {
			return d
		}
		d := b.domains[id]
		if d == nil {
			d = &domain{level: id.level, name: id.name, state: Valid}
		}
		kept[id] = d
		return d
	}
	for _, m := range p.members {
		m.key = get(domainID{verdict.Key, hex.EncodeToString(m.print[:])})
	}
	known := p.names()
	for _, m := range p.members {
		m.org, m.inOrg = nil, known.belongs(m, verdict.Organization)
		if m.inOrg.name != "" {
			m.org = get(domainID{verdict.Organization, hosted(p.host, m.inOrg.name)})
		}
		m.project, m.inProject = nil, known.belongs(m, verdict.Project)
		if m.inProject.name != "" {
			m.project = get(domainID{verdict.Project, hosted(p.host, m.inProject.name)})
		}
	}
	b.newest, b.domains = p, kept
	b.lanes.relinked()
	b.denials.retain(kept)
}

// hosted is an organization's or a project's name apart from those at other hosts.
func hosted(host, name string) string { return host + "\x00" + name }

// rehome takes the calls in line over to the newest pool.
func (b *book) rehome(p *Pool) {
	for _, c := range b.line.callers {
		for el := c.calls.Front(); el != nil; el = el.Next() {
			if q, ok := el.Value.(*waiter); ok {
				q.walk.follow(p)
			}
		}
	}
}

// reschedule moves what is condemned from trials to probes, or back, where the
// newest pool wants it otherwise than the one before.
func (b *book) reschedule(now time.Time) {
	for _, d := range b.domains {
		bl := &d.whole
		if bl.open && bl.permanent && b.newest.probes(bl.reason) == bl.probeAt.IsZero() {
			b.schedule(bl, now)
		}
	}
}

// Adopt carries the health and the counters of an older pool of the same provider
// on. Call it before the pool's first use; it cannot fail. A key is recognised by
// its secret and host, so a renamed one keeps its state and a replaced one starts
// anew. Leases of the older pool keep marking the right key, and its series go on
// as this pool's.
func (p *Pool) Adopt(old *Pool) {
	if old == nil || old.borrowed || p.borrowed || old.provider != p.provider {
		return
	}
	b := old.book
	b.mu.Lock()
	now := time.Now()
	events := old.settle(now)
	b.enlist(p)
	b.reschedule(now)
	b.resettle(now)
	for _, m := range p.members {
		m.key.state = m.stateAt(now) // belonging to a cooling organization is no transition
		events = append(events, p.contradiction(m)...)
	}
	p.book = b
	b.rehome(p)
	b.letGo(now)
	b.mu.Unlock()
	p.report(events)
}
