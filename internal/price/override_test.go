package price

import (
	"math"
	"strings"
	"testing"

	"keybridge/internal/llm"
	"keybridge/keypool/verdict"
)

func TestOverrides(t *testing.T) {
	usage := llm.Usage{Input: 10, Output: 10, CacheRead: 10, CacheWrite: 20, CacheWriteLong: 10}
	tests := []struct {
		name            string
		overrides       []Override
		q               query
		turn            llm.Turn
		picos, unpriced int64
	}{
		{
			name: "of a model nobody else knows", overrides: []Override{{Model: "my-llama", Input: "0.5", Output: "1"}},
			q: at("home", "my-llama"), turn: llm.Turn{Usage: usage}, picos: 40*500_000 + 10*1_000_000,
		},
		{
			name: "with every price", overrides: []Override{{Model: "my-llama", Input: "1", Output: "2", CacheRead: "0.25", CacheWrite: "3", CacheWriteLong: "4", Search: "5"}},
			q: at("home", "my-llama"), turn: llm.Turn{Usage: usage, Searches: 2}, picos: 10*1_000_000 + 10*2_000_000 + 10*250_000 + 10*3_000_000 + 10*4_000_000 + 2*5*usd/1000,
		},
		{
			name: "an hour's cache costs what minutes' does", overrides: []Override{{Model: "my-llama", Input: "1", Output: "2", CacheWrite: "3"}},
			q: at("home", "my-llama"), turn: llm.Turn{Usage: usage}, picos: 20*1_000_000 + 10*2_000_000 + 20*3_000_000,
		},
		{
			name: "no price of output", overrides: []Override{{Model: "my-llama", Input: "1"}},
			q: at("home", "my-llama"), turn: llm.Turn{Usage: usage}, picos: 40 * 1_000_000, unpriced: 10,
		},
		{
			name: "free, caches too", overrides: []Override{{Provider: "home", Input: "0", Output: "0"}},
			q: at("home", "gpt-5"), turn: llm.Turn{Usage: usage},
		},
		{
			name: "of another provider", overrides: []Override{{Provider: "home", Input: "0", Output: "0"}},
			q: openai("gpt-5"), turn: llm.Turn{Usage: llm.Usage{Input: 1}}, picos: 1_250_000,
		},
		{
			name: "15 % off: caches keep their proportion", overrides: []Override{{Model: "claude-*", Input: "4.25", Output: "21.25"}},
			q: anthropic("claude-opus-5"), turn: llm.Turn{Usage: usage}, picos: 10*4_250_000 + 10*21_250_000 + 10*425_000 + 10*5_312_500 + 10*8_500_000,
		},
		{
			name: "tiers too", overrides: []Override{{Model: "gpt-5", Input: "1", Output: "8"}},
			q: openai("gpt-5-2025-08-07"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 1, Output: 1, CacheRead: 1}}, picos: 2_000_000 + 16_000_000 + 200_000,
		},
		{
			name: "long requests too", overrides: []Override{{Model: "claude-sonnet-4-5", Input: "2.7", Output: "13.5"}},
			q: anthropic("claude-sonnet-4-5"), turn: llm.Turn{Usage: llm.Usage{Input: 200_001, Output: 1}}, picos: 200_001*5_400_000 + 20_250_000,
		},
		{
			name: "one price only", overrides: []Override{{Model: "claude-opus-5", CacheRead: "0.3"}},
			q: anthropic("claude-opus-5"), turn: llm.Turn{Usage: usage}, picos: 10*5_000_000 + 10*25_000_000 + 10*300_000 + 10*6_250_000 + 10*10_000_000,
		},
		{
			name: "a search only", overrides: []Override{{Model: "claude-opus-5", Search: "8"}},
			q: anthropic("claude-opus-5"), turn: llm.Turn{Usage: llm.Usage{Input: 1}, Searches: 1}, picos: 5_000_000 + 8*usd/1000,
		},
		{
			name: "a tier nobody knows costs what the operator says", overrides: []Override{{Model: "claude-opus-5", Input: "3", Output: "15"}},
			q: anthropic("claude-opus-5"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 1, Output: 1}}, picos: 3_000_000 + 15_000_000,
		},
		{
			name: "a long request in a tier without a price for it", overrides: []Override{{Model: "gpt-5.5", Input: "5", Output: "30"}},
			q: openai("gpt-5.5"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 300_000, Output: 1}}, picos: 300_000*10_000_000 + 45_000_000,
		},
		{
			name: "an hour's cache that the list does not know", overrides: []Override{{Model: "gpt-6-sol", CacheWriteLong: "7"}},
			q: openai("gpt-6-sol"), turn: llm.Turn{Usage: llm.Usage{CacheWrite: 1, CacheWriteLong: 1}}, picos: 7_000_000,
		},
		{
			name: "the first that fits", overrides: []Override{{Model: "gpt-4*", Input: "7", Output: "7"}, {Model: "gpt-5*", Input: "1", Output: "1"}, {Model: "*", Input: "2", Output: "2"}},
			q: openai("gpt-5-mini"), turn: llm.Turn{Usage: llm.Usage{Input: 1, Output: 1}}, picos: 2_000_000,
		},
		{
			name: "by the name that was asked for", overrides: []Override{{Model: "Our-Deployment", Input: "9", Output: "9"}},
			q: query{verdict.OpenAI, "azure", "our-deployment", "gpt-4o-2024-11-20"}, turn: llm.Turn{Usage: llm.Usage{Input: 1}}, picos: 9_000_000,
		},
		{
			name: "a star is not for a path's parts, but alone for all", overrides: []Override{{Model: "meta-llama/*", Input: "3", Output: "3"}, {Model: "*-70b", Input: "4", Output: "4"}, {Model: "*", Input: "5", Output: "5"}},
			q: at("home", "other/x-70b"), turn: llm.Turn{Usage: llm.Usage{Input: 1}}, picos: 5_000_000,
		},
		{
			name: "rounded: a half picodollar goes up", overrides: []Override{{Model: "gpt-5", Input: "0.000003", Output: "0.000005"}},
			q: openai("gpt-5"), turn: llm.Turn{Tier: "flex", Usage: llm.Usage{Input: 1000, Output: 1000}}, picos: 1000*2 + 1000*3,
		},
		{
			name: "as much as can be", overrides: []Override{{Model: "gpt-5", Input: "9000000000000", Output: "1"}},
			q: openai("gpt-5"), turn: llm.Turn{Tier: "priority", Usage: llm.Usage{Input: 2}}, picos: math.MaxInt64,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := one(t, list(t, tt.overrides...), tt.q, tt.turn)
			if c.Picos != tt.picos || c.Unpriced != tt.unpriced {
				t.Errorf("%d picodollars and %d tokens unpriced, want %d and %d", c.Picos, c.Unpriced, tt.picos, tt.unpriced)
			}
		})
	}
}

func TestWrongOverrides(t *testing.T) {
	_, err := New([]Override{
		{Model: "good", Input: "1", Output: "2"},
		{Model: "gpt-[", Input: "1"},
		{Model: "empty"},
		{Model: "both", Input: "1e-6", Output: "-2", Search: "0.12345678901"},
	})
	want := `price 2 ("gpt-["): model: syntax error in pattern
price 3 ("empty"): no price at all: give input and output at least
price 4 ("both"): input: "1e-6" is not a plain decimal number of dollars such as 2.50
output: "-2" is not a plain decimal number of dollars such as 2.50
search: "0.12345678901" is finer than a picodollar a piece: at most 9 decimal places`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

func TestVersionNamesTheOverrides(t *testing.T) {
	plain := list(t).Version()
	one := list(t, Override{Model: "a", Input: "1"}).Version()
	same := list(t, Override{Model: "a", Input: "1"}).Version()
	other := list(t, Override{Model: "a", Input: "2"}).Version()
	if len(plain) != len("2026-10-24") || !strings.HasPrefix(one, plain+"+") || len(one) != len(plain)+9 {
		t.Errorf("%q, %q", plain, one)
	}
	if one != same || one == other {
		t.Errorf("%q, %q, %q", one, same, other)
	}
}
