package dialect_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

func TestTypeOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, data, want string }{
		{"ping", `{"type":"a"}`, "ping"},
		{"", `{"type":"a","b":1}`, "a"},
		{"", `{ "b": 1, "type": "a" }`, "a"},
		{"message", `{"type":"a"}`, "a"}, // what an event is by default
		{"message", `{}`, ""},
	} {
		if got := dialect.TypeOf(wire.Event{Name: c.name, Data: []byte(c.data)}); got != c.want {
			t.Errorf("%q %s: %q, want %q", c.name, c.data, got, c.want)
		}
	}
}

// Providers report what they call an OpenAI usage each in their own way.
func TestOpenAIUsage(t *testing.T) {
	t.Parallel()
	const most = 1 << 40
	for name, tt := range map[string]struct {
		usage string
		want  llm.Usage
	}{
		"OpenAI": {
			`{"prompt_tokens":100,"completion_tokens":50,"total_tokens":150,"prompt_tokens_details":{"cached_tokens":10},"completion_tokens_details":{"reasoning_tokens":20}}`,
			llm.Usage{Input: 90, Output: 50, CacheRead: 10, Reasoning: 20},
		},
		"xAI: reasoning beside the output": {
			`{"prompt_tokens":10120,"completion_tokens":1499,"total_tokens":14428,"prompt_tokens_details":{"cached_tokens":128},"completion_tokens_details":{"reasoning_tokens":2809}}`,
			llm.Usage{Input: 9992, Output: 4308, CacheRead: 128, Reasoning: 2809},
		},
		"Gemini: reasoning only in the total": {
			`{"prompt_tokens":20,"completion_tokens":198,"total_tokens":623}`,
			llm.Usage{Input: 20, Output: 603, Reasoning: 405},
		},
		"DeepSeek": {
			`{"prompt_tokens":10000,"completion_tokens":9,"total_tokens":10009,"prompt_cache_hit_tokens":9000,"prompt_cache_miss_tokens":1000}`,
			llm.Usage{Input: 1000, Output: 9, CacheRead: 9000},
		},
		"DeepSeek, said twice": {
			`{"prompt_tokens":10000,"prompt_tokens_details":{"cached_tokens":9000},"completion_tokens":9,"prompt_cache_hit_tokens":9000}`,
			llm.Usage{Input: 1000, Output: 9, CacheRead: 9000},
		},
		"Moonshot": {
			`{"prompt_tokens":1336,"completion_tokens":31,"total_tokens":1367,"cached_tokens":1280}`,
			llm.Usage{Input: 56, Output: 31, CacheRead: 1280},
		},
		"a total that is too small": {`{"prompt_tokens":5,"completion_tokens":7,"total_tokens":1}`, llm.Usage{Input: 5, Output: 7}},
		"a total without the input": {`{"completion_tokens":5,"total_tokens":105}`, llm.Usage{Output: 5}},
		"a total with what was cached": {
			`{"prompt_tokens":10,"completion_tokens":5,"total_tokens":95,"prompt_tokens_details":{"cached_tokens":80}}`,
			llm.Usage{Output: 5, CacheRead: 80},
		},
		"no total":                  {`{"prompt_tokens":5,"completion_tokens":7,"total_tokens":null}`, llm.Usage{Input: 5, Output: 7}},
		"a total beyond all bounds": {`{"prompt_tokens":5,"completion_tokens":7,"total_tokens":99999999999999999999}`, llm.Usage{Input: 5, Output: most - 5, Reasoning: most - 12}},
		"all beyond all bounds": {
			`{"prompt_tokens":1e300,"completion_tokens":1e300,"total_tokens":1e300,"cached_tokens":1e300}`,
			llm.Usage{Output: most, CacheRead: most},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, ok := dialect.OpenAIUsage([]byte(tt.usage), "prompt_tokens", "completion_tokens")
			if diff := cmp.Diff(tt.want, got); diff != "" || !ok {
				t.Errorf("an object: %t (-want +got):\n%s", ok, diff)
			}
		})
	}
}
