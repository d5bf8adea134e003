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
	if t.Tier = dialecttest.Word(u.Get("service_tier")); u.Get("speed").Raw == `"fast"` {
		t.Tier = "fast"
	}
	if tools := u.Get("server_tool_use"); tools.IsObject() {
		t.Searches = dialecttest.Count(tools.Get("web_search_requests"))
	}
	if list := u.Get("iterations").Array(); u.Get("iterations").IsArray() && len(list) > 0 {
		reasoning := t.Usage.Reasoning
		t.Usage = llm.Usage{}
		for _, one := range list {
			it := llm.Iteration{Usage: bounded(usageOf(one))}
			if one.IsObject() {
				it.Kind, it.Model = dialecttest.Word(one.Get("type")), dialecttest.Word(one.Get("model"))
			}
			t.Iterations = append(t.Iterations, it)
			t.Usage = t.Usage.Add(it.Usage)
		}
		t.Usage.Reasoning = max(t.Usage.Reasoning, reasoning)
	}
	t.Usage = bounded(t.Usage)
	return t
}

func bounded(u llm.Usage) llm.Usage {
	u.Reasoning, u.CacheWriteLong = min(u.Reasoning, u.Output), min(u.CacheWriteLong, u.CacheWrite)
	return u
}

func usageOf(u gjson.Result) llm.Usage {
	if !u.IsObject() {
		return llm.Usage{}
	}
	written := dialecttest.Count(u.Get("cache_creation_input_tokens"))
	long := int64(0)
	if parts := u.Get("cache_creation"); parts.IsObject() {
		long = dialecttest.Count(parts.Get("ephemeral_1h_input_tokens"))
		if u.Get("cache_creation_input_tokens").Type != gjson.Number {
			written = dialecttest.Count(parts.Get("ephemeral_5m_input_tokens")) + long
		}
	}
	return llm.Usage{
		Input: dialecttest.Count(u.Get("input_tokens")), Output: dialecttest.Count(u.Get("output_tokens")),
		CacheRead: dialecttest.Count(u.Get("cache_read_input_tokens")), CacheWrite: written, CacheWriteLong: long,
		Reasoning: dialecttest.Count(u.Get("output_tokens_details.thinking_tokens")),
	}
}

func FuzzBodies(f *testing.F) { dialecttest.FuzzBodies(f, messages.New(), plainly) }
