package world

import (
	"cmp"
	"time"
)

// Choice is where an oracle sends a call.
type Choice struct {
	Key int
	At  time.Duration // when it can be served there, now or later
}

// Choose looks into the provider, not at its answers: of the keys that can serve
// the call now or within patience it gives the one that does so at the least cost,
// of several the soonest, then that of the organization with the most to spare. ok
// is false if none can; then At is when the first could, or never. It knows how
// limits fill, but not the future: neither when a trouble ends nor what a call
// meets by chance.
func (p *Provider) Choose(now, patience time.Duration, r Request) (best Choice, ok bool) {
	type offer struct {
		Choice
		fresh int64
		spare float64
	}
	var chosen offer
	first := Choice{Key: -1}
	for i := range p.scenario.Keys {
		k := &p.scenario.Keys[i]
		read := p.cached(now, k.cache, r)
		n := p.need(read, r)
		l := p.of(now, k.Org, r.Model)
		o := offer{Choice{i, max(now, l.suffice(n))}, r.Prompt - read, l.spare(n)}
		if p.closed(now, i, r.Model) {
			o.At = never
		}
		if first.Key < 0 || o.At < first.At {
			first = o.Choice
		}
		if o.At-now > patience {
			continue
		}
		if !ok || cmp.Or(cmp.Compare(o.fresh, chosen.fresh), cmp.Compare(o.At, chosen.At), cmp.Compare(chosen.spare, o.spare)) < 0 {
			chosen, ok = o, true
		}
	}
	if !ok {
		return first, false
	}
	return chosen.Choice, true
}

// closed says that a trouble stands against the key for the model.
func (p *Provider) closed(now time.Duration, key, model int) bool {
	for _, f := range p.faults {
		certain := f.Trouble != Blips && (f.Trouble != Overload || f.Part >= 1)
		if certain && f.Covers(now, &p.scenario.Keys[key], key, model) {
			return true
		}
	}
	return false
}
