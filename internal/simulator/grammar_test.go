package simulator_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// members fails unless the object has exactly these members, in this order.
func members(t *testing.T, what string, o gjson.Result, want string) {
	t.Helper()
	var names []string
	o.ForEach(func(k, _ gjson.Result) bool {
		names = append(names, k.String())
		return true
	})
	if got := strings.Join(names, " "); got != want {
		t.Errorf("%s has members\n  %s\nwant\n  %s", what, got, want)
	}
}

func checkChat(t *testing.T, all []event) (s spoken) {
	t.Helper()
	if n := len(all); n < 3 || all[n-1].data.Raw != "[DONE]" {
		t.Fatalf("%d chunks, no [DONE] at the end", n)
	}
	chunks := all[:len(all)-1]
	counted := chunks[0].data.Get("usage").Exists()
	names := "id object created model service_tier system_fingerprint choices"
	if counted {
		names += " usage"
		last := chunks[len(chunks)-1].data
		s.usage = last.Get("usage").Raw
		chunks = chunks[:len(chunks)-1]
		if last.Get("choices").Raw != "[]" || !last.Get("usage").IsObject() {
			t.Errorf("usage chunk %s", last.Raw)
		}
	}
	id := chunks[0].data.Get("id").String()
	if d := chunks[0].data.Get("choices.0.delta"); d.Get("role").String() != "assistant" || d.Get("content").String() != "" {
		t.Errorf("the first delta is %s", d.Raw)
	}
	calls := int64(-1)
	for i, e := range chunks {
		last := i == len(chunks)-1
		members(t, "chunk", e.data, names)
		members(t, "choice", e.data.Get("choices.0"), "index delta logprobs finish_reason")
		finish := e.data.Get("choices.0.finish_reason")
		if e.name != "" || e.data.Get("id").String() != id || e.data.Get("object").String() != "chat.completion.chunk" ||
			counted && e.data.Get("usage").Raw != "null" || (finish.Type == gjson.String) != last {
			t.Errorf("chunk %d is %s", i, e.data.Raw)
		}
		s.stop = finish.String()
		s.text += e.data.Get("choices.0.delta.content").String()
		for _, c := range e.data.Get("choices.0.delta.tool_calls").Array() {
			if c.Get("id").Exists() {
				calls++
				members(t, "call", c, "index id type function")
				s.args += c.Get("function.name").String()
			}
			if c.Get("index").Int() != calls {
				t.Errorf("call %s, want index %d", c.Raw, calls)
			}
			s.args += c.Get("function.arguments").String()
		}
	}
	if d := chunks[len(chunks)-1].data.Get("choices.0.delta"); d.Raw != "{}" {
		t.Errorf("the last delta is %s", d.Raw)
	}
	return s
}

// checkMessages walks message_start (start delta* stop)* message_delta message_stop.
func checkMessages(t *testing.T, all []event) (s spoken) {
	t.Helper()
	open, index, state := false, int64(0), "begin"
	for i, e := range all {
		if e.name != e.data.Get("type").String() {
			t.Errorf("event %q carries %s", e.name, e.data.Raw)
		}
		before, need := state, "blocks"
		switch e.name {
		case "ping":
			continue
		case "message_start":
			need, state = "begin", "blocks"
			m := e.data.Get("message")
			members(t, "message", m, "model id type role content stop_reason stop_sequence usage")
			if m.Get("content").Raw != "[]" || m.Get("stop_reason").Raw != "null" || m.Get("usage.input_tokens").Int() < 1 {
				t.Errorf("message_start %s", e.data.Raw)
			}
		case "content_block_start", "content_block_delta", "content_block_stop":
			if e.data.Get("index").Int() != index || open == (e.name == "content_block_start") {
				t.Errorf("event %d: %s, open %v, index %d", i, e.data.Raw, open, index)
			}
			if open = e.name != "content_block_stop"; !open {
				index++
			}
			s.args += e.data.Get("content_block.name").String() + e.data.Get("delta.partial_json").String()
			s.text += e.data.Get("delta.text").String()
			s.thinking += e.data.Get("delta.thinking").String()
			if sig := e.data.Get("delta.signature"); sig.Exists() && all[i+1].name != "content_block_stop" {
				t.Error("a signature stands just before the stop")
			}
		case "message_delta":
			state = "ended"
			s.stop, s.usage = e.data.Get("delta.stop_reason").String(), e.data.Get("usage").Raw
			members(t, "delta", e.data.Get("delta"), "stop_reason stop_sequence")
		case "message_stop":
			need, state = "ended", "stopped"
		default:
			t.Errorf("unknown event %s", e.data.Raw)
		}
		if before != need {
			t.Errorf("event %d: %s in state %s", i, e.name, before)
		}
	}
	if open || state != "stopped" || all[len(all)-1].name != "message_stop" {
		t.Errorf("ends in state %s, a block open: %v", state, open)
	}
	return s
}

