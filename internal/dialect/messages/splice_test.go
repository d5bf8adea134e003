package messages_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/dialecttest"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

func source() *rand.Rand { return rand.New(rand.NewPCG(1, 2)) }

// exchanges are the turns of the upstream's, and what the client sees of them.
var exchanges = map[string]struct {
	turns  []answer
	blocks []string
	stop   string
	ran    int // turns whose calls are run
}{
	"text":             {turns: []answer{{blocks: []string{hello}, stop: "end_turn"}}, blocks: []string{hello}, stop: "end_turn"},
	"all kinds":        {turns: []answer{{blocks: []string{plan, redacted, searched, found, cited, compact, novel, theirs("t1"), theirs("t2")}, stop: "tool_use"}}, blocks: []string{plan, redacted, searched, found, cited, compact, novel, theirs("t1"), theirs("t2")}, stop: "tool_use"},
	"nothing":          {turns: []answer{{stop: "end_turn"}}, stop: "end_turn"},
	"one call":         {turns: []answer{{blocks: []string{own("o1")}, stop: "tool_use"}, {blocks: []string{hello}, stop: "end_turn"}}, blocks: []string{hello}, stop: "end_turn", ran: 1},
	"two calls":        {turns: []answer{{blocks: []string{hello, own("o1"), own("o2")}, stop: "tool_use"}, {blocks: []string{cited}, stop: "stop_sequence"}}, blocks: []string{hello, cited}, stop: "stop_sequence", ran: 1},
	"text around":      {turns: []answer{{blocks: []string{plan, hello, own("o1"), cited}, stop: "tool_use"}, {blocks: []string{plan, novel}, stop: "end_turn"}}, blocks: []string{plan, hello, cited, plan, novel}, stop: "end_turn", ran: 1},
	"three turns":      {turns: []answer{{blocks: []string{plan, own("o1")}, stop: "tool_use"}, {blocks: []string{redacted, hello, own("o2")}, stop: "tool_use"}, {blocks: []string{hello, theirs("t1")}, stop: "tool_use"}}, blocks: []string{plan, redacted, hello, hello, theirs("t1")}, stop: "tool_use", ran: 2},
	"mixed":            {turns: []answer{{blocks: []string{plan, hello, own("o1"), theirs("t1"), own("o2"), theirs("t2")}, stop: "tool_use"}}, blocks: []string{plan, hello, theirs("t1"), theirs("t2")}, stop: "tool_use", ran: 1},
	"cut in a call":    {turns: []answer{{blocks: []string{hello, own("o1")}, stop: "max_tokens"}}, blocks: []string{hello}, stop: "max_tokens"},
	"cut later":        {turns: []answer{{blocks: []string{own("o1")}, stop: "tool_use"}, {blocks: []string{hello, own("o2")}, stop: "max_tokens"}}, blocks: []string{hello}, stop: "max_tokens", ran: 1},
	"paused":           {turns: []answer{{blocks: []string{searched, own("o1")}, stop: "pause_turn"}}, blocks: []string{searched}, stop: "pause_turn"},
	"refused":          {turns: []answer{{blocks: []string{own("o1")}, stop: "tool_use"}, {stop: "refusal"}}, stop: "refusal", ran: 1},
	"calls to the end": {turns: []answer{{blocks: []string{own("o1")}, stop: "tool_use"}, {blocks: []string{hello, own("o2")}, stop: "tool_use"}}, blocks: []string{hello}, stop: "end_turn", ran: 2},
}

