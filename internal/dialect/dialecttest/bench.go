package dialecttest

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
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

// BenchInject adds twenty tools, as a catalogue keeps them, to a request of 16 KiB.
func BenchInject(b *testing.B, t dialect.Tooler, body string) {
	b.Helper()
	var tools []llm.ToolDef
	for i := range 20 {
		var properties []string
		for j := range 12 {
			properties = append(properties, fmt.Sprintf(`"p%d":{"type":"string","description":"What the property %d of the tool is for, at some length."}`, j, j))
		}
		tools = append(tools, llm.ToolDef{
			Name: fmt.Sprintf("kb_server_tool_%d", i), Description: strings.Repeat("Does what it does. ", 20),
			Schema: []byte(`{"type":"object","properties":{` + strings.Join(properties, ",") + `}}`), Forms: &llm.Forms{},
		})
	}
	request := []byte(strings.Replace(body, "…", strings.Repeat("a", 16<<10), 1))
	b.ReportAllocs()
	for b.Loop() {
		if _, added, err := t.Inject(request, tools); err != nil || len(added) != len(tools) {
			b.Fatal(added, err)
		}
	}
}
