package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keybridge/internal/ledger"
)

// mostRejected is how many exchanges are set aside in a row before it looks as if they
// were not at fault; from then on, one after each rest.
const mostRejected = 8

// settle deals with the outcome of a write.
func (w *writer) settle(err error) {
	f := w.flight
	w.flight = nil
	w.overdue.Stop()
	w.proven = true
	failure := ""
	if err != nil {
		failure = wordOf(err)
	}
	if !f.hung {
		w.r.observer.Wrote(time.Since(f.since), failure)
	}
	refusal, ok := errors.AsType[Refusal](err)
	switch n := len(f.items); {
	case err == nil:
		w.written(f)
	case !ok || !refusal.Rejected() || n == 0:
		w.back(f)
		w.fails(err)
		if errors.Is(err, context.DeadlineExceeded) {
			w.limit = max(1, n/2) // it may be too much at once
		}
	case n > 1:
		w.back(f)
		w.limit = n / 2
	case w.refused < mostRejected:
		w.refused++
		w.reject(f, err)
	default:
		w.refused--
		w.back(f)
		w.fails(err)
	}
}

// wordOf is what a Sink's error is counted as.
func wordOf(err error) string {
	if refusal, ok := errors.AsType[Refusal](err); ok {
		return refusal.Word()
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return "timeout"
	}
	return "other"
}

// written strikes off what the Sink has.
func (w *writer) written(f *flight) {
	w.dealt(f)
	outcome := Written
	if f.late {
		outcome = Late
	}
	if f.ended > 0 {
		w.r.observer.Recorded(outcome, f.ended)
	}
	w.limit, w.refused, w.rest = min(2*w.limit, pieceItems), 0, 0
	w.r.setHealth(nil)
	w.notes.works(f.late, f.ended, w.idle())
}

// idle says that nothing is left over.
func (w *writer) idle() bool {
	return len(w.pending) == 0 && len(w.head) == 0 && (w.spool == nil || w.spool.empty())
}

// dealt strikes off a piece: the Sink has it, or never will.
func (w *writer) dealt(f *flight) {
	if !f.read {
		w.r.release(f.weight, f.ended)
	}
	if n := len(f.items); f.read || f.spilled {
		w.spool.dealt(f.items[n-1].at, f.ended)
	}
	if f.read {
		w.head = w.head[len(f.items):]
	}
	if w.spool != nil {
		if len(w.head) == 0 {
			w.spool.sweep()
		}
		w.count()
	}
}

// back puts a piece where it came from.
func (w *writer) back(f *flight) {
	switch {
	case f.read: // it is there still
	case f.spilled:
		w.r.release(f.weight, f.ended)
	default:
		w.pending = append(f.items, w.pending...)
	}
}

// fails has everything wait that would be lost with the process, and the Sink left alone
// for a while.
func (w *writer) fails(err error) {
	w.r.setHealth(err)
	w.notes.fails(err, w.spools())
	w.spill()
	w.rest = min(max(2*w.rest, firstRest), mostRest)
	w.resting = true
	w.again.Reset(w.rest)
}

// hangs notes that the Sink has not come back from a write in time.
func (w *writer) hangs() {
	if f := w.flight; f != nil {
		f.hung, f.late = true, true
		w.r.observer.Wrote(time.Since(f.since), "timeout")
		w.r.setHealth(errHangs)
		w.notes.fails(errHangs, w.spools())
		w.spill()
	}
}

// reject sets an exchange aside that the Sink will never take.
func (w *writer) reject(f *flight, why error) {
	w.notes.rejected(f.items[0].e, why, w.r.aside.keep(f.items[0], why))
	w.dealt(f)
	if f.ended > 0 {
		w.r.observer.Recorded(Rejected, f.ended)
	}
}

func (w *writer) damaged(path string, n int) {
	w.notes.damaged(path, n)
	w.r.observer.Dropped(Damaged, n)
}

func (w *writer) unfit(e *ledger.Exchange, err error) {
	w.notes.rejected(e, err, err)
	w.r.observer.Dropped(Damaged, 1)
}

// finish writes what is left, for as long as there is time, or has it kept in the spool
// for the next process.
func (w *writer) finish(ctx context.Context) {
	w.gather()
	if w.notes.troubled() || w.spool != nil && !w.spool.empty() {
		w.spill()
	}
	half, enough := w.half(ctx)
	defer enough()
	w.drain(half)
	w.spill()
	w.drain(ctx)
	w.spill()
	w.cancel()
	if f := w.flight; f != nil {
		w.flight = nil
		if w.lands(ctx, f) {
			w.written(f)
		} else {
			w.back(f)
		}
		w.spill()
	}
	if w.spool != nil {
		w.spool.close()
	}
	_, w.r.lost = sum(w.pending)
	if w.r.lost > 0 {
		w.r.observer.Dropped(Stopped, w.r.lost)
		w.notes.lost(w.r.lost)
	}
}

// lands waits a moment for a write whose context has ended, and says if it went well.
func (w *writer) lands(ctx context.Context, f *flight) bool {
	timer := time.NewTimer(overTime)
	defer timer.Stop()
	select {
	case err := <-f.landed:
		return err == nil
	case <-timer.C:
	case <-ctx.Done():
	}
	return false
}

// drain writes as long as the context lasts, and something would be lost with the process.
func (w *writer) drain(ctx context.Context) {
	for len(w.pending) > 0 || w.flight.unsafe() {
		w.next()
		select {
		case err := <-w.landing():
			w.settle(err)
		case <-w.again.C:
			w.resting = false
		case <-ctx.Done():
			return
		}
	}
}

// half is how long the Sink may take at the end before the spool is filled.
func (w *writer) half(ctx context.Context) (context.Context, context.CancelFunc) {
	wait := writeTime
	if deadline, ok := ctx.Deadline(); ok {
		wait = min(wait, time.Until(deadline)/2)
	}
	return context.WithTimeout(ctx, wait)
}

// lostError says how many exchanges nothing has taken.
func lostError(n int) error {
	if n == 0 {
		return nil
	}
	return fmt.Errorf("%d exchanges are not recorded: neither the store nor the spool takes them", n)
}
