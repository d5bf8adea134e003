package responses_test

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// mine says which tools are the gateway's.
func mine(name string) bool { return strings.HasPrefix(name, "kb_") }

const usage = `{"input_tokens":1000,"input_tokens_details":{"cached_tokens":600},"output_tokens":50,"output_tokens_details":{"reasoning_tokens":20},"total_tokens":1050}`

// said is an answer of the upstream's: one turn.
type said struct {
	id     string
	items  []string
	status string // "": completed
	bare   bool   // its end leaves out the items
	late   string // raw events in front of the end
}

func reasoning(id string) string {
	return `{"id":"` + id + `","type":"reasoning","summary":[{"type":"summary_text","text":"think <` + id + `>"}],"encrypted_content":"gAAA` + id + `"}`
}

func message(id, text string) string {
	return `{"id":"` + id + `","type":"message","status":"completed","content":[{"type":"output_text","annotations":[],"logprobs":[],"text":"` + text + `"}],"role":"assistant"}`
}

func call(id, name string) string {
	return `{"id":"fc_` + id + `","type":"function_call","status":"completed","arguments":"{\"q\":\"` + id + `\"}","call_id":"call_` + id + `","name":"` + name + `"}`
}

func custom(id string) string {
	return `{"id":"ct_` + id + `","type":"custom_tool_call","status":"completed","call_id":"call_` + id + `","input":"*** <patch>","name":"apply_patch"}`
}

func search(id string) string {
	return `{"id":"` + id + `","type":"web_search_call","status":"completed","action":{"type":"search","query":"x"}}`
}

func (s said) response(status, items string) string {
	u, reason := "null", "null"
	if status != "in_progress" {
		u = usage
	}
	if status == "incomplete" {
		reason = `{"reason":"max_output_tokens"}`
	}
	return `{"id":"` + s.id + `","object":"response","created_at":1764000000,"status":"` + status + `","error":null,"incomplete_details":` + reason +
		`,"model":"gpt-5.2","output":[` + items + `],"tools":[],"usage":` + u + `,"metadata":{"n":1.0}}`
}

func (s said) end() (status, items string) {
	status = s.status
	if status == "" {
		status = "completed"
	}
	if s.bare {
		return status, ""
	}
	return status, strings.Join(s.items, ",")
}

// body is the answer as one document.
func (s said) body() []byte { return []byte(s.response(s.end())) }

// stream is the answer as a stream.
func (s said) stream() []byte {
	var b bytes.Buffer
	n := 0
	event := func(kind, rest string) {
		fmt.Fprintf(&b, "event: %s\ndata: {\"type\":%q,\"sequence_number\":%d,%s}\n\n", kind, kind, n, rest)
		n++
	}
	event("response.created", `"response":`+s.response("in_progress", ""))
	event("response.in_progress", `"response":`+s.response("in_progress", ""))
	for i, item := range s.items {
		at := fmt.Sprintf(`"output_index":%d`, i)
		of := fmt.Sprintf(`"item_id":%s,%s`, gjson.Get(item, "id").Raw, at)
		event("response.output_item.added", at+`,"item":`+strings.Replace(item, `"completed"`, `"in_progress"`, 1))
		switch gjson.Get(item, "type").Str {
		case "reasoning":
			event("response.reasoning_summary_part.added", of+`,"summary_index":0,"part":{"type":"summary_text","text":""}`)
			event("response.reasoning_summary_text.delta", of+`,"summary_index":0,"delta":`+gjson.Get(item, "summary.0.text").Raw)
			event("response.reasoning_summary_part.done", of+`,"summary_index":0,"part":`+gjson.Get(item, "summary.0").Raw)
		case "message":
			event("response.content_part.added", of+`,"content_index":0,"part":{"type":"output_text","text":""}`)
			for _, word := range strings.SplitAfter(gjson.Get(item, "content.0.text").Str, " ") {
				event("response.output_text.delta", of+`,"content_index":0,"delta":"`+word+`","logprobs":[],"obfuscation":"xY"`)
			}
			event("response.content_part.done", of+`,"content_index":0,"part":`+gjson.Get(item, "content.0").Raw)
		case "function_call":
			event("response.function_call_arguments.delta", of+`,"delta":`+gjson.Get(item, "arguments").Raw)
			event("response.function_call_arguments.done", of+`,"arguments":`+gjson.Get(item, "arguments").Raw)
		case "custom_tool_call":
			event("response.custom_tool_call_input.delta", of+`,"delta":`+gjson.Get(item, "input").Raw)
		case "web_search_call":
			event("response.web_search_call.searching", of)
		}
		event("response.output_item.done", at+`,"item":`+item)
	}
	b.WriteString(s.late)
	if s.status != "cut" {
		status, items := s.end()
		event("response."+status, `"response":`+s.response(status, items))
	}
	return b.Bytes()
}

// feed lets a splicer see the turns, as the gateway would, and returns what the client
// is shown and what each turn said.
func feed(t testing.TB, f wire.Framing, turns ...[]byte) (shown []wire.Event, all []dialect.Said) {
	t.Helper()
	s := responses.New().Splice(mine)
	for i, turn := range turns {
		shown = append(shown, pour(s, f, turn)...)
		all = append(all, s.Said())
		for _, e := range s.End(i == len(turns)-1) {
			shown = append(shown, e.Clone())
		}
	}
	return shown, all
}

func pour(s dialect.Splicer, f wire.Framing, turn []byte) (shown []wire.Event) {
	r := wire.NewReader(f, bytes.NewReader(turn))
	for {
		e, err := r.Next()
		if err != nil {
			return shown
		}
		for _, edited := range s.Event(e) {
			shown = append(shown, edited.Clone())
		}
	}
}

func joined(events []wire.Event) []byte {
	var b []byte
	for _, e := range events {
		b = append(b, e.Raw...)
	}
	return b
}

func streams(turns []said) (all [][]byte) {
	for _, s := range turns {
		all = append(all, s.stream())
	}
	return all
}

func bodies(turns []said) (all [][]byte) {
	for _, s := range turns {
		all = append(all, s.body())
	}
	return all
}

// strictly reads a stream as a client does: from its bytes.
func strictly(t testing.TB, shown []wire.Event) []wire.Event {
	t.Helper()
	var again []wire.Event
	r := wire.NewReader(wire.SSE, bytes.NewReader(joined(shown)))
	for e, err := r.Next(); err == nil; e, err = r.Next() {
		again = append(again, e.Clone())
	}
	if err := dialecttest.StrictResponses(again); err != nil {
		t.Errorf("%v in\n%s", err, joined(shown))
	}
	return again
}

// brief tells an event in a few words.
func brief(e wire.Event) string {
	v := gjson.ParseBytes(e.Data)
	words := []string{v.Get("sequence_number").Raw, strings.TrimPrefix(v.Get("type").Str, "response.")}
	if i := v.Get("output_index"); i.Exists() {
		words = append(words, "@"+i.Raw)
	}
	for _, path := range []string{"item.id", "item_id", "response.id", "delta"} {
		if w := v.Get(path).Str; w != "" {
			words = append(words, strings.TrimSpace(w))
		}
	}
	for _, item := range v.Get("response.output").Array() {
		words = append(words, item.Get("id").Str)
	}
	return strings.Join(words, " ")
}

func callIDs(s dialect.Said) (own, others []string) {
	for _, c := range s.Mine {
		own = append(own, c.ID)
	}
	for _, c := range s.Others {
		others = append(others, c.ID)
	}
	return own, others
}
