package keypool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// halfOpenPool has its keys' cooldown for "m" just ended.
func halfOpenPool(t *testing.T, r *rig, n int, with ...func(*Options)) *Pool {
	t.Helper()
	p := r.pool(n, with...)
	s := script{}
	order := ""
	for i, m := range p.members {
		if i > 0 && m.org != nil && m.org == p.members[0].org {
			continue // taken out with the first
		}
		s[m.id] = []reply{limited(10 * time.Second)}
		if order += " " + m.id; i == 0 {
			order = m.id
		}
	}
	call(t, p, s, order, exhausted(OutcomeRateLimited, 10*time.Second))
	time.Sleep(10 * time.Second)
	return p
}

func TestHalfOpenOneTriesAndTheOthersFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := halfOpenPool(t, newRig(t), 1)
		c := newCrowd(t)
		for _, name := range []string{"a", "b", "c"} {
			c.call(t.Context(), p, name, good().after(time.Second))
		}
		c.was("a k0@0s")
		time.Sleep(time.Second)
		synctest.Wait()
		c.call(t.Context(), p, "d", good())
		c.was("a k0@0s", "b k0@1s", "c k0@1s", "d k0@1s")
		time.Sleep(time.Second)
		synctest.Wait()
		c.end("c", "ok@2s")
		idle(t, p)
	})
}

func TestHalfOpenOthersWaitTwoSecondsThenGo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := halfOpenPool(t, newRig(t), 1)
		c := newCrowd(t)
		c.call(t.Context(), p, "a", good().after(time.Minute))
		c.call(t.Context(), p, "b", good().after(time.Minute))
		time.Sleep(1500 * time.Millisecond)
		c.call(t.Context(), p, "c", good().after(time.Minute))
		time.Sleep(time.Second)
		// Both waited until the trial was two seconds old; whoever comes later
		// does not wait at all.
		c.call(t.Context(), p, "d", good())
		c.was("a k0@0s", "b k0@2s", "c k0@2s", "d k0@2.5s")
		time.Sleep(time.Minute)
		synctest.Wait()
		idle(t, p)
	})
}

func TestHalfOpenPrefersAnotherKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := halfOpenPool(t, newRig(t), 3)
		c := newCrowd(t)
		c.call(t.Context(), p, "a", good().after(1500*time.Millisecond))
		c.call(t.Context(), p, "b", good().after(time.Second))
		c.call(t.Context(), p, "c", good().after(1500*time.Millisecond))
		c.call(t.Context(), p, "d", good()) // all are being tried: the first that is good serves
		c.was("a k0@0s", "b k1@0s", "c k2@0s")
		time.Sleep(time.Second)
		synctest.Wait()
		c.was("a k0@0s", "b k1@0s", "c k2@0s", "d k1@1s")
		time.Sleep(time.Second)
		synctest.Wait()
		idle(t, p)
	})
}

func TestHalfOpenTurnOfOneWhoWasServedElsewhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := halfOpenPool(t, newRig(t), 2)
		c := newCrowd(t)
		c.call(t.Context(), p, "a", bad("a").after(time.Second))
		c.call(t.Context(), p, "b", bad("b").after(time.Second))
		// Both trials tell nothing. Each hands on to the first in its line who still
		// waits, so that two try at once, each another key.
		for _, name := range []string{"c", "d", "e"} {
			c.call(t.Context(), p, name, good().after(500*time.Millisecond))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		c.mu.Lock()
		if len(c.sent) != 4 {
			t.Errorf("sent %v, want two more at one second", c.sent)
		}
		c.mu.Unlock()
		time.Sleep(time.Second)
		synctest.Wait()
		c.end("e", "ok@2s")
		idle(t, p)
	})
}

func TestHalfOpenOneTrialForAnOrganization(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := halfOpenPool(t, newRig(t), 3, func(o *Options) {
			for i := range o.Keys {
				o.Keys[i].Organization = "a"
			}
		})
		c := newCrowd(t)
		c.call(t.Context(), p, "a", limited(time.Minute).after(time.Second))
		c.call(t.Context(), p, "b")
		time.Sleep(time.Second)
		synctest.Wait()
		c.was("a k0@0s")
		wait := exhausted(OutcomeRateLimited, 59*time.Second).Error() + "@1s"
		c.end("a", wait)
		c.end("b", wait)
		idle(t, p)
	})
}