// checkResponses walks created, in_progress, items with parts, one terminal event.
func checkResponses(t *testing.T, all []event) (s spoken) {
	t.Helper()
	next := map[string]string{ // what may follow, by the end of the names
		"": "response.created", "response.created": "response.in_progress", "response.in_progress": "response.output_item.added",
		"response.output_item.added":             "response.content_part.added response.reasoning_summary_part.added response.function_call_arguments.delta",
		"response.content_part.added":            "response.output_text.delta",
		"response.output_text.delta":             "response.output_text.delta response.output_text.done",
		"response.output_text.done":              "response.content_part.done",
		"response.content_part.done":             "response.output_item.done",
		"response.reasoning_summary_part.added":  "response.reasoning_summary_text.delta",
		"response.reasoning_summary_text.delta":  "response.reasoning_summary_text.delta response.reasoning_summary_text.done",
		"response.reasoning_summary_text.done":   "response.reasoning_summary_part.done",
		"response.reasoning_summary_part.done":   "response.output_item.done",
		"response.function_call_arguments.delta": "response.function_call_arguments.delta response.function_call_arguments.done",
		"response.function_call_arguments.done":  "response.output_item.done",
		"response.output_item.done":              "response.output_item.added response.completed response.incomplete",
	}
	at, item := "", int64(0)
	for i, e := range all {
		if e.name != e.data.Get("type").String() || e.data.Get("sequence_number").Int() != int64(i) {
			t.Errorf("event %d: %s %s", i, e.name, e.data.Raw)
		}
		if !strings.Contains(" "+next[at]+" ", " "+e.name+" ") {
			t.Errorf("%s follows %q", e.name, at)
		}
		at = e.name
		if n := e.data.Get("output_index"); n.Exists() && n.Int() != item {
			t.Errorf("event %d: output_index %d, want %d", i, n.Int(), item)
		}
		switch e.name {
		case "response.output_text.delta":
			s.text += e.data.Get("delta").String()
		case "response.reasoning_summary_text.delta":
			s.thinking += e.data.Get("delta").String()
		case "response.function_call_arguments.delta":
			s.args += e.data.Get("delta").String()
		case "response.output_item.added":
			s.args += e.data.Get("item.name").String()
		case "response.output_item.done":
			item++
		}
	}
	last := all[len(all)-1].data.Get("response")
	s.stop, s.usage = last.Get("status").String(), last.Get("usage").Raw
	if n := len(last.Get("output").Array()); int64(n) != item || all[len(all)-1].name != "response."+s.stop {
		t.Errorf("%s with %d items, want %d", all[len(all)-1].name, n, item)
	}
	members(t, "response", last, responseMembers)
	return s
}

const responseMembers = "id object created_at status background completed_at error incomplete_details instructions max_output_tokens max_tool_calls " +
	"model output parallel_tool_calls previous_response_id prompt_cache_key reasoning safety_identifier service_tier store temperature text " +
	"tool_choice tools top_logprobs top_p truncation usage user metadata"

