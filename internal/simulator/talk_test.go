package simulator_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// dialogue is a conversation that a client carries on in one API.
type dialogue struct {
	name string
	path string
	// body is the request; items are the messages, or the input.
	body func(items []string, more string) string
	// said are the items that an answer adds, and the calls in it.
	said func(answer gjson.Result) (items []string, calls []made)
	// results answers calls; with the words "picture" and "wrong" otherwise than by text.
	results func(calls []made, text string) []string
	text    string // path of the answer's
}

type made struct{ id, name, args string }

func (d dialogue) prompt(text string) string {
	return `{"role":"user","content":` + strconv.Quote(text) + `}`
}

const toolNames = `"kb_a","kb_b","own"`

func offered(form string) string {
	var out []string
	for name := range strings.SplitSeq(toolNames, ",") {
		out = append(out, strings.ReplaceAll(form, "NAME", name))
	}
	return strings.Join(out, ",")
}

const picture = "iVBORw0KGgo="

func dialogues() []dialogue {
	chatCalls := func(m gjson.Result) (calls []made) {
		for _, c := range m.Get("tool_calls").Array() {
			calls = append(calls, made{c.Get("id").String(), c.Get("function.name").String(), c.Get("function.arguments").String()})
		}
		return calls
	}
	return []dialogue{
		{
			name: "chat", path: "/openai/v1/chat/completions", text: "choices.0.message.content",
			body: func(items []string, more string) string {
				return `{"model":"gpt-4o","messages":[` + strings.Join(items, ",") + `],"tools":[` + offered(`{"type":"function","function":{"name":NAME}}`) + `]` + more + `}`
			},
			said: func(answer gjson.Result) ([]string, []made) {
				m := answer.Get("choices.0.message")
				return []string{m.Raw}, chatCalls(m)
			},
			results: func(calls []made, text string) (out []string) {
				for _, c := range calls {
					out = append(out, fmt.Sprintf(`{"role":"tool","tool_call_id":%q,"content":%q}`, c.id, text+" of "+c.name))
				}
				return out
			},
		},
		{
			name: "responses", path: "/openai/v1/responses", text: `output.#(type=="message").content.0.text`,
			body: func(items []string, more string) string {
				return `{"model":"gpt-5.6","input":[` + strings.Join(items, ",") + `],"tools":[` + offered(`{"type":"function","name":NAME}`) + `]` + more + `}`
			},
			said: func(answer gjson.Result) (items []string, calls []made) {
				for _, i := range answer.Get("output").Array() {
					items = append(items, i.Raw)
					if i.Get("type").String() == "function_call" {
						calls = append(calls, made{i.Get("call_id").String(), i.Get("name").String(), i.Get("arguments").String()})
					}
				}
				return items, calls
			},
			results: func(calls []made, text string) (out []string) {
				for _, c := range calls {
					output := strconv.Quote(text + " of " + c.name)
					if text == "picture" {
						output = `[{"type":"input_text","text":"a"},{"type":"input_image","image_url":"data:image/png;base64,` + picture + `"}]`
					}
					out = append(out, fmt.Sprintf(`{"type":"function_call_output","call_id":%q,"output":%s}`, c.id, output))
				}
				return out
			},
		},
		{
			name: "messages", path: "/anthropic/v1/messages", text: `content.#(type=="text").text`,
			body: func(items []string, more string) string {
				return `{"model":"claude-haiku-4-5","max_tokens":4096,"messages":[` + strings.Join(items, ",") + `],"tools":[` + offered(`{"name":NAME,"input_schema":{"type":"object"}}`) + `]` + more + `}`
			},
			said: func(answer gjson.Result) (items []string, calls []made) {
				for _, b := range answer.Get("content").Array() {
					if b.Get("type").String() == "tool_use" {
						calls = append(calls, made{b.Get("id").String(), b.Get("name").String(), b.Get("input").Raw})
					}
				}
				return []string{`{"role":"assistant","content":` + answer.Get("content").Raw + `}`}, calls
			},
			results: func(calls []made, text string) []string {
				var out []string
				for _, c := range calls {
					content := strconv.Quote(text + " of " + c.name)
					if text == "picture" {
						content = `[{"type":"text","text":"a"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"` + picture + `"}}]`
					}
					out = append(out, fmt.Sprintf(`{"type":"tool_result","tool_use_id":%q,"content":%s,"is_error":%v}`, c.id, content, text == "wrong"))
				}
				return []string{`{"role":"user","content":[` + strings.Join(out, ",") + `]}`}
			},
		},
	}
}

