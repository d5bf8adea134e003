package chaos

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// api is one of the three that clients speak.
type api struct {
	name, path string
	models     []string
	// items are what a request says: the conversation.
	prompt  func(text string) string
	called  func(calls []string) []string // the model's calls, as the history has them
	results func(calls []string) []string // and what they gave
	body    func(r *request) string
	// read takes in an answer, whole or one event of it.
	read func(s *said, v gjson.Result)
}

// said is what a client has understood of an answer.
type said struct {
	id     string
	calls  []string // the ids
	spoke  bool     // something of what the model says has come
	ended  bool
	failed bool
}

const tools = `"look","find"`

func offered(form string) string {
	var out []string
	for name := range strings.SplitSeq(tools, ",") {
		out = append(out, strings.ReplaceAll(form, "NAME", name))
	}
	return strings.Join(out, ",")
}

func each(ids []string, form string) []string {
	var out []string
	for _, id := range ids {
		out = append(out, strings.ReplaceAll(form, "ID", id))
	}
	return out
}

func quoted(s string) string {
	b, _ := json.Marshal(s)
	return string(b)
}

// large is a prompt that providers cache.
var large = strings.Repeat("The rules of this house are long, and nobody has read them to the end. ", 100)

var apis = []*api{
	{
		name: "chat", path: "/v1/chat/completions", models: []string{"gpt-4o", "gpt-5-mini", "gpt-5.6"},
		prompt: func(text string) string { return `{"role":"user","content":` + quoted(text) + `}` },
		called: func(calls []string) []string {
			return []string{`{"role":"assistant","content":null,"tool_calls":[` +
				strings.Join(each(calls, `{"id":"ID","type":"function","function":{"name":"look","arguments":"{}"}}`), ",") + `]}`}
		},
		results: func(calls []string) []string {
			return each(calls, `{"role":"tool","tool_call_id":"ID","content":"42"}`)
		},
		body: func(r *request) string {
			items, more := r.items, ""
			if r.large {
				items = append([]string{`{"role":"system","content":"` + large + `"}`}, items...)
			}
			if r.tools {
				more += `,"tools":[` + offered(`{"type":"function","function":{"name":NAME,"parameters":{"type":"object"}}}`) + `]`
			}
			if r.usage {
				more += `,"stream_options":{"include_usage":true}`
			}
			return fmt.Sprintf(`{"model":%q,"stream":%t,"messages":[%s]%s}`, r.model, r.stream, strings.Join(items, ","), more)
		},
		read: readChat,
	},
	{
		name: "responses", path: "/v1/responses", models: []string{"gpt-4o", "gpt-5-mini", "gpt-5.6"},
		prompt: func(text string) string { return `{"role":"user","content":` + quoted(text) + `}` },
		called: func(calls []string) []string {
			return each(calls, `{"type":"function_call","call_id":"ID","name":"look","arguments":"{}"}`)
		},
		results: func(calls []string) []string {
			return each(calls, `{"type":"function_call_output","call_id":"ID","output":"42"}`)
		},
		body: func(r *request) string {
			more := ""
			if r.large {
				more += `,"instructions":"` + large + `"`
			}
			if r.tools {
				more += `,"tools":[` + offered(`{"type":"function","name":NAME,"parameters":{"type":"object"}}`) + `]`
			}
			if r.previous != "" {
				more += `,"previous_response_id":"` + r.previous + `"`
			}
			return fmt.Sprintf(`{"model":%q,"stream":%t,"input":[%s]%s}`, r.model, r.stream, strings.Join(r.items, ","), more)
		},
		read: readResponses,
	},
	{
		name: "messages", path: "/v1/messages", models: []string{"claude-sonnet-5", "claude-haiku-4-5", "claude-opus-4-5"},
		prompt: func(text string) string { return `{"role":"user","content":` + quoted(text) + `}` },
		called: func(calls []string) []string {
			return []string{`{"role":"assistant","content":[` + strings.Join(each(calls, `{"type":"tool_use","id":"ID","name":"look","input":{}}`), ",") + `]}`}
		},
		results: func(calls []string) []string {
			return []string{`{"role":"user","content":[` + strings.Join(each(calls, `{"type":"tool_result","tool_use_id":"ID","content":"42"}`), ",") + `]}`}
		},
		body: func(r *request) string {
			more := ""
			if r.large {
				more += `,"system":[{"type":"text","text":"` + large + `","cache_control":{"type":"ephemeral"}}]`
			}
			if r.tools {
				more += `,"tools":[` + offered(`{"name":NAME,"input_schema":{"type":"object"}}`) + `]`
			}
			return fmt.Sprintf(`{"model":%q,"max_tokens":4096,"stream":%t,"messages":[%s]%s}`, r.model, r.stream, strings.Join(r.items, ","), more)
		},
		read: readMessages,
	},
}

func readChat(s *said, v gjson.Result) {
	s.name(v.Get("id"))
	s.failed = s.failed || v.Get("error").Exists()
	choice := v.Get("choices.0")
	s.spoke = s.spoke || choice.Get("delta.content").String() != "" || choice.Get("delta.tool_calls").Exists()
	for _, c := range append(choice.Get("message.tool_calls").Array(), choice.Get("delta.tool_calls").Array()...) {
		s.call(c.Get("id"))
	}
	s.ended = s.ended || choice.Get("finish_reason").String() != ""
}

func readResponses(s *said, v gjson.Result) {
	kind, answer := v.Get("type").String(), v
	if kind != "" {
		answer = v.Get("response")
	}
	s.name(answer.Get("id"))
	s.spoke = s.spoke || strings.HasSuffix(kind, ".delta")
	s.failed = s.failed || kind == "error" || answer.Get("status").String() == "failed"
	if status := answer.Get("status").String(); status == "completed" || status == "incomplete" {
		s.ended = true
		for _, item := range answer.Get("output").Array() {
			s.call(item.Get("call_id"))
		}
	}
}

func readMessages(s *said, v gjson.Result) {
	kind := v.Get("type").String()
	s.failed = s.failed || kind == "error"
	s.spoke = s.spoke || kind == "content_block_delta"
	s.ended = s.ended || kind == "message_stop" || kind == "message"
	switch kind {
	case "message_start":
		s.name(v.Get("message.id"))
	case "content_block_start":
		if v.Get("content_block.type").String() == "tool_use" {
			s.call(v.Get("content_block.id"))
		}
	case "message":
		s.name(v.Get("id"))
		for _, block := range v.Get("content").Array() {
			if block.Get("type").String() == "tool_use" {
				s.call(block.Get("id"))
			}
		}
	}
}

func (s *said) name(id gjson.Result) {
	if s.id == "" {
		s.id = id.String()
	}
}

func (s *said) call(id gjson.Result) {
	if id.String() != "" {
		s.calls = append(s.calls, id.String())
	}
}

// understand reads what came of an answer.
func (a *api) understand(stream bool, body string) (s said) {
	if !stream {
		a.read(&s, gjson.Parse(body))
		return s
	}
	for line := range strings.Lines(body) {
		if data, ok := strings.CutPrefix(line, "data:"); ok && gjson.Valid(data) {
			a.read(&s, gjson.Parse(data))
		}
	}
	return s
}
