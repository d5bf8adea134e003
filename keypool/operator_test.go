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

func withheld() error {
	return &ExhaustedError{Provider: "p", Outcome: OutcomeAuthFailed, Withheld: true}
}

func mustBench(t *testing.T, p *Pool, key string, d time.Duration) {
	t.Helper()
	if err := p.Bench(key, d); err != nil {
		t.Fatal(err)
	}
}

func mustRevive(t *testing.T, p *Pool, key string) []string {
	t.Helper()
	also, err := p.Revive(key)
	if err != nil {
		t.Fatal(err)
	}
	return also
}

func TestBenchedKeyIsOutUntilItIsRevived(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		mustBench(t, p, "k0", 0)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		time.Sleep(30 * 24 * time.Hour)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		want := expect{keys: map[string]State{"k0": Permanent, "k1": Valid}, attempts: []int{1, 1}}
		r.families(&want)
		if k := p.Status().Keys[0]; k.State != Permanent || k.Reason != Benched || !k.Benched || !k.Until.IsZero() || !k.NextTry.IsZero() {
			t.Errorf("%+v", k)
		}
		if also := mustRevive(t, p, "k0"); also != nil {
			t.Errorf("also %v", also)
		}
		want.keys["k0"], want.recoveries = Valid, map[string]int{"operator": 1}
		r.families(&want)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		if text := r.log.String(); strings.Count(text, `msg="key benched" provider=p key=k0`) != 1 || strings.Count(text, "via=operator") != 1 || strings.Contains(text, "key out") {
			t.Errorf("log:\n%s", text)
		}
	})
}

func TestBenchEndsByItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		start := time.Now()
		mustBench(t, p, "k0", 10*time.Minute)
		time.Sleep(time.Minute)
		call(t, p, script{}, "", &ExhaustedError{Provider: "p", Outcome: OutcomeRateLimited, RetryAfter: 9 * time.Minute, Withheld: true})
		want := expect{
			keys: map[string]State{"k0": Temporary}, exhaustions: map[Outcome]int{OutcomeRateLimited: 1}, next: 540,
		}
		r.families(&want)
		if k := p.Status().Keys[0]; k.Reason != Benched || !k.Until.Equal(start.Add(10*time.Minute)) || !k.NextTry.Equal(k.Until) || k.Models != nil {
			t.Errorf("%+v", k)
		}
		time.Sleep(9 * time.Minute)
		want.keys["k0"], want.next, want.recoveries = Valid, 0, map[string]int{"cooldown": 1}
		r.families(&want)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		if k := p.Status().Keys[0]; k.Benched || k.Reason != "" {
			t.Errorf("%+v", k)
		}
	})
}

func TestTheLastWordOfTheOperatorCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		mustBench(t, p, "k0", 0)
		mustBench(t, p, "k0", time.Hour)
		r.families(&expect{keys: map[string]State{"k0": Temporary}, next: 3600})
		mustBench(t, p, "k0", time.Minute)
		r.families(&expect{keys: map[string]State{"k0": Temporary}, next: 60})
		if err := p.Drain("k0"); err != nil {
			t.Fatal(err)
		}
		if k := p.Status().Keys[0]; k.Benched || !k.Draining || k.State != Valid {
			t.Errorf("%+v", k)
		}
		mustBench(t, p, "k0", 0)
		if k := p.Status().Keys[0]; !k.Benched || k.Draining {
			t.Errorf("%+v", k)
		}
		r.families(&expect{keys: map[string]State{"k0": Permanent}, recoveries: map[string]int{"operator": 1}})
	})
}

func TestBenchedKeyIsNeitherProbedNorTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		probes := &prober{start: time.Now(), answer: map[string]func() verdict.Verdict{}}
		p := r.pool(2, func(o *Options) { o.Prober = probes })
		// k0 is rejected, which a probe would watch; k1 cools with trials before its far end.
		call(t, p, script{"k0": {rejected()}, "k1": {limited(24 * time.Hour)}}, "k0 k1", exhausted(OutcomeRateLimited, time.Hour))
		mustBench(t, p, "k0", 0)
		mustBench(t, p, "k1", 0)
		ctx, stop := context.WithTimeout(t.Context(), 20*time.Hour)
		defer stop()
		RunProbes(ctx, func() []*Pool { return r.pools })
		call(t, p, script{}, "", withheld())
		if n := len(probes.times()); n != 0 {
			t.Errorf("%d probes", n)
		}
		// With the bench ends what else kept them out.
		mustRevive(t, p, "k0")
		mustRevive(t, p, "k1")
		call(t, p, script{"k0": {rejected()}, "k1": {good()}}, "k0 k1", nil)
	})
}

