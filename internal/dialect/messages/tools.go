package messages

import (
	"slices"
	"strings"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// Inject adds tools behind those of the request; see dialect.Tooler. One that asks for no
// calls, or for JSON, has none.
func (Dialect) Inject(body []byte, tools []llm.ToolDef) (edited []byte, added []string, err error) {
	list := dialect.Member(body, "tools")
	absent := list == nil || string(list) == "null"
	if len(tools) == 0 || !absent && list[0] != '[' || dialect.Text(dialect.Member(dialect.Member(body, "tool_choice"), "type")) == "none" ||
		dialect.WantsJSON(dialect.Member(dialect.Member(body, "output_config"), "format")) || dialect.WantsJSON(dialect.Member(body, "output_format")) {
		return body, nil, nil
	}
	taken := map[string]bool{}
	for parts := dialect.PartsOf(list); ; {
		_, tool, ok := parts.Next()
		if !ok {
			break
		}
		taken[dialect.Text(dialect.Member(tool, "name"))] = true
	}
	var more [][]byte
	for i := range tools {
		tool := &tools[i]
		if taken[tool.Name] {
			continue
		}
		taken[tool.Name] = true
		added = append(added, tool.Name)
		more = append(more, tool.Form("messages", definition))
	}
	switch {
	case len(more) == 0:
		return body, nil, nil
	case absent:
		return dialect.SetMember(body, "tools", dialect.Array(more...)), added, nil
	}
	return dialect.Replace(body, list, dialect.Append(list, more...)), added, nil
}

func definition(tool *llm.ToolDef) []byte {
	d := slices.Concat([]byte(`{"name":`), dialect.Quote(tool.Name))
	if tool.Description != "" {
		d = slices.Concat(d, []byte(`,"description":`), dialect.Quote(tool.Description))
	}
	return slices.Concat(d, []byte(`,"input_schema":`), dialect.ToolSchema(tool.Schema), []byte{'}'})
}

// FollowUp is the request of the next turn; see dialect.Tooler.
func (Dialect) FollowUp(body []byte, s dialect.Step, final bool) ([]byte, error) {
	turns := dialect.Member(body, "messages")
	if len(turns) == 0 || turns[0] != '[' {
		turns = []byte("[]") // the provider has answered, so whatever it was does not matter
	}
	turns = dialect.Append(turns, message("assistant", s.Said.Raw), message("user", dialect.Array(results(s.Results)...)))
	body = dialect.SetMember(body, "messages", turns)
	if s.Said.Container != "" {
		body = inContainer(body, s.Said.Container)
	}
	if final {
		return dialect.SetMember(body, "tool_choice", []byte(`{"type":"none"}`)), nil
	}
	if choice := freed(dialect.Member(body, "tool_choice"), s.Said.Mine); choice != nil {
		body = dialect.SetMember(body, "tool_choice", choice)
	}
	return body, nil
}

// freed is the choice of tools once these calls have been made: what was demanded has
// been done, and would be done in every turn. It is nil if the choice stays.
func freed(choice []byte, calls []llm.ToolCall) []byte {
	kind, name := dialect.Member(choice, "type"), dialect.Text(dialect.Member(choice, "name"))
	switch {
	case dialect.Text(kind) == "any":
		return dialect.Replace(choice, kind, []byte(`"auto"`))
	case dialect.Text(kind) == "tool" && slices.ContainsFunc(calls, func(c llm.ToolCall) bool { return c.Name == name }):
		auto := []byte(`{"type":"auto"}`)
		if alone := dialect.Member(choice, "disable_parallel_tool_use"); alone != nil {
			auto = dialect.SetMember(auto, "disable_parallel_tool_use", alone)
		}
		return auto
	}
	return nil
}

// inContainer lets the request's tools run where those of the turn before did.
func inContainer(body []byte, id string) []byte {
	value := dialect.Quote(id)
	if asked := dialect.Member(body, "container"); len(asked) > 0 && asked[0] == '{' {
		value = dialect.SetMember(asked, "id", value)
	}
	return dialect.SetMember(body, "container", value)
}

func message(role string, content []byte) []byte {
	return slices.Concat([]byte(`{"role":"`), []byte(role), []byte(`","content":`), content, []byte{'}'})
}

// results are the blocks that answer calls.
func results(answers []llm.ToolResult) [][]byte {
	blocks := make([][]byte, len(answers))
	for i, r := range answers {
		var content [][]byte
		for _, p := range r.Parts {
			if part := resultPart(p, r.IsError); part != nil {
				content = append(content, part)
			}
		}
		if len(content) == 0 {
			content = [][]byte{textBlock("(no output)")}
		}
		blocks[i] = slices.Concat([]byte(`{"type":"tool_result","tool_use_id":`), dialect.Quote(r.CallID),
			[]byte(`,"content":`), dialect.Array(content...))
		if r.IsError {
			blocks[i] = append(blocks[i], `,"is_error":true`...)
		}
		blocks[i] = append(blocks[i], '}')
	}
	return blocks
}

// resultPart is one block of a result; nil for a text that says nothing, which the
// API refuses. It refuses images in an error, too.
func resultPart(p llm.Part, isError bool) []byte {
	switch {
	case p.MIME == "" && blank(p.Text):
		return nil
	case p.MIME == "":
		return textBlock(p.Text)
	case isError:
		return textBlock("(An image, " + p.MIME + ", was left out: an error can carry text only.)")
	}
	return slices.Concat([]byte(`{"type":"image","source":{"type":"base64","media_type":`), dialect.Quote(p.MIME),
		[]byte(`,"data":`), dialect.Quote(p.Data), []byte("}}"))
}

func textBlock(text string) []byte {
	return slices.Concat([]byte(`{"type":"text","text":`), dialect.Quote(text), []byte{'}'})
}

func blank(text string) bool { return strings.TrimSpace(text) == "" }
