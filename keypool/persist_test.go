package keypool

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"keybridge/keypool/verdict"
)

// restarted is a pool as it is after the process has ended: made anew, with nothing
// but what a file has kept.
func (r *rig) restarted(old *Pool, n int, with ...func(*Options)) *Pool {
	r.t.Helper()
	kept, err := json.Marshal(old.State())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, m := range old.members {
		for _, word := range []string{m.secret, m.hint, m.id} {
			if strings.Contains(string(kept), `"`+word) || strings.Contains(string(kept), m.secret) {
				r.t.Errorf("what is kept holds %q:\n%s", word, kept)
			}
		}
	}
	var s PoolState
	if err = json.Unmarshal(kept, &s); err != nil {
		r.t.Fatal(err)
	}
	r.log.Reset()
	r.reg = prometheus.NewPedanticRegistry()
	if r.m, err = NewMetrics(r.reg, func() []*Pool { return r.pools }); err != nil {
		r.t.Fatal(err)
	}
	p := r.pool(n, with...)
	p.Restore(s)
	return p
}

func sameKeys(t *testing.T, want, got []KeyStatus) {
	t.Helper()
	plain := func(ks []KeyStatus) (out []string) { // times compare by the instant
		for _, k := range ks {
			k.Served, k.Sessions = 0, 0
			out = append(out, fmt.Sprintf("%+v until %d next %d", k, k.Until.UnixNano(), k.NextTry.UnixNano()))
			out[len(out)-1] = strings.ReplaceAll(out[len(out)-1], k.Until.String(), "")
			out[len(out)-1] = strings.ReplaceAll(out[len(out)-1], k.NextTry.String(), "")
		}
		return out
	}
	if diff := gocmp.Diff(plain(want), plain(got)); diff != "" {
		t.Errorf("(-before +after):\n%s", diff)
	}
}

// All that keeps keys out is the same after a restart, and no metric has moved.
func TestRestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		probes := &prober{start: time.Now(), answer: map[string]func() verdict.Verdict{}}
		with := func(o *Options) {
			o.Prober = probes
			o.Keys[2].Organization, o.Keys[3].Organization = "a", "a"
		}
		p := r.pool(8, with)
		call(t, p, script{
			"k0": {limited(17 * time.Minute)}, "k1": {rejected()}, "k2": {broke()}, "k4": {unstated()}, "k5": {good()},
		}, "k0 k1 k2 k4 k5", nil)
		if _, err := do(t, p, Want{Model: "n"}, script{"k0": {limited(40 * 24 * time.Hour)}, "k4": {limited(48 * time.Hour)}, "k5": {good()}}); err != nil {
			t.Fatal(err)
		}
		mustBench(t, p, "k5", 0)
		mustBench(t, p, "k6", time.Hour)
		if err := p.Drain("k7"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(1234567 * time.Microsecond)
		want := p.Status().Keys

		p = r.restarted(p, 8, with)
		sameKeys(t, want, p.Status().Keys)
		r.families(&expect{
			keys: map[string]State{
				"k0": Temporary, "k1": Permanent, "k2": Permanent, "k3": Permanent, "k4": Temporary,
				"k5": Permanent, "k6": Temporary, "k7": Valid,
			},
			next: (time.Minute - 1234567*time.Microsecond).Seconds(), scoped: map[string]int{"key": 4},
		})
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, time.Minute-1234567*time.Microsecond))
		if text := r.log.String(); strings.Contains(text, "key out") || strings.Contains(text, "key recovered") {
			t.Errorf("log:\n%s", text)
		}
		// And once more: nothing is lost by being kept twice.
		sameKeys(t, want, r.restarted(p, 8, with).Status().Keys)
	})
}

func TestDeadlinesEndAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		call(t, p, script{"k0": {limited(time.Minute)}, "k1": {limited(2 * time.Minute)}}, "k0 k1", exhausted(OutcomeRateLimited, time.Minute))
		time.Sleep(90 * time.Second) // k0's has passed while the gateway was down
		p = r.restarted(p, 2)
		want := expect{keys: map[string]State{"k0": Valid, "k1": Temporary}, next: 30, scoped: map[string]int{"key": 1}}
		r.families(&want)
		time.Sleep(30 * time.Second)
		want = expect{keys: map[string]State{"k0": Valid, "k1": Valid}, recoveries: map[string]int{"cooldown": 1}}
		r.families(&want)
		// Both are tried by one request first.
		c := newCrowd(t)
		c.call(t.Context(), p, "a", good().after(time.Second))
		c.call(t.Context(), p, "b", good())
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.was("a k0@0s", "b k1@0s")
		idle(t, p)
	})
}

func TestBackoffOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		for _, wait := range []time.Duration{time.Minute, 2 * time.Minute, 4 * time.Minute, 8 * time.Minute} {
			call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, wait))
			time.Sleep(wait)
			p = r.restarted(p, 1)
		}
		call(t, p, script{"k0": {good()}}, "k0", nil)
		p = r.restarted(p, 1)
		call(t, p, script{"k0": {unstated()}}, "k0", exhausted(OutcomeRateLimited, time.Minute))
	})
}

// A provider that says "in a second" for hours is not believed any more after a restart either.
func TestDistrustOutlivesARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		asked := 0
		begin := time.Now()
		for time.Since(begin) < 8*time.Hour {
			_, _ = do(t, p, Want{}, script{"k0": {limited(time.Second)}})
			asked++
			time.Sleep(time.Until(p.Status().Keys[0].Until))
			if asked%5 == 0 {
				p = r.restarted(p, 1)
			}
		}
		if asked > 100 { // 78 without a restart, thousands if each began anew
			t.Errorf("asked %d times in 8 hours", asked)
		}
	})
}

func TestProbesGoOnAfterARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		probes := &prober{start: time.Now(), answer: map[string]func() verdict.Verdict{}}
		on := func(o *Options) { o.Prober = probes }
		p := r.pool(1, on)
		probes.answers(p.members[0].secret, func() verdict.Verdict { return rejected().verdict })
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		run(t, r, 5*time.Minute)
		before := len(probes.times())
		if before < 3 {
			t.Fatalf("%d probes in 5 minutes", before)
		}
		p = r.restarted(p, 1, on)
		// The next one is as far off as it was: not at once, and not from 30 s again.
		run(t, r, time.Until(p.Status().Keys[0].NextTry)-time.Second)
		if n := len(probes.times()); n != before {
			t.Errorf("%d probes too early", n-before)
		}
		run(t, r, 3*time.Second)
		if n := len(probes.times()); n != before+1 {
			t.Errorf("%d probes, want 1", n-before)
		}
		// Without probes it is a real request that tries.
		p = r.restarted(p, 1)
		if k := p.Status().Keys[0]; k.State != Permanent || k.NextTry.IsZero() {
			t.Errorf("%+v", k)
		}
	})
}

func run(t *testing.T, r *rig, d time.Duration) {
	t.Helper()
	stop := time.Now().Add(d)
	ctx, cancel := contextUntil(t, stop)
	defer cancel()
	RunProbes(ctx, func() []*Pool { return r.pools })
}

func TestLearnedDomainsOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(3)
		for i, org := range []string{"org-a", "org-a", "org-b"} {
			l := &Lease{pool: p, member: p.members[i], sent: time.Now()}
			l.Observe(http.Header{"Anthropic-Organization-Id": {org}, "Anthropic-Workspace-Id": {"w-" + org}})
		}
		call(t, p, script{"k0": {broke()}, "k2": {good()}}, "k0 k2", nil)
		want := p.Status().Keys
		p = r.restarted(p, 3)
		sameKeys(t, want, p.Status().Keys)
		call(t, p, script{"k2": {limited(time.Minute)}}, "k2", exhausted(OutcomeRateLimited, time.Minute))
	})
}

func TestPinsOutliveARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		with := func(o *Options) { o.Salt = []byte("salt") }
		p := r.pool(2, with)
		l := &Lease{pool: p, member: p.members[1], sent: time.Now()}
		l.Remember("resp_1")
		p = r.restarted(p, 2, with)
		order, err := do(t, p, Want{Pins: []string{"resp_1"}}, script{"k1": {good()}})
		if err != nil || strings.Join(order, " ") != "k1" {
			t.Errorf("asked %v: %v", order, err)
		}
	})
}

func TestRestoreTakesOnlyWhatIsItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, with := range map[string]func(*Options){
			"another host": func(o *Options) { o.Host = "elsewhere.test" },
			"another salt": func(o *Options) { o.Salt = []byte("other") },
			"other keys":   func(o *Options) { o.Keys[0].Secret, o.Keys[1].Secret = "sk-quite-another-one", "sk-and-another-one" },
		} {
			r := newRig(t)
			p := r.pool(2)
			call(t, p, script{"k0": {rejected()}, "k1": {limited(time.Hour)}}, "k0 k1", exhausted(OutcomeRateLimited, time.Hour))
			p = r.restarted(p, 2, with)
			for _, k := range p.Status().Keys {
				if k.State != Valid {
					t.Errorf("%s: %+v", name, k)
				}
			}
		}
		Borrowed("p", "sk").Restore(PoolState{})
		if s := Borrowed("p", "sk").State(); s.Domains != nil {
			t.Errorf("a caller's own key is kept: %+v", s)
		}
	})
}

// A file can be edited, and clocks can be set: nothing in it freezes a key for longer
// than a verdict could, and nothing breaks.
func TestRestoreBoundsWhatItReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		far := now.Add(1000 * time.Hour)
		tests := map[string]struct {
			whole BlockState
			want  State
			next  time.Duration // until it is tried, at the latest
		}{
			"since in the future":          {BlockState{Out: true, Reason: "rate_limited", Since: far, Until: far, NextTry: far}, Temporary, verifyRate * 9 / 8},
			"no next try":                  {BlockState{Out: true, Reason: "rate_limited", Since: now, Until: far}, Temporary, verifyRate},
			"endless intervals":            {BlockState{Out: true, Reason: "rate_limited", Since: now, Until: far, NextTry: far, Every: 1000 * time.Hour}, Temporary, verifyRate * 9 / 8},
			"rejected, tried in the far":   {BlockState{Out: true, Permanent: true, Reason: "unauthorized", Since: now, NextTry: far}, Permanent, maxBackoff * 9 / 8},
			"rejected, never tried":        {BlockState{Out: true, Permanent: true, Reason: "unauthorized", Since: now}, Permanent, maxBackoff},
			"out for no time":              {BlockState{Out: true, Reason: "rate_limited"}, Valid, 0},
			"a long word":                  {BlockState{Out: true, Permanent: true, Reason: verdict.Reason(strings.Repeat("x", 1000))}, Valid, 0},
			"negative and absurd counters": {BlockState{Length: -1, Failures: 1 << 40}, Valid, 0},
		}
		for name, tt := range tests {
			r := newRig(t)
			p := r.pool(1)
			s := p.State()
			s.Domains = append(s.Domains,
				DomainState{Level: "key", Name: fmt.Sprintf("%x", p.members[0].print), Whole: &tt.whole},
				DomainState{Level: "key", Name: "no hex"}, DomainState{Level: "star", Name: "x"}, DomainState{Level: "organization"},
			)
			p.Restore(s)
			k := p.Status().Keys[0]
			if k.State != tt.want || tt.next > 0 && (k.NextTry.IsZero() || time.Until(k.NextTry) > tt.next) {
				t.Errorf("%s: %+v", name, k)
			}
			if got := p.members[0].key.whole; got.length < 0 || got.length > maxBackoff || got.probes > 64 {
				t.Errorf("%s: length %v, %d failures", name, got.length, got.probes)
			}
		}
	})
}

