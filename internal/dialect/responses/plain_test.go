package responses_test

import (
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/llm"

	"github.com/tidwall/gjson"
)

// plainly reads a response by looking each thing up.
func plainly(body []byte) (t llm.Turn) {
	top := map[string]gjson.Result{}
	gjson.ParseBytes(body).ForEach(func(name, v gjson.Result) bool {
		top[name.Raw] = v // with escapes: names that have any are read by nobody
		return true
	})
	t.Tier = dialecttest.Word(top[`"service_tier"`])
	if output := top[`"output"`]; output.IsArray() {
		for _, item := range output.Array() {
			if item.IsObject() && item.Get("type").Str == "web_search_call" && item.Get("status").Str == "completed" {
				t.Searches++
			}
		}
	}
	t.ID, t.Model = top[`"id"`].Str, top[`"model"`].Str
	if u := top[`"usage"`]; u.IsObject() {
		t.Usage, t.Reported = dialecttest.OpenAIUsage(u, "input_tokens", "output_tokens"), true
	}
	switch status, reason := top[`"status"`].Str, top[`"incomplete_details"`].Get("reason").Str; {
	case reason != "":
		t.Stop = reason
	case status != "queued" && status != "in_progress":
		t.Stop = status
	}
	return t
}

func FuzzBodies(f *testing.F) { dialecttest.FuzzBodies(f, responses.New(), plainly) }
