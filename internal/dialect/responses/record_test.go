package responses_test

import (
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

func observing(k dialect.Keep) dialect.Dialect { return responses.Dialect{Keep: k} }

// saidCall is a call of which everything is kept.
func saidCall(id, name, arguments string) llm.ToolCall {
	c := llm.ToolCall{ID: id, Name: name, Size: len(arguments)}
	if arguments != "" {
		c.Arguments = []byte(arguments)
	}
	return c
}

// hosted is a call that the provider runs.
func hosted(id, name, arguments, failed string) llm.ToolCall {
	c := saidCall(id, name, arguments)
	c.Hosted, c.Error = true, failed
	return c
}

func thoughts(pieces ...string) (list []llm.Thought) {
	for _, p := range pieces {
		list = append(list, llm.Thought{Text: p, Size: len(p)})
	}
	return list
}

func TestRecords(t *testing.T) {
	t.Parallel()
	whole := turn("completed")
	whole.Tier, whole.Searches = "priority", 1
	whole.Thoughts = thoughts(`first "é"`, "second")
	whole.Calls = []llm.ToolCall{
		hosted("ws_1", "web_search", `{"type":"search","query":"x"}`, ""),
		hosted("ws_2", "web_search", `{"type":"search","query":"y"}`, "failed"),
		hosted("fs_1", "file_search", `["a","b"]`, ""),
		hosted("ci_1", "code_interpreter", `print("1")`, ""),
		hosted("mcp_1", "find", `{"q":1}`, ""),
		hosted("mcp_2", "find", `{}`, "http_error"),
		hosted("mcp_3", "find", `{}`, "no such tool"),
		hosted("mcpr_1", "drop", `{"t":2}`, ""),
		hosted("ig_1", "image_generation", "", "failed"),
		hosted("call_s1", "shell", `{"commands":["ls"]}`, ""),
		hosted("ts_1", "tool_search", `{"paths":["x"]}`, ""),
		saidCall("call_c1", "computer", `{"type":"screenshot"}`),
		saidCall("call_1", "f", `{"q": "é"}`),
		saidCall("call_2", "g", `{}`),
		saidCall("call_3", "apply_patch", "*** <patch>\n"),
	}
	few := whole
	few.Calls = append(append([]llm.ToolCall{}, whole.Calls[0]), whole.Calls[12:]...)

	thinking := seen("", false)
	thinking.Tier, thinking.Thoughts = "auto", thoughts(`first "é"`)
	failed := seen("failed", false)
	failed.Tier, failed.Thoughts = "auto", thoughts("aloud")
	failed.Calls = []llm.ToolCall{saidCall("call_1", "f", `{"q"`)}
	calling := failed
	calling.Stop = ""

	dialecttest.Records(t, observing, map[string]dialecttest.Record{
		"a stream":                   {File: "all.sse", Turn: whole},
		"a body":                     {File: "all.json", Turn: whole},
		"a stream without items":     {File: "bare.sse", Turn: few},
		"cut in reasoning":           {File: "all.sse", Cut: 5, Turn: thinking},
		"cut in a call":              {File: "failed-late.sse", Cut: 8, Turn: calling},
		"a failure in the mid of it": {File: "failed-late.sse", Turn: failed},
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	var items, pieces []string
	for i := range 300 {
		items = append(items, `{"type":"web_search_call","status":"completed","id":"ws_`+strconv.Itoa(i)+`","name":"`+strings.Repeat("é", 200)+`","action":{}}`)
		pieces = append(pieces, `{"type":"summary_text","text":"abc"}`)
	}
	body := []byte(`{"status":"completed","output":[{"type":"reasoning","summary":[` + strings.Join(pieces, ",") + `]},` + strings.Join(items, ",") + `]}`)
	if turn := dialecttest.Bounds(t, observing, body); turn.Searches != 300 {
		t.Errorf("%d searches, want all that are charged", turn.Searches)
	}
}

// Of what a model does on the web only the searches are charged.
func TestSearches(t *testing.T) {
	t.Parallel()
	for action, want := range map[string]int64{
		`,"action":{"type":"search","query":"q"}`:                          1,
		`,"action":{"type":"open_page","url":"http://x"}`:                  0,
		`,"action":{"type":"find_in_page","url":"http://x","pattern":"p"}`: 0,
		`,"action":null`: 1,
		``:               1,
	} {
		item := `{"type":"web_search_call","id":"ws_1","status":"completed"` + action + `}`
		for form, data := range map[string]string{
			"a body": `{"id":"resp_1","status":"completed","output":[` + item + `]}`,
			"a done": `{"type":"response.output_item.done","output_index":0,"item":` + item + `}`,
		} {
			o := observing(dialect.Keep{}).Observe()
			e := wire.Event{Raw: []byte(data), Data: []byte(data)}
			if form == "a done" {
				e = dialect.SSE("response.output_item.done", []byte(data), true)
			}
			o.Event(e)
			if got := o.Turn().Searches; got != want {
				t.Errorf("%s of %s: %d searches, want %d", form, item, got, want)
			}
		}
	}
}
