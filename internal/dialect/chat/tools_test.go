package chat_test

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

var (
	_ dialect.Tooler   = chat.New()
	_ dialect.Recaller = chat.New()
)

var tools = []llm.ToolDef{
	{Name: "kb_x", Description: "Finds <things>.", Schema: []byte(`{"type":"object","properties":{"q":{"type":"string"}}}`)},
	{Name: "kb_y", Schema: []byte(`{"type":"object"}`)},
	{Name: "kb_z", Schema: []byte(`{"type":`)},
}

const (
	defX = `{"type":"function","function":{"name":"kb_x","description":"Finds <things>.","parameters":{"type":"object","properties":{"q":{"type":"string"}}}}}`
	defY = `{"type":"function","function":{"name":"kb_y","parameters":{"type":"object","properties":{}}}}`
	defZ = `{"type":"function","function":{"name":"kb_z","parameters":{"type":"object","properties":{}}}}`
)

func TestInject(t *testing.T) {
	t.Parallel()
	full := strings.Repeat(`{"type":"function","function":{"name":"f"}},`, 126)
	every := []string{"kb_x", "kb_y", "kb_z"}
	tests := map[string]struct {
		body, want string // "": as it is
		added      []string
	}{
		"behind the client's": {
			body:  ` {"messages":[],"tools": [ {"type":"function","function":{"name":"a","strict":true}} ],"tool_choice":"required","n":1,"x":1.0}`,
			want:  ` {"messages":[],"tools": [ {"type":"function","function":{"name":"a","strict":true}},` + defX + `,` + defY + `,` + defZ + ` ],"tool_choice":"required","n":1,"x":1.0}`,
			added: every,
		},
		"none yet":         {body: ` {"messages":["<hi>"] }`, want: ` {"messages":["<hi>"],"tools":[` + defX + `,` + defY + `,` + defZ + `] }`, added: every},
		"an empty list":    {body: `{"messages":[],"tools":[]}`, want: `{"messages":[],"tools":[` + defX + `,` + defY + `,` + defZ + `]}`, added: every},
		"null":             {body: `{"tools":null,"messages":[],"n":null,"functions":null}`, want: `{"tools":[` + defX + `,` + defY + `,` + defZ + `],"messages":[],"n":null,"functions":null}`, added: every},
		"names in use":     {body: `{"messages":[],"tools":[{"type":"custom","custom":{"name":"kb_x"}},{"function":{"name":"kb\u005fz"}}]}`, want: `{"messages":[],"tools":[{"type":"custom","custom":{"name":"kb_x"}},{"function":{"name":"kb\u005fz"}},` + defY + `]}`, added: []string{"kb_y"}},
		"a forced call":    {body: `{"messages":[],"tools":[{"function":{"name":"a"}},{},1],"tool_choice":{"type":"function","function":{"name":"a"}}}`, want: `{"messages":[],"tools":[{"function":{"name":"a"}},{},1,` + defX + `,` + defY + `,` + defZ + `],"tool_choice":{"type":"function","function":{"name":"a"}}}`, added: every},
		"all but one slot": {body: `{"messages":[],"tools":[` + full + `{"name":"g"}]}`, want: `{"messages":[],"tools":[` + full + `{"name":"g"},` + defX + `]}`, added: []string{"kb_x"}},
		"more than all":    {body: `{"messages":[],"tools":[` + full + full + `{"name":"g"}]}`},
		"no tools wanted":  {body: `{"messages":[],"tools":[],"tool_choice":"none"}`},
		"several answers":  {body: `{"messages":[],"n":2}`},
		"JSON wanted":      {body: `{"messages":[],"response_format":{"type":"json_schema","json_schema":{}}}`},
		"a text wanted":    {body: `{"messages":[],"tools":[{}],"response_format":{"type":"text"}}`, want: `{"messages":[],"tools":[{},` + defX + `,` + defY + `,` + defZ + `],"response_format":{"type":"text"}}`, added: every},
		"functions":        {body: `{"messages":[],"functions":[]}`},
		"a function call":  {body: `{"messages":[],"function_call":"auto"}`},
		"no list":          {body: `{"messages":[],"tools":{}}`},
		"no messages":      {body: `{"messages":"hi"}`},
		"no object":        {body: `["tools"]`},
		"nothing":          {body: ``},
	}
	for name, tt := range tests {
		body := []byte(tt.body)
		got, added, err := chat.New().Inject(body, tools)
		if err != nil || !slices.Equal(added, tt.added) {
			t.Errorf("%s: added %v, %v, want %v", name, added, err, tt.added)
		}
		if tt.want == "" && (len(got) != len(body) || len(got) > 0 && &got[0] != &body[0]) {
			t.Errorf("%s: another body: %s", name, got)
		}
		if diff := cmp.Diff(tt.want, string(got)); tt.want != "" && diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// step is a turn with these calls, those of the gateway's answered.
func step(n string, calls ...string) dialect.Step {
	raw := `{"role":"assistant","content":"said <` + n + `>","tool_calls":[` + strings.Join(calls, ",") + `]}`
	s := dialect.Said{ID: "chatcmpl-" + n, Raw: []byte(raw)}
	for _, c := range calls {
		v := gjson.Parse(c)
		call := llm.ToolCall{ID: v.Get("id").Str, Name: v.Get("function.name").Str, Arguments: []byte(v.Get("function.arguments").Str)}
		if mine(call.Name) {
			s.Mine = append(s.Mine, call)
		} else {
			s.Others = append(s.Others, call)
		}
	}
	return results(s)
}

func TestFollowUp(t *testing.T) {
	t.Parallel()
	s := step("1", called("c1", "kb_x", "{}"), called("c2", "kb_y", "{"))
	all := string(s.Said.Raw) + "," + result("c1") + "," + result("c2")
	tests := map[string]struct {
		body, want string
		final      bool
	}{
		"behind the others": {body: ` {"messages": [ {"role":"user","content":"<hi>"} ], "n":1.0}`, want: ` {"messages": [ {"role":"user","content":"<hi>"},` + all + ` ], "n":1.0}`},
		"for the last time": {body: `{"messages":[],"tool_choice":{"type":"auto"},"x":1}`, final: true, want: `{"messages":[` + all + `],"tool_choice":"none","x":1}`},
		"and not said how":  {body: ` {"messages":[] }`, final: true, want: ` {"messages":[` + all + `],"tool_choice":"none" }`},
		"a demand":          {body: `{"messages":[],"tool_choice":"required"}`, want: `{"messages":[` + all + `],"tool_choice":"auto"}`},
		"a demand by name":  {body: `{"messages":[],"tool_choice":{"type":"function","function":{"name":"kb_y"}}}`, want: `{"messages":[` + all + `],"tool_choice":"auto"}`},
		"of the client's":   {body: `{"messages":[],"tool_choice":{"type":"function","function":{"name":"a"}}}`, want: `{"messages":[` + all + `],"tool_choice":{"type":"function","function":{"name":"a"}}}`},
		"one of a list": {
			body: `{"messages":[],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"required","tools":[1]}}}`,
			want: `{"messages":[` + all + `],"tool_choice":{"type":"allowed_tools","allowed_tools":{"mode":"auto","tools":[1]}}}`,
		},
		"for the last time, on demand": {body: `{"messages":[],"tool_choice":"required"}`, final: true, want: `{"messages":[` + all + `],"tool_choice":"none"}`},
	}
	for name, tt := range tests {
		got, err := chat.New().FollowUp([]byte(tt.body), s, tt.final)
		if diff := cmp.Diff(tt.want, string(got)); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", name, err, diff)
		}
	}
	for _, body := range []string{`{"messages":1}`, `{}`, ``} {
		if _, err := chat.New().FollowUp([]byte(body), s, false); err == nil {
			t.Errorf("%s passes", body)
		}
	}
}

func TestResults(t *testing.T) {
	t.Parallel()
	png := llm.Part{MIME: "image/png", Data: "iVBOR/+="}
	const image = `[An image (image/png) was left out here: in this API a tool's result can only be text.]`
	tests := map[string]struct {
		result llm.ToolResult
		want   string
	}{
		"a text":            {llm.ToolResult{Parts: []llm.Part{{Text: "a <b> & \"c\"\n"}}}, `"a <b> & \"c\"\n"`},
		"texts":             {llm.ToolResult{Parts: []llm.Part{{Text: "a"}, {Text: "b"}}}, `"a\nb"`},
		"an error":          {llm.ToolResult{Parts: []llm.Part{{Text: "gone"}}, IsError: true}, `"Error: gone"`},
		"nothing":           {llm.ToolResult{}, `"(no output)"`},
		"empty texts":       {llm.ToolResult{Parts: []llm.Part{{}, {}}}, `"(no output)"`},
		"an empty error":    {llm.ToolResult{Parts: []llm.Part{{}}, IsError: true}, `"Error: (no output)"`},
		"a text, an image":  {llm.ToolResult{Parts: []llm.Part{{Text: "<see>"}, png}}, `"<see>\n` + image + `"`},
		"an image in error": {llm.ToolResult{Parts: []llm.Part{png}, IsError: true}, `"Error: ` + image + `"`},
	}
	for name, tt := range tests {
		s := step("1", called("c1", "kb_x", "{}"))
		s.Results = []llm.ToolResult{tt.result}
		got, err := chat.New().FollowUp([]byte(`{"messages":[]}`), s, false)
		if out := gjson.GetBytes(got, "messages.1.content").Raw; out != tt.want || err != nil {
			t.Errorf("%s: %s, %v, want %s", name, out, err, tt.want)
		}
	}
	s := step("1", called("c1", "kb_x", "{}"))
	s.Results = nil // asked for no more calls, the model has made one
	if got, _ := chat.New().FollowUp([]byte(`{"messages":[]}`), s, false); gjson.GetBytes(got, "messages.1.content").Str != "Not run." {
		t.Errorf("a call without a result: %s", got)
	}
}

// Arguments are a string: what is no object may be repeated as it came.
func TestFollowUpRepeatsBrokenArguments(t *testing.T) {
	t.Parallel()
	for arguments, repeated := range map[string]string{``: `{}`, `{\"a\":`: `{\"a\":`, `[1]`: `[1]`, `\u0000\"`: `\u0000\"`} {
		for f, body := range map[wire.Framing][]byte{
			wire.SSE:  said{n: 1, deltas: []string{opens(0, "c1", "kb_x"), goesOn(0, arguments)}, finish: "tool_calls"}.stream(),
			wire.JSON: said{n: 1, deltas: []string{`{"role":"assistant","content":null,"tool_calls":[` + called("c1", "kb_x", arguments) + `]}`}, finish: "tool_calls"}.body(),
		} {
			_, all := feed(f, body)
			var want string
			if err := json.Unmarshal([]byte(`"`+arguments+`"`), &want); err != nil || len(all[0].Mine) != 1 || all[0].Cut || string(all[0].Mine[0].Arguments) != want {
				t.Errorf("said %+v, want arguments %q", all[0], want)
			}
			got, err := chat.New().FollowUp([]byte(`{"messages":[]}`), results(all[0]), false)
			if err != nil || !json.Valid(got) || !bytes.Contains(got, []byte(called("c1", "kb_x", repeated))) {
				t.Errorf("%s, %v", got, err)
			}
		}
	}
}

func FuzzInject(f *testing.F) {
	f.Add([]byte(` {"messages":[],"tools":[{"type":"function","function":{"name":"kb_x"}}],"tool_choice":"auto"}`))
	f.Add([]byte(`{"messages":[{}],"tools":{"a":1},"tools":[],"n":1}`))
	f.Add([]byte(`{"messages":[{"role":"user"}],"t\u006fols":[], "tools" : null }`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if !json.Valid(body) {
			t.Skip()
		}
		got, added, err := chat.New().Inject(body, tools)
		if err != nil || !json.Valid(got) || len(added) == 0 && !bytes.Equal(got, body) {
			t.Fatalf("%s became %s, with %v, %v", body, got, added, err)
		}
		again, more, _ := chat.New().Inject(got, tools)
		if len(added) == len(tools) && (len(more) > 0 || !bytes.Equal(again, got)) {
			t.Fatalf("%s became %s", got, again)
		}
		follow, err := chat.New().FollowUp(got, step("1", called("c1", "kb_x", "{}")), true)
		if len(added) > 0 && err != nil || err == nil && !json.Valid(follow) {
			t.Fatalf("%s became %s, %v", got, follow, err)
		}
	})
}
