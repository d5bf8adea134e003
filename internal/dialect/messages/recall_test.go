package messages_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/wire"
)

// hide is what the gateway keeps of an exchange that ended with calls of the client's.
func hide(t testing.TB, turns ...answer) *dialect.Hidden {
	t.Helper()
	var bodies []string
	for _, a := range turns {
		bodies = append(bodies, a.body())
	}
	c := converse(t, wire.JSON, bodies...)
	steps := c.steps
	if last := c.saids[len(c.saids)-1]; len(last.Mine) == 0 {
		steps = append(steps, dialect.Step{Said: last})
	}
	return &dialect.Hidden{Steps: steps, Shown: "msg_a"}
}

func finder(all ...*dialect.Hidden) func(string) *dialect.Hidden {
	return func(id string) *dialect.Hidden {
		for _, h := range all {
			for _, c := range h.Steps[len(h.Steps)-1].Said.Others {
				if c.ID == id {
					return h
				}
			}
		}
		return nil
	}
}

func result(id string) string {
	return `{"type":"tool_result","tool_use_id":"` + id + `","content":"theirs"}`
}

func ours(id string) string {
	return `{"type":"tool_result","tool_use_id":"` + id + `","content":[{"type":"text","text":"out of ` + id + `"}]}`
}

func turnOf(role string, blocks ...string) string {
	return `{"role":"` + role + `","content":` + list(blocks...) + `}`
}

func marked(block string) string {
	return strings.TrimSuffix(block, "}") + `,"cache_control":{"type":"ephemeral","ttl":"1h"}}`
}

