package gateway

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// bounds is the context of an attempt, and ends as one of context.WithCancelCause does.
// What internal/http1 asks of it, whether it has ended and to be told when it does, it
// answers by itself. For all else it makes the standard library's, and keeps it.
type bounds struct {
	call  context.Context //nolint:containedctx // what it is derived from
	ended atomic.Bool     // by end

	mu    sync.Mutex
	cause error
	std   context.Context //nolint:containedctx // nil: nobody has asked for it
	close context.CancelCauseFunc
	watch func()
	stop  func() bool // of the watch on the call; nil: there is none
}

// end is a context.CancelCauseFunc.
func (b *bounds) end(cause error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.ended.Load() || b.call.Err() != nil { // the first cause stays
		return
	}
	if cause == nil {
		cause = context.Canceled
	}
	b.cause = cause
	b.ended.Store(true)
	if b.close != nil {
		b.close(cause)
	}
	if b.stop != nil && b.stop() {
		go b.watch()
	}
}

// AfterFunc is context.AfterFunc.
func (b *bounds) AfterFunc(f func()) (stop func() bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.std != nil || b.stop != nil || b.ended.Load() {
		return context.AfterFunc(b.standard(), f)
	}
	b.watch, b.stop = f, context.AfterFunc(b.call, f)
	return b.stop
}

// standard is called under the lock.
func (b *bounds) standard() context.Context {
	switch {
	case b.std != nil:
	case b.ended.Load(): // the call may have ended since, with a cause of its own
		b.std, b.close = context.WithCancelCause(context.WithoutCancel(b.call))
		b.close(b.cause)
	default:
		b.std, b.close = context.WithCancelCause(b.call)
	}
	return b.std
}

func (b *bounds) locked() context.Context {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.standard()
}

// Err implements context.Context.
func (b *bounds) Err() error {
	if b.ended.Load() {
		return context.Canceled
	}
	return b.call.Err()
}

// Done implements context.Context.
func (b *bounds) Done() <-chan struct{} { return b.locked().Done() }

// Value implements context.Context. It is how context.Cause finds the cause.
func (b *bounds) Value(key any) any { return b.locked().Value(key) }

// Deadline implements context.Context.
func (b *bounds) Deadline() (time.Time, bool) { return b.call.Deadline() }
