package simulator

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strconv"

	"github.com/tidwall/gjson"
)

// createMessage is POST /v1/messages.
func createMessage(c *call) reply {
	for _, name := range []string{"model", "max_tokens", "messages"} {
		if isNull(c.get(name)) {
			return c.fail(fieldRequired(name))
		}
	}
	if bad := messagesAsked(c); bad != nil {
		return c.fail(*bad)
	}
	if c.get("max_tokens").Int() < 1 {
		return c.fail(anthropicInvalid("max_tokens: must be greater than or equal to 1"))
	}
	p, bad := anthropicPrompt(c)
	if bad != nil {
		return c.fail(*bad)
	}
	a := c.answer(p, func(label string) string { return "toolu_01" + c.ids.alnum(label, 22) })
	if p.cached {
		a.read, a.written = a.input/2, a.input/4
	}
	x := message{call: c, a: a}
	if c.stream {
		return reply{status: http.StatusOK, contentType: eventStream, header: http.Header{"Cache-Control": {"no-cache"}}, frames: x.frames(), use: a.spent(), broken: x.broken}
	}
	r := c.ok(x.whole(x.content(), x.stop(), x.usage(a.output)))
	r.use, r.broken = a.spent(), x.broken
	return r
}

// countTokens is POST /v1/messages/count_tokens.
func countTokens(c *call) reply {
	for _, name := range []string{"model", "messages"} {
		if isNull(c.get(name)) {
			return c.fail(fieldRequired(name))
		}
	}
	if bad := messagesAsked(c); bad != nil {
		return c.fail(*bad)
	}
	p, bad := anthropicPrompt(c)
	if bad != nil {
		return c.fail(*bad)
	}
	return c.ok(object{{"input_tokens", p.input}})
}

// messagesAsked refuses what both endpoints refuse.
func messagesAsked(c *call) *failure {
	messages := c.get("messages")
	var bad failure
	switch {
	case !messages.IsArray():
		bad = anthropicInvalid("messages: Input should be a valid list")
	case len(messages.Array()) == 0:
		bad = anthropicInvalid("messages: at least one message is required")
	case !knownAnthropic.MatchString(c.model):
		bad = c.failure("model_not_found")
	default:
		return nil
	}
	return &bad
}

func anthropicPrompt(c *call) (prompt, *failure) {
	messages := c.get("messages")
	said, bad := messagesTalk(messages.Array(), c.get("thinking.type").String() == "enabled")
	if bad == nil {
		bad = messagesTools(c.get("tools").Array())
	}
	if bad != nil {
		return prompt{}, bad
	}
	p := prompt{
		talk:   said,
		single: c.get("tool_choice.disable_parallel_tool_use").Bool(),
		limit:  c.get("max_tokens").Int(),
		input:  tokens(raws(messages, c.get("system"), c.get("tools"))) + 8,
		cached: hasCacheControl(c.body),
	}
	if c.get("tool_choice.type").String() == "none" {
		return p, nil
	}
	for _, t := range c.get("tools").Array() {
		if schema := t.Get("input_schema"); schema.Exists() {
			p.tools = append(p.tools, tool{t.Get("name").String(), schema})
		}
	}
	return p, nil
}

type message struct {
	*call
	a answer
}

func (x message) stop() string {
	switch {
	case x.a.cut:
		return "max_tokens"
	case len(x.a.calls) > 0:
		return "tool_use"
	}
	return "end_turn"
}

func (x message) whole(content list, stop any, usage object) object {
	return object{
		{"model", snapshot(x.model)},
		{"id", "msg_01" + x.ids.alnum("answer", 22)},
		{"type", "message"},
		{"role", "assistant"},
		{"content", content},
		{"stop_reason", stop},
		{"stop_sequence", nil},
		{"usage", usage},
	}
}

func (x message) content() list {
	out := list{}
	if x.a.thinking != "" {
		out = append(out, object{{"type", "thinking"}, {"thinking", x.a.thinking}, {"signature", signature(x.a.thinking)}})
	}
	if x.a.text != "" {
		out = append(out, object{{"type", "text"}, {"text", x.a.text}})
	}
	for i, t := range x.a.calls {
		out = append(out, object{{"type", "tool_use"}, {"id", t.id}, {"name", t.name}, {"input", x.input(t, i == len(x.a.calls)-1)}})
	}
	return out
}

// input is the object that whole arguments are; a blocking answer has no other form.
func (x message) input(t toolCall, last bool) any {
	switch {
	case x.a.cut && last:
		return object{}
	case !validJSON([]byte(t.args)):
		return object{{"INVALID_JSON", t.args}}
	}
	return json.RawMessage(t.args)
}

// signature is bound to the thinking, and to nothing else.
func signature(thinking string) string {
	return base64.StdEncoding.EncodeToString(append([]byte{0x12, 0x8c, 0x02}, seed("signature", thinking).bytes("", 201)...))
}

// uncached is the input that neither came from the cache nor went there.
func (x message) uncached() int64 { return x.a.input - x.a.read - x.a.written }