func TestSplice(t *testing.T) {
	t.Parallel()
	for name, x := range exchanges {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for seed := range uint64(40) {
				r := rand.New(rand.NewPCG(seed, 0))
				for _, framing := range []wire.Framing{wire.SSE, wire.JSON} {
					var bodies []string
					for i := range x.turns {
						x.turns[i].id = []string{"msg_a", "msg_b", "msg_c"}[i]
						if framing == wire.SSE {
							bodies = append(bodies, x.turns[i].stream(r))
						} else {
							bodies = append(bodies, x.turns[i].body())
						}
					}
					c := converse(t, framing, bodies...)
					got := c.message(t)
					same(t, "content", parsed(t, list(x.blocks...)), got["content"])
					same(t, "id and reason", []any{"msg_a", x.stop}, []any{got["id"], got["stop_reason"]})
					n := len(bodies)
					usage := []byte(bodyUsage)
					for range n - 1 {
						usage = dialect.SumUsage(usage, []byte(bodyUsage))
					}
					same(t, "usage", parsed(t, string(usage)), got["usage"])
					same(t, "turns with calls", x.ran, len(c.steps))
					if n == 1 && len(c.saids[0].Mine) == 0 && string(c.raw) != bodies[0] {
						t.Errorf("what came is not what went out:\n%s\n%s", bodies[0], c.raw)
					}
					for i, said := range c.saids {
						checkSaid(t, x.turns[i], said)
					}
				}
			}
		})
	}
}

// checkSaid holds what is told of a turn against the turn.
func checkSaid(t *testing.T, a answer, said dialect.Said) {
	t.Helper()
	same(t, "raw", parsed(t, list(a.blocks...)), parsed(t, string(said.Raw)))
	var calls, others []llm.ToolCall
	for _, b := range a.blocks {
		// Strings keep their escapes.
		for _, name := range []string{"text", "thinking", "signature", "input", "content"} {
			if v := dialect.Member([]byte(b), name); v != nil && !bytes.Contains(said.Raw, v) {
				t.Errorf("%s is not repeated byte by byte in %s", v, said.Raw)
			}
		}
		c := llm.ToolCall{ID: dialect.Text(dialect.Member([]byte(b), "id")), Name: dialect.Text(dialect.Member([]byte(b), "name")), Arguments: dialect.Member([]byte(b), "input")}
		switch {
		case !strings.HasPrefix(b, `{"type":"tool_use"`):
		case mine(c.Name):
			calls = append(calls, c)
		default:
			others = append(others, c)
		}
	}
	same(t, "calls", [][]llm.ToolCall{calls, others}, [][]llm.ToolCall{said.Mine, said.Others})
	same(t, "id and cut", []any{a.id, slices.Contains([]string{"max_tokens", "pause_turn", "refusal"}, a.stop)}, []any{said.ID, said.Cut})
}

func TestPlainAnswersAreNotTouched(t *testing.T) {
	t.Parallel()
	files, _ := filepath.Glob("testdata/*.*")
	for _, file := range files {
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		framing := wire.SSE
		if filepath.Ext(file) == ".json" {
			framing = wire.JSON
		}
		for _, body := range []string{string(raw), strings.ReplaceAll(string(raw), "\n", "\r\n"), strings.TrimRight(string(raw), "\n")} {
			if c := converse(t, framing, body); string(c.raw) != body {
				t.Errorf("%s: what came is not what went out:\n%s", file, c.raw)
			}
		}
	}
}

// Text goes out with the event that brings it, in every turn.
func TestTextIsNotHeldBack(t *testing.T) {
	t.Parallel()
	s := messages.New().Splice(mine)
	first := answer{id: "msg_a", blocks: []string{hello, own("o1")}, stop: "tool_use"}.stream(source())
	second := answer{id: "msg_b", blocks: []string{hello}, stop: "end_turn"}.stream(source())
	for i, body := range []string{first, second} {
		reader := wire.NewReader(wire.SSE, strings.NewReader(body))
		deltas := 0
		for e, err := reader.Next(); err == nil; e, err = reader.Next() {
			out := s.Event(e)
			if bytes.Contains(e.Data, []byte("text_delta")) {
				if deltas++; len(out) != 1 || !bytes.Contains(out[0].Data, dialect.Member(dialect.Member(e.Data, "delta"), "text")) {
					t.Errorf("turn %d: %s became %v", i, e.Raw, out)
				}
			}
			if bytes.Contains(e.Data, []byte("ping")) && len(out) != 1 {
				t.Errorf("a ping became %v", out)
			}
		}
		if deltas == 0 {
			t.Error("no text came")
		}
		if i == 0 {
			s.End(false)
		}
	}
}

