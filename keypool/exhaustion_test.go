package keypool

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

func TestExhaustion(t *testing.T) {
	dated := func(d time.Duration) reply {
		r := limited(d)
		r.verdict.Billing, r.verdict.Reason, r.verdict.Scope = true, verdict.QuotaExhausted, verdict.Scope{Level: verdict.Organization}
		return r
	}
	revoked := func() reply { return condemned(verdict.Key, verdict.Forbidden) }
	for _, tt := range []struct {
		name   string
		script func() script
		want   error
	}{
		{"rate-limited, the soonest counts", func() script {
			return script{"k0": {limited(30 * time.Second)}, "k1": {limited(12 * time.Second)}, "k2": {limited(20 * time.Second)}}
		}, exhausted(OutcomeRateLimited, 12*time.Second)},
		{"one returns, the others are dead", func() script {
			return script{"k0": {rejected()}, "k1": {broke()}, "k2": {limited(time.Minute)}}
		}, exhausted(OutcomeRateLimited, time.Minute)},
		{"one returns, the others refused the request", func() script {
			return script{"k0": {denied(oneModel, "404")}, "k1": {suspected("403")}, "k2": {limited(time.Minute)}}
		}, exhausted(OutcomeRateLimited, time.Minute)},
		{"out of credit until a date", func() script {
			return script{"k0": {dated(time.Hour)}, "k1": {rejected()}, "k2": {broke()}}
		}, exhausted(OutcomeRateLimited, time.Hour)},
		{"the soonest permitted try, not the stated end", func() script {
			return script{"k0": {dated(24 * time.Hour)}, "k1": {limited(5 * time.Hour)}, "k2": {rejected()}}
		}, exhausted(OutcomeRateLimited, time.Hour)},
		{"a refusal of the request goes before dead keys", func() script {
			return script{"k0": {broke()}, "k1": {denied(oneModel, "404 first")}, "k2": {rejected()}}
		}, refusal("404 first")},
		{"the last refusal of several", func() script {
			return script{"k0": {tooLarge("429")}, "k1": {denied(oneModel, "404")}, "k2": {suspected("403")}}
		}, refusal("403")},
		{"some out of credit", func() script {
			return script{"k0": {rejected()}, "k1": {broke()}, "k2": {revoked()}}
		}, exhausted(OutcomeQuotaExhausted, 0)},
		{"all rejected", func() script {
			return script{"k0": {rejected()}, "k1": {revoked()}, "k2": {rejected()}}
		}, exhausted(OutcomeAuthFailed, 0)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(3)
				call(t, p, tt.script(), "k0 k1 k2", tt.want)
				counted := map[Outcome]uint64{}
				for i, o := range outcomes {
					if n := p.book.series.exhaustions[i].Load(); n > 0 {
						counted[o] = n
					}
				}
				e, ok := errors.AsType[*ExhaustedError](tt.want)
				if ok && counted[e.Outcome] != 1 || !ok && len(counted) > 0 || len(counted) > 1 {
					t.Errorf("counted %v", counted)
				}
				idle(t, p)
			})
		})
	}
}

func TestCreditOfAKeyThatIsDeniedAnywayDoesNotCount(t *testing.T) {
	p := newRig(t).pool(2)
	call(t, p, script{"k0": {denied(oneModel, "404")}, "k1": {good()}}, "k0 k1", nil)
	if _, err := do(t, p, Want{Model: "other"}, script{"k0": {broke()}, "k1": {rejected()}}); err == nil {
		t.Error("no error")
	}
	call(t, p, script{}, "", exhausted(OutcomeAuthFailed, 0))
}

func TestDeadKeyDoesNotReturnWithItsCooldown(t *testing.T) {
	p := newRig(t).pool(1)
	if _, err := do(t, p, Want{}, script{"k0": {limited(time.Minute)}}); err == nil {
		t.Error("no error")
	}
	if _, err := do(t, p, Want{Model: "other"}, script{"k0": {rejected()}}); err == nil {
		t.Error("no error")
	}
	call(t, p, script{}, "", exhausted(OutcomeAuthFailed, 0))
}

