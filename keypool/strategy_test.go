package keypool

import (
	"testing"
	"testing/synctest"
	"time"
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