func TestBrokenArguments(t *testing.T) {
	t.Parallel()
	for _, broken := range []string{`{"a":`, `[1]`, `"x"`, `nope`, `{"a":}`} {
		b := strings.TrimSuffix(own("o1"), "}") + `,"broken":` + string(dialect.Quote(broken)) + "}"
		c := converse(t, wire.SSE, answer{id: "a", blocks: []string{hello, b}, stop: "tool_use"}.stream(source()),
			answer{id: "b", blocks: []string{cited}, stop: "end_turn"}.stream(source()))
		same(t, "content", parsed(t, list(hello, cited)), c.message(t)["content"])
		same(t, "arguments", broken, string(c.saids[0].Mine[0].Arguments))
		same(t, "raw", parsed(t, list(hello, call("o1", "kb_time_now", "{}"))), parsed(t, string(c.saids[0].Raw)))
	}
	c := converse(t, wire.JSON, answer{id: "a", blocks: []string{call("o1", "kb_x", `[1]`)}, stop: "tool_use"}.body())
	same(t, "arguments", `[1]`, string(c.saids[0].Mine[0].Arguments))
	same(t, "raw", list(call("o1", "kb_x", `{}`)), string(c.saids[0].Raw))
	c = converse(t, wire.SSE, answer{id: "a", blocks: []string{call("o1", "kb_x", ``)}, stop: "tool_use"}.stream(source()))
	same(t, "no arguments", list(call("o1", "kb_x", `{}`)), string(c.saids[0].Raw))
}

func TestBlankTextIsNotSentAgain(t *testing.T) {
	t.Parallel()
	blank := `{"type":"text","text":" \n"}`
	for _, framing := range []wire.Framing{wire.SSE, wire.JSON} {
		a := answer{id: "a", blocks: []string{plan, blank, own("o1")}, stop: "tool_use"}
		b := answer{id: "b", blocks: []string{hello}, stop: "end_turn"}
		bodies := []string{a.body(), b.body()}
		if framing == wire.SSE {
			bodies = []string{a.stream(source()), b.stream(source())}
		}
		c := converse(t, framing, bodies...)
		same(t, "content", parsed(t, list(plan, blank, hello)), c.message(t)["content"])
		same(t, "raw", parsed(t, list(plan, own("o1"))), parsed(t, string(c.saids[0].Raw)))
	}
}

// An escape that is one character in two deltas is kept.
func TestSignedTextIsJoinedRaw(t *testing.T) {
	t.Parallel()
	raw := answer{id: "a", blocks: []string{own("o1")}, stop: "tool_use"}.stream(source())
	raw = strings.ReplaceAll(raw, `,"index":0`, `,"index":1`)
	head := "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"thinking\",\"thinking\":\"\\u00e9\",\"signature\":\"\"}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"\\ud83d\"}}\n\n" +
		"event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"thinking_delta\",\"thinking\":\"\\uDE00\\/\"}}\n\n" +
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n"
	i := strings.Index(raw, "event: content_block_start")
	c := converse(t, wire.SSE, raw[:i]+head+raw[i:])
	if want := `"thinking":"\u00e9\ud83d\uDE00\/"`; !strings.Contains(string(c.saids[0].Raw), want) {
		t.Errorf("%s is not in %s", want, c.saids[0].Raw)
	}
}

func TestErrorsAndCutsInALaterTurn(t *testing.T) {
	t.Parallel()
	first := answer{id: "a", blocks: []string{hello, own("o1")}, stop: "tool_use"}.stream(source())
	failure := "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\",\"message\":\"Overloaded\"}}\n\n"
	second := answer{id: "b", blocks: []string{hello, cited}, bare: true, extra: failure}.stream(source())
	c := converse(t, wire.SSE, first, second)
	c.message(t)
	if !strings.HasSuffix(string(c.raw), failure) || !c.saids[1].Cut {
		t.Errorf("the error is not the end: %s", c.raw)
	}
	c = converse(t, wire.SSE, first, answer{id: "b", blocks: []string{hello}, bare: true}.stream(source()))
	if err := dialecttest.StrictMessages(c.events); err == nil || err.Error() != "no end" || !c.saids[1].Cut {
		t.Errorf("a turn that broke off: %v, cut %t", err, c.saids[1].Cut)
	}
	c = converse(t, wire.SSE, answer{id: "b", blocks: []string{own("o1")}, bare: true}.stream(source()))
	if !c.saids[0].Cut || len(c.steps) > 0 || strings.Contains(string(c.raw), "kb_") {
		t.Errorf("a call that broke off: %+v\n%s", c.saids[0], c.raw)
	}
}

