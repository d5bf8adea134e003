package messages_test

import (
	"encoding/json"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"
)

var (
	_ dialect.Tooler   = messages.Dialect{}
	_ dialect.Recaller = messages.Dialect{}
)

var tools = []llm.ToolDef{
	{Name: "kb_a", Description: "Does <a> & \"b\"", Schema: []byte(`{ "type":"object","properties":{"n":{"type":"number"}} }`)},
	{Name: "kb_b", Schema: []byte(`{"type":"object","anyOf":[{"required":["x"]}]}`)},
}

const (
	toolA = `{"name":"kb_a","description":"Does <a> & \"b\"","input_schema":{ "type":"object","properties":{"n":{"type":"number"}} }}`
	toolB = `{"name":"kb_b","input_schema":{"type":"object","properties":{}}}`
)

func TestInject(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ body, want, added string }{
		{`{ "model":"m", "x":1.0 }`, `{ "model":"m", "x":1.0,"tools":[` + toolA + `,` + toolB + `] }`, "kb_a kb_b"},
		{`{"tools":[],"z":"<>"}`, `{"tools":[` + toolA + `,` + toolB + `],"z":"<>"}`, "kb_a kb_b"},
		{
			`{"tools": [ {"name":"bash","cache_control":{"type":"ephemeral"}, "strict":true} ], "tool_choice":{"type":"any","disable_parallel_tool_use":true}}`,
			`{"tools": [ {"name":"bash","cache_control":{"type":"ephemeral"}, "strict":true},` + toolA + `,` + toolB + ` ], "tool_choice":{"type":"any","disable_parallel_tool_use":true}}`,
			"kb_a kb_b",
		},
		{`{"tools":[{"name":"kb_\u0061"}]}`, `{"tools":[{"name":"kb_\u0061"},` + toolB + `]}`, "kb_b"},
		{`{"tools":[{"name":"kb_a"},{"type":"x","name":"kb_b"}]}`, ``, ""},
		{`{"tool_choice":{"type":"none"}}`, ``, ""},
		{`{"tools":{"name":"x"}}`, ``, ""},
		{`{"tools":null}`, `{"tools":[` + toolA + `,` + toolB + `]}`, "kb_a kb_b"},
		{"\n {\"tools\":[]}", "\n {\"tools\":[" + toolA + "," + toolB + "]}", "kb_a kb_b"},
		{`{"output_config":{"effort":"low","format":{"type":"json_schema","schema":{}}}}`, ``, ""},
		{`{"output_format":{"type":"json_schema","schema":{}}}`, ``, ""},
		{`{"output_config":{"format":null},"tools":[]}`, `{"output_config":{"format":null},"tools":[` + toolA + `,` + toolB + `]}`, "kb_a kb_b"},
	} {
		got, added, err := messages.New().Inject([]byte(c.body), tools)
		want := c.want
		if want == "" {
			want = c.body
		}
		if err != nil || string(got) != want || strings.Join(added, " ") != c.added {
			t.Errorf("%s: %s, want %s (%v, %v)", c.body, got, want, added, err)
		}
	}
	body := []byte(`{"model":"m"}`)
	if got, added, err := messages.New().Inject(body, nil); err != nil || len(added) > 0 || &got[0] != &body[0] {
		t.Errorf("no tools: %s", got)
	}
	if _, added, _ := messages.New().Inject(body, []llm.ToolDef{tools[0], tools[0]}); len(added) != 1 {
		t.Errorf("twins: %v", added)
	}
}

func TestFollowUp(t *testing.T) {
	t.Parallel()
	step := dialect.Step{
		Said: dialect.Said{Raw: []byte(list(plan, own("o1"))), Mine: []llm.ToolCall{{ID: "o1", Name: "kb_a"}}},
		Results: []llm.ToolResult{
			{CallID: "o1", Parts: []llm.Part{{Text: "a <b>"}, {MIME: "image/png", Data: "aGk="}, {Text: " "}}},
			{CallID: "o2", IsError: true, Parts: []llm.Part{{MIME: "image/png", Data: "aGk="}, {Text: "bad"}}},
			{CallID: "o3"},
		},
	}
	turns := `{"role":"assistant","content":` + list(plan, own("o1")) + `},{"role":"user","content":[` +
		`{"type":"tool_result","tool_use_id":"o1","content":[{"type":"text","text":"a <b>"},{"type":"image","source":{"type":"base64","media_type":"image/png","data":"aGk="}}]},` +
		`{"type":"tool_result","tool_use_id":"o2","content":[{"type":"text","text":"(An image, image/png, was left out: an error can carry text only.)"},{"type":"text","text":"bad"}],"is_error":true},` +
		`{"type":"tool_result","tool_use_id":"o3","content":[{"type":"text","text":"(no output)"}]}]}`
	for _, c := range []struct {
		body, want string
		final      bool
	}{
		{`{"messages": [ {"role":"user","content":"x"} ], "tool_choice": {"type":"auto"}}`, `{"messages": [ {"role":"user","content":"x"},` + turns + ` ], "tool_choice": {"type":"auto"}}`, false},
		{`{"messages":[1],"tool_choice": {"type":"any"},"a":1}`, `{"messages":[1,` + turns + `],"tool_choice": {"type":"none"},"a":1}`, true},
		{`{"messages":[]}`, `{"messages":[` + turns + `],"tool_choice":{"type":"none"}}`, true},
		{"\n{\"messages\":[]}", "\n{\"messages\":[" + turns + "]}", false},
		{`{"messages":[],"tool_choice":{"type":"any","disable_parallel_tool_use":true}}`, `{"messages":[` + turns + `],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`, false},
		{`{"messages":[],"tool_choice":{"type":"tool","name":"kb_a","disable_parallel_tool_use":true}}`, `{"messages":[` + turns + `],"tool_choice":{"type":"auto","disable_parallel_tool_use":true}}`, false},
		{`{"messages":[],"tool_choice":{"type":"tool","name":"kb_a"}}`, `{"messages":[` + turns + `],"tool_choice":{"type":"auto"}}`, false},
		{`{"messages":[],"tool_choice":{"type":"tool","name":"bash"}}`, `{"messages":[` + turns + `],"tool_choice":{"type":"tool","name":"bash"}}`, false},
	} {
		got, err := messages.New().FollowUp([]byte(c.body), step, c.final)
		if err != nil || string(got) != c.want {
			t.Errorf("%s:\n%s\nwant\n%s (%v)", c.body, got, c.want, err)
		}
	}
}

func FuzzInject(f *testing.F) {
	f.Add([]byte(`{"model":"m","tools":[{"name":"bash"}],"messages":[]}`))
	f.Add([]byte(`{"tools":[1,"x",null,[]],"tool_choice":[]}`))
	f.Add([]byte(`{"container":{},"messages":{}}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		d := messages.New()
		got, added, err := d.Inject(body, tools)
		next, wrong := d.FollowUp(body, dialect.Step{Said: dialect.Said{Raw: []byte("[]"), Container: "c"}, Results: []llm.ToolResult{{CallID: "x"}}}, true)
		if !json.Valid(body) || !dialect.Whole(body) {
			return
		}
		if err != nil || wrong != nil || !json.Valid(got) || !json.Valid(next) || len(added) == 0 && string(got) != string(body) {
			t.Errorf("%s: %s (%v) %s", body, got, added, next)
		}
	})
}
