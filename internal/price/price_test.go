package price

import (
	"fmt"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/keypool/verdict"
)

const usd = 1_000_000_000_000 // picodollars

func list(t testing.TB, overrides ...Override) *List {
	t.Helper()
	l, err := New(overrides)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// one is the only charge of a turn.
func one(t testing.TB, l *List, q query, turn llm.Turn) ledger.Charge {
	t.Helper()
	turn.Model, turn.Reported = q.model, true
	charges := l.Charge(q.family, q.provider, q.asked, 3, &turn)
	if len(charges) != 1 {
		t.Fatalf("%d charges", len(charges))
	}
	c := charges[0]
	if c.Turn != 3 || c.Kind != "" || c.Usage != turn.Usage || c.Version != l.Version() {
		t.Errorf("charge %+v", c)
	}
	return c
}

func anthropic(model string) query { return query{verdict.Anthropic, "anthropic", model, model} }
func openai(model string) query    { return query{verdict.OpenAI, "openai", model, model} }

func at(provider, model string) query {
	return query{verdict.Compatible, provider, model, model}
}

// The prices in these tables are the providers' own, multiplied by hand.
func TestChargeOfATurn(t *testing.T) {
	tests := []struct {
		name            string
		q               query
		turn            llm.Turn
		picos, unpriced int64
	}{
		// Opus 5: 5 in, 25 out, 6.25 for five minutes, 10 for an hour, 0.5 read.
		{name: "input and output", q: anthropic("claude-opus-5"), turn: llm.Turn{Usage: llm.Usage{Input: 1000, Output: 200}}, picos: 1000*5_000_000 + 200*25_000_000},
		{
			name: "caches of five minutes and an hour", q: anthropic("claude-opus-5-20260724"),
			turn:  llm.Turn{Usage: llm.Usage{Input: 10, Output: 20, CacheRead: 30_000, CacheWrite: 5000, CacheWriteLong: 2000}},
			picos: 10*5_000_000 + 20*25_000_000 + 30_000*500_000 + 3000*6_250_000 + 2000*10_000_000,
		},
		{name: "reasoning is a part of output", q: anthropic("claude-sonnet-5"), turn: llm.Turn{Usage: llm.Usage{Input: 1, Output: 100, Reasoning: 90}}, picos: 2_000_000 + 100*10_000_000},
		{name: "more of an hour than was written", q: anthropic("claude-haiku-4-5-20251001"), turn: llm.Turn{Usage: llm.Usage{CacheWrite: 10, CacheWriteLong: 99}}, picos: 10 * 2_000_000},
		{name: "less than nothing", q: anthropic("claude-haiku-4-5"), turn: llm.Turn{Usage: llm.Usage{Input: -5, Output: 7, CacheRead: -1, CacheWrite: -2, CacheWriteLong: -3}}, picos: 7 * 5_000_000},
		{name: "searches", q: anthropic("claude-haiku-4-5"), turn: llm.Turn{Usage: llm.Usage{Input: 1}, Searches: 3}, picos: 1_000_000 + 3*usd/100},
		{name: "nobody knows the price of a search", q: openai("gpt-4.1-nano"), turn: llm.Turn{Usage: llm.Usage{Input: 1}, Searches: 3}, picos: 100_000},

		// Tiers.
		{name: "standard", q: anthropic("claude-opus-5"), turn: llm.Turn{Tier: "standard", Usage: llm.Usage{Input: 1}}, picos: 5_000_000},
		{name: "batch is half", q: anthropic("claude-opus-5"), turn: llm.Turn{Tier: "batch", Usage: llm.Usage{Input: 3, Output: 1, CacheRead: 2, CacheWrite: 2, CacheWriteLong: 1}}, picos: 3*2_500_000 + 12_500_000 + 2*250_000 + 3_125_000 + 5_000_000},
		{name: "priority is a commitment", q: anthropic("claude-opus-5"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 3, Output: 1, CacheRead: 4}}, unpriced: 8},
		{name: "fast", q: anthropic("claude-opus-5-5"), turn: llm.Turn{Tier: "fast", Usage: llm.Usage{Input: 1, Output: 1, CacheRead: 1, CacheWrite: 2, CacheWriteLong: 1}}, picos: 8_000_000 + 40_000_000 + 400_000 + 10_000_000 + 16_000_000},
		{name: "in capitals", q: at("gemini", "gemini-2.5-flash"), turn: llm.Turn{Tier: "FLEX", Usage: llm.Usage{Input: 2}}, picos: 300_000},
		{name: "default", q: openai("gpt-5"), turn: llm.Turn{Tier: "default", Usage: llm.Usage{Input: 1}}, picos: 1_250_000},
		{name: "flex is half", q: openai("gpt-5-2025-08-07"), turn: llm.Turn{Tier: "flex", Usage: llm.Usage{Input: 2, Output: 1, CacheRead: 2}}, picos: 1_250_000 + 5_000_000 + 125_000},
		{name: "priority", q: openai("gpt-5-mini"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 2, Output: 1, CacheRead: 2}}, picos: 2*450_000 + 3_600_000 + 2*45_000},
		{name: "priority, by a factor", q: openai("gpt-6.1-sol"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 2, Output: 1}}, picos: 2*4_000_000 + 20_000_000},
		{name: "priority without a price", q: openai("gpt-5-nano"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 2, Output: 1}, Searches: 1}, picos: usd / 100, unpriced: 3},
		{name: "a tier nobody knows", q: openai("gpt-5"), turn: llm.Turn{Tier: "warp", Usage: llm.Usage{Input: 2, Output: 1}}, unpriced: 3},
		{name: "a cache without a price in the tier", q: openai("gpt-5.6-sol"), turn: llm.Turn{Tier: "flex", Usage: llm.Usage{Input: 1, CacheRead: 1, CacheWrite: 1}}, picos: 2_000_000 + 200_000 + 2_500_000},

		// Long requests.
		{name: "at the limit", q: anthropic("claude-sonnet-4-5-20250929"), turn: llm.Turn{Usage: llm.Usage{Input: 100_000, CacheRead: 60_000, CacheWrite: 40_000, Output: 1}}, picos: 100_000*3_000_000 + 60_000*300_000 + 40_000*3_750_000 + 15_000_000},
		{name: "one beyond it: the whole request", q: anthropic("claude-sonnet-4-5"), turn: llm.Turn{Usage: llm.Usage{Input: 100_001, CacheRead: 60_000, CacheWrite: 40_000, CacheWriteLong: 10_000, Output: 1}}, picos: 100_001*6_000_000 + 60_000*600_000 + 30_000*7_500_000 + 10_000*12_000_000 + 22_500_000},
		{name: "output does not count", q: anthropic("claude-sonnet-4-5"), turn: llm.Turn{Usage: llm.Usage{Input: 1, Output: 300_000}}, picos: 3_000_000 + 300_000*15_000_000},
		{name: "flat", q: anthropic("claude-opus-5"), turn: llm.Turn{Usage: llm.Usage{Input: 900_000}}, picos: 900_000 * 5_000_000},
		{name: "272k", q: openai("gpt-5.5"), turn: llm.Turn{Usage: llm.Usage{Input: 1, CacheRead: 272_000, Output: 2}}, picos: 10_000_000 + 272_000*1_000_000 + 2*45_000_000},
		{name: "272k, flex", q: openai("gpt-5.5"), turn: llm.Turn{Tier: "flex", Usage: llm.Usage{Input: 272_001}}, picos: 272_001 * 5_000_000},
		{name: "272k, priority", q: openai("gpt-5.5"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 272_001, Output: 1}}, unpriced: 272_002},
		{name: "272k, priority by a factor", q: openai("gpt-6.1-sol"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 272_001, Output: 1}}, picos: 272_001*8_000_000 + 30_000_000},
		{name: "100k", q: anthropic("claude-haiku-5-5"), turn: llm.Turn{Usage: llm.Usage{Input: 100_001, Output: 1}}, picos: 100_001*500_000 + 2_500_000},

		// Others.
		{name: "no price for a cache: it costs what input does", q: openai("gpt-4-turbo"), turn: llm.Turn{Usage: llm.Usage{Input: 1, CacheRead: 1, CacheWrite: 1}}, picos: 3 * 10_000_000},
		{name: "an hour's cache that is known to differ", q: openai("gpt-6-sol"), turn: llm.Turn{Usage: llm.Usage{Input: 1, CacheWrite: 5, CacheWriteLong: 2}}, picos: 2_000_000 + 3*2_500_000, unpriced: 2},
		{name: "a price of nothing is a price", q: at("openrouter", "qwen/qwen3-coder:free"), turn: llm.Turn{Usage: llm.Usage{Input: 7}}},
		{name: "unknown", q: openai("gpt-99"), turn: llm.Turn{Usage: llm.Usage{Input: 7, Output: 3, CacheRead: 5, CacheWrite: 4, CacheWriteLong: 1, Reasoning: 2}, Searches: 4}, unpriced: 19},
		{name: "as many as can be counted", q: anthropic("claude-opus-5"), turn: llm.Turn{Usage: llm.Usage{Input: math.MaxInt64, Output: math.MaxInt64, CacheRead: math.MaxInt64, CacheWrite: math.MaxInt64}}, picos: math.MaxInt64},
		{name: "more unknown than can be counted", q: openai("gpt-99"), turn: llm.Turn{Usage: llm.Usage{Input: math.MaxInt64, Output: math.MaxInt64}}, unpriced: math.MaxInt64},
	}
	l := list(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := one(t, l, tt.q, tt.turn)
			if c.Picos != tt.picos || c.Unpriced != tt.unpriced {
				t.Errorf("%d picodollars and %d tokens unpriced, want %d and %d", c.Picos, c.Unpriced, tt.picos, tt.unpriced)
			}
		})
	}
}

