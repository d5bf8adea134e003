package responses

import (
	"bytes"
	"encoding/json"
	"slices"
	"strings"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// mostTools is how many tools the API takes.
const mostTools = 128

// request is what of a request's members the tool loop reads.
type request struct {
	tools, choice, input, previous, conversation, background, prompt, text []byte
}

func readRequest(object []byte) (r request) {
	for parts := dialect.PartsOf(object); ; {
		name, value, ok := parts.Next()
		if !ok {
			return r
		}
		switch string(name) {
		case "tools":
			r.tools = value
		case "tool_choice":
			r.choice = value
		case "input":
			r.input = value
		case "previous_response_id":
			r.previous = value
		case "conversation":
			r.conversation = value
		case "background":
			r.background = value
		case "prompt":
			r.prompt = value
		case "text":
			r.text = value
		}
	}
}

// carries says that the request can have tools added. One that runs in the background is
// fetched by others. A conversation of the provider's would hold a call without its result
// for good if the loop broke off. A list would take the place of a stored prompt's own. And
// what several turns say together is no JSON.
func (r *request) carries() bool {
	return dialect.Text(r.choice) != "none" && string(r.background) != "true" && !dialect.Says(r.conversation) &&
		(r.unlisted() && !dialect.Says(r.prompt) || r.tools != nil && r.tools[0] == '[') &&
		!dialect.WantsJSON(dialect.Member(r.text, "format"))
}

// unlisted says that the request has no list of tools.
func (r *request) unlisted() bool { return r.tools == nil || string(r.tools) == "null" }

// split parts a body from the space before it.
func split(body []byte) (space, object []byte) {
	object = bytes.TrimLeft(body, " \t\r\n")
	return body[:len(body)-len(object)], object
}

// Inject adds tools; see dialect.Tooler.
func (Dialect) Inject(body []byte, tools []llm.ToolDef) (edited []byte, added []string, err error) {
	space, object := split(body)
	r := readRequest(object)
	if !r.carries() || !dialect.Whole(object) {
		return body, nil, nil
	}
	used := map[string]bool{"": true}
	room := mostTools - names(r.tools, used, 0)
	var more [][]byte
	for i := range tools {
		t := &tools[i]
		if used[t.Name] || len(more) >= room {
			continue
		}
		used[t.Name] = true
		more, added = append(more, t.Form("responses", definition)), append(added, t.Name)
	}
	switch {
	case len(more) == 0:
		return body, nil, nil
	case r.unlisted():
		object = dialect.SetMember(object, "tools", dialect.Array(more...))
	default:
		object = dialect.Replace(object, r.tools, dialect.Append(r.tools, more...))
	}
	return slices.Concat(space, object), added, nil
}

// names notes the names of tools, those in namespaces too, and returns how many tools
// there are.
func names(tools []byte, used map[string]bool, depth int) (n int) {
	const deepest = 4
	for parts := dialect.PartsOf(tools); depth < deepest; n++ {
		_, tool, ok := parts.Next()
		if !ok {
			break
		}
		used[dialect.Text(dialect.Member(tool, "name"))] = true
		if inner := dialect.Member(tool, "tools"); inner != nil {
			names(inner, used, depth+1)
		}
	}
	return n
}

// definition is a tool as the API takes it. Strict has to be denied: its default asks
// for schemas that few servers write.
func definition(t *llm.ToolDef) []byte {
	b := append([]byte(`{"type":"function","name":`), dialect.Quote(t.Name)...)
	if t.Description != "" {
		b = append(append(b, `,"description":`...), dialect.Quote(t.Description)...)
	}
	b = append(append(b, `,"parameters":`...), parameters(t.Schema)...)
	return append(b, `,"strict":false}`...)
}

// parameters is the schema of a tool's arguments. This API refuses one of an object
// that lists no properties, be it an empty list.
func parameters(schema []byte) []byte {
	schema = bytes.TrimSpace(schema)
	if !json.Valid(schema) {
		schema = nil
	}
	if schema = dialect.ToolSchema(schema); dialect.Member(schema, "properties") == nil {
		return dialect.SetMember(schema, "properties", []byte("{}"))
	}
	return schema
}

// FollowUp is the request of the next turn; see dialect.Tooler.
func (Dialect) FollowUp(body []byte, s dialect.Step, final bool) ([]byte, error) {
	space, object := split(body)
	if err := dialect.Walk(object, func(_, _ []byte, _ int) error { return nil }); err != nil {
		return nil, err
	}
	r := readRequest(object)
	more := outputs(&s)
	var input []byte
	switch {
	case len(r.input) > 0 && r.input[0] == '[':
		input = dialect.Append(r.input, append(elements(s.Said.Raw), more...)...)
	case len(r.input) > 0 && r.input[0] == '"':
		input = dialect.Array(slices.Concat([][]byte{asked(r.input)}, elements(s.Said.Raw), more)...)
	default:
		input = dialect.Array(append(elements(s.Said.Raw), more...)...)
	}
	object = dialect.SetMember(object, "input", input)
	choice := freed(r.choice, s.Said.Mine)
	if final {
		choice = []byte(`"none"`)
	}
	if choice != nil {
		object = dialect.SetMember(object, "tool_choice", choice)
	}
	return slices.Concat(space, object), nil
}

// freed is the choice of tools once these calls have been made: what was demanded has
// been done, and would be done in every turn. It is nil if the choice stays.
func freed(choice []byte, calls []llm.ToolCall) []byte {
	auto := []byte(`"auto"`)
	mode, name := dialect.Member(choice, "mode"), dialect.Text(dialect.Member(choice, "name"))
	switch {
	case dialect.Text(choice) == "required":
		return auto
	case dialect.Text(mode) == "required":
		return dialect.Replace(choice, mode, auto)
	case name != "" && slices.ContainsFunc(calls, func(c llm.ToolCall) bool { return c.Name == name }):
		return auto
	}
	return nil
}

// asked is the item that an input stands for that is a text.
func asked(text []byte) []byte {
	return slices.Concat([]byte(`{"type":"message","role":"user","content":`), text, []byte("}"))
}

func elements(array []byte) (all [][]byte) {
	for parts := dialect.PartsOf(array); ; {
		_, v, ok := parts.Next()
		if !ok {
			return all
		}
		all = append(all, v)
	}
}

// outputs are the items that answer the step's calls of the gateway's tools.
func outputs(s *dialect.Step) (items [][]byte) {
	for i := range s.Said.Mine {
		var r llm.ToolResult
		if i < len(s.Results) {
			r = s.Results[i]
		}
		items = append(items, slices.Concat([]byte(`{"type":"function_call_output","call_id":`), dialect.Quote(s.Said.Mine[i].ID),
			[]byte(`,"output":`), output(&r), []byte("}")))
	}
	return items
}

// output is a result as the API takes it: a text, or, if there is an image, a list.
func output(r *llm.ToolResult) []byte {
	const failed, nothing = "Error: ", "(no output)"
	parts := make([]llm.Part, 0, len(r.Parts)+1)
	pictures := false
	for _, p := range r.Parts {
		if p.MIME != "" || p.Text != "" {
			parts = append(parts, p)
			pictures = pictures || p.MIME != ""
		}
	}
	if len(parts) == 0 {
		parts = append(parts, llm.Part{Text: nothing})
	}
	switch {
	case r.IsError && parts[0].MIME != "":
		parts = slices.Insert(parts, 0, llm.Part{Text: strings.TrimSpace(failed)})
	case r.IsError:
		parts[0].Text = failed + parts[0].Text
	}
	var texts []string
	var list [][]byte
	for _, p := range parts {
		if p.MIME != "" {
			list = append(list, slices.Concat([]byte(`{"type":"input_image","image_url":`), dialect.Quote("data:"+p.MIME+";base64,"+p.Data), []byte("}")))
			continue
		}
		texts = append(texts, p.Text)
		list = append(list, slices.Concat([]byte(`{"type":"input_text","text":`), dialect.Quote(p.Text), []byte("}")))
	}
	if pictures {
		return dialect.Array(list...)
	}
	return dialect.Quote(strings.Join(texts, "\n"))
}
