package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

const (
	maxDenials = 1024
	denialLife = time.Hour
)

// denials remembers which domain may not use which model or endpoint, and until when
// that is believed: a routing fact, not a state.
type denials struct{ lru lru[denial, time.Time] }

type denial struct {
	domain          *domain
	model, endpoint string
}

func newDenials() denials { return denials{newLRU[denial, time.Time](maxDenials)} }

func (d *denials) none() bool { return d.lru.len() == 0 }

func (d *denials) add(k denial, now time.Time) {
	until, _ := d.lru.add(k)
	*until = now.Add(denialLife)
}

// denied says that the key is known not to serve this model or endpoint.
func (d *denials) denied(m *member, model, endpoint string, now time.Time) bool {
	if d.none() {
		return false
	}
	model, endpoint = clip(model), clip(endpoint)
	for _, dom := range m.domains() {
		if dom == nil {
			continue
		}
		if d.has(denial{dom, model, ""}, now) || d.has(denial{dom, "", endpoint}, now) || d.has(denial{dom, model, endpoint}, now) {
			return true
		}
	}
	return false
}

func (d *denials) has(k denial, now time.Time) bool {
	until := d.lru.find(k)
	if until != nil && !now.Before(*until) {
		d.lru.drop(k)
		return false
	}
	return until != nil
}

// forget drops what a good answer disproves.
func (d *denials) forget(m *member, model, endpoint string) {
	if d.none() {
		return
	}
	model, endpoint = clip(model), clip(endpoint)
	for _, dom := range m.domains() {
		for _, k := range [3]denial{{dom, model, ""}, {dom, "", endpoint}, {dom, model, endpoint}} {
			d.lru.drop(k)
		}
	}
}

// absolve drops whatever the key was denied.
func (d *denials) absolve(m *member) {
	d.lru.each(func(k denial, _ *time.Time) {
		if m.in(k.domain) {
			d.lru.drop(k)
		}
	})
}

// inForce counts the denials of each level at now.
func (d *denials) inForce(now time.Time, count func(verdict.Level)) {
	d.lru.each(func(k denial, until *time.Time) {
		if now.Before(*until) {
			count(k.domain.level)
		}
	})
}

// retain drops the denials of domains that are not kept.
func (d *denials) retain(kept map[domainID]*domain) {
	alive := map[*domain]bool{}
	for _, dom := range kept {
		alive[dom] = true
	}
	d.lru.each(func(k denial, _ *time.Time) {
		if !alive[k.domain] {
			d.lru.drop(k)
		}
	})
}

// denial is what a verdict denies, and to whom.
func (m *member) denial(v verdict.Verdict, w Want) denial {
	k := denial{domain: m.at(v.Scope.Level)}
	if v.Scope.Endpoint {
		k.endpoint = clip(w.Endpoint)
	}
	if v.Scope.Model || !v.Scope.Endpoint {
		k.model = clip(w.Model)
	}
	return k
}
