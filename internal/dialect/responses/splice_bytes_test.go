package responses_test

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// All bytes of a stream that need not differ stay: a turn with a call, and the answer.
func TestSpliceBytes(t *testing.T) {
	t.Parallel()
	file := func(name string) []byte {
		body, err := os.ReadFile(filepath.Join("testdata", name))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	s := responses.New().Splice(func(name string) bool { return name == "f" })
	shown := pour(s, wire.SSE, file("tools.sse"))
	shown = append(shown, s.End(false)...)
	shown = append(shown, pour(s, wire.SSE, file("text.sse"))...)
	for _, e := range s.End(true) {
		shown = append(shown, e.Clone())
	}
	if diff := cmp.Diff(strings.Split(string(file("loop/tools-text.sse")), "\n"), strings.Split(string(joined(shown)), "\n")); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
}

// The checker itself must see what is wrong.
func TestStrictResponses(t *testing.T) {
	t.Parallel()
	good := said{id: "resp_1", items: []string{reasoning("rs_1"), message("msg_1", "a b"), call("1", "shell")}}
	tests := map[string]struct{ old, with, want string }{
		"a number left out":     {`"sequence_number":5`, `"sequence_number":6`, "sequence number"},
		"no number":             {`"sequence_number":5,`, ``, "sequence number"},
		"another name":          {"event: response.output_text.delta\n", "event: response.text.delta\n", "is not the type"},
		"no JSON":               {`"sequence_number":5`, `"sequence_number":05`, "no JSON"},
		"another answer's end":  {`"sequence_number":17,"response":{"id":"resp_1"`, `"sequence_number":17,"response":{"id":"resp_2"`, "want \"resp_1\""},
		"an index left out":     {`"output_index":1`, `"output_index":2`, "the index is 2"},
		"another item":          {`"item_id":"msg_1"`, `"item_id":"msg_2"`, "the item at 1"},
		"an item shown twice":   {`"id":"fc_1","type":"function_call","status":"completed"`, `"id":"fc_2","type":"function_call","status":"completed"`, "another item"},
		"no start":              {"response.created", "response.new", "before the start"},
		"two starts":            {"response.in_progress", "response.created", "a second start"},
		"no end":                {"response.completed", "response.new", "has no end"},
		"an early end":          {"response.reasoning_summary_part.done", "error", "after the end"},
		"an item less":          {`"output":[` + reasoning("rs_1") + `,`, `"output":[`, "2 items at the end"},
		"a part not closed":     {"response.reasoning_summary_part.done", "response.new", "a part is open"},
		"a part never opened":   {"response.content_part.added", "response.new", "not open"},
		"a part's index":        {`"content_index":0,"part":{"type":"output_text","text":""}`, `"content_index":1,"part":{"type":"output_text","text":""}`, "the part's index"},
		"an item not done":      {"response.output_item.done\ndata: {\"type\":\"response.output_item.done\",\"sequence_number\":16", "response.x\ndata: {\"type\":\"response.x\",\"sequence_number\":16,\"item_id\":\"fc_1\"", "is not done"},
		"begun again":           {"response.function_call_arguments.done", "response.in_progress", "has come before"},
		"of no item":            {`"output_index":0,"summary_index"`, `"output_index":7,"summary_index"`, "of no item"},
		"of an item that ended": {`"item_id":"msg_1","output_index":1`, `"item_id":"rs_1","output_index":0`, "that is done"},
	}
	check := func(body []byte) error {
		var events []wire.Event
		r := wire.NewReader(wire.SSE, bytes.NewReader(body))
		for e, err := r.Next(); err == nil; e, err = r.Next() {
			events = append(events, e.Clone())
		}
		return dialecttest.StrictResponses(events)
	}
	if err := check(good.stream()); err != nil {
		t.Errorf("a good stream: %v", err)
	}
	for name, tt := range tests {
		bad := bytes.ReplaceAll(good.stream(), []byte(tt.old), []byte(tt.with))
		if err := check(bad); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %.200v, want %q", name, err, tt.want)
		}
	}
}
