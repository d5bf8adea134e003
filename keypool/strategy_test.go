package keypool

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

func TestPriority(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		for range 3 {
			call(t, p, script{"k0": {good()}}, "k0", nil)
		}
		call(t, p, script{"k0": {limited(time.Minute)}, "k1": {good()}}, "k0 k1", nil)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		time.Sleep(time.Minute)
		call(t, p, script{"k0": {good()}}, "k0", nil)
	})
}

func TestRoundRobin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, func(o *Options) { o.Strategy = RoundRobin })
		for _, key := range []string{"k0", "k1", "k2", "k0"} {
			call(t, p, script{key: {good()}}, key, nil)
		}
		call(t, p, script{"k1": {rejected()}, "k2": {rejected()}, "k0": {good()}}, "k1 k2 k0", nil)
		for range 3 {
			call(t, p, script{"k0": {good()}}, "k0", nil)
		}
	})
}

func TestLeastBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, func(o *Options) { o.Strategy = LeastBusy })
		c := newCrowd(t)
		c.call(t.Context(), p, "a", good().after(3*time.Second))
		c.call(t.Context(), p, "b", good().after(1*time.Second))
		c.call(t.Context(), p, "c", good().after(3*time.Second))
		c.call(t.Context(), p, "d", good().after(3*time.Second)) // all have one: the first
		c.was("a k0@0s", "b k1@0s", "c k2@0s", "d k0@0s")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.call(t.Context(), p, "e", tooLarge("").after(time.Second), good())
		c.was("a k0@0s", "b k1@0s", "c k2@0s", "d k0@0s", "e k1@2s")
		time.Sleep(5 * time.Second)
		synctest.Wait()
		idle(t, p)
	})
}

func TestWalkBeginsAtAKeyWhoseTrialIsDue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []Strategy{Priority, RoundRobin, LeastBusy} {
			p := newRig(t).pool(3, func(o *Options) { o.Strategy, o.TrialAfter = s, time.Minute })
			order, err := do(t, p, Want{}, script{"k0": {tooLarge("")}, "k1": {tooLarge("")}, "k2": {rejected()}})
			if len(order) != 3 || err == nil {
				t.Fatalf("%s: %v, %v", s, order, err)
			}
			time.Sleep(time.Minute)
			call(t, p, script{"k2": {good()}}, "k2", nil)
		}
	})
}

// The heavy key is spread among the light ones, and a key that is out leaves its
// turns to the others.
func TestWeighted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, func(o *Options) { o.Strategy, o.Keys[0].Weight = Weighted, 3 })
		turns := func(n int) string {
			var keys []string
			for range n {
				err := p.Do(t.Context(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					defer l.Release(Usage{})
					keys = append(keys, l.Key())
					return verdict.Success(), nil
				})
				if err != nil {
					t.Fatal(err)
				}
			}
			return strings.Join(keys, " ")
		}
		for range 3 {
			if got, want := turns(5), "k0 k1 k0 k2 k0"; got != want {
				t.Errorf("took turns %s, want %s", got, want)
			}
		}
		call(t, p, script{"k0": {limited(time.Minute)}, "k1": {good()}}, "k0 k1", nil)
		if got, want := turns(4), "k2 k1 k2 k1"; got != want {
			t.Errorf("without k0 took turns %s, want %s", got, want)
		}
		time.Sleep(time.Minute)
		if got := turns(10); strings.Count(got, "k0") != 6 {
			t.Errorf("with k0 back took turns %s, want 6 of k0", got)
		}
	})
}

func TestNegativeWeightIsRefused(t *testing.T) {
	_, err := New(Options{Provider: "p", Family: verdict.OpenAI, Host: "h", Metrics: NoMetrics(), Strategy: Weighted, Keys: []Key{{Secret: "a", Weight: -1}}})
	sameError(t, err, errors.New(`keypool: provider "p": keys[0]: the weight -1 is negative`))
}

func TestMoreKeysThanAWalkHoldsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(70)
		s, want := script{}, make([]string, 70)
		for i := range 70 {
			k := fmt.Sprintf("k%d", i)
			s[k], want[i] = []reply{rejected()}, k
		}
		s["k69"] = []reply{good()}
		call(t, p, s, strings.Join(want, " "), nil)
	})
}
