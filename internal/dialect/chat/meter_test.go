package chat_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

var _ dialect.Meterer = chat.Dialect{}

func TestMeter(t *testing.T) {
	t.Parallel()
	const on = `"stream_options":{"include_usage":true}`
	tests := map[string]struct{ body, want string }{
		"a stream":           {` {"model":"m", "stream":true, "n":1.0} `, ` {"model":"m", "stream":true, "n":1.0,` + on + `} `},
		"null":               {`{"stream_options" : null,"stream":true}`, `{"stream_options" : {"include_usage":true},"stream":true}`},
		"other options":      {`{"stream":true,"stream_options":{"include_obfuscation": false},"z":{}}`, `{"stream":true,"stream_options":{"include_obfuscation": false,"include_usage":true},"z":{}}`},
		"no options":         {`{"stream":true,"stream_options":{ }}`, `{"stream":true,"stream_options":{"include_usage":true }}`},
		"asked not to":       {`{"stream":true,"stream_options":{"include_usage":false,"x":1}}`, `{"stream":true,"stream_options":{"include_usage":true,"x":1}}`},
		"asked by nobody":    {`{"stream":true,"stream_options":{"include_usage":null}}`, `{"stream":true,"stream_options":{"include_usage":true}}`},
		"asked already":      {`{"stream":true,` + on + `}`, ""},
		"not a stream":       {`{"model":"m"}`, ""},
		"no stream at all":   {`{"stream":false,"stream_options":null}`, ""},
		"null for a stream":  {`{"stream":null}`, ""},
		"no options of ours": {`{"stream":true,"stream_options":"x"}`, ""},
		"no request":         {`[{"stream":true}]`, ""},
		"nothing":            {``, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := []byte(tt.body)
			got, asked := chat.New().Meter(body)
			if want := tt.want; string(got) != want && want != "" || want == "" && string(got) != tt.body || asked != (want != "") {
				t.Errorf("%s, asked %t, want %s", got, asked, want)
			}
			if string(body) != tt.body {
				t.Errorf("the body has become %s", body)
			}
			if again, asked := chat.New().Meter(got); asked || string(again) != string(got) {
				t.Errorf("asked again: %s", again)
			}
		})
	}
}

func TestUnmeter(t *testing.T) {
	t.Parallel()
	const total = `{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}`
	tests := map[string]struct{ data, want string }{ // want "-": nothing is left
		"the usage":                 {`{"id":"1","choices":[],"usage":` + total + `}`, "-"},
		"the usage, spaced":         {` {"choices" : [ ] , "usage" : ` + total + ` } `, "-"},
		"none, behind":              {`{"choices":[{"delta":{"content":"a"}}],"usage":null}`, `{"choices":[{"delta":{"content":"a"}}]}`},
		"none, between":             {`{"choices":[{}],"usage":null,"obfuscation":"x"}`, `{"choices":[{}],"obfuscation":"x"}`},
		"none, first":               {`{"usage":null,"choices":[{}]}`, `{"choices":[{}]}`},
		"none, first, spaced":       {`{ "usage" : null , "choices": [{}] }`, `{ "choices": [{}] }`},
		"none, behind, spaced":      {`  { "choices": [{}] , "usage": null }`, `  { "choices": [{}] }`},
		"none but that":             {`{"usage":null}`, `{}`},
		"none, no choices":          {`{"choices":[],"prompt_filter_results":[{}],"usage":null}`, `{"choices":[],"prompt_filter_results":[{}]}`},
		"beside choices":            {`{"choices":[{"delta":{}}],"usage":` + total + `}`, ""},
		"beside an error":           {`{"choices":[],"error":{"message":"x"},"usage":` + total + `}`, ""},
		"beside no error":           {`{"choices":[],"error":null,"usage":` + total + `}`, "-"},
		"without choices":           {`{"usage":` + total + `}`, ""},
		"the model's words":         {`{"choices":[{"delta":{"content":"\"usage\":null"}}]}`, ""},
		"deep inside":               {`{"choices":[{"usage":null,"delta":{"usage":null}}]}`, ""},
		"nothing of it":             {`{"choices":[{"delta":{"content":"a"}}]}`, ""},
		"the end":                   {`[DONE]`, ""},
		"cut short":                 {`{"choices":[],"usage":` + total, ""},
		"cut short behind none":     {`{"choices":[{}],"usage":null`, ""},
		"cut short in what follows": {`{"choices":[{}],"usage":null,"obfuscation":"x`, ""},
		"no object":                 {`["usage",null]`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			e := event(tt.data)
			shown, show := chat.New().Unmeter(e)
			want := tt.want
			if want == "" {
				want = tt.data
			}
			if show != (want != "-") || show && (string(shown.Data) != want || string(shown.Raw) != "data: "+want+"\n\n") {
				t.Errorf("%q (%q), shown %t, want %q", shown.Data, shown.Raw, show, want)
			}
			if string(e.Data) != tt.data {
				t.Errorf("the event has become %s", e.Data)
			}
			if whole := []byte(tt.data); tt.data != "" {
				body := wire.Event{Raw: whole, Data: whole}
				if shown, show = chat.New().Unmeter(body); !show || string(shown.Raw) != tt.data {
					t.Errorf("a whole answer has become %s", shown.Raw)
				}
			}
		})
	}
}

