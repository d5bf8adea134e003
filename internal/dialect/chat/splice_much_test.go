package chat_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// What is kept of a stream is what it says, not what it repeats in each of its pieces.
func TestSpliceManySmall(t *testing.T) {
	t.Parallel()
	many := func(member, piece string, n int) string {
		return `{"` + member + `":[` + strings.Repeat(piece+",", n-1) + piece + `]}`
	}
	long := strings.Repeat("x", 4<<10)
	for name, tt := range map[string]struct {
		deltas []string
		times  int
		path   string // where what is said has gone
		want   int    // its length
	}{
		"reasoning": {
			[]string{many("reasoning_details", `{"type":"reasoning.text","text":"ab","format":"f","index":0}`, 100)},
			1400, "reasoning_details.0.text", 2 * 140_000,
		},
		"reasoning of a long format": {
			[]string{`{"reasoning_details":[{"type":"reasoning.text","text":"ab","format":"` + long + `","index":0}]}`},
			9000, "reasoning_details.0.text", 2 * 9000,
		},
		"a member that is no text": {[]string{`{"content":"ab","score":{"of":"` + long + `"}}`}, 9000, "content", 2 * 9000},
		"members of calls": {
			[]string{`{"tool_calls":[{"index":0,"id":"` + long + `","x":"` + long + `","function":{"name":"kb_f","y":"` + long + `","arguments":"ab"}}]}`},
			4000, "tool_calls.0.function.arguments", 2 * 4000,
		},
		"fragments": {[]string{many("tool_calls", "0", 100_000), `{"content":"ab"}`}, 6, "content", 2 * 6},
	} {
		s := chat.New().Splice(mine)
		for range tt.times {
			for _, delta := range tt.deltas {
				s.Event(event(`{"id":"c","choices":[{"index":0,"delta":` + delta + `}]}`))
			}
		}
		s.Event(event(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`))
		said := s.Said()
		if got := gjson.GetBytes(said.Raw, tt.path).Str; said.Cut || len(got) != tt.want {
			t.Errorf("%s: cut %t, %d bytes are kept of %d", name, said.Cut, len(got), tt.want)
		}
	}
}

// What has waited for the name of a call is not kept once that has come.
func TestSpliceWaitsNoMore(t *testing.T) {
	t.Parallel()
	s := chat.New().Splice(mine)
	padding := `}]}}],"obfuscation":"` + strings.Repeat("x", 1<<20) + `"}`
	for i := range 40 {
		begin := `{"choices":[{"index":0,"delta":{"tool_calls":[{"index":` + strconv.Itoa(i) + `,"function":`
		s.Event(event(begin + `{"arguments":""}` + padding))
		s.Event(event(begin + `{"name":"kb_f"}}]}}]}`))
	}
	s.Event(event(`{"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}`))
	if said := s.Said(); said.Cut || len(said.Mine) != 40 {
		t.Errorf("cut %t, %d calls", said.Cut, len(said.Mine))
	}
}

// Of a chunk in which there is too much the client sees no call that was not looked at,
// be its name where it may.
func TestSpliceFullInAChunk(t *testing.T) {
	t.Parallel()
	var members, calls strings.Builder
	for i := range 300 {
		members.WriteString(`"m` + strconv.Itoa(i) + `":1,`)
	}
	for i := range 28_000 {
		fmt.Fprintf(&calls, `,{"index":%d,"id":"c%[1]d","a":1,"b":1,"c":1,"d":1,"function":{"name":"kb_s","arguments":"{}"}}`, i)
	}
	const theirs = `{"index":900000,"id":"x","function":{"name":"theirs","arguments":"{}"}}`
	for name, list := range map[string]string{
		"calls":                       theirs + calls.String(),
		"a name in escapes":           theirs + `,{"index":0,"function":{` + members.String() + `"name":"b"}},{"index":1,"function":{"name":"kb\u005fs"}}`,
		"a name behind many members":  theirs + `,{"index":0,` + members.String() + `"function":{"name":"kb_s"}}`,
		"a name behind a function's":  theirs + `,{"index":0,"function":{` + members.String() + `"name":"kb_s"}}`,
		"a call behind that":          theirs + `,{"index":0,"function":{` + members.String() + `"name":"b"}},{"index":1,"function":{"name":"kb_s"}}`,
		"the same index, and no name": theirs + `,{"index":0,"function":{` + members.String() + `"name":"kb_s"}},{"index":0,"function":{"arguments":"of kb_s"}}`,
		"a second list of calls":      theirs + `,{"index":0,"function":{` + members.String() + `"name":"b"}}],"tool_calls":[{"index":1,"function":{"name":"kb_s"}}`,
	} {
		answer := said{n: 1, deltas: []string{`{"tool_calls":[` + list + `]}`}, finish: "tool_calls"}
		for framing, body := range map[wire.Framing][]byte{wire.SSE: answer.stream(), wire.JSON: answer.body()} {
			s := chat.New().Splice(mine)
			shown := string(joined(pour(s, framing, body)))
			if hidden := strings.Count(shown, "kb_s") + strings.Count(shown, `kb\u005fs`); hidden > 0 || !strings.Contains(shown, `"theirs"`) {
				t.Errorf("%s: %d hidden ones of %d bytes are shown", name, hidden, len(shown))
			}
			if said := s.Said(); !said.Cut || len(said.Mine)+len(said.Others) > 0 {
				t.Errorf("%s: cut %t, %d calls", name, said.Cut, len(said.Mine))
			}
		}
	}
}
