package keypool

import (
	"context"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// tells compares what a trail tells, each decision in words.
func tells(t *testing.T, trail *Trail, want ...string) {
	t.Helper()
	var got []string
	for _, d := range trail.Decisions() {
		words := []string{d.What}
		for _, w := range []string{d.Key, d.Action, d.Scope, d.Why} {
			if w != "" {
				words = append(words, w)
			}
		}
		if d.For > 0 {
			words = append(words, d.For.String())
		}
		got = append(got, strings.Join(words, " "))
	}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Errorf("the trail tells (-want +got):\n%s", diff)
	}
}

func TestTrail(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, waiting(10*time.Second), func(o *Options) { o.Keys[2].Models = []string{"other"} })
		var trail Trail
		if _, err := do(t, p, Want{Trail: &trail}, script{"k0": {good()}}); err != nil {
			t.Fatal(err)
		}
		tells(t, &trail, "leased k0", "verdict k0 relay")
		if trail.Eventful() {
			t.Error("a request without trouble is called eventful")
		}

		trail = Trail{}
		_, err := do(t, p, Want{Trail: &trail}, script{"k0": {limited(4 * time.Second), bad("400")}, "k1": {rejected()}})
		sameError(t, err, refusal("400"))
		tells(t, &trail,
			"leased k0", "verdict k0 next_key organization rate_limited",
			"skipped k2 models", "leased k1", "verdict k1 next_key key unauthorized",
			"waited deadline 4s", "restarted",
			"skipped k1 unauthorized", "leased k0 trial", "verdict k0 stop",
		)
		if !trail.Eventful() {
			t.Error("a failover is called uneventful")
		}

		trail = Trail{}
		_, err = do(t, p, Want{Trail: &trail}, script{"k0": {broken("500"), broken("500"), limited(time.Minute)}})
		sameError(t, err, refusal("500"))
		tells(t, &trail,
			"skipped k1 unauthorized", "skipped k2 models", "leased k0 trial", "verdict k0 resend upstream_error",
			"resend 200ms", "leased k0 trial", "verdict k0 resend upstream_error",
			"resend 1s", "leased k0 trial", "verdict k0 next_key organization rate_limited",
		)

		trail = Trail{}
		_, err = do(t, p, Want{Trail: &trail}, script{})
		sameError(t, err, exhausted(OutcomeRateLimited, time.Minute-1200*time.Millisecond))
		tells(t, &trail, "skipped k0 rate_limited", "skipped k1 unauthorized", "skipped k2 models", "exhausted rate_limited")
		if d := trail.Decisions(); !d[0].Until.Equal(time.Now().Add(time.Minute-1200*time.Millisecond)) || !d[1].Until.IsZero() || !d[3].Until.Equal(d[0].Until) {
			t.Errorf("until %v, %v, %v", d[0].Until, d[1].Until, d[3].Until)
		}
	})
}

func TestTrailOfRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(4, func(o *Options) { o.Keys[0].Organization, o.Keys[1].Organization = "a", "a" })
		var trail Trail
		if _, err := do(t, p, Want{Trail: &trail}, script{"k0": {tooLarge("429")}, "k2": {denied(oneModel, "404")}, "k3": {good()}}); err != nil {
			t.Fatal(err)
		}
		tells(t, &trail,
			"leased k0", "verdict k0 next_key organization too_large", "skipped k1 scope",
			"leased k2", "verdict k2 next_key organization model_access", "leased k3", "verdict k3 relay",
		)
		trail = Trail{}
		if _, err := do(t, p, Want{Trail: &trail}, script{"k0": {tooLarge("429")}, "k3": {good()}}); err != nil {
			t.Fatal(err)
		}
		tells(t, &trail,
			"leased k0", "verdict k0 next_key organization too_large", "skipped k1 scope", "skipped k2 denied",
			"leased k3", "verdict k3 relay",
		)
	})
}

// Room is looked for ten times a second; the trail tells of one wait.
func TestTrailOfAWaitForRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, waiting(10*time.Second))
		call(t, p, script{"k0": {good().left(0, 95)}}, "k0", nil)
		var trail Trail
		if _, err := do(t, p, Want{Trail: &trail}, script{"k0": {good()}}); err != nil {
			t.Fatal(err)
		}
		tells(t, &trail, "waited room 1s", "leased k0", "verdict k0 relay")
		if d := trail.Decisions(); !d[0].At.Equal(d[1].At) {
			t.Errorf("the wait ends at %v, the lease is of %v", d[0].At, d[1].At)
		}
	})
}

func TestTrailTellsWaitsApart(t *testing.T) {
	wait := func(why string) Decision { return Decision{What: Waited, Why: why, For: time.Second} }
	var trail Trail
	for _, d := range []Decision{wait("room"), wait("room"), wait("trial"), {What: Restarted}, wait("trial"), wait("trial"), {What: Restarted}, {What: Restarted}} {
		trail.Add(d)
	}
	tells(t, &trail, "waited room 2s", "waited trial 1s", "restarted", "waited trial 2s", "restarted", "restarted")

	trail = Trail{}
	for range maxTrail {
		trail.Add(wait("room"))
		trail.Add(wait("trial"))
	}
	if n := len(trail.Decisions()); n != maxTrail || trail.Lost() != maxTrail {
		t.Errorf("it keeps %d and has lost %d", n, trail.Lost())
	}
	if last := trail.Decisions()[maxTrail-1]; last.For != time.Second {
		t.Errorf("a wait that had no neighbour is told as %v", last.For)
	}
}

func TestTrailIsBounded(t *testing.T) {
	var trail Trail
	for range maxTrail + 100 {
		trail.Add(Decision{What: Leased})
	}
	if n := len(trail.Decisions()); n != maxTrail || trail.Lost() != 100 {
		t.Errorf("it keeps %d and has lost %d", n, trail.Lost())
	}
	var none *Trail
	none.Add(Decision{What: Leased})
	if none.Decisions() != nil || none.Lost() != 0 {
		t.Error("no trail keeps something")
	}
}

// BenchmarkTrail is a whole call over 50 healthy keys, without a trail and with one.
func BenchmarkTrail(b *testing.B) {
	for _, told := range []bool{false, true} {
		b.Run(map[bool]string{false: "without", true: "with"}[told], func(b *testing.B) {
			p := benchPool(b, Priority)
			ctx := b.Context()
			var trail Trail
			want := Want{Model: "m", Endpoint: "/e"}
			if told {
				want.Trail = &trail
			}
			b.ReportAllocs()
			for b.Loop() {
				trail = Trail{}
				_ = p.Do(ctx, want, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					l.Release(Usage{})
					return verdict.Success(), nil
				})
			}
		})
	}
}