func (x message) usage(output int64) object {
	short, long := x.a.written, int64(0)
	if bytes.Contains(x.body, []byte(`"1h"`)) {
		short, long = long, short
	}
	u := object{
		{"input_tokens", x.uncached()},
		{"cache_creation_input_tokens", x.a.written},
		{"cache_read_input_tokens", x.a.read},
		{"cache_creation", object{{"ephemeral_5m_input_tokens", short}, {"ephemeral_1h_input_tokens", long}}},
		{"output_tokens", output},
		{"service_tier", "standard"},
		{"inference_geo", "not_available"},
	}
	return x.thought(u, output)
}

// thought adds the reasoning, once the answer is counted.
func (x message) thought(u object, output int64) object {
	if x.a.reasoning > 0 && output == x.a.output {
		return u.with(member{"output_tokens_details", object{{"thinking_tokens", x.a.reasoning}}})
	}
	return u
}

func (x message) frames() []frame {
	var out []frame
	send := func(p part, name string, more ...member) {
		out = append(out, frame{sse(name, compact(object{{"type", name}}.with(more...))), p})
	}
	index := 0
	block := func(start part, o object, deltas ...object) {
		at := member{"index", index}
		send(start, "content_block_start", at, member{"content_block", o})
		if index == 0 {
			send(preamble, "ping")
		}
		for _, d := range deltas {
			send(content, "content_block_delta", at, member{"delta", d})
		}
		send(ending, "content_block_stop", at)
		index++
	}
	send(preamble, "message_start", member{"message", x.whole(list{}, nil, x.usage(min(1, x.a.output)))})
	if x.a.thinking != "" {
		deltas := fragments("thinking_delta", "thinking", pieces(x.a.thinking, x.chunks()))
		deltas = append(deltas, object{{"type", "signature_delta"}, {"signature", signature(x.a.thinking)}})
		block(preamble, object{{"type", "thinking"}, {"thinking", ""}, {"signature", ""}}, deltas...)
	}
	if x.a.text != "" {
		block(preamble, object{{"type", "text"}, {"text", ""}}, fragments("text_delta", "text", pieces(x.a.text, x.chunks()))...)
	}
	for _, t := range x.a.calls {
		block(content, object{{"type", "tool_use"}, {"id", t.id}, {"name", t.name}, {"input", object{}}},
			fragments("input_json_delta", "partial_json", append([]string{""}, pieces(t.args, x.chunks())...))...)
	}
	final := x.thought(object{
		{"input_tokens", x.uncached()},
		{"cache_creation_input_tokens", x.a.written},
		{"cache_read_input_tokens", x.a.read},
		{"output_tokens", x.a.output},
	}, x.a.output)
	send(ending, "message_delta", member{"delta", object{{"stop_reason", x.stop()}, {"stop_sequence", nil}}}, member{"usage", final})
	send(ending, "message_stop")
	return out
}

func fragments(kind, name string, texts []string) []object {
	out := make([]object, len(texts))
	for i, t := range texts {
		out[i] = object{{"type", kind}, {name, t}}
	}
	return out
}

// broken is an error inside a 200.
func (x message) broken(f failure, _ phase, seq int) []byte {
	body := x.api.errorBody(x.call, f)
	if seq < 0 {
		return body
	}
	return sse("error", body)
}

// messageBatch is POST /v1/messages/batches.
func messageBatch(c *call) reply {
	requests := c.get("requests")
	if !requests.IsArray() {
		return c.fail(fieldRequired("requests"))
	}
	for i, r := range requests.Array() {
		if r.Get("custom_id").String() == "" {
			return c.fail(fieldRequired("requests." + strconv.Itoa(i) + ".custom_id"))
		}
		if !isObject(r.Get("params")) {
			return c.fail(fieldRequired("requests." + strconv.Itoa(i) + ".params"))
		}
	}
	o := c.batch("msgbatch_01"+c.ids.alnum("batch", 22), "in_progress", len(requests.Array()), nil)
	return c.keep("message_batch", o, nil)
}

func (c *call) batch(id, status string, waiting int, cancelled any) object {
	return object{
		{"id", id},
		{"type", "message_batch"},
		{"processing_status", status},
		{"request_counts", object{{"processing", waiting}, {"succeeded", 0}, {"errored", 0}, {"canceled", 0}, {"expired", 0}}},
		{"ended_at", nil},
		{"created_at", c.stamp(0)},
		{"expires_at", c.stamp(dayWait)},
		{"archived_at", nil},
		{"cancel_initiated_at", cancelled},
		{"results_url", nil},
	}
}

// cancelMessageBatch is POST /v1/messages/batches/{id}/cancel.
func cancelMessageBatch(c *call) reply {
	o, ok := c.sim.objects.get(c.scope(), "message_batch", c.arg)
	if !ok {
		return c.fail(anthropicMissing("message_batch"))
	}
	waiting := gjson.GetBytes(o.json, "request_counts.processing").Int()
	return c.keep("message_batch", c.batch(c.arg, "canceling", int(waiting), c.stamp(0)), nil)
}

func isObject(r gjson.Result) bool { return r.IsObject() }
