package dialecttest

import (
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// What stands in an event that Flood repeats: for a piece of text of 1 MiB, which may
// stand in what comes first as well, and for a number that counts up from 1.
const (
	Large  = "LARGE"
	Number = "NUMBER"
)

// Flood lets a splicer see begin and then an event again and again until it cannot keep
// the turn any more. It must then have forgotten it, and the client must have seen all of
// the stream. An event with a number is another one each time: all that a splicer keeps
// of it, be it only what it looks others up by, must count.
func Flood(t *testing.T, d dialect.Tooler, begin, event string) {
	t.Helper()
	const times = dialect.MostKept>>20 + 2
	s := d.Splice(func(name string) bool { return strings.HasPrefix(name, "kb_") })
	large := strings.NewReplacer(Large, strings.Repeat("x", 1<<20))
	readers := []io.Reader{strings.NewReader(large.Replace(begin))}
	piece := large.Replace(event)
	for i := range times {
		readers = append(readers, strings.NewReader(strings.ReplaceAll(piece, Number, strconv.Itoa(i+1))))
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
