package responses_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/llm"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

var tools = []llm.ToolDef{
	{Name: "kb_x", Description: "Finds <things>.", Schema: []byte(`{"type":"object","properties":{"q":{"type":"string"}}}`)},
	{Name: "kb_y", Schema: []byte(`{"type":"object"}`)},
	{Name: "kb_z", Schema: []byte(`{"type":`)},
}

const (
	defX = `{"type":"function","name":"kb_x","description":"Finds <things>.","parameters":{"type":"object","properties":{"q":{"type":"string"}}},"strict":false}`
	defY = `{"type":"function","name":"kb_y","parameters":{"type":"object","properties":{}},"strict":false}`
	defZ = `{"type":"function","name":"kb_z","parameters":{"type":"object","properties":{}},"strict":false}`
)

func TestInject(t *testing.T) {
	t.Parallel()
	full := strings.Repeat(`{"type":"function","name":"f"},`, 126)
	tests := map[string]struct {
		body, want string // "": as it is
		added      []string
	}{
		"behind the client's": {
			body:  ` {"model":"m","tools": [ {"type":"web_search"} ],"tool_choice":"auto","n":1.0}`,
			want:  ` {"model":"m","tools": [ {"type":"web_search"},` + defX + `,` + defY + `,` + defZ + ` ],"tool_choice":"auto","n":1.0}`,
			added: []string{"kb_x", "kb_y", "kb_z"},
		},
		"none yet":         {body: `{"input":"<hi>" }`, want: `{"input":"<hi>","tools":[` + defX + `,` + defY + `,` + defZ + `] }`, added: []string{"kb_x", "kb_y", "kb_z"}},
		"an empty list":    {body: `{"tools":[]}`, want: `{"tools":[` + defX + `,` + defY + `,` + defZ + `]}`, added: []string{"kb_x", "kb_y", "kb_z"}},
		"a name in use":    {body: `{"tools":[{"type":"custom","name":"kb_x"}]}`, want: `{"tools":[{"type":"custom","name":"kb_x"},` + defY + `,` + defZ + `]}`, added: []string{"kb_y", "kb_z"}},
		"in a namespace":   {body: `{"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"kb_x"},{"name":"kb_z"}]}]}`, want: `{"tools":[{"type":"namespace","name":"n","tools":[{"type":"function","name":"kb_x"},{"name":"kb_z"}]},` + defY + `]}`, added: []string{"kb_y"}},
		"too deep inside":  {body: `{"tools":[{"tools":[{"tools":[{"tools":[{"tools":[{"name":"kb_x"}]}]}]}]},{"name":"kb_y"}]}`, want: `{"tools":[{"tools":[{"tools":[{"tools":[{"tools":[{"name":"kb_x"}]}]}]}]},{"name":"kb_y"},` + defX + `,` + defZ + `]}`, added: []string{"kb_x", "kb_z"}},
		"all but one slot": {body: `{"tools":[` + full + `{"name":"g"}]}`, want: `{"tools":[` + full + `{"name":"g"},` + defX + `]}`, added: []string{"kb_x"}},
		"more than all":    {body: `{"tools":[` + full + full + `{"name":"g"}]}`},
		"no tools wanted":  {body: `{"tools":[],"tool_choice":"none"}`},
		"no list":          {body: `{"tools":{}}`},
		"in background":    {body: `{"background":true}`},
		"not so":           {body: `{"background":false,"tools":[{"name":"kb_x"},{"name":"kb_y"}]}`, want: `{"background":false,"tools":[{"name":"kb_x"},{"name":"kb_y"},` + defZ + `]}`, added: []string{"kb_z"}},
		"null":             {body: `{"tools":null,"prompt":null,"conversation":null,"text":{"verbosity":"low"}}`, want: `{"tools":[` + defX + `,` + defY + `,` + defZ + `],"prompt":null,"conversation":null,"text":{"verbosity":"low"}}`, added: []string{"kb_x", "kb_y", "kb_z"}},
		"a stored prompt":  {body: `{"prompt":{"id":"pmpt_1"},"tools":null}`},
		"one with tools":   {body: `{"prompt":{"id":"pmpt_1"},"tools":[{"name":"kb_x"},{"name":"kb_y"}],"text":{"format":{"type":"text"}}}`, want: `{"prompt":{"id":"pmpt_1"},"tools":[{"name":"kb_x"},{"name":"kb_y"},` + defZ + `],"text":{"format":{"type":"text"}}}`, added: []string{"kb_z"}},
		"in conversation":  {body: `{"conversation":"conv_1","tools":[]}`},
		"JSON wanted":      {body: `{"text":{"format":{"type":"json_schema","name":"x","schema":{}}}}`},
		"no object":        {body: `["tools"]`},
		"broken":           {body: `{"tools":[]`},
	}
	for name, tt := range tests {
		body := []byte(tt.body)
		got, added, err := responses.New().Inject(body, tools)
		if err != nil || !slices.Equal(added, tt.added) {
			t.Errorf("%s: added %v, %v, want %v", name, added, err, tt.added)
		}
		if tt.want == "" && &got[0] != &body[0] {
			t.Errorf("%s: another body: %s", name, got)
		}
		if diff := cmp.Diff(tt.want, string(got)); tt.want != "" && diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

func step(items ...string) dialect.Step {
	s := dialect.Step{Said: dialect.Said{ID: "resp_1", Raw: []byte("[" + strings.Join(items, ",") + "]")}}
	for _, item := range items {
		v := gjson.Parse(item)
		switch c := (llm.ToolCall{ID: v.Get("call_id").Str, Name: v.Get("name").Str}); {
		case mine(c.Name):
			s.Said.Mine = append(s.Said.Mine, c)
			s.Results = append(s.Results, llm.ToolResult{CallID: c.ID, Parts: []llm.Part{{Text: "result of " + c.ID}}})
		case c.ID != "":
			s.Said.Others = append(s.Said.Others, c)
		}
	}
	return s
}

func result(id, text string) string {
	return `{"type":"function_call_output","call_id":"call_` + id + `","output":"` + text + `"}`
}

func ours(id string) string { return result(id, "result of call_"+id) }

func TestFollowUp(t *testing.T) {
	t.Parallel()
	rs, c1 := reasoning("rs_1"), call("1", "kb_x")
	said := rs + "," + c1 + "," + ours("1")
	tests := map[string]struct {
		body, want string
		final      bool
	}{
		"a list": {
			body: ` {"input": [ {"role":"user","content":"<hi>"} ], "store":false,"n":1.0}`,
			want: ` {"input": [ {"role":"user","content":"<hi>"},` + said + ` ], "store":false,"n":1.0}`,
		},
		"a text":  {body: `{"input":"<h\u0069>","x":1}`, want: `{"input":[{"type":"message","role":"user","content":"<h\u0069>"},` + said + `],"x":1}`},
		"no list": {body: `{"input":null}`, want: `{"input":[` + said + `]}`},
		"nothing": {body: `{"prompt":{"id":"pmpt_1"}}`, want: `{"prompt":{"id":"pmpt_1"},"input":[` + said + `]}`},
		"behind another answer, for the last time": {
			body: `{"previous_response_id":"resp_0","input":[],"tool_choice":{"type":"auto"}}`, final: true,
			want: `{"previous_response_id":"resp_0","input":[` + said + `],"tool_choice":"none"}`,
		},
		"for the last time":            {body: `{"input":[]}`, final: true, want: `{"input":[` + said + `],"tool_choice":"none"}`},
		"a demand":                     {body: `{"input":[],"tool_choice":"required"}`, want: `{"input":[` + said + `],"tool_choice":"auto"}`},
		"a demand by name":             {body: `{"input":[],"tool_choice":{"type":"function","name":"kb_x"}}`, want: `{"input":[` + said + `],"tool_choice":"auto"}`},
		"of the client's":              {body: `{"input":[],"tool_choice":{"type":"function","name":"a"}}`, want: `{"input":[` + said + `],"tool_choice":{"type":"function","name":"a"}}`},
		"one of a list":                {body: `{"input":[],"tool_choice":{"type":"allowed_tools","mode":"required","tools":[1]}}`, want: `{"input":[` + said + `],"tool_choice":{"type":"allowed_tools","mode":"auto","tools":[1]}}`},
		"on demand, for the last time": {body: `{"input":[],"tool_choice":"required"}`, final: true, want: `{"input":[` + said + `],"tool_choice":"none"}`},
	}
	for name, tt := range tests {
		got, err := responses.New().FollowUp([]byte(tt.body), step(rs, c1), tt.final)
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	if _, err := responses.New().FollowUp([]byte(`{"input":`), step(c1), false); err == nil {
		t.Error("a broken body passes")
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	png := llm.Part{MIME: "image/png", Data: "iVBOR/+="}
	const image = `{"type":"input_image","image_url":"data:image/png;base64,iVBOR/+="}`
	tests := map[string]struct {
		result llm.ToolResult
		want   string
	}{
		"a text":            {llm.ToolResult{Parts: []llm.Part{{Text: "a <b> & \"c\"\n"}}}, `"a <b> & \"c\"\n"`},
		"texts":             {llm.ToolResult{Parts: []llm.Part{{Text: "a"}, {}, {Text: "b"}}}, `"a\nb"`},
		"an error":          {llm.ToolResult{Parts: []llm.Part{{Text: "gone"}}, IsError: true}, `"Error: gone"`},
		"nothing":           {llm.ToolResult{}, `"(no output)"`},
		"an empty error":    {llm.ToolResult{Parts: []llm.Part{{}}, IsError: true}, `"Error: (no output)"`},
		"an image":          {llm.ToolResult{Parts: []llm.Part{png}}, `[` + image + `]`},
		"a text, an image":  {llm.ToolResult{Parts: []llm.Part{{Text: "<see>"}, png, {Text: "b"}}}, `[{"type":"input_text","text":"<see>"},` + image + `,{"type":"input_text","text":"b"}]`},
		"an image in error": {llm.ToolResult{Parts: []llm.Part{png}, IsError: true}, `[{"type":"input_text","text":"Error:"},` + image + `]`},
	}
	for name, tt := range tests {
		s := step(call("1", "kb_x"))
		parts := slices.Clone(tt.result.Parts)
		s.Results = []llm.ToolResult{tt.result}
		got, err := responses.New().FollowUp([]byte(`{"input":[]}`), s, false)
		if out := gjson.GetBytes(got, "input.1.output").Raw; out != tt.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, out, err, tt.want)
		}
		if diff := cmp.Diff(parts, tt.result.Parts); diff != "" {
			t.Errorf("%s: the result itself was changed: %s", name, diff)
		}
	}
}

// Arguments are a string: what is no object may be repeated as it came.
func TestFollowUpRepeatsBrokenArguments(t *testing.T) {
	t.Parallel()
	for _, arguments := range []string{``, `{\"a\":`, `[1]`, `\u0000\"`} {
		item := strings.Replace(call("1", "kb_x"), `{\"q\":\"1\"}`, arguments, 1)
		_, all := feed(t, 1, said{id: "resp_1", items: []string{item}}.stream())
		if len(all[0].Mine) != 1 || all[0].Cut {
			t.Fatalf("said %+v", all[0])
		}
		var want string
		if err := json.Unmarshal([]byte(`"`+arguments+`"`), &want); err != nil || string(all[0].Mine[0].Arguments) != want {
			t.Errorf("arguments %q, want %q", all[0].Mine[0].Arguments, want)
		}
		got, err := responses.New().FollowUp([]byte(`{"input":"x"}`), dialect.Step{Said: all[0], Results: []llm.ToolResult{{CallID: "call_1"}}}, false)
		if err != nil || !json.Valid(got) || !bytes.Contains(got, []byte(item)) {
			t.Errorf("%s, %v", got, err)
		}
	}
}

func FuzzInject(f *testing.F) {
	f.Add([]byte(` {"tools":[{"type":"function","name":"kb_x"}],"tool_choice":"auto"}`))
	f.Add([]byte(`{"tools":{"a":1},"tools":[],"background":true}`))
	f.Add([]byte(`{"input":[{"role":"user"}],"conversation":"","t\u006fols":[]}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			t.Skip()
		}
		got, added, err := responses.New().Inject(body, tools)
		if err != nil || !json.Valid(got) || len(added) == 0 && !bytes.Equal(got, body) {
			t.Fatalf("%s became %s, with %v, %v", body, got, added, err)
		}
		if again, more, _ := responses.New().Inject(got, tools); len(more) > 0 || !bytes.Equal(again, got) {
			if len(added) == len(tools) {
				t.Fatalf("%s became %s", got, again)
			}
		}
		follow, err := responses.New().FollowUp(got, step(reasoning("rs_1"), call("1", "kb_x")), true)
		if dialect.Whole(body) != (err == nil) || err == nil && !json.Valid(follow) {
			t.Fatalf("%s became %s, %v", got, follow, err)
		}
	})
}

func BenchmarkInject(b *testing.B) {
	body := fmt.Appendf(nil, `{"input":%q,"tools":[{"type":"web_search"}]}`, strings.Repeat("word ", 20_000))
	for b.Loop() {
		_, _, _ = responses.New().Inject(body, tools)
	}
}