// whole reads a blocking answer as spoken.
func whole(t *testing.T, a api, r got) (s spoken) {
	t.Helper()
	s.text, s.usage = r.get(a.text).String(), r.get("usage").Raw
	switch a.name {
	case "chat":
		members(t, "completion", gjson.ParseBytes(r.body), "id object created model choices usage service_tier system_fingerprint")
		members(t, "usage", r.get("usage"), "prompt_tokens completion_tokens total_tokens prompt_tokens_details completion_tokens_details")
		s.stop = r.get("choices.0.finish_reason").String()
		for _, c := range r.get("choices.0.message.tool_calls").Array() {
			s.args += c.Get("function.name").String() + c.Get("function.arguments").String()
		}
	case "responses":
		members(t, "response", gjson.ParseBytes(r.body), responseMembers)
		members(t, "usage", r.get("usage"), "input_tokens input_tokens_details output_tokens output_tokens_details total_tokens")
		s.stop = r.get("status").String()
		s.thinking = r.get(`output.#(type=="reasoning").summary.0.text`).String()
		for _, c := range r.get(`output.#(type=="function_call")#`).Array() {
			s.args += c.Get("name").String() + c.Get("arguments").String()
		}
	case "messages":
		members(t, "message", gjson.ParseBytes(r.body), "model id type role content stop_reason stop_sequence usage")
		s.stop = r.get("stop_reason").String()
		s.thinking = r.get(`content.#(type=="thinking").thinking`).String()
		for _, c := range r.get(`content.#(type=="tool_use")#`).Array() {
			s.args += c.Get("name").String() + c.Get("input").Raw
		}
	}
	return s
}

