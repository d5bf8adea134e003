package chat_test

import (
	"strings"
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

func TestSpliceBodies(t *testing.T) {
	t.Parallel()
	own, other := called("k0", "kb_x", "{}"), called("c1", "shell", "{}")
	whole := func(n, message, finish, usage string) string {
		return `{"id":"chatcmpl-` + n + `","created":176400000` + n + `,"object":"chat.completion","choices": [ {"index":0, "message": ` + message + `,"finish_reason":"` + finish + `"}], "usage": ` + usage + " }\n"
	}
	first := said{n: 1, deltas: []string{`{"role":"assistant","content":"a<\u00e9","refusal":null,"reasoning_details":[{"type":"x"}],"tool_calls":[` + own + `]}`}, finish: "tool_calls", usage: true}
	const sum = `{"prompt_tokens":3,"completion_tokens":23,"prompt_tokens_details":{"cached_tokens":3},"note":"<2>"}`
	tests := map[string]struct {
		turns []said
		want  string
		raw   string // of the last turn
		mine  int    // in the last turn
		cut   bool
	}{
		"text before the call and after": {
			turns: []said{first, {n: 2, deltas: []string{`{"role":"assistant", "content":"b","refusal":null,"reasoning_details":[1]}`}, finish: "stop", usage: true}},
			want:  whole("1", `{"role":"assistant", "content":"a<\u00e9b","refusal":null,"reasoning_details":[{"type":"x"},1]}`, "stop", sum),
			raw:   `{"role":"assistant", "content":"b","refusal":null,"reasoning_details":[1]}`,
		},
		"members that only one turn has": {
			turns: []said{first, {n: 2, deltas: []string{`{"role":"assistant","content":null,"annotations":[]}`}, finish: "stop", usage: true}},
			want:  whole("1", `{"role":"assistant","content":"a<\u00e9","annotations":[],"refusal":null,"reasoning_details":[{"type":"x"}]}`, "stop", sum),
			raw:   `{"role":"assistant","content":null,"annotations":[]}`,
		},
		"calls of both kinds at once": {
			turns: []said{{n: 1, deltas: []string{`{"role":"assistant","content":null, "tool_calls":[ ` + own + ` , ` + other + ` ],"x":1.0}`}, finish: "tool_calls", usage: true}},
			want:  whole("1", `{"role":"assistant","content":null, "tool_calls":[ `+other+` ],"x":1.0}`, "tool_calls", said{n: 1}.used()),
			raw:   `{"role":"assistant","content":null, "tool_calls":[ ` + own + ` , ` + other + ` ],"x":1.0}`, mine: 1,
		},
		"the client's in the second turn": {
			turns: []said{first, {n: 2, deltas: []string{`{"role":"assistant","content":null,"tool_calls":[` + other + `]}`}, finish: "tool_calls", usage: true}},
			want:  whole("1", `{"role":"assistant","content":"a<\u00e9","tool_calls":[`+other+`],"refusal":null,"reasoning_details":[{"type":"x"}]}`, "tool_calls", sum),
			raw:   `{"role":"assistant","content":null,"tool_calls":[` + other + `]}`,
		},
		"calls to the last": {
			turns: []said{first, {n: 2, deltas: []string{`{"role":"assistant","content":null,"tool_calls":[` + own + `]}`}, finish: "tool_calls", usage: true}},
			want:  whole("1", `{"role":"assistant","content":"a<\u00e9","refusal":null,"reasoning_details":[{"type":"x"}]}`, "stop", sum),
			raw:   `{"role":"assistant","content":null,"tool_calls":[` + own + `]}`, mine: 1,
		},
		"too long inside a call": {
			turns: []said{{n: 1, deltas: []string{`{"role":"assistant","content":"a","tool_calls":[` + called("k0", "kb_x", `{\"q`) + `]}`}, finish: "length", usage: true}},
			want:  whole("1", `{"role":"assistant","content":"a"}`, "length", said{n: 1}.used()),
			raw:   `{"role":"assistant","content":"a","tool_calls":[` + called("k0", "kb_x", `{\"q`) + `]}`, mine: 1, cut: true,
		},
		"no id, no role, speech": {
			turns: []said{{n: 1, deltas: []string{`{"content":"a","audio":{"id":"audio_1","data":"AAA"},"tool_calls":[{"id":"","function":{"name":"kb_x","arguments":{"a": 1}}}]}`}, finish: "tool_calls", usage: true}},
			want:  whole("1", `{"content":"a","audio":{"id":"audio_1","data":"AAA"}}`, "stop", said{n: 1}.used()),
			raw:   `{"content":"a","audio":{"id":"audio_1"},"tool_calls":[{"id":"call_kb_0","type":"function","function":{"name":"kb_x","arguments":"{\"a\": 1}"}}],"role":"assistant"}`, mine: 1,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bodies [][]byte
			for _, s := range tt.turns {
				bodies = append(bodies, s.body())
			}
			shown, all := feed(wire.JSON, bodies...)
			if diff := cmp.Diff(tt.want, string(joined(shown))); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			if name != "no id, no role, speech" {
				strictly(t, wire.JSON, shown)
			}
			last := all[len(all)-1]
			if diff := cmp.Diff(tt.raw, string(last.Raw)); diff != "" || len(last.Mine) != tt.mine || last.Cut != tt.cut {
				t.Errorf("%d calls, cut %t (-want +got):\n%s", len(last.Mine), last.Cut, diff)
			}
		})
	}
}

// An error in the second turn is all that the client gets.
func TestSpliceBodyError(t *testing.T) {
	t.Parallel()
	first := said{n: 1, deltas: []string{`{"role":"assistant","content":null,"tool_calls":[` + called("k0", "kb_x", "{}") + `]}`}, finish: "tool_calls"}.body()
	for _, second := range []string{`{"error":{"message":"x"}}`, `{"error":`, `<html>`} {
		shown, all := feed(wire.JSON, first, []byte(second))
		if got := string(joined(shown)); got != second || !all[1].Cut {
			t.Errorf("%s: the client gets %s, cut %t", second, got, all[1].Cut)
		}
	}
}

// An answer too large to hold goes by; no tool is run for it.
func TestSpliceChunks(t *testing.T) {
	t.Parallel()
	body := strings.Repeat(" ", 9<<20) + string(said{n: 1, deltas: []string{`{"role":"assistant","content":null,"tool_calls":[` + called("k0", "kb_x", "{}") + `]}`}, finish: "tool_calls"}.body())
	s := chat.New().Splice(mine)
	got := joined(pour(s, wire.JSON, []byte(body)))
	said := s.Said()
	if got = append(got, joined(s.End(true))...); string(got) != body || !said.Cut {
		t.Errorf("%d of %d bytes, cut %t", len(got), len(body), said.Cut)
	}
}
