package record

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"

	"github.com/google/go-cmp/cmp"
)

// usual is what most exchanges are like.
func usual() *ledger.Exchange {
	now := time.Now()
	return &ledger.Exchange{
		ID: "req_kb0193f0000000a1b2c3d4e5f6", Start: now, Principal: ledger.Principal{Name: "ci", Metadata: `{"team":"search"}`, Credential: ledger.Pooled},
		Provider: "openai", Route: "/v1/chat/completions", Method: "POST", Bridged: true, Admitted: true, Model: "gpt-5", Client: "codex", Version: "1.2.3",
		Session: "0193f000-0000-7000-8000-000000000000", Signal: "session_id", FirstEvent: now, End: now, HTTPStatus: 200, Status: ledger.Completed,
		Attempts: []ledger.Attempt{{Key: "main", Hint: "sk-…abcd", Sent: now, Duration: time.Second, Status: 200, Action: "relay"}},
		Turns:    []llm.Turn{{ID: "chatcmpl-1", Model: "gpt-5-2025-08-07", Stop: "stop", Reported: true, Complete: true, Usage: llm.Usage{Input: 10, Output: 20}}},
		Charges:  []ledger.Charge{{Model: "gpt-5", Picos: 1, Version: "2026-11"}},
	}
}

func TestLine(t *testing.T) {
	for _, ended := range []bool{true, false} {
		want := usual().Clone()
		line, err := appendLine([]byte("before"), want, ended)
		if err != nil {
			t.Fatal(err)
		}
		line, ok := bytes.CutPrefix(bytes.TrimSuffix(line, []byte("\n")), []byte("before"))
		if !ok || bytes.ContainsAny(line, "\n\r") {
			t.Fatalf("%q", line)
		}
		got, gotEnded, ok := parseLine(line)
		if !ok || gotEnded != ended {
			t.Fatalf("%t, %t of %s", ok, gotEnded, line)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		for i := range line {
			changed := bytes.Clone(line)
			changed[i] ^= 0x10
			if _, _, ok := parseLine(changed); ok {
				t.Errorf("a change of byte %d goes unseen: %s", i, changed)
			}
			if _, _, ok := parseLine(line[:i]); ok {
				t.Errorf("%d of %d bytes are taken for whole", i, len(line))
			}
		}
	}
}

func FuzzParseLine(f *testing.F) {
	line, err := appendLine(nil, usual().Clone(), true)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(bytes.TrimSuffix(line, []byte("\n")))
	f.Add([]byte(`{"sum":"00000000","ended":{}}`))
	f.Add([]byte(`{"sum":"`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, _, ok := parseLine(line)
		if ok != (e != nil) {
			t.Errorf("%v, %t", e, ok)
		}
	})
}

func TestWeigh(t *testing.T) {
	e := usual()
	light := weigh(e)
	if light < 1500 || light > 5000 {
		t.Errorf("a usual exchange weighs %d bytes", light)
	}
	e.Prompt = strings.Repeat("p", 10_000)
	e.Turns[0].Calls = []llm.ToolCall{{Arguments: make([]byte, 20_000)}}
	e.Turns[0].Thoughts = []llm.Thought{{Text: strings.Repeat("t", 30_000)}}
	if got := weigh(e) - light; got < 60_000 || got > 62_000 {
		t.Errorf("60 000 bytes of texts weigh %d", got)
	}
}

// A write that fails leaves the file as it was before.
func TestSegmentFailure(t *testing.T) {
	dir := t.TempDir()
	s := &spool{dir: dir}
	items := []item{{e: usual().Clone(), ended: true}}
	if _, err := s.add(items, 1<<30); err != nil {
		t.Fatal(err)
	}
	first := s.segments[0]
	whole := first.file
	readonly, err := os.Open(first.path)
	if err != nil {
		t.Fatal(err)
	}
	first.file = readonly
	if _, err := s.add(items, 1<<30); err == nil {
		t.Fatal("a write into a file that is only read has not failed")
	}
	first.file = whole
	if _, err := s.add(items, 1<<30); err != nil {
		t.Fatal(err)
	}
	if len(s.segments) != 2 {
		t.Errorf("%d files: nothing may follow what has failed in the same one", len(s.segments))
	}
	got := 0
	for items := s.next(10, 1<<30); len(items) > 0; items = s.next(10, 1<<30) {
		got += len(items)
		s.dealt(items[len(items)-1].at, len(items))
	}
	if paths, _ := filepath.Glob(filepath.Join(dir, "*")); got != 2 || len(paths) > 0 || s.bytes != 0 || s.ended != 0 {
		t.Errorf("%d read, %v left, %d bytes, %d exchanges", got, paths, s.bytes, s.ended)
	}
}

func TestEscape(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a[b]*?")
	s := &spool{dir: dir}
	if _, err := s.add([]item{{e: usual().Clone(), ended: true}}, 1<<30); err != nil {
		t.Fatal(err)
	}
	s.close()
	s = &spool{dir: dir}
	if s.adopt(); len(s.segments) != 1 || s.ended != 1 {
		t.Errorf("%d files with %d exchanges are found", len(s.segments), s.ended)
	}
	s.close()
}

// taker takes everything.
type taker struct{}

func (taker) Write(context.Context, []*ledger.Exchange, []*ledger.Exchange) error { return nil }

func TestPathIsCheap(t *testing.T) {
	r := New(Options{Sink: taker{}, MaxBytes: 1 << 30})
	defer r.Close(t.Context())
	begun, ended := usual(), usual()
	begun.Attempts, begun.Turns, begun.Charges = nil, nil, nil
	if n := testing.AllocsPerRun(1000, func() {
		r.Begin(begun)
		r.Finished(ended)
	}); n > 3 {
		t.Errorf("%v allocations on the path", n)
	}
}

func BenchmarkPath(b *testing.B) {
	r := New(Options{Sink: taker{}, MaxBytes: 1 << 40})
	defer r.Close(b.Context())
	begun, ended := usual(), usual()
	begun.Attempts, begun.Turns, begun.Charges = nil, nil, nil
	b.ReportAllocs()
	for b.Loop() {
		r.Begin(begun)
		r.Finished(ended)
	}
}

func BenchmarkFinished(b *testing.B) {
	r := New(Options{Sink: taker{}, MaxBytes: 1 << 40})
	defer r.Close(b.Context())
	ended := usual()
	b.ReportAllocs()
	for b.Loop() {
		r.Finished(ended)
	}
}

func BenchmarkSpool(b *testing.B) {
	s := &spool{dir: b.TempDir()}
	items := make([]item, pieceItems)
	for i := range items {
		items[i] = item{e: usual().Clone(), ended: true}
	}
	b.Run("add", func(b *testing.B) {
		for b.Loop() {
			if _, err := s.add(items, 1<<40); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pieceItems), "ns/exchange")
	})
	b.Run("next", func(b *testing.B) {
		for b.Loop() {
			items := s.next(pieceItems, pieceWeight)
			if len(items) == 0 {
				b.StopTimer()
				return
			}
			s.dealt(items[len(items)-1].at, len(items))
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*pieceItems), "ns/exchange")
	})
	s.close()
}
