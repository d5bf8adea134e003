package keypool

import (
	"container/list"
	"time"

	"keybridge/keypool/verdict"
)

const (
	maxDenials = 1024
	denialLife = time.Hour
)

// denials remembers which domain may not use which model or endpoint: a routing
// fact, not a state. It is a bounded LRU.
type denials struct {
	index map[denial]*list.Element
	order *list.List // of denialEntry, the latest used first
}

type denial struct {
	domain          *domain
	model, endpoint string
}

type denialEntry struct {
	denial
	until time.Time
}

func newDenials() denials {
	return denials{index: map[denial]*list.Element{}, order: list.New()}
}

func (d *denials) add(k denial, now time.Time) {
	if el, ok := d.index[k]; ok {
		el.Value = denialEntry{k, now.Add(denialLife)}
		d.order.MoveToFront(el)
		return
	}
	if d.order.Len() >= maxDenials {
		d.drop(d.order.Back())
	}
	d.index[k] = d.order.PushFront(denialEntry{k, now.Add(denialLife)})
}

func (d *denials) drop(el *list.Element) {
	e, _ := el.Value.(denialEntry)
	delete(d.index, e.denial)
	d.order.Remove(el)
}

// denied says that the key is known not to serve this model or endpoint.
func (d *denials) denied(m *member, model, endpoint string, now time.Time) bool {
	if d.order.Len() == 0 {
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
	el, ok := d.index[k]
	if !ok {
		return false
	}
	if e, _ := el.Value.(denialEntry); !now.Before(e.until) {
		d.drop(el)
		return false
	}
	d.order.MoveToFront(el)
	return true
}

// forget drops what a good answer disproves.
func (d *denials) forget(m *member, model, endpoint string) {
	if d.order.Len() == 0 {
		return
	}
	model, endpoint = clip(model), clip(endpoint)
	for _, dom := range m.domains() {
		for _, k := range [3]denial{{dom, model, ""}, {dom, "", endpoint}, {dom, model, endpoint}} {
			if el, ok := d.index[k]; ok {
				d.drop(el)
			}
		}
	}
}

// absolve drops whatever the key was denied.
func (d *denials) absolve(m *member) {
	for el := d.order.Front(); el != nil; {
		next := el.Next()
		if e, _ := el.Value.(denialEntry); e.domain == m.key || e.domain == m.project || e.domain == m.org {
			d.drop(el)
		}
		el = next
	}
}

// inForce counts the denials of each level at now.
func (d *denials) inForce(now time.Time, count func(verdict.Level)) {
	for el := d.order.Front(); el != nil; el = el.Next() {
		if e, _ := el.Value.(denialEntry); now.Before(e.until) {
			count(e.domain.level)
		}
	}
}

// retain drops the denials of domains that are not kept.
func (d *denials) retain(kept map[domainID]*domain) {
	alive := map[*domain]bool{}
	for _, dom := range kept {
		alive[dom] = true
	}
	for el := d.order.Front(); el != nil; {
		next := el.Next()
		if e, _ := el.Value.(denialEntry); !alive[e.domain] {
			d.drop(el)
		}
		el = next
	}
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
