package messages_test

import (
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"

	"github.com/tidwall/gjson"
)

// plainly reads a message by looking each thing up.
func plainly(body []byte) (t llm.Turn) {
	top := map[string]gjson.Result{}
	gjson.ParseBytes(body).ForEach(func(name, v gjson.Result) bool {
		top[name.Raw] = v // with escapes: names that have any are read by nobody
		return true
	})
	t.ID, t.Model, t.Stop = top[`"id"`].Str, top[`"model"`].Str, top[`"stop_reason"`].Str
	t.Container = top[`"container"`].Get("id").Str
	u := top[`"usage"`]
	if !u.IsObject() {
		return t
	}
	t.Usage, t.Reported = usageOf(u), true
	if list := u.Get("iterations").Array(); u.Get("iterations").IsArray() && len(list) > 0 {
		reasoning := t.Usage.Reasoning
		t.Usage = llm.Usage{}
		for _, one := range list {
			t.Usage = t.Usage.Add(usageOf(one))
		}
		t.Usage.Reasoning = max(t.Usage.Reasoning, reasoning)
	}
	t.Usage.Reasoning = min(t.Usage.Reasoning, t.Usage.Output)
	return t
}

func usageOf(u gjson.Result) llm.Usage {
	if !u.IsObject() {
		return llm.Usage{}
	}
	written := dialecttest.Count(u.Get("cache_creation_input_tokens"))
	if parts := u.Get("cache_creation"); parts.IsObject() && u.Get("cache_creation_input_tokens").Type != gjson.Number {
		written = dialecttest.Count(parts.Get("ephemeral_5m_input_tokens")) + dialecttest.Count(parts.Get("ephemeral_1h_input_tokens"))
	}
	return llm.Usage{
		Input: dialecttest.Count(u.Get("input_tokens")), Output: dialecttest.Count(u.Get("output_tokens")),
		CacheRead: dialecttest.Count(u.Get("cache_read_input_tokens")), CacheWrite: written,
		Reasoning: dialecttest.Count(u.Get("output_tokens_details.thinking_tokens")),
	}
}

func FuzzBodies(f *testing.F) { dialecttest.FuzzBodies(f, messages.New(), plainly) }