func TestModelsThatKeysServe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(3, func(o *Options) {
			o.Keys[0].Models = []string{"gpt-*"}
			o.Keys[1].Models = []string{"claude-*", "m"}
			o.Keys[2].Models = []string{"gpt-5"}
		})
		for model, want := range map[string]string{"m": "k1", "claude-opus": "k1", "gpt-4": "k0"} {
			if keys, err := do(t, p, Want{Model: model}, script{want: {good()}}); err != nil || strings.Join(keys, " ") != want {
				t.Errorf("%s was asked of %v: %v", model, keys, err)
			}
		}
		_, err := do(t, p, Want{Model: "o3"}, script{})
		sameError(t, err, &ModelError{Provider: "p", Model: "o3"})
		// What other keys wait for does not count.
		if _, err = do(t, p, Want{Model: "gpt-4"}, script{"k0": {limited(time.Second)}}); err == nil {
			t.Error("no error")
		}
		_, err = do(t, p, Want{Model: "m"}, script{"k1": {rejected()}})
		sameError(t, err, exhausted(OutcomeAuthFailed, 0))
		r.families(&expect{
			keys:        map[string]State{"k0": Temporary, "k1": Permanent, "k2": Valid},
			transitions: map[verdict.Reason]int{"rate_limited": 1, "unauthorized": 1},
			exhaustions: map[Outcome]int{OutcomeRateLimited: 1, OutcomeAuthFailed: 1},
			attempts:    []int{1, 1, 1, 1, 1}, next: 1, scoped: map[string]int{"key": 1},
		})
	})
}

func TestMaxWait(t *testing.T) {
	ten := func(o *Options) { o.MaxWait = 10 * time.Second }
	t.Run("waits its turn and is served", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := r.pool(2, ten)
			start := time.Now()
			call(t, p, script{"k0": {limited(10 * time.Second)}, "k1": {limited(5 * time.Second), good()}}, "k0 k1 k1", nil)
			if d := time.Since(start); d != 5*time.Second {
				t.Errorf("took %v, want 5s", d)
			}
			r.families(&expect{
				keys: map[string]State{"k0": Temporary, "k1": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 2},
				failovers: map[verdict.Reason]int{"rate_limited": 1}, recoveries: map[string]int{"cooldown": 1},
				attempts: []int{2}, next: 5, scoped: map[string]int{"key": 1},
			})
		})
	})
	t.Run("is not sent before the deadline", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newRig(t).pool(1, ten)
			c := newCrowd(t)
			c.call(t.Context(), p, "a", limited(4*time.Second), good().after(time.Second))
			c.call(t.Context(), p, "b", good())
			c.call(t.Context(), p, "c", good())
			c.was("a k0@0s")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			// One of them tries first.
			c.mu.Lock()
			n := map[string]int{}
			for _, s := range c.sent {
				_, at, _ := strings.Cut(s, "@")
				n[at]++
			}
			c.mu.Unlock()
			if n["4s"] == 0 || len(c.sent) != 4 {
				t.Errorf("sent %v", c.sent)
			}
			idle(t, p)
		})
	})
	t.Run("in all no longer, and counts once", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := r.pool(1, ten)
			again := reply{verdict: limited(0).verdict, err: refusal("429")}
			again.verdict.Until = time.Now().Add(9 * time.Second)
			third := again
			third.verdict.Until = time.Now().Add(11 * time.Second)
			start := time.Now()
			call(t, p, script{"k0": {limited(5 * time.Second), again, third}}, "k0 k0 k0", exhausted(OutcomeRateLimited, 2*time.Second))
			if d := time.Since(start); d != 9*time.Second {
				t.Errorf("took %v, want 9s", d)
			}
			r.families(&expect{
				keys: map[string]State{"k0": Temporary}, transitions: map[verdict.Reason]int{"rate_limited": 3},
				exhaustions: map[Outcome]int{OutcomeRateLimited: 1}, recoveries: map[string]int{"cooldown": 2},
				attempts: []int{1}, next: 2, scoped: map[string]int{"key": 1},
			})
		})
	})
	t.Run("not for a key due later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newRig(t).pool(1, ten)
			start := time.Now()
			call(t, p, script{"k0": {limited(11 * time.Second)}}, "k0", exhausted(OutcomeRateLimited, 11*time.Second))
			if d := time.Since(start); d != 0 {
				t.Errorf("waited %v for nothing", d)
			}
		})
	})
}

