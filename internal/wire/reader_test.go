package wire_test

import (
	"bytes"
	"errors"
	"io"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/iotest"

	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

var errCut = errors.New("connection reset")

// got is an event as text, so that tables and diffs can be read.
type got struct {
	Raw, Name, Data string
	NoData, Chunk   bool
}

func drain(t testing.TB, r *wire.Reader) ([]got, error) {
	t.Helper()
	var all []got
	for {
		e, err := r.Next()
		if err != nil {
			return all, err
		}
		all = append(all, got{Raw: string(e.Raw), Name: e.Name, Data: string(e.Data), NoData: e.Data == nil, Chunk: e.Chunk})
		if len(all) > 1<<20 {
			t.Fatal("the reader does not end")
		}
	}
}

func TestServerSentEvents(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want []got
	}{
		"empty body": {},
		"named": {"event: ping\ndata: {\"type\": \"ping\"}\n\n", []got{
			{Raw: "event: ping\ndata: {\"type\": \"ping\"}\n\n", Name: "ping", Data: `{"type": "ping"}`},
		}},
		"two, CRLF": {"data: 1\r\n\r\ndata: 2\r\n\r\n", []got{
			{Raw: "data: 1\r\n\r\n", Data: "1"},
			{Raw: "data: 2\r\n\r\n", Data: "2"},
		}},
		"two, CR": {"data: 1\r\rdata: 2\r\r", []got{
			{Raw: "data: 1\r\r", Data: "1"},
			{Raw: "data: 2\r\r", Data: "2"},
		}},
		"mixed line ends": {"event: a\rdata: 1\ndata: 2\r\n\ndata: 3\n\r\n", []got{
			{Raw: "event: a\rdata: 1\ndata: 2\r\n\n", Name: "a", Data: "1\n2"},
			{Raw: "data: 3\n\r\n", Data: "3"},
		}},
		"byte order mark": {"\xEF\xBB\xBFdata: 1\n\n\xEF\xBB\xBFdata: 2\n\n", []got{
			{Raw: "\xEF\xBB\xBFdata: 1\n\n", Data: "1"},
			{Raw: "\xEF\xBB\xBFdata: 2\n\n", NoData: true},
		}},
		"comments": {": OPENROUTER PROCESSING\n\ndata: 1\n: between\n\n", []got{
			{Raw: ": OPENROUTER PROCESSING\n\n", NoData: true},
			{Raw: "data: 1\n: between\n\n", Data: "1"},
		}},
		"one leading space is dropped": {"data:1\ndata: 2\ndata:  3\n\n", []got{
			{Raw: "data:1\ndata: 2\ndata:  3\n\n", Data: "1\n2\n 3"},
		}},
		"data without a value": {"data\n\ndata:\n\ndata: \ndata\n\n", []got{
			{Raw: "data\n\n"},
			{Raw: "data:\n\n"},
			{Raw: "data: \ndata\n\n", Data: "\n"},
		}},
		"name only, the last one": {"event: a\nevent: b\nevent\nevent: c\n\ndata: 1\n\n", []got{
			{Raw: "event: a\nevent: b\nevent\nevent: c\n\n", Name: "c", NoData: true},
			{Raw: "data: 1\n\n", Data: "1"},
		}},
		"other fields": {"id: 7\nretry: 3\ndatax: 1\neventually: 2\n data: 3\n\n", []got{
			{Raw: "id: 7\nretry: 3\ndatax: 1\neventually: 2\n data: 3\n\n", NoData: true},
		}},
		"blank lines alone": {"\n\r\n", []got{{Raw: "\n", NoData: true}, {Raw: "\r\n", NoData: true}}},
		"last event without its blank line": {"data: 1\n\nevent: x\ndata: 2\n", []got{
			{Raw: "data: 1\n\n", Data: "1"},
			{Raw: "event: x\ndata: 2\n", Name: "x", Data: "2"},
		}},
		"last line without its end": {"data: 1\n\ndata: [DONE]", []got{
			{Raw: "data: 1\n\n", Data: "1"},
			{Raw: "data: [DONE]", Data: "[DONE]"},
		}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			all, err := drain(t, wire.NewReader(wire.SSE, strings.NewReader(tt.body)))
			if !errors.Is(err, io.EOF) {
				t.Errorf("the end is %v, want io.EOF", err)
			}
			if diff := cmp.Diff(tt.want, all); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}
}

// steps is a body whose reads return one part each and which counts them.
type steps struct {
	parts []string
	reads int
	end   error
}

func (s *steps) Read(p []byte) (int, error) {
	if s.reads == len(s.parts) {
		return 0, s.end
	}
	n := copy(p, s.parts[s.reads])
	s.reads++
	return n, nil
}

func TestEventIsDeliveredAsSoonAsItsBlankLineIsThere(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		parts []string
		want  []string // the raw event after each read
	}{
		"LF":             {[]string{"data: 1\n\n", "data: 2\n\n"}, []string{"data: 1\n\n", "data: 2\n\n"}},
		"CR":             {[]string{"data: 1\r\r", "data: 2\r\r"}, []string{"data: 1\r\r", "data: 2\r\r"}},
		"CRLF":           {[]string{"data: 1\r\n\r\n", "data: 2\r\n\r\n"}, []string{"data: 1\r\n\r\n", "data: 2\r\n\r\n"}},
		"split CRLF":     {[]string{"data: 1\r\n\r", "\ndata: 2\r\n\r", "\n: 3\n\n"}, []string{"data: 1\r\n\r", "\ndata: 2\r\n\r", "\n: 3\n\n"}},
		"blank after CR": {[]string{"\r", "\r"}, []string{"\r", "\r"}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			src := &steps{parts: tt.parts, end: io.EOF}
			r := wire.NewReader(wire.SSE, src)
			for i, want := range tt.want {
				e, err := r.Next()
				if err != nil || string(e.Raw) != want {
					t.Fatalf("event %d is %q, %v, want %q", i, e.Raw, err, want)
				}
				if src.reads != i+1 {
					t.Errorf("event %d took %d reads, want %d", i, src.reads, i+1)
				}
			}
			if e, err := r.Next(); !errors.Is(err, io.EOF) {
				t.Errorf("after the last event: %q, %v, want io.EOF", e.Raw, err)
			}
		})
	}
}