// What is unknown passes, numbered as its block; a turn's last event may lack its
// blank line, and its end may lack the reason.
func TestOddStreams(t *testing.T) {
	t.Parallel()
	novelty := "event: novelty\ndata: {\"type\":\"novelty\",\"v\":1}\n\nevent: content_block_mark\ndata: {\"type\":\"content_block_mark\",\"index\":1}\n\n"
	first := answer{id: "a", blocks: []string{own("o1"), hello}, stop: "tool_use", extra: novelty}.stream(source()) + ": bye"
	second := strings.TrimRight(answer{id: "b", blocks: []string{cited}, stop: "end_turn"}.stream(source()), "\n")
	c := converse(t, wire.SSE, first, second)
	same(t, "content", parsed(t, list(hello, cited)), c.message(t)["content"])
	for _, want := range []string{`{"type":"novelty","v":1}`, `{"type":"content_block_mark","index":0}`, ": bye\n\n"} {
		if !strings.Contains(string(c.raw), want) {
			t.Errorf("%s is not in %s", want, c.raw)
		}
	}
	bare := answer{id: "a", blocks: []string{hello, own("o1"), theirs("t1")}, bare: true}.stream(source()) +
		"event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":2}\n\nevent: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	got := converse(t, wire.SSE, bare).message(t)
	same(t, "reason and output", []any{"tool_use", json.Number("1")}, []any{got["stop_reason"], got["usage"].(map[string]any)["output_tokens"]})
}

func TestAnswersTooLargeToHoldGoBy(t *testing.T) {
	t.Parallel()
	s := messages.New().Splice(mine)
	out := s.Event(wire.Event{Raw: []byte(`{"content":[`), Chunk: true})
	if len(out) != 1 || string(out[0].Raw) != `{"content":[` {
		t.Errorf("%v", out)
	}
	body := answer{blocks: []string{own("o1")}, stop: "tool_use"}.body()
	if out = s.Event(wire.Event{Data: []byte(body)}); len(out) != 1 || len(out[0].Raw) > 0 {
		t.Errorf("%v", out)
	}
	if said := s.Said(); !said.Cut || len(s.End(true)) > 0 {
		t.Errorf("%+v", said)
	}
}

func TestIterationsAreJoined(t *testing.T) {
	t.Parallel()
	turn := func(a answer, n string) string {
		return strings.ReplaceAll(a.stream(source()), stopUsage, `{"output_tokens":20,"iterations":[{"type":"message","output_tokens":`+n+`}]}`)
	}
	c := converse(t, wire.SSE, turn(answer{id: "a", blocks: []string{own("o1")}, stop: "tool_use"}, "1"), turn(answer{id: "b", stop: "end_turn"}, "2"))
	same(t, "usage", parsed(t, `[{"type":"message","output_tokens":1},{"type":"message","output_tokens":2}]`), c.message(t)["usage"].(map[string]any)["iterations"])
}

// Fields that a report leaves out or has as null keep what was told before.
func TestReportsReplaceOnlyWhatTheyTell(t *testing.T) {
	t.Parallel()
	a := answer{id: "a", blocks: []string{own("o1")}, stop: "tool_use"}
	first := strings.ReplaceAll(a.stream(source()), stopUsage, `{"input_tokens":null,"output_tokens":20,"iterations":[{"output_tokens":1}]}`)
	c := converse(t, wire.SSE, first, answer{id: "b", stop: "end_turn"}.stream(source()))
	usage, _ := c.message(t)["usage"].(map[string]any)
	same(t, "input and iterations", []any{json.Number("200"), parsed(t, `[{"output_tokens":1}]`)}, []any{usage["input_tokens"], usage["iterations"]})
}

