package chat_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// finder knows what is hidden by these steps.
func finder(steps ...dialect.Step) func(id string) *dialect.Hidden {
	h := &dialect.Hidden{Steps: steps, Shown: steps[0].Said.ID}
	return func(id string) *dialect.Hidden {
		for _, c := range steps[len(steps)-1].Said.Others {
			if c.ID == id {
				return h
			}
		}
		return nil
	}
}

func assistant(content string, calls ...string) string {
	return `{"role":"assistant","content":"` + content + `","tool_calls":[` + strings.Join(calls, ",") + `]}`
}

func thinking(s dialect.Step) dialect.Step {
	s.Said.Raw = dialect.SetMember(s.Said.Raw, "reasoning_content", []byte(`"hm"`))
	return s
}

func TestRecall(t *testing.T) {
	t.Parallel()
	own0, own1 := called("k0", "kb_x", "{}"), called("k1", "kb_y", "{}")
	a, b := called("c1", "shell", "{}"), called("c2", "read", "{}")
	first, last := step("1", own0), step("2", a, own1, b)
	plain := step("2", a)
	mixed := finder(first, last)
	later := finder(first, plain)
	back := string(first.Said.Raw) + "," + result("k0") + "," + string(last.Said.Raw) + "," + result("k1")
	const user, next = `{"role":"user","content":"<hi>"}`, `{"role":"user","content":"so?"}`
	silent := strings.Replace(string(first.Said.Raw), `"said <1>"`, "null", 1) + "," + result("k0")
	once, thought := finder(step("2", a, own1)), finder(thinking(step("2", a, own1)))
	spaced := `{"id":"c1","type":"function","function":{"name":"shell","arguments":" { } "}}`
	shown := assistant("said <1>said <2>", a, b)
	tests := map[string]struct {
		find           func(string) *dialect.Hidden
		messages, want string // "": as it is
	}{
		"a mixed turn": {mixed, user + ", " + shown + ", " + result("c2") + " ," + result("c1"), user + ", " + back + ", " + result("c2") + " ," + result("c1")},
		"further back": {mixed, shown + "," + result("c1") + "," + result("c2") + "," + assistant("x", called("c9", "shell", "{}")) + "," + result("c9") + "," + next, back + "," + result("c1") + "," + result("c2") + "," + assistant("x", called("c9", "shell", "{}")) + "," + result("c9") + "," + next},
		"one message for each call": {
			mixed, user + ",\n" + assistant("x", a) + ",\n" + result("c1") + ",\n" + assistant("", b) + ",\n" + result("c2") + ",\n" + next,
			user + ",\n" + silent + "," + assistant("x", a, own1) + "," + result("k1") + ",\n" + result("c1") + ",\n" + assistant("", b) + ",\n" + result("c2") + ",\n" + next,
		},
		"only the client's calls in the last turn": {later, user + "," + assistant("said <1>said <2> ", a) + "," + result("c1"), user + "," + string(first.Said.Raw) + "," + result("k0") + "," + string(plain.Said.Raw) + "," + result("c1")},
		"text changed":                           {mixed, user + "," + assistant("card ***", a, b) + "," + result("c1") + "," + result("c2"), user + "," + silent + "," + assistant("card ***", a, own1, b) + "," + result("k1") + "," + result("c1") + "," + result("c2")},
		"text apart from the calls":              {mixed, user + "," + assistant("said <1>said <2>") + `,{"role":"assistant","tool_calls":[` + a + `,` + b + `]},` + result("c1") + "," + result("c2"), user + "," + assistant("said <1>said <2>") + "," + silent + `,{"role":"assistant","tool_calls":[` + a + `,` + own1 + `,` + b + `]},` + result("k1") + "," + result("c1") + "," + result("c2")},
		"in the client's own words":              {once, `{"role":"assistant","content":[{"type":"text","text":"said <2>","cache_control":{}}],"x":1,"tool_calls":[ ` + spaced + ` ]},` + result("c1"), `{"role":"assistant","content":[{"type":"text","text":"said <2>","cache_control":{}}],"x":1,"tool_calls":[` + spaced + `,` + own1 + `]},` + result("k1") + "," + result("c1")},
		"thoughts left out":                      {thought, assistant("said <2>", a) + "," + result("c1"), strings.TrimSuffix(assistant("said <2>", a, own1), "}") + `,"reasoning_content":"hm"},` + result("k1") + "," + result("c1")},
		"thoughts of the client's own":           {thought, `{"reasoning_content":"","role":"assistant","tool_calls":[` + a + `]},` + result("c1"), `{"reasoning_content":"","role":"assistant","tool_calls":[` + a + `,` + own1 + `]},` + result("k1") + "," + result("c1")},
		"the id twice":                           {once, assistant("x", a) + "," + result("c1") + "," + user + "," + assistant("x", a) + "," + result("c1"), assistant("x", a) + "," + result("c1") + "," + user + "," + assistant("x", a, own1) + "," + result("k1") + "," + result("c1")},
		"a hidden call's id is the client's too": {once, assistant("x", called("k1", "read", "{}")) + "," + result("k1") + "," + assistant("x", a) + "," + result("c1"), assistant("x", called("k1", "read", "{}")) + "," + result("k1") + "," + assistant("x", a, own1) + "," + result("k1") + "," + result("c1")},
		"the id of another call":                 {once, assistant("x", called("c1", "read", "{}")) + "," + result("c1"), ""},
		"arguments changed":                      {once, assistant("x", called("c1", "shell", `{\"a\":1}`)) + "," + result("c1"), ""},
		"put back already":                       {mixed, user + "," + back + "," + result("c1") + "," + result("c2"), ""},
		"nobody knows it":                        {func(string) *dialect.Hidden { return nil }, user + "," + shown, ""},
		"only some of the calls":                 {mixed, user + "," + assistant("x", a) + "," + result("c1") + "," + next, ""},
		"a call of another's among them":         {mixed, user + "," + assistant("x", a, b, called("c9", "shell", "{}")), ""},
		"no calls":                               {mixed, user + "," + assistant("x"), ""},
		"odd messages":                           {mixed, `1,null,[],{"role":"assistant","tool_calls":{"id":"c1"}},{"role":"assistant","tool_calls":[1,{"id":2}]}`, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := []byte(` {"n":1.0,"messages": [ ` + tt.messages + ` ],"x":"<"}`)
			got, err := chat.New().Recall(body, tt.find)
			if tt.want == "" && &got[0] != &body[0] {
				t.Errorf("another body: %s", got)
			}
			want := ` {"n":1.0,"messages": [ ` + tt.want + ` ],"x":"<"}`
			if diff := cmp.Diff(want, string(got)); err != nil || tt.want != "" && diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if again, _ := chat.New().Recall(got, tt.find); !bytes.Equal(again, got) {
				t.Errorf("put back twice: %s", again)
			}
		})
	}
	for _, body := range []string{``, `{}`, `{"messages":"x"}`, `[]`} {
		if got, err := chat.New().Recall([]byte(body), mixed); string(got) != body || err != nil {
			t.Errorf("%s became %s, %v", body, got, err)
		}
	}
}

