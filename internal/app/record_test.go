package app_test

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	_ "modernc.org/sqlite"

	"keybridge/internal/app"
	"keybridge/internal/simulator"
)

// office is a whole gateway over real sockets, with a record and both providers.
type office struct {
	*running

	t    *testing.T
	dir  string // of its configuration and its data
	up   string // where the providers are
	sim  *simulator.Simulator
	stop func()
}

// The callers' tokens.
const (
	annsToken = "kb-ann-0123456789"
	bobsToken = "kb-bob-9876543210"
)

func newOffice(t *testing.T, settings string) *office {
	t.Helper()
	o := &office{t: t, dir: t.TempDir()}
	o.sim = simulator.New(simulator.Options{Keys: simulator.Keys(2), Deterministic: true})
	t.Cleanup(o.sim.Close)
	srv := httptest.NewServer(o.sim)
	t.Cleanup(srv.Close)
	o.up = srv.URL
	o.configure(settings)
	return o
}

// configure writes the configuration.
func (o *office) configure(settings string) {
	o.t.Helper()
	var text strings.Builder
	text.WriteString(settings + "\ndata_dir: data\n")
	if !strings.Contains(settings, "tokens:") {
		text.WriteString("tokens: [{secret: \"literal:" + annsToken + "\", name: ann, metadata: {team: search, cost_center: \"7\"}}, {secret: \"literal:" + bobsToken + "\", name: bob}]\n")
	}
	text.WriteString("providers:\n")
	for _, p := range []struct{ name, path string }{{simulator.OpenAI, "/openai/v1"}, {simulator.Anthropic, "/anthropic"}} {
		fmt.Fprintf(&text, "  - name: %s\n    kind: %s\n    base_url: %s%s\n    probe: off\n    keys:\n", p.name, p.name, o.up, p.path)
		for _, k := range simulator.Keys(2) {
			if k.Provider == p.name {
				fmt.Fprintf(&text, "      - {id: %s, secret: \"literal:%s\"}\n", k.Name, k.Secret)
			}
		}
	}
	write(o.t, filepath.Join(o.dir, "keybridge.yaml"), text.String())
}

// open starts the gateway.
func (o *office) open() *office {
	o.t.Helper()
	o.running = start(o.t, filepath.Join(o.dir, "keybridge.yaml"), nil)
	o.stop = func() { o.Stop(context.WithoutCancel(o.t.Context())) }
	return o
}

// post sends a request of a client and reads the whole answer.
func (o *office) post(path, token, body string) answer {
	o.t.Helper()
	req := newRequest(o.t, http.MethodPost, "http://"+o.Address("listen")+path, body)
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("User-Agent", "claude-cli/2.1.0 (external, cli)")
	return send(o.t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, req)
}

const (
	chatBody      = `{"model":"gpt-4o","messages":[{"role":"user","content":"Say hello"}]%s}`
	responsesBody = `{"model":"gpt-5-mini","input":"Say hello"%s}`
	messagesBody  = `{"model":"claude-sonnet-5","max_tokens":100,"messages":[{"role":"user","content":"Say hello"}]%s}`
	asStream      = `,"stream":true`
	asMetered     = `,"stream":true,"stream_options":{"include_usage":true}`
)

func (o *office) chat() answer {
	o.t.Helper()
	return o.post("/v1/chat/completions", annsToken, fmt.Sprintf(chatBody, ""))
}

// database is the file of the default store.
func (o *office) database() string { return filepath.Join(o.dir, "data", "keybridge.db") }

// rows reads the record: each row its columns, separated by spaces.
func rows(t *testing.T, path, query string) []string {
	t.Helper()
	db := attach(t, path)
	defer db.Close()
	found, err := db.Query(query)
	if err != nil {
		t.Fatal(err)
	}
	defer found.Close()
	columns, err := found.Columns()
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for found.Next() {
		values, into := make([]any, len(columns)), make([]any, len(columns))
		for i := range values {
			into[i] = &values[i]
		}
		if err := found.Scan(into...); err != nil {
			t.Fatal(err)
		}
		out = append(out, strings.TrimSuffix(fmt.Sprintln(values...), "\n"))
	}
	if err := found.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

// attach opens the record's file beside the gateway.
func attach(t *testing.T, path string) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: "mode=rw&_pragma=busy_timeout(5000)"}).String())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