func TestCallsUnderWayEndNormallyWhenTheirKeyIsBenched(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		c := newCrowd(t)
		c.call(t.Context(), p, "good", good().after(2*time.Second))
		c.call(t.Context(), p, "bad", rejected().after(3*time.Second), good())
		time.Sleep(time.Second)
		mustBench(t, p, "k0", time.Hour)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		c.was("good k0@0s", "bad k0@0s", "bad k1@3s")
		// The rejection is one: it holds when the bench has ended.
		r.families(&expect{
			keys: map[string]State{"k0": Permanent, "k1": Valid}, transitions: map[verdict.Reason]int{"unauthorized": 1},
			failovers: map[verdict.Reason]int{"unauthorized": 1}, attempts: []int{1, 2},
		})
		idle(t, p)
	})
}

func TestPoolOfWithheldKeysSaysSo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(3, func(o *Options) { o.Keys[2].Models = []string{"other"} })
		mustBench(t, p, "k0", 0)
		if err := p.Drain("k1"); err != nil {
			t.Fatal(err)
		}
		call(t, p, script{}, "", withheld())
		r.families(&expect{
			keys: map[string]State{"k0": Permanent, "k1": Valid, "k2": Valid}, exhaustions: map[Outcome]int{OutcomeAuthFailed: 1},
		})
		// One that comes back by itself is worth waiting for.
		mustBench(t, p, "k0", 5*time.Second)
		call(t, p, script{}, "", &ExhaustedError{Provider: "p", Outcome: OutcomeRateLimited, RetryAfter: 5 * time.Second, Withheld: true})
		// One that failed by itself is none of the operator's doing.
		mustRevive(t, p, "k0")
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
	})
}

func TestCallsWaitForABenchedKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1, func(o *Options) { o.MaxWait = time.Minute })
		c := newCrowd(t)
		mustBench(t, p, "k0", 10*time.Second)
		c.call(t.Context(), p, "a", good())
		time.Sleep(11 * time.Second)
		mustBench(t, p, "k0", 30*time.Second)
		c.call(t.Context(), p, "b", good())
		time.Sleep(4 * time.Second)
		mustRevive(t, p, "k0") // b need not wait any longer
		time.Sleep(time.Second)
		synctest.Wait()
		c.was("a k0@10s", "b k0@15s")
		idle(t, p)
	})
}

func TestReviveEndsWhatKeepsTheKeyOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(5, func(o *Options) {
			for i := range 4 {
				o.Keys[i].Organization = "a"
			}
			o.Keys[3].Project, o.Keys[4].Organization = "x", "b"
		})
		call(t, p, script{"k0": {rejected()}, "k1": {broke()}, "k4": {limited(time.Hour)}}, "k0 k1 k4", exhausted(OutcomeRateLimited, time.Hour))
		want := expect{
			keys:        map[string]State{"k0": Permanent, "k1": Permanent, "k2": Permanent, "k3": Permanent, "k4": Temporary},
			transitions: map[verdict.Reason]int{"unauthorized": 1, "quota_exhausted": 3, "rate_limited": 1},
			failovers:   map[verdict.Reason]int{"unauthorized": 1, "quota_exhausted": 1}, exhaustions: map[Outcome]int{OutcomeRateLimited: 1},
			attempts: []int{3}, next: 3600, scoped: map[string]int{"organization": 1},
		}
		r.families(&want)
		// The organization is out for all its keys: they come back together, but k0,
		// which is out for itself.
		if diff := gocmp.Diff([]string{"k1", "k2"}, mustRevive(t, p, "k3")); diff != "" {
			t.Errorf("also (-want +got):\n%s", diff)
		}
		want.keys = map[string]State{"k0": Permanent, "k1": Valid, "k2": Valid, "k3": Valid, "k4": Temporary}
		want.recoveries = map[string]int{"operator": 3}
		r.families(&want)
		// A cooldown of one model is ended, too.
		if also := mustRevive(t, p, "k4"); also != nil {
			t.Errorf("also %v", also)
		}
		want.keys["k4"], want.recoveries, want.next, want.scoped = Valid, map[string]int{"operator": 4}, 0, nil
		r.families(&want)
		// There is nothing to end on a good key.
		mustRevive(t, p, "k4")
		r.families(&want)
	})
}

