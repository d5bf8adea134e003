package dialecttest

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// Record is an answer with all that is told of it if everything is kept.
type Record struct {
	File string // in testdata/record
	Cut  int    // how many events come of it; 0: all
	Turn llm.Turn
}

// Records observes answers as they are recorded. Each fixture in testdata/record must
// have its case.
func Records(t *testing.T, observing func(dialect.Keep) dialect.Dialect, cases map[string]Record) {
	t.Helper()
	used := map[string]bool{}
	for name, c := range cases {
		used[c.File] = true
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := read(t, filepath.Join("record", c.File))
			f := wire.SSE
			if strings.HasSuffix(c.File, ".json") {
				f = wire.JSON
			}
			if c.Cut > 0 {
				body = bytes.Join(cut(t, body)[:c.Cut], nil)
			}
			c.all(t, observing, f, body)
			c.less(t, observing, f, body)
			c.steady(t, observing(everything), f, body)
		})
	}
	for _, file := range records(t) {
		if !used[filepath.Base(file)] {
			t.Errorf("no case uses testdata/record/%s", filepath.Base(file))
		}
	}
}

var everything = dialect.Keep{Prompt: true, Arguments: true, Reasoning: true, Limit: 1 << 20} //nolint:gochecknoglobals // a constant

func records(t testing.TB) []string {
	t.Helper()
	all, err := filepath.Glob("testdata/record/*.*")
	if err != nil || len(all) == 0 {
		t.Fatalf("no fixtures: %v", err)
	}
	return all
}

// all keeps everything, however the bytes come.
func (c *Record) all(t *testing.T, observing func(dialect.Keep) dialect.Dialect, f wire.Framing, body []byte) {
	t.Helper()
	for name, r := range map[string]io.Reader{
		"as it is":     bytes.NewReader(body),
		"byte by byte": iotest.OneByteReader(bytes.NewReader(body)),
		"with CRLF":    bytes.NewReader(bytes.ReplaceAll(body, []byte("\n"), []byte("\r\n"))),
	} {
		_, o := watch(t, observing(everything), f, r)
		if diff := cmp.Diff(c.Turn, o.Turn()); diff != "" {
			t.Errorf("%s: turn (-want +got):\n%s", name, diff)
		}
	}
}

// less keeps nothing, or only the beginning of each piece: all else is the same.
func (c *Record) less(t *testing.T, observing func(dialect.Keep) dialect.Dialect, f wire.Framing, body []byte) {
	t.Helper()
	none := c.Turn
	none.Thoughts, none.Calls = nil, slices.Clone(none.Calls)
	for i := range none.Calls {
		none.Calls[i].Arguments = nil
		if strings.Contains(none.Calls[i].Error, " ") { // no word of the provider's
			none.Calls[i].Error = "error"
		}
	}
	_, o := watch(t, observing(dialect.Keep{Limit: 1 << 20}), f, bytes.NewReader(body))
	if diff := cmp.Diff(none, o.Turn()); diff != "" {
		t.Errorf("nothing kept: turn (-want +got):\n%s", diff)
	}
	for limit := range 12 {
		_, o = watch(t, observing(dialect.Keep{Arguments: true, Reasoning: true, Limit: limit}), f, bytes.NewReader(body))
		if diff := cmp.Diff(shortened(c.Turn, limit), o.Turn()); diff != "" {
			t.Errorf("limit %d: turn (-want +got):\n%s", limit, diff)
		}
	}
}

// shortened cuts each piece to limit bytes, in whole characters.
func shortened(t llm.Turn, limit int) llm.Turn {
	short := func(s string) string {
		n := 0
		for i, r := range s + "x" {
			if i <= limit {
				n = i
			}
			_ = r
		}
		return s[:n]
	}
	t.Calls, t.Thoughts = slices.Clone(t.Calls), slices.Clone(t.Thoughts)
	for i := range t.Calls {
		if t.Calls[i].Arguments = []byte(short(string(t.Calls[i].Arguments))); len(t.Calls[i].Arguments) == 0 {
			t.Calls[i].Arguments = nil
		}
	}
	for i := range t.Thoughts {
		t.Thoughts[i].Text = short(t.Thoughts[i].Text)
	}
	return t
}

// steady: what a turn was told to be does not change as the answer goes on.
func (c *Record) steady(t *testing.T, d dialect.Dialect, f wire.Framing, body []byte) {
	t.Helper()
	o := d.Observe()
	r := wire.NewReader(f, bytes.NewReader(body))
	var turns []llm.Turn
	var told []string
	for {
		e, err := r.Next()
		if err != nil {
			break
		}
		o.Event(e)
		turns = append(turns, o.Turn())
		told = append(told, spell(t, o.Turn()))
	}
	for i := range turns {
		if got := spell(t, turns[i]); got != told[i] {
			t.Fatalf("the turn after event %d was\n%s and is now\n%s", i, told[i], got)
		}
	}
}

func spell(t *testing.T, turn llm.Turn) string {
	t.Helper()
	s, err := json.Marshal(turn)
	if err != nil {
		t.Fatal(err)
	}
	return string(s)
}

// Bounds observes a body with more calls and more pieces of reasoning, of three bytes
// each, than are told of.
func Bounds(t *testing.T, observing func(dialect.Keep) dialect.Dialect, body []byte) llm.Turn {
	t.Helper()
	keep := dialect.Keep{Arguments: true, Reasoning: true, Limit: 2}
	_, o := watch(t, observing(keep), wire.JSON, bytes.NewReader(body))
	turn := o.Turn()
	if len(turn.Calls) != 256 || len(turn.Thoughts) != 256 || !turn.Complete {
		t.Fatalf("%d calls, %d pieces of reasoning, complete %t", len(turn.Calls), len(turn.Thoughts), turn.Complete)
	}
	if wrong := overkept(&turn, keep.Limit); wrong != "" {
		t.Fatal(wrong)
	}
	if turn.Thoughts[0] != (llm.Thought{Text: "ab", Size: 3}) || turn.Calls[0].Size != 2 || turn.Calls[0].Name != strings.Repeat("é", 128) {
		t.Errorf("%+v, %+v", turn.Thoughts[0], turn.Calls[0])
	}
	return turn
}
