package simulator_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// TestHistoryRules refuses histories in the providers' words.
func TestHistoryRules(t *testing.T) {
	g := overTCP(t, options())
	d := map[string]dialogue{}
	for _, each := range dialogues() {
		d[each.name] = each
	}
	const user, said = `{"role":"user","content":"hi"}`, `{"role":"assistant","content":"yes"}`
	use := func(ids ...string) string { // Messages
		var out []string
		for _, id := range ids {
			out = append(out, `{"type":"tool_use","id":"`+id+`","name":"own","input":{}}`)
		}
		return `{"role":"assistant","content":[` + strings.Join(out, ",") + `]}`
	}
	result := func(ids ...string) string {
		var out []string
		for _, id := range ids {
			out = append(out, `{"type":"tool_result","tool_use_id":"`+id+`","content":"x"}`)
		}
		return `{"role":"user","content":[` + strings.Join(out, ",") + `]}`
	}
	calls := func(ids ...string) string { // Chat
		var out []string
		for _, id := range ids {
			out = append(out, `{"id":"`+id+`","type":"function","function":{"name":"own","arguments":"{}"}}`)
		}
		return `{"role":"assistant","content":null,"tool_calls":[` + strings.Join(out, ",") + `]}`
	}
	tool := func(id string) string { return `{"role":"tool","tool_call_id":"` + id + `","content":"x"}` }
	fc := func(id string) string { // Responses
		return `{"type":"function_call","id":"fc_` + id + `","call_id":"` + id + `","name":"own","arguments":"{}"}`
	}
	fco := func(id string) string { return `{"type":"function_call_output","call_id":"` + id + `","output":"x"}` }
	const without, multiple = ": `tool_use` ids were found without `tool_result` blocks immediately after: ", ": each tool_use must have a single result. Found multiple `tool_result` blocks with id: "
	const unexpected = ": unexpected `tool_use_id` found in `tool_result` blocks: "
	const follow = "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. The following tool_call_ids did not have response messages: "

	for i, tc := range []struct {
		api   string
		items []string
		want  string // the message begins so; empty: it is taken
		param string
	}{
		{"messages", []string{user, use("a", "b"), result("a", "b"), said, user}, "", ""},
		{"messages", []string{user, use("a", "b"), result("b"), `{"role":"system","content":"x"}`, result("a")}, "", ""},
		{"messages", []string{user, said, use("a"), result("a")}, "", ""},
		{"messages", []string{user, use("a")}, "messages.1" + without + "a. Each", ""},
		{"messages", []string{user, use("a"), user}, "messages.1" + without + "a. Each", ""},
		{"messages", []string{user, use("a", "b", "c"), result("b"), said, user}, "messages.1" + without + "a, c. Each", ""},
		{"messages", []string{user, use("a"), `{"role":"user","content":[{"type":"text","text":"x"},{"type":"tool_result","tool_use_id":"a","content":"x"}]}`}, "messages.1" + without + "a. Each", ""},
		{"messages", []string{result("a")}, "messages.0.content.0" + unexpected + "a. Each", ""},
		{"messages", []string{user, use("a"), result("a", "b")}, "messages.2.content.1" + unexpected + "b. Each", ""},
		{"messages", []string{user, use("a"), result("a"), said, result("a")}, "messages.4.content.0" + unexpected + "a. Each", ""},
		{"messages", []string{user, use("a"), result("a", "a")}, "messages.2.content.1" + multiple + "a", ""},
		{"messages", []string{user, use("a"), result("a"), use("a"), result("a")}, "messages.3.content.0: `tool_use` ids must be unique", ""},
		{"messages", []string{user, strings.Replace(use("a"), `"input":{}`, `"input":"{"`, 1), result("a")}, "messages.1.content.0.tool_use.input: Input should be a valid dictionary", ""},

		{"chat", []string{user, calls("a", "b"), tool("b"), tool("a"), said, user}, "", ""},
		{"chat", []string{user, calls("a")}, follow + "a", "messages.[1].role"},
		{"chat", []string{user, calls("a", "b"), tool("b"), user}, follow + "a", "messages.[1].role"},
		{"chat", []string{user, calls("a", "b"), said}, follow + "a, b", "messages.[1].role"},
		{"chat", []string{user, tool("a")}, "Invalid parameter: messages with role 'tool' must be a response to a", "messages.[1].role"},
		{"chat", []string{user, calls("a"), tool("a"), said, tool("a")}, "Invalid parameter: messages with role 'tool'", "messages.[4].role"},
		{"chat", []string{user, calls("a"), tool("b")}, "Invalid parameter: 'tool_call_id' of 'b' not found in 'tool_calls' of previous message.", "messages.[2].tool_call_id"},
		{"chat", []string{user, calls("a"), tool("")}, "Missing parameter 'tool_call_id'", "messages.[2].tool_call_id"},
		{"chat", []string{user, calls("a"), tool("a"), tool("a")}, "Duplicate value for 'tool_call_id' of 'a'", "messages.[3].tool_call_id"},
		{"chat", []string{user, strings.Replace(calls("a"), `"{}"`, `{}`, 1), tool("a")}, "Invalid type for 'messages[1].tool_calls[0].function.arguments': expected a string, but got object instead.", "messages[1].tool_calls[0].function.arguments"},
		{"chat", []string{user, `{"role":"assistant","content":null}`}, "Invalid value for 'content': expected a string, got null.", "messages.[1].content"},

		{"responses", []string{user, fc("a"), fc("b"), fco("b"), fco("a"), user}, "", ""},
		{"responses", []string{user, fc("a"), fco("a"), fc("b"), said, fco("b")}, "", ""},
		{"responses", []string{user, fc("a")}, "No tool output found for function call a.", "input"},
		{"responses", []string{user, fc("a"), user, fco("a")}, "No tool output found for function call a.", "input"},
		{"responses", []string{user, fco("a")}, "No tool call found for function call output with call_id a.", "input"},
		{"responses", []string{user, fc("a"), fc("a"), fco("a")}, "Duplicate item found with id fc_a. Remove duplicate items", "input"},
		{"responses", []string{user, strings.Replace(fc("a"), `"{}"`, `null`, 1), fco("a")}, "Invalid type for 'input[1].arguments': expected a string, but got null instead.", "input[1].arguments"},
		{"responses", []string{user, `{"type":"reasoning","id":"rs_1","summary":[]}`}, "Item 'rs_1' of type 'reasoning' was provided without its required following item.", "input"},
		{"responses", []string{user, `{"type":"reasoning","id":"rs_1","summary":[]}`, user}, "Item 'rs_1' of type 'reasoning'", "input"},
		{"responses", []string{user, `{"type":"reasoning","id":"rs_1","summary":[],"encrypted_content":"gAAA"}`, said}, "The encrypted content", ""},
		{"responses", []string{user, `{"type":"web_search_call","id":"ws_1"}`, said}, "", ""},
		{"responses", []string{user, `{"type":"custom_tool_call","call_id":"a","name":"x","input":"y"}`, user}, "No tool output found for custom tool call a.", "input"},
	} {
		t.Run(fmt.Sprintf("%s/%d", tc.api, i), func(t *testing.T) {
			r := g.ask(asking{path: d[tc.api].path, body: d[tc.api].body(tc.items, "")})
			status := map[bool]int{true: 200, false: 400}[tc.want == ""]
			if got := r.get("error.message").String(); r.status != status || !strings.HasPrefix(got, tc.want) || r.get("error.param").String() != tc.param {
				t.Errorf("%d %s, want %d %q about %q", r.status, r.body, status, tc.want, tc.param)
			}
		})
	}
}