// TestGrammar holds every stream against the grammar of its API, and against the
// blocking answer to the same prompt.
func TestGrammar(t *testing.T) {
	g := overTCP(t, options())
	long := strings.Repeat("a long prompt ", 600)
	for _, a := range apis {
		limit := map[string]string{"chat": "max_completion_tokens", "responses": "max_output_tokens", "messages": "max_tokens"}[a.name]
		for _, tc := range []struct {
			name, prompt, more string
			stop               map[string]string
			text, args         string
			thinks             bool
		}{
			{name: "text", prompt: "hello <there> & you", text: "You said: hello <there> & you (simulated " + a.model + ")", stop: map[string]string{"chat": "stop", "responses": "completed", "messages": "end_turn"}},
			{name: "cached", prompt: long, more: `,"cache_control":{"type":"ephemeral"}`, text: "You said: a long prompt", stop: map[string]string{"chat": "stop", "responses": "completed", "messages": "end_turn"}},
			{name: "tool", prompt: "simulate:tool now", args: `look{"q":"simulate:tool now","n":1}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "named tool", prompt: "simulate:tool=find", args: `find{}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "tools", prompt: "simulate:tools", args: `look{"q":"simulate:tools","n":1}find{}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "unknown tool", prompt: "simulate:tool=nope", text: "You said: simulate:tool=nope", stop: map[string]string{"chat": "stop", "responses": "completed", "messages": "end_turn"}},
			{name: "thinking", prompt: "simulate:thinking", thinks: true, text: "You said: simulate:thinking", stop: map[string]string{"chat": "stop", "responses": "completed", "messages": "end_turn"}},
			{name: "thinking tool", prompt: "simulate:thinking simulate:tool", thinks: true, args: `look{"q":"simulate:thinking simulate:tool","n":1}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "first said", prompt: "simulate:say-first simulate:tool=fi*", text: "First I say that I call a tool.", args: `find{}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "thought and said", prompt: "simulate:say-first simulate:thinking simulate:tool=find", thinks: true, text: "First I say that I call a tool.", args: `find{}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "two named", prompt: "simulate:tool=find,look", args: `find{}look{"q":"simulate:tool=find,look","n":1}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "prefix", prompt: "simulate:tool=*", args: `look{"q":"simulate:tool=*","n":1}find{}`, stop: map[string]string{"chat": "tool_calls", "responses": "completed", "messages": "tool_use"}},
			{name: "cut", prompt: "hello there", more: `,"` + limit + `":3`, text: "You said: he", stop: map[string]string{"chat": "length", "responses": "incomplete", "messages": "max_tokens"}},
		} {
			for _, chunks := range []int{1, 4, 30} {
				t.Run(fmt.Sprintf("%s/%s/%d", a.name, tc.name, chunks), func(t *testing.T) {
					h := http.Header{"X-Simulator-Chunks": {strconv.Itoa(chunks)}}
					block := g.must(asking{path: a.path, body: a.body(tc.prompt, tc.more), header: h})
					one := whole(t, a, block)
					stream := g.must(asking{path: a.path, body: a.body(tc.prompt, tc.more+streaming+`,"stream_options":{"include_usage":true}`), header: h})
					all := events(t, stream.body)
					two := a.check(t, all)
					if !strings.HasPrefix(one.text, tc.text) || one.args != tc.args || one.stop != tc.stop[a.name] || tc.thinks && a.name != "chat" && one.thinking == "" {
						t.Errorf("blocking: %+v", one)
					}
					one.usage, two.usage = usage(t, a, one.usage), usage(t, a, two.usage)
					if one != two {
						t.Errorf("blocking %+v\nstream  %+v", one, two)
					}
					if tc.name == "cached" && gjson.Get(two.usage, "read").Int() == 0 {
						t.Errorf("nothing was read from the cache: %s", two.usage)
					}
					if tc.thinks && gjson.Get(two.usage, "thought").Int() == 0 {
						t.Errorf("no reasoning counted: %s", two.usage)
					}
					n := 0
					for _, e := range all {
						if a.content(e) {
							n++
						}
					}
					if tc.name == "text" && n != chunks {
						t.Errorf("%d content events, want %d", n, chunks)
					}
				})
			}
		}
	}
}

// usage brings the three forms to one, so that blocking and streaming compare.
func usage(t *testing.T, a api, raw string) string {
	t.Helper()
	u := gjson.Parse(raw)
	in, out := u.Get("input_tokens").Int(), u.Get("output_tokens").Int()
	read, written := u.Get("input_tokens_details.cached_tokens").Int(), u.Get("input_tokens_details.cache_write_tokens").Int()
	thought := u.Get("output_tokens_details.reasoning_tokens").Int()
	total := u.Get("total_tokens").Int()
	switch a.name {
	case "chat":
		in, out = u.Get("prompt_tokens").Int(), u.Get("completion_tokens").Int()
		read, thought = u.Get("prompt_tokens_details.cached_tokens").Int(), u.Get("completion_tokens_details.reasoning_tokens").Int()
	case "messages":
		read, written = u.Get("cache_read_input_tokens").Int(), u.Get("cache_creation_input_tokens").Int()
		in += read + written
		total = in + out
		thought = u.Get("output_tokens_details.thinking_tokens").Int()
		if c := u.Get("cache_creation"); c.Exists() && c.Get("ephemeral_5m_input_tokens").Int()+c.Get("ephemeral_1h_input_tokens").Int() != written {
			t.Errorf("cache_creation does not add up: %s", u.Raw)
		}
	}
	if in < 1 || out < 1 || total != in+out || read+written > in || thought > out {
		t.Errorf("usage %s", u.Raw)
	}
	return fmt.Sprintf(`{"in":%d,"out":%d,"read":%d,"written":%d,"thought":%d}`, in, out, read, written, thought)
}

// TestUsageIsOptional holds Chat to its default: no usage unless asked.
func TestUsageIsOptional(t *testing.T) {
	g := overTCP(t, options())
	r := g.must(asking{path: apis[0].path, body: apis[0].body("hi", streaming)})
	if strings.Contains(string(r.body), "usage") {
		t.Errorf("usage unasked: %s", r.body)
	}
	checkChat(t, events(t, r.body))
}
