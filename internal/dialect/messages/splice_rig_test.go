package messages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

func mine(name string) bool { return strings.HasPrefix(name, "kb_") }

// answer is one turn of the upstream's.
type answer struct {
	id     string
	blocks []string // as a body has them
	stop   string
	bare   bool // it breaks off before its end
	extra  string
}

const (
	plan     = `{"type":"thinking","thinking":"Let me \u003cthink\u003e \ud83d\ude00 & \"go\"","signature":"EqQBCgIYAhIM1g\/bcDa9+=="}`
	hello    = `{"type":"text","text":"Looking <it> up… \ud83d\ude00\n"}`
	cited    = `{"type":"text","text":"As said","citations":[{"type":"char_location","cited_text":"x \u0026","document_index":0},{"type":"page"}]}`
	redacted = `{"type":"redacted_thinking","data":"EmwKAhgB"}`
	searched = `{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query": "x"}}`
	found    = `{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"https://example.com"}]}`
	novel    = `{"type":"novel_thing","x":1.0,"big":12345678901234567890}`
	compact  = `{"type":"compaction","content":"the story so far","encrypted_content":"gAAA=="}`
)

func call(id, name, input string) string {
	return `{"type":"tool_use","id":"` + id + `","name":"` + name + `","input":` + input + `}`
}

func own(id string) string    { return call(id, "kb_time_now", `{"zone": "<UTC>", "n":1.0}`) }
func theirs(id string) string { return call(id, "bash", `{"command":"ls"}`) }

const (
	startUsage = `{"input_tokens":100,"cache_creation_input_tokens":5,"cache_read_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":5},"output_tokens":1,"service_tier":"standard"}`
	stopUsage  = `{"output_tokens":20,"output_tokens_details":{"thinking_tokens":7}}`
	bodyUsage  = `{"input_tokens":100,"cache_creation_input_tokens":5,"cache_read_input_tokens":50,"cache_creation":{"ephemeral_5m_input_tokens":5},"output_tokens":20,"output_tokens_details":{"thinking_tokens":7},"service_tier":"standard"}`
)

func (a answer) body() string {
	return fmt.Sprintf(`{"id":%q,"type":"message","role":"assistant","model":"m", "content":[%s],"stop_reason":%q,"stop_sequence":null,"usage":%s}`,
		a.id, strings.Join(a.blocks, ","), a.stop, bodyUsage)
}