// One exchange of each API, blocking and streaming: who asked, for what, by which key, what
// was used and what it cost.
func TestRecordOfEachAPI(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "record: {prompts: true}\nprices: [{model: \"gpt-4o*\", input: 1, output: 0.1}]").open()
	for _, r := range []struct{ path, token, body, more string }{
		{"/v1/chat/completions", annsToken, chatBody, ""},
		{"/v1/chat/completions", bobsToken, chatBody, asMetered},
		{"/v1/responses", annsToken, responsesBody, ""},
		{"/v1/responses", annsToken, responsesBody, asStream},
		{"/v1/messages", bobsToken, messagesBody, ""},
		{"/anthropic/v1/messages", annsToken, messagesBody, asStream},
	} {
		if a := o.post(r.path, r.token, fmt.Sprintf(r.body, r.more)); a.Status != http.StatusOK {
			t.Fatalf("%s: %d %s", r.path, a.Status, a.Body)
		}
	}
	// What the record is not about: who is not let in, and what is passed through.
	o.post("/v1/chat/completions", "wrong", fmt.Sprintf(chatBody, ""))
	o.post("/v1/embeddings", annsToken, `{"model":"text-embedding-3-small","input":"x"}`)
	o.stop()

	const ann = `ann {"cost_center":"7","team":"search"} claude-code 2.1.0 `
	const bob = `bob  claude-code 2.1.0 `
	want := []string{
		ann + "openai /v1/chat/completions 0 gpt-4o gpt-4o-2024-08-06 k0 completed 200 17 10 18000000",
		bob + "openai /v1/chat/completions 1 gpt-4o gpt-4o-2024-08-06 k0 completed 200 17 10 18000000",
		ann + "openai /v1/responses 0 gpt-5-mini gpt-5-mini-2025-08-07 k0 completed 200 10 11 24500000",
		ann + "openai /v1/responses 1 gpt-5-mini gpt-5-mini-2025-08-07 k0 completed 200 10 11 24500000",
		bob + "anthropic /v1/messages 0 claude-sonnet-5 claude-sonnet-5 k0 completed 200 18 12 156000000",
		ann + "anthropic /v1/messages 1 claude-sonnet-5 claude-sonnet-5 k0 completed 200 18 12 156000000",
	}
	got := rows(t, o.database(), `SELECT caller, metadata, client, version, provider, route, stream, model_asked, model_answered, key,
status, http_status, input, output, picos FROM interceptions_view ORDER BY id`)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if got := rows(t, o.database(), "SELECT text, count(*) FROM prompts GROUP BY text"); cmp.Diff([]string{"Say hello 6"}, got) != "" {
		t.Errorf("prompts: %q", got)
	}
	if got := rows(t, o.database(), "SELECT price_version FROM turns_view WHERE price_model <> '' GROUP BY 1"); len(got) != 1 || !strings.Contains(got[0], "+") {
		t.Errorf("prices of the lists %q, want one with overrides", got)
	}
}

// What is recorded is there after a restart, and what comes then is added.
func TestRecordOverRestarts(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "")
	for n := 1; n <= 3; n++ {
		o.open().chat()
		o.stop()
		want := []string{fmt.Sprintf("%d %d 0", n, n)}
		got := rows(t, o.database(), "SELECT count(*), count(DISTINCT id), (SELECT count(*) FROM instances) FROM interceptions_view WHERE status = 'completed'")
		if diff := cmp.Diff(want, got); diff != "" {
			t.Fatalf("start %d (-want +got):\n%s", n, diff)
		}
	}
	if info, err := os.Stat(o.database()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the file's mode is %v (%v)", info.Mode(), err)
	}
	if left := spooled(t, filepath.Join(o.dir, "data")); len(left) > 0 {
		t.Errorf("there is a spool: %q", left)
	}
}

// spooled are the files of a folder with what waits to be recorded.
func spooled(t *testing.T, dir string) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, "record-*"))
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A reload changes what is kept, at which prices, and what is said of callers; where it is
// kept needs a restart, and a line says so.
func TestRecordReloads(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "").open()
	o.chat()
	const tokens = "tokens: [{secret: \"literal:" + annsToken + "\", name: annie, metadata: {team: ads}}]\n"
	o.configure(tokens + "store: sqlite:elsewhere.db\nrecord: {prompts: true, max_text: 5}\nprices: [{model: \"*\", input: 2, output: 0}]")
	if err := o.Reload(); err != nil {
		t.Fatal(err)
	}
	o.chat()
	o.configure("store: none")
	if err := o.Reload(); err != nil {
		t.Fatal(err)
	}
	o.chat()
	o.stop()
	want := []string{
		`ann {"cost_center":"7","team":"search"} 142500000`,
		`annie {"team":"ads"} 34000000`,
		`ann {"cost_center":"7","team":"search"} 142500000`,
	}
	if diff := cmp.Diff(want, rows(t, o.database(), "SELECT caller, metadata, picos FROM interceptions_view ORDER BY id")); diff != "" {
		t.Errorf("rows (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"Say h 9"}, rows(t, o.database(), "SELECT text, size FROM prompts")); diff != "" {
		t.Errorf("prompts (-want +got):\n%s", diff)
	}
	for _, configured := range []string{"sqlite:" + filepath.Join(o.dir, "elsewhere.db"), "none"} {
		warned := fmt.Sprintf("setting=store running=sqlite:%s configured=%s", o.database(), configured)
		if log := o.log.String(); !strings.Contains(log, warned) || strings.Count(log, "setting=store") != 2 {
			t.Errorf("the log has no line with %q, or not two of the store:\n%s", warned, log)
		}
	}
	if _, err := os.Stat(filepath.Join(o.dir, "elsewhere.db")); err == nil {
		t.Error("a reload has moved the store")
	}
}

