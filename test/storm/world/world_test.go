package world

import (
	"math/rand/v2"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var epoch = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)

// TestScenarioComesFromItsSeed: the same seed is the same day, another is another.
func TestScenarioComesFromItsSeed(t *testing.T) {
	same := func(a, b *Scenario) string { return cmp.Diff(a, b, cmpopts.IgnoreUnexported(Key{})) }
	if diff := same(New(3, 0, 2*time.Hour), New(3, 0, 2*time.Hour)); diff != "" {
		t.Error(diff)
	}
	if same(New(3, 0, 2*time.Hour), New(5, 0, 2*time.Hour)) == "" {
		t.Error("seeds 3 and 5 are the same day")
	}
}

// TestLoad holds the days to what they claim: a pool that is busy, and that one
// organization's absence does not break.
func TestLoad(t *testing.T) {
	for seed := range uint64(20) {
		if load := New(seed, 0, day).Load(); load < busy-0.01 || load > busy+0.01 {
			t.Errorf("seed %d: %.0f %% in the busiest hour", seed, 100*load)
		} else {
			t.Logf("seed %d: %.0f %%", seed, 100*load)
		}
	}
}

// TestBucket compares the moment that a bucket foretells with its level then.
func TestBucket(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 1000 {
		b := bucket{limit: 1000, level: float64(r.IntN(2000) - 1000), drain: []Fault{
			{Start: 20 * time.Second, End: 50 * time.Second, Part: 0.9},
			{Start: 70 * time.Second, End: 100 * time.Second, Part: 0.5},
		}}
		level := b.level + r.Float64()*(b.limit-b.level)
		at := b.reaches(level)
		b.fill(at)
		if b.level < level-1e-6 || b.level > level+1e-3 {
			t.Fatalf("the level is %v at the moment for %v", b.level, level)
		}
	}
}

// TestOracleIsRight: what the oracle chooses is served, and when it says that none
// can, none does.
func TestOracleIsRight(t *testing.T) {
	for seed := range uint64(4) {
		s := New(seed, 10*time.Hour, time.Hour)
		p := NewProvider(s, epoch)
		r := rand.New(rand.NewPCG(seed, 0))
		chance := func(a Answer) bool {
			return a.Fault != nil && (a.Fault.Trouble == Blips || a.Fault.Trouble == Overload)
		}
		none := 0
		for at := time.Duration(0); at < s.Length; at += time.Duration(r.Int64N(int64(500 * time.Millisecond))) {
			q := Request{Session: r.IntN(200), Turn: r.IntN(1000), Model: r.IntN(2), Prompt: 10_000 + r.Int64N(30_000), Output: 200}
			choice, ok := p.Choose(at, 0, q)
			if ok {
				if a := p.Send(at, choice.Key, q); a.Status != http.StatusOK && !chance(a) {
					t.Fatalf("seed %d, %v: %s answered %d %s", seed, at, s.Keys[choice.Key].ID, a.Status, a.Body)
				}
				p.End(at, choice.Key, q)
				continue
			}
			none++
			for key := range s.Keys {
				if a := p.Send(at, key, q); a.Status == http.StatusOK {
					t.Fatalf("seed %d, %v: %s serves what the oracle gave up", seed, at, s.Keys[key].ID)
				}
			}
		}
		if none == 0 {
			t.Errorf("seed %d: the oracle never had to give up", seed)
		}
	}
}

// TestCacheIsOfItsOwner: keys share a prompt cache as the provider has it, and it
// forgets.
func TestCacheIsOfItsOwner(t *testing.T) {
	for seed := range uint64(2) {
		s := New(seed, 9*time.Hour, time.Minute)
		s.Faults = nil
		p := NewProvider(s, epoch)
		q := Request{Model: 0, Prompt: 20_000, Output: 100}
		p.Send(0, 0, q)
		life := s.Models[0].CacheLife
		for i, k := range s.Keys {
			want := int64(0)
			if k.cache == s.Keys[0].cache {
				want = 20_000
			}
			if got := p.cached(life, k.cache, q); got != want {
				t.Errorf("seed %d: %s reads %d, want %d", seed, s.Keys[i].ID, got, want)
			}
		}
		if got := p.cached(life+1, s.Keys[0].cache, q); got != 0 {
			t.Errorf("seed %d: %d tokens outlive the cache", seed, got)
		}
	}
}
