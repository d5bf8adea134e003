package keypool

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

func TestAdopt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(4)
		call(t, old, script{"k0": {rejected()}, "k1": {limited(time.Hour)}, "k2": {rejected()}, "k3": {good()}}, "k0 k1 k2 k3", nil)
		want := expect{
			keys:        map[string]State{"k0": Permanent, "k1": Temporary, "k2": Permanent, "k3": Valid},
			transitions: map[verdict.Reason]int{"unauthorized": 2, "rate_limited": 1},
			failovers:   map[verdict.Reason]int{"unauthorized": 2, "rate_limited": 1},
			attempts:    []int{4}, next: 3600, scoped: map[string]int{"key": 1},
		}
		r.families(&want)

		// k0 is renamed and moved, k1 stays, k2 gets a new secret, k3 goes, one comes.
		p := r.pool(4, func(o *Options) {
			k := o.Keys
			k[0].ID = "renamed"
			k[2].Secret = "sk-test-replaced-secret"
			o.Keys = []Key{{ID: "new", Secret: "sk-test-quite-new"}, k[2], k[1], k[0]}
		})
		p.Adopt(old)
		want.keys = map[string]State{"new": Valid, "k2": Valid, "k1": Temporary, "renamed": Permanent}
		r.families(&want)
		call(t, p, script{"new": {tooLarge("")}, "k2": {good()}}, "new k2", nil)
	})
}

func TestAdoptCountsWhatEndedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(1)
		call(t, old, script{"k0": {limited(time.Minute)}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
		time.Sleep(time.Minute)
		p := r.pool(1)
		p.Adopt(old)
		r.families(&expect{
			keys: map[string]State{"k0": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 1}, recoveries: map[string]int{"cooldown": 1},
			exhaustions: map[Outcome]int{OutcomeRateLimited: 1}, attempts: []int{1},
		})
		if n := strings.Count(r.log.String(), "key recovered"); n != 1 {
			t.Errorf("the recovery was logged %d times:\n%s", n, &r.log)
		}
	})
}

func TestLeasesOfTheOldPoolMarkTheRightKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(2)
		c := newCrowd(t)
		c.call(t.Context(), old, "rejected", rejected().after(time.Second), good().after(time.Second))
		p := r.pool(2, func(o *Options) { o.Keys[0], o.Keys[1] = o.Keys[1], o.Keys[0] })
		p.Adopt(old)
		time.Sleep(3 * time.Second)
		synctest.Wait()
		c.was("rejected k0@0s", "rejected k1@1s")
		r.families(&expect{
			keys: map[string]State{"k0": Permanent, "k1": Valid}, transitions: map[verdict.Reason]int{"unauthorized": 1},
			failovers: map[verdict.Reason]int{"unauthorized": 1}, attempts: []int{2},
		})
		idle(t, p)
	})
}

func TestLeaseOfARemovedKeyMarksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(2)
		c := newCrowd(t)
		c.call(t.Context(), old, "a", rejected().after(time.Second), good())
		p := r.pool(2, func(o *Options) { o.Keys = o.Keys[1:] })
		p.Adopt(old)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		r.families(&expect{keys: map[string]State{"k1": Valid}, failovers: map[verdict.Reason]int{"unauthorized": 1}, attempts: []int{2}})
		idle(t, p)
	})
}

func TestAdoptDropsTheDenialsOfRemovedKeys(t *testing.T) {
	r := newRig(t)
	old := r.pool(3)
	call(t, old, script{"k0": {denied(oneModel, "")}, "k1": {denied(oneModel, "")}, "k2": {good()}}, "k0 k1 k2", nil)
	p := r.pool(3, func(o *Options) { o.Keys = o.Keys[1:] })
	p.Adopt(old)
	r.families(&expect{
		keys: map[string]State{"k1": Valid, "k2": Valid}, failovers: map[verdict.Reason]int{"model_access": 2},
		attempts: []int{3}, scoped: map[string]int{"key": 1},
	})
	call(t, p, script{"k2": {good()}}, "k2", nil)
}

