package responses_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/llm"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// exchanges keeps what is hidden as the gateway does.
func exchanges(all ...*dialect.Hidden) func(id string) *dialect.Hidden {
	byID := map[string]*dialect.Hidden{}
	for _, h := range all {
		last := h.Steps[len(h.Steps)-1].Said
		byID[h.Shown], byID[last.ID] = h, h
		for i := range h.Steps {
			for _, id := range h.Steps[i].Said.Refs {
				byID[id] = h
			}
		}
		for _, c := range last.Others {
			byID[c.ID] = h
		}
	}
	return func(id string) *dialect.Hidden { return byID[id] }
}

func hidden(steps ...dialect.Step) *dialect.Hidden {
	for i := range steps {
		steps[i].Said.ID = "resp_1" + string(rune('a'+i))
	}
	return &dialect.Hidden{Steps: steps, Shown: "resp_1a"}
}

func without(item string) string {
	return strings.Replace(item, `"id":`+gjson.Get(item, "id").Raw+`,`, "", 1)
}

func TestRecall(t *testing.T) {
	t.Parallel()
	const user, user2 = `{"role":"user","content":"hi"}`, `{"role":"user","content":"and?"}`
	rs1, c1, m2, c3, c4, ct5 := reasoning("rs_1"), call("1", "kb_x"), message("msg_2", "a <b>"), call("3", "kb_y"), call("4", "shell"), custom("5")
	mixed := func() *dialect.Hidden { return hidden(step(rs1, c1), step(m2, c3, c4, ct5)) }
	woven := func(items ...string) string { return strings.Join(items, ",") }
	whole := woven(rs1, c1, ours("1"), m2, c3, c4, ct5, ours("3"))
	silent := woven(rs1, c1, ours("1"), c3, c4, ct5, ours("3"))
	r4, r5 := result("4", "done"), `{"type":"custom_tool_call_output","call_id":"call_5","output":"ok"}`
	plain := func() *dialect.Hidden {
		h := hidden(step(reasoning("rs_7"), call("7", "kb_x")), step(message("msg_8", "so")))
		h.Shown = "resp_7a"
		h.Steps[1].Said.ID = "resp_7b"
		h.Steps[0].Said.Refs, h.Steps[1].Said.Refs = []string{"rs_7"}, []string{"msg_8"}
		return h
	}
	whole7 := strings.Join([]string{reasoning("rs_7"), call("7", "kb_x"), ours("7"), message("msg_8", "so")}, ",")
	in := func(items ...string) string {
		return `{"model":"m", "input": [ ` + strings.Join(items, " , ") + ` ], "n":1.0}`
	}
	tests := map[string]struct {
		body, want string // "": as it is
	}{
		"all of it repeated":   {in(user, rs1, m2, c4, ct5, r4, r5), in(user, whole, r4, r5)},
		"without ids":          {in(user, without(rs1), without(m2), without(c4), without(ct5), r4, r5), in(user, woven(rs1, c1, ours("1"), without(m2), c3, without(c4), without(ct5), ours("3")), r4, r5)},
		"a message in short":   {in(user, `{"role":"assistant","content":"a <b>"}`, c4, ct5, r4, r5), in(user, woven(rs1, c1, ours("1"), `{"role":"assistant","content":"a <b>"}`, c3, c4, ct5, ours("3")), r4, r5)},
		"only the calls":       {in(user, c4, r4, ct5, r5, user2), in(user, silent, r4, r5, user2)},
		"by reference":         {in(user, `{"type":"item_reference","id":"rs_1"}`, `{"type":"item_reference","id":"fc_4"}`, `{"type":"item_reference","id":"ct_5"}`, r4, r5), in(user, woven(`{"type":"item_reference","id":"rs_1"}`, c1, ours("1"), c3, `{"type":"item_reference","id":"fc_4"}`, `{"type":"item_reference","id":"ct_5"}`, ours("3")), r4, r5)},
		"further back":         {in(user, rs1, m2, c4, ct5, r4, r5, m2, user2, reasoning("rs_9")), in(user, whole, r4, r5, m2, user2, reasoning("rs_9"))},
		"a call not answered":  {body: in(user, rs1, m2, c4, ct5, r4)},
		"there already":        {body: in(user, whole, r4, r5)},
		"its calls cut away":   {body: in(user, r4, r5)},
		"nothing known":        {body: in(user, message("msg_2", "other"), r4)},
		"no list":              {body: `{"input":"call_4"}`},
		"broken":               {body: `{"previous_response_id":"resp_1a"`},
		"behind its answer":    {`{"previous_response_id":"resp_1a","input":[` + r4 + `,` + r5 + `]}`, `{"previous_response_id":"resp_1b","input":[` + ours("3") + `,` + r4 + `,` + r5 + `]}`},
		"behind its last turn": {`{"previous_response_id":"resp_1b","input":[` + user + `, ` + r5 + `,` + r4 + `]}`, `{"previous_response_id":"resp_1b","input":[` + user + `, ` + ours("3") + `,` + r5 + `,` + r4 + `]}`},
		"repeated behind another": {
			`{"previous_response_id":"resp_7a","input":[` + user + `,` + c4 + `,` + ct5 + `,` + r4 + `,` + r5 + `]}`,
			`{"previous_response_id":"resp_7b","input":[` + user + `,` + silent + `,` + r4 + `,` + r5 + `]}`,
		},
		"an answer without calls": {`{ "previous_response_id" : "resp_7a","input":"go on"}`, `{ "previous_response_id" : "resp_7b","input":"go on"}`},
		"the calls of another":    {body: `{"previous_response_id":"resp_9","input":[` + r4 + `,` + r5 + `]}`},
		"arguments changed":       {body: in(user, rs1, m2, strings.Replace(c4, `{\"q\":\"4\"}`, `{\"q\":\"5\"}`, 1), ct5, r4, r5)},
		"the id of another call":  {body: in(user, rs1, m2, c4, strings.Replace(ct5, "<patch>", "<batch>", 1), r4, r5)},
		"arguments spelled anew":  {in(user, strings.Replace(c4, `{\"q\":\"4\"}`, `{ \"q\":\"\\u0034\"}`, 1), ct5, r4, r5), in(user, strings.Replace(silent, `{\"q\":\"4\"}`, `{ \"q\":\"\\u0034\"}`, 1), r4, r5)},
		"repeated twice":          {in(user, c4, ct5, r4, r5, user2, c4, ct5, r4, r5), in(user, c4, ct5, r4, r5, user2, silent, r4, r5)},
		"its items repeated":      {in(user, reasoning("rs_7"), message("msg_8", "so"), user2), in(user, whole7, user2)},
		"its items by reference":  {in(user, `{"type":"item_reference","id":"rs_7"}`, `{"type":"item_reference","id":"msg_8"}`, user2), in(user, woven(`{"type":"item_reference","id":"rs_7"}`, call("7", "kb_x"), ours("7"), `{"type":"item_reference","id":"msg_8"}`), user2)},
		"an id twice":             {in(message("msg_8", "old"), user, reasoning("rs_7"), message("msg_8", "so"), user2), in(message("msg_8", "old"), user, whole7, user2)},
		"an id of another's":      {body: in(user, message("msg_8", "other"), user2)},
		"a message changed":       {in(user, message("msg_2", "***"), c4, ct5, r4, r5), in(user, strings.Replace(whole, "a <b>", "***", 1), r4, r5)},
		"its end without an id":   {in(user, reasoning("rs_7"), without(message("msg_8", "so")), user2), in(user, woven(reasoning("rs_7"), call("7", "kb_x"), ours("7"), without(message("msg_8", "so"))), user2)},
		"both": {
			in(user, reasoning("rs_7"), message("msg_8", "so"), user2, c4, ct5, r4, r5),
			in(user, whole7, user2, silent, r4, r5),
		},
		"one right behind the other": {
			in(user, reasoning("rs_7"), message("msg_8", "so"), m2, c4, ct5, r4, r5),
			in(user, whole7, whole, r4, r5),
		},
	}
	for name, tt := range tests {
		got, err := responses.New().Recall([]byte(tt.body), exchanges(mixed(), plain()))
		want := tt.want
		if want == "" {
			want = tt.body
		}
		if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

func TestRecallOddities(t *testing.T) {
	t.Parallel()
	c1, approval := call("1", "kb_x"), `{"id":"mcpr_1","type":"mcp_approval_request","name":"x","arguments":"{}"}`
	asks := step(c1, approval)
	asks.Said.Others = []llm.ToolCall{{ID: "mcpr_1"}}
	yes := `{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true}`
	again := message("msg_1", "again")
	final := step(c1) // calls where none was allowed
	final.Said.Refs = []string{"msg_1"}
	tests := map[string]struct {
		hidden     *dialect.Hidden
		body, want string
	}{
		"an approval":        {hidden(asks), `{"input":[` + approval + `,` + yes + `]}`, `{"input":[` + c1 + `,` + approval + `,` + ours("1") + `,` + yes + `]}`},
		"an approval, kept":  {hidden(asks), `{"previous_response_id":"resp_1a","input":[` + yes + `]}`, `{"previous_response_id":"resp_1a","input":[` + ours("1") + `,` + yes + `]}`},
		"cut off, a list":    {hidden(final), `{"previous_response_id":"resp_1a","input":[ ` + again + `]}`, `{"previous_response_id":"resp_1a","input":[ ` + ours("1") + `,` + again + `]}`},
		"cut off, no list":   {hidden(step(), final), `{"previous_response_id":"resp_1a","input":"so?"}`, `{"previous_response_id":"resp_1b","input":[` + ours("1") + `,{"type":"message","role":"user","content":"so?"}]}`},
		"cut off, nothing":   {hidden(final), `{"previous_response_id":"resp_1a","input":[]}`, `{"previous_response_id":"resp_1a","input":[` + ours("1") + `]}`},
		"nobody waited for":  {hidden(final), `{"previous_response_id":"x","input":[` + again + `]}`, `{"previous_response_id":"x","input":[` + again + `]}`},
		"the same words":     {hidden(step(again, c1, message("msg_2", "again"), call("2", "f"))), `{"input":[` + without(again) + `,` + without(again) + `,` + call("2", "f") + `,` + result("2", "") + `]}`, `{"input":[` + without(again) + `,` + c1 + `,` + without(again) + `,` + call("2", "f") + `,` + ours("1") + `,` + result("2", "") + `]}`},
		"another's the same": {hidden(step(again, c1, call("2", "f"))), `{"input":[` + message("msg_0", "again") + `,` + call("2", "f") + `,` + result("2", "") + `]}`, `{"input":[` + message("msg_0", "again") + `,` + c1 + `,` + call("2", "f") + `,` + ours("1") + `,` + result("2", "") + `]}`},
	}
	for name, tt := range tests {
		got, err := responses.New().Recall([]byte(tt.body), exchanges(tt.hidden))
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
}

// What a client was shown and comes back with is what the provider has said.
func TestMixedTurnRoundTrip(t *testing.T) {
	t.Parallel()
	turns := []said{
		{id: "resp_1", items: []string{reasoning("rs_1"), call("1", "kb_x")}},
		{id: "resp_2", items: []string{reasoning("rs_2"), call("2", "kb_x"), call("3", "shell")}},
	}
	shown, all := feed(t, 1, streams(turns)...)
	end := gjson.ParseBytes(strictly(t, shown)[len(shown)-1].Data).Get("response")
	h := &dialect.Hidden{Shown: all[0].ID}
	sent := []byte(`{"input":"hi"}`)
	for i := range all {
		s := dialect.Step{Said: all[i]}
		for _, c := range s.Said.Mine {
			s.Results = append(s.Results, llm.ToolResult{CallID: c.ID, Parts: []llm.Part{{Text: "result of " + c.ID}}})
		}
		h.Steps = append(h.Steps, s)
		var err error
		if sent, err = responses.New().FollowUp(sent, s, false); err != nil {
			t.Fatal(err)
		}
	}
	want := strings.TrimSuffix(string(sent), "]}") + "," + result("3", "done") + "]}"
	var items []string
	for _, item := range end.Get("output").Array() {
		items = append(items, item.Raw)
	}
	back := `{"input":[{"type":"message","role":"user","content":"hi"},` + strings.Join(items, ",") + "," + result("3", "done") + `]}`
	got, err := responses.New().Recall([]byte(back), exchanges(h))
	if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	again, err := responses.New().Recall(got, exchanges(h))
	if err != nil || !slices.Equal(again, got) {
		t.Errorf("put back twice: %s", again)
	}
}

// A client may have reworded all that a long answer said: each item is read once then, not
// once for each other.
func TestRecallReadsOnce(t *testing.T) {
	const n = 200
	var said, sent []string
	for i := range n {
		id := strconv.Itoa(i)
		said = append(said, message("msg_"+id, "so it is "+id), reasoning("rs_"+id))
		sent = append(sent, without(message("msg_"+id, "so it was "+id)), without(reasoning("rs__"+id)))
	}
	said, sent = append(said, call("k", "kb_x"), call("t", "shell")), append(sent, call("t", "shell"), result("t", "done"))
	body := []byte(`{"input":[` + strings.Join(sent, ",") + `]}`)
	find := exchanges(hidden(step(said...)))
	allocs := testing.AllocsPerRun(1, func() {
		if got, err := responses.New().Recall(body, find); err != nil || !bytes.Contains(got, []byte("kb_x")) {
			t.Errorf("%v: it is not put back: %.100s", err, got)
		}
	})
	if allocs > 100*n {
		t.Errorf("%v allocations for %d items", allocs, 2*n)
	}
}

func FuzzRecall(f *testing.F) {
	for _, items := range []string{
		reasoning("rs_1") + "," + call("4", "shell") + "," + result("4", "x"), result("4", "x"), without(reasoning("rs_1")) + "," + call("4", "shell") + "," + result("4", "x"),
	} {
		f.Add([]byte(`{"input":[{"role":"user"},` + items + `]}`))
		f.Add([]byte(` {"previous_response_id":"resp_1a","input":[` + items + `], "input":[` + items + `]}`))
	}
	h := hidden(step(reasoning("rs_1"), call("1", "kb_x")), step(call("3", "kb_y"), call("4", "shell")))
	h.Steps[0].Said.Refs = []string{"rs_1"}
	find := exchanges(h)
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			t.Skip()
		}
		got, err := responses.New().Recall(body, find)
		if err != nil || !json.Valid(got) {
			t.Fatalf("%s became %s, %v", body, got, err)
		}
		same, err := responses.New().Recall(body, func(string) *dialect.Hidden { return nil })
		if err != nil || !slices.Equal(same, body) {
			t.Fatalf("%s became %s, %v", body, same, err)
		}
	})
}
