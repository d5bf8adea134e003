package keypool

import "time"

const (
	// resortPart is the part of the time that a key has been out for after which a call
	// that would fail may ask it: a key that was out for an hour and is good again is
	// then found within four minutes of being needed, and one that is dead for days is
	// asked no more often than once an hour.
	resortPart  = 16
	resortLeast = 2 * time.Minute
)

// lastResort is, for a call that would fail for want of a key, one that is out for a
// time which nobody knows: rejected, or with a deadline that is ours, or too far to be
// taken at its word. Rather than be refused by us the call finds out whether the key
// is still out. A deadline that a provider states and that is near is left alone.
func (w *walk) lastResort(now time.Time) *member {
	var longest *member
	var rested time.Duration
	for _, m := range w.pool.members {
		if !w.askable(m, now) || m.key.bench.inForce(now) || w.ready(m, now) != blocked {
			continue
		}
		if d, ok := m.rested(clip(w.want.Model), now); ok && (longest == nil || d > rested) {
			longest, rested = m, d
		}
	}
	return longest
}

// rested is how long nobody has asked a key that is out, if that is long enough to ask
// it as a last resort.
func (m *member) rested(model string, now time.Time) (least time.Duration, ok bool) {
	ok = true
	m.blocks(model, func(b *block) {
		if !b.inForce(now) {
			ok = ok && b.trial == nil
			return
		}
		last := b.since
		if b.asked.After(last) {
			last = b.asked
		}
		d := now.Sub(last)
		if least == 0 || d < least {
			least = d
		}
		pace := min(max((b.wrong+now.Sub(b.since))/resortPart, resortLeast), maxBackoff)
		ok = ok && !b.barred(now) && !b.probing && !b.credible() && d >= pace
	})
	return least, ok && least > 0
}

// credible says that a provider has stated when the cooldown ends, and that it is near
// enough to be taken at its word.
func (b *block) credible() bool {
	return !b.permanent && b.length == 0 && !b.tryAt.Before(b.until)
}
