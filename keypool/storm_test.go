package keypool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// TestStorm runs a thousand calls at once over ten keys while everything changes.
func TestStorm(t *testing.T) {
	cools := []func() reply{
		unstated, func() reply { return limited(3 * time.Second) }, func() reply { return limited(2 * time.Hour) },
		func() reply { return suspected("403") }, func() reply { return denied(oneModel, "404") },
		func() reply { return tooLarge("429") }, func() reply { return broken("500") }, func() reply { return bad("400") },
	}
	condemns := []func() reply{rejected, broke, func() reply { return broken("500") }}
	for _, tt := range []struct {
		name    string
		answers []func() reply
		mostly  int  // one answer in so many is not good
		exact   bool // every transition leads out of valid
	}{
		{"cooldowns", cools, 20, true},
		{"rejections", condemns, 100, true},
		{"everything", append(cools, condemns...), 30, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				with := func(o *Options) {
					o.TrialAfter, o.MaxWait, o.Strategy = 5*time.Second, 5*time.Second, []Strategy{Priority, RoundRobin, LeastBusy}[rand.IntN(3)]
					for i := range o.Keys {
						o.Keys[i].Organization = fmt.Sprint("org", i/2)
					}
				}
				var current atomic.Pointer[Pool]
				current.Store(r.pool(10, with))
				var leases atomic.Int64
				var running sync.WaitGroup
				call := func(random *rand.Rand) {
					ctx, cancel := context.WithCancel(t.Context())
					defer cancel()
					if random.IntN(5) == 0 {
						timer := time.AfterFunc(time.Duration(random.IntN(3000))*time.Millisecond, cancel)
						defer timer.Stop()
					}
					tally := &Tally{}
					defer tally.Close()
					var held *Lease
					_ = current.Load().Do(ctx, Want{Model: fmt.Sprint("m", random.IntN(3)), Endpoint: "/e", Tally: tally}, func(ctx context.Context, l *Lease) (verdict.Verdict, error) {
						leases.Add(1)
						held = l
						a := good()
						if random.IntN(tt.mostly) == 0 {
							a = tt.answers[random.IntN(len(tt.answers))]()
						}
						if err := sleep(ctx, time.Duration(random.IntN(4000))*time.Millisecond); err != nil {
							return verdict.Broken(), err
						}
						return a.verdict, a.err
					})
					if held != nil {
						held.Release(Usage{})
					}
				}
				for range 1000 {
					running.Go(func() {
						random := rand.New(rand.NewPCG(rand.Uint64(), 0))
						for range 5 {
							call(random)
							_ = sleep(t.Context(), time.Duration(random.IntN(60))*time.Second)
						}
					})
				}
				running.Go(func() {
					for range 100 {
						_ = sleep(t.Context(), 3*time.Second)
						old := current.Load()
						p := r.pool(10, with)
						p.Adopt(old)
						current.Store(p)
						if _, err := r.reg.Gather(); err != nil {
							t.Error(err)
						}
					}
				})
				running.Wait()
				p := current.Load()
				idle(t, p)
				r.reconcile(p, tt.exact)
				if n := leases.Load(); n < 900 {
					t.Errorf("only %d leases: the storm was a breeze", n)
				}
				// Nothing needs a restart: requests alone bring every key back.
				for range 10 {
					_ = sleep(t.Context(), time.Hour)
					for i := range 30 {
						err := p.Do(t.Context(), Want{Model: fmt.Sprint("m", i%3), Endpoint: "/e"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
							defer l.Release(Usage{})
							return verdict.Success(), nil
						})
						if err != nil {
							t.Fatal(err)
						}
					}
				}
				if v := p.view(time.Now()); v.states[Valid] != 10 {
					t.Errorf("states %v in the end", v.states)
				}
				idle(t, p)
				r.reconcile(p, tt.exact)
			})
		})
	}
}

// reconcile compares the transitions with the recoveries, the states and the log.
func (r *rig) reconcile(p *Pool, exact bool) {
	r.t.Helper()
	v := p.view(time.Now())
	sum := func(counters []atomic.Uint64) (n int) {
		for i := range counters {
			n += int(counters[i].Load())
		}
		return n
	}
	s := p.book.series
	out, in, away := sum(s.transitions[:]), sum(s.recoveries[:]), v.states[Temporary]+v.states[Permanent]
	if out < in+away || exact && out != in+away {
		r.t.Errorf("%d transitions, %d recoveries, %d keys out", out, in, away)
	}
	log := r.log.String()
	if n := strings.Count(log, `msg="key out"`); n != out {
		r.t.Errorf("%d transitions, %d in the log", out, n)
	}
	if n := strings.Count(log, `msg="key recovered"`); n != in {
		r.t.Errorf("%d recoveries, %d in the log", in, n)
	}
	if s.calls.count == 0 || s.calls.sum != s.attempts.sum {
		r.t.Errorf("%d keys handed out by call, %d by request", s.calls.sum, s.attempts.sum)
	}
}

// TestRandomModels asks for a hundred thousand models that nobody has.
func TestRandomModels(t *testing.T) {
	r := newRig(t)
	p := r.pool(3)
	ask := func(i int, endpoint string, a ...reply) {
		n := 0
		_ = p.Do(t.Context(), Want{Model: fmt.Sprintf("no-such-model-%d-%s", i, strings.Repeat("x", i%300)), Endpoint: endpoint}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			defer l.Release(Usage{})
			n++
			return a[n-1].verdict, a[n-1].err
		})
	}
	no := denied(oneModel, "404")
	for i := range 100_000 {
		ask(i, fmt.Sprintf("/v1/path/%d", i), no, no, no)
	}
	r.families(&expect{
		keys: map[string]State{"k0": Valid, "k1": Valid, "k2": Valid}, failovers: map[verdict.Reason]int{"model_access": 200_000},
		attempts: repeat(3, 100_000),
	})
	// The same where the upstream gives every reason to remember.
	for i := range 5_000 {
		ask(i, "/e", no, suspected("403"), good())
		ask(i, fmt.Sprint("/v1/", i), limited(time.Hour), good())
	}
	for _, d := range p.book.domains {
		if len(d.models) > maxModels {
			t.Errorf("%d models are remembered, want at most %d", len(d.models), maxModels)
		}
		for model := range d.models {
			if len(model) > maxModelName {
				t.Errorf("a name of %d bytes is remembered", len(model))
			}
		}
	}
	if n := p.book.denials.lru.len(); n > maxDenials {
		t.Errorf("%d denials are remembered", n)
	}
	call(t, p, script{"k0": {good()}}, "k0", nil)
	idle(t, p)
}

func repeat(v, n int) []int {
	s := make([]int, n)
	for i := range s {
		s[i] = v
	}
	return s
}
