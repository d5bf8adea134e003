package chat_test

import (
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/wire"
)

func TestFlood(t *testing.T) { // not a parallel one: it measures the heap
	delta := func(members string) string {
		return `data: {"id":"c","choices":[{"index":0,"delta":{` + members + `}}]}` + "\n\n"
	}
	for _, event := range []string{
		delta(`"content":"LARGE"`),
		delta(`"NUMBERLARGE":""`),
		delta(`"reasoning_details":[{"type":"x","data":"LARGE"}]`),
		delta(`"tool_calls":[{"index":0,"function":{"arguments":"LARGE"}}]`), // whose name never comes
		delta(`"tool_calls":[{"index":0,"id":"c0","function":{"name":"shell","arguments":"LARGE"}}]`),
		delta(`"tool_calls":[{"index":"NUMBERLARGE","function":{"name":"shell"}}]`),
		delta(`"tool_calls":[{"index":NUMBER,"id":"LARGE","function":{"name":"shell"}}]`),
	} {
		dialecttest.Flood(t, chat.New(), delta(`"role":"assistant"`), event)
	}
}

// What is small on the wire may be large in memory, or slow to look through.
func TestSpliceManyOfOne(t *testing.T) {
	t.Parallel()
	var names strings.Builder
	for i := range 300 {
		names.WriteString(`"m` + strconv.Itoa(i) + `":1,`)
	}
	members, ones := names.String(), `[`+strings.Repeat("1,", 140_000)+`1]`
	for name, tt := range map[string]struct {
		delta         string
		cut, blocking bool
	}{
		"not too many elements":   {`"content":[` + strings.Repeat("1,", 10_000) + `1]`, false, false},
		"elements":                {`"content":` + ones, true, false},
		"elements of reasoning":   {`"reasoning_details":[` + strings.Repeat(`{"type":"thinking","index":1},{"type":"thinking","index":2},`, 25_000) + `1]`, true, false},
		"a list in an element":    {`"reasoning_details":[{"type":"thinking","text":` + ones + `}]`, true, false},
		"fragments of no call":    {`"tool_calls":[` + strings.Repeat("0,", 530_000) + `0]`, true, false},
		"members":                 {members + `"x":1`, true, false},
		"members of a message":    {members + `"x":1`, true, true},
		"members of a call":       {`"tool_calls":[{"function":{"name":"a"},` + members + `"x":1}]`, true, false},
		"members of a function":   {`"tool_calls":[{"function":{` + members + `"name":"a"}}]`, true, false},
		"members of reasoning":    {`"reasoning_details":[{"type":"thinking",` + members + `"x":1}]`, true, false},
		"the same member, always": {strings.Repeat(`"x":"",`, 10_000) + `"x":""`, false, false},
	} {
		answer := said{n: 1, deltas: []string{"{" + tt.delta + "}"}, finish: "stop"}
		framing, body := wire.SSE, answer.stream()
		if tt.blocking {
			framing, body = wire.JSON, answer.body()
		}
		s := chat.New().Splice(mine)
		shown := joined(pour(s, framing, body))
		if s := s.Said(); s.Cut != tt.cut || tt.cut && len(s.Raw) > 1<<10 {
			t.Errorf("%s: cut %t, %d bytes are kept", name, s.Cut, len(s.Raw))
		}
		if string(shown) != string(body) {
			t.Errorf("%s: the client sees %d bytes of %d", name, len(shown), len(body))
		}
	}
}