func TestReviveForgetsBackoffAndDenials(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		for _, wait := range []time.Duration{time.Minute, 2 * time.Minute} {
			call(t, p, script{"k0": {unstated()}, "k1": {good()}}, "k0 k1", nil)
			if got := time.Until(p.Status().Keys[0].Until); got != wait {
				t.Errorf("out for %v, want %v", got, wait)
			}
			time.Sleep(wait)
		}
		call(t, p, script{"k0": {good()}}, "k0", nil)
		call(t, p, script{"k0": {unstated()}, "k1": {good()}}, "k0 k1", nil)
		mustRevive(t, p, "k0")
		call(t, p, script{"k0": {denied(oneModel, "")}, "k1": {good()}}, "k0 k1", nil)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		mustRevive(t, p, "k0")
		call(t, p, script{"k0": {unstated()}, "k1": {good()}}, "k0 k1", nil)
		if got := time.Until(p.Status().Keys[0].Until); got != time.Minute {
			t.Errorf("after a revival out for %v", got)
		}
	})
}

func TestReviveMakesEarlierAnswersStale(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		c := newCrowd(t)
		c.call(t.Context(), p, "slow", rejected().after(10*time.Second), good())
		time.Sleep(time.Second)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		mustRevive(t, p, "k0")
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if k := p.Status().Keys[0]; k.State != Valid {
			t.Errorf("an answer to what was sent before the operator mended the key marks it: %+v", k)
		}
	})
}

func TestOperatorsHandOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(3)
		mustBench(t, old, "k0", 0)
		if err := old.Drain("k1"); err != nil {
			t.Fatal(err)
		}
		p := r.pool(3, func(o *Options) { o.Keys[0].ID = "renamed" })
		p.Adopt(old)
		call(t, p, script{"k2": {good()}}, "k2", nil)
		if k := p.Status().Keys; !k[0].Benched || k[0].State != Permanent || !k[1].Draining || k[1].State != Valid {
			t.Errorf("%+v", k)
		}
		r.families(&expect{keys: map[string]State{"renamed": Permanent, "k1": Valid, "k2": Valid}, attempts: []int{1}})
	})
}

func TestOperatorNamesAnUnknownKey(t *testing.T) {
	p := newRig(t).pool(2)
	_, err := p.Revive("k7")
	for name, err := range map[string]error{"revive": err, "bench": p.Bench("k7", 0), "drain": p.Drain("k7")} {
		if unknown, ok := errors.AsType[*UnknownKeyError](err); !ok || err.Error() != `p has no key "k7": its keys are k0, k1` || len(unknown.Known) != 2 {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := p.Bench("k0", -time.Second); err == nil || p.Status().Keys[0].Benched {
		t.Errorf("a negative time: %v", err)
	}
	if err := Borrowed("p", "sk").Drain("caller"); err == nil {
		t.Error("a caller's own key was drained")
	}
}

// A draining key finishes what it has begun: its sessions, and what needs the state
// that its project keeps. Everything else goes elsewhere.
func TestDrainingKeyFinishesItsSessions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, strategy := range []Strategy{Priority, RoundRobin, LeastBusy, Weighted, Headroom} {
			r := newRig(t)
			p := r.pool(2, func(o *Options) { o.Strategy = strategy })
			turn := func(session string, begins bool, pins ...string) string {
				t.Helper()
				key := ""
				err := p.Do(t.Context(), Want{Model: "m", Endpoint: "e", Session: session, Begins: begins, Pins: pins}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					key = l.Key()
					l.Release(Usage{InputTokens: 1000, CachedTokens: 900})
					return verdict.Success(), nil
				})
				if err != nil {
					return err.Error()
				}
				return key
			}
			home := turn("old", true)
			other := map[string]string{"k0": "k1", "k1": "k0"}[home]
			(&Lease{pool: p, member: p.members[map[string]int{"k0": 0, "k1": 1}[home]], sent: time.Now()}).Remember("file_1")
			if err := p.Drain(home); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if got := turn("old", false); got != home {
					t.Errorf("%s: the session it has goes to %s", strategy, got)
				}
				if got := turn("new", true); got != other {
					t.Errorf("%s: a new session goes to %s", strategy, got)
				}
				if got := turn("new", false); got != other {
					t.Errorf("%s: its next turn goes to %s", strategy, got)
				}
				if got := turn("", false); got != other {
					t.Errorf("%s: a call without a session goes to %s", strategy, got)
				}
				if got := turn("", false, "file_1"); got != home {
					t.Errorf("%s: what needs the project's state goes to %s", strategy, got)
				}
			}
			if got := turn("old", true); got != other {
				t.Errorf("%s: a session that begins anew goes to %s", strategy, got)
			}
			// A session whose key is out moves; the draining one takes in nobody.
			mustBench(t, p, other, 0)
			if got := turn("new", false); got != withheld().Error() {
				t.Errorf("%s: with its own key out a session goes to %s", strategy, got)
			}
			mustRevive(t, p, home)
			if got := turn("new", false); got != home {
				t.Errorf("%s: after the revival it goes to %s", strategy, got)
			}
			idle(t, p)
		}
	})
}
