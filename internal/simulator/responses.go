package simulator

import (
	"net/http"
	"strings"

	"github.com/tidwall/gjson"
)

// createResponse is POST /v1/responses.
func createResponse(c *call) reply {
	if bad := openAIModel(c); bad != nil {
		return c.fail(*bad)
	}
	if bad := stateOf(c); bad != nil {
		return c.fail(*bad)
	}
	p, bad := responsesPrompt(c)
	if bad != nil {
		return c.fail(*bad)
	}
	a := c.answer(p, func(label string) string { return "call_" + c.ids.alnum(label, 24) })
	a.openAICache(c.model)
	x := response{call: c, a: a}
	whole := x.whole(x.status(), x.items(), nil, x.usage())
	if store := c.get("store"); isNull(store) || store.Bool() {
		c.keep("response", whole, []byte(c.get("input").Raw))
	}
	c.converse(x.items())
	if c.stream {
		return reply{status: http.StatusOK, contentType: eventStream, frames: x.frames(), use: a.spent(), broken: x.broken}
	}
	r := c.ok(whole)
	r.use, r.broken = a.spent(), x.broken
	return r
}

// stateOf refuses a request that says nothing, or continues what its project does
// not have.
func stateOf(c *call) *failure {
	previous, conversation := c.get("previous_response_id").String(), c.conversation()
	bad := failure{status: http.StatusBadRequest, kind: invalidRequest}
	switch {
	case isNull(c.get("input")) && isNull(c.get("prompt")) && previous == "" && conversation == "":
		bad.code = "missing_required_parameter"
		bad.message = "One of \"input\" or \"previous_response_id\" or 'prompt' or 'conversation_id' must be provided."
	case previous != "" && conversation != "":
		bad.code, bad.param = "mutually_exclusive_parameters", "previous_response_id"
		bad.message = "Mutually exclusive parameters: 'previous_response_id' and 'conversation'. Ensure you are only providing one of: 'previous_response_id' or 'conversation'."
	case previous != "" && !c.has("response", previous):
		bad.code, bad.param = "previous_response_not_found", "previous_response_id"
		bad.message = "Previous response with id '" + previous + "' not found."
	case conversation != "" && !c.has("conversation", conversation):
		bad.status = http.StatusNotFound
		bad.message = "Conversation with id '" + conversation + "' not found."
	default:
		return nil
	}
	return &bad
}

func responsesPrompt(c *call) (prompt, *failure) {
	said, bad := responsesTalk(c)
	if bad == nil {
		bad = functions(c.get("tools").Array(), "")
	}
	return prompt{
		talk: said, tools: openAITools(c), single: c.get("parallel_tool_calls").Type == gjson.False, limit: c.get("max_output_tokens").Int(),
		input: tokens(raws(c.get("input"), c.get("instructions"), c.get("tools"))) + 7,
	}, bad
}

type response struct {
	*call
	a answer
}

func (x response) status() string {
	if x.a.cut {
		return "incomplete"
	}
	return "completed"
}

// textStatus is that of the message: what is cut is the last item.
func (x response) textStatus() string {
	if len(x.a.calls) > 0 {
		return "completed"
	}
	return x.status()
}

func (x response) callStatus(i int) string {
	if i < len(x.a.calls)-1 {
		return "completed"
	}
	return x.status()
}