func TestNoUsageNoCharge(t *testing.T) {
	l := list(t)
	if got := l.Charge(verdict.OpenAI, "openai", "gpt-5", 0, &llm.Turn{Model: "gpt-5", Complete: true}); got != nil {
		t.Errorf("charged %+v for what nobody has reported", got)
	}
	if got := l.Charge(verdict.OpenAI, "openai", "gpt-5", 0, nil); got != nil {
		t.Errorf("charged %+v for no turn", got)
	}
	// A stream that was cut before its last report still has used what it said.
	got := l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 1, &llm.Turn{Usage: llm.Usage{Input: 2}})
	want := []ledger.Charge{{Turn: 1, Model: "claude-opus-5", Usage: llm.Usage{Input: 2}, Picos: 10_000_000, Version: l.Version()}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestIterationsEachByTheirOwnModel(t *testing.T) {
	l := list(t)
	turn := llm.Turn{
		Model: "claude-opus-5", Reported: true, Searches: 2, Tier: "standard",
		Usage: llm.Usage{Input: 1000, Output: 10}, // not what is billed
		Iterations: []llm.Iteration{
			{Kind: "advisor_message", Model: "claude-haiku-4-5-20251001", Usage: llm.Usage{Input: 100, Output: 10}},
			{Kind: "compaction", Usage: llm.Usage{Input: 200, Output: 20, CacheRead: 10}},
			{Kind: "message", Model: "claude-opus-5", Usage: llm.Usage{Input: 300, Output: 30}},
			{Kind: "fallback_message", Model: "claude-99", Usage: llm.Usage{Input: 5, Output: 6}},
			{Kind: "message", Model: "claude-sonnet-4-5", Usage: llm.Usage{Input: 200_001}},
		},
	}
	got := l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 2, &turn)
	v := l.Version()
	want := []ledger.Charge{
		{Turn: 2, Kind: "advisor_message", Model: "claude-haiku-4-5", Usage: turn.Iterations[0].Usage, Picos: 100*1_000_000 + 10*5_000_000, Version: v},
		{Turn: 2, Kind: "compaction", Model: "claude-opus-5", Usage: turn.Iterations[1].Usage, Picos: 200*5_000_000 + 20*25_000_000 + 10*500_000 + 2*usd/100, Version: v},
		{Turn: 2, Kind: "message", Model: "claude-opus-5", Usage: turn.Iterations[2].Usage, Picos: 300*5_000_000 + 30*25_000_000, Version: v},
		{Turn: 2, Kind: "fallback_message", Model: "claude-99", Usage: turn.Iterations[3].Usage, Unpriced: 11, Version: v},
		{Turn: 2, Kind: "message", Model: "claude-sonnet-4-5", Usage: turn.Iterations[4].Usage, Picos: 200_001 * 6_000_000, Version: v},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestSearchesArePaidOnce(t *testing.T) {
	l := list(t)
	turn := llm.Turn{Model: "claude-opus-5", Reported: true, Searches: 5, Iterations: []llm.Iteration{
		{Kind: "a", Model: "claude-99", Usage: llm.Usage{Input: 1}},
		{Kind: "b", Model: "claude-haiku-4-5", Usage: llm.Usage{Input: 1}},
	}}
	got := l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 0, &turn)
	if got[0].Picos != 5*usd/100 || got[0].Unpriced != 1 || got[1].Picos != 1_000_000 {
		t.Errorf("no part by the turn's model: %+v", got)
	}
	turn.Searches = math.MaxInt64
	if got = l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 0, &turn); got[0].Picos != math.MaxInt64 {
		t.Errorf("%d", got[0].Picos)
	}
	turn.Searches = -1
	if got = l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 0, &turn); got[0].Picos != 0 {
		t.Errorf("%d", got[0].Picos)
	}
}

