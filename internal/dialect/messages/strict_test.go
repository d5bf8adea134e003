package messages_test

import (
	"strings"
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/wire"
)

// The strict reader is strict.
func TestStrictMessages(t *testing.T) {
	t.Parallel()
	good := answer{id: "a", blocks: []string{plan, cited, searched, theirs("t1")}, stop: "tool_use"}.stream(source())
	read := func(body string) error {
		var events []wire.Event
		reader := wire.NewReader(wire.SSE, strings.NewReader(body))
		for e, err := reader.Next(); err == nil; e, err = reader.Next() {
			events = append(events, e.Clone())
		}
		return dialecttest.StrictMessages(events)
	}
	if err := read(good); err != nil {
		t.Fatal(err)
	}
	events := strings.SplitAfter(good, "\n\n")
	for name, bad := range map[string]string{
		"no end":            strings.Join(events[:len(events)-2], ""),
		"two ends":          good + events[len(events)-2],
		"two starts":        events[0] + good,
		"no start":          strings.Join(events[1:], ""),
		"no blank line":     strings.TrimRight(good, "\n"),
		"a gap":             strings.ReplaceAll(good, `"index":3`, `"index":4`),
		"from one":          strings.NewReplacer(`"index":0`, `"index":1`, `"index":1`, `"index":2`).Replace(good),
		"not closed":        strings.ReplaceAll(good, `{"type":"content_block_stop","index":1}`, `{"type":"content_block_stop","index":0}`),
		"other name":        strings.Replace(good, "event: message_delta", "event: message_data", 1),
		"other kind":        strings.ReplaceAll(good, `"type":"thinking_delta"`, `"type":"text_delta"`),
		"a promise":         strings.ReplaceAll(good, `"type":"tool_use"`, `"type":"server_tool_use"`),
		"no reason":         strings.ReplaceAll(good, "message_delta", "novelty"),
		"no usage":          strings.ReplaceAll(good, `"usage":{"output`, `"use":{"output`),
		"no JSON":           strings.Replace(good, `"stop_sequence":null},"usage":{"output`, `"stop_sequence":null,"usage":{"output`, 1),
		"behind its reason": events[0] + events[len(events)-3] + strings.Join(events[1:], ""),
	} {
		if err := read(bad); err == nil {
			t.Errorf("%s passes", name)
		}
	}
	body := answer{id: "a", blocks: []string{theirs("t1")}, stop: "tool_use"}.body()
	for change, into := range map[string]string{
		"": "", `"id":"a"`: `"id":""`, `"type":"message"`: `"type":"x"`, `"content"`: `"was"`, `"usage"`: `"used"`,
		`"stop_reason":"tool_use"`: `"stop_reason":null`, `"type":"tool_use"`: `"type":"x"`, `"role":"assistant"`: `"role":"user"`,
	} {
		raw := []byte(strings.Replace(body, change, into, 1))
		if err := dialecttest.StrictMessages([]wire.Event{{Raw: raw, Data: raw}}); (err == nil) != (change == "") {
			t.Errorf("%s for %s: %v", into, change, err)
		}
	}
}
