package simulator

import (
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// messagesReader reads the messages of Anthropic's API and holds them to its rules.
// Neighbours of one role are one turn.
type messagesReader struct {
	talk
	enabled bool // thinking is, in the request
	role    string
	seen    map[string]bool // ids of all calls
	calls   map[string]bool // ids of the last turn's
	waiting pending         // of them, those without a result
	at      int             // the message of the last turn's calls
	// leading says that only results came since those calls.
	leading bool
	began   string // the type of the block with which the last turn of the model's began
	bare    int    // the first message since the prompt that calls without a thought; -1: none
}

func messagesTalk(messages []gjson.Result, enabled bool) (talk, *failure) {
	r := messagesReader{enabled: enabled, seen: map[string]bool{}, bare: -1}
	for i, m := range messages {
		var bad *failure
		switch role := m.Get("role").String(); role {
		case "user":
			bad = r.says(i, m.Get("content"))
		case "assistant":
			bad = r.answers(i, m.Get("content"))
		default: // Claude Code puts system messages between the others
		}
		if bad != nil {
			return talk{}, bad
		}
	}
	if bad := r.unanswered(); bad != nil {
		return talk{}, bad
	}
	if r.enabled && r.bare >= 0 && asksOf(r.text).thinks {
		return talk{}, refused("messages.%d.content.0.type: Expected `thinking` or `redacted_thinking`, but found `%s`. When `thinking` is enabled, "+
			"a final `assistant` message must start with a thinking block (preceeding the lastmost set of `tool_use` and `tool_result` blocks).", r.bare, r.began) //nolint:misspell // as Anthropic spells it
	}
	return r.talk, nil
}

func refused(format string, args ...any) *failure {
	f := anthropicInvalid(fmt.Sprintf(format, args...))
	return &f
}

// says takes in a message of the user's.
func (r *messagesReader) says(i int, content gjson.Result) *failure {
	r.role = "user"
	results := 0
	for j, b := range content.Array() {
		if b.Get("type").String() != "tool_result" {
			r.leading = false
			continue
		}
		results++
		id := b.Get("tool_use_id").String()
		if !r.calls[id] {
			return refused("messages.%d.content.%d: unexpected `tool_use_id` found in `tool_result` blocks: %s. "+
				"Each `tool_result` block must have a corresponding `tool_use` block in the previous message.", i, j, id)
		}
		if r.leading && !r.waiting.take(id) {
			return refused("messages.%d.content.%d: each tool_use must have a single result. Found multiple `tool_result` blocks with id: %s", i, j, id)
		}
		text := resultText(b.Get("content"))
		if b.Get("is_error").Bool() {
			text = "Error: " + text
		}
		r.result(text)
	}
	if results == 0 {
		r.user(lastText(content))
		r.bare = -1
	}
	return nil
}

// answers takes in a message of the model's.
func (r *messagesReader) answers(i int, content gjson.Result) *failure {
	r.spoke()
	if r.role != "assistant" {
		if bad := r.unanswered(); bad != nil {
			return bad
		}
		r.calls, r.at, r.leading, r.began = map[string]bool{}, i, true, content.Get("0.type").String()
	}
	r.role = "assistant"
	if !content.IsArray() {
		return nil
	}
	for j, b := range content.Array() {
		switch b.Get("type").String() {
		case "thinking":
			if b.Get("signature").String() != signature(b.Get("thinking").String()) {
				return refused("messages.%d.content.%d: Invalid `signature` in `thinking` block", i, j)
			}
		case "tool_use":
			if bad := r.called(i, j, b); bad != nil {
				return bad
			}
		}
	}
	return nil
}

func (r *messagesReader) called(i, j int, b gjson.Result) *failure {
	id := b.Get("id").String()
	switch {
	case !isObject(b.Get("input")):
		return refused("messages.%d.content.%d.tool_use.input: Input should be a valid dictionary", i, j)
	case r.seen[id]:
		return refused("messages.%d.content.%d: `tool_use` ids must be unique", i, j)
	}
	r.seen[id], r.calls[id] = true, true
	r.waiting = append(r.waiting, id)
	r.at = i
	if r.bare < 0 && !strings.HasSuffix(r.began, "thinking") {
		r.bare = i
	}
	return nil
}

// unanswered refuses calls that no result stands right behind.
func (r *messagesReader) unanswered() *failure {
	if len(r.waiting) == 0 {
		return nil
	}
	return refused("messages.%d: `tool_use` ids were found without `tool_result` blocks immediately after: %s. "+
		"Each `tool_use` block must have a corresponding `tool_result` block in the next message.", r.at, strings.Join(r.waiting, ", "))
}
