package dialecttest

import (
	"bytes"
	"path/filepath"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// Bench observes the stream of a fixture, with its longest run of alike deltas made a
// hundred long.
func Bench(b *testing.B, d dialect.Dialect, file, delta string) {
	b.Helper()
	body := read(b, filepath.FromSlash(file))
	var events []wire.Event
	r := wire.NewReader(wire.SSE, bytes.NewReader(body))
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		e = e.Clone()
		events = append(events, e)
		if bytes.Contains(e.Data, []byte(delta)) {
			for range 99 {
				events = append(events, e)
			}
			delta = "\x00"
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		o := d.Observe()
		for _, e := range events {
			o.Event(e)
		}
		if !o.Turn().Complete {
			b.Fatal("the answer is not whole")
		}
	}
}
