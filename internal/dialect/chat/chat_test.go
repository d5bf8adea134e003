package chat_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

func turn(stop string, complete bool) llm.Turn {
	return llm.Turn{ID: "chatcmpl-1", Model: "gpt-4.1-2025-04-14", Stop: stop, Tier: "default", Complete: complete}
}

func calling(t llm.Turn, calls ...llm.ToolCall) llm.Turn {
	t.Calls = calls
	return t
}

func used(t llm.Turn, u llm.Usage) llm.Turn {
	t.Usage, t.Reported = u, true
	return t
}

func errorText(data []byte) string {
	var e struct {
		Error struct {
			Message string  `json:"message"`
			Type    string  `json:"type"`
			Param   *string `json:"param"`
			Code    *string `json:"code"`
		} `json:"error"`
	}
	if !dialecttest.Strict(data, &e) || e.Error.Type == "" || !bytes.Contains(data, []byte(`"param":null,"code":`)) {
		return ""
	}
	return e.Error.Message
}

func TestContract(t *testing.T) {
	t.Parallel()
	usual := llm.Usage{Input: 86, Output: 300, CacheRead: 1920, Reasoning: 64}
	dialecttest.Run(t, dialecttest.Suite{
		Dialect: chat.New(),
		Streams: []dialecttest.Stream{
			{File: "text.sse", Kinds: "PCCcCE", Turn: used(turn("stop", true), usual)},
			{File: "tools.sse", Kinds: "PCCCCcE", Turn: calling(turn("tool_calls", true),
				llm.ToolCall{ID: "call_1", Name: "a", Size: 2}, llm.ToolCall{ID: "call_2", Name: "b", Size: 2})},
			{File: "azure.sse", Kinds: "PPCCcE", Turn: turn("content_filter", true)},
			{File: "openrouter.sse", Kinds: "PPCCcE", Turn: used(turn("stop", true), usual)},
			{File: "no-done.sse", Kinds: "CCc", Turn: used(turn("length", true), llm.Usage{Input: 5, Output: 3})},
			{File: "two-choices.sse", Kinds: "PPCCCCcE", Turn: turn("stop", true)},
			{File: "refusal.sse", Kinds: "PCcE", Turn: turn("stop", true)},
			{File: "error-first.sse", Kinds: "F"},
			{File: "error-after-preamble.sse", Kinds: "PFE", Turn: turn("", false)},
			{File: "error-late.sse", Kinds: "PCFE", Turn: turn("", false)},
			{File: "error-named.sse", Kinds: "F"},
			{File: "openrouter-error.sse", Kinds: "PCF", Turn: turn("error", false)},
		},
		Bodies: []dialecttest.Body{
			{File: "completion.json", Kind: dialect.End, Turn: llm.Turn{
				ID: "chatcmpl-2", Model: "gpt-4.1", Stop: "stop", Reported: true, Complete: true,
				Usage: llm.Usage{Output: 300, CacheRead: 5000},
			}},
			{File: "null-error.json", Kind: dialect.End, Turn: llm.Turn{ID: "x", Model: "m", Stop: "stop", Complete: true}},
			{File: "error.json", Kind: dialect.Failure},
		},
		Error: errorText, Break: errorText,
	})
}

func event(data string) wire.Event {
	return wire.Event{Raw: []byte("data: " + data + "\n\n"), Data: []byte(data)}
}

func TestChunksAfterTheFirstContent(t *testing.T) {
	t.Parallel()
	const first = `{"id":"1","model":"m","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	tests := map[string]struct {
		chunk string
		kind  dialect.Kind
		turn  llm.Turn
	}{
		"more content": {
			`{"choices":[{"index":0,"delta":{"content":"\"usage\":{\"error\":{"},"finish_reason":null}],"usage":null}`,
			dialect.Content,
			llm.Turn{},
		},
		"spaced as Python does": {
			`{"choices": [{"index": 0, "delta": {"content": "b"}, "finish_reason": null}], "usage": null, "error": null}`,
			dialect.Content,
			llm.Turn{},
		},
		"usage beside content": {
			`{"choices": [{"index": 0, "delta": {"content": "b"}}], "usage": {"prompt_tokens": 7}}`,
			dialect.Content,
			llm.Turn{Usage: llm.Usage{Input: 7}, Reported: true},
		},
		"the end beside content": {
			`{"choices":[{"index":0,"delta":{"content":"b"},"finish_reason":"stop"}]}`,
			dialect.Content,
			llm.Turn{Stop: "stop", Complete: true},
		},
		"the end of one and a new choice": {
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"},{"index":1,"delta":{"content":"b"}}]}`,
			dialect.Content,
			llm.Turn{Stop: "stop"},
		},
		"an error at the end of a chunk": {
			`{"choices":[{"index":0,"delta":{"content":""},"finish_reason":"error"}],"error" : {"message":"x"}}`,
			dialect.Failure,
			llm.Turn{Stop: "error"},
		},
		"an error that is a text": {`{"error":"overloaded"}`, dialect.Failure, llm.Turn{}},
		"a chunk cut short": {
			`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]`,
			dialect.Content,
			llm.Turn{},
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := chat.New().Observe()
			o.Event(event(first))
			if kind := o.Event(event(tt.chunk)); kind != tt.kind {
				t.Errorf("kind %d, want %d", kind, tt.kind)
			}
			got, want := o.Turn(), tt.turn
			want.ID, want.Model = "1", "m"
			if got.Stop != want.Stop || got.Usage != want.Usage || got.Reported != want.Reported || got.Complete != want.Complete {
				t.Errorf("turn %+v, want %+v", got, want)
			}
		})
	}
}