func TestAdoptIsBoundToHostAndProvider(t *testing.T) {
	for _, tt := range []struct {
		name string
		with func(*Options)
		keep bool
		org  bool // only what is known of its organization stays
	}{
		{"same", func(*Options) {}, true, false},
		{"other host", func(o *Options) { o.Host = "elsewhere.test" }, false, false},
		{"other provider", func(o *Options) { o.Provider = "q" }, false, false},
		{"other salt", func(o *Options) { o.Salt = []byte("other") }, false, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, out := range []reply{rejected(), broke()} { // the key's own, its organization's
				r := newRig(t)
				inOrg := func(o *Options) { o.Keys[0].Organization = "a" }
				old := r.pool(1, inOrg)
				if _, err := do(t, old, Want{}, script{"k0": {out}}); err == nil {
					t.Fatal("no error")
				}
				p := r.pool(1, inOrg, tt.with)
				p.Adopt(old)
				if got := p.view(time.Now()).states; (got[Permanent] == 1) != (tt.keep || tt.org && out.verdict.Scope.Level == verdict.Organization) {
					t.Errorf("after %v the states are %v", out.err, got)
				}
			}
		})
	}
	p := newRig(t).pool(1)
	for _, old := range []*Pool{nil, Borrowed("p", "x")} {
		p.Adopt(old) // changes nothing
	}
	call(t, p, script{"k0": {good()}}, "k0", nil)
}

func TestOrganizationOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		orgs := func(o *Options) {
			o.Keys[0].Organization, o.Keys[1].Organization = "a", "b"
			o.Keys[0].Project, o.Keys[1].Project = "x", "y"
		}
		old := r.pool(2, orgs)
		call(t, old, script{"k0": {broke()}, "k1": {good()}}, "k0 k1", nil)
		// A key that joins the organization is out with it, and that is no transition.
		p := r.pool(2, orgs, func(o *Options) {
			o.Keys = append(o.Keys, Key{ID: "k2", Secret: "sk-test-another-one-of-a", Organization: "a"})
		})
		p.Adopt(old)
		r.families(&expect{
			keys: map[string]State{"k0": Permanent, "k1": Valid, "k2": Permanent}, transitions: map[verdict.Reason]int{"quota_exhausted": 1},
			failovers: map[verdict.Reason]int{"quota_exhausted": 1}, attempts: []int{2},
		})
		call(t, p, script{"k1": {rejected()}}, "k1", exhausted(OutcomeQuotaExhausted, 0))
		r.families(&expect{
			keys:        map[string]State{"k0": Permanent, "k1": Permanent, "k2": Permanent},
			transitions: map[verdict.Reason]int{"quota_exhausted": 1, "unauthorized": 1},
			failovers:   map[verdict.Reason]int{"quota_exhausted": 1}, exhaustions: map[Outcome]int{OutcomeQuotaExhausted: 1}, attempts: []int{2, 1},
		})
	})
}

func TestReloadTurnsProbesOffAndOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		probes := &prober{start: time.Now(), answer: map[string]func() verdict.Verdict{}}
		on := func(o *Options) { o.Prober = probes }
		old := r.pool(1, on)
		probes.answers(old.members[0].secret, func() verdict.Verdict { return rejected().verdict })
		call(t, old, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))

		off := r.pool(1)
		off.Adopt(old)
		time.Sleep(time.Hour)
		// The trial fails; the old pool must not put its probe back in charge.
		call(t, old, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		time.Sleep(time.Hour)
		call(t, off, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))

		again := r.pool(1, on)
		again.Adopt(off)
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Minute)
		defer stop()
		RunProbes(ctx, func() []*Pool { return r.pools })
		if len(probes.times()) == 0 {
			t.Error("a reload that turns the probes on does not probe what is condemned")
		}
	})
}
