package keypool

import (
	"context"
	"slices"
	"time"
)

// queued is a call's place in the lines of those who wait for other calls' trials.
type queued struct {
	blocks []*block // in whose lines it stands
	turn   chan struct{}
	by     *block // who let it go; nil while it waits
	long   time.Duration
}

// queue puts the call into the line of every trial that keeps a key from it, until
// the oldest of them has had its time.
func (w *walk) queue(trying []*block, now time.Time) *queued {
	q := &queued{blocks: trying, turn: make(chan struct{}), long: trialPatience}
	for _, b := range trying {
		q.long = min(q.long, w.patienceWith(b, now))
		b.waiters = append(b.waiters, q)
	}
	return q
}

// patienceWith is how long this call still waits for the trial that runs.
func (w *walk) patienceWith(b *block, now time.Time) time.Duration {
	return trialPatience - max(w.patience, now.Sub(b.trial.sent))
}

// await waits for the head of a trial, in all at most 2 s a call.
func (w *walk) await(ctx context.Context, q *queued) error {
	start := time.Now()
	timer := time.NewTimer(q.long)
	defer timer.Stop()
	select {
	case <-q.turn:
	case <-timer.C:
	case <-ctx.Done():
	}
	w.pool.book.mu.Lock()
	defer w.pool.book.mu.Unlock()
	now := time.Now()
	w.patience += now.Sub(start)
	for _, b := range q.blocks {
		b.waiters = slices.DeleteFunc(b.waiters, func(o *queued) bool { return o == q })
	}
	w.turn = q.by
	if ctx.Err() == nil {
		return nil
	}
	w.passTurn(now)
	return context.Cause(ctx)
}

// ownTurn prefers the key whose turn this call has waited for to another one that
// is to be tried, so that calls let go together do not take each other's.
func (w *walk) ownTurn(best *member, now time.Time) *member {
	model := clip(w.want.Model)
	if w.turn == nil || best == nil || best.has(w.turn, model) || best.ready(model, now) != halfOpen {
		return best
	}
	for _, m := range w.pool.members {
		if m.has(w.turn, model) && w.asked.of(m) == unasked && !w.isOutside(m) && w.eligible(m, now) && m.ready(model, now) == halfOpen {
			return m
		}
	}
	return best
}

// has says that the block stands against the key for the model.
func (m *member) has(b *block, model string) (found bool) {
	m.blocks(model, func(own *block) { found = found || own == b })
	return found
}

// passTurn lets the next in line try if this call, whose turn it was, does not.
func (w *walk) passTurn(now time.Time) {
	if w.turn != nil {
		w.turn.next(now)
		w.turn = nil
	}
}

// next lets the first of those who wait be the next trial, if one is needed: that
// would tell no more if it ran twice at once. Else all go.
func (b *block) next(now time.Time) {
	if b.trial != nil {
		return
	}
	one := b.open && !b.inForce(now)
	for len(b.waiters) > 0 {
		q := b.waiters[0]
		b.waiters = b.waiters[1:]
		if q.by != nil {
			continue // another line was faster
		}
		q.by = b
		close(q.turn)
		if one {
			return
		}
	}
}