func TestCut(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		framing wire.Framing
		parts   []string
		events  int
		rest    string
	}{
		"in an event":         {wire.SSE, []string{"data: 1\n\ndata: 2\n"}, 1, "data: 2\n"},
		"between events":      {wire.SSE, []string{"data: 1\n\n"}, 1, ""},
		"between CR and LF":   {wire.SSE, []string{"data: 1\r\n\r", "\n"}, 1, "\n"},
		"in a document":       {wire.JSON, []string{`{"a":`}, 0, `{"a":`},
		"before any byte":     {wire.JSON, nil, 0, ""},
		"in an opaque body":   {wire.Opaque, []string{"ab", "cd"}, 2, ""},
		"stream without data": {wire.SSE, nil, 0, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := wire.NewReader(tt.framing, &steps{parts: tt.parts, end: errCut})
			all, err := drain(t, r)
			if !errors.Is(err, errCut) {
				t.Errorf("the end is %v, want the body's own error", err)
			}
			if len(all) != tt.events || string(r.Rest()) != tt.rest {
				t.Errorf("%d events and rest %q, want %d and %q", len(all), r.Rest(), tt.events, tt.rest)
			}
			if _, again := r.Next(); !errors.Is(again, errCut) {
				t.Errorf("asked again: %v, want the same error", again)
			}
		})
	}
}

