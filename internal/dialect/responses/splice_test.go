package responses_test

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/fault"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// A turn in which the gateway has no part is the upstream's, event by event.
func TestSpliceLeavesAlone(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/*.*")
	cases := map[string][]byte{
		"built.sse":    said{id: "resp_1", items: []string{reasoning("rs_1"), message("msg_1", "a b c"), call("1", "shell"), custom("2"), search("ws_1")}}.stream(),
		"cut.sse":      said{id: "resp_1", items: []string{message("msg_1", "a b")}, status: "cut"}.stream(),
		"unclosed.sse": []byte("data: {\"type\":\"x\"}"),
		"done.sse":     append(said{id: "resp_1"}.stream(), "data: [DONE]\n\n"...),
		"odd.json":     []byte(`{"output": {"a":1}, "usage":[], "id":7}`),
		"short.json":   []byte(`{"id":"resp_1","output":[`),
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
		s := responses.New().Splice(mine)
		if got := joined(pour(s, f, body)); !bytes.Equal(got, body) {
			t.Errorf("%s: what is shown differs:\n%s", name, got)
		}
		if said := s.Said(); len(said.Mine) > 0 {
			t.Errorf("%s: calls of the gateway's: %v", name, said.Mine)
		}
		if rest := s.End(true); len(rest) > 0 {
			t.Errorf("%s: more is shown at the end: %s", name, joined(rest))
		}
	}
}

func TestSpliceStreams(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		turns []said
		want  string // what the client is shown, in brief
		mine  [][]string
		other []string // of the last turn
		cut   bool     // the last turn
	}{
		"one call, reasoning before it": {
			turns: []said{
				{id: "resp_1", items: []string{reasoning("rs_1"), call("1", "kb_x")}},
				{id: "resp_2", items: []string{message("msg_2", "so it is")}},
			},
			want: `0 created resp_1
1 in_progress resp_1
2 output_item.added @0 rs_1
3 reasoning_summary_part.added @0 rs_1
4 reasoning_summary_text.delta @0 rs_1 think <rs_1>
5 reasoning_summary_part.done @0 rs_1
6 output_item.done @0 rs_1
7 output_item.added @1 msg_2
8 content_part.added @1 msg_2
9 output_text.delta @1 msg_2 so
10 output_text.delta @1 msg_2 it
11 output_text.delta @1 msg_2 is
12 content_part.done @1 msg_2
13 output_item.done @1 msg_2
14 completed resp_1 rs_1 msg_2`,
			mine: [][]string{{"call_1"}, nil},
		},
		"two calls at once, an item between them, then a third; ends that leave items out": {
			turns: []said{
				{id: "resp_1", items: []string{call("1", "kb_x"), search("ws_1"), call("2", "kb_y")}, bare: true},
				{id: "resp_2", items: []string{search("ws_2"), call("3", "kb_x")}, bare: true},
				{id: "resp_3", items: []string{search("ws_3")}, bare: true},
			},
			want: `0 created resp_1
1 in_progress resp_1
2 output_item.added @0 ws_1
3 web_search_call.searching @0 ws_1
4 output_item.done @0 ws_1
5 output_item.added @1 ws_2
6 web_search_call.searching @1 ws_2
7 output_item.done @1 ws_2
8 output_item.added @2 ws_3
9 web_search_call.searching @2 ws_3
10 output_item.done @2 ws_3
11 completed resp_1 ws_1 ws_2 ws_3`,
			mine: [][]string{{"call_1", "call_2"}, {"call_3"}, nil},
		},
		"the client's calls beside ours": {
			turns: []said{{id: "resp_1", items: []string{search("ws_1"), call("1", "shell"), call("2", "kb_x"), custom("3")}}},
			want: `0 created resp_1
1 in_progress resp_1
2 output_item.added @0 ws_1
3 web_search_call.searching @0 ws_1
4 output_item.done @0 ws_1
5 output_item.added @1 fc_1
6 function_call_arguments.delta @1 fc_1 {"q":"1"}
7 function_call_arguments.done @1 fc_1
8 output_item.done @1 fc_1
9 output_item.added @2 ct_3
10 custom_tool_call_input.delta @2 ct_3 *** <patch>
11 output_item.done @2 ct_3
12 completed resp_1 ws_1 fc_1 ct_3`,
			mine: [][]string{{"call_2"}}, other: []string{"call_1", "call_3"},
		},
		"too long inside a call": {
			turns: []said{{id: "resp_1", items: []string{search("ws_1"), call("1", "kb_x")}, status: "incomplete"}},
			want: `0 created resp_1
1 in_progress resp_1
2 output_item.added @0 ws_1
3 web_search_call.searching @0 ws_1
4 output_item.done @0 ws_1
5 incomplete resp_1 ws_1`,
			mine: [][]string{{"call_1"}}, cut: true,
		},
		"unknown events, pings, keep-alives and an error in the second turn": {
			turns: []said{
				{id: "resp_1", items: []string{call("1", "kb_x")}, late: "event: response.new\ndata: {\"type\":\"response.new\",\"sequence_number\":6,\"output_index\":0,\"item_id\":\"fc_1\"}\n\n" +
					": ping\n\nevent: keepalive\ndata: {\"type\":\"keepalive\",\"sequence_number\":7}\n\n"},
				{id: "resp_2", status: "cut", late: "event: error\ndata: {\"type\":\"error\",\"sequence_number\":2,\"error\":{\"code\":\"server_is_overloaded\"}}\n\n"},
			},
			want: `0 created resp_1
1 in_progress resp_1
2 keepalive
3 error`,
			mine: [][]string{{"call_1"}, nil}, cut: true,
		},
		"a failure in the second turn": {
			turns: []said{
				{id: "resp_1", items: []string{search("ws_1"), call("1", "kb_x")}},
				{id: "resp_2", items: []string{call("2", "kb_x")}, status: "failed"},
			},
			want: `0 created resp_1
1 in_progress resp_1
2 output_item.added @0 ws_1
3 web_search_call.searching @0 ws_1
4 output_item.done @0 ws_1
5 failed resp_1 ws_1`,
			mine: [][]string{{"call_1"}, {"call_2"}}, cut: true,
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			shown, all := feed(t, wire.SSE, streams(tt.turns)...)
			var got []string
			for _, e := range strictly(t, shown) {
				if e.Data != nil {
					got = append(got, brief(e))
				}
			}
			if diff := cmp.Diff(tt.want, strings.Join(got, "\n")); diff != "" {
				t.Errorf("shown (-want +got):\n%s", diff)
			}
			for i, s := range all {
				own, others := callIDs(s)
				last := i == len(all)-1
				if diff := cmp.Diff(tt.mine[i], own); diff != "" || s.Cut != (last && tt.cut) || s.ID != tt.turns[i].id {
					t.Errorf("turn %d is %s, cut %t; calls (-want +got):\n%s", i, s.ID, s.Cut, diff)
				}
				if raw := "[" + strings.Join(tt.turns[i].items, ",") + "]"; tt.turns[i].status != "cut" && string(s.Raw) != raw {
					t.Errorf("turn %d said %s, want %s", i, s.Raw, raw)
				}
				if last && !slices.Equal(others, tt.other) {
					t.Errorf("calls of the client's: %v, want %v", others, tt.other)
				}
			}
		})
	}
}

// What the model says goes to the client as it comes, also between turns.
func TestSpliceHoldsNothingBack(t *testing.T) {
	t.Parallel()
	turns := []said{
		{id: "resp_1", items: []string{message("msg_1", "one moment"), call("1", "kb_x")}},
		{id: "resp_2", items: []string{message("msg_2", "there it is")}},
	}
	s := responses.New().Splice(mine)
	for i, turn := range turns {
		shown := joined(pour(s, wire.SSE, turn.stream()))
		last := turn.items[0]
		if !bytes.Contains(shown, []byte(last)) || bytes.Contains(shown, []byte("response.completed")) {
			t.Errorf("turn %d: before its end the client has seen\n%s", i, shown)
		}
		s.End(i == 1)
	}
}

func TestSpliceDocuments(t *testing.T) {
	t.Parallel()
	mixed := said{id: "resp_2", items: []string{call("2", "kb_x"), call("3", "shell")}}
	shown, all := feed(t, wire.JSON, bodies([]said{{id: "resp_1", items: []string{reasoning("rs_1"), call("1", "kb_x")}}, mixed})...)
	want := said{id: "resp_2", items: []string{reasoning("rs_1"), call("3", "shell")}}.body()
	want = bytes.Replace(want, []byte(usage),
		[]byte(`{"input_tokens":2000,"input_tokens_details":{"cached_tokens":1200},"output_tokens":100,"output_tokens_details":{"reasoning_tokens":40},"total_tokens":2100}`), 1)
	if diff := cmp.Diff(string(want), string(joined(shown))); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
	own, others := callIDs(all[1])
	if !slices.Equal(own, []string{"call_2"}) || !slices.Equal(others, []string{"call_3"}) || all[1].Cut || !all[0].Sealed || all[0].Bound {
		t.Errorf("said %+v", all)
	}
	if got := string(all[1].Mine[0].Arguments); got != `{"q":"2"}` {
		t.Errorf("arguments %s", got)
	}
}

// A document too large to hold goes by: what is in it cannot be hidden, nor run.
func TestSpliceLetsChunksBy(t *testing.T) {
	t.Parallel()
	body := said{id: "resp_1", items: []string{call("1", "kb_x"), message("msg_1", strings.Repeat("x", 9<<20))}}.body()
	shown, all := feed(t, wire.JSON, body)
	if !bytes.Equal(joined(shown), body) || !all[0].Cut {
		t.Errorf("%d bytes of %d are shown; cut %t", len(joined(shown)), len(body), all[0].Cut)
	}
}

func TestSaidTellsWhatItRefersTo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		items         []string
		bound, sealed bool
		others        []string
		cut           bool
	}{
		"text":                 {items: []string{message("m", "x")}},
		"sealed reasoning":     {items: []string{reasoning("rs_1")}, sealed: true},
		"reasoning kept":       {items: []string{`{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":null}`}, bound: true},
		"a container":          {items: []string{`{"type":"code_interpreter_call","id":"ci_1","container_id":"cntr_1"}`}, bound: true},
		"a shell of theirs":    {items: []string{`{"type":"shell_call","id":"s_1","call_id":"c_1"}`, `{"type":"shell_call_output","id":"s_2","call_id":"c_1"}`}},
		"a shell of ours":      {items: []string{`{"type":"shell_call","id":"s_1","call_id":"c_1"}`}, others: []string{"c_1"}},
		"an approval":          {items: []string{`{"type":"mcp_approval_request","id":"mcpr_1","name":"x"}`}, others: []string{"mcpr_1"}},
		"a custom tool's name": {items: []string{`{"type":"custom_tool_call","id":"c","call_id":"c_1","name":"kb_x"}`}, others: []string{"c_1"}},
		"no JSON in it":        {items: []string{call("1", "kb_x"), `{"type":"message","n":01}`}, cut: true},
	}
	for name, tt := range tests {
		_, all := feed(t, wire.JSON, said{id: "resp_1", items: tt.items}.body())
		_, others := callIDs(all[0])
		if all[0].Bound != tt.bound || all[0].Sealed != tt.sealed || all[0].Cut != tt.cut || !slices.Equal(others, tt.others) {
			t.Errorf("%s: %+v", name, all[0])
		}
	}
}

func TestRefsAreBounded(t *testing.T) {
	t.Parallel()
	items := []string{call("0", "kb_x")}
	for i := range 300 {
		items = append(items, search("ws_"+strconv.Itoa(i)))
	}
	_, all := feed(t, wire.JSON, said{id: "resp_1", items: items}.body())
	if n := len(all[0].Refs); n != 256 || all[0].Refs[0] != "ws_0" {
		t.Errorf("%d: %v", n, all[0].Refs)
	}
}

// Whatever ends a started answer is numbered as the client counts.
func TestSpliceNumbersOurErrors(t *testing.T) {
	t.Parallel()
	s, o := responses.New().Splice(mine), responses.New().Observe()
	var shown []wire.Event
	first := said{id: "resp_1", items: []string{call("1", "kb_x")}}.stream()
	r := wire.NewReader(wire.SSE, bytes.NewReader(first))
	for e, err := r.Next(); err == nil; e, err = r.Next() {
		o.Event(e)
		for _, edited := range s.Event(e) {
			shown = append(shown, edited.Clone())
		}
	}
	s.End(false)
	shown = append(shown, s.Event(o.Break(fault.New(fault.RateLimited, "busy")))...)
	strictly(t, shown)
	if got := brief(shown[len(shown)-1]); got != "2 error" {
		t.Errorf("the error is %q", got)
	}
}

// Wherever an event has its number, and whatever else goes by that name, the client counts on.
func TestSpliceNumbersAnyForm(t *testing.T) {
	t.Parallel()
	usual := regexp.MustCompile(`\{"type":("[^"]+"),"sequence_number":(\d+),(.*)\}\n\n`)
	for form, as := range map[string]string{
		"the last":      `{"type":$1,$3,"sequence_number":$2}`,
		"in the middle": `{"type":$1,"pad":"` + strings.Repeat("x", 500) + `","sequence_number":$2,$3}`,
		"spaced":        `{"type":$1,"sequence_number" : $2,$3}`,
	} {
		for _, echoed := range []string{`{"n":1.0}`, `{"sequence_number":"7"}`, `{"sequence_number":70}`} {
			var turns [][]byte
			for i, items := range [][]string{{call("1", "kb_x")}, {message("msg_2", "there it is")}} {
				stream := said{id: fmt.Sprintf("resp_%d", i), items: items}.stream()
				stream = bytes.ReplaceAll(stream, []byte(`{"n":1.0}`), []byte(echoed))
				turns = append(turns, usual.ReplaceAll(stream, []byte(as+"\n\n")))
			}
			shown, _ := feed(t, wire.SSE, turns...)
			events := strictly(t, shown)
			if got := brief(events[0]); !strings.HasPrefix(got, "0 created") {
				t.Errorf("%s, beside %s: it begins with %q", form, echoed, got)
			}
		}
	}
}

// An unclosed last event, lines in several pieces and carriage returns stay apart.
func TestSpliceKeepsEventsApart(t *testing.T) {
	t.Parallel()
	first := bytes.ReplaceAll(said{id: "resp_1", items: []string{search("ws_1"), call("1", "kb_x")}}.stream(), []byte("\n"), []byte("\r\n"))
	second := said{id: "resp_2", items: []string{search("ws_2")}}.stream()
	second = bytes.ReplaceAll(second, []byte(`,"output_index"`), []byte(",\ndata: \"output_index\""))
	for _, tail := range []string{"", ": bye", "data: [DONE]"} {
		shown, _ := feed(t, wire.SSE, append(slices.Clone(first), ": comment"...), append(slices.Clone(second), tail...))
		out := joined(shown)
		if tail == "data: [DONE]" {
			out = bytes.TrimSuffix(out, []byte(tail))
		}
		strictly(t, []wire.Event{{Raw: out}})
	}
}

// A failure is shown at once, and what comes of a call is hidden by either of its names.
func TestSpliceInParts(t *testing.T) {
	t.Parallel()
	turn := said{id: "resp_1", items: []string{search("ws_1"), call("1", "kb_x")}}
	start := func(body []byte) dialect.Splicer {
		s := responses.New().Splice(mine)
		pour(s, wire.SSE, body)
		return s
	}
	tests := map[string]struct {
		splicer dialect.Splicer
		event   string
		want    string // shown at once
		end     string // shown at the end
		cut     bool
	}{
		"a failure": {
			splicer: start(said{id: "resp_1", items: turn.items, status: "cut"}.stream()),
			event:   `{"type":"response.failed","sequence_number":9,"response":{"id":"resp_1","output":[]}}`,
			want:    `{"type":"response.failed","sequence_number":5,"response":{"id":"resp_1","output":[` + search("ws_1") + `]}}`, cut: true,
		},
		"an incomplete answer that does not say so": {
			splicer: start(said{id: "resp_1", items: turn.items, status: "cut"}.stream()),
			event:   `{"type":"response.incomplete","sequence_number":9,"response":{"id":"resp_1"}}`,
			end:     `{"type":"response.incomplete","sequence_number":5,"response":{"id":"resp_1","output":[` + search("ws_1") + `]}}`, cut: true,
		},
		"an end that breaks off": {
			splicer: start(said{id: "resp_1", items: turn.items, status: "cut"}.stream()),
			event:   `{"type":"response.completed","response":{"id":"resp_1"}`,
			want:    `{"type":"response.completed","response":{"id":"resp_1"}`, cut: true,
		},
		"an end of nothing": {
			splicer: start(said{id: "resp_1", items: turn.items, status: "cut"}.stream()),
			event:   `{"type":"response.completed","sequence_number":9}`,
			want:    `{"type":"response.completed","sequence_number":5}`, cut: true,
		},
	}
	for name, tt := range tests {
		e := dialect.SSE("", []byte(tt.event), true)
		if shown := tt.splicer.Event(e); tt.want == "" && len(shown) > 0 || tt.want != "" && string(shown[0].Data) != tt.want {
			t.Errorf("%s: shown %s, want %s", name, joined(shown), tt.want)
		}
		if tt.splicer.Said().Cut != tt.cut {
			t.Errorf("%s: cut %t", name, !tt.cut)
		}
		if end := tt.splicer.End(true); tt.end == "" && len(end) > 0 || tt.end != "" && string(end[0].Data) != tt.end {
			t.Errorf("%s: ended with %s, want %s", name, joined(end), tt.end)
		}
	}
	s := start(said{id: "resp_1", items: turn.items, status: "cut"}.stream())
	for _, data := range []string{`{"type":"response.x","output_index":1}`, `{"type":"response.x","item_id":"fc_1"}`, `{"type":"response.output_item.done","output_index":1}`} {
		if shown := s.Event(dialect.SSE("", []byte(data), true)); len(shown) > 0 {
			t.Errorf("shown: %s", joined(shown))
		}
	}
	s = start(turn.stream())
	if got := string(joined(s.Event(dialect.SSE("error", []byte(`{"type":"error","sequence_number":77}`), true)))); got != "event: error\ndata: {\"type\":\"error\",\"sequence_number\":5}\n\n" {
		t.Errorf("an error behind the end: %s", got)
	}
	if end := s.End(true); len(end) > 0 || !s.Said().Cut {
		t.Errorf("the answer has ended twice: %s", joined(end))
	}
}

// An item that is still under way when a call begins stays where it is.
func TestSpliceInterleaved(t *testing.T) {
	t.Parallel()
	s := responses.New().Splice(mine)
	var got []string
	for n, rest := range []string{
		`output_item.added","output_index":0,"item":` + search("ws_1"),
		`output_item.added","output_index":1,"item":` + call("1", "kb_x"),
		`x","output_index":0,"item_id":"ws_1"`,
		`output_item.added","output_index":2,"item":` + search("ws_2"),
		`x","output_index":0,"item_id":"ws_1"`,
		`x","output_index":2,"item_id":"ws_2"`,
	} {
		data := []byte(`{"sequence_number":` + strconv.Itoa(n) + `,"type":"response.` + rest + `}`)
		for _, e := range s.Event(dialect.SSE("", data, true)) {
			got = append(got, brief(e))
		}
	}
	want := []string{"0 output_item.added @0 ws_1", "1 x @0 ws_1", "2 output_item.added @1 ws_2", "3 x @0 ws_1", "4 x @1 ws_2"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("shown (-want +got):\n%s", diff)
	}
}

// A document that says it failed is shown as it is.
func TestSpliceFailedDocument(t *testing.T) {
	t.Parallel()
	body := said{id: "resp_1", items: []string{call("1", "kb_x")}, status: "failed"}.body()
	shown, all := feed(t, wire.JSON, body)
	if !bytes.Equal(joined(shown), body) || !all[0].Cut {
		t.Errorf("shown: %s, cut %t", joined(shown), all[0].Cut)
	}
}

// Turns that come in another form than the first cannot be shown, nor taken for whole.
func TestSpliceMixedForms(t *testing.T) {
	t.Parallel()
	turn := said{id: "resp_1", items: []string{call("1", "kb_x")}}
	for _, f := range []wire.Framing{wire.SSE, wire.JSON} {
		first, second := turn.stream(), turn.body()
		if f == wire.JSON {
			first, second = second, append([]byte(": ping\n\n"), first...)
		}
		s := responses.New().Splice(mine)
		pour(s, f, first)
		s.End(false)
		if shown := pour(s, wire.SSE+wire.JSON-f, second); len(shown) > 0 || !s.Said().Cut || len(s.End(true)) > 0 {
			t.Errorf("shown: %s", joined(shown))
		}
	}
}
