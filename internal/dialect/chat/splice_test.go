package chat_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// A turn in which the gateway has no part is the upstream's, event by event.
func TestSpliceLeavesAlone(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/*.*")
	cases := map[string][]byte{
		"unnamed.sse":  said{n: 1, deltas: []string{`{"tool_calls":[{"index":0,"id":"c1","type":"function"}]}`, `{"tool_calls":[{"index":0,"function":{"name":"shell"}}]}`, goesOn(0, "{}")}, finish: "tool_calls"}.stream(),
		"no-name.sse":  said{n: 1, deltas: []string{`{"tool_calls":[{"index":0,"id":"c1"}]}`, goesOn(0, "{}")}, finish: "tool_calls"}.stream(),
		"cut.sse":      said{n: 1, deltas: []string{`{"tool_calls":[{"index":0,"id":"c1"}]}`}}.stream(),
		"odd.sse":      said{n: 1, deltas: []string{`{"tool_calls":[null,1]}`, `{"tool_calls":{"a":1}}`, `[]`, `null`, `{"tool_calls":[]}`}, finish: "tool_calls"}.stream(),
		"from-one.sse": said{n: 1, deltas: []string{opens(1, "c1", "a"), opens(7, "c2", "b"), goesOn(1, "{}")}, finish: "tool_calls"}.stream(),
		"unclosed.sse": []byte(`data: {"choices":[{"delta":{"content":"x"}}]}`),
		"split.sse":    []byte("data: {\"choices\":[\ndata: {\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n"),
		"garbage.sse":  []byte("data: {\"choices\":[\n\ndata: <html>\n\nevent: x\ndata: 1\n\n"),
		"built.json":   said{n: 1, deltas: []string{`{"role":"assistant","content":null,"tool_calls":[` + called("c1", "shell", "{}") + `]}`}, finish: "tool_calls"}.body(),
		"odd.json":     []byte(`{"choices": {"a":1}, "usage":[], "id":7}`),
		"short.json":   []byte(`{"id":"1","choices":[`),
		"no.json":      []byte(`<html>`),
	}
	for _, file := range files {
		body, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		cases[filepath.Base(file)] = body
	}
	for name, body := range cases {
		f := wire.SSE
		if strings.HasSuffix(name, ".json") {
			f = wire.JSON
		}
		s := chat.New().Splice(mine)
		got := joined(pour(s, f, body))
		if said := s.Said(); len(said.Mine) > 0 {
			t.Errorf("%s: calls of the gateway's: %v", name, said.Mine)
		}
		rest := joined(s.End(true))
		if name == "cut.sse" {
			got = append(got, rest...)
		} else if len(rest) > 0 {
			t.Errorf("%s: more is shown at the end: %s", name, rest)
		}
		if !bytes.Equal(got, body) {
			t.Errorf("%s: what is shown differs:\n%s", name, got)
		}
	}
}

func TestSpliceStreams(t *testing.T) {
	t.Parallel()
	const role = `1 1 {"role":"assistant","content":null}`
	tests := map[string]struct {
		turns []said
		want  string
		mine  [][]string
		other []string // of the last turn
		cut   bool     // the last turn
		loose bool     // a compatible upstream, not as strict as the API
	}{
		"one call, text before it and after": {
			turns: []said{
				{n: 1, deltas: []string{text(`I <look>\u00e9 \"it\"`), text(" up."), opens(0, "c1", "kb_x"), goesOn(0, `{\"q\":`), goesOn(0, `1}`)}, finish: "tool_calls", usage: true},
				{n: 2, deltas: []string{text("So"), text(" it is.")}, finish: "stop", usage: true},
			},
			want: role + `
1 1 {"content":"I <look>\u00e9 \"it\""}
1 1 {"content":" up."}
1 1 {"content":"So"}
1 1 {"content":" it is."}
1 1 {}stop
1 1 {"prompt_tokens":3,"completion_tokens":23,"prompt_tokens_details":{"cached_tokens":3},"note":"<2>"}
[DONE]`,
			mine: [][]string{{"c1"}, nil},
		},
		"two calls at once, then a third": {
			turns: []said{
				{n: 1, deltas: []string{opens(0, "c1", "kb_x"), opens(1, "c2", "kb_y"), goesOn(0, "{}"), goesOn(1, "{}")}, finish: "tool_calls"},
				{n: 2, deltas: []string{opens(0, "c3", "kb_x"), goesOn(0, "{}")}, finish: "tool_calls"},
				{n: 3, deltas: []string{`{"refusal":"No."}`}, finish: "stop"},
			},
			want: role + "\n1 1 {\"refusal\":\"No.\"}\n1 1 {}stop\n[DONE]",
			mine: [][]string{{"c1", "c2"}, {"c3"}, nil},
		},
		"the client's calls beside ours": {
			turns: []said{
				{n: 1, deltas: []string{opens(0, "c0", "kb_x")}, finish: "tool_calls"},
				{n: 2, deltas: []string{
					text("a"), opens(0, "c1", "kb_x"), opens(1, "c2", "shell"), opens(2, "c3", "kb_y"), opens(3, "c4", "read"), goesOn(3, "{4"), goesOn(1, "{2"), goesOn(0, "{1"), goesOn(3, "}"),
					`{"content":"b","tool_calls":[{"index":2,"function":{"arguments":"{}"}}, {"index": 1,"function":{"arguments":"}"}}]}`,
				}, finish: "tool_calls"},
			},
			want: role + `
1 1 {"content":"a"}
1 1 {"tool_calls":[{"index":0,"id":"c2","type":"function","function":{"name":"shell","arguments":""}}]}
1 1 {"tool_calls":[{"index":1,"id":"c4","type":"function","function":{"name":"read","arguments":""}}]}
1 1 {"tool_calls":[{"index":1,"function":{"arguments":"{4"}}]}
1 1 {"tool_calls":[{"index":0,"function":{"arguments":"{2"}}]}
1 1 {"tool_calls":[{"index":1,"function":{"arguments":"}"}}]}
1 1 {"content":"b","tool_calls":[ {"index": 0,"function":{"arguments":"}"}}]}
1 1 {}tool_calls
[DONE]`,
			mine: [][]string{{"c0"}, {"c1", "c3"}}, other: []string{"c2", "c4"},
		},
		"the client's calls in a later turn": {
			turns: []said{
				{n: 1, deltas: []string{opens(0, "c0", "kb_x")}, finish: "tool_calls"},
				{n: 2, deltas: []string{opens(0, "c1", "shell"), opens(1, "c2", "shell")}, finish: "tool_calls"},
			},
			want: role + `
1 1 {"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"shell","arguments":""}}]}
1 1 {"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"shell","arguments":""}}]}
1 1 {}tool_calls
[DONE]`,
			mine: [][]string{{"c0"}, nil}, other: []string{"c1", "c2"},
		},
		"too long inside a call": {
			turns: []said{{n: 1, deltas: []string{text("a"), opens(0, "c1", "kb_x"), goesOn(0, `{\"q`)}, finish: "length", usage: true}},
			want:  role + "\n1 1 {\"content\":\"a\"}\n1 1 {}length\n1 1 " + said{n: 1}.used() + "\n[DONE]",
			mine:  [][]string{{"c1"}}, cut: true,
		},
		"calls to the last": {
			turns: []said{
				{n: 1, deltas: []string{opens(0, "c1", "kb_x")}, finish: "tool_calls"},
				{n: 2, deltas: []string{text("a"), opens(0, "c2", "kb_x")}, finish: "tool_calls"},
			},
			want: role + "\n1 1 {\"content\":\"a\"}\n1 1 {}stop\n[DONE]",
			mine: [][]string{{"c1"}, {"c2"}},
		},
		"reasoning, pings, chunks nobody knows, an error in the second turn": {
			turns: []said{
				{n: 1, deltas: []string{`{"reasoning_content":"hm"}`, opens(0, "c1", "kb_x"), `{"new":{}}`}, finish: "tool_calls"},
				{n: 2, deltas: []string{text("a")}, late: ": ping\n\ndata: {\"id\":\"chatcmpl-2\",\"error\":{\"code\":1}}\n\ndata: [DONE]\n\n"},
			},
			want: role + `
1 1 {"reasoning_content":"hm"}
1 1 {"new":{}}
1 1 {"content":"a"}
: ping
error {"code":1}
[DONE]`,
			mine: [][]string{{"c1"}, nil}, cut: true,
		},
		"broken off in the second turn": {
			turns: []said{
				{n: 1, deltas: []string{opens(0, "c1", "kb_x")}, finish: "tool_calls"},
				{n: 2, deltas: []string{text("a"), opens(0, "c2", "kb_x")}},
			},
			want: role + "\n1 1 {\"content\":\"a\"}",
			mine: [][]string{{"c1"}, {"c2"}}, cut: true, loose: true,
		},
		"a name that comes late": {
			turns: []said{{n: 1, deltas: []string{
				`{"tool_calls":[{"index":0,"id":"c1","type":"function"}]}`, `{"tool_calls":[{"index":1,"id":"c2","type":"function","function":{"name":"shell","arguments":"{}"}}]}`,
				text("a"), `{"tool_calls":[{"index":0,"function":{"name":"kb_x","arguments":"{}"}}]}`, text("b"),
			}, finish: "tool_calls"}},
			want: role + `
1 1 {"content":"a"}
1 1 {"tool_calls":[{"index":0,"id":"c2","type":"function","function":{"name":"shell","arguments":"{}"}}]}
1 1 {"content":"b"}
1 1 {}tool_calls
[DONE]`,
			mine: [][]string{{"c1"}}, other: []string{"c2"},
		},
		"calls without an index, whole, beside a finish reason": {
			turns: []said{
				{n: 1, deltas: []string{text("a"), `{"tool_calls":[` + called("c1", "kb_x", "{}") + `]}`, `{"tool_calls":[` + called("c2", "kb_x", "{}") + `,` + called("c3", "shell", "{}") + `]}`}, finish: "stop"},
			},
			want: role + "\n1 1 {\"content\":\"a\"}\n" + `1 1 {"tool_calls":[` + called("c3", "shell", "{}") + "]}\n1 1 {}stop\n[DONE]",
			mine: [][]string{{"c1", "c2"}}, other: []string{"c3"}, loose: true,
		},
		"calls all with the index 0": {
			turns: []said{{n: 1, deltas: []string{
				`{"tool_calls":[{"index":0,"id":"c1","type":"function","function":{"name":"kb_x","arguments":"{}"}},{"index":0,"id":"c2","type":"function","function":{"name":"a","arguments":"{}"}}]}`,
				`{"tool_calls":[{"index":0,"id":"c3","type":"function","function":{"name":"b","arguments":"{}"}}]}`,
			}, finish: "tool_calls"}},
			want: role + `
1 1 {"tool_calls":[{"index":0,"id":"c2","type":"function","function":{"name":"a","arguments":"{}"}}]}
1 1 {"tool_calls":[{"index":1,"id":"c3","type":"function","function":{"name":"b","arguments":"{}"}}]}
1 1 {}tool_calls
[DONE]`,
			mine: [][]string{{"c1"}}, other: []string{"c2", "c3"},
		},
		"a call after the end": {
			turns: []said{{n: 1, late: "data: {\"id\":\"chatcmpl-1\",\"created\":1764000001,\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n" +
				"data: {\"id\":\"chatcmpl-1\",\"created\":1764000001,\"choices\":[{\"delta\":" + opens(0, "c1", "kb_x") + ",\"finish_reason\":\"tool_calls\"}]}\n\ndata: [DONE]\n\n"}},
			want: role + "\n1 1 {}stop\n[DONE]",
			mine: [][]string{{"c1"}}, cut: true, loose: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shown, all := feed(wire.SSE, streams(tt.turns)...)
			if diff := cmp.Diff(tt.want, brief(shown)); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			if !tt.loose {
				strictly(t, wire.SSE, shown)
			}
			for i, s := range all {
				last := i == len(all)-1
				if diff := cmp.Diff(tt.mine[i], ids(s.Mine)); diff != "" || s.Cut != (last && tt.cut) {
					t.Errorf("turn %d: cut %t; calls (-want +got):\n%s", i, s.Cut, diff)
				}
				if diff := cmp.Diff(tt.other, ids(s.Others)); last && diff != "" {
					t.Errorf("the client's calls (-want +got):\n%s", diff)
				}
			}
		})
	}
}

// Upstreams that are not the API itself end their turns in other ways.
func TestSpliceCompatible(t *testing.T) {
	t.Parallel()
	chunk := func(n, choice, usage string) string {
		return `data: {"id":"chatcmpl-` + n + `","created":176400000` + n + `,"choices":[` + choice + `]` + usage + "}\r\n\r\n"
	}
	first := chunk("1", `{"delta":{"role":"assistant","content":"Hm","tool_calls":[`+called("c1", "kb_x", "{}")+`]},"logprobs":{},"finish_reason":"tool_calls"}`, `,"usage":{"prompt_tokens":1}`)
	tests := map[string]struct{ second, want string }{
		"content beside the end, usage in it": {
			chunk("2", `{"delta":{"role":"assistant","content":"Yes"},"logprobs":{"a":1},"finish_reason":"stop"}`, `,"usage":{"prompt_tokens":2,"cost":0.5}`),
			chunk("1", `{"delta":{"role":"assistant","content":"Hm"},"logprobs":{},"finish_reason":null}`, `,"usage":null`) +
				chunk("1", `{"delta":{"content":"Yes"},"logprobs":{"a":1},"finish_reason":null}`, `,"usage":null`) +
				chunk("1", `{"delta":{},"logprobs":null,"finish_reason":"stop"}`, `,"usage":{"prompt_tokens":3,"cost":0.5}`),
		},
		"usage that grows, and an end that says nothing": {
			chunk("2", `{"delta":{"role":"assistant","content":"Yes"}}`, `,"usage":{"prompt_tokens":2,"completion_tokens":1}`) +
				chunk("2", `{"delta":{"role":"assistant","content":""},"finish_reason":"stop"}`, `,"usage":{"prompt_tokens":2,"completion_tokens":2}`),
			chunk("1", `{"delta":{"role":"assistant","content":"Hm"},"logprobs":{},"finish_reason":null}`, `,"usage":null`) +
				chunk("1", `{"delta":{"content":"Yes"}}`, `,"usage":{"prompt_tokens":3,"completion_tokens":1}`) +
				chunk("1", `{"delta":{"content":""},"finish_reason":"stop"}`, `,"usage":{"prompt_tokens":3,"completion_tokens":2}`),
		},
		"usage behind the end, beside an empty choice": {
			chunk("2", `{"delta":{"content":"Yes"}}`, ``) + chunk("2", `{"delta":{},"finish_reason":"stop"}`, ``) +
				chunk("2", `{"delta":{"role":"assistant","content":""},"finish_reason":null}`, `,"usage":{"prompt_tokens":2}`) + "data: [DONE]",
			chunk("1", `{"delta":{"role":"assistant","content":"Hm"},"logprobs":{},"finish_reason":null}`, `,"usage":null`) +
				chunk("1", `{"delta":{"content":"Yes"}}`, ``) + chunk("1", `{"delta":{},"finish_reason":"stop"}`, ``) +
				chunk("1", `{"delta":{"content":""},"finish_reason":null}`, `,"usage":{"prompt_tokens":3}`) + "data: [DONE]\n\n",
		},
		"Azure's first chunk": {
			`data: {"id":"","created":0,"choices":[],"prompt_filter_results":[]}` + "\n\n" + chunk("2", `{"delta":{"role":"assistant","content":""}}`, ``) + chunk("2", `{"delta":{"content":"Yes"},"finish_reason":"stop"}`, ``),
			chunk("1", `{"delta":{"role":"assistant","content":"Hm"},"logprobs":{},"finish_reason":null}`, `,"usage":null`) +
				`data: {"id":"chatcmpl-1","created":1764000001,"choices":[],"prompt_filter_results":[]}` + "\n\n" +
				chunk("1", `{"delta":{"content":"Yes"},"finish_reason":null}`, ``) + chunk("1", `{"delta":{},"finish_reason":"stop"}`, ``),
		},
	}
	for name, tt := range tests {
		shown, _ := feed(wire.SSE, []byte(first), []byte(tt.second))
		if diff := cmp.Diff(strings.Split(tt.want, "\n"), strings.Split(string(joined(shown)), "\n")); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// What the next request repeats is what the model said, to the byte.
func TestSpliceRepeats(t *testing.T) {
	t.Parallel()
	tests := map[string]struct{ deltas, want string }{
		"text and calls": {
			text(`<a>\ud83d`) + "\n" + text(`\ude00 "`[:6]+`\n`) + "\n" + opens(0, "c1", "kb_x") + "\n" + opens(1, "c2", "shell") + "\n" + goesOn(1, `{\"a\":`) + "\n" + goesOn(0, `{}`) + "\n" + goesOn(1, `1.0}`),
			`{"role":"assistant","content":"<a>\ud83d\ude00\n","tool_calls":[` + called("c1", "kb_x", "{}") + `,` + called("c2", "shell", `{\"a\":1.0}`) + `]}`,
		},
		"no text, empty arguments": {opens(0, "c1", "kb_x"), `{"role":"assistant","content":null,"tool_calls":[` + called("c1", "kb_x", "{}") + `]}`},
		"no id":                    {`{"tool_calls":[{"index":0,"function":{"name":"kb_x","arguments":"{}"}}]}`, `{"role":"assistant","content":null,"tool_calls":[` + called("call_kb_0", "kb_x", "{}") + `]}`},
		"reasoning": {
			`{"reasoning_content":"a","reasoning":null}` + "\n" + `{"reasoning_content":"\u003c","x":[1]}` + "\n" + `{"x":[2],"y":1}` + "\n" + `{"y":2.0}` + "\n" + text("b"),
			`{"role":"assistant","content":"b","reasoning_content":"a\u003c","x":[1,2],"y":2.0}`,
		},
		"reasoning details": {
			`{"reasoning_details":[{"type":"reasoning.text","text":"a","index":0,"signature":null}]}` + "\n" + `{"reasoning_details":[{"type":"reasoning.text","text":"b","index":0}]}` + "\n" +
				`{"reasoning_details":[{"type":"reasoning.text","signature":"s/=","index":0},{"type":"reasoning.text","text":"c","index":1}]}` + "\n" + `{"reasoning_details":[{"type":"reasoning.encrypted","data":"d"}]}`,
			`{"role":"assistant","content":null,"reasoning_details":[{"type":"reasoning.text","text":"ab","index":0,"signature":"s/="},{"type":"reasoning.text","text":"c","index":1},{"type":"reasoning.encrypted","data":"d"}]}`,
		},
		"thinking blocks": {
			`{"thinking_blocks":[{"type":"thinking","thinking":"a"}]}` + "\n" + `{"thinking_blocks":[{"type":"thinking","thinking":"b"}]}` + "\n" + `{"thinking_blocks":[{"type":"thinking","thinking":"","signature":"s"}]}` + "\n" +
				`{"thinking_blocks":[{"type":"redacted_thinking","data":"r"}]}` + "\n" + `{"thinking_blocks":[{"type":"thinking","thinking":"c"}]}`,
			`{"role":"assistant","content":null,"thinking_blocks":[{"type":"thinking","thinking":"ab","signature":"s"},{"type":"redacted_thinking","data":"r"},{"type":"thinking","thinking":"c"}]}`,
		},
		"content in parts": {
			text("") + "\n" + `{"content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]}]}` + "\n" + text("a") + "\n" + text("b"),
			`{"role":"assistant","content":[{"type":"thinking","thinking":[{"type":"text","text":"t"}]},{"type":"text","text":"ab"}]}`,
		},
		"a signature on the call": {
			`{"tool_calls":[{"extra_content":{"google":{"thought_signature":"s<"}},"function":{"arguments":"{}","name":"kb_x","z":1},"id":"c1","type":"function"}]}`,
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"function","function":{"name":"kb_x","arguments":"{}","z":1},"extra_content":{"google":{"thought_signature":"s<"}}}]}`,
		},
		"a custom tool's": {
			`{"tool_calls":[{"index":0,"id":"c1","custom":{"name":"kb_x","input":"a"}}]}` + "\n" + `{"tool_calls":[{"index":0,"custom":{"input":"b"}}]}`,
			`{"role":"assistant","content":null,"tool_calls":[{"id":"c1","type":"custom","custom":{"name":"kb_x","input":"ab"}}]}`,
		},
		"speech": {`{"audio":{"id":"audio_1","transcript":"a"}}` + "\n" + `{"audio":{"data":"AAA"}}`, `{"role":"assistant","content":null,"audio":{"id":"audio_1"}}`},
	}
	for name, tt := range tests {
		s := chat.New().Splice(mine)
		pour(s, wire.SSE, said{n: 1, deltas: strings.Split(tt.deltas, "\n"), finish: "tool_calls"}.stream())
		if diff := cmp.Diff(tt.want, string(s.Said().Raw)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Of a member that stands twice the last is read, and the client sees no other.
func TestSpliceTwice(t *testing.T) {
	t.Parallel()
	const head = `data: {"id":"c","created":1,"choices":[{"index":0,"delta":`
	own := called("k", "kb_x", "{}")
	s := chat.New().Splice(mine)
	shown := joined(pour(s, wire.SSE, []byte(head+`{"tool_calls":[`+called("t", "shell", "{}")+`]}}],`+
		`"choices" : [{"index":0,"delta":{"content":"x","tool_calls":[`+own+`]}}],"z":1}`+"\n\n")))
	if want := `data: {"id":"c","created":1,"choices" : [{"index":0,"delta":{"content":"x"}}],"z":1}` + "\n\n"; string(shown) != want {
		t.Errorf("the client sees\n%swant\n%s", shown, want)
	}
	if said := s.Said(); len(said.Mine) != 1 || len(said.Others) > 0 {
		t.Errorf("calls %v, %v", said.Mine, said.Others)
	}
	s.End(false)
	shown = joined(pour(s, wire.SSE, []byte(`data: {`+strings.Repeat(`"id":"d",`, 9)+strings.Repeat(`"created":2,`, 9)+`"choices":[{"delta":{"content":"y"}}]}`+"\n\n")))
	if want := `data: {"id":"c","created":1,"choices":[{"delta":{"content":"y"}}]}` + "\n\n"; string(shown) != want {
		t.Errorf("the client sees\n%swant\n%s", shown, want)
	}

	content := strings.Repeat("c", 10_000)
	bodies, said := feed(wire.JSON,
		said{n: 1, deltas: []string{`{"content":"` + content + `","audio":{"id":"` + content + `"},"tool_calls":[` + own + `]}`}, finish: "tool_calls"}.body(),
		said{n: 2, deltas: []string{`{` + strings.Repeat(`"content":"",`, 100) + strings.Repeat(`"audio":{"id":"`+content[:1000]+`"},`, 2) + strings.Repeat(`"audio":{},`, 100) + `"x":1}`}, finish: "stop"}.body(),
	)
	if n := len(joined(bodies)); n > 20_000 || len(said[1].Raw) > 5_000 {
		t.Errorf("the client sees %d bytes, the model said %d", n, len(said[1].Raw))
	}
}

// What one turn brings is not put into each chunk of the next, if it is large.
func TestSpliceLarge(t *testing.T) {
	t.Parallel()
	large := strings.Repeat("x", 20_000)
	own := `"choices":[{"delta":{"role":"assistant","tool_calls":[` + called("k", "kb_x", "{}") + `]},"finish_reason":"tool_calls"}]`
	for name, tt := range map[string]struct{ first, chunk, want string }{
		"a usage":            {`{"id":"c",` + own + `,"usage":{"note":"` + large + `"}}`, `{"id":"c","choices":[],"usage":{}}`, ``},
		"usages, in the sum": {`{"id":"c",` + own + `,"usage":{"a":"` + large[:5000] + `"}}`, `{"id":"c","choices":[],"usage":{"b":"` + large[:5000] + `"}}`, ``},
		"an id":              {`{"id":"` + large + `",` + own + `}`, `{"id":"d","choices":[{"delta":{"content":"y"}}]}`, `data: {"id":"d","choices":[{"delta":{"content":"y"}}]}` + "\n\n"},
		"when it was made":   {`{"id":"c","created":"` + large + `",` + own + `}`, `{"id":"d","created":1,"choices":[{"delta":{"content":"y"}}]}`, `data: {"id":"d","created":1,"choices":[{"delta":{"content":"y"}}]}` + "\n\n"},
	} {
		s := chat.New().Splice(mine)
		pour(s, wire.SSE, []byte("data: "+tt.first+"\n\n"))
		s.End(false)
		if shown := joined(pour(s, wire.SSE, []byte("data: "+tt.chunk+"\n\n"))); string(shown) != tt.want {
			t.Errorf("%s: the client sees\n%.200s, want\n%s", name, shown, tt.want)
		}
		s.End(false)
		pour(s, wire.SSE, []byte(`data: {"id":"c","choices":[],"usage":{"prompt_tokens":1}}`+"\n\n"))
		if shown := joined(s.End(true)); len(shown) > 6_000 || !strings.Contains(string(shown), `"prompt_tokens":1`) {
			t.Errorf("%s: the client sees in the end\n%.200s", name, shown)
		}
	}
	// One that is large is shown as it is; what others say is added to it no more than it to them.
	last := `data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"note":"` + large + `"}}` + "\n\n"
	s := chat.New().Splice(mine)
	pour(s, wire.SSE, []byte(`data: {"id":"c",`+own+`,"usage":{"prompt_tokens":2}}`+"\n\n"))
	s.End(false)
	if shown := append(joined(pour(s, wire.SSE, []byte(last))), joined(s.End(true))...); string(shown) != last {
		t.Errorf("the client sees\n%.200s", shown)
	}
}

// A usage that says nothing does not take away the one before.
func TestSpliceEmptyUsage(t *testing.T) {
	t.Parallel()
	shown, _ := feed(wire.SSE, []byte(`data: {"id":"c","choices":[{"delta":{"tool_calls":[`+called("k", "kb_x", "{}")+`]},"finish_reason":"tool_calls"}],"usage":{"prompt_tokens":1}}`+"\n\n"+
		`data: {"id":"c","choices":[],"usage":{}}`+"\n\n"),
		[]byte(`data: {"id":"d","choices":[],"usage":{"prompt_tokens":2}}`+"\n\n"+`data: {"id":"d","choices":[],"usage":{}}`+"\n\n"))
	if want := `data: {"id":"c","choices":[],"usage":{"prompt_tokens":3}}` + "\n\n"; string(joined(shown)) != want {
		t.Errorf("the client sees\n%s", joined(shown))
	}
}

func BenchmarkSplice(b *testing.B) {
	s := chat.New().Splice(mine)
	e := event(`{"id":"chatcmpl-1","object":"chat.completion.chunk","created":1764000000,"model":"gpt-4.1","service_tier":"default",` +
		`"choices":[{"index":0,"delta":{"content":"Hello, how are you today?"},"logprobs":null,"finish_reason":null}],"usage":null,"obfuscation":"q8"}`)
	b.ReportAllocs()
	for b.Loop() {
		s.Event(e)
	}
}
