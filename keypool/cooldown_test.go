package keypool

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

func TestParallelRateLimitsAreOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		c := newCrowd(t)
		for i := range 50 {
			c.call(t.Context(), p, strconv.Itoa(i), unstated().after(time.Second+time.Duration(i)*time.Millisecond))
		}
		time.Sleep(2 * time.Second)
		want := expect{
			keys:        map[string]State{"k0": Temporary},
			transitions: map[verdict.Reason]int{"rate_limited": 1},
			exhaustions: map[Outcome]int{OutcomeRateLimited: 50},
			attempts:    make([]int, 50),
			next:        59, scoped: map[string]int{"key": 1},
		}
		for i := range want.attempts {
			want.attempts[i] = 1
		}
		r.families(&want)
		time.Sleep(time.Minute)
		call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, 2*time.Minute))
		idle(t, p)
	})
}

func TestCooldownDoublesUntilASuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		for _, minutes := range []int{1, 2, 4, 8, 16, 32, 60, 60} {
			length := time.Duration(minutes) * time.Minute
			call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, length))
			time.Sleep(length)
		}
		call(t, p, script{"k0": {good()}}, "k0", nil)
		call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
	})
}

func TestCooldownNeverGetsShorter(t *testing.T) {
	stated := func(d time.Duration) func() reply { return func() reply { return limited(d) } }
	for _, tt := range []struct {
		name          string
		first, second func() reply
		want          time.Duration // left after the second
	}{
		{"a shorter one is ignored", stated(30 * time.Second), stated(5 * time.Second), 28 * time.Second},
		{"a longer one counts", stated(5 * time.Second), stated(30 * time.Second), 28 * time.Second},
		{"an unstated one adds nothing", stated(5 * time.Second), unstated, 3 * time.Second},
		{"a stated one does not shorten the default", unstated, stated(5 * time.Second), 59 * time.Second},
		{"a past one does nothing", stated(5 * time.Second), stated(-time.Hour), 3 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.pool(1)
				c := newCrowd(t)
				c.call(t.Context(), p, "a", tt.first().after(time.Second))
				c.call(t.Context(), p, "b", tt.second().after(2*time.Second))
				time.Sleep(2 * time.Second)
				synctest.Wait()
				call(t, p, script{}, "", exhausted(OutcomeRateLimited, tt.want))
				r.families(&expect{
					keys: map[string]State{"k0": Temporary}, transitions: map[verdict.Reason]int{"rate_limited": 1},
					exhaustions: map[Outcome]int{OutcomeRateLimited: 3}, attempts: []int{1, 1}, next: tt.want.Seconds(), scoped: map[string]int{"key": 1},
				})
			})
		})
	}
}

func TestCooldownLengths(t *testing.T) {
	billing := func(d time.Duration) reply {
		r := limited(d)
		r.verdict.Billing, r.verdict.Reason, r.verdict.Scope = true, verdict.QuotaExhausted, verdict.Scope{Level: verdict.Organization}
		return r
	}
	const day = 24 * time.Hour
	for _, tt := range []struct {
		name   string
		answer func() reply
		want   time.Duration // until the next permitted try
	}{
		{"none stated", unstated, time.Minute},
		{"past", func() reply { return limited(-time.Hour) }, time.Second},
		{"fraction", func() reply { return limited(1500 * time.Millisecond) }, 1500 * time.Millisecond},
		{"within the cap", func() reply { return limited(59 * time.Minute) }, 59 * time.Minute},
		{"verified after an hour", func() reply { return limited(5 * time.Hour) }, time.Hour},
		{"billing is verified after six", func() reply { return billing(10 * day) }, 6 * time.Hour},
		{"plausible", func() reply { return billing(35 * day) }, 6 * time.Hour},
		{"implausible", func() reply { return billing(35*day + time.Second) }, time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				call(t, newRig(t).pool(1), script{"k0": {tt.answer()}}, "k0", exhausted(OutcomeRateLimited, tt.want))
				p := newRig(t).pool(2)
				call(t, p, script{"k0": {tt.answer()}, "k1": {good()}}, "k0 k1", nil)
				time.Sleep(tt.want - time.Millisecond)
				call(t, p, script{"k1": {good()}}, "k1", nil)
				time.Sleep(time.Millisecond)
				call(t, p, script{"k0": {good()}}, "k0", nil)
				call(t, p, script{"k0": {good()}}, "k0", nil)
			})
		})
	}
}

