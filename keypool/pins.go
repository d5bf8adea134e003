package keypool

import (
	"crypto/sha256"
	"time"

	"keybridge/keypool/verdict"
)

const (
	maxPins    = 16_384 // remembered per provider
	pinLife    = 30 * 24 * time.Hour
	maxPinName = 256 // bytes; what is longer is nobody's id
)

// pinID stands for the id of something a provider keeps: its hash with the pool's
// salt, so that what is remembered is small, bounded, and tells nothing.
type pinID [16]byte

// pin says with which key something was made that the provider keeps, and in which
// project. Both are names of domains, which outlive the key's configuration.
type pin struct {
	key, project string
	session      sessionID // in which it was made
	used         time.Time
}

func (p *Pool) pinID(id string) (out pinID, ok bool) {
	if id == "" || len(id) > maxPinName {
		return out, false
	}
	var space [sha256.Size + 1 + maxPinName + 128]byte
	text := append(space[:0], p.opts.Salt...)
	text = append(append(text, 0), p.host...)
	text = append(append(text, 0), id...)
	sum := sha256.Sum256(text)
	copy(out[:], sum[:])
	return out, true
}

// bind finds the project that alone can serve the call: that of the first of its
// pins that is known and can be reached. It returns the session that made it.
func (w *walk) bind(now time.Time) sessionID {
	b := w.pool.book
	for _, name := range w.want.Pins {
		id, ok := w.pool.pinID(name)
		if !ok {
			continue
		}
		p := b.pins.find(id)
		if p == nil || now.Sub(p.used) > pinLife {
			continue
		}
		if w.bindTo(w.pool.reach(p)) {
			w.home.pin = id
			return p.session
		}
	}
	return 0
}

// bindTo restricts the call to the keys of a domain, if there are any for its model.
func (w *walk) bindTo(d *domain) bool {
	for _, m := range w.pool.members {
		if d != nil && m.in(d) && w.admits(m) {
			w.home.bound = d
			return true
		}
	}
	return false
}

// reach is the project of a pin as it is known by now, nil if no key of it is left.
func (p *Pool) reach(pin *pin) *domain {
	if d := p.book.domains[domainID{verdict.Key, pin.key}]; d != nil {
		if m := p.memberOf(d); m != nil {
			return m.at(verdict.Project)
		}
	}
	return p.book.domains[domainID{verdict.Project, pin.project}]
}

// in says that the key belongs to the domain.
func (m *member) in(d *domain) bool { return d == m.key || d == m.project || d == m.org }

// within says that what the call needs can be reached with the key.
func (w *walk) within(m *member) bool {
	return (w.home.bound == nil || m.in(w.home.bound)) && (w.home.only == nil || w.pool.cacheOf(m) == w.home.only)
}

// unbind lets the call look elsewhere after its project has said that it does not
// have what the call needs: it is gone, or never was there.
func (w *walk) unbind(v verdict.Verdict) {
	if w.home.bound == nil || v.Mark != verdict.NoMark || v.Reason != verdict.ModelAccess || v.Scope.Level < verdict.Project {
		return
	}
	if w.home.pin == (pinID{}) {
		w.want.Sealed = false
	} else {
		w.pool.book.pins.drop(w.home.pin)
		w.pool.book.touchPin()
	}
	w.home.bound, w.home.pin = nil, pinID{}
}

// Remember pins what the provider now keeps, by its ids, to the project of the
// lease's key: calls that name one (see Want.Pins) go there.
func (l *Lease) Remember(ids ...string) {
	p := l.pool
	if p.borrowed || len(ids) == 0 {
		return
	}
	p.book.mu.Lock()
	now := time.Now()
	for _, name := range ids {
		if id, ok := p.pinID(name); ok {
			p.book.pin(id, l, now)
		}
	}
	p.book.mu.Unlock()
	p.notify()
}

// pin remembers with which key something was made.
func (b *book) pin(id pinID, l *Lease, now time.Time) {
	for range 2 {
		if old, p := b.pins.oldest(); p != nil && now.Sub(p.used) > pinLife {
			b.pins.drop(old)
		}
	}
	b.touchPin()
	p, _ := b.pins.add(id)
	p.key, p.project, p.session, p.used = l.member.key.name, "", l.bond.session, now
	if l.member.project != nil {
		p.project = l.member.project.name
	}
}

// found remembers, after a good answer, where what the call named is.
func (b *book) found(l *Lease, now time.Time) {
	for _, name := range l.bond.pins {
		id, ok := l.pool.pinID(name)
		if !ok {
			continue
		}
		if p := b.pins.find(id); p != nil && now.Sub(p.used) <= pinLife && l.pool.reach(p) != nil {
			p.used = now // who made it stays known
		} else {
			b.pin(id, l, now)
		}
	}
}