// whole is the Response object, with what the request said or the default of it.
func (x response) whole(status string, output list, failed, usage any) object {
	var incomplete, completed any
	switch status {
	case "incomplete":
		incomplete = object{{"reason", "max_output_tokens"}}
	case "completed":
		completed = x.created()
	}
	o := object{
		{"id", "resp_" + x.ids.hex("answer", 50)},
		{"object", "response"},
		{"created_at", x.created()},
		{"status", status},
		{"background", echo(x.get("background"), false)},
		{"completed_at", completed},
		{"error", failed},
		{"incomplete_details", incomplete},
	}
	defaults := object{
		{"instructions", nil},
		{"max_output_tokens", nil},
		{"max_tool_calls", nil},
		{"model", snapshot(x.model)},
		{"output", output},
		{"parallel_tool_calls", true},
		{"previous_response_id", nil},
		{"prompt_cache_key", nil},
		{"reasoning", object{{"effort", nil}, {"summary", nil}}},
		{"safety_identifier", nil},
		{"service_tier", "default"},
		{"store", true},
		{"temperature", 1.0},
		{"text", object{{"format", object{{"type", "text"}}}, {"verbosity", "medium"}}},
		{"tool_choice", "auto"},
		{"tools", list{}},
		{"top_logprobs", 0},
		{"top_p", 1.0},
		{"truncation", "disabled"},
		{"usage", usage},
		{"user", nil},
		{"metadata", object{}},
	}
	for _, m := range defaults {
		switch m.name {
		case "model", "output", "usage", "service_tier":
		default:
			m.value = echo(x.get(m.name), m.value)
		}
		o = append(o, m)
	}
	return o
}

func (x response) usage() object {
	read := object{{"cached_tokens", x.a.read}}
	if writesCache(x.model) {
		read = read.with(member{"cache_write_tokens", x.a.written})
	}
	return object{
		{"input_tokens", x.a.input},
		{"input_tokens_details", read},
		{"output_tokens", x.a.output},
		{"output_tokens_details", object{{"reasoning_tokens", x.a.reasoning}}},
		{"total_tokens", x.a.input + x.a.output},
	}
}

func (x response) items() list {
	out := list{}
	if x.a.thinking != "" {
		out = append(out, x.reasoning(list{summary(x.a.thinking)}))
	}
	if x.a.text != "" {
		out = append(out, x.message(x.textStatus(), list{outputText(x.a.text)}))
	}
	for i, t := range x.a.calls {
		out = append(out, x.function(t, x.callStatus(i), t.args))
	}
	return out
}

func summary(text string) object { return object{{"type", "summary_text"}, {"text", text}} }

func outputText(text string) object {
	return object{{"type", "output_text"}, {"annotations", list{}}, {"logprobs", list{}}, {"text", text}}
}

func (x response) reasoning(summary list) object {
	o := object{{"id", "rs_" + x.ids.hex("reasoning", 50)}, {"type", "reasoning"}, {"summary", summary}}
	store := x.get("store")
	if strings.Contains(x.get("include").Raw, "reasoning.encrypted_content") || store.Type == gjson.False {
		o = o.with(member{"encrypted_content", x.encrypted(x.a.thinking)})
	}
	return o
}

func (x response) message(status string, parts list) object {
	return object{
		{"id", "msg_" + x.ids.hex("message", 50)},
		{"type", "message"},
		{"status", status},
		{"content", parts},
		{"role", "assistant"},
	}
}

func (x response) function(t toolCall, status, args string) object {
	return object{
		{"id", "fc_" + x.ids.hex(t.id, 50)},
		{"type", "function_call"},
		{"status", status},
		{"arguments", args},
		{"call_id", t.id},
		{"name", t.name},
	}
}

// broken is an error inside a 200, in each of the three shapes the API has: the
// nested error event first, response.failed after the preamble, the flat error
// event after content.
func (x response) broken(f failure, at phase, seq int) []byte {
	code := f.code
	if code == "" {
		code = "server_error"
	}
	partial := list{}
	if at == afterContent && x.a.text != "" {
		partial = list{x.message("incomplete", list{outputText(pieces(x.a.text, 2)[0])})}
	}
	failed := x.whole("failed", partial, object{{"code", code}, {"message", f.message}}, nil)
	number := member{"sequence_number", seq}
	switch {
	case seq < 0 && at == first:
		return x.api.errorBody(x.call, f)
	case seq < 0:
		return x.print(failed)
	case at == first:
		return sse("error", compact(object{{"type", "error"}, number}.with(openAIError(f)...)))
	case at == afterPreamble:
		return sse("response.failed", compact(object{{"type", "response.failed"}, number, {"response", failed}}))
	}
	return sse("error", compact(object{{"type", "error"}, {"code", code}, {"message", f.message}, {"param", nil}, number}))
}