func TestBytesThatComeWithTheErrorAreRead(t *testing.T) {
	t.Parallel()
	body := "data: 1\n\ndata: 2"
	all, err := drain(t, wire.NewReader(wire.SSE, iotest.DataErrReader(strings.NewReader(body))))
	if !errors.Is(err, io.EOF) || len(all) != 2 || all[1].Data != "2" {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestReaderThatNeverBringsAnything(t *testing.T) {
	t.Parallel()
	for _, f := range []wire.Framing{wire.Opaque, wire.SSE, wire.JSON} {
		r := wire.NewReader(f, &steps{parts: make([]string, 1000)})
		if _, err := r.Next(); !errors.Is(err, io.ErrNoProgress) {
			t.Errorf("framing %d: %v, want io.ErrNoProgress", f, err)
		}
	}
}

// summary keeps of large events only what the tests below look at.
type summary struct {
	events, chunks, raw, whole int
	same                       bool // the joined raw bytes are the body
}

func summarize(t *testing.T, f wire.Framing, body []byte) summary {
	t.Helper()
	r := wire.NewReader(f, bytes.NewReader(body))
	var s summary
	var joined []byte
	for {
		e, err := r.Next()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				t.Fatal(err)
			}
			s.same = bytes.Equal(joined, body)
			return s
		}
		s.events++
		if e.Chunk {
			s.chunks++
		} else if f == wire.JSON && bytes.Equal(e.Data, body) {
			s.whole++
		}
		s.raw += len(e.Raw)
		joined = append(joined, e.Raw...)
	}
}

func TestSizes(t *testing.T) {
	t.Parallel()
	const mib = 1 << 20
	document := func(n int) []byte { return append(append([]byte(`"`), bytes.Repeat([]byte{'x'}, n-2)...), '"') }
	event := func(n int) []byte { return []byte("data: " + strings.Repeat("x", n-8) + "\n\n") }
	after := []byte("data: tail\n\n")
	tests := map[string]struct {
		framing        wire.Framing
		body           []byte
		chunked, shown bool
	}{
		"document of 8 MiB":        {wire.JSON, document(8 * mib), false, true},
		"document over 8 MiB":      {wire.JSON, document(8*mib + 1), true, true},
		"document of 32 MiB":       {wire.JSON, document(32 * mib), true, true},
		"document over 32 MiB":     {wire.JSON, document(32*mib + 1), true, false},
		"event of 32 MiB":          {wire.SSE, append(event(32*mib), after...), false, false},
		"event far beyond 32 MiB":  {wire.SSE, append(event(33*mib), after...), true, false},
		"many lines in 20 MiB":     {wire.SSE, append(bytes.Repeat([]byte("data\r"), 4*mib), '\r'), false, false},
		"opaque body, 1 MiB reads": {wire.Opaque, document(mib), true, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := summarize(t, tt.framing, tt.body)
			if !s.same || s.raw != len(tt.body) {
				t.Errorf("%d raw bytes of %d, equal: %t", s.raw, len(tt.body), s.same)
			}
			if (s.chunks > 0) != tt.chunked || (s.whole == 1) != tt.shown {
				t.Errorf("%+v, want chunked %t and shown whole %t", s, tt.chunked, tt.shown)
			}
			if tt.framing == wire.JSON && !tt.chunked && s.events != 1 {
				t.Errorf("%d events, want the document as one", s.events)
			}
		})
	}
}

func TestOneDataLineIsNotCopied(t *testing.T) {
	t.Parallel()
	r := wire.NewReader(wire.SSE, strings.NewReader("event: x\ndata: {}\n\n"))
	e, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	e.Data[0] = '!'
	if string(e.Raw) != "event: x\ndata: !}\n\n" {
		t.Errorf("Data is not a part of Raw: %q", e.Raw)
	}
}

func TestClosed(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]bool{
		"": true, "\n": true, "\r\n": true, "data: 1\n\n": true, "data: 1\r\r": true, "data: 1\r\n\r\n": true,
		"data: 1\r\n\r": true, "\ndata: 1\r\n\r": true, "data: 1\n\r\n": true,
		"data: 1": false, "data: 1\n": false, "data: 1\r": false, "data: 1\r\n": false, "\ndata: 1": false,
	} {
		if got := (wire.Event{Raw: []byte(raw)}).Closed(); got != want {
			t.Errorf("%q: %t, want %t", raw, got, want)
		}
	}
}

