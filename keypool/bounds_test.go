package keypool

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"keybridge/keypool/verdict"
)

// Clients choose the names of models, so what is remembered by them is bounded.
func TestModelCooldownsAreBounded(t *testing.T) {
	p, err := New(Options{
		Provider: "p", Family: verdict.OpenAI, Host: "example.com", Metrics: NoMetrics(),
		Keys: []Key{{Secret: "sk-first"}, {Secret: "sk-second", Organization: "org"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	limited := errors.New("rate limited")
	for i := range 20 * maxModels {
		err := p.Do(t.Context(), Want{Model: fmt.Sprintf("model-%d", i)}, func(context.Context, *Lease) (verdict.Verdict, error) {
			return verdict.Verdict{
				Action: verdict.NextKey, Mark: verdict.Cool, Scope: verdict.Scope{Level: verdict.Organization, Model: true},
				Reason: verdict.RateLimited, Until: time.Now().Add(time.Hour),
			}, limited
		})
		if e, ok := errors.AsType[*ExhaustedError](err); !ok || e.Outcome != OutcomeRateLimited {
			t.Fatalf("model %d: %v, want an exhaustion by rate limits", i, err)
		}
	}
	for id, d := range p.book.domains {
		want := maxModels
		if id.level == verdict.Key && d == p.members[1].key {
			want = 0 // its organization has them
		}
		if len(d.models) != want {
			t.Errorf("the %v remembers %d models, want %d", id.level, len(d.models), want)
		}
	}
	if n := p.InFlight(); n != 0 {
		t.Errorf("%d leases are out, want none", n)
	}
}
