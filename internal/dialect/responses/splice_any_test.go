package responses_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect/responses"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// randomly makes up an exchange.
func randomly(r *rand.Rand) (turns []said) {
	n := 0
	for i, last := 0, r.IntN(4); i <= last; i++ {
		s := said{id: fmt.Sprintf("resp_%d", i), bare: r.IntN(3) == 0}
		for range r.IntN(5) {
			n++
			id := strconv.Itoa(n)
			s.items = append(s.items, []string{
				reasoning("rs_" + id), message("msg_"+id, "a <b> "+id), call(id, "kb_x"), call(id, "shell"), custom(id), search("ws_" + id),
			}[r.IntN(6)])
		}
		if i < last { // another turn follows only calls of the gateway's
			n++
			s.items = slices.Insert(s.items, r.IntN(len(s.items)+1), call(strconv.Itoa(n), "kb_x"))
		}
		if r.IntN(4) == 0 {
			s.late = ": ping\n\nevent: codex.rate_limits\ndata: {\"type\":\"codex.rate_limits\",\"sequence_number\":99}\n\n"
		}
		turns = append(turns, s)
	}
	if r.IntN(5) == 0 {
		turns[len(turns)-1].status = "incomplete"
	}
	return turns
}

func TestSpliceAnything(t *testing.T) {
	t.Parallel()
	for seed := range uint64(500) {
		turns := randomly(rand.New(rand.NewPCG(seed, 5)))
		var visible []string
		hidden := len(turns) > 1
		for _, s := range turns {
			for _, item := range s.items {
				if strings.Contains(item, "kb_x") {
					hidden = true
				} else {
					visible = append(visible, item)
				}
			}
		}
		shown, _ := feed(t, wire.SSE, streams(turns)...)
		for _, s := range turns {
			if s.late != "" {
				hidden = false // its number is made up
			}
		}
		events := shown
		if hidden {
			events = strictly(t, shown)
		}
		end := gjson.ParseBytes(events[len(events)-1].Data).Get("response")
		blocking, _ := feed(t, wire.JSON, bodies(turns)...)
		for form, r := range map[string]gjson.Result{"stream": end, "document": gjson.ParseBytes(joined(blocking))} {
			if form == "document" && slices.ContainsFunc(turns, func(s said) bool { return s.bare }) {
				continue
			}
			if got := r.Get("output").Raw; got != "["+strings.Join(visible, ",")+"]" && (got != "[]" || !turns[0].bare) {
				t.Errorf("seed %d: the %s ends with %s, want %v", seed, form, got, visible)
			}
			if got := r.Get("usage.input_tokens_details.cached_tokens").Int(); got != int64(600*len(turns)) {
				t.Errorf("seed %d: the %s has used %d", seed, form, got)
			}
		}
		if bytes.Contains(joined(shown), []byte("kb_x")) || bytes.Contains(joined(blocking), []byte("kb_x")) && !turns[0].bare {
			t.Errorf("seed %d: a hidden call is shown:\n%s", seed, joined(shown))
		}
	}
}

// FuzzSplice lets a splicer see anything, also well-formed events in any order.
func FuzzSplice(f *testing.F) {
	for seed := range uint64(20) {
		turns := randomly(rand.New(rand.NewPCG(seed, 5)))
		f.Add(bytes.Join(streams(turns), []byte("\x00")), uint8(wire.SSE), seed)
		f.Add(bytes.Join(bodies(turns), []byte("\x00")), uint8(wire.JSON), uint64(0))
	}
	f.Fuzz(func(t *testing.T, all []byte, framing uint8, seed uint64) {
		s := responses.New().Splice(mine)
		turns := bytes.Split(all, []byte("\x00"))
		for i, turn := range turns {
			if seed > 0 {
				turn = disturb(rand.New(rand.NewPCG(seed, uint64(i))), turn)
			}
			valid := framing%3 == uint8(wire.SSE)
			r := wire.NewReader(wire.Framing(framing%3), bytes.NewReader(turn))
			for e, err := r.Next(); err == nil; e, err = r.Next() {
				valid = valid && !e.Chunk && (e.Data == nil || json.Valid(e.Data) && e.Closed())
				for _, edited := range s.Event(e) {
					own(t, edited)
					if valid && edited.Data != nil && (!json.Valid(edited.Data) || !edited.Closed()) {
						t.Fatalf("%q became %q", e.Raw, edited.Raw)
					}
				}
			}
			if said := s.Said(); !said.Cut && len(said.Mine) > 0 && !json.Valid(said.Raw) {
				t.Errorf("said no JSON: %s", said.Raw)
			}
			for _, e := range s.End(i == len(turns)-1) {
				own(t, e)
			}
		}
	})
}

// disturb leaves events of a stream out, doubles them and mixes them up.
func disturb(r *rand.Rand, body []byte) []byte {
	events := bytes.SplitAfter(body, []byte("\n\n"))
	for range 1 + r.IntN(6) {
		i, k := r.IntN(len(events)), r.IntN(len(events))
		switch r.IntN(3) {
		case 0:
			events[i], events[k] = events[k], events[i]
		case 1:
			events = slices.Insert(events, i, events[k])
		case 2:
			events = slices.Delete(events, i, i+1)
			if len(events) == 0 {
				return nil
			}
		}
	}
	return bytes.Join(events, nil)
}

// own fails if an event that a client could read begins a call of the gateway's.
func own(t *testing.T, e wire.Event) {
	t.Helper()
	if e.Chunk || !json.Valid(e.Data) || bytes.Contains(e.Data, []byte(`\`)) {
		return
	}
	v := gjson.ParseBytes(e.Data)
	if !strings.HasPrefix(e.Name, "response.output_item.") || !v.IsObject() {
		return
	}
	if item := v.Get("item"); item.Get("type").Str == "function_call" && mine(item.Get("name").Str) && strings.Count(string(e.Data), `"item"`) == 1 &&
		strings.Count(item.Raw, `"name"`) == 1 && strings.Count(item.Raw, `"type"`) == 1 {
		t.Errorf("a hidden call is shown: %s", e.Data)
	}
}
