package keypool

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// asking sends a call each second until one is served or the time is over, and lists
// when k0 was asked.
func asking(t *testing.T, p *Pool, long time.Duration, good func(at time.Duration) bool, bad func() reply) (asked []time.Duration) {
	t.Helper()
	start := time.Now()
	for time.Since(start) < long {
		err := p.Do(t.Context(), Want{Model: "m", Endpoint: "/e"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			at := time.Since(start)
			if l.Key() == "k0" {
				asked = append(asked, at)
			}
			if good(at) {
				l.Release(Usage{})
				return verdict.Success(), nil
			}
			return bad().verdict, refusal("refused")
		})
		if err == nil {
			return asked
		}
		time.Sleep(time.Second)
	}
	return asked
}

func TestCallThatWouldFailAsksAKeyWhoseEndNobodyKnows(t *testing.T) {
	week := func() reply { return limited(7 * 24 * time.Hour) }
	for _, tt := range []struct {
		name   string
		answer func() reply
	}{
		{"rejected", rejected},
		{"out of credit", broke},
		{"a deadline too far to be believed", week},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const dead = 30 * time.Hour
				p := newRig(t).pool(1)
				asked := asking(t, p, dead+2*time.Hour, func(at time.Duration) bool { return at >= dead }, tt.answer)
				for i := 1; i < len(asked); i++ {
					gap, least := asked[i]-asked[i-1], min(max(asked[i]/16, 2*time.Minute), time.Hour)
					if gap < least || gap > least+5*time.Second {
						t.Fatalf("asked after %v, out for %v: want %v", gap, asked[i], least)
					}
				}
				if n := len(asked); n > 100 {
					t.Errorf("asked %d times in %v", n, dead)
				}
				if found := asked[len(asked)-1] - dead; found < 0 || found > time.Hour {
					t.Errorf("found %v after it was good again", found)
				}
				if s := p.Status().Keys[0].State; s != Valid {
					t.Errorf("the key is %s after it has served", s)
				}
			})
		})
	}
}

func TestNoLastResortBeforeANearDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		const out = 59 * time.Minute
		asked := asking(t, p, 2*time.Hour, func(at time.Duration) bool { return at >= out }, func() reply { return limited(out) })
		if len(asked) != 2 || asked[1] < out {
			t.Errorf("asked at %v, want only at the beginning and from %v on", asked, out)
		}
	})
}

func TestNoLastResortWhileAnotherKeyServesOrWill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, func(o *Options) { o.MaxWait = 10 * time.Second })
		call(t, p, script{"k0": {rejected()}, "k1": {good()}}, "k0 k1", nil)
		time.Sleep(30 * time.Minute)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		call(t, p, script{"k1": {limited(5 * time.Second), good()}}, "k1 k1", nil) // it waits
		if err := p.Bench("k1", 0); err != nil {
			t.Fatal(err)
		}
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0)) // it would fail
	})
}

func TestNoLastResortAgainstTheOperator(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		if err := p.Bench("k0", 0); err != nil {
			t.Fatal(err)
		}
		time.Sleep(30 * time.Minute)
		call(t, p, script{}, "", &ExhaustedError{Provider: "p", Outcome: OutcomeAuthFailed, Withheld: true})
	})
}

func TestCallsThatFailAtOnceAskOneKeyOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		time.Sleep(30 * time.Minute)
		asked := make(chan struct{}, 20)
		for range 20 {
			go p.Do(t.Context(), Want{Model: "m", Endpoint: "/e"}, func(context.Context, *Lease) (verdict.Verdict, error) {
				asked <- struct{}{}
				time.Sleep(time.Second)
				return rejected().verdict, refusal("refused")
			})
		}
		time.Sleep(time.Minute)
		if len(asked) != 1 {
			t.Errorf("%d calls asked the key, want 1", len(asked))
		}
	})
}
