package keypool

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// served serves a call of a session, and tells how many of 100 000 input tokens a minute
// its key has left.
func served(t *testing.T, p *Pool, w Want, u Usage, left map[string]int) (key string) {
	t.Helper()
	w.Model, w.Endpoint = "m", "/e"
	err := p.Do(t.Context(), w, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
		key = l.Key()
		h := http.Header{}
		h.Set("Anthropic-Ratelimit-Input-Tokens-Limit", "100000")
		h.Set("Anthropic-Ratelimit-Input-Tokens-Remaining", strconv.Itoa(left[key]))
		h.Set("Anthropic-Ratelimit-Input-Tokens-Reset", time.Now().Add(50*time.Second).UTC().Format(time.RFC3339))
		l.Observe(h)
		l.Release(u)
		return verdict.Success(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(together + time.Millisecond)
	return key
}

// A session that the pool has forgotten, or never seen, has nothing cached: its prompt
// counts as a whole, whatever other sessions take on average.
func TestPromptOfAnUnknownSessionCountsAsAWhole(t *testing.T) {
	for _, tt := range []struct {
		name string
		want Want
		key  string
	}{
		{"known", Want{Session: "x", Tokens: 60_000}, "k0"},
		{"begins", Want{Session: "new", Begins: true, Tokens: 60_000}, "k1"},
		{"unknown", Want{Session: "forgotten", Tokens: 60_000}, "k1"},
		{"unknown and small", Want{Session: "forgotten", Tokens: 1_000}, "k0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, strategy(Priority), orgs("a", "b"))
				left := map[string]int{"k0": 50_000, "k1": 95_000}
				warm := Usage{InputTokens: 60_000, OutputTokens: 100, CachedTokens: 60_000, CacheReadTokens: 59_000}
				for range 10 {
					if key := served(t, p, Want{Session: "x", Tokens: 60_000}, warm, left); key != "k0" {
						t.Fatalf("the session went to %s", key)
					}
				}
				served(t, p, Want{Session: "y", Begins: true, Tokens: 60_000}, Usage{InputTokens: 60_000, OutputTokens: 100}, left)
				for range 10 {
					served(t, p, Want{Session: "x", Tokens: 60_000}, warm, left)
				}
				if key := served(t, p, tt.want, warm, left); key != tt.key {
					t.Errorf("asked %s, want %s", key, tt.key)
				}
			})
		})
	}
}
