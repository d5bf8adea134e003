package chat_test

import (
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/llm"
)

func observing(k dialect.Keep) dialect.Dialect { return chat.Dialect{Keep: k} }

// saidCall is a call of which everything is kept.
func saidCall(id, name, arguments string) llm.ToolCall {
	c := llm.ToolCall{ID: id, Name: name, Size: len(arguments)}
	if arguments != "" {
		c.Arguments = []byte(arguments)
	}
	return c
}

func thoughts(pieces ...string) (list []llm.Thought) {
	for _, p := range pieces {
		list = append(list, llm.Thought{Text: p, Size: len(p)})
	}
	return list
}

// flex is the turn of the answers, which are all served alike.
func flex(stop string, complete bool, calls ...llm.ToolCall) llm.Turn {
	return llm.Turn{ID: "chatcmpl-1", Model: "gpt-4.1-2025-04-14", Stop: stop, Tier: "flex", Complete: complete, Calls: calls}
}

func TestRecords(t *testing.T) {
	t.Parallel()
	whole := used(
		flex("tool_calls", true, saidCall("call_1", "a", `{"x":1} `), saidCall("call_2", "b", "{} \n"), saidCall("call_3", "patch", `*** "é"!`)),
		llm.Usage{Input: 80, Output: 300, CacheRead: 1920, CacheWrite: 6, Reasoning: 64})
	whole.Thoughts = thoughts(`Let me "é" see`)

	cut := flex("", false, saidCall("call_1", "a", `{"x":`))
	cut.Thoughts = whole.Thoughts
	thinking := flex("", false)
	thinking.Thoughts = thoughts(`Let me "é"`)

	choices := flex("tool_calls", true, saidCall("call_1", "a", "{}"), saidCall("call_2", "b", "{}  "))
	choices.Thoughts = thoughts("one", "two")

	failed := flex("", false, saidCall("call_1", "a", `{"x":"y`))
	failed.Thoughts = thoughts("hm")

	kimi := used(llm.Turn{ID: "chatcmpl-2", Model: "kimi-k2-0905-preview", Stop: "stop", Complete: true}, llm.Usage{Input: 56, Output: 31, CacheRead: 1280})

	dialecttest.Records(t, observing, map[string]dialecttest.Record{
		"a stream":                  {File: "all.sse", Turn: whole},
		"a body":                    {File: "all.json", Turn: whole},
		"cut in a call":             {File: "all.sse", Cut: 9, Turn: cut},
		"cut in reasoning":          {File: "all.sse", Cut: 3, Turn: thinking},
		"calls that come whole":     {File: "whole-calls.sse", Turn: flex("tool_calls", true, saidCall("c1", "a", "{}"), saidCall("c2", "a", `{"y":2}`), saidCall("c3", "b", "{}"), saidCall("c4", "b", "{}"))},
		"a function call":           {File: "legacy.sse", Turn: flex("function_call", true, saidCall("", "f", `{"a":1}`))},
		"two choices":               {File: "choices.sse", Turn: choices},
		"usage in the choice":       {File: "moonshot.sse", Turn: kimi},
		"an error in the mid of it": {File: "error-late.sse", Turn: failed},
	})
}

func TestBounds(t *testing.T) {
	t.Parallel()
	var calls, choices []string
	for i := range 300 {
		n := strconv.Itoa(i)
		calls = append(calls, `{"id":"c`+n+`","type":"function","function":{"name":"`+strings.Repeat("é", 200)+`","arguments":"{}"}}`)
		choices = append(choices, `{"index":`+n+`,"message":{"reasoning_content":"abc"},"finish_reason":"stop"}`)
	}
	body := []byte(`{"choices":[{"index":0,"message":{"tool_calls":[` + strings.Join(calls, ",") + `]}},` + strings.Join(choices, ",") + `]}`)
	dialecttest.Bounds(t, observing, body)
}