// metered is a stream as an upstream gives it that was asked for usage, made of one that
// was not.
func metered(t testing.TB, file string) (asked, unasked []byte) {
	t.Helper()
	body, err := os.ReadFile("testdata/" + file)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(body)) {
		data, chunk := strings.CutPrefix(strings.TrimSpace(line), "data: ")
		switch {
		case !chunk:
			asked, unasked = append(asked, line...), append(unasked, line...)
			continue
		case data == "[DONE]":
			asked = append(asked, `data: {"id":"chatcmpl-1","object":"chat.completion.chunk","choices":[],"usage":{"prompt_tokens":7,"completion_tokens":5,"total_tokens":12}}`+"\n\n"...)
			asked, unasked = append(asked, line...), append(unasked, line...)
			continue
		}
		asked = append(asked, "data: "+strings.TrimSuffix(data, "}")+`,"usage":null}`+"\n"...)
		unasked = append(unasked, line...)
	}
	return asked, unasked
}

// The client of a metered stream sees what it would have seen of one that was not, the
// observer what the upstream has reported: also where calls of the gateway's are hidden.
func TestMeteredStreams(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"tools.sse", "azure.sse", "two-choices.sse", "refusal.sse", "record/legacy.sse", "record/choices.sse", "record/whole-calls.sse"} {
		for _, own := range []string{"", "a", "b"} {
			t.Run(file+" "+own, func(t *testing.T) {
				t.Parallel()
				d := chat.New()
				asked, unasked := metered(t, file)
				show := func(stream []byte, unmeter bool) (shown []byte, turn llm.Turn) {
					o, s := d.Observe(), d.Splice(func(name string) bool { return own != "" && name == own })
					r := wire.NewReader(wire.SSE, bytes.NewReader(stream))
					for {
						e, err := r.Next()
						if errors.Is(err, io.EOF) {
							break
						}
						o.Event(e)
						if unmeter {
							var some bool
							if e, some = d.Unmeter(e); !some {
								continue
							}
						}
						for _, x := range s.Event(e) {
							shown = append(shown, x.Raw...)
						}
					}
					for _, x := range s.End(true) {
						shown = append(shown, x.Raw...)
					}
					return shown, o.Turn()
				}
				want, without := show(unasked, false)
				got, with := show(asked, true)
				if diff := cmp.Diff(string(want), string(got)); diff != "" {
					t.Errorf("shown (-unmetered +metered):\n%s", diff)
				}
				without.Usage, without.Reported = llm.Usage{Input: 7, Output: 5}, true
				if diff := cmp.Diff(without, with); diff != "" {
					t.Errorf("turn (-want +got):\n%s", diff)
				}
			})
		}
	}
}

// What is shown of a chunk is the chunk, but for one member that is null.
func FuzzUnmeter(f *testing.F) {
	f.Add([]byte(`{"id":"1","choices":[],"usage":{"prompt_tokens":1}}`))
	f.Add([]byte(`{ "usage" : null , "choices":[{"delta":{"content":"\"usage\":null,"}}]}`))
	f.Add([]byte(`{"choices":[{}],"usage":null,"obfuscation":"x"}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.ContainsAny(data, "\r\n") || len(data) == 0 {
			t.Skip("not the data of one line")
		}
		shown, show := chat.New().Unmeter(event(string(data)))
		var before, after map[string]json.RawMessage
		if json.Unmarshal(data, &before) != nil || before == nil || strings.Count(string(data), `"usage"`) > 1 {
			return
		}
		if !show {
			if string(before["choices"]) == "" || before["usage"] == nil || before["usage"][0] != '{' {
				t.Fatalf("nothing is left of %s", data)
			}
			return
		}
		if err := json.Unmarshal(shown.Data, &after); err != nil {
			t.Fatalf("%s has become %s: %v", data, shown.Data, err)
		}
		if u, ok := before["usage"]; ok && string(u) == "null" && bytes.Contains(data, []byte(`"usage"`)) {
			delete(before, "usage")
		}
		if diff := cmp.Diff(before, after); diff != "" {
			t.Fatalf("%s has become %s:\n%s", data, shown.Data, diff)
		}
	})
}

func BenchmarkUnmeter(b *testing.B) {
	e := event(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4.1","service_tier":"default",` +
		`"choices":[{"index":0,"delta":{"content":"Hello, how are you today?"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q8"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, show := chat.New().Unmeter(e); !show {
			b.Fatal("gone")
		}
	}
}
