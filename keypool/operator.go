package keypool

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"keybridge/keypool/verdict"
)

// Benched is why a key is out that the operator has taken out of use. It stands in a
// Status and in logs; no counter has it, because they count what upstreams say.
const Benched verdict.Reason = "benched"

// UnknownKeyError says that a pool has no key of that name.
type UnknownKeyError struct {
	Provider, Key string
	Known         []string // the keys there are, in configured order
}

func (e *UnknownKeyError) Error() string {
	return fmt.Sprintf("%s has no key %q: its keys are %s", e.Provider, e.Key, strings.Join(e.Known, ", "))
}

// Revive puts a key back into use, whatever keeps it out: its own cooldowns and
// rejections and those of the project and the organization it belongs to, a bench, a
// drain, what it was denied. Nothing is left of their backoff either. also names the
// other keys that were out with it and are good again. What is not mended takes the
// key out again at its next request.
func (p *Pool) Revive(id string) (also []string, err error) {
	back, err := p.hand(id, "key revived", func(m *member, now time.Time) []slog.Attr {
		m.key.draining = false
		m.key.bench.revive(now)
		for _, d := range m.domains() {
			if d != nil {
				d.revive(now)
			}
		}
		p.book.denials.absolve(m)
		return nil
	})
	for _, m := range back {
		if m.id != id {
			also = append(also, m.id)
		}
	}
	return also, err
}

// Bench takes a key out of use for a while, or until it is revived if the time is 0.
// No request is sent with it, no trial and no probe; those under way end as they
// would. It ends a drain.
func (p *Pool) Bench(id string, for_ time.Duration) error {
	if for_ < 0 {
		return fmt.Errorf("bench %s for %s: a time is not negative", id, for_)
	}
	_, err := p.hand(id, "key benched", func(m *member, now time.Time) []slog.Attr {
		m.key.draining = false
		b := &m.key.bench
		b.open, b.permanent, b.reason = true, for_ == 0, Benched
		b.since, b.until = now, time.Time{}
		if for_ == 0 {
			return nil
		}
		b.until = now.Add(for_)
		return []slog.Attr{slog.Time("until", b.until)}
	})
	return err
}

// Drain gives a key no new work until it is revived: the sessions it has go on, and
// so does what needs the state that its project keeps. It ends a bench.
func (p *Pool) Drain(id string) error {
	_, err := p.hand(id, "key draining", func(m *member, now time.Time) []slog.Attr {
		m.key.draining = true
		m.key.bench.revive(now)
		return nil
	})
	return err
}

// hand does what the operator asks for one key, counts what that recovers and logs
// it. It returns the keys that are good again.
func (p *Pool) hand(id, did string, do func(m *member, now time.Time) []slog.Attr) (back []*member, err error) {
	at := slices.IndexFunc(p.members, func(m *member) bool { return m.id == id })
	if at < 0 || p.borrowed {
		e := &UnknownKeyError{Provider: p.provider, Key: id}
		for _, m := range p.members {
			e.Known = append(e.Known, m.id)
		}
		return nil, e
	}
	m := p.members[at]
	b := p.book
	b.mu.Lock()
	now := time.Now()
	events := p.settle(now)
	attrs := do(m, now)
	for _, e := range b.recount(now, Benched, viaOperator) {
		if e.state == Valid { // that it is out is told below
			events = append(events, e)
			back = append(back, e.member)
		}
	}
	b.resettle(now)
	b.letGo(now)
	b.mu.Unlock()
	p.report(events)
	attrs = append([]slog.Attr{slog.String("key", m.id), slog.String("hint", m.hint)}, attrs...)
	p.log.LogAttrs(context.Background(), slog.LevelInfo, did, attrs...) //nolint:sloglint // one of three literals; it belongs to no request
	return back, nil
}

// revive ends a block as if it had never been.
func (b *block) revive(now time.Time) {
	if b.open {
		b.close(now)
	}
	b.length, b.probes = 0, 0
}

// revive ends whatever keeps the domain out.
func (d *domain) revive(now time.Time) {
	d.whole.revive(now)
	for _, b := range d.models {
		b.revive(now)
	}
}

// withheld says that the operator keeps every key from the call that could serve it.
func (w *walk) withheld(now time.Time) bool {
	for _, m := range w.pool.members {
		if w.admits(m) && w.within(m) && !m.key.bench.inForce(now) && !w.drained(m) {
			return false
		}
	}
	return true
}

// drained says that the operator lets the key finish what it has begun, and the call
// is none of that.
func (w *walk) drained(m *member) bool { return m.key.draining && !w.keeps(m) }
