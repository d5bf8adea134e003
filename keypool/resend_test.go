package keypool

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

func TestResends(t *testing.T) {
	ms := func(n int) time.Duration { return time.Duration(n) * time.Millisecond }
	for _, tt := range []struct {
		name   string
		keys   int
		script script
		sent   string
		at     []time.Duration
		want   error
		handed int
		fails  map[verdict.Reason]int
	}{
		{
			"one key, all sends", 1,
			script{"k0": {broken("a"), broken("b"), broken("c")}},
			"k0 k0 k0",
			[]time.Duration{0, ms(200), ms(1200)},
			refusal("c"), 1, nil,
		},
		{
			"one key, passing trouble", 1,
			script{"k0": {broken("a"), good()}},
			"k0 k0",
			[]time.Duration{0, ms(200)},
			nil, 1, nil,
		},
		{
			"each send on a new key", 5,
			script{"k0": {broken("a")}, "k1": {broken("b")}, "k2": {broken("c")}},
			"k0 k1 k2",
			[]time.Duration{0, ms(200), ms(1200)},
			refusal("c"), 3,
			map[verdict.Reason]int{"upstream_error": 2},
		},
		{
			"back to one that failed this way", 2,
			script{"k0": {broken("a")}, "k1": {broken("b"), broken("c")}},
			"k0 k1 k1",
			[]time.Duration{0, ms(200), ms(1200)},
			refusal("c"), 2,
			map[verdict.Reason]int{"upstream_error": 1},
		},
		{
			"the keys left turn out bad", 3,
			script{"k0": {broken("a"), broken("b")}, "k1": {rejected()}, "k2": {limited(time.Hour)}},
			"k0 k1 k2 k0",
			[]time.Duration{0, ms(200), ms(200), ms(1200)},
			refusal("b"), 3,
			map[verdict.Reason]int{"upstream_error": 1, "unauthorized": 1, "rate_limited": 1},
		},
		{
			"the last answer of this kind, not the exhaustion", 3,
			script{"k0": {rejected()}, "k1": {broken("a")}, "k2": {broken("b"), rejected()}},
			"k0 k1 k2 k2",
			[]time.Duration{0, 0, ms(200), ms(1200)},
			refusal("b"), 3,
			map[verdict.Reason]int{"unauthorized": 1, "upstream_error": 1},
		},
		{
			"a bad request ends it", 2,
			script{"k0": {broken("a")}, "k1": {bad("400")}},
			"k0 k1",
			[]time.Duration{0, ms(200)},
			refusal("400"), 2,
			map[verdict.Reason]int{"upstream_error": 1},
		},
		{
			"not after a refusal of the request", 2,
			script{"k0": {tooLarge("413")}, "k1": {broken("a"), broken("b"), broken("c")}},
			"k0 k1 k1 k1",
			[]time.Duration{0, 0, ms(200), ms(1200)},
			refusal("c"), 2,
			map[verdict.Reason]int{"too_large": 1},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.pool(tt.keys)
				start := time.Now()
				var sent []string
				var at []time.Duration
				err := p.Do(t.Context(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					defer l.Release(Usage{})
					sent, at = append(sent, l.Key()), append(at, time.Since(start))
					if len(tt.script[l.Key()]) == 0 {
						return verdict.Verdict{Action: verdict.Stop}, refusal("unforeseen")
					}
					a := tt.script[l.Key()][0]
					tt.script[l.Key()] = tt.script[l.Key()][1:]
					return a.verdict, a.err
				})
				if got := strings.Join(sent, " "); got != tt.sent {
					t.Errorf("sent %q, want %q", got, tt.sent)
				}
				if diff := gocmp.Diff(tt.at, at); diff != "" {
					t.Errorf("sent at (-want +got):\n%s", diff)
				}
				sameError(t, err, tt.want)
				if got := int(p.book.series.calls.sum); got != tt.handed {
					t.Errorf("%d keys handed out, want %d", got, tt.handed)
				}
				for i, reason := range failoverReasons {
					if got := int(p.book.series.failovers[i].Load()); got != tt.fails[reason] {
						t.Errorf("%d failovers for %s, want %d", got, reason, tt.fails[reason])
					}
				}
				for i := range p.book.series.exhaustions {
					if n := p.book.series.exhaustions[i].Load(); n != 0 {
						t.Errorf("%d exhaustions, want none", n)
					}
				}
				idle(t, p)
			})
		})
	}
}

func TestUpstreamTroubleMarksNoKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		late := reply{verdict: verdict.Late(), err: refusal("504")}
		call(t, p, script{"k0": {broken("a")}, "k1": {late, good()}}, "k0 k1 k1", nil)
		r.families(&expect{
			keys: map[string]State{"k0": Valid, "k1": Valid}, failovers: map[verdict.Reason]int{"upstream_error": 1}, attempts: []int{2},
		})
	})
}

func TestClientGoneIsNeutral(t *testing.T) {
	gone := errors.New("the client has left")
	for _, tt := range []struct {
		name   string
		script script
		sent   string
		left   time.Duration // when the client goes
		fails  map[verdict.Reason]int
		handed []int
	}{
		{"before", script{}, "", 0, nil, nil},
		{"while the upstream thinks", script{"k0": {good().after(time.Minute)}}, "k0", time.Second, nil, []int{1}},
		{"while the upstream refuses", script{"k0": {rejected().after(time.Second)}}, "k0", time.Second - 1, nil, []int{1}},
		{"between two sends", script{"k0": {broken("a")}}, "k0", 100 * time.Millisecond, nil, []int{1}},
		{"in its second key", script{"k0": {tooLarge("a")}, "k1": {rejected().after(time.Minute)}}, "k0 k1", time.Second, map[verdict.Reason]int{"too_large": 1}, []int{2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.pool(2)
				ctx, leave := context.WithCancelCause(t.Context())
				if tt.left == 0 {
					leave(gone)
				}
				timer := time.AfterFunc(tt.left, func() { leave(gone) })
				defer timer.Stop()
				order, err := doContext(ctx, t, p, Want{}, tt.script)
				if got := strings.Join(order, " "); got != tt.sent {
					t.Errorf("sent %q, want %q", got, tt.sent)
				}
				if !errors.Is(err, gone) {
					t.Errorf("the error is %v, want the client's leaving", err)
				}
				r.families(&expect{keys: map[string]State{"k0": Valid, "k1": Valid}, failovers: tt.fails, attempts: tt.handed})
				idle(t, p)
			})
		})
	}
}

func TestClientGoneWhileWaitingForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1, func(o *Options) { o.MaxWait = time.Hour })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := doContext(ctx, t, p, Want{}, script{"k0": {limited(10 * time.Minute)}})
		sameError(t, err, context.DeadlineExceeded)
		r.families(&expect{
			keys: map[string]State{"k0": Temporary}, transitions: map[verdict.Reason]int{"rate_limited": 1},
			attempts: []int{1}, next: 540, scoped: map[string]int{"key": 1},
		})
	})
}

func TestAttemptThatPanicsGivesItsKeyBack(t *testing.T) {
	p := newRig(t).pool(1)
	func() {
		defer func() {
			if recover() != "abort" {
				t.Error("the panic did not come through")
			}
		}()
		_ = p.Do(t.Context(), Want{}, func(context.Context, *Lease) (verdict.Verdict, error) { panic("abort") })
	}()
	idle(t, p)
	if n := p.book.series.attempts.count; n != 1 {
		t.Errorf("%d samples, want 1", n)
	}
}

func TestAttemptsThatBreakTheContract(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		noAnswer := func(v verdict.Verdict) error {
			return p.Do(t.Context(), Want{Model: "m"}, func(context.Context, *Lease) (verdict.Verdict, error) { return v, nil })
		}
		if err := noAnswer(verdict.Broken()); err == nil {
			t.Error("an upstream that failed without an error gave no error")
		}
		if err := noAnswer(tooLarge("").verdict); err == nil {
			t.Error("a refusal without an error gave no error")
		}
		// Committed, then broken: the answer counts, and the lease is not lost.
		err := p.Do(t.Context(), Want{Model: "m"}, func(context.Context, *Lease) (verdict.Verdict, error) {
			return verdict.Success(), refusal("broke off")
		})
		sameError(t, err, refusal("broke off"))
		idle(t, p)
	})
}

func TestLeaseOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
		time.Sleep(time.Minute)
		// Released before it is judged, and both of them twice.
		err := p.Do(t.Context(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			if l.Hint() != "sk-t...0000" || l.Secret() != "sk-test-0123456789-0000" || !l.Sent().Equal(time.Now()) {
				t.Errorf("lease of %s, sent at %v", l.Hint(), l.Sent())
			}
			l.Release(Usage{})
			l.Release(Usage{InputTokens: 1})
			l.Judge(verdict.Success())
			l.Judge(unstated().verdict)
			return unstated().verdict, refusal("429")
		})
		// Its judgement stands: the success ended the doubling, too.
		sameError(t, err, exhausted(OutcomeRateLimited, time.Second))
		call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
		idle(t, p)
	})
}
