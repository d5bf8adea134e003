package chat_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

func mine(name string) bool { return strings.HasPrefix(name, "kb_") }

// said is one turn of an upstream's: the deltas of a stream, or a message.
type said struct {
	n      int // which turn it is: of its id and its usage
	deltas []string
	finish string // "": it is cut off
	usage  bool
	late   string // instead of all that ends it
}

const chunkHead = `"object":"chat.completion.chunk","model":"m","system_fingerprint":"fp_<1>"`

func (s said) head() string {
	return fmt.Sprintf(`{"id":"chatcmpl-%d","created":176400000%d,`, s.n, s.n)
}

func (s said) used() string {
	return fmt.Sprintf(`{"prompt_tokens":%d,"completion_tokens":1%d,"prompt_tokens_details":{"cached_tokens":%[1]d},"note":"<%[1]d>"}`, s.n, s.n)
}

func (s said) stream() []byte {
	var b bytes.Buffer
	put := func(choices, usage string) {
		fmt.Fprintf(&b, "data: %s%s,\"choices\":[%s]%s}\n\n", s.head(), chunkHead, choices, usage)
	}
	null := ""
	if s.usage {
		null = `,"usage":null`
	}
	for _, d := range append([]string{`{"role":"assistant","content":null}`}, s.deltas...) {
		put(`{"index":0,"delta":`+d+`,"logprobs":null,"finish_reason":null}`, null+`,"obfuscation":"x"`)
	}
	switch {
	case s.late != "":
		b.WriteString(s.late)
		return b.Bytes()
	case s.finish == "":
		return b.Bytes()
	}
	put(`{"index":0,"delta":{},"logprobs":null,"finish_reason":"`+s.finish+`"}`, null)
	if s.usage {
		put("", `,"usage":`+s.used())
	}
	b.WriteString("data: [DONE]\n\n")
	return b.Bytes()
}

// body is a blocking answer; its deltas are one, the message.
func (s said) body() []byte {
	usage := ""
	if s.usage {
		usage = `, "usage": ` + s.used()
	}
	finish := "null"
	if s.finish != "" {
		finish = strconv.Quote(s.finish)
	}
	return []byte(s.head() + `"object":"chat.completion","choices": [ {"index":0, "message": ` + s.deltas[0] + `,"finish_reason":` + finish + `}]` + usage + ` }` + "\n")
}

func text(s string) string { return `{"content":"` + s + `"}` }

// opens and goesOn are the pieces of a call.
func opens(index int, id, name string) string {
	return fmt.Sprintf(`{"tool_calls":[{"index":%d,"id":"%s","type":"function","function":{"name":"%s","arguments":""}}]}`, index, id, name)
}

func goesOn(index int, arguments string) string {
	return fmt.Sprintf(`{"tool_calls":[{"index":%d,"function":{"arguments":"%s"}}]}`, index, arguments)
}

// called is a call in a message.
func called(id, name, arguments string) string {
	return `{"id":"` + id + `","type":"function","function":{"name":"` + name + `","arguments":"` + arguments + `"}}`
}

// pour lets the splicer see one turn's body, and returns what the client sees of it.
func pour(s dialect.Splicer, f wire.Framing, body []byte) (shown []wire.Event) {
	r := wire.NewReader(f, bytes.NewReader(body))
	for {
		e, err := r.Next()
		if errors.Is(err, io.EOF) {
			return shown
		}
		for _, e := range s.Event(e) {
			shown = append(shown, e.Clone())
		}
	}
}

// feed is an exchange of these turns, as the gateway runs it: it ends early where the
// model has called a tool of the client's, none of the gateway's, or was cut.
func feed(f wire.Framing, turns ...[]byte) (shown []wire.Event, all []dialect.Said) {
	s := chat.New().Splice(mine)
	for i, body := range turns {
		shown = append(shown, pour(s, f, body)...)
		said := s.Said()
		all = append(all, said)
		last := i == len(turns)-1 || len(said.Mine) == 0 || len(said.Others) > 0 || said.Cut
		for _, e := range s.End(last) {
			shown = append(shown, e.Clone())
		}
		if last {
			break
		}
	}
	return shown, all
}

func joined(events []wire.Event) []byte {
	var b []byte
	for _, e := range events {
		b = append(b, e.Raw...)
	}
	return b
}

// strictly checks what the client reads of the events.
func strictly(t testing.TB, f wire.Framing, events []wire.Event) {
	t.Helper()
	var read []wire.Event
	r := wire.NewReader(f, bytes.NewReader(joined(events)))
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		read = append(read, e.Clone())
	}
	if err := dialecttest.StrictChat(read); err != nil {
		t.Errorf("%v\n%s", err, joined(events))
	}
}

// brief is an answer as one reads it.
func brief(events []wire.Event) string {
	var lines []string
	for _, e := range events {
		v := gjson.ParseBytes(e.Data)
		switch {
		case e.Data == nil:
			lines = append(lines, strings.TrimSpace(string(e.Raw)))
		case !v.IsObject():
			lines = append(lines, string(e.Data))
		case v.Get("error").Exists():
			lines = append(lines, "error "+v.Get("error").Raw)
		default:
			line := strings.TrimPrefix(v.Get("id").Str, "chatcmpl-") + " " + v.Get("created").Raw[9:] + " "
			v.Get("choices").ForEach(func(_, c gjson.Result) bool {
				line += c.Get("delta").Raw + c.Get("finish_reason").Str
				return true
			})
			if u := v.Get("usage"); u.IsObject() {
				line += u.Raw
			}
			lines = append(lines, line)
		}
	}
	return strings.Join(lines, "\n")
}

func ids(calls []llm.ToolCall) (all []string) {
	for _, c := range calls {
		all = append(all, c.ID)
	}
	return all
}

// results are what the gateway's tools return for a turn.
func results(s dialect.Said) dialect.Step {
	step := dialect.Step{Said: s}
	for _, c := range s.Mine {
		step.Results = append(step.Results, llm.ToolResult{CallID: c.ID, Parts: []llm.Part{{Text: "result of " + c.ID}}})
	}
	return step
}

func result(id string) string {
	return `{"role":"tool","tool_call_id":"` + id + `","content":"result of ` + id + `"}`
}

func streams(turns []said) (all [][]byte) {
	for _, s := range turns {
		all = append(all, s.stream())
	}
	return slices.Clip(all)
}
