package chat_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// plan is what a random turn says, as it stands on the wire.
type plan struct {
	said
	content     string
	names, args []string // of the calls
}

func random(r *rand.Rand, n int) plan {
	p := plan{said: said{n: n, usage: true, finish: "stop"}}
	word := func() string {
		return [...]string{`a`, ` <b>`, `\"`, `\u00e9`, `é`, `\n\n`, `\ud83d\ude00`}[r.IntN(7)]
	}
	say := func(most int) {
		for range r.IntN(most) {
			w := word()
			p.content += w
			p.deltas = append(p.deltas, text(w))
		}
	}
	say(4)
	for i := range r.IntN(5) {
		name := [...]string{"kb_x", "kb_y", "shell", "read"}[r.IntN(4)]
		p.deltas = append(p.deltas, opens(i, fmt.Sprintf("c%d.%d", n, i), name))
		p.names, p.args = append(p.names, name), append(p.args, "")
		for range r.IntN(4) {
			j, w := r.IntN(i+1), word()
			p.args[j] += w
			p.deltas = append(p.deltas, goesOn(j, w))
		}
		say(2)
	}
	if len(p.names) > 0 {
		p.finish = "tool_calls"
	}
	if r.IntN(8) == 0 {
		p.finish = "length"
	}
	return p
}

// bare is what stands between the quotes of a text.
func bare(v gjson.Result) string {
	if v.Type != gjson.String {
		return ""
	}
	return v.Raw[1 : len(v.Raw)-1]
}

func TestSpliceRandomStreams(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 1))
		var turns []plan
		var bodies [][]byte
		for n := range 1 + r.IntN(5) {
			turns = append(turns, random(r, n+1))
			bodies = append(bodies, turns[n].stream())
		}
		shown, all := feed(wire.SSE, bodies...)
		strictly(t, wire.SSE, shown)
		want := plan{said: said{n: len(all) * (len(all) + 1) / 2, finish: turns[len(all)-1].finish}}
		for i := range all {
			p := turns[i]
			want.content += p.content
			content, calls := bare(gjson.GetBytes(all[i].Raw, "content")), gjson.GetBytes(all[i].Raw, "tool_calls").Array()
			if content != p.content || len(calls) != len(p.names) || !json.Valid(all[i].Raw) {
				t.Fatalf("seed %d: turn %d said %s, want %+v", seed, i, all[i].Raw, p)
			}
			for j, c := range calls {
				if args := bare(c.Get("function.arguments")); c.Get("function.name").Str != p.names[j] || args != p.args[j] && args != "{}" {
					t.Fatalf("seed %d: turn %d calls %s, want %+v", seed, i, c.Raw, p)
				}
			}
		}
		for i, name := range turns[len(all)-1].names {
			if !mine(name) {
				want.names, want.args = append(want.names, name), append(want.args, turns[len(all)-1].args[i])
			}
		}
		if want.finish == "tool_calls" && len(want.names) == 0 {
			want.finish = "stop"
		}
		if diff := cmp.Diff(want, seen(shown), cmp.AllowUnexported(plan{}, said{})); diff != "" {
			t.Fatalf("seed %d (-want +got):\n%s", seed, diff)
		}
	}
}

// seen is what a client makes of a stream.
func seen(events []wire.Event) (p plan) {
	for _, e := range events {
		v := gjson.ParseBytes(e.Data)
		p.content += bare(v.Get("choices.0.delta.content"))
		v.Get("choices.0.delta.tool_calls").ForEach(func(_, c gjson.Result) bool {
			i := int(c.Get("index").Int())
			if i == len(p.names) {
				p.names, p.args = append(p.names, c.Get("function.name").Str), append(p.args, "")
			}
			p.args[i] += bare(c.Get("function.arguments"))
			return true
		})
		p.finish += v.Get("choices.0.finish_reason").Str
		p.n += int(v.Get("usage.prompt_tokens").Int())
	}
	return p
}

// FuzzSplice gives a splicer any events, in any number of turns.
func FuzzSplice(f *testing.F) {
	for seed := range uint64(40) {
		r := rand.New(rand.NewPCG(seed, 2))
		var body []byte
		for n := range 1 + r.IntN(3) {
			if n > 0 {
				body = append(body, 0)
			}
			body = append(body, random(r, n+1).stream()...)
		}
		f.Add(body, false)
	}
	f.Add([]byte(`data: {"choices":[{"delta":{"tool_calls":[{"id":"a"},{"function":{"name":"kb_x"}}],"tool_calls":[{}]}},{}]}`+"\n\n"), false)
	f.Add(append(append(said{n: 1, deltas: []string{`{"content":[],"tool_calls":[` + called("k", "kb_x", "") + `]}`}, finish: "tool_calls"}.body(), 0),
		said{n: 2, deltas: []string{`{"content":"a","reasoning_details":[{"type":"thinking"}]}`}, finish: "stop"}.body()...), true)
	f.Fuzz(func(t *testing.T, body []byte, blocking bool) {
		framing := wire.SSE
		if blocking {
			framing = wire.JSON
		}
		s := chat.New().Splice(mine)
		turns := bytes.Split(body, []byte{0})
		turns = turns[:min(len(turns), 5)]
		var shown []wire.Event
		good := true
		var said dialect.Said
		for i, b := range turns {
			if i > 0 && len(said.Mine) == 0 {
				break // the gateway goes on with nothing else
			}
			shown = append(shown, pour(s, framing, b)...)
			said = s.Said()
			if good = good && sound(framing, b); good && !json.Valid(said.Raw) {
				t.Fatalf("%s\nsaid %s", b, said.Raw)
			}
			if next, err := chat.New().FollowUp([]byte(`{"messages":[]}`), dialect.Step{Said: said}, false); err != nil || good && !json.Valid(next) {
				t.Fatalf("%s, %v", next, err)
			}
			for _, e := range s.End(i == len(turns)-1) {
				shown = append(shown, e.Clone())
			}
		}
		if good && !sound(framing, joined(shown)) {
			t.Fatalf("%q became %q", body, joined(shown))
		}
		if len(turns) == 1 && len(said.Mine) == 0 && !bytes.Equal(sorted(joined(shown)), sorted(turns[0])) {
			t.Fatalf("%q became %q", turns[0], joined(shown)) // but for the order: a call may wait for its name
		}
	})
}

// sound says that all the data are JSON.
func sound(f wire.Framing, body []byte) bool {
	r := wire.NewReader(f, bytes.NewReader(body))
	for {
		e, err := r.Next()
		if err != nil {
			return true
		}
		if len(e.Data) > 0 && !json.Valid(e.Data) && !bytes.HasPrefix(e.Data, []byte("[DONE]")) {
			return false
		}
	}
}

func sorted(b []byte) []byte {
	b = bytes.Clone(b)
	slices.Sort(b)
	return b
}
