package responses_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// turn is the turn of answers that report the usual usage.
func turn(stop string) llm.Turn {
	t := seen(stop, true)
	t.Usage = llm.Usage{Input: 300, Output: 50, CacheRead: 600, CacheWrite: 100, Reasoning: 20}
	t.Reported = true
	return t
}

func seen(stop string, complete bool) llm.Turn {
	return llm.Turn{ID: "resp_01", Model: "gpt-5.2-2026-01-15", Stop: stop, Complete: complete}
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

func breakText(data []byte) string {
	var e struct {
		Type     string  `json:"type"`
		Code     string  `json:"code"`
		Message  string  `json:"message"`
		Param    *string `json:"param"`
		Sequence *int    `json:"sequence_number"`
	}
	if !dialecttest.Strict(data, &e) || e.Type != "error" || e.Code == "" || e.Sequence == nil ||
		!bytes.Contains(data, []byte(`"param":null`)) {
		return ""
	}
	return e.Message
}

func TestContract(t *testing.T) {
	t.Parallel()
	incomplete := seen("max_output_tokens", true)
	incomplete.Usage, incomplete.Reported = llm.Usage{Input: 1000, Output: 50}, true
	called := turn("completed")
	called.Calls = []llm.ToolCall{{ID: "call_1", Name: "f", Size: 2}}
	dialecttest.Run(t, dialecttest.Suite{
		Dialect: responses.New(),
		Streams: []dialecttest.Stream{
			{File: "text.sse", Kinds: "PPPPCCCCCE", Turn: turn("completed")},
			{File: "tools.sse", Kinds: "PPPPPCCPCCCE", Turn: called},
			{File: "incomplete.sse", Kinds: "PPPPCE", Turn: incomplete},
			{File: "keepalive.sse", Kinds: "PPPPPPPCE", Turn: seen("completed", true)},
			{File: "refusal.sse", Kinds: "PPPCE", Turn: turn("completed")},
			{File: "failed.sse", Kinds: "PPF", Turn: seen("failed", false)},
			{File: "error-flat.sse", Kinds: "F"},
			{File: "error-nested.sse", Kinds: "PPF", Turn: seen("", false)},
			{File: "error-late.sse", Kinds: "PPPPCF", Turn: seen("failed", false)},
		},
		Bodies: []dialecttest.Body{
			{File: "response.json", Kind: dialect.End, Turn: turn("completed")},
			{File: "incomplete.json", Kind: dialect.End, Turn: turn("content_filter")},
			{File: "queued.json", Kind: dialect.End, Turn: seen("", true)},
			{File: "failed.json", Kind: dialect.Failure, Turn: seen("failed", false)},
			{File: "error.json", Kind: dialect.Failure},
		},
		Error: errorText, Break: breakText, BreakName: "error",
	})
}

func TestBreakContinuesTheNumbering(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		data []string
		want int
	}{
		"nothing seen":  {nil, 0},
		"from the head": {[]string{`{"type":"response.output_text.delta","sequence_number":41,"delta":"x"}`}, 42},
		"from the tail": {[]string{`{"type":"response.output_text.delta","delta":"` + string(bytes.Repeat([]byte("x"), 500)) + `","sequence_number": 41}`}, 42},
		"a resumed stream, then one without a number": {[]string{`{"sequence_number":7}`, `{"type":"x"}`}, 9},
		"spaced":                  {[]string{`{"type": "response.output_text.delta", "sequence_number" : 41, "delta": "x"}`}, 42},
		"in the middle":           {[]string{`{"type":"x","pad":"` + strings.Repeat("x", 500) + `","sequence_number":41,"delta":"` + strings.Repeat("x", 500) + `"}`}, 42},
		"beside the client's own": {[]string{`{"type":"x","response":{"metadata":{"sequence_number":"7"},"x":{"sequence_number":7}},"sequence_number":41}`}, 42},
		"quoted by the model":     {[]string{`{"sequence_number":7,"delta":"\"sequence_number\":99"}`}, 8},
		"no number":               {[]string{`{"sequence_number":"x"}`}, 1},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := responses.New().Observe()
			for _, data := range tt.data {
				o.Event(wire.Event{Raw: []byte("data: " + data + "\n\n"), Data: []byte(data)})
			}
			got := o.Break(fault.New(fault.Timeout, "late")).Data
			if want := fmt.Sprintf(`"sequence_number":%d}`, tt.want); !bytes.HasSuffix(got, []byte(want)) {
				t.Errorf("%s, want %s at the end", got, want)
			}
		})
	}
}

func TestContentCostsNoAllocation(t *testing.T) {
	o := responses.New().Observe()
	data := []byte(`{"type":"response.output_text.delta","sequence_number":9,"item_id":"msg_1","delta":"Hello"}`)
	e := wire.Event{Raw: append([]byte("event: response.output_text.delta\ndata: "), data...), Name: "response.output_text.delta", Data: data}
	if n := testing.AllocsPerRun(100, func() { o.Event(e) }); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func FuzzObserve(f *testing.F) { dialecttest.Fuzz(f, observing) }
