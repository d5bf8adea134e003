package messages_test

import (
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
		start: block(`{"type":"text","text":"LARGE"}`),
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
