package simulator

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// chatReader reads the messages of Chat Completions and holds them to its rules.
type chatReader struct {
	talk
	calls   map[string]bool // ids of the message's that called last; nil: none may be answered
	waiting pending         // of them, those without a result
	at      int             // that message
}

func chatTalk(messages []gjson.Result) (talk, *failure) {
	r := chatReader{}
	for i, m := range messages {
		var bad *failure
		switch role := m.Get("role").String(); role {
		case "assistant":
			bad = r.answers(i, m)
		case "tool":
			bad = r.returns(i, m)
		default:
			bad = r.unanswered()
			r.calls = nil
			if role == "user" {
				r.user(lastText(m.Get("content")))
			}
		}
		if bad != nil {
			return talk{}, bad
		}
	}
	if bad := r.unanswered(); bad != nil {
		return talk{}, bad
	}
	if r.text == "" && r.turns == 0 && len(messages) > 0 { // nothing but instructions
		r.user(lastText(messages[len(messages)-1].Get("content")))
	}
	return r.talk, nil
}

// wrong is a failure about a parameter.
func wrong(param, code, format string, args ...any) *failure {
	return &failure{status: http.StatusBadRequest, kind: invalidRequest, code: code, param: param, message: fmt.Sprintf(format, args...)}
}

func (r *chatReader) answers(i int, m gjson.Result) *failure {
	r.spoke()
	if bad := r.unanswered(); bad != nil {
		return bad
	}
	r.calls = nil
	calls := m.Get("tool_calls").Array()
	if len(calls) == 0 {
		if isNull(m.Get("content")) && isNull(m.Get("refusal")) && isNull(m.Get("function_call")) && isNull(m.Get("audio")) {
			return wrong(fmt.Sprintf("messages.[%d].content", i), "", "Invalid value for 'content': expected a string, got null.")
		}
		return nil
	}
	r.calls, r.at = map[string]bool{}, i
	for j, c := range calls {
		if args := c.Get("function.arguments"); c.Get("function").Exists() && args.Type != gjson.String {
			return notString(fmt.Sprintf("messages[%d].tool_calls[%d].function.arguments", i, j), args)
		}
		id := c.Get("id").String()
		r.calls[id] = true
		r.waiting = append(r.waiting, id)
	}
	return nil
}

// notString refuses a value where the API wants a string.
func notString(param string, v gjson.Result) *failure {
	what := strings.ToLower(v.Type.String())
	switch {
	case !v.Exists():
		f := missing(param)
		return &f
	case v.IsObject():
		what = "object"
	case v.IsArray():
		what = "array"
	}
	return wrong(param, "invalid_type", "Invalid type for '%s': expected a string, but got %s instead.", param, what)
}

func (r *chatReader) returns(i int, m gjson.Result) *failure {
	id := m.Get("tool_call_id").String()
	at := fmt.Sprintf("messages.[%d].", i)
	switch {
	case id == "":
		return wrong(at+"tool_call_id", "", "Missing parameter 'tool_call_id': messages with role 'tool' must have a 'tool_call_id'.")
	case r.calls == nil:
		return wrong(at+"role", "", "Invalid parameter: messages with role 'tool' must be a response to a preceeding message with 'tool_calls'.") //nolint:misspell // as OpenAI spells it
	case !r.calls[id]:
		return wrong(at+"tool_call_id", "", "Invalid parameter: 'tool_call_id' of '%s' not found in 'tool_calls' of previous message.", id)
	case !r.waiting.take(id):
		return wrong(at+"tool_call_id", "", "Duplicate value for 'tool_call_id' of '%s'.", id)
	}
	r.result(resultText(m.Get("content")))
	return nil
}

// unanswered refuses calls that no result stands right behind.
func (r *chatReader) unanswered() *failure {
	if len(r.waiting) == 0 {
		return nil
	}
	return wrong(fmt.Sprintf("messages.[%d].role", r.at), "", "An assistant message with 'tool_calls' must be followed by tool messages responding to each 'tool_call_id'. "+
		"The following tool_call_ids did not have response messages: %s", strings.Join(r.waiting, ", "))
}
