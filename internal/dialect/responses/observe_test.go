package responses_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// observed is what is told of a stream of these events, of which everything is kept.
func observed(events ...string) llm.Turn {
	o := responses.Dialect{Keep: dialect.Keep{Arguments: true, Reasoning: true, Limit: 1 << 20}}.Observe()
	r := wire.NewReader(wire.SSE, strings.NewReader("data: "+strings.Join(events, "\n\ndata: ")+"\n\n"))
	for e, err := r.Next(); err == nil; e, err = r.Next() {
		o.Event(e)
	}
	return o.Turn()
}

// told is what is told of the calls.
func told(t llm.Turn) string {
	var all []string
	for _, c := range t.Calls {
		all = append(all, fmt.Sprintf("%s(%s)", c.ID, c.Arguments))
	}
	return strings.Join(all, " ")
}

func calling(id, arguments string) string {
	return `{"type":"function_call","id":"fc_` + id + `","call_id":"` + id + `","name":"f","arguments":"` + arguments + `"}`
}

// an event about an item; without a place it has no output_index.
func itemEvent(kind, place, item string) string {
	if place != "" {
		place = `"output_index":` + place + `,`
	}
	return `{"type":"response.output_item.` + kind + `",` + place + `"item":` + item + `}`
}

func argues(rest string) string {
	return `{"type":"response.function_call_arguments.delta","sequence_number":5,` + rest + `}`
}

func completed(output string) string {
	return `{"type":"response.completed","response":{"id":"resp_1","status":"completed","output":[` + output + `]}}`
}

