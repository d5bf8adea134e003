// Package dialecttest holds what every dialect must keep to, whatever its API: one
// suite, run over each of them with answers in the shapes of that API.
package dialecttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// Suite is a dialect with answers of its API.
type Suite struct {
	Dialect dialect.Dialect
	Streams []Stream
	Bodies  []Body
	// Error and Break return the message of an error body and of the data of an
	// error event, "" if it is not exactly of the API's shape.
	Error, Break func(data []byte) string
	// BreakName is the name of the error event.
	BreakName string
}

// Stream is an answer of server-sent events.
type Stream struct {
	File string // in testdata
	// Kinds has a letter per event, of its kind: P, C, F, E; and c for content
	// after which the answer may end though its terminal event has not come.
	Kinds string
	Turn  llm.Turn // at the end
}

// Body is an answer of one JSON document.
type Body struct {
	File string // in testdata
	Kind dialect.Kind
	Turn llm.Turn
}

// letters names the kinds as Stream.Kinds does.
var letters = map[dialect.Kind]byte{ //nolint:gochecknoglobals // a constant table
	dialect.Preamble: 'P', dialect.Content: 'C', dialect.Failure: 'F', dialect.End: 'E',
}

// namedAfterType finds the names of events whose data tells the same.
var namedAfterType = regexp.MustCompile(`(?m)^event: \w+[._].*`)

const public = `a <b> & "c"` + "\nd"

func newFault(code fault.Code) *fault.Error {
	f := fault.Wrap(code, errors.New("PRIVATE"), public)
	f.RequestID = "req_kb"
	return f
}

// Run runs the suite.
func Run(t *testing.T, s Suite) {
	t.Helper()
	used := map[string]bool{}
	for _, st := range s.Streams {
		used[st.File] = true
		t.Run(st.File, func(t *testing.T) {
			t.Parallel()
			body := read(t, st.File)
			s.kinds(t, st, body)
			s.prefixes(t, st, body)
			s.pings(t, st, body)
		})
	}
	for _, b := range s.Bodies {
		used[b.File] = true
		t.Run(b.File, func(t *testing.T) {
			t.Parallel()
			s.body(t, b, read(t, b.File))
		})
	}
	t.Run("errors", s.errors)
	t.Run("peek", s.peek)
	t.Run("beyond watching", s.chunks)
	for _, file := range files(t) {
		if !used[filepath.Base(file)] {
			t.Errorf("no case uses testdata/%s", filepath.Base(file))
		}
	}
}

