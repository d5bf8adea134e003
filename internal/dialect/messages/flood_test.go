package messages_test

import (
	"fmt"
	"strings"
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/wire"
)

func TestFlood(t *testing.T) { // not a parallel one: it measures the heap
	const start = `data: {"type":"message_start","message":{"id":"msg_1","content":[]}}` + "\n\n"
	block := func(block string) string {
		return `data: {"type":"content_block_start","index":0,"content_block":` + block + "}\n\n"
	}
	delta := func(delta string) string {
		return `data: {"type":"content_block_delta","index":0,"delta":` + delta + "}\n\n"
	}
	for begin, event := range map[string]string{
		start + block(`{"type":"text","text":""}`):                              delta(`{"type":"text_delta","text":"LARGE"}`),
		start + block(`{"type":"text","text":"","citations":[]}`):               delta(`{"type":"citations_delta","citation":{"cited_text":"LARGE"}}`),
		start + block(`{"type":"tool_use","id":"t1","name":"bash","input":{}}`): delta(`{"type":"input_json_delta","partial_json":"LARGE"}`),
		start:                             block(`{"type":"text","text":"LARGE"}`),
		start + block(`{"type":"novel"}`): `data: {"type":"content_block_start","index":"LARGENUMBER","content_block":` + theirs("t1") + "}\n\n",
	} {
		dialecttest.Flood(t, messages.New(), begin, event)
	}
}

// A block without content says nothing that could be repeated: the turn's calls are not run.
func TestBlockWithoutContent(t *testing.T) {
	t.Parallel()
	c := converse(t, wire.SSE, "event: message_start\ndata: "+`{"type":"message_start","message":{"id":"msg_a","content":[]}}`+"\n\n"+
		"event: content_block_start\ndata: "+`{"type":"content_block_start","index":0,"content_block":`+own("o1")+"}\n\n"+
		"event: content_block_stop\ndata: "+`{"type":"content_block_stop","index":0}`+"\n\n"+
		"event: content_block_start\ndata: "+`{"type":"content_block_start","index":1}`+"\n\n"+
		"event: content_block_stop\ndata: "+`{"type":"content_block_stop","index":1}`+"\n\n"+
		"event: message_delta\ndata: "+`{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}`+"\n\n"+
		"event: message_stop\ndata: "+`{"type":"message_stop"}`+"\n\n")
	if !c.saids[0].Cut {
		t.Errorf("said %s", c.saids[0].Raw)
	}
}

// What is held back is shown with the usage of its time and of the turns before, which counts.
func TestHeldUsageIsCounted(t *testing.T) {
	t.Parallel()
	for _, before := range []bool{false, true} {
		s := messages.New().Splice(mine)
		give := func(data string) []wire.Event {
			return s.Event(wire.Event{Raw: []byte("data: " + data + "\n\n"), Data: []byte(data)})
		}
		give(`{"type":"message_start","message":{"id":"msg_1","usage":{"x":"` + strings.Repeat("x", 60<<10) + `"}}}`)
		give(starts(0, own("o1")))
		give(stops(0))
		if before {
			s.End(false)
		}
		held := 0
		for held < 1000 && len(give(`{"type":"message_delta","delta":{},"usage":{"output_tokens":1}}`)) == 0 {
			held++
		}
		if held < 400 || held == 1000 {
			t.Errorf("of the turn before %t: %d are held", before, held)
		}
	}
}

// A usage without measure is not added up.
func TestUsageIsBounded(t *testing.T) {
	t.Parallel()
	start := func(usage string) string {
		return "event: message_start\ndata: " + `{"type":"message_start","message":{"id":"msg_1","content":[],"usage":` + usage + "}}\n\n"
	}
	large := strings.Repeat("x", 60<<10)
	var several, members strings.Builder
	for i := range 4000 {
		fmt.Fprintf(&members, `"m%d":1,`, i)
		if i < 10 {
			several.WriteString(start(fmt.Sprintf(`{"m%d":["%s"]}`, i, large)))
		}
	}
	for name, begin := range map[string]string{
		"one":     start(`{"m":["` + large + large + `"]}`),
		"several": several.String(),
		"members": start("{" + members.String() + `"m":1}`),
	} {
		first := answer{id: "a", blocks: []string{own("o1")}, stop: "tool_use"}.stream(source())
		c := converse(t, wire.SSE, begin+first, answer{id: "b", stop: "end_turn"}.stream(source()))
		last := c.events[len(c.events)-2].Data
		if n := len(last); n > 65<<10 || strings.Contains(string(last), `"m3999"`) || !strings.Contains(string(last), `"output_tokens":40`) {
			t.Errorf("%s: usage of %d bytes: %.300s", name, n, last)
		}
	}
}