func TestListIsSharedByMany(t *testing.T) {
	l := list(t)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			for j := range 2000 {
				turn := llm.Turn{Model: "gpt-5", Reported: true, Usage: llm.Usage{Input: 1}}
				if c := l.Charge(verdict.OpenAI, "openai", fmt.Sprintf("%d-%d", i, j), 0, &turn); c[0].Picos != 1_250_000 {
					t.Errorf("%+v", c[0])
				}
			}
		})
	}
	wg.Wait()
}

func TestPricesThatChangeWithTime(t *testing.T) {
	l := list(t)
	tests := []struct {
		model, at string
		picos     int64
	}{
		{"gemini-3.8-flash", "2026-12-31T23:59:59Z", 750_000},
		{"gemini-3.8-flash", "2027-01-01T00:00:00Z", 1_500_000},
		{"claude-sonnet-5-5", "2026-10-06T23:59:59Z", 2_000_000},
		{"deepseek-v4-pro", "2026-11-23T00:59:59Z", 660_000},
		{"deepseek-v4-pro", "2026-11-23T01:00:00Z", 1_320_000},
		{"deepseek-v4-pro", "2026-11-23T03:59:59Z", 1_320_000},
		{"deepseek-v4-pro", "2026-11-23T04:00:00Z", 660_000},
		{"deepseek-v4-pro", "2026-11-23T09:59:59Z", 1_320_000},
		{"deepseek-v4-pro", "2026-11-23T10:00:00Z", 660_000},
		{"deepseek-v4-pro", "2026-11-27T09:00:00Z", 1_320_000}, // a Friday
		{"deepseek-v4-pro", "2026-11-28T09:00:00Z", 660_000},
		{"deepseek-v4-pro", "2026-11-29T09:00:00Z", 660_000},
		{"deepseek-v4-flash", "2026-11-23T03:00:00Z", 300_000},
	}
	for _, tt := range tests {
		when, err := time.Parse(time.RFC3339, tt.at)
		if err != nil {
			t.Fatal(err)
		}
		c := ledger.Charge{Usage: llm.Usage{Input: 1}}
		l.entry(at("deepseek", tt.model)).price(&c, "", when.Unix())
		if c.Picos != tt.picos {
			t.Errorf("%s at %s: %d, want %d", tt.model, tt.at, c.Picos, tt.picos)
		}
	}

	synctest.Test(t, func(t *testing.T) {
		time.Sleep(time.Until(time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)) - time.Second)
		before := one(t, l, at("gemini", "gemini-3.8-flash"), llm.Turn{Usage: llm.Usage{Input: 1}})
		time.Sleep(time.Second)
		after := one(t, l, at("gemini", "gemini-3.8-flash"), llm.Turn{Usage: llm.Usage{Input: 1}})
		if before.Picos != 750_000 || after.Picos != 1_500_000 {
			t.Errorf("%d before the new year and %d after it", before.Picos, after.Picos)
		}
	})
}

