package chat

import (
	"bytes"
	"encoding/json"
	"slices"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
)

// maxTools is how many tools a request may have.
const maxTools = 128

// Inject adds tools behind the request's own. One that asks for no tool calls, for
// several answers, for JSON, or in the form that came before tools, carries none.
func (Dialect) Inject(body []byte, tools []llm.ToolDef) (edited []byte, added []string, err error) {
	object := unpadded(body)
	list := dialect.Member(object, "tools")
	if !carries(object, list) {
		return body, nil, nil
	}
	used := map[string]bool{}
	count := 0
	for parts := dialect.PartsOf(list); ; count++ {
		_, tool, ok := parts.Next()
		if !ok {
			break
		}
		used[toolName(tool)] = true
	}
	var ours [][]byte
	for i := range tools {
		t := &tools[i]
		if used[t.Name] || count+len(ours) >= maxTools {
			continue
		}
		used[t.Name] = true
		ours, added = append(ours, t.Form("chat", definition)), append(added, t.Name)
	}
	if len(ours) == 0 {
		return body, nil, nil
	}
	if !isArray(list) {
		return set(body, "tools", dialect.Array(ours...)), added, nil
	}
	return dialect.Replace(body, list, dialect.Append(list, ours...)), added, nil
}

// carries says that the request can have tools added to the list.
func carries(request, list []byte) bool {
	choices, choice := dialect.Member(request, "n"), dialect.Text(dialect.Member(request, "tool_choice"))
	return isArray(dialect.Member(request, "messages")) &&
		(absent(list) || isArray(list)) && choice != "none" &&
		(absent(choices) || string(choices) == "1") && !dialect.WantsJSON(dialect.Member(request, "response_format")) &&
		absent(dialect.Member(request, "functions")) && absent(dialect.Member(request, "function_call"))
}

// toolName is the name of a tool, or of a call of one, in its definition's place.
func toolName(tool []byte) string {
	for _, kind := range [...]string{"function", "custom"} {
		if name := dialect.Text(dialect.Member(dialect.Member(tool, kind), "name")); name != "" {
			return name
		}
	}
	return ""
}

func definition(t *llm.ToolDef) []byte {
	var b bytes.Buffer
	b.WriteString(`{"type":"function","function":{"name":`)
	b.Write(dialect.Quote(t.Name))
	if t.Description != "" {
		b.WriteString(`,"description":`)
		b.Write(dialect.Quote(t.Description))
	}
	b.WriteString(`,"parameters":`)
	b.Write(parameters(t.Schema))
	b.WriteString(`}}`)
	return b.Bytes()
}

// parameters is the schema as the API takes it: with properties even if it has none.
func parameters(schema []byte) []byte {
	schema = bytes.TrimSpace(schema)
	if !json.Valid(schema) {
		schema = nil
	}
	schema = dialect.ToolSchema(schema)
	if !isObject(dialect.Member(schema, "properties")) {
		return dialect.SetMember(schema, "properties", []byte(`{}`))
	}
	return schema
}

// FollowUp appends what the model said and what the tools returned to the messages.
func (Dialect) FollowUp(body []byte, s dialect.Step, final bool) ([]byte, error) {
	messages := dialect.Member(unpadded(body), "messages")
	if !isArray(messages) {
		return nil, fault.New(fault.BadRequest, `"messages" must be an array`)
	}
	body = dialect.Replace(body, messages, dialect.Append(messages, exchanged(&s)...))
	if final {
		return set(body, "tool_choice", []byte(`"none"`)), nil
	}
	if choice := freed(dialect.Member(unpadded(body), "tool_choice"), s.Said.Mine); choice != nil {
		body = set(body, "tool_choice", choice)
	}
	return body, nil
}