// TestToolLoop carries on conversations until the model calls no more tools.
func TestToolLoop(t *testing.T) {
	g := overTCP(t, options())
	for _, d := range dialogues() {
		for prompt, want := range map[string]struct {
			calls []string // of each turn
			said  []string // of each turn
			last  string
		}{
			"simulate:tool":                        {[]string{"kb_a"}, []string{""}, "The tool said: 1 of kb_a (sim"},
			"simulate:tool-turns=3":                {[]string{"kb_a", "kb_a", "kb_a"}, []string{"", "", ""}, "The tool said: 3 of kb_a (sim"},
			"simulate:tool=kb_b,own":               {[]string{"kb_b own"}, []string{""}, "The tool said: 1 of kb_b | 1 of own (sim"},
			"simulate:tool=kb_*":                   {[]string{"kb_a kb_b"}, []string{""}, "The tool said: 1 of kb_a | 1 of kb_b (sim"},
			"simulate:tool=kb_b/kb_*,own/own.":     {[]string{"kb_b", "kb_a kb_b own", "own"}, []string{"", "", ""}, "The tool said: 3 of own (sim"},
			"simulate:tool=own simulate:say-first": {[]string{"own"}, []string{"First I say that I call a tool."}, "The tool said: 1 of own (sim"},
			"simulate:tools simulate:tool-turns=2, simulate:say-first": {
				[]string{"kb_a kb_b own", "kb_a kb_b own"},
				[]string{"First I say that I call a tool.", "First I say that I call a tool. This is turn 2."},
				"The tool said: 2 of kb_a | 2 of kb_b | 2 of own (sim",
			},
			"simulate:thinking simulate:tool-turns=2": {[]string{"kb_a", "kb_a"}, []string{"", ""}, "The tool said: 2 of kb_a (sim"},
			"simulate:tool=nobody":                    {nil, nil, "You said: simulate:tool=nobody (sim"},
			"simulate:tool-turns=x":                   {[]string{"kb_a"}, []string{""}, "The tool said: 1 of kb_a (sim"},
		} {
			t.Run(d.name+"/"+prompt, func(t *testing.T) {
				items := []string{d.prompt("an earlier simulate:tool-turns=9"), `{"role":"assistant","content":"no"}`, d.prompt(prompt)}
				var calls, said []string
				for turn := 1; ; turn++ {
					r := g.must(asking{path: d.path, body: d.body(items, `,"thinking":{"type":"enabled"},"store":false`)})
					more, made := d.said(gjson.ParseBytes(r.body))
					if len(made) == 0 {
						if got := r.get(d.text).String(); !strings.HasPrefix(got, want.last) {
							t.Errorf("at last %q, want %q", got, want.last)
						}
						break
					}
					var names []string
					for _, c := range made {
						names = append(names, c.name)
						if !gjson.Valid(c.args) {
							t.Errorf("arguments %s", c.args)
						}
					}
					calls, said = append(calls, strings.Join(names, " ")), append(said, r.get(d.text).String())
					items = append(append(items, more...), d.results(made, strconv.Itoa(turn))...)
				}
				if diff := cmp.Diff([][]string{want.calls, want.said}, [][]string{calls, said}); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// TestToolChoice keeps to what the request allows.
func TestToolChoice(t *testing.T) {
	g := overTCP(t, options())
	for _, d := range dialogues() {
		for more, want := range map[string]int{
			map[bool]string{true: `,"tool_choice":{"type":"none"}`, false: `,"tool_choice":"none"`}[d.name == "messages"]:                                         0,
			map[bool]string{true: `,"tool_choice":{"type":"auto","disable_parallel_tool_use":true}`, false: `,"parallel_tool_calls":false`}[d.name == "messages"]: 1,
			``: 3,
		} {
			r := g.must(asking{path: d.path, body: d.body([]string{d.prompt("simulate:tools")}, more)})
			if _, calls := d.said(gjson.ParseBytes(r.body)); len(calls) != want {
				t.Errorf("%s: %s: %d calls, want %d", d.name, more, len(calls), want)
			}
		}
	}
}

// TestResults quotes what is not text, or too much of it.
func TestResults(t *testing.T) {
	g := overTCP(t, options())
	for _, d := range dialogues() {
		for text, want := range map[string]string{
			"picture": map[string]string{"chat": "picture of kb_a"}[d.name],
			"wrong":   map[string]string{"messages": "Error: wrong of kb_a"}[d.name],
			"long " + strings.Repeat("0123456789", 50): "long " + strings.Repeat("0123456789", 11) + "01234…",
		} {
			if want == "" {
				want = map[string]string{"picture": "a [image/png]", "wrong": "wrong of kb_a"}[text]
			}
			items := []string{d.prompt("simulate:tool")}
			more, calls := d.said(gjson.ParseBytes(g.must(asking{path: d.path, body: d.body(items, "")}).body))
			items = append(append(items, more...), d.results(calls, text)...)
			got := g.must(asking{path: d.path, body: d.body(items, "")}).get(d.text).String()
			if !strings.HasPrefix(got, "The tool said: "+want+" (sim") {
				t.Errorf("%s: %q, want %q said", d.name, got, want)
			}
		}
	}
}

// TestDamagedCalls holds what is wrong with calls to what was asked for.
func TestDamagedCalls(t *testing.T) {
	g := overTCP(t, options())
	streams := map[string]func(*testing.T, []event) spoken{"chat": checkChat, "responses": checkResponses, "messages": checkMessages}
	for _, d := range dialogues() {
		for prompt, want := range map[string]struct {
			streamed string
			blocking string // of Messages, whose blocking answers have no broken arguments
			stop     map[string]string
		}{
			"simulate:bad-arguments":              {"kb_a{, oops", `{"INVALID_JSON":"{, oops"}`, map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			"simulate:cut-in-call simulate:tools": {"kb_a{}kb_b{}own{", `{}`, map[string]string{"chat": "length", "responses": "incomplete", "messages": "max_tokens"}},
		} {
			t.Run(d.name+"/"+prompt, func(t *testing.T) {
				items := []string{d.prompt(prompt)}
				r := g.must(asking{path: d.path, body: d.body(items, "")})
				_, calls := d.said(gjson.ParseBytes(r.body))
				var one strings.Builder
				for _, c := range calls {
					one.WriteString(c.name + c.args)
				}
				last := calls[len(calls)-1]
				wanted := want.streamed
				if d.name == "messages" {
					wanted = strings.TrimSuffix(wanted, wanted[strings.LastIndex(wanted, "{"):]) + want.blocking
				}
				if one.String() != wanted {
					t.Errorf("blocking: %s, want %s", one.String(), wanted)
				}
				if status := r.get(`output.#(call_id=="` + last.id + `").status`).String(); status != map[bool]string{true: want.stop["responses"]}[d.name == "responses"] {
					t.Errorf("the last call is %s", status)
				}
				s := streams[d.name](t, events(t, g.must(asking{path: d.path, body: d.body(items, streaming)}).body))
				if s.args != want.streamed || s.stop != want.stop[d.name] {
					t.Errorf("stream: %+v, want %s, %s", s, want.streamed, want.stop[d.name])
				}
			})
		}
		t.Run(d.name+"/cut in the second turn", func(t *testing.T) {
			items := []string{d.prompt("simulate:cut-in-call simulate:tool-turns=2")}
			r := g.must(asking{path: d.path, body: d.body(items, "")})
			more, calls := d.said(gjson.ParseBytes(r.body))
			if len(calls) != 1 || calls[0].args != "{}" {
				t.Fatalf("first turn: %s", r.body)
			}
			items = append(append(items, more...), d.results(calls, "x")...)
			s := streams[d.name](t, events(t, g.must(asking{path: d.path, body: d.body(items, streaming)}).body))
			if s.args != "kb_a{" {
				t.Errorf("second turn: %+v", s)
			}
		})
	}
}

// TestKeptConversation leaves the history to the provider.
func TestKeptConversation(t *testing.T) {
	g := overTCP(t, options())
	d := dialogues()[1]
	conversation := g.must(asking{path: "/openai/v1/conversations", body: `{}`}).get("id").String()
	for name, next := range map[string]func(previous string) string{
		"previous":     func(previous string) string { return `,"previous_response_id":"` + previous + `"` },
		"conversation": func(string) string { return `,"conversation":"` + conversation + `"` },
	} {
		t.Run(name, func(t *testing.T) {
			first := ""
			if name == "conversation" {
				first = next("")
			}
			r := g.must(asking{path: d.path, body: d.body([]string{d.prompt("simulate:thinking simulate:tool-turns=2")}, first)})
			for turn := range 2 {
				_, calls := d.said(gjson.ParseBytes(r.body))
				if len(calls) != 1 {
					t.Fatalf("turn %d: %s", turn, r.body)
				}
				id := r.get("id").String()
				for wrong, want := range map[string]string{
					d.prompt("go on"): "No tool output found for function call " + calls[0].id + ".",
					strings.Join(d.results([]made{{id: "call_x"}}, "x"), ""): "No tool call found for function call output with call_id call_x.",
				} {
					bad := g.ask(asking{path: d.path, body: d.body([]string{wrong}, next(id))})
					if bad.status != 400 || bad.get("error.message").String() != want {
						t.Errorf("%d %s, want %s", bad.status, bad.body, want)
					}
				}
				r = g.must(asking{path: d.path, body: d.body(d.results(calls, strconv.Itoa(turn)), next(id))})
			}
			if got := r.get(d.text).String(); !strings.HasPrefix(got, "The tool said: 1 of kb_a") {
				t.Errorf("at last %q", got)
			}
			r = g.must(asking{path: d.path, body: `{"model":"gpt-5.6","input":"more"` + next(r.get("id").String()) + `}`})
			if got := r.get(d.text).String(); !strings.HasPrefix(got, "You said: more") {
				t.Errorf("after that %q", got)
			}
		})
	}
}

// TestItemReference names an item that the provider keeps.
func TestItemReference(t *testing.T) {
	g := overTCP(t, options())
	d := dialogues()[1]
	items := []string{d.prompt("simulate:tool")}
	r := g.must(asking{path: d.path, body: d.body(items, "")})
	_, calls := d.said(gjson.ParseBytes(r.body))
	for id, want := range map[string]string{
		r.get("output.0.id").String(): "",
		"fc_none":                     "Item with id 'fc_none' not found.",
	} {
		r := g.ask(asking{path: d.path, body: d.body(append(append(items[:1:1], `{"type":"item_reference","id":"`+id+`"}`), d.results(calls, "x")...), "")})
		if got := r.get("error.message").String(); got != want {
			t.Errorf("%s: %s, want %q", id, r.body, want)
		}
	}
}