func TestRecall(t *testing.T) {
	t.Parallel()
	mixed := hide(t, answer{id: "msg_a", blocks: []string{plan, hello, own("o1"), theirs("t1"), own("o2"), theirs("t2")}, stop: "tool_use"})
	later := hide(t, answer{id: "msg_a", blocks: []string{plan, own("o3")}, stop: "tool_use"},
		answer{id: "msg_b", blocks: []string{hello, own("o4")}, stop: "tool_use"}, answer{id: "msg_c", blocks: []string{redacted, theirs("t3")}, stop: "tool_use"})
	again := hide(t, answer{id: "msg_a", blocks: []string{hello, hello, own("o5"), theirs("t5"), plan}, stop: "tool_use"})
	restored := turnOf("assistant", hello, hello, own("o5"), theirs("t5"), plan)
	const ask, trimmed = `{"role":"user","content":"x"}`, `{"type":"text","text":"trimmed"}`
	whole := []string{turnOf("assistant", plan, hello, own("o1"), theirs("t1"), own("o2"), theirs("t2")), turnOf("user", ours("o1"), ours("o2"), result("t1"), result("t2"))}
	long := []string{
		turnOf("assistant", plan, own("o3")), turnOf("user", ours("o3")), turnOf("assistant", hello, own("o4")), turnOf("user", ours("o4")),
		turnOf("assistant", redacted, theirs("t3")), turnOf("user", result("t3")),
	}
	seen := []string{plan, hello, theirs("t1"), theirs("t2")}
	answers := turnOf("user", result("t1"), result("t2"))
	for _, c := range []struct {
		name       string
		have, want []string // messages
	}{
		{"mixed", []string{ask, turnOf("assistant", seen...), answers}, slices.Concat([]string{ask}, whole)},
		{"several turns", []string{ask, turnOf("assistant", plan, hello, redacted, theirs("t3")), turnOf("user", result("t3"))}, slices.Concat([]string{ask}, long)},
		{
			"further back, and both",
			[]string{ask, turnOf("assistant", seen...), answers, turnOf("assistant", plan, hello, redacted, theirs("t3")), turnOf("user", result("t3")), turnOf("assistant", cited), ask},
			slices.Concat([]string{ask}, whole, long, []string{turnOf("assistant", cited), ask}),
		},
		{"thoughts left out", []string{ask, turnOf("assistant", hello, theirs("t1"), theirs("t2")), answers}, slices.Concat([]string{ask}, whole)},
		{
			"text changed",
			[]string{ask, turnOf("assistant", trimmed, theirs("t1"), theirs("t2")), answers},
			[]string{ask, turnOf("assistant", plan, trimmed, own("o1"), theirs("t1"), own("o2"), theirs("t2")), whole[1]},
		},
		{
			"text of a turn before changed",
			[]string{ask, turnOf("assistant", plan, trimmed, redacted, theirs("t3")), turnOf("user", result("t3"))},
			[]string{ask, long[0], long[1], turnOf("assistant", trimmed, own("o4")), long[3], long[4], long[5]},
		},
		{
			"text left out, another put in",
			[]string{ask, turnOf("assistant", redacted, novel, theirs("t3"), cited), turnOf("user", result("t3"))},
			[]string{ask, long[0], long[1], turnOf("assistant", own("o4")), long[3], turnOf("assistant", redacted, novel, theirs("t3"), cited), long[5]},
		},
		{
			"thoughts changed",
			[]string{ask, turnOf("assistant", `{"type":"thinking","thinking":"","signature":""}`, hello, theirs("t1"), theirs("t2")), answers},
			[]string{ask, turnOf("assistant", `{"type":"thinking","thinking":"","signature":""}`, hello, own("o1"), theirs("t1"), own("o2"), theirs("t2")), whole[1]},
		},
		{
			"one call gone",
			[]string{ask, turnOf("assistant", plan, theirs("t2")), turnOf("user", result("t2"))},
			[]string{ask, turnOf("assistant", plan, own("o1"), own("o2"), theirs("t2")), turnOf("user", ours("o1"), ours("o2"), result("t2"))},
		},
		{
			"the id twice",
			[]string{ask, turnOf("assistant", seen...), answers, turnOf("assistant", seen...), answers},
			slices.Concat([]string{ask, turnOf("assistant", seen...), answers}, whole),
		},
		{"arguments changed", []string{ask, turnOf("assistant", plan, strings.Replace(theirs("t1"), "ls", "rm", 1), theirs("t2")), answers}, nil},
		{"the id of another call", []string{ask, turnOf("assistant", plan, strings.Replace(theirs("t1"), "bash", "dash", 1), theirs("t2")), answers}, nil},
		{
			"a hidden call's id is the client's too",
			[]string{ask, turnOf("assistant", theirs("o5")), turnOf("user", result("o5")), turnOf("assistant", hello, hello, theirs("t5")), turnOf("user", result("t5"))},
			[]string{ask, turnOf("assistant", theirs("o5")), turnOf("user", result("o5")), restored, turnOf("user", ours("o5"), result("t5"))},
		},
		{"one message for each block", []string{ask, turnOf("assistant", plan), turnOf("assistant", hello), turnOf("assistant", theirs("t1"), theirs("t2")), answers}, slices.Concat([]string{ask}, whole)},
		{
			"what was said before",
			[]string{ask, `{"role":"assistant","content":"Well,"}`, turnOf("assistant", slices.Concat([]string{searched, found}, seen)...), answers},
			slices.Concat([]string{ask, `{"role":"assistant","content":"Well,"}`, turnOf("assistant", searched, found)}, whole),
		},
		{
			"cache breakpoint",
			[]string{ask, turnOf("assistant", plan, hello, theirs("t1"), marked(theirs("t2"))), answers},
			[]string{ask, turnOf("assistant", plan, hello, own("o1"), theirs("t1"), own("o2"), marked(theirs("t2"))), whole[1]},
		},
		{
			"breakpoint before stays",
			[]string{ask, turnOf("assistant", slices.Concat([]string{marked(searched), found}, seen)...), answers},
			slices.Concat([]string{ask, turnOf("assistant", marked(searched), found)}, whole),
		},
		{
			"said twice",
			[]string{ask, turnOf("assistant", novel, hello, hello, theirs("t5"), plan), turnOf("user", result("t5"))},
			[]string{ask, turnOf("assistant", novel), restored, turnOf("user", ours("o5"), result("t5"))},
		},
		{
			"thoughts take no breakpoint",
			[]string{ask, turnOf("assistant", hello, hello, marked(theirs("t5"))), turnOf("user", result("t5"))},
			[]string{ask, turnOf("assistant", hello, hello, own("o5"), marked(theirs("t5")), plan), turnOf("user", ours("o5"), result("t5"))},
		},
		{
			"blank text between",
			[]string{ask, turnOf("assistant", plan, `{"type":"text","text":" "}`, hello, theirs("t1"), theirs("t2")), answers},
			slices.Concat([]string{ask}, whole),
		},
		{"more than results", []string{ask, turnOf("assistant", seen...), turnOf("user", result("t1"), result("t2"), hello)}, []string{ask, whole[0], turnOf("user", ours("o1"), ours("o2"), result("t1"), result("t2"), hello)}},
		{"there already", slices.Concat([]string{ask}, whole), nil},
		{"there already, several turns", slices.Concat([]string{ask}, long), nil},
		{"unknown", []string{ask, turnOf("assistant", hello, theirs("t9")), turnOf("user", result("t9"))}, nil},
		{"not answered", []string{ask, turnOf("assistant", seen...)}, nil},
		{"calls gone", []string{ask, turnOf("assistant", hello), answers}, nil},
		{"no question", []string{answers}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			body := func(all []string) string {
				return `{ "model":"m", "messages" : [ ` + strings.Join(all, " , ") + " ],\"x\":1.0}"
			}
			got, err := messages.New().Recall([]byte(body(c.have)), finder(mixed, later, again))
			if err != nil {
				t.Fatal(err)
			}
			if c.want == nil {
				same(t, "body", body(c.have), string(got))
				return
			}
			same(t, "messages", parsed(t, list(c.want...)), parsed(t, string(dialect.Member(got, "messages"))))
			if !strings.HasPrefix(string(got), `{ "model":"m", "messages" : [ `+ask) || !strings.HasSuffix(string(got), ` ],"x":1.0}`) {
				t.Errorf("more than its part has changed: %s", got)
			}
			twice, _ := messages.New().Recall(got, finder(mixed, later, again))
			same(t, "done twice", string(got), string(twice))
		})
	}
}