func TestFramingOf(t *testing.T) {
	t.Parallel()
	for contentType, want := range map[string]wire.Framing{
		"text/event-stream":                wire.SSE,
		"Text/Event-Stream; charset=utf-8": wire.SSE,
		"application/json":                 wire.JSON,
		" application/json ;charset=utf-8": wire.JSON,
		"application/problem+json":         wire.JSON,
		"application/x-ndjson":             wire.Opaque,
		"application/jsonl":                wire.Opaque,
		"text/html":                        wire.Opaque,
		"":                                 wire.Opaque,
	} {
		if got := wire.FramingOf(contentType); got != want {
			t.Errorf("%q: %d, want %d", contentType, got, want)
		}
	}
}

// looped is an endless stream that brings one event per read.
type looped struct{ event []byte }

func (l looped) Read(p []byte) (int, error) { return copy(p, l.event), nil }

const delta = `event: content_block_delta
data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"Hello, how are you today?"}}

`

func TestNoAllocationPerEvent(t *testing.T) {
	r := wire.NewReader(wire.SSE, looped{[]byte(delta)})
	next := func() {
		if _, err := r.Next(); err != nil {
			t.Fatal(err)
		}
	}
	next()
	if n := testing.AllocsPerRun(1000, next); n != 0 {
		t.Errorf("%v allocations per event, want none", n)
	}
}

// Not a parallel test: it measures the heap.
func TestLongNamesAreNotKept(t *testing.T) {
	heap := func() int {
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := heap()
	var bodies []io.Reader
	for i := range 20 {
		bodies = append(bodies, strings.NewReader("event: "+strconv.Itoa(i)), &rush{body: bytes.Repeat([]byte{'x'}, 1<<20)}, strings.NewReader("\n\n"))
	}
	bodies = append(bodies, strings.NewReader(delta))
	r := wire.NewReader(wire.SSE, io.MultiReader(bodies...))
	if all, err := drain(t, r); !errors.Is(err, io.EOF) || len(all) != 21 || len(all[0].Name) <= 1<<20 {
		t.Fatalf("%d events, %v", len(all), err)
	}
	if held := heap() - before; held > 10<<20 {
		t.Errorf("%d MiB are held in the end", held>>20)
	}
	runtime.KeepAlive(r)
}

func BenchmarkStreamOf100Events(b *testing.B) {
	body := bytes.Repeat([]byte(delta), 100)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	src := bytes.NewReader(body)
	for b.Loop() {
		src.Reset(body)
		r := wire.NewReader(wire.SSE, src)
		for {
			if _, err := r.Next(); err != nil {
				break
			}
		}
		r.Release()
	}
}

func BenchmarkNext(b *testing.B) {
	r := wire.NewReader(wire.SSE, looped{[]byte(delta)})
	b.SetBytes(int64(len(delta)))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := r.Next(); err != nil {
			b.Fatal(err)
		}
	}
}

// rush brings a body in reads of changing size, from single bytes to all that fits.
type rush struct {
	body []byte
	turn int
}

func (r *rush) Read(p []byte) (int, error) {
	if len(r.body) == 0 {
		return 0, io.EOF
	}
	r.turn++
	n := copy(p, r.body[:min(len(r.body), []int{1, 300, 1 << 20, 1 << 20, 700, 3000}[r.turn%6])])
	r.body = r.body[n:]
	return n, nil
}

// Many readers share buffers; each must see its own body, whatever its rhythm.
func TestBuffersAreNotShared(t *testing.T) {
	t.Parallel()
	var readers sync.WaitGroup
	for i := range 8 {
		readers.Go(func() {
			event := []byte(strings.Replace(delta, "Hello", strings.Repeat(strconv.Itoa(i), 1+700*(i%3)), 1))
			for _, f := range []wire.Framing{wire.SSE, wire.JSON, wire.Opaque} {
				body := bytes.Repeat(event, 300)
				r := wire.NewReader(f, &rush{body: body, turn: i})
				for {
					e, err := r.Next()
					if err != nil {
						break
					}
					if !bytes.HasPrefix(body, e.Raw) {
						t.Errorf("reader %d, framing %d: an event is not its own", i, f)
						return
					}
					body = body[len(e.Raw):]
				}
				if len(body) > 0 {
					t.Errorf("reader %d, framing %d: %d bytes are missing", i, f, len(body))
				}
				r.Release()
			}
		})
	}
	readers.Wait()
}