// Pieces of arguments belong to the call that they name, whatever form they have.
func TestPiecesFindTheirCall(t *testing.T) {
	t.Parallel()
	one := itemEvent("added", "0", calling("a", ""))
	both := one + "\n\ndata: " + itemEvent("added", "1", calling("b", ""))
	same := one + "\n\ndata: " + itemEvent("added", "0", calling("b", ""))
	for name, tt := range map[string]struct {
		begin  string
		pieces []string
		want   string
	}{
		"usual":                   {one, []string{`"item_id":"fc_a","output_index":0,"delta":"A"`}, "a(A)"},
		"padded":                  {one, []string{`"item_id":"fc_a","output_index":0,"delta":"A","obfuscation":"x1"`}, "a(A)"},
		"of another place":        {one, []string{`"item_id":"fc_a","output_index":0,"delta":"A"`, `"item_id":"fc_b","output_index":1,"delta":"B"`}, "a(A)"},
		"of another place, alone": {one, []string{`"output_index":1,"delta":"B"`}, "a()"},
		"two by their places":     {both, []string{`"output_index":1,"delta":"B"`, `"output_index":0,"delta":"A"`}, "a(A) b(B)"},
		"two of one place":        {same, []string{`"item_id":"fc_a","output_index":0,"delta":"A"`, `"item_id":"fc_b","output_index":0,"delta":"B"`}, "a(A) b(B)"},
		"ids that change":         {both, []string{`"item_id":"x","output_index":1,"delta":"B"`, `"item_id":"y","output_index":0,"delta":"A"`}, "a(A) b(B)"},
		"an id with escapes":      {same, []string{`"item_id":"fc\u005fa","output_index":0,"delta":"A"`}, "a(A) b()"},
		"spaced":                  {one, []string{`"item_id" : "fc_a", "output_index" : 0, "delta" : "A"`}, "a(A)"},
		"beside another's":        {one, []string{`"x":{"delta":"no"},"output_index":0,"delta":"A"`}, "a(A)"},
		"beside none":             {one, []string{`"x":{"delta":null},"output_index":0,"delta":"A"`}, "a(A)"},
		"twice":                   {one, []string{`"item_id":"fc_a","output_index":0,"delta":"no","delta":"A"`}, "a(A)"},
		"twice, behind a pad":     {one, []string{`"item_id":"fc_a","output_index":0,"delta":"no","obfuscation":"x1","delta":"A"`}, "a(A)"},
		"escaped":                 {one, []string{`"item_id":"fc_a","output_index":0,"\u0064elta":"A"`}, "a(A)"},
	} {
		events := []string{tt.begin}
		for _, p := range tt.pieces {
			events = append(events, argues(p))
		}
		if got := told(observed(events...)); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// What comes twice is one, and what never ended is what the end says.
func TestWhatComesTwice(t *testing.T) {
	t.Parallel()
	a, b, found := calling("a", "A"), calling("b", "B"), search("ws_1")
	other := strings.Replace(found, "ws_1", "ws_2", 1)
	begun := `{"type":"response.created","response":{"id":"resp_1","status":"in_progress","output":[` + found + `]}}`
	for name, tt := range map[string]struct {
		events   []string
		calls    string
		searches int64
	}{
		"an end":             {[]string{completed(found), completed(found)}, `ws_1({"type":"search","query":"x"})`, 1},
		"an item":            {[]string{itemEvent("done", "0", found), itemEvent("done", "0", found)}, `ws_1({"type":"search","query":"x"})`, 1},
		"an item that began": {[]string{itemEvent("added", "0", a), itemEvent("added", "0", a), itemEvent("done", "0", a), itemEvent("added", "0", a)}, "a(A)", 0},
		"two of one form": {
			[]string{itemEvent("done", "0", found), itemEvent("done", "1", other)},
			`ws_1({"type":"search","query":"x"}) ws_2({"type":"search","query":"x"})`, 2,
		},
		"items without a name": {
			[]string{itemEvent("done", "0", `{"type":"web_search_call","status":"completed"}`), itemEvent("done", "1", `{"type":"web_search_call","status":"completed"}`)},
			`() ()`, 2,
		},
		"a beginning with its output": {[]string{begun, itemEvent("done", "0", found), completed(found)}, `ws_1({"type":"search","query":"x"})`, 1},
		"calls without places": {
			[]string{itemEvent("added", "", calling("a", "")), itemEvent("added", "", calling("b", "")), itemEvent("done", "", b), itemEvent("done", "", a)},
			"a(A) b(B)", 0,
		},
		"another kind without places": {
			[]string{itemEvent("added", "", calling("a", "")), itemEvent("done", "", reasoning("rs")), argues(`"delta":"A"`)}, "a(A)", 0,
		},
		"a call that is never done":          {[]string{itemEvent("added", "0", calling("a", "")), completed(b + "," + a)}, "a(A)", 0},
		"one whose end leaves out arguments": {[]string{itemEvent("added", "0", calling("a", "A")), completed(calling("a", ""))}, "a(A)", 0},
		"calls that were done":               {[]string{itemEvent("added", "0", calling("a", "")), itemEvent("done", "1", b), completed(b + "," + a)}, "a(A) b(B)", 0},
	} {
		got := observed(tt.events...)
		if calls := told(got); calls != tt.calls || got.Searches != tt.searches {
			t.Errorf("%s: %s and %d searches, want %s and %d", name, calls, got.Searches, tt.calls, tt.searches)
		}
	}
}

// What a done item repeats stands in the place of what came of the same kind.
func TestThoughtsKeepTheirKind(t *testing.T) {
	t.Parallel()
	thought := `{"type":"response.reasoning_text.delta","item_id":"rs","output_index":0,"content_index":0,"delta":"long"}`
	sum := `{"type":"response.reasoning_summary_text.delta","item_id":"rs","output_index":0,"summary_index":0,"delta":"su"}`
	bare := strings.Replace(sum, `"summary_index":0,`, "", 1)
	done := itemEvent("done", "0", `{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"sum"}]}`)
	for name, tt := range map[string]struct {
		events []string
		want   string
	}{
		"a summary behind":   {[]string{thought, sum, done}, "[long sum]"},
		"a summary before":   {[]string{sum, thought, done}, "[sum long]"},
		"without an index":   {[]string{thought, bare, done}, "[long sum]"},
		"done twice":         {[]string{sum, done, done}, "[sum]"},
		"done at the end":    {[]string{itemEvent("added", "1", calling("a", "")), sum, completed(`{"type":"reasoning","id":"rs","summary":[{"type":"summary_text","text":"sum"}]}`)}, "[sum]"},
		"not done":           {[]string{sum, thought}, "[su long]"},
		"an empty one first": {[]string{strings.Replace(sum, `_index":0,"d`, `_index":1,"d`, 1), strings.Replace(done, `[{`, `[{"text":""},{`, 1)}, "[sum]"},
	} {
		var got []string
		for _, x := range observed(tt.events...).Thoughts {
			got = append(got, x.Text)
		}
		if fmt.Sprint(got) != tt.want {
			t.Errorf("%s: %q, want %s", name, got, tt.want)
		}
	}
}

// An error is the end, whatever comes behind it; a beginning behind the end tells nothing.
func TestEndsStay(t *testing.T) {
	t.Parallel()
	end, begin := completed(""), `{"type":"response.created","response":{"id":"resp_1"}}`
	for name, tt := range map[string]struct {
		events   []string
		stop     string
		complete bool
	}{
		"completed":           {[]string{begin, end}, "completed", true},
		"failed before":       {[]string{`{"type":"response.failed","response":{"id":"resp_1","status":"failed"}}`, end}, "completed", false},
		"an error before":     {[]string{`{"type":"error","code":"server_error"}`, end}, "completed", false},
		"an end that failed":  {[]string{strings.Replace(end, `"completed"`, `"failed"`, 2), end}, "completed", false},
		"a beginning behind":  {[]string{end, begin}, "completed", true},
		"an end without more": {[]string{end, `{"type":"response.completed","response":{"id":"resp_1"}}`}, "completed", true},
	} {
		if got := observed(tt.events...); got.Stop != tt.stop || got.Complete != tt.complete {
			t.Errorf("%s: it stopped by %q, complete %t, want %q, %t", name, got.Stop, got.Complete, tt.stop, tt.complete)
		}
	}
}

// FuzzPieces holds the short reading of a piece against the whole one, which a space brings about.
func FuzzPieces(f *testing.F) {
	for _, rest := range []string{
		`"item_id":"fc_a","output_index":0,"delta":"A"`, `"item_id":"fc_b","output_index":0,"delta":"B","obfuscation":"x1"`,
		`"item_id":"fc_c","output_index":1,"delta":"C","delta":"D"`, `"item_id":"fc_a","output_index":1,"delta":"A","obfuscation":"x","item_id":"fc_b"`,
	} {
		f.Add(`"sequence_number":5,` + rest)
	}
	f.Fuzz(func(t *testing.T, rest string) {
		event := `{"type":"response.function_call_arguments.delta",` + rest + `}`
		if !json.Valid([]byte(event)) || strings.ContainsAny(rest, "\r\n") {
			return
		}
		open := []string{itemEvent("added", "0", calling("a", "")), itemEvent("added", "1", calling("b", "")), itemEvent("added", "1", calling("c", ""))}
		short, whole := told(observed(append(open, event)...)), told(observed(append(open, "{ "+event[1:])...))
		if short != whole {
			t.Errorf("%s: %s, read whole %s", event, short, whole)
		}
	})
}