func TestHalfOpenNeutralEndHandsTheTrialOn(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(c *crowd, p *Pool, cancel func())
	}{
		{"client gone", func(_ *crowd, _ *Pool, cancel func()) { cancel() }},
		{"bad request", func(*crowd, *Pool, func()) { time.Sleep(time.Second) }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := halfOpenPool(t, newRig(t), 1)
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				c := newCrowd(t)
				c.call(ctx, p, "a", bad("400").after(time.Second))
				for _, name := range []string{"b", "c", "d"} {
					c.call(t.Context(), p, name, good().after(time.Second))
				}
				at := time.Now()
				tt.end(c, p, cancel)
				synctest.Wait()
				now := time.Since(at)
				c.was("a k0@0s", "b k0@"+now.String()) // first in, first out, and one at a time
				time.Sleep(time.Second)
				synctest.Wait()
				then := (now + time.Second).String()
				c.was("a k0@0s", "b k0@"+now.String(), "c k0@"+then, "d k0@"+then)
				time.Sleep(time.Minute)
				synctest.Wait()
				idle(t, p)
			})
		})
	}
}

func TestHalfOpenWaiterWhoLeavesPassesHisTurnOn(t *testing.T) {
	for _, tt := range []struct {
		name  string
		leave func(first, second func())
	}{
		{"before it comes", func(first, second func()) { second(); synctest.Wait(); first() }},
		{"as it comes", func(first, second func()) { first(); second() }},
		{"after it came", func(first, second func()) { first(); synctest.Wait(); second() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := halfOpenPool(t, newRig(t), 1)
				first, goFirst := context.WithCancel(t.Context())
				second, goSecond := context.WithCancel(t.Context())
				c := newCrowd(t)
				c.call(first, p, "a", good().after(time.Second))
				c.call(second, p, "b", good().after(time.Second))
				c.call(t.Context(), p, "c", good().after(time.Second))
				c.call(t.Context(), p, "d", good().after(time.Second))
				tt.leave(goFirst, goSecond)
				synctest.Wait()
				c.end("a", "context canceled@0s")
				c.end("b", "context canceled@0s")
				time.Sleep(time.Second)
				synctest.Wait()
				c.end("c", "ok@1s")
				time.Sleep(time.Second)
				synctest.Wait()
				c.end("d", "ok@2s")
				idle(t, p)
			})
		})
	}
}

func TestPatienceIsTheCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := halfOpenPool(t, newRig(t), 1)
		c := newCrowd(t)
		c.call(t.Context(), p, "a", bad("400").after(1500*time.Millisecond))
		c.call(t.Context(), p, "b", good().after(time.Minute))
		c.call(t.Context(), p, "c", good())
		time.Sleep(3 * time.Second)
		synctest.Wait()
		// b took the second trial; c had waited 1.5 s for the first.
		c.was("a k0@0s", "b k0@1.5s", "c k0@2s")
		time.Sleep(time.Minute)
		synctest.Wait()
		idle(t, p)
	})
}

func TestStatedDeadlineIsVerified(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		long := func() reply { return limited(24 * time.Hour) }
		call(t, p, script{"k0": {long()}}, "k0", exhausted(OutcomeRateLimited, time.Hour))
		time.Sleep(time.Hour)
		// One request tries; the others are told to wait and never sent.
		c := newCrowd(t)
		c.call(t.Context(), p, "a", unstated().after(time.Second))
		c.call(t.Context(), p, "b")
		c.end("b", exhausted(OutcomeRateLimited, time.Second).Error()+"@0s")
		time.Sleep(time.Second)
		synctest.Wait()
		c.end("a", exhausted(OutcomeRateLimited, time.Hour).Error()+"@1s")
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, time.Hour))
		// A trial that told nothing is not repeated at once.
		time.Sleep(time.Hour)
		call(t, p, script{"k0": {bad("400")}}, "k0", refusal("400"))
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, 30*time.Second))
		time.Sleep(30 * time.Second)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		r.families(&expect{
			keys: map[string]State{"k0": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 1},
			recoveries: map[string]int{"trial": 1}, exhaustions: map[Outcome]int{OutcomeRateLimited: 5}, attempts: []int{1, 1, 1, 1},
		})
		idle(t, p)
	})
}

