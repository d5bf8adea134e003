package dialecttest

import (
	"bytes"
	"runtime"
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
// the stream. An event with a number is another one each time, of which all that a
// splicer keeps must count, be it only what it looks others up by. The heap is measured:
// the test must not be a parallel one.
func Flood(t *testing.T, d dialect.Tooler, begin, event string) {
	t.Helper()
	s := d.Splice(func(name string) bool { return strings.HasPrefix(name, "kb_") })
	large := strings.NewReplacer(Large, strings.Repeat("x", 1<<20))
	text := large.Replace(begin)
	event = large.Replace(event)
	sent, seen := 0, 0
	before, held := heap(), 0
	for i := range dialect.MostKept>>20 + 3 {
		events := wire.NewReader(wire.SSE, strings.NewReader(text))
		for e, err := events.Next(); err == nil; e, err = events.Next() {
			for _, shown := range s.Event(e) {
				seen += len(shown.Raw)
			}
		}
		sent += len(text)
		text = strings.ReplaceAll(event, Number, strconv.Itoa(i+1))
		if held = heap() - before; held > 3*dialect.MostKept {
			t.Fatalf("%.100s: %d MiB are held after %d of them", event, held>>20, i)
		}
	}
	if held > dialect.MostKept/2 {
		t.Errorf("%.100s: %d MiB are held in the end", event, held>>20)
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

// heap is how many bytes are in use.
func heap() int {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc) //nolint:gosec // it fits
}