func TestTwoTurnTally(t *testing.T) {
	turns := func(t *testing.T, p *Pool, scripts ...script) (last error) {
		t.Helper()
		tally := &Tally{}
		for _, s := range scripts {
			_, last = do(t, p, Want{Tally: tally}, s)
		}
		if n := p.book.series.attempts.count; n != 0 {
			t.Errorf("%d samples before the request's end", n)
		}
		tally.Close()
		tally.Close()
		return last
	}
	for _, tt := range []struct {
		name string
		run  func() []script
		want error
		then expect
	}{
		{
			"both turns served at once", func() []script { return []script{{"k0": {good()}}, {"k0": {good()}}} }, nil,
			expect{keys: map[string]State{"k0": Valid, "k1": Valid}, attempts: []int{2}, calls: []int{1, 1}},
		},
		{
			"a failover in the second", func() []script {
				return []script{{"k0": {good()}}, {"k0": {limited(time.Minute)}, "k1": {good()}}}
			}, nil,
			expect{
				keys: map[string]State{"k0": Temporary, "k1": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 1},
				failovers: map[verdict.Reason]int{"rate_limited": 1}, attempts: []int{3}, calls: []int{1, 2}, next: 60, scoped: map[string]int{"key": 1},
			},
		},
		{
			"exhausted in the second", func() []script {
				return []script{{"k0": {good()}}, {"k0": {limited(time.Minute)}, "k1": {limited(30 * time.Second)}}}
			}, exhausted(OutcomeRateLimited, 30*time.Second),
			expect{
				keys: map[string]State{"k0": Temporary, "k1": Temporary}, transitions: map[verdict.Reason]int{"rate_limited": 2},
				failovers: map[verdict.Reason]int{"rate_limited": 1}, exhaustions: map[Outcome]int{OutcomeRateLimited: 1},
				attempts: []int{3}, calls: []int{1, 2}, next: 30, scoped: map[string]int{"key": 2},
			},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.pool(2)
				sameError(t, turns(t, p, tt.run()...), tt.want)
				r.families(&tt.then)
			})
		})
	}
}

func TestTallyOutlivesAReload(t *testing.T) {
	r := newRig(t)
	old := r.pool(1)
	tally := &Tally{}
	if _, err := do(t, old, Want{Tally: tally}, script{"k0": {good()}}); err != nil {
		t.Fatal(err)
	}
	p := r.pool(1)
	p.Adopt(old)
	if _, err := do(t, p, Want{Tally: tally}, script{"k0": {good()}}); err != nil {
		t.Fatal(err)
	}
	other := r.pool(1, func(o *Options) { o.Provider = "q" })
	if _, err := do(t, other, Want{Tally: tally}, script{"k0": {good()}}); err != nil {
		t.Fatal(err)
	}
	r.pools = []*Pool{p}
	tally.Close()
	r.families(&expect{keys: map[string]State{"k0": Valid}, attempts: []int{2}, calls: []int{1, 1}})
	if h := &other.book.series.attempts; h.count != 1 || h.sum != 1 {
		t.Errorf("the other provider counted %d samples, sum %d", h.count, h.sum)
	}
}