// What the client makes of a stream comes back as the model has said it, and as the
// turns before were asked.
func TestMixedTurnRoundTrip(t *testing.T) {
	t.Parallel()
	turns := []answer{
		{id: "msg_a", blocks: []string{plan, hello, own("o1")}, stop: "tool_use"},
		{id: "msg_b", blocks: []string{plan, cited, own("o2"), theirs("t1")}, stop: "tool_use"},
	}
	c := converse(t, wire.SSE, turns[0].stream(source()), turns[1].stream(source()))
	content, err := json.Marshal(c.message(t)["content"])
	if err != nil {
		t.Fatal(err)
	}
	const ask = `{"messages":[{"role":"user","content":"x"}]}`
	second, _ := messages.New().FollowUp([]byte(ask), c.steps[0], false)
	third, _ := messages.New().FollowUp(second, c.steps[1], false)
	back := fmt.Sprintf(`{"messages":[{"role":"user","content":"x"},{"role":"assistant","content":%s},%s]}`, content, turnOf("user", result("t1")))
	got, err := messages.New().Recall([]byte(back), finder(&dialect.Hidden{Steps: c.steps}))
	want := strings.Replace(string(third), ours("o2"), ours("o2")+","+result("t1"), 1)
	if err != nil {
		t.Fatal(err)
	}
	same(t, "request", parsed(t, want), parsed(t, string(got)))
}

func FuzzRecall(f *testing.F) {
	h := hide(f, answer{id: "msg_a", blocks: []string{plan, own("o1")}, stop: "tool_use"}, answer{id: "msg_b", blocks: []string{hello, own("o2"), theirs("t1")}, stop: "tool_use"})
	for _, messages := range []string{
		turnOf("assistant", plan, hello, theirs("t1")) + "," + turnOf("user", result("t1")),
		`{"role":"assistant","content":"a"},` + turnOf("assistant", novel, marked(theirs("t1"))) + "," + turnOf("user", hello, result("t1")),
		`1,null,{"role":"assistant"},{"role":"assistant","content":{"a":1}},{"role":"user","content":{"a":` + result("t1") + `}}`,
	} {
		f.Add([]byte(`{"messages":[` + messages + `]}`))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		got, err := messages.New().Recall(body, finder(h))
		if err != nil {
			t.Fatal(err)
		}
		if json.Valid(body) && !json.Valid(got) {
			t.Errorf("%s became %s", body, got)
		}
		if !strings.Contains(string(body), "t1") && !strings.Contains(string(body), `\`) && string(got) != string(body) {
			t.Errorf("%s became %s and was not to be touched", body, got)
		}
	})
}
