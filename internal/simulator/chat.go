package simulator

import (
	"net/http"

	"github.com/tidwall/gjson"
)

const eventStream = "text/event-stream; charset=utf-8"

// chatCompletion is POST /v1/chat/completions.
func chatCompletion(c *call) reply {
	if bad := openAIModel(c); bad != nil {
		return c.fail(*bad)
	}
	messages := c.get("messages")
	if !messages.IsArray() {
		return c.fail(missing("messages"))
	}
	if len(messages.Array()) == 0 {
		return c.fail(failure{
			status: http.StatusBadRequest, kind: invalidRequest, code: "empty_array", param: "messages",
			message: "Invalid 'messages': empty array. Expected an array with minimum length 1, but got an empty array instead.",
		})
	}
	said, bad := chatTalk(messages.Array())
	if bad == nil {
		bad = functions(c.get("tools").Array(), "function.")
	}
	if bad != nil {
		return c.fail(*bad)
	}
	p := prompt{
		talk: said, tools: openAITools(c), single: c.get("parallel_tool_calls").Type == gjson.False,
		limit: max(c.get("max_completion_tokens").Int(), c.get("max_tokens").Int()),
		input: tokens(raws(messages, c.get("tools"))) + 7,
	}
	a := c.answer(p, func(label string) string { return "call_" + c.ids.alnum(label, 24) })
	a.openAICache(c.model)
	x := chat{call: c, a: a, head: object{
		{"id", "chatcmpl-" + c.ids.alnum("answer", 29)},
		{"object", "chat.completion"},
		{"created", c.created()},
		{"model", snapshot(c.model)},
	}}
	if c.stream {
		return reply{status: http.StatusOK, contentType: eventStream, frames: x.frames(), use: a.spent(), broken: x.broken}
	}
	r := c.ok(x.whole())
	r.use, r.broken = a.spent(), x.broken
	return r
}

type chat struct {
	*call
	a    answer
	head object
}

func (x chat) finish() string {
	switch {
	case x.a.cut:
		return "length"
	case len(x.a.calls) > 0:
		return "tool_calls"
	}
	return "stop"
}

func (x chat) whole() object {
	message := object{{"role", "assistant"}, {"content", nil}}
	if x.a.text != "" {
		message[1].value = x.a.text
	}
	if len(x.a.calls) > 0 {
		calls := list{}
		for _, t := range x.a.calls {
			calls = append(calls, object{{"id", t.id}, {"type", "function"}, {"function", object{{"name", t.name}, {"arguments", t.args}}}})
		}
		message = message.with(member{"tool_calls", calls})
	}
	message = message.with(member{"refusal", nil}, member{"annotations", list{}})
	return x.head.with(
		member{"choices", list{object{{"index", 0}, {"message", message}, {"logprobs", nil}, {"finish_reason", x.finish()}}}},
		member{"usage", x.usage()},
		member{"service_tier", "default"},
		member{"system_fingerprint", x.fingerprint()},
	)
}

func (x chat) fingerprint() string { return "fp_" + seed("fingerprint", x.model).hex("", 10) }

func (x chat) usage() object {
	read := object{{"cached_tokens", x.a.read}, {"audio_tokens", 0}}
	if writesCache(x.model) {
		read = read.with(member{"cache_write_tokens", x.a.written})
	}
	return object{
		{"prompt_tokens", x.a.input},
		{"completion_tokens", x.a.output},
		{"total_tokens", x.a.input + x.a.output},
		{"prompt_tokens_details", read},
		{"completion_tokens_details", object{
			{"reasoning_tokens", x.a.reasoning},
			{"audio_tokens", 0},
			{"accepted_prediction_tokens", 0},
			{"rejected_prediction_tokens", 0},
		}},
	}
}

func (x chat) frames() []frame {
	var out []frame
	told := x.get("stream_options.include_usage").Bool()
	head := append(object{}, x.head...)
	head[1].value = "chat.completion.chunk"
	head = head.with(member{"service_tier", "default"}, member{"system_fingerprint", x.fingerprint()})
	send := func(p part, choices list, usage any) {
		chunk := head.with(member{"choices", choices})
		if told {
			chunk = chunk.with(member{"usage", usage})
		}
		out = append(out, frame{sse("", compact(chunk)), p})
	}
	delta := func(p part, finish any, d object) {
		send(p, list{object{{"index", 0}, {"delta", d}, {"logprobs", nil}, {"finish_reason", finish}}}, nil)
	}
	if x.a.text != "" {
		delta(preamble, nil, object{{"role", "assistant"}, {"content", ""}, {"refusal", nil}})
		for _, t := range pieces(x.a.text, x.chunks()) {
			delta(content, nil, object{{"content", t}})
		}
	} else {
		delta(preamble, nil, object{{"role", "assistant"}, {"content", nil}})
	}
	for i, t := range x.a.calls {
		delta(content, nil, object{{"tool_calls", list{object{
			{"index", i}, {"id", t.id}, {"type", "function"}, {"function", object{{"name", t.name}, {"arguments", ""}}},
		}}}})
		for _, args := range pieces(t.args, x.chunks()) {
			delta(content, nil, object{{"tool_calls", list{object{{"index", i}, {"function", object{{"arguments", args}}}}}}})
		}
	}
	delta(ending, x.finish(), object{})
	if told {
		send(ending, list{}, x.usage())
	}
	return append(out, frame{sse("", []byte("[DONE]")), done})
}

// broken is an error inside a 200.
func (x chat) broken(f failure, _ phase, seq int) []byte {
	if seq < 0 {
		return x.api.errorBody(x.call, f)
	}
	return sse("", compact(openAIError(f)))
}

// snapshot is the dated model that answers for an alias.
func snapshot(model string) string {
	if dated, ok := snapshots[model]; ok {
		return dated
	}
	return model
}

var snapshots = map[string]string{ //nolint:gochecknoglobals // a constant table
	"gpt-5":             "gpt-5-2025-08-07",
	"gpt-5-mini":        "gpt-5-mini-2025-08-07",
	"gpt-5-nano":        "gpt-5-nano-2025-08-07",
	"gpt-4.1":           "gpt-4.1-2025-04-14",
	"gpt-4.1-mini":      "gpt-4.1-mini-2025-04-14",
	"gpt-4o":            "gpt-4o-2024-08-06",
	"gpt-4o-mini":       "gpt-4o-mini-2024-07-18",
	"o3":                "o3-2025-04-16",
	"o4-mini":           "o4-mini-2025-04-16",
	"claude-opus-4-5":   "claude-opus-4-5-20251101",
	"claude-haiku-4-5":  "claude-haiku-4-5-20251001",
	"claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
}

// missing is a parameter that OpenAI wants.
func missing(param string) failure {
	return failure{
		status: http.StatusBadRequest, kind: invalidRequest, code: "missing_required_parameter", param: param,
		message: "Missing required parameter: '" + param + "'.",
	}
}