// A gateway that records nothing cannot begin to promise that it records all.
func TestStrictNeedsARestart(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "store: none").open()
	o.configure("record: {strict: true}")
	const want = "record.strict: refuses what is not recorded, and this process records nothing: restart it with a store, or remove strict"
	if err := o.Reload(); err == nil || err.Error() != want {
		t.Errorf("reload: %v, want %s", err, want)
	}
	if a := o.chat(); a.Status != http.StatusOK {
		t.Errorf("%d %s", a.Status, a.Body)
	}
	if log := o.log.String(); strings.Contains(log, "nothing is recorded") || !strings.Contains(o.out.String(), "\nRecord   nothing is recorded\n") {
		t.Errorf("what was asked for is warned of, or the greeting does not say so:\n%s\n%s", log, o.out)
	}
}

// Without a place for it there is no record, and a line says what to do.
func TestRecordWithoutAPlace(t *testing.T) {
	t.Parallel()
	r := start(t, write(t, "", "providers: [{name: openai, kind: openai}]\n"), nil)
	const want = `msg="nothing is recorded" because="no data_dir is known" do="set store, data_dir or HOME; store: none if nothing is to be recorded"`
	if log := r.log.String(); strings.Count(log, want) != 1 {
		t.Errorf("the log lacks %s:\n%s", want, log)
	}
}

// A damaged file does not keep the gateway from recording, nor is it lost.
func TestRecordOverADamagedFile(t *testing.T) {
	t.Parallel()
	o := newOffice(t, "")
	garbage := "SQLite format 3\x00" + strings.Repeat("of old, of which nothing is left ", 1000)
	if err := os.Mkdir(filepath.Dir(o.database()), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(o.database(), []byte(garbage), 0o600); err != nil {
		t.Fatal(err)
	}
	o.open().chat()
	o.stop()
	if got := rows(t, o.database(), "SELECT count(*) FROM interceptions_view"); cmp.Diff([]string{"1"}, got) != "" {
		t.Errorf("rows: %q", got)
	}
	aside, _ := filepath.Glob(o.database() + ".corrupt-*")
	if len(aside) != 1 {
		t.Fatalf("set aside: %q", aside)
	}
	kept, err := os.ReadFile(aside[0])
	if err != nil || string(kept) != garbage || !strings.Contains(o.log.String(), aside[0]) {
		t.Errorf("what was set aside is not what was there (%v), or the log does not name it:\n%s", err, o.log)
	}
}

// The built-in simulator's record is there while it runs, and leaves nothing behind.
func TestSimulatorsRecord(t *testing.T) {
	temporary := t.TempDir()
	t.Setenv("TMPDIR", temporary)
	r := simulated(t)
	found, _ := filepath.Glob(filepath.Join(temporary, "keybridge-*", "keybridge.db"))
	if len(found) != 1 || !strings.Contains(r.out.String(), "\nRecord   tokens and costs, nothing that was said, in "+found[0]+" until the gateway stops\n") {
		t.Fatalf("files %q, greeted with\n%s", found, r.out)
	}
	r.Stop(context.WithoutCancel(t.Context()))
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	kept := filepath.Join(t.TempDir(), "kept.db")
	r = run(t, app.Options{Listen: anyPort, Env: func(name string) (string, bool) {
		v, ok := map[string]string{"KEYBRIDGE_STORE": "sqlite:" + kept}[name]
		return v, ok
	}})
	code, body := r.do(t, http.MethodPost, "http://"+r.Address("listen")+"/v1/chat/completions", fmt.Sprintf(chatBody, ""))
	if code != http.StatusOK {
		t.Fatalf("%d %s", code, body)
	}
	r.Stop(context.WithoutCancel(t.Context()))
	if got := rows(t, kept, "SELECT count(*) FROM interceptions_view"); cmp.Diff([]string{"1"}, got) != "" {
		t.Errorf("rows: %q", got)
	}
	if left, _ := os.ReadDir(temporary); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}
