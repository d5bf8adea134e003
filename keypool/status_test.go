package keypool

import (
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

func TestStatus(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		probes := func(o *Options) {
			o.Prober, o.ProbeAfter = &prober{start: time.Now()}, 2*time.Second
			o.Keys[2].Organization, o.Keys[3].Organization = "org", "org"
		}
		p := r.pool(5, probes)
		start := time.Now()
		call(t, p, script{
			"k0": {limited(20 * time.Second)}, "k1": {rejected()}, "k2": {condemned(verdict.Organization, verdict.QuotaExhausted)}, "k4": {good()},
		}, "k0 k1 k2 k4", nil)
		if _, err := do(t, p, Want{Model: "n"}, script{"k0": {limited(40 * time.Second)}, "k4": {good()}}); err != nil {
			t.Fatal(err)
		}
		got := p.Status()
		if got.Provider != "p" || len(got.Keys) != 5 {
			t.Fatalf("%+v", got)
		}
		for i := range got.Keys { // a probe's time has up to a tenth of jitter
			k := &got.Keys[i]
			if next := k.NextTry.Sub(start); k.State == Permanent && (next < 2*time.Second || next > 2200*time.Millisecond) {
				t.Errorf("%s is tried in %v", k.ID, next)
			}
			if k.State == Permanent {
				k.NextTry = time.Time{}
			}
		}
		want := []KeyStatus{
			{ID: "k0", State: Temporary, Reason: verdict.RateLimited, Models: []string{"m", "n"}, Until: start.Add(40 * time.Second), NextTry: start.Add(20 * time.Second)},
			{ID: "k1", State: Permanent, Reason: verdict.Unauthorized},
			{ID: "k2", State: Permanent, Reason: verdict.QuotaExhausted, Organization: Membership{Name: "org", Evidence: "configured", Shared: []string{"k3"}}},
			{ID: "k3", State: Permanent, Reason: verdict.QuotaExhausted, Organization: Membership{Name: "org", Evidence: "configured", Shared: []string{"k2"}}},
			{ID: "k4", State: Valid, Served: 2},
		}
		if diff := gocmp.Diff(want, got.Keys); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		time.Sleep(20 * time.Second)
		if k := p.Status().Keys[0]; gocmp.Diff([]string{"n"}, k.Models) != "" || k.State != Temporary {
			t.Errorf("after 20 s: %+v", k)
		}
		time.Sleep(20 * time.Second)
		if k := p.Status().Keys[0]; k.State != Valid || k.Reason != "" || !k.NextTry.IsZero() {
			t.Errorf("after 40 s: %+v", k)
		}
	})
	if s := Borrowed("p", "sk-0123456789").Status(); s.Provider != "p" || s.Keys != nil {
		t.Errorf("a caller's own key: %+v", s)
	}
}

// Nothing tries a benched key: its status names no sooner time than the bench's end.
func TestBenchedKeyIsTriedNoSooner(t *testing.T) {
	resting := func() reply { return limited(30 * time.Second) }
	for name, test := range map[string]struct {
		bench time.Duration // 0: for good
		first func() reply
		next  time.Duration // 0: none
	}{
		"rejected, for good":      {0, rejected, 0},
		"rejected, for two hours": {2 * time.Hour, rejected, 2 * time.Hour},
		"resting, for good":       {0, resting, 0},
		"resting, for two hours":  {2 * time.Hour, resting, 2 * time.Hour},
		"resting longer":          {10 * time.Second, resting, 30 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2)
				call(t, p, script{"k0": {test.first()}, "k1": {good()}}, "k0 k1", nil)
				mustBench(t, p, "k0", test.bench)
				next := time.Duration(0)
				if at := p.Status().Keys[0].NextTry; !at.IsZero() {
					next = time.Until(at)
				}
				if next != test.next {
					t.Errorf("the status says: tried in %v, want %v", next, test.next)
				}
			})
		})
	}
}
