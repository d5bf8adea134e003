package messages_test

import (
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

func observing(k dialect.Keep) dialect.Dialect { return messages.Dialect{Keep: k} }

// saidCall is a call of which everything is kept.
func saidCall(id, name, arguments string) llm.ToolCall {
	return llm.ToolCall{ID: id, Name: name, Size: len(arguments), Arguments: []byte(arguments)}
}

// hosted is a call that the provider runs.
func hosted(id, name, arguments, failed string) llm.ToolCall {
	c := saidCall(id, name, arguments)
	c.Hosted, c.Error = true, failed
	return c
}

func TestRecords(t *testing.T) {
	t.Parallel()
	const aloud = `Let me see "é" \ 😀`
	calls := []llm.ToolCall{
		hosted("srvtoolu_01", "web_search", `{"query":"é"}`, ""),
		hosted("srvtoolu_02", "web_search", `{"query":"b"}`, "max_uses_exceeded"),
		hosted("mcptoolu_01", "find", `{"q":1}`, "is_error"),
		hosted("srvtoolu_03", "code_execution", `{"code":"1"}`, "execution_time_exceeded"),
		saidCall("toolu_01", "get_weather", `{"location": "Paris"}`),
		saidCall("toolu_02", "now", `{}`),
	}
	whole := turn("tool_use", true, llm.Usage{Input: 14, Output: 90, CacheRead: 41, CacheWrite: 310, CacheWriteLong: 200, Reasoning: 30})
	whole.Tier, whole.Searches, whole.Calls = "priority", 2, calls
	whole.Thoughts = []llm.Thought{{Text: aloud, Size: len(aloud)}, {Size: len("EmwKAhgB")}}

	body := whole
	body.Calls = append(append([]llm.ToolCall{}, calls[:4]...), saidCall("toolu_01", "get_weather", `{"location":"Paris"}`), calls[5])

	begun := turn("", false, llm.Usage{Input: 12, Output: 1, CacheRead: 40, CacheWrite: 300, CacheWriteLong: 200})
	begun.Tier = "priority"
	thinking := begun
	thinking.Thoughts = []llm.Thought{{Text: `Let me see "é" \ `, Size: len(`Let me see "é" \ `)}}
	calling := begun
	calling.Thoughts = whole.Thoughts
	calling.Calls = []llm.ToolCall{hosted("srvtoolu_01", "web_search", `{"query":`, "")}
	failed := begun
	failed.Thoughts = []llm.Thought{{Text: "hm", Size: 2}}
	failed.Calls = []llm.ToolCall{saidCall("toolu_01", "f", `{"a":"b`)}

	several := turn("end_turn", true, llm.Usage{Input: 137, Output: 62, CacheRead: 8, CacheWrite: 32, CacheWriteLong: 20, Reasoning: 2})
	several.Tier = "fast"
	several.Iterations = []llm.Iteration{
		{Kind: "message", Usage: llm.Usage{Input: 20, Output: 5, CacheRead: 7, CacheWrite: 30, CacheWriteLong: 20}},
		{Kind: "compaction", Usage: llm.Usage{Input: 100, Output: 50}},
		{Kind: "advisor_message", Model: "claude-opus-4-6", Usage: llm.Usage{Input: 8, Output: 4}},
		{Kind: "fallback_message", Model: "claude-haiku-4-5", Usage: llm.Usage{Input: 9, Output: 3, CacheRead: 1, CacheWrite: 2}},
	}
	one := turn("", false, several.Iterations[0].Usage)
	one.Tier, one.Iterations = "fast", several.Iterations[:1]

	dialecttest.Records(t, observing, map[string]dialecttest.Record{
		"a stream":                  {File: "all.sse", Turn: whole},
		"a body":                    {File: "all.json", Turn: body},
		"cut in thinking":           {File: "all.sse", Cut: 5, Turn: thinking},
		"cut in a call":             {File: "all.sse", Cut: 16, Turn: calling},
		"an error in the mid of it": {File: "error-late.sse", Turn: failed},
		"iterations":                {File: "iterations.sse", Turn: several},
		"iterations of a body":      {File: "iterations.json", Turn: several},
		"cut between iterations":    {File: "iterations.sse", Cut: 4, Turn: one},
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	var blocks, iterations []string
	for i := range 1100 {
		iterations = append(iterations, `{"type":"message","input_tokens":1}`)
		if i < 300 {
			blocks = append(blocks, `{"type":"tool_use","id":"t`+strconv.Itoa(i)+`","name":"`+strings.Repeat("é", 200)+`","input":{}}`, `{"type":"thinking","thinking":"abc"}`)
		}
	}
	body := []byte(`{"content":[` + strings.Join(blocks, ",") + `],"usage":{"iterations":[` + strings.Join(iterations, ",") + `]}}`)
	turn := dialecttest.Bounds(t, observing, body)
	if n := len(turn.Iterations); n != 1024 || turn.Usage.Input != 1100 || turn.Iterations[n-1].Usage.Input != 77 {
		t.Errorf("%d iterations of %d tokens, the last of %d", n, turn.Usage.Input, turn.Iterations[n-1].Usage.Input)
	}
}

// What is said of a part may be more than there is of the whole.
func TestPartsOfUsage(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		usage string
		want  llm.Usage
	}{
		"more for long than at all": {
			`{"output_tokens":3,"output_tokens_details":{"thinking_tokens":4},"cache_creation_input_tokens":5,"cache_creation":{"ephemeral_1h_input_tokens":9}}`,
			llm.Usage{Output: 3, Reasoning: 3, CacheWrite: 5, CacheWriteLong: 5},
		},
		"parts without a whole": {
			`{"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2}}`,
			llm.Usage{CacheWrite: 3, CacheWriteLong: 2},
		},
		"a whole behind its parts": {
			`{"cache_creation":{"ephemeral_5m_input_tokens":1,"ephemeral_1h_input_tokens":2},"cache_creation_input_tokens":7}`,
			llm.Usage{CacheWrite: 7, CacheWriteLong: 2},
		},
	}
	for name, tt := range tests {
		for _, body := range []string{`{"usage":` + tt.usage + `}`, `{"usage":{"iterations":[` + tt.usage + `]}}`} {
			o := messages.New().Observe()
			o.Event(wire.Event{Raw: []byte(body), Data: []byte(body)})
			if diff := cmp.Diff(tt.want, o.Turn().Usage); diff != "" {
				t.Errorf("%s: %s (-want +got):\n%s", name, body, diff)
			}
		}
	}
}