func TestCondemnedKeyIsTriedByARealRequest(t *testing.T) {
	for _, tt := range []struct {
		name   string
		after  time.Duration
		answer func() reply
		out    error
		trials []time.Duration // from one rejection to the next trial
	}{
		{"rejected", 10 * time.Minute, rejected, exhausted(OutcomeAuthFailed, 0), []time.Duration{10 * time.Minute, 20 * time.Minute, 40 * time.Minute, time.Hour, time.Hour}},
		{"rejected, by default", 0, rejected, exhausted(OutcomeAuthFailed, 0), []time.Duration{time.Hour, time.Hour}},
		{"out of credit", 10 * time.Minute, broke, exhausted(OutcomeQuotaExhausted, 0), []time.Duration{time.Hour, time.Hour}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t)
				p := r.pool(2, func(o *Options) { o.TrialAfter = tt.after })
				call(t, p, script{"k0": {tt.answer()}, "k1": {good()}}, "k0 k1", nil)
				for _, wait := range tt.trials {
					time.Sleep(wait - time.Second)
					call(t, p, script{"k1": {good()}}, "k1", nil)
					time.Sleep(time.Second)
					call(t, p, script{"k0": {tt.answer()}, "k1": {good()}}, "k0 k1", nil)
				}
				time.Sleep(time.Hour)
				call(t, p, script{"k0": {good()}}, "k0", nil)
				call(t, p, script{"k0": {tt.answer()}, "k1": {tt.answer()}}, "k0 k1", tt.out)
				call(t, p, script{}, "", tt.out)
				time.Sleep(tt.trials[0])
				call(t, p, script{"k0": {good()}}, "k0", nil)
			})
		})
	}
}

func TestRateLimitShowsThatARejectedKeyIsAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		time.Sleep(time.Hour)
		call(t, p, script{"k0": {limited(time.Minute)}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
		r.families(&expect{
			keys: map[string]State{"k0": Temporary}, transitions: map[verdict.Reason]int{"unauthorized": 1, "rate_limited": 1},
			exhaustions: map[Outcome]int{OutcomeAuthFailed: 1, OutcomeRateLimited: 1}, attempts: []int{1, 1}, next: 60, scoped: map[string]int{"key": 1},
		})
	})
}

func TestTrialWithoutAnAnswerBarsTheNextForAnHour(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		call(t, p, script{"k0": {limited(48 * time.Hour)}}, "k0", exhausted(OutcomeRateLimited, time.Hour))
		time.Sleep(time.Hour)
		c := newCrowd(t)
		c.call(t.Context(), p, "hangs", good().after(12*time.Hour))
		time.Sleep(time.Hour - time.Second)
		c.call(t.Context(), p, "early")
		c.end("early", exhausted(OutcomeRateLimited, time.Second).Error()+"@59m59s")
		time.Sleep(time.Second)
		c.call(t.Context(), p, "next", limited(48*time.Hour).after(time.Second))
		time.Sleep(time.Second)
		synctest.Wait()
		c.was("hangs k0@0s", "next k0@1h0m0s")
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, time.Hour))
		time.Sleep(11 * time.Hour)
		synctest.Wait()
		// It was sent before the other had its answer, and tells that the key is good.
		c.end("hangs", "ok@12h0m0s")
		call(t, p, script{"k0": {good()}}, "k0", nil)
		idle(t, p)
	})
}

func TestTrialThatFindsAnotherReasonIsFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &prober{can: func(r verdict.Reason) bool { return r != verdict.QuotaExhausted }}
		p := newRig(t).pool(1, withProber(probes))
		call(t, p, script{"k0": {broke()}}, "k0", exhausted(OutcomeQuotaExhausted, 0))
		stop := probing(t, func() *Pool { return p })
		defer stop()
		time.Sleep(time.Hour)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		probes.answers(p.members[0].secret, verdict.Success)
		time.Sleep(3 * time.Minute)
		call(t, p, script{"k0": {good()}}, "k0", nil)
	})
}
