package responses_test

import (
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
)

func TestFlood(t *testing.T) { // not a parallel one: it measures the heap
	const created = `data: {"type":"response.created","sequence_number":0,"response":{"id":"resp_1"}}` + "\n\n"
	dialecttest.Flood(t, responses.New(), created, `data: {"type":"response.output_item.done","output_index":0,"item":{"type":"message","id":"msg_1","content":[{"type":"output_text","text":"LARGE"}]}}`+"\n\n")
	dialecttest.Flood(t, responses.New(), created, `data: {"type":"response.output_item.added","output_index":NUMBER,"item":{"type":"message","id":"msg_NUMBERLARGE"}}`+"\n\n")
}
