package dialecttest

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// Large stands in an event that Flood repeats for a piece of text of 1 MiB.
const Large = "LARGE"

// Flood lets a splicer see begin and then an event again and again until it cannot keep
// the turn any more. It must then have forgotten it, and the client must have seen all of
// the stream.
func Flood(t *testing.T, d dialect.Tooler, begin, event string) {
	t.Helper()
	const times = dialect.MostKept>>20 + 2
	s := d.Splice(func(name string) bool { return strings.HasPrefix(name, "kb_") })
	piece := strings.ReplaceAll(event, Large, strings.Repeat("x", 1<<20))
	readers := []io.Reader{strings.NewReader(begin)}
	for range times {
		readers = append(readers, strings.NewReader(piece))
	}
	events := wire.NewReader(wire.SSE, io.MultiReader(readers...))
	sent, seen := 0, 0
	for {
		e, err := events.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		sent += len(e.Raw)
		for _, shown := range s.Event(e) {
			seen += len(shown.Raw)
		}
	}
	said := s.Said()
	if !said.Cut || len(said.Raw) > 1<<20 || len(said.Mine)+len(said.Others) > 0 {
		t.Errorf("%.100s: cut %t, %d bytes are kept, calls %v %v", event, said.Cut, len(said.Raw), said.Mine, said.Others)
	}
	for _, e := range s.End(true) {
		seen += len(e.Raw)
	}
	if seen != sent {
		t.Errorf("%.100s: the client sees %d bytes of %d", event, seen, sent)
	}
	if again := s.Event(wire.Event{Raw: []byte("data: {}\n\n"), Data: []byte("{}")}); len(again) != 1 || !bytes.HasPrefix(again[0].Raw, []byte("data: {}")) {
		t.Errorf("%.100s: what follows is shown as %v", event, again)
	}
}