// stream is the answer in events; r says where strings are cut.
func (a answer) stream(r *rand.Rand) string {
	var b strings.Builder
	put := func(kind, data string) {
		fmt.Fprintf(&b, "event: %s\ndata: {\"type\":%q%s}\n\n", kind, kind, data)
	}
	put("message_start", fmt.Sprintf(`,"message":{"id":%q,"type":"message","role":"assistant","model":"m","content":[],"stop_reason":null,"stop_sequence":null,"usage":%s}`, a.id, startUsage))
	for i, raw := range a.blocks {
		if r.IntN(4) == 0 {
			put("ping", "")
		}
		start, deltas := pieces(r, raw)
		put("content_block_start", fmt.Sprintf(`,"index":%d,"content_block":%s`, i, start))
		for _, d := range deltas {
			put("content_block_delta", fmt.Sprintf(`,"index":%d,"delta":%s`, i, d))
		}
		if !a.bare || i < len(a.blocks)-1 {
			put("content_block_stop", fmt.Sprintf(`,"index":%d`, i))
		}
	}
	b.WriteString(a.extra)
	if a.bare {
		return b.String()
	}
	if r.IntN(2) == 0 {
		put("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":%q,"stop_sequence":null},"usage":{"output_tokens":11}`, a.stop))
	}
	put("message_delta", fmt.Sprintf(`,"delta":{"stop_reason":%q,"stop_sequence":null},"usage":%s`, a.stop, stopUsage))
	put("message_stop", "")
	return b.String()
}

// pieces cuts a block as the API does.
func pieces(r *rand.Rand, raw string) (start string, deltas []string) {
	block := gjson.Parse(raw)
	grow := func(delta, name, quoted string) {
		for _, p := range cutString(r, quoted[1:len(quoted)-1]) {
			deltas = append(deltas, fmt.Sprintf(`{"type":%q,%q:"%s"}`, delta, name, p))
		}
	}
	switch kind := block.Get("type").Str; kind {
	case "text":
		for _, c := range block.Get("citations").Array() {
			deltas = append(deltas, `{"type":"citations_delta","citation":`+c.Raw+`}`)
		}
		grow("text_delta", "text", block.Get("text").Raw)
		return `{"type":"text","text":""}`, deltas
	case "thinking":
		grow("thinking_delta", "thinking", block.Get("thinking").Raw)
		deltas = append(deltas, `{"type":"signature_delta","signature":`+block.Get("signature").Raw+`}`)
		return `{"type":"thinking","thinking":"","signature":""}`, deltas
	case "tool_use", "server_tool_use":
		quoted := string(dialect.Quote(gjson.Get(raw, "input").Raw))
		if broken := block.Get("broken"); broken.Exists() {
			quoted = broken.Raw
		}
		grow("input_json_delta", "partial_json", quoted)
		return fmt.Sprintf(`{"type":%q,"id":%s,"name":%s,"input":{}}`, kind, block.Get("id").Raw, block.Get("name").Raw), deltas
	case "compaction":
		return `{"type":"compaction","content":null}`, []string{`{"type":"compaction_delta","content":` + block.Get("content").Raw + `,"encrypted_content":` + block.Get("encrypted_content").Raw + `}`}
	}
	return raw, nil
}

// cutString cuts what stands between quotes anywhere but inside an escape.
func cutString(r *rand.Rand, s string) (list []string) {
	list = append(list, "")
	for i := 0; i < len(s); {
		n := 1
		switch {
		case strings.HasPrefix(s[i:], `\ud8`): // two that are one character
			n = 12
		case strings.HasPrefix(s[i:], `\u`):
			n = 6
		case s[i] == '\\':
			n = 2
		case s[i] >= 0x80: // whole characters
			for i+n < len(s) && s[i+n]&0xC0 == 0x80 {
				n++
			}
		}
		if r.IntN(4) == 0 {
			list = append(list, "")
		}
		list[len(list)-1] += s[i : i+n]
		i += n
	}
	return list
}

// told is an exchange as the client has seen it.
type told struct {
	raw    []byte
	events []wire.Event
	saids  []dialect.Said
	steps  []dialect.Step
}

// converse does what the gateway does with the turns.
func converse(t testing.TB, framing wire.Framing, turns ...string) (c told) {
	t.Helper()
	s := messages.New().Splice(mine)
	take := func(events []wire.Event) {
		for _, e := range events {
			c.raw = append(c.raw, e.Raw...)
		}
	}
	for i, body := range turns {
		reader := wire.NewReader(framing, strings.NewReader(body))
		for e, err := reader.Next(); err == nil; e, err = reader.Next() {
			take(s.Event(e))
		}
		said := s.Said()
		c.saids = append(c.saids, said)
		if len(said.Mine) > 0 && !said.Cut {
			c.steps = append(c.steps, dialect.Step{Said: said, Results: answered(said)})
		}
		if len(said.Mine) == 0 || said.Cut || len(said.Others) > 0 || i == len(turns)-1 {
			take(s.End(true))
			break
		}
		take(s.End(false))
	}
	reader := wire.NewReader(framing, bytes.NewReader(c.raw))
	for e, err := reader.Next(); err == nil; e, err = reader.Next() {
		c.events = append(c.events, e.Clone())
	}
	return c
}

func answered(said dialect.Said) (list []llm.ToolResult) {
	for _, m := range said.Mine {
		list = append(list, llm.ToolResult{CallID: m.ID, Parts: []llm.Part{{Text: "out of " + m.ID}}})
	}
	return list
}

// message is what a client makes of an answer, by decoding all of it.
func (c told) message(t testing.TB) (m map[string]any) {
	t.Helper()
	if err := dialecttest.StrictMessages(c.events); err != nil {
		t.Fatalf("%v\n%s", err, c.raw)
	}
	if dialect.IsBody(c.events[0]) {
		decode(t, string(c.raw), &m)
		return m
	}
	var content []map[string]any
	inputs := map[int]string{}
	for _, e := range c.events {
		var data struct {
			Type    string         `json:"type"`
			Index   int            `json:"index"`
			Message map[string]any `json:"message"`
			Block   map[string]any `json:"content_block"` //nolint:tagliatelle // the API's
			Delta   map[string]any `json:"delta"`
			Usage   map[string]any `json:"usage"`
		}
		if e.Data != nil {
			decode(t, string(e.Data), &data)
		}
		switch data.Type {
		case "message_start":
			m = data.Message
		case "content_block_start":
			content = append(content, data.Block)
		case "content_block_delta":
			grown := content[data.Index]
			for name, v := range data.Delta {
				switch name {
				case "type":
				case "citation":
					list, _ := grown["citations"].([]any)
					grown["citations"] = append(list, v)
				case "partial_json":
					inputs[data.Index] += fmt.Sprint(v)
				default:
					before, _ := grown[name].(string)
					grown[name] = before + fmt.Sprint(v)
				}
			}
		case "message_delta":
			m["stop_reason"] = data.Delta["stop_reason"]
			maps.Copy(m["usage"].(map[string]any), data.Usage)
		}
	}
	all := []any{}
	for i, b := range content {
		if inputs[i] != "" {
			var v any
			if json.Unmarshal([]byte(inputs[i]), &v) != nil {
				v = inputs[i]
			}
			b["input"] = v
		}
		all = append(all, b)
	}
	m["content"] = all
	return m
}

func decode(t testing.TB, text string, v any) {
	t.Helper()
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	if err := d.Decode(v); err != nil {
		t.Fatalf("%v: %s", err, text)
	}
}

// same compares what JSON says.
func same(t testing.TB, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func parsed(t testing.TB, text string) (v any) {
	t.Helper()
	decode(t, text, &v)
	return v
}

func list(blocks ...string) string { return "[" + strings.Join(blocks, ",") + "]" }