// What an exchange has hidden is in the next request where it was, whatever the answer
// came as.
func TestRecallRoundTrip(t *testing.T) {
	t.Parallel()
	turns := []said{
		{n: 1, deltas: []string{text("a<"), opens(0, "k0", "kb_x"), goesOn(0, "{}")}, finish: "tool_calls"},
		{n: 2, deltas: []string{text("b"), opens(0, "c1", "shell"), opens(1, "k1", "kb_y"), goesOn(0, "{1}"), goesOn(1, "{}")}, finish: "tool_calls"},
	}
	one, two := assistant("a<", called("k0", "kb_x", "{}")), assistant("b", called("c1", "shell", "{1}"), called("k1", "kb_y", "{}"))
	for f, bodies := range map[wire.Framing][][]byte{
		wire.SSE:  streams(turns),
		wire.JSON: {said{n: 1, deltas: []string{one}, finish: "tool_calls"}.body(), said{n: 2, deltas: []string{two}, finish: "tool_calls"}.body()},
	} {
		shown, all := feed(f, bodies...)
		strictly(t, f, shown)
		if bytes.Contains(joined(shown), []byte("kb_")) {
			t.Errorf("the client sees a hidden call: %s", joined(shown))
		}
		find := finder(results(all[0]), results(all[1]))
		client := assistant("a<b", called("c1", "shell", "{1}"))
		if f == wire.JSON && !bytes.Contains(joined(shown), []byte(client)) {
			t.Errorf("the client sees %s, want %s", joined(shown), client)
		}
		got, err := chat.New().Recall([]byte(`{"messages":[`+client+`,`+result("c1")+`]}`), find)
		want := `{"messages":[` + one + `,` + result("k0") + `,` + two + `,` + result("k1") + `,` + result("c1") + `]}`
		if diff := cmp.Diff(want, string(got)); err != nil || diff != "" {
			t.Errorf("%v (-want +got):\n%s", err, diff)
		}
	}
}

func FuzzRecall(f *testing.F) {
	a, b := called("c1", "shell", "{}"), called("c2", "read", "{}")
	find := finder(step("1", called("k0", "kb_x", "{}")), step("2", a, called("k1", "kb_y", "{}"), b))
	f.Add([]byte(`{"messages":[` + assistant("x", a, b) + `,` + result("c1") + `,` + result("c2") + `]}`))
	f.Add([]byte(`{"messages":[ ` + assistant("x", a) + `, ` + result("c1") + `,` + assistant("y", b) + `,{"role":"tool"} ]}`))
	f.Add([]byte(`{"messages":[{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]},{"role":"assistant","tool_calls":[{"id":"c1"},{"id":"c2"}]}]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			t.Skip()
		}
		got, err := chat.New().Recall(body, find)
		if err != nil || !json.Valid(got) {
			t.Fatalf("%s became %s, %v", body, got, err)
		}
		if !bytes.Contains(body, []byte("c1")) && !bytes.Contains(body, []byte(`\`)) && !bytes.Equal(got, body) {
			t.Fatalf("%s became %s", body, got)
		}
		if again, _ := chat.New().Recall(got, find); !bytes.Equal(again, got) {
			t.Fatalf("%s: put back twice: %s", body, again)
		}
	})
}
