package app_test

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/rows anew; read the difference before it is believed")

// What an answer of a provider comes to in the record, to the row: each recorded answer
// of the dialects goes through a whole gateway.
func TestRows(t *testing.T) {
	t.Parallel()
	requests := map[string]struct{ path, body string }{
		"chat":      {"/v1/chat/completions", `{"model":"gpt-5","stream":%v,"messages":[{"role":"user","content":"Which weather?"}]}`},
		"responses": {"/v1/responses", `{"model":"gpt-5","stream":%v,"input":"Which weather?"}`},
		"messages":  {"/v1/messages", `{"model":"claude-opus-5","max_tokens":9,"stream":%v,"messages":[{"role":"user","content":"Which weather?"}]}`},
	}
	files, err := filepath.Glob("../dialect/*/testdata/record/*")
	if err != nil || len(files) < 10 {
		t.Fatalf("%d recorded answers, %v", len(files), err)
	}
	for _, file := range files {
		api := filepath.Base(filepath.Dir(filepath.Dir(filepath.Dir(file))))
		name := api + "-" + filepath.Base(file)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			said, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			streams := strings.HasSuffix(file, ".sse")
			o := &office{t: t, dir: t.TempDir(), up: scripted(t, said, streams)}
			o.configure("record: {prompts: true, arguments: true, reasoning: true, max_text: 1KiB}")
			o.open()
			o.post(requests[api].path, annsToken, fmt.Sprintf(requests[api].body, streams))
			o.stop()
			compareRows(t, o.database(), filepath.Join("testdata", "rows", name+".rows"))
		})
	}
}

// scripted is a provider that says one thing.
func scripted(t *testing.T, said []byte, streams bool) string {
	t.Helper()
	media := "application/json"
	if streams {
		media = "text/event-stream"
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", media)
		w.Write(said)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// compareRows holds the only interception against the file that says what it has to be.
func compareRows(t *testing.T, database, want string) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), database, sqlite.Options{Options: store.Options{Instance: "reader"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got []*store.Whole
	err = s.Export(context.Background(), store.Filter{}, func(w *store.Whole) error { got = append(got, w); return nil })
	if err != nil {
		t.Fatal(err)
	}
	if len(got) != 1 {
		t.Fatalf("%d interceptions, want 1", len(got))
	}
	timeless(t, got[0])
	text, err := json.MarshalIndent(got[0], "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	text = append(text, '\n')
	if *rewrite {
		if err = os.WriteFile(want, text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	golden, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(golden), string(text)); diff != "" {
		t.Errorf("%s (-want +got):\n%s", want, diff)
	}
}

// timeless takes out what is another in each run, after a look at it.
func timeless(t *testing.T, w *store.Whole) {
	t.Helper()
	if w.Thread != w.ID || w.Started.After(w.Ended) || w.FirstEvent.Before(w.Started) != w.FirstEvent.IsZero() {
		t.Errorf("thread %s of %s, started %v, first event %v, ended %v", w.Thread, w.ID, w.Started, w.FirstEvent, w.Ended)
	}
	w.ID, w.Thread, w.Started, w.FirstEvent, w.Ended = "", "", time.Time{}, time.Time{}, time.Time{}
	for i := range w.Attempts {
		w.Attempts[i].Sent, w.Attempts[i].Waited, w.Attempts[i].Duration = time.Time{}, 0, 0
	}
	for i := range w.Calls {
		w.Calls[i].Started, w.Calls[i].Duration = time.Time{}, 0
	}
	for i := range w.Decisions {
		w.Decisions[i].At, w.Decisions[i].For, w.Decisions[i].Until = time.Time{}, 0, time.Time{}
	}
}