func TestACallThatIsNotClosedIsNotRun(t *testing.T) {
	t.Parallel()
	stream := answer{id: "a", blocks: []string{own("o1")}, stop: "tool_use"}.stream(source())
	c := converse(t, wire.SSE, strings.Replace(stream, "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n", "", 1))
	if !c.saids[0].Cut || len(c.steps) > 0 {
		t.Errorf("%+v", c.saids[0])
	}
	same(t, "reason", any("end_turn"), c.message(t)["stop_reason"])
}

func TestWhatAToolRanInIsGoneOnWith(t *testing.T) {
	t.Parallel()
	a := answer{id: "a", blocks: []string{own("o1")}, stop: "tool_use"}
	body := strings.Replace(a.body(), `"stop_sequence"`, `"container":{"id":"container_1","expires_at":"x"},"stop_sequence"`, 1)
	said := converse(t, wire.JSON, body).saids[0]
	same(t, "container", []any{"container_1", true}, []any{said.Container, said.Bound})
	stream := strings.ReplaceAll(a.stream(source()), `"stop_sequence":null},"usage":{"output_tokens":20`, `"stop_sequence":null,"container":{"id":"container_1"}},"usage":{"output_tokens":20`)
	said = converse(t, wire.SSE, stream).saids[0]
	same(t, "container", []any{"container_1", true}, []any{said.Container, said.Bound})
	for request, want := range map[string]string{
		`{"messages":[]}`: `"container":"container_1"`,
		`{"messages":[],"container":{"skills":[1],"id":null}}`: `"container":{"skills":[1],"id":"container_1"}`,
		`{"messages":[],"container":"container_0"}`:            `"container":"container_1"`,
	} {
		got, err := messages.New().FollowUp([]byte(request), dialect.Step{Said: said, Results: answered(said)}, false)
		if err != nil || !strings.Contains(string(got), want) {
			t.Errorf("%s: %s, %v", request, got, err)
		}
	}
}

// Blocks keep their numbers until something is hidden, and no number is given twice.
func TestNumbersInAnyOrder(t *testing.T) {
	t.Parallel()
	var stream strings.Builder
	for _, data := range []string{
		starts(0, hello), starts(2, hello), starts(1, hello), starts(-1, theirs("t1")), starts(3, own("o1")), starts(4, hello), stops(-1), stops(4), stops(1),
	} {
		stream.WriteString("data: " + data + "\n\n")
	}
	var got []string
	for _, e := range converse(t, wire.SSE, stream.String()).events {
		got = append(got, dialect.TypeOf(e)[len("content_block_"):]+" "+string(dialect.Member(e.Data, "index")))
	}
	same(t, "numbers", []string{"start 0", "start 2", "start 1", "start -1", "start 3", "stop -1", "stop 3", "stop 1"}, got)
}

