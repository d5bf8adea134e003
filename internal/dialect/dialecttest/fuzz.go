package dialecttest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"path/filepath"
	"testing"
	"unicode/utf8"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// Fuzz lets observers see anything: they must not panic, nor count below zero, nor tell
// of more than is to be kept, nor break a stream with anything but one event of one line
// of JSON.
func Fuzz(f *testing.F, observing func(dialect.Keep) dialect.Dialect) {
	keep := dialect.Keep{Arguments: true, Reasoning: true, Limit: 16}
	d := observing(keep)
	for _, file := range append(files(f), records(f)...) {
		body := read(f, relative(f, file))
		f.Add(body, uint8(wire.SSE))
		f.Add(body, uint8(wire.JSON))
	}
	f.Fuzz(func(t *testing.T, body []byte, framing uint8) {
		_, o := watch(t, d, wire.Framing(framing%3), bytes.NewReader(body))
		turn := o.Turn()
		if wrong := misused(&turn); wrong != "" {
			t.Fatal(wrong)
		}
		if wrong := overkept(&turn, keep.Limit); wrong != "" {
			t.Fatal(wrong)
		}
		e := o.Break(newFault(fault.BadUpstream))
		if !json.Valid(e.Data) || bytes.ContainsAny(e.Data, "\r\n") || !e.Closed() {
			t.Fatalf("the stream is broken with %q", e.Raw)
		}
	})
}

// relative is a fixture's path within testdata.
func relative(f *testing.F, file string) string {
	f.Helper()
	path, err := filepath.Rel("testdata", file)
	if err != nil {
		f.Fatal(err)
	}
	return path
}

// misused says what is wrong with the numbers of a turn.
func misused(t *llm.Turn) string {
	u := t.Usage
	if min(u.Input, u.Output, u.CacheRead, u.CacheWrite, u.CacheWriteLong, u.Reasoning, u.Total(), t.Searches) < 0 ||
		u.Reasoning > u.Output || u.CacheWriteLong > u.CacheWrite {
		return fmt.Sprintf("usage %+v, %d searches", u, t.Searches)
	}
	var sum llm.Usage
	for i := range t.Iterations {
		sum = sum.Add(t.Iterations[i].Usage)
	}
	sum.Reasoning = u.Reasoning
	if len(t.Iterations) > 0 && sum != u || len(t.Iterations) > 1024 {
		return fmt.Sprintf("%d iterations are %+v, all is %+v", len(t.Iterations), sum, u)
	}
	return ""
}

// overkept says what is told of a turn beyond what is to be kept.
func overkept(t *llm.Turn, limit int) string {
	if len(t.Calls) > 256 || len(t.Thoughts) > 256 {
		return fmt.Sprintf("%d calls, %d pieces of reasoning", len(t.Calls), len(t.Thoughts))
	}
	for _, c := range t.Calls {
		if len(c.Arguments) > min(limit, c.Size) || !utf8.Valid(c.Arguments) || max(len(c.ID), len(c.Name), len(c.Error)) > 256 {
			return fmt.Sprintf("call %+v", c)
		}
	}
	for _, x := range t.Thoughts {
		if len(x.Text) > min(limit, x.Size) || !utf8.ValidString(x.Text) {
			return fmt.Sprintf("reasoning %+v", x)
		}
	}
	return ""
}
