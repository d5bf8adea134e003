package chat_test

import (
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/llm"

	"github.com/tidwall/gjson"
)

// plainly reads a completion by looking each thing up.
func plainly(body []byte) (t llm.Turn) {
	r := gjson.ParseBytes(body)
	top := map[string]gjson.Result{}
	r.ForEach(func(name, v gjson.Result) bool {
		top[name.Raw] = v // with escapes: names that have any are read by nobody
		return true
	})
	t.Tier = dialecttest.Word(top[`"service_tier"`])
	t.ID, t.Model = top[`"id"`].Str, top[`"model"`].Str
	beside := says(top[`"usage"`])
	if u := top[`"usage"`]; beside {
		t.Usage, t.Reported = dialecttest.OpenAIUsage(u, "prompt_tokens", "completion_tokens"), true
	}
	choices := top[`"choices"`]
	if !choices.IsArray() {
		return t
	}
	for _, choice := range choices.Array() {
		if !choice.IsObject() {
			continue
		}
		if u := choice.Get("usage"); says(u) && !beside {
			t.Usage, t.Reported = dialecttest.OpenAIUsage(u, "prompt_tokens", "completion_tokens"), true
		}
		index := dialecttest.Count(choice.Get("index"))
		if reason := choice.Get("finish_reason").Str; reason != "" && (index == 0 || t.Stop == "") {
			t.Stop = reason
		}
	}
	return t
}

// says reports whether a usage is one.
func says(usage gjson.Result) bool { return usage.IsObject() && len(usage.Map()) > 0 }

func FuzzBodies(f *testing.F) { dialecttest.FuzzBodies(f, chat.New(), plainly) }