func TestStaleAnswersMarkNothing(t *testing.T) {
	for _, tt := range []struct {
		name string
		late func() reply
	}{
		{"a rate limit", unstated},
		{"a longer rate limit", func() reply { return limited(time.Hour) }},
		{"a rejection", rejected},
		{"an empty account", broke},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.pool(1)
				c := newCrowd(t)
				late := tt.late()
				if !late.verdict.Until.IsZero() {
					late.verdict.Until = time.Now().Add(2 * time.Hour)
				}
				// The late answer comes when its key has recovered: the call asks again.
				c.call(t.Context(), p, "late", late.after(40*time.Second), good())
				c.call(t.Context(), p, "marks", limited(10*time.Second))
				time.Sleep(20 * time.Second)
				c.call(t.Context(), p, "confirms", good())
				time.Sleep(30 * time.Second)
				c.end("late", "ok@40s")
				r.families(&expect{
					keys: map[string]State{"k0": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 1},
					exhaustions: map[Outcome]int{OutcomeRateLimited: 1}, recoveries: map[string]int{"cooldown": 1}, attempts: []int{1, 1, 1},
				})
				call(t, p, script{"k0": {good()}}, "k0", nil)
			})
		})
	}
}

func TestStaleAnswerBeforeTheConfirmation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		c := newCrowd(t)
		c.call(t.Context(), p, "late", unstated().after(20*time.Second), good())
		c.call(t.Context(), p, "marks", limited(10*time.Second))
		time.Sleep(21 * time.Second)
		c.end("late", "ok@20s")
	})
}

func TestStaleAnswerForOneOfTwoModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		c := newCrowd(t)
		if _, err := do(t, p, Want{Model: "other"}, script{"k0": {limited(time.Hour)}}); err == nil {
			t.Error("no error")
		}
		c.call(t.Context(), p, "late", unstated().after(20*time.Second), good())
		c.call(t.Context(), p, "marks", limited(10*time.Second))
		time.Sleep(21 * time.Second)
		c.end("late", "ok@20s") // although the key is not valid yet
	})
}

func TestStaleTwiceAsksTheClientToComeBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		c := newCrowd(t)
		flaps := func() { // k0 is marked and recovers while "late" waits
			c.call(t.Context(), p, "marks", limited(time.Second))
			time.Sleep(3 * time.Second)
		}
		c.call(t.Context(), p, "late", unstated().after(5*time.Second), unstated().after(5*time.Second))
		flaps()
		time.Sleep(4 * time.Second)
		flaps()
		time.Sleep(5 * time.Second)
		c.end("late", exhausted(OutcomeRateLimited, time.Second).Error()+"@10s")
	})
}

func TestSuccessEndsOnlyWhatWasMarkedBeforeItWasSent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		c := newCrowd(t)
		c.call(t.Context(), p, "slow", good().after(5*time.Second))
		c.call(t.Context(), p, "same moment", good())
		c.call(t.Context(), p, "marks", unstated())
		c.call(t.Context(), p, "refused")
		time.Sleep(6 * time.Second)
		c.end("slow", "ok@5s")
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, 54*time.Second))
	})
}

func TestRejectionIsNotSoftenedByWhatWasSentBeforeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		c := newCrowd(t)
		whole := limited(time.Minute)
		whole.verdict.Scope.Model = false
		c.call(t.Context(), p, "cools", whole.after(2*time.Second))
		c.call(t.Context(), p, "serves", good().after(3*time.Second))
		c.call(t.Context(), p, "rejects", rejected().after(time.Second))
		c.call(t.Context(), p, "rejects too", rejected().after(4*time.Second))
		time.Sleep(5 * time.Second)
		c.end("serves", "ok@3s")
		r.families(&expect{
			keys: map[string]State{"k0": Permanent}, transitions: map[verdict.Reason]int{"unauthorized": 1},
			exhaustions: map[Outcome]int{OutcomeAuthFailed: 3}, attempts: []int{1, 1, 1, 1},
		})
	})
}

func TestCooldownOfOneModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		call(t, p, script{"k0": {limited(time.Minute)}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
		if keys, err := do(t, p, Want{Model: "other"}, script{"k0": {good()}}); err != nil || len(keys) != 1 {
			t.Errorf("another model was asked of %v: %v", keys, err)
		}
		want := expect{
			keys: map[string]State{"k0": Temporary}, transitions: map[verdict.Reason]int{"rate_limited": 1},
			exhaustions: map[Outcome]int{OutcomeRateLimited: 1}, attempts: []int{1, 1}, next: 60, scoped: map[string]int{"key": 1},
		}
		r.families(&want)
		// A second model extends the state, which is no transition; the key is valid
		// again when the last has ended.
		if _, err := do(t, p, Want{Model: "other"}, script{"k0": {limited(2 * time.Minute)}}); err == nil {
			t.Error("no error")
		}
		time.Sleep(90 * time.Second)
		want.exhaustions[OutcomeRateLimited], want.attempts = 2, []int{1, 1, 1}
		want.next, want.scoped = 30, map[string]int{"key": 1}
		r.families(&want)
		time.Sleep(30 * time.Second)
		want.keys["k0"], want.next, want.scoped, want.recoveries = Valid, 0, nil, map[string]int{"cooldown": 1}
		r.families(&want)
	})
}

func TestOrganizationIsTakenOutAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(5, func(o *Options) {
			for i := range 4 {
				o.Keys[i].Organization = "a"
			}
			o.Keys[3].Project = "x"
			o.Keys[4].Organization = "b"
		})
		// The 401 is k0's own; the rate limit that k1 hits is all of a's.
		call(t, p, script{"k0": {rejected()}, "k1": {limited(time.Minute)}, "k4": {good()}}, "k0 k1 k4", nil)
		want := expect{
			keys:        map[string]State{"k0": Permanent, "k1": Temporary, "k2": Temporary, "k3": Temporary, "k4": Valid},
			transitions: map[verdict.Reason]int{"unauthorized": 1, "rate_limited": 3},
			failovers:   map[verdict.Reason]int{"unauthorized": 1, "rate_limited": 1},
			attempts:    []int{3}, next: 60, scoped: map[string]int{"organization": 1},
		}
		r.families(&want)
		time.Sleep(time.Minute)
		want.keys = map[string]State{"k0": Permanent, "k1": Valid, "k2": Valid, "k3": Valid, "k4": Valid}
		want.recoveries, want.next, want.scoped = map[string]int{"cooldown": 3}, 0, nil
		r.families(&want)
		// Out of credit condemns all of it.
		call(t, p, script{"k1": {broke()}, "k4": {good()}}, "k1 k4", nil)
		want.keys = map[string]State{"k0": Permanent, "k1": Permanent, "k2": Permanent, "k3": Permanent, "k4": Valid}
		want.transitions["quota_exhausted"], want.failovers["quota_exhausted"] = 3, 1
		want.attempts = []int{3, 2}
		r.families(&want)
	})
}

func TestProjectLimitLeavesTheOrganizationIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, func(o *Options) {
			for i := range o.Keys {
				o.Keys[i].Organization = "a"
				o.Keys[i].Project = []string{"x", "x", "y"}[i]
			}
		})
		limit := limited(time.Minute)
		limit.verdict.Scope.Level = verdict.Project
		call(t, p, script{"k0": {limit}, "k2": {good()}}, "k0 k2", nil)
	})
}

func TestDeadlinesThatProveTooEarlyAreDistrusted(t *testing.T) {
	refuse := func(t *testing.T, p *Pool, stated, rests time.Duration) {
		t.Helper()
		call(t, p, script{"k0": {limited(stated)}}, "k0", exhausted(OutcomeRateLimited, rests))
		time.Sleep(rests)
	}
	t.Run("an eighth of how long it goes on", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newRig(t).pool(1)
			for range 9 {
				refuse(t, p, time.Second, time.Second)
			}
			refuse(t, p, time.Second, 9*time.Second/8)
			refuse(t, p, time.Second, 9*time.Second*9/64)
			refuse(t, p, time.Minute, time.Minute) // what says enough is believed
			call(t, p, script{"k0": {good()}}, "k0", nil)
			refuse(t, p, time.Second, time.Second) // and a good answer ends it
		})
	})
	t.Run("an hour at most", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newRig(t).pool(1)
			for range 20 {
				refuse(t, p, time.Hour, time.Hour)
			}
			refuse(t, p, time.Second, time.Hour)
		})
	})
	t.Run("not what comes long after", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			p := newRig(t).pool(1)
			for range 5 {
				refuse(t, p, time.Second, time.Second)
			}
			time.Sleep(episode + 4*time.Second/2 + 1)
			refuse(t, p, time.Second, time.Second)
		})
	})
}