func files(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/*.*")
	if err != nil || len(all) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	return all
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	body, err := os.ReadFile(filepath.Join("testdata", file)) //nolint:gosec // the suites' own fixtures
	if err != nil {
		t.Fatal(err)
	}
	return body
}

// watch lets a new observer see a whole body.
func watch(t testing.TB, d dialect.Dialect, f wire.Framing, r io.Reader) (string, dialect.Observer) {
	t.Helper()
	o := d.Observe()
	reader := wire.NewReader(f, r)
	var kinds []byte
	for {
		e, err := reader.Next()
		if errors.Is(err, io.EOF) {
			return string(kinds), o
		}
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, letters[o.Event(e)])
	}
}

func (s Suite) kinds(t *testing.T, st Stream, body []byte) {
	t.Helper()
	want := strings.ToUpper(st.Kinds)
	variants := map[string]io.Reader{
		"as it is":             bytes.NewReader(body),
		"byte by byte":         iotest.OneByteReader(bytes.NewReader(body)),
		"with CRLF":            bytes.NewReader(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))),
		"with CR":              bytes.NewReader(bytes.ReplaceAll(body, []byte("\n"), []byte("\r"))),
		"without blank at EOF": bytes.NewReader(bytes.TrimRight(body, "\n")),
		"by the default name":  bytes.NewReader(namedAfterType.ReplaceAll(body, []byte("event: message"))),
	}
	for name, r := range variants {
		got, o := watch(t, s.Dialect, wire.SSE, r)
		if got != want {
			t.Errorf("%s: kinds %s, want %s", name, got, want)
		}
		if diff := cmp.Diff(st.Turn, o.Turn()); diff != "" {
			t.Errorf("%s: turn (-want +got):\n%s", name, diff)
		}
	}
}

// prefixes ends the stream after every byte: the turn may be complete only once
// the event that completes it has come whole, and an error event put behind must
// be read as just that.
func (s Suite) prefixes(t *testing.T, st Stream, body []byte) {
	t.Helper()
	full := len(body) + 1
	events := cut(t, body)
	if i := strings.IndexAny(st.Kinds, "Ec"); i >= 0 && !strings.Contains(st.Kinds, "F") {
		full = len(bytes.Join(events[:i+1], nil)) - len("\n\n")
	}
	for n := range len(body) + 1 {
		kinds, o := watch(t, s.Dialect, wire.SSE, bytes.NewReader(body[:n]))
		if got, want := o.Turn().Complete, n >= full; got != want {
			t.Fatalf("cut after %d bytes: complete %t, want %t\n%s", n, got, want, body[:n])
		}
		if n < full && strings.Contains(kinds, "E") && !strings.Contains(kinds, "F") {
			t.Fatalf("cut after %d bytes: an end is seen: %s", n, kinds)
		}
		s.breaks(t, body[:n], kinds, o)
	}
}

func (s Suite) breaks(t *testing.T, seen []byte, kinds string, o dialect.Observer) {
	t.Helper()
	e := o.Break(newFault(fault.BadUpstream))
	if s.Break(e.Data) != public || e.Name != s.BreakName {
		t.Fatalf("not the API's error event: %q %s", e.Name, e.Data)
	}
	if bytes.Contains(e.Raw, []byte("PRIVATE")) {
		t.Fatalf("the private half is shown: %s", e.Raw)
	}
	events := cut(t, append(bytes.Clone(seen), e.Raw...))
	last := events[len(events)-1]
	if !bytes.HasSuffix(e.Raw, last) || !bytes.Contains(last, e.Data) {
		t.Fatalf("after %q the error event is not one of its own: %q", seen, last)
	}
	if strings.HasSuffix(kinds, "F") {
		return
	}
	if kind := o.Event(e); kind != dialect.Failure || o.Turn().Complete && !strings.ContainsAny(kinds, "EC") {
		t.Fatalf("the API's own observer takes the error event for %c", letters[kind])
	}
}

func (s Suite) pings(t *testing.T, st Stream, body []byte) {
	t.Helper()
	ping := s.Dialect.Ping()
	with := bytes.Clone(ping.Raw)
	kinds := []byte("P")
	for i, e := range cut(t, body) {
		with = append(append(with, e...), ping.Raw...)
		kinds = append(kinds, strings.ToUpper(st.Kinds)[i], 'P')
	}
	got, o := watch(t, s.Dialect, wire.SSE, bytes.NewReader(with))
	if got != string(kinds) {
		t.Errorf("with pings: kinds %s, want %s", got, kinds)
	}
	if diff := cmp.Diff(st.Turn, o.Turn()); diff != "" {
		t.Errorf("with pings: turn (-want +got):\n%s", diff)
	}
}

func cut(t testing.TB, body []byte) [][]byte {
	t.Helper()
	var all [][]byte
	r := wire.NewReader(wire.SSE, bytes.NewReader(body))
	for {
		e, err := r.Next()
		if err != nil {
			return all
		}
		all = append(all, e.Clone().Raw)
	}
}

func (s Suite) body(t *testing.T, b Body, body []byte) {
	t.Helper()
	got, o := watch(t, s.Dialect, wire.JSON, bytes.NewReader(body))
	if want := string(letters[b.Kind]); got != want {
		t.Errorf("kind %s, want %s", got, want)
	}
	if diff := cmp.Diff(b.Turn, o.Turn()); diff != "" {
		t.Errorf("turn (-want +got):\n%s", diff)
	}
	for n := range len(bytes.TrimSpace(body)) {
		kinds, cutShort := watch(t, s.Dialect, wire.JSON, bytes.NewReader(body[:n]))
		if kinds == "E" || cutShort.Turn().Complete {
			t.Fatalf("cut after %d bytes: kind %s, complete %t", n, kinds, cutShort.Turn().Complete)
		}
	}
	for _, other := range []string{"null", "[]", "12", `"x"`, "<html>busy</html>", string(body) + "x", string(body) + string(body)} {
		kinds, o := watch(t, s.Dialect, wire.JSON, strings.NewReader(other))
		if kinds == "E" || o.Turn().Complete {
			t.Errorf("%.40q: kind %s, complete %t: it is no whole answer", other, kinds, o.Turn().Complete)
		}
	}
}

func (s Suite) errors(t *testing.T) {
	t.Parallel()
	for _, code := range []fault.Code{
		fault.BadRequest, fault.Unauthorized, fault.Forbidden, fault.NotFound, fault.ModelNotFound, fault.TooLarge,
		fault.Unsupported, fault.Upgrade, fault.RateLimited, fault.QuotaExhausted, fault.AuthFailed, fault.Disabled,
		fault.Unavailable, fault.BadUpstream, fault.Timeout, fault.RequestTimeout, fault.Internal, "unheard-of",
	} {
		body := s.Dialect.Error(newFault(code))
		if s.Error(body) != public {
			t.Errorf("%s: not the API's shape: %s", code, body)
		}
		if bytes.Contains(body, []byte("PRIVATE")) || !bytes.Contains(body, []byte("<b> &")) {
			t.Errorf("%s: the private half is shown, or the text is escaped: %s", code, body)
		}
		if kinds, o := watch(t, s.Dialect, wire.JSON, bytes.NewReader(body)); kinds != "F" || o.Turn().Complete {
			t.Errorf("%s: the API's own observer takes it for %s: %s", code, kinds, body)
		}
	}
}

func (s Suite) peek(t *testing.T) {
	t.Parallel()
	got, err := s.Dialect.Peek([]byte(`{"stream": true, "messages": [{"model": "x"}], "model": "m-1"}`))
	if err != nil || got.Model != "m-1" || !got.Stream {
		t.Errorf("%+v, %v, want a stream of m-1", got, err)
	}
	for _, body := range []string{"", "[]", `{"model":"a","model":"b"}`, `{"model":""}`, `{"model":["a"]}`, `{"stream":1}`, `{"model":"a"`} {
		var f *fault.Error
		if _, err := s.Dialect.Peek([]byte(body)); !errors.As(err, &f) || f.Code != fault.BadRequest {
			t.Errorf("%s: %v, want a bad request", body, err)
		}
	}
}

// chunks: what is too large to hold is relayed, and its end is trusted.
func (s Suite) chunks(t *testing.T) {
	t.Parallel()
	o := s.Dialect.Observe()
	if o.Turn().Complete {
		t.Error("complete before anything was seen")
	}
	kind := o.Event(wire.Event{Raw: []byte(`{"choices":[`), Chunk: true})
	if kind != dialect.Content || !o.Turn().Complete {
		t.Errorf("a chunk: kind %c, complete %t, want C and true", letters[kind], o.Turn().Complete)
	}
}

// Strict decodes data into v and reports whether it has just the fields of v.
func Strict(data []byte, v any) bool {
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	return d.Decode(v) == nil && !d.More()
}
