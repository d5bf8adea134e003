package chat_test

import (
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
)

// How most upstreams begin their chunks, and how some do.
const (
	usualHead = `{"id":"chatcmpl-1","model":"m","service_tier":"default",`
	nullHead  = `{"id":null,"model":null,"service_tier":null,`
	emptyHead = `{"id":"","model":"","service_tier":"",`
)

// Of a long stream next to nothing is to be read in full, be it one that does not tell
// whose answer it is.
func TestGlance(t *testing.T) {
	t.Parallel()
	deltas := map[string]string{
		"text":      `{"content":"a"}`,
		"arguments": `{"tool_calls":[{"index":0,"function":{"arguments":"a"}}]}`,
		"reasoning": `{"content":null,"reasoning_content":"a"}`,
	}
	for _, tt := range []struct {
		head string
		want bool
	}{
		{usualHead, true},
		{`{`, true},
		{nullHead, true},
		{`{"id": null, "model": null, "service_tier": null, `, true},
		{`{"id":"chatcmpl-1","model":"m","service_tier":null,`, true},
		{`{"id":null,"model":"m","service_tier":"default",`, true},
		{`{"id":"chatcmpl-1","model":null,"service_tier":"default",`, true},
		{emptyHead, false}, // the next may tell it
	} {
		for name, delta := range deltas {
			chunk := func(delta string) string {
				return tt.head + `"choices":[{"index":0,"delta":` + delta + `,"finish_reason":null}]}`
			}
			o := observing(dialect.Keep{Arguments: true, Reasoning: true, Limit: 99}).Observe()
			for _, data := range []string{`{"role":"assistant","content":"a"}`, `{"tool_calls":[{"index":0,"function":{"name":"f","arguments":"a"}}]}`, delta} {
				o.Event(event(chunk(data)))
			}
			if got := chat.Glance(o, chunk(delta)); got != tt.want {
				t.Errorf("%s… with more %s: %t", tt.head, name, got)
			}
		}
	}
}

// What such chunks do not tell is taken from the first that does.
func TestToldBehindNull(t *testing.T) {
	t.Parallel()
	for _, head := range []string{`{`, nullHead, emptyHead} {
		o := chat.New().Observe()
		for _, h := range []string{head, head, head, usualHead} {
			o.Event(event(h + `"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}]}`))
		}
		if turn := o.Turn(); turn.ID != "chatcmpl-1" || turn.Model != "m" || turn.Tier != "default" {
			t.Errorf("%s…: %+v", head, turn)
		}
	}
}
