package gateway

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// subject is a context that ends in two ways, and what is known of it.
type subject struct {
	call       context.Context //nolint:containedctx // what is tested
	cancelCall context.CancelCauseFunc
	ctx        context.Context //nolint:containedctx // the same
	cancel     context.CancelCauseFunc
	after      func(func()) func() bool
	stops      []func() bool
	calls      [2]int
	derived    context.Context //nolint:containedctx // the same
	seen       []string
}

var errCall, errOwn = errors.New("the call ended"), errors.New("the attempt ended")

func newSubject(own bool) *subject {
	s := &subject{}
	s.call, s.cancelCall = context.WithCancelCause(context.WithValue(context.Background(), subjectKey{}, "kept"))
	if own {
		b := &bounds{call: s.call}
		s.ctx, s.cancel, s.after = b, b.end, b.AfterFunc
		return s
	}
	s.ctx, s.cancel = context.WithCancelCause(s.call)
	s.after = func(f func()) func() bool { return context.AfterFunc(s.ctx, f) }
	return s
}

type subjectKey struct{}

func (s *subject) watch(i int) { s.stops = append(s.stops, s.after(func() { s.calls[i]++ })) }

// steps are what can happen to a context. Whatever their order, bounds must show what
// the standard library's context shows.
var steps = []func(*subject){
	func(s *subject) { s.cancel(errOwn) },
	func(s *subject) { s.cancelCall(errCall) },
	func(s *subject) { s.watch(0) },
	func(s *subject) { s.watch(1) },
	func(s *subject) {
		for _, stop := range s.stops {
			s.seen = append(s.seen, fmt.Sprint("stopped ", stop()))
		}
	},
	func(s *subject) { // as the transport and the dialer do
		var cancel context.CancelFunc
		s.derived, cancel = context.WithCancel(s.ctx)
		context.AfterFunc(s.derived, cancel)
	},
	func(s *subject) { s.cancel(nil) },
}

func (s *subject) look(whole bool) {
	done, cause := "not asked", error(nil)
	if whole { // which makes the standard library's context
		done, cause = "open", context.Cause(s.ctx)
		select {
		case <-s.ctx.Done():
			done = "closed"
		default:
		}
		done = fmt.Sprint(done, s.ctx.Value(subjectKey{}))
	}
	derived := error(nil)
	if s.derived != nil {
		derived = context.Cause(s.derived)
	}
	_, bounded := s.ctx.Deadline()
	s.seen = append(s.seen, fmt.Sprint(s.ctx.Err(), cause, done, s.calls, derived, bounded))
}

func (s *subject) run(order []int, whole bool) []string {
	for _, i := range order {
		steps[i](s)
		synctest.Wait()
		s.look(whole)
	}
	s.look(true)
	s.cancel(nil)
	s.cancelCall(nil)
	synctest.Wait()
	return s.seen
}

func TestBoundsAreAsTheStandardLibrarys(t *testing.T) {
	order := make([]int, len(steps))
	for i := range order {
		order[i] = i
	}
	synctest.Test(t, func(t *testing.T) {
		permute(order, 0, func() {
			for _, whole := range []bool{false, true} {
				got, want := newSubject(true).run(order, whole), newSubject(false).run(order, whole)
				if !slices.Equal(got, want) {
					t.Fatalf("steps %v, looked at whole each time %v:\n got %q\nwant %q", order, whole, got, want)
				}
			}
		})
	})
}

func permute(order []int, from int, with func()) {
	if from == len(order) {
		with()
		return
	}
	for i := from; i < len(order); i++ {
		order[from], order[i] = order[i], order[from]
		permute(order, from+1, with)
		order[from], order[i] = order[i], order[from]
	}
}

// However it ends, and whoever asks meanwhile: who watches is told once, or has stopped
// watching, and the cause is one of those given and stays.
func TestBoundsInARace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for range 2000 {
			s := newSubject(true)
			var told, stopped, watching atomic.Int64
			var all sync.WaitGroup
			all.Go(func() { s.cancel(errOwn) })
			all.Go(func() { s.cancelCall(errCall) })
			all.Go(func() { <-s.ctx.Done() })
			for range 2 {
				all.Go(func() {
					watching.Add(1)
					if s.after(func() { told.Add(1) })() {
						stopped.Add(1)
					}
				})
			}
			all.Wait()
			synctest.Wait()
			if told.Load()+stopped.Load() != watching.Load() {
				t.Fatalf("%d watches, %d told and %d stopped", watching.Load(), told.Load(), stopped.Load())
			}
			if cause := context.Cause(s.ctx); !errors.Is(s.ctx.Err(), context.Canceled) || !errors.Is(cause, errOwn) && !errors.Is(cause, errCall) {
				t.Fatalf("ended with %v because of %v", s.ctx.Err(), cause)
			}
		}
	})
}

func BenchmarkBounds(b *testing.B) {
	attempts := map[string]func(call context.Context) (context.CancelCauseFunc, func() bool){
		"own": func(call context.Context) (context.CancelCauseFunc, func() bool) {
			own := &bounds{call: call}
			return own.end, own.AfterFunc(func() {})
		},
		"standard": func(call context.Context) (context.CancelCauseFunc, func() bool) {
			ctx, cancel := context.WithCancelCause(call)
			return cancel, context.AfterFunc(ctx, func() {})
		},
	}
	for name, attempt := range attempts {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				call, end := context.WithCancel(context.Background())
				cancel, stop := attempt(call)
				stop()
				cancel(nil)
				end()
			}
		})
	}
}
