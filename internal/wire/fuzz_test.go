package wire_test

import (
	"errors"
	"io"
	"math/rand/v2"
	"strings"
	"testing"

	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// parse is the reference: the whole stream at once, the plain way.
func parse(body string) []got {
	text := strings.TrimPrefix(body, "\xEF\xBB\xBF")
	text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	var all []got
	e := got{NoData: true}
	flush := func() {
		if !e.NoData || e.Name != "" {
			all = append(all, e)
		}
		e = got{NoData: true}
	}
	for line := range strings.SplitSeq(text, "\n") {
		field, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "":
			flush()
		case field == "event":
			e.Name = value
		case field == "data" && e.NoData:
			e.Data, e.NoData = value, false
		case field == "data":
			e.Data += "\n" + value
		}
	}
	flush()
	return all
}

func FuzzReader(f *testing.F) {
	for _, s := range []string{
		"event: message_start\ndata: {\"type\":\"message_start\"}\n\n: c\n\ndata: a\ndata: b\r\n\r\ndata: [DONE]",
		"data: 1\r\rdata: 2\r\n\r\n\r\r\n", "\xEF\xBB\xBFdata\n\n", `{"a":1}`, "\r\n\r\n", "",
	} {
		f.Add([]byte(s), uint64(1), uint8(1))
		f.Add([]byte(s), uint64(7), uint8(0))
	}
	f.Fuzz(func(t *testing.T, body []byte, seed uint64, framing uint8) {
		random := rand.New(rand.NewPCG(seed, 0))
		var parts []string
		for rest := string(body); rest != ""; {
			n := 1 + random.IntN(min(len(rest), 1+random.IntN(64)))
			parts = append(parts, rest[:n])
			rest = rest[n:]
		}
		end := io.EOF
		if seed%3 == 0 {
			end = errCut
		}
		fr := wire.Framing(framing % 3)
		r := wire.NewReader(fr, &steps{parts: parts, end: end})
		all, err := drain(t, r)
		if !errors.Is(err, end) {
			t.Fatalf("the end is %v, want %v", err, end)
		}
		joined := string(r.Rest())
		if errors.Is(end, io.EOF) && joined != "" {
			t.Fatalf("a proper end leaves the rest %q", joined)
		}
		var raw strings.Builder
		var said []got
		for _, e := range all {
			raw.WriteString(e.Raw)
			if e.Raw = ""; !e.NoData || e.Name != "" {
				said = append(said, e)
			}
		}
		if raw.String()+joined != string(body) {
			t.Fatalf("joined %q, want %q", raw.String()+joined, body)
		}
		if fr == wire.SSE {
			if diff := cmp.Diff(parse(raw.String()), said); diff != "" {
				t.Fatalf("events (-reference +got):\n%s", diff)
			}
		}
	})
}

// The fuzzer's bodies seldom outgrow the reader's first buffer; these do.
func TestLongStreamsInAnySplit(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		var body strings.Builder
		for body.Len() < 300<<10 {
			end := []string{"\n", "\r", "\r\n"}[random.IntN(3)]
			body.WriteString("event: e" + strings.Repeat("x", random.IntN(3)) + end)
			for range 1 + random.IntN(3) {
				body.WriteString("data: " + strings.Repeat("d", random.IntN(1<<random.IntN(15))) + end)
			}
			body.WriteString(end)
		}
		var parts []string
		for rest := body.String(); rest != ""; {
			n := 1 + random.IntN(min(len(rest), minPart))
			parts = append(parts, rest[:n])
			rest = rest[n:]
		}
		all, err := drain(t, wire.NewReader(wire.SSE, &steps{parts: parts, end: io.EOF}))
		if !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		var raw strings.Builder
		var said []got
		for _, e := range all {
			raw.WriteString(e.Raw)
			if e.Raw = ""; !e.NoData || e.Name != "" {
				said = append(said, e)
			}
		}
		if raw.String() != body.String() {
			t.Fatalf("seed %d: the joined raw bytes are not the body", seed)
		}
		if diff := cmp.Diff(parse(body.String()), said); diff != "" {
			t.Fatalf("seed %d (-reference +got):\n%.2000s", seed, diff)
		}
	}
}

// minPart is below what the reader asks for at least, so that no part is cut.
const minPart = 500