func TestOverMidnight(t *testing.T) {
	s := span{start: 22 * 3600, end: 6 * 3600}
	for hour, want := range map[int64]bool{21: false, 22: true, 23: true, 0: true, 5: true, 6: false} {
		if got := s.holds(hour*3600 + 86400*20_000); got != want {
			t.Errorf("at %d o'clock: %v", hour, got)
		}
	}
}

func TestKnownNamesAreBounded(t *testing.T) {
	l := list(t)
	for i := range 3 * remembered {
		l.Charge(verdict.OpenAI, "openai", fmt.Sprintf("m%d", i), 0, &llm.Turn{Reported: true})
	}
	if n := len(l.known); n > remembered {
		t.Errorf("%d names are remembered", n)
	}
	huge := strings.Repeat("x", 1<<20)
	c := l.Charge(verdict.OpenAI, "openai", huge, 0, &llm.Turn{Reported: true, Usage: llm.Usage{Input: 1}})
	if len(c[0].Model) != longest || c[0].Unpriced != 1 {
		t.Errorf("a name of %d bytes, %d unpriced", len(c[0].Model), c[0].Unpriced)
	}
	// A client's long name does not hide what answered.
	c = l.Charge(verdict.OpenAI, "openai", huge, 0, &llm.Turn{Model: "gpt-5", Reported: true, Usage: llm.Usage{Input: 1}})
	if c[0].Picos != 1_250_000 {
		t.Errorf("%+v", c[0].Picos)
	}
	for q := range l.known {
		if len(q.asked) > longest {
			t.Errorf("a name of %d bytes is remembered", len(q.asked))
		}
	}
}

func TestChargeIsCheap(t *testing.T) {
	l := list(t)
	turn := llm.Turn{Model: "claude-opus-5", Reported: true, Usage: llm.Usage{Input: 10, Output: 20}}
	if n := testing.AllocsPerRun(100, func() { l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 0, &turn) }); n > 1 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCharge(b *testing.B) {
	l := list(b)
	turn := llm.Turn{Model: "claude-opus-5-20260724", Reported: true, Tier: "standard", Usage: llm.Usage{Input: 10, Output: 20, CacheRead: 3000, CacheWrite: 50}}
	b.ReportAllocs()
	for b.Loop() {
		l.Charge(verdict.Anthropic, "anthropic", "claude-opus-5", 0, &turn)
	}
}

func BenchmarkResolve(b *testing.B) {
	l := list(b)
	b.ReportAllocs()
	for b.Loop() {
		l.resolve(at("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"))
	}
}

func BenchmarkNew(b *testing.B) {
	for b.Loop() {
		list(b)
	}
}