// TestThoughts refuses thinking that is not what the model has thought.
func TestThoughts(t *testing.T) {
	g := overTCP(t, options())
	for _, d := range dialogues() {
		if d.name == "chat" { // where nothing of it comes back
			continue
		}
		items := []string{d.prompt("simulate:thinking simulate:tool")}
		const more = `,"thinking":{"type":"enabled"},"store":false`
		said, calls := d.said(gjson.ParseBytes(g.must(asking{path: d.path, body: d.body(items, more)}).body))
		results := d.results(calls, "x")
		with := func(said []string) got {
			return g.ask(asking{path: d.path, body: d.body(append(append(items[:1:1], said...), results...), more)})
		}
		if r := with(said); r.status != 200 {
			t.Errorf("%s: as it was said: %s", d.name, r.body)
		}
		for edit, want := range map[[2]string]string{
			{"so here", "so there"}: map[string]string{"messages": "messages.1.content.0: Invalid `signature` in `thinking` block", "responses": "The encrypted content"}[d.name],
			{"AA", "AB"}:            map[string]string{"messages": "messages.1.content.0: Invalid `signature` in `thinking` block", "responses": "The encrypted content"}[d.name],
		} {
			one := strings.Join(said, ",")
			edited := strings.Replace(one, edit[0], edit[1], 1)
			if edited == one {
				edited = strings.Replace(one, `"signature":"E`, `"signature":"F`, 1)
			}
			if r := with([]string{edited}); r.status != 400 || !strings.HasPrefix(r.get("error.message").String(), want) {
				t.Errorf("%s with %v: %d %s", d.name, edit, r.status, r.body)
			}
		}
		if d.name == "messages" {
			said[0] = `{"role":"assistant","content":[` + gjson.Get(said[0], "content.1").Raw + `]}`
			if r := with(said); r.status != 400 || !strings.HasPrefix(r.get("error.message").String(), "messages.1.content.0.type: Expected `thinking` or `redacted_thinking`, but found `tool_use`.") {
				t.Errorf("without the thought: %d %s", r.status, r.body)
			}
		}
	}
}

