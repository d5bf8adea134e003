package messages_test

import (
	"fmt"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// observed is the turn of a stream of events without names, of which everything is kept.
func observed(events ...string) llm.Turn {
	o := observing(dialect.Keep{Arguments: true, Reasoning: true, Limit: 1 << 20}).Observe()
	for _, data := range events {
		o.Event(wire.Event{Raw: []byte("data: " + data + "\n\n"), Data: []byte(data)})
	}
	return o.Turn()
}

func starts(index int, block string) string {
	return fmt.Sprintf(`{"type":"content_block_start","index":%d,"content_block":%s}`, index, block)
}

func stops(index int) string { return fmt.Sprintf(`{"type":"content_block_stop","index":%d}`, index) }

// grows is a delta of a call's arguments, as the API writes it.
func grows(index int, piece string) string {
	return fmt.Sprintf(`{"type":"content_block_delta","index":%d,"delta":{"type":"input_json_delta","partial_json":%q}}`, index, piece)
}

func thinks(text string) string { return fmt.Sprintf(`{"type":"thinking","thinking":%q}`, text) }

// ponders is a delta of the first block's reasoning.
func ponders(piece string) string {
	return fmt.Sprintf(`{"type":"content_block_delta","index":0,"delta":{"type":"thinking_delta","thinking":%q}}`, piece)
}

// A piece belongs to the block that its event names, however that is written.
func TestPiecesBelongToTheirBlock(t *testing.T) {
	t.Parallel()
	a, b := starts(0, call("a", "f", "{}")), starts(1, call("b", "f", "{}"))
	const delta = `{"type":"content_block_delta","index":0,"delta":{"type":"input_json_delta","partial_json":"A"}}`
	var many []string
	for i := range 64 {
		many = append(many, starts(i, thinks("")))
	}
	for name, tt := range map[string]struct {
		events []string
		want   string
	}{
		"one":                {[]string{a, grows(0, ""), grows(0, "A"), grows(0, "B"), stops(0), grows(0, "C")}, "a(AB) "},
		"padded":             {[]string{a, strings.Replace(delta, "}}", "}     }", 1)}, "a(A) "},
		"two by turns":       {[]string{a, b, grows(1, "B"), grows(0, "A"), stops(0), grows(1, "B")}, "a(A) b(BB) "},
		"of no block":        {[]string{a, grows(0, "A"), grows(1, "B")}, "a(A) "},
		"of an unknown kind": {[]string{a, starts(1, `{"type":"novel"}`), grows(1, "B"), stops(1), grows(0, "A")}, "a(A) "},
		"an index again":     {[]string{a, grows(0, "A"), starts(0, call("b", "f", "{}")), grows(0, "B")}, "a(A) b(B) "},
		"a call again":       {[]string{a, grows(0, `{"a":`), starts(0, `{"type":"tool_use","id":"a","name":"f"}`), grows(0, `1}`), stops(0)}, `a({"a":1}) `},
		"again, no piece":    {[]string{a, starts(0, call("a", "f", "{}")), grows(0, "A")}, "a(A) "},
		"again once ended":   {[]string{a, grows(0, "A"), stops(0), starts(0, call("a", "f", "{}")), grows(0, "B")}, "a(A) a(B) "},
		"again by a server":  {[]string{a, grows(0, "A"), starts(0, `{"type":"mcp_tool_use","id":"a","name":"f"}`), grows(0, "B")}, "a(A) a(B) "},
		"again elsewhere":    {[]string{a, grows(0, "A"), starts(1, call("a", "f", "{}")), grows(1, "B")}, "a(A) a(B) "},
		"again, more":        {[]string{a, grows(0, "A"), starts(0, call("a", "f", `{"b":1}`))}, `a(A) a({"b":1}) `},
		"without ids":        {[]string{starts(0, call("", "f", "{}")), grows(0, "A"), starts(0, call("", "f", "{}")), grows(0, "B")}, "(A) (B) "},
		"reasoning again":    {[]string{starts(0, thinks("a")), starts(0, thinks("")), ponders("b"), starts(0, thinks("c"))}, "ab c "},
		"reasoning, a call":  {[]string{starts(0, thinks("a")), starts(0, call("a", "f", "{}")), starts(0, thinks("")), ponders("b")}, "a({}) a b "},
		"reasoning, a text":  {[]string{starts(0, thinks("a")), starts(0, hello), ponders("b"), starts(0, thinks("")), ponders("c")}, "a c "},
		"below zero":         {[]string{a, starts(-1, call("b", "f", "{}")), grows(-1, "B"), grows(0, "A"), stops(-1), grows(0, "A")}, "a(AA) b(B) "},
		"too many open":      {append(many, starts(64, call("a", "f", "{}")), grows(64, "A")), "a(A) "},
		"spaces":             {[]string{a, strings.NewReplacer(":", " : ", ",", " , ").Replace(delta)}, "a(A) "},
		"an escaped name":    {[]string{a, strings.Replace(delta, "partial_json", `partial\u005fjson`, 1)}, "a(A) "},
		"elsewhere, before":  {[]string{a, strings.Replace(delta, `"index"`, `"x":{"partial_json":"B"},"index"`, 1)}, "a(A) "},
		"elsewhere, null":    {[]string{a, strings.Replace(delta, `"index"`, `"x":{"partial_json":null},"index"`, 1)}, "a(A) "},
		"elsewhere, within":  {[]string{a, strings.Replace(delta, `"partial_json"`, `"x":{"partial_json":"B"},"partial_json"`, 1)}, "a(A) "},
		"an escaped kind":    {[]string{a, strings.Replace(delta, "input_json", `input\u005fjson`, 1)}, "a(A) "},
		"of another kind":    {[]string{a, strings.Replace(delta, "input_json_delta", "text_delta", 1)}, "a({}) "},
		"twice":              {[]string{a, strings.Replace(delta, `"partial_json"`, `"partial_json":"B","partial_json"`, 1)}, "a(A) "},
		"two deltas":         {[]string{a, strings.Replace(delta, `"delta"`, `"delta":{"type":"input_json_delta","partial_json":"B"},"delta"`, 1)}, "a(A) "},
		"another index last": {[]string{a, b, strings.TrimSuffix(delta, "}") + `,"index":1}`}, "a({}) b(A) "},
		"no string":          {[]string{a, strings.Replace(delta, `"A"`, `1`, 1), grows(0, "A")}, "a(A) "},
		"no end":             {[]string{a, delta[:len(delta)-len(`"}}`)], grows(0, "A")}, "a(A) "},
		"reasoning": {[]string{
			starts(0, thinks("a")),
			ponders("b"),
			`{"type":"content_block_delta","index":0,"delta":{"type":"signature_delta","signature":"x","thinking":"y"}}`,
			`{"delta":{"thinking":"c","type":"thinking_delta"},"index":0,"type":"content_block_delta"}`,
		}, "abc "},
	} {
		turn := observed(tt.events...)
		var told strings.Builder
		for _, c := range turn.Calls {
			fmt.Fprintf(&told, "%s(%s) ", c.ID, c.Arguments)
		}
		for _, x := range turn.Thoughts {
			told.WriteString(x.Text + " ")
		}
		if got := told.String(); got != tt.want {
			t.Errorf("%s: %s, want %s", name, got, tt.want)
		}
	}
}

// A piece that is not written as the API does costs none either.
func TestPiecesCostNoAllocation(t *testing.T) {
	o := messages.New().Observe()
	give := func(data string) func() {
		e := wire.Event{Name: dialect.Text(dialect.Member([]byte(data), "type")), Data: []byte(data)}
		return func() { o.Event(e) }
	}
	give(starts(0, call("a", "f", "{}")))()
	for _, delta := range []string{grows(0, "A"), strings.NewReplacer(":", ": ", ",", ", ").Replace(grows(0, "A"))} {
		if n := testing.AllocsPerRun(100, give(delta)); n != 0 {
			t.Errorf("%s: %v allocations, want none", delta, n)
		}
	}
	if size := o.Turn().Calls[0].Size; size != 202 {
		t.Errorf("%d bytes were seen, want 202", size)
	}
}

// What fails is not complete, whatever follows.
func TestAnErrorCompletesNothing(t *testing.T) {
	t.Parallel()
	const failure = `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`
	if observed(starts(0, hello), failure, `{"type":"message_stop"}`).Complete {
		t.Error("it is complete")
	}
}

// Of members that are there twice the last counts, as it does for what the client is shown.
func TestTheLastUsageCounts(t *testing.T) {
	t.Parallel()
	turn := observed(`{"type":"message_delta","delta":{"stop_reason":"refusal"},"delta":{"stop_reason":"end_turn"},"usage":{"output_tokens":2},"usage":{"output_tokens":9}}`)
	if turn.Usage.Output != 9 || turn.Stop != "end_turn" {
		t.Errorf("%d tokens, %s", turn.Usage.Output, turn.Stop)
	}
}