func TestRestoreBoundsTheModels(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		models := map[string]BlockState{"": {Out: true, Until: time.Now().Add(time.Hour)}, "p": {Out: true, Permanent: true}}
		for i := range 1000 {
			models[strings.Repeat("m", 1000)+strconv.Itoa(i)] = BlockState{Out: true, Until: time.Now().Add(time.Hour)}
			models[strconv.Itoa(i)] = BlockState{Out: true, Until: time.Now().Add(time.Hour)}
		}
		p.Restore(PoolState{Host: p.host, Domains: []DomainState{{Level: "key", Name: fmt.Sprintf("%x", p.members[0].print), Models: models}}})
		got := p.members[0].key.models
		for name, b := range got {
			if name == "" || len(name) > maxModelName || b.permanent {
				t.Errorf("model %.20q is kept", name)
			}
		}
		if len(got) != maxModels {
			t.Errorf("%d models", len(got))
		}
	})
}

// Whoever writes the file hears of everything that changes it, and of nothing else.
func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		var told atomic.Int64
		p := r.pool(2, func(o *Options) { o.Changed = func(bool) { told.Add(1); _ = p0(r).State() } }) // no lock is held
		changes := func(what string, want bool, f func()) {
			t.Helper()
			before := p.State()
			told.Store(0)
			f()
			if got := told.Load() > 0; got != want {
				t.Errorf("%s: told %t, want %t", what, got, want)
			}
			if moved := gocmp.Diff(before, p.State()) != ""; moved && !want {
				t.Errorf("%s: the state has moved", what)
			}
		}
		changes("a good answer", false, func() { call(t, p, script{"k0": {good()}}, "k0", nil) })
		changes("a failing upstream", false, func() { call(t, p, script{"k0": {broken("cut")}, "k1": {good()}}, "k0 k1", nil) })
		changes("a cooldown", true, func() { call(t, p, script{"k0": {limited(time.Hour)}, "k1": {good()}}, "k0 k1", nil) })
		changes("a rejection", true, func() { call(t, p, script{"k1": {rejected()}}, "k1", exhausted(OutcomeRateLimited, time.Hour)) })
		time.Sleep(time.Hour)
		changes("a trial that fails", true, func() { call(t, p, script{"k1": {rejected()}, "k0": {good()}}, "k1 k0", nil) })
		time.Sleep(time.Hour)
		changes("a trial that succeeds", true, func() { call(t, p, script{"k1": {good()}}, "k1", nil) })
		changes("a bench", true, func() { mustBench(t, p, "k0", 0) })
		changes("a revival", true, func() { mustRevive(t, p, "k0") })
		changes("a drain", true, func() { _ = p.Drain("k0") })
		changes("an unknown key", false, func() { _ = p.Drain("k9") })
		changes("a name of an organization", true, func() {
			l := &Lease{pool: p, member: p.members[0], sent: time.Now()}
			l.Observe(http.Header{"Anthropic-Organization-Id": {"org-a"}})
		})
		changes("a pin", true, func() { (&Lease{pool: p, member: p.members[0], sent: time.Now()}).Remember("file_1") })
	})
}

func p0(r *rig) *Pool { return r.pools[0] }

func contextUntil(t *testing.T, at time.Time) (context.Context, context.CancelFunc) {
	t.Helper()
	return context.WithDeadline(t.Context(), at)
}

// A bench that was begun before the clock was set back lasts no longer for that.
func TestRestoredBenchIsNoLongerThanItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		mustBench(t, p, "k0", 10*time.Minute)
		s := p.State()
		bench := s.Domains[0].Bench
		bench.Since, bench.Until = bench.Since.Add(1000*time.Hour), bench.Until.Add(1000*time.Hour)
		p = r.pool(1)
		p.Restore(s)
		if k := p.Status().Keys[0]; !k.Benched || time.Until(k.Until) != 10*time.Minute {
			t.Errorf("%+v", k)
		}
	})
}