// TestReasoningBelongsToItsOrganization has another one's key send it.
func TestReasoningBelongsToItsOrganization(t *testing.T) {
	o := options()
	o.Deterministic = false
	g := overTCP(t, o)
	d := dialogues()[1]
	items := []string{d.prompt("simulate:thinking")}
	said, _ := d.said(gjson.ParseBytes(g.must(asking{path: d.path, body: d.body(items, `,"store":false`)}).body))
	items = append(append(items, said...), d.prompt("and now"))
	for key, want := range []int{200, 400} {
		if r := g.ask(asking{path: d.path, body: d.body(items, ""), key: key}); r.status != want {
			t.Errorf("key %d: %d %s", key, r.status, r.body)
		}
	}
}

// TestToolRules refuses tools that the providers refuse.
func TestToolRules(t *testing.T) {
	g := overTCP(t, options())
	long := strings.Repeat("x", 65)
	form := map[string]string{
		"chat":      `{"model":"gpt-4o","messages":[{"role":"user","content":"hi"}],"tools":[%s]}`,
		"responses": `{"model":"gpt-4o","input":"hi","tools":[%s]}`,
		"messages":  `{"model":"claude-haiku-4-5","max_tokens":9,"messages":[{"role":"user","content":"hi"}],"tools":[%s]}`,
	}
	many := func(n int, tool string) string { return strings.TrimSuffix(strings.Repeat(tool+",", n), ",") }
	for _, tc := range []struct{ api, tools, want string }{
		{"chat", many(128, `{"type":"function","function":{"name":"a"}}`), ""},
		{"chat", many(129, `{"type":"function","function":{"name":"a"}}`), "Invalid 'tools': array too long. Expected an array with maximum length 128, but got an array with length 129 instead."},
		{"chat", `{"type":"function","function":{"name":"a.b"}}`, "Invalid 'tools[0].function.name': string does not match pattern."},
		{"chat", `{"type":"function","function":{"name":"` + long + `"}}`, "Invalid 'tools[0].function.name': string too long."},
		{"chat", `{"type":"function","function":{}}`, "Missing required parameter: 'tools[0].function.name'."},
		{"responses", `{"type":"web_search"},{"type":"function","name":"` + long + `"}`, "Invalid 'tools[1].name': string too long. Expected a string with maximum length 64, but got a string with length 65 instead."},
		{"messages", `{"name":"` + long + `","input_schema":{"type":"object"}},{"type":"web_search_20250305","name":"web_search"}`, ""},
		{"messages", many(2, `{"name":"a","input_schema":{"type":"object"}}`), "tools: Tool names must be unique."},
		{"messages", `{"name":"a.b","input_schema":{"type":"object"}}`, "tools.0.custom.name: String should match pattern '^[a-zA-Z0-9_-]{1,128}$'"},
		{"messages", `{"name":"a","input_schema":{}}`, "tools.0.custom.input_schema.type: Field required"},
		{"messages", `{"name":"a","input_schema":{"type":"array"}}`, "tools.0.custom.input_schema.type: Input should be 'object'"},
	} {
		path := map[string]string{"chat": "/openai/v1/chat/completions", "responses": "/openai/v1/responses", "messages": "/anthropic/v1/messages"}[tc.api]
		r := g.ask(asking{path: path, body: fmt.Sprintf(form[tc.api], tc.tools)})
		if got := r.get("error.message").String(); !strings.HasPrefix(got, tc.want) || (r.status == 200) != (tc.want == "") {
			t.Errorf("%d %s, want %q", r.status, r.body, tc.want)
		}
	}
}