// freed is the choice of tools once these calls have been made: what was demanded has
// been done, and would be done in every turn. It is nil if the choice stays.
func freed(choice []byte, calls []llm.ToolCall) []byte {
	auto := []byte(`"auto"`)
	mode := dialect.Member(dialect.Member(choice, "allowed_tools"), "mode")
	switch word := dialect.Text(choice); {
	case word == "required", word == "any":
		return auto
	case dialect.Text(mode) == "required":
		return dialect.Replace(choice, mode, auto)
	case slices.ContainsFunc(calls, func(c llm.ToolCall) bool { return c.Name == toolName(choice) }):
		return auto
	}
	return nil
}

// exchanged is the messages of one step: the model's, and a tool's for each call of
// the gateway's tools.
func exchanged(s *dialect.Step) [][]byte {
	return append([][]byte{s.Said.Raw}, answers(s)...)
}

// answers is the messages that answer the step's calls of the gateway's tools.
func answers(s *dialect.Step) (messages [][]byte) {
	for i := range s.Said.Mine {
		text := "Not run."
		if i < len(s.Results) {
			text = said(&s.Results[i])
		}
		messages = append(messages, slices.Concat([]byte(`{"role":"tool","tool_call_id":`), dialect.Quote(s.Said.Mine[i].ID),
			[]byte(`,"content":`), dialect.Quote(text), []byte{'}'}))
	}
	return messages
}

// said is a tool's result as the API takes it: a text.
func said(r *llm.ToolResult) string {
	var b bytes.Buffer
	if r.IsError {
		b.WriteString("Error: ")
	}
	begin := b.Len()
	for i := range r.Parts {
		text := r.Parts[i].Text
		if mime := r.Parts[i].MIME; mime != "" {
			text = "[An image (" + mime + ") was left out here: in this API a tool's result can only be text.]"
		}
		if text != "" && b.Len() > begin {
			b.WriteByte('\n')
		}
		b.WriteString(text)
	}
	if b.Len() == begin {
		b.WriteString("(no output)")
	}
	return b.String()
}

// set sets a member of the object that the body is.
func set(body []byte, name string, value []byte) []byte {
	object := unpadded(body)
	return slices.Concat(body[:len(body)-len(object)], dialect.SetMember(object, name, value))
}

// unpadded is the body from its first brace on.
func unpadded(body []byte) []byte { return bytes.TrimLeft(body, " \t\r\n") }

func isArray(value []byte) bool  { return len(value) > 0 && value[0] == '[' }
func isObject(value []byte) bool { return len(value) > 0 && value[0] == '{' }
func isText(value []byte) bool   { return len(value) > 1 && value[0] == '"' }

// absent says that a member is not there, or null, which means the same.
func absent(value []byte) bool { return len(value) == 0 || string(value) == "null" }

// lasts is the object without the members that stand in it again further behind: the
// last of a name is what is read.
func lasts(object []byte) []byte {
	left := map[string]int{}
	for parts := dialect.PartsOf(object); ; {
		name, _, ok := parts.Next()
		if !ok {
			break
		}
		left[string(name)]++
	}
	return rework(object, func(name, v []byte) []byte {
		if left[string(name)]--; left[string(name)] > 0 {
			return nil
		}
		return v
	})
}

// rework returns value, an object or an array, with each of its parts replaced by
// what with makes of it, or left out if that is nil; value itself if nothing changes.
func rework(value []byte, with func(name, part []byte) []byte) []byte {
	var out []byte
	kept, done := 0, 1 // done: how much of value is in out, or would be
	for parts := dialect.PartsOf(value); ; {
		name, part, ok := parts.Next()
		if !ok {
			break
		}
		at := cap(value) - cap(part)
		end := at + len(part)
		made := with(name, part)
		if out == nil && (len(made) != len(part) || &made[0] != &part[0]) {
			out = append(make([]byte, 0, len(value)+len(made)), value[:done]...)
		}
		if made == nil {
			done = end
			continue
		}
		if out != nil {
			before := value[done:at]
			if kept == 0 && done > 1 {
				before = bytes.TrimPrefix(bytes.TrimLeft(before, " \t\r\n"), []byte{','})
			}
			out = append(append(out, before...), made...)
		}
		kept, done = kept+1, end
	}
	if out == nil {
		return value
	}
	return append(out, value[done:]...)
}
