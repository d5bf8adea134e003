package messages_test

import (
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

const sonnet = "claude-sonnet-4-5-20250929"

// turn is the turn of the streams, which all begin alike.
func turn(stop string, complete bool, u llm.Usage) llm.Turn {
	return llm.Turn{ID: "msg_01", Model: sonnet, Stop: stop, Usage: u, Reported: true, Complete: complete}
}

func called(t llm.Turn, calls ...llm.ToolCall) llm.Turn {
	t.Calls = calls
	return t
}

func errorText(data []byte) string {
	var e struct {
		Type  string `json:"type"`
		Error struct {
			Type    string `json:"type"`
			Message string `json:"message"`
		} `json:"error"`
		RequestID string `json:"request_id"`
	}
	if !dialecttest.Strict(data, &e) || e.Type != "error" || e.Error.Type == "" || e.RequestID != "req_kb" {
		return ""
	}
	return e.Error.Message
}

func TestContract(t *testing.T) {
	t.Parallel()
	searched := called(turn("pause_turn", true, llm.Usage{Input: 25, Output: 20}),
		llm.ToolCall{ID: "srvtoolu_01", Name: "web_search", Size: 13, Hosted: true})
	searched.Searches = 1
	compacted := turn("end_turn", true, llm.Usage{Input: 120, Output: 80, CacheRead: 5, CacheWrite: 9, CacheWriteLong: 2})
	compacted.Iterations = []llm.Iteration{
		{Kind: "compaction", Usage: llm.Usage{Input: 100, Output: 50, CacheRead: 5, CacheWrite: 6}},
		{Kind: "message", Usage: llm.Usage{Input: 20, Output: 30, CacheWrite: 3, CacheWriteLong: 2}},
	}
	dialecttest.Run(t, dialecttest.Suite{
		Dialect: messages.New(),
		Streams: []dialecttest.Stream{
			{File: "text.sse", Kinds: "PPPCCCCE", Turn: turn("end_turn", true, llm.Usage{Input: 25, Output: 15})},
			{File: "tools.sse", Kinds: "PPCCCPCCCCCE", Turn: called(turn("tool_use", true,
				llm.Usage{Input: 480, Output: 89, CacheRead: 100001, CacheWrite: 2048, Reasoning: 30}),
				llm.ToolCall{ID: "toolu_01", Name: "get_weather", Size: 21})},
			{File: "redacted.sse", Kinds: "PCCPCCCE", Turn: turn("end_turn", true, llm.Usage{Input: 25, Output: 9})},
			{File: "server-tool.sse", Kinds: "PPCCCCCE", Turn: searched},
			{File: "refusal.sse", Kinds: "PCE", Turn: turn("refusal", true, llm.Usage{Input: 25})},
			{File: "compaction.sse", Kinds: "PCCCE", Turn: compacted},
			{File: "unknown.sse", Kinds: "PCCE", Turn: turn("end_turn", true, llm.Usage{Input: 25, Output: 1})},
			{File: "error-first.sse", Kinds: "F"},
			{File: "error-after-preamble.sse", Kinds: "PPPF", Turn: turn("", false, llm.Usage{Input: 25, Output: 1})},
			{File: "error-late.sse", Kinds: "PPCF", Turn: turn("", false, llm.Usage{Input: 25, Output: 1})},
		},
		Bodies: []dialecttest.Body{
			{File: "message.json", Kind: dialect.End, Turn: llm.Turn{
				ID: "msg_02", Model: "claude-opus-4-5", Stop: "end_turn", Tier: "standard", Reported: true, Complete: true,
				Usage: llm.Usage{Input: 10, Output: 12, CacheRead: 3, CacheWrite: 7},
			}},
			{File: "error.json", Kind: dialect.Failure},
			{File: "edge.json", Kind: dialect.Failure},
		},
		Error: errorText, Break: errorText, BreakName: "error",
	})
}

func TestPing(t *testing.T) {
	t.Parallel()
	if got, want := string(messages.New().Ping().Raw), "event: ping\ndata: {\"type\": \"ping\"}\n\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestEventsWithoutTheirName(t *testing.T) {
	t.Parallel()
	o := messages.New().Observe()
	for data, want := range map[string]dialect.Kind{
		`{"type":"ping"}`: dialect.Preamble,
		`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"x"}}`: dialect.Content,
		`{ "type": "error", "error": {"type": "overloaded_error"}}`:                         dialect.Failure,
		`{"type":"message_stop"}`: dialect.End,
		"not JSON":                dialect.Content,
	} {
		e := wire.Event{Raw: []byte("data: " + data + "\n\n"), Data: []byte(data)}
		if got := o.Event(e); got != want {
			t.Errorf("%s: kind %d, want %d", data, got, want)
		}
	}
}

func TestContentCostsNoAllocation(t *testing.T) {
	o := messages.New().Observe()
	data := []byte(`{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello"}}`)
	e := wire.Event{Raw: append([]byte("event: content_block_delta\ndata: "), data...), Name: "content_block_delta", Data: data}
	if n := testing.AllocsPerRun(100, func() { o.Event(e) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzObserve(f *testing.F) { dialecttest.Fuzz(f, observing) }