// What chunks like those before would not be looked at for.
func TestToldLate(t *testing.T) {
	t.Parallel()
	const text = `{"id":"","model":"","choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`
	tests := map[string]struct {
		chunks []string
		want   llm.Turn
	}{
		"whose answer it is": {
			[]string{strings.Replace(strings.Replace(text, `"id":""`, `"id":"1"`, 1), `"model":""`, `"model":"m"`, 1)},
			llm.Turn{ID: "1", Model: "m"},
		},
		"the tier":      {[]string{strings.Replace(text, `{`, `{"service_tier":"flex",`, 1)}, llm.Turn{Tier: "flex"}},
		"an end":        {[]string{strings.Replace(text, `finish_reason":null`, `finish\u005freason":"stop"`, 1)}, llm.Turn{Stop: "stop", Complete: true}},
		"no end":        {[]string{strings.Replace(text, `"a"`, `"finish\u005freason"`, 1)}, llm.Turn{}},
		"a call":        {[]string{strings.Replace(text, `"content":"a"`, `"tool\u005fcalls":[{"index":0,"function":{"name":"a"}}]`, 1)}, llm.Turn{Calls: []llm.ToolCall{{Name: "a"}}}},
		"another index": {[]string{`{"choices":[{"delta":{},"finish_reason":"stop"}]}`, strings.Replace(text, `"index":0`, `"index":0.7e1`, 1)}, llm.Turn{Stop: "stop"}},
		"an empty usage": {
			[]string{`{"choices":[],"usage":{"prompt_tokens":3}}`, `{"choices":[{"usage":{}}],"usage":{}}`},
			llm.Turn{Usage: llm.Usage{Input: 3}, Reported: true},
		},
		"only an empty usage":     {[]string{`{"choices":[],"usage":{}}`}, llm.Turn{}},
		"an empty one beside one": {[]string{`{"choices":[{"usage":{"prompt_tokens":3}}],"usage":{}}`}, llm.Turn{Usage: llm.Usage{Input: 3}, Reported: true}},
	}
	for name, tt := range tests {
		o := chat.New().Observe()
		for _, chunk := range append([]string{text, text, text}, tt.chunks...) {
			o.Event(event(chunk))
		}
		if diff := cmp.Diff(tt.want, o.Turn()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func TestContentCostsNoAllocation(t *testing.T) {
	body, err := os.ReadFile("testdata/text.sse")
	if err != nil {
		t.Fatal(err)
	}
	r := wire.NewReader(wire.SSE, bytes.NewReader(body))
	o := chat.New().Observe()
	var e wire.Event
	for range 3 {
		if e, err = r.Next(); err != nil {
			t.Fatal(err)
		}
		o.Event(e)
	}
	if n := testing.AllocsPerRun(100, func() { o.Event(e) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func BenchmarkContent(b *testing.B) {
	o := chat.New().Observe()
	e := event(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4.1","service_tier":"default",` +
		`"choices":[{"index":0,"delta":{"content":"Hello, how are you today?"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q8"}`)
	o.Event(e)
	b.ReportAllocs()
	for b.Loop() {
		o.Event(e)
	}
}

func FuzzObserve(f *testing.F) { dialecttest.Fuzz(f, observing) }

func BenchmarkBody(b *testing.B) {
	body, err := os.ReadFile("testdata/completion.json")
	if err != nil {
		b.Fatal(err)
	}
	e := wire.Event{Raw: body, Data: body}
	b.ReportAllocs()
	for b.Loop() {
		chat.New().Observe().Event(e)
	}
}

func BenchmarkFirstChunk(b *testing.B) {
	e := event(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4.1","service_tier":"default",` +
		`"choices":[{"index":0,"delta":{"content":"Hello, how are you today?"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q8"}`)
	b.ReportAllocs()
	for b.Loop() {
		chat.New().Observe().Event(e)
	}
}