// A block that is open and begins again goes on: nobody gets it twice, nor another's number.
func TestBlocksThatBeginAgain(t *testing.T) {
	t.Parallel()
	says := func(piece string) string {
		return fmt.Sprintf(`{"type":"content_block_delta","index":2,"delta":{"type":"text_delta","text":%q}}`, piece)
	}
	blank, bash := `{"type":"text","text":""}`, call("t1", "bash", "{}")
	stream := func(id, name string, more ...string) string {
		f := fmt.Sprintf(`{"type":"tool_use","id":%q,"name":%q}`, id, name)
		var b strings.Builder
		for _, data := range slices.Concat([]string{
			`{"type":"message_start","message":{"id":"msg_a","content":[]}}`,
			starts(0, thinks("")), ponders("h"), starts(0, thinks("")), ponders("m"),
			starts(1, f), grows(1, `{"a":`), starts(1, f), grows(1, `1}`),
			starts(2, blank), says("A"), starts(2, blank), says("B"),
			starts(3, bash), grows(3, `{"command":`), starts(3, bash), grows(3, `"ls"}`),
		}, more, []string{
			stops(0), stops(1), stops(2), stops(3),
			`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{"output_tokens":7}}`,
			`{"type":"message_stop"}`,
		}) {
			fmt.Fprintf(&b, "event: %s\ndata: %s\n\n", dialect.Text(dialect.Member([]byte(data), "type")), data)
		}
		return b.String()
	}
	plain := stream("c1", "f")
	c := converse(t, wire.SSE, plain)
	if string(c.raw) != plain {
		t.Errorf("what came is not what went out: %s", c.raw)
	}
	other := []string{thinks("hm"), call("c1", "f", `{"a":1}`), `{"type":"text","text":"AB"}`, theirs("t1")}
	same(t, "raw", parsed(t, list(other...)), parsed(t, string(c.saids[0].Raw)))

	c = converse(t, wire.SSE, stream("o1", "kb_f"))
	said := c.saids[0]
	other[1] = call("o1", "kb_f", `{"a":1}`)
	same(t, "raw", parsed(t, list(other...)), parsed(t, string(said.Raw)))
	same(t, "calls and cut", []int{1, 1, 1}, []int{len(said.Mine), len(said.Others), len(c.steps)})
	// What is unedited yet is as it came.
	begun := starts(0, thinks(""))
	if n := strings.Count(string(c.raw), begun); n != 2 {
		t.Errorf("%s came %d times, want 2", begun, n)
	}
	var got []string
	for _, e := range c.events {
		if kind, is := strings.CutPrefix(dialect.TypeOf(e), "content_block_"); is && kind != "delta" {
			got = append(got, kind+" "+string(dialect.Member(e.Data, "index")))
		}
	}
	same(t, "numbers", []string{"start 0", "start 0", "start 1", "start 2", "stop 0", "stop 1", "stop 2"}, got)

	// Another call under its number is another, and the first has no end.
	said = converse(t, wire.SSE, stream("o1", "kb_f", starts(1, call("o2", "kb_f", "{}")))).saids[0]
	if !said.Cut || len(said.Mine) != 2 {
		t.Errorf("cut %t: %s", said.Cut, said.Raw)
	}
	// A hidden one is not shown by the id of one that is.
	c = converse(t, wire.SSE, stream("c1", "f", starts(1, call("c1", "kb_f", "{}"))))
	if strings.Contains(string(c.raw), "kb_f") || len(c.saids[0].Mine) != 1 || !c.saids[0].Cut {
		t.Errorf("%+v: %s", c.saids[0], c.raw)
	}
	// What begins once the first has ended is another too.
	said = converse(t, wire.SSE, stream("o1", "kb_f", stops(2), starts(2, blank), says("C"))).saids[0]
	same(t, "raw", parsed(t, list(append(other, `{"type":"text","text":"C"}`)...)), parsed(t, string(said.Raw)))
}

// FuzzSplice lets a splicer see anything: it must not panic, nor change what holds no
// call of the gateway's, nor show one.
func FuzzSplice(f *testing.F) {
	for _, x := range exchanges {
		var streams []string
		for _, a := range x.turns {
			streams = append(streams, a.stream(source()))
		}
		f.Add([]byte(strings.Join(streams, "\x00")), uint8(wire.SSE))
		f.Add([]byte(x.turns[0].body()), uint8(wire.JSON))
	}
	f.Fuzz(func(t *testing.T, body []byte, framing uint8) {
		f := wire.SSE
		if framing%2 == 0 {
			f = wire.JSON
		}
		turns := strings.Split(string(body), "\x00")
		c := converse(t, f, turns...)
		if len(c.saids[0].Mine) == 0 && len(c.saids) == 1 && string(c.raw) != turns[0] {
			t.Errorf("%q became %q", turns[0], c.raw)
		}
		for _, e := range c.events {
			block := dialect.Member(e.Data, "content_block")
			if dialect.TypeOf(e) == "content_block_start" && dialect.Text(dialect.Member(block, "type")) == "tool_use" && mine(dialect.Text(dialect.Member(block, "name"))) {
				t.Errorf("a hidden call is shown: %q", c.raw)
			}
		}
	})
}
