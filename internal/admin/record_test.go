package admin

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

var morning = time.Date(2026, 11, 23, 8, 59, 0, 0, time.UTC)

func id(at time.Time, nonce int64) string {
	return fmt.Sprintf("req_kb%012x%012x", at.UnixMilli(), nonce)
}

// asked is an exchange that begins so long after the morning.
func asked(after time.Duration, caller, session string, change ...func(*ledger.Exchange)) *ledger.Exchange {
	at := morning.Add(after)
	usage := llm.Usage{Input: 1000, Output: 200, CacheRead: 30, CacheWrite: 40, CacheWriteLong: 5, Reasoning: 60}
	e := &ledger.Exchange{
		ID: id(at, int64(after/time.Minute)), Start: at, Principal: ledger.Principal{Name: caller, Credential: ledger.Pooled},
		Provider: "openai", Route: "/v1/responses", Method: "POST", Bridged: true, Admitted: true, Stream: true, Model: "gpt-5", Client: "codex", Version: "1.2",
		Session: session, Signal: "session-id",
		Attempts:   []ledger.Attempt{{Key: "k1", Hint: "sk-…1", Sent: at.Add(time.Millisecond), Duration: time.Second, Status: 200, Action: "relay"}},
		Turns:      []llm.Turn{{ID: "resp_" + caller, Model: "gpt-5-1", Stop: "completed", Tier: "default", Usage: usage, Reported: true, Complete: true}},
		Charges:    []ledger.Charge{{Model: "gpt-5", Usage: usage, Picos: 1_230_000_000, Version: "2026-10-27"}},
		FirstEvent: at.Add(time.Second), End: at.Add(2 * time.Second), HTTPStatus: 200, Status: ledger.Completed,
	}
	for _, f := range change {
		f(e)
	}
	return e
}

// troubled makes of an exchange one with all that can be in one.
func troubled(e *ledger.Exchange) {
	at := e.Start
	e.Principal.Metadata = `{"team":"search"}`
	e.Class, e.Status, e.HTTPStatus, e.Err, e.Loop, e.Eventful = "bad_upstream", ledger.Failed, 502, ledger.TextError("cut <off>\nhere"), 2, true
	e.Prompt, e.PromptSize = "Where is\nthe \"bug\"?", 500
	e.Attempts = slices.Insert(e.Attempts, 0, ledger.Attempt{Waited: 1500 * time.Microsecond, Key: "k0", Hint: "sk-…0", Sent: at, Duration: 5 * time.Millisecond, Status: 429, Action: "next_key", Reason: "rate_limited"})
	t := &e.Turns[0]
	t.Calls = []llm.ToolCall{{ID: "call1", Name: "kb_docs_find", Arguments: []byte(`{"a":1}`), Size: 7}, {ID: "call2", Name: "Bash", Size: 9}, {ID: "call3", Name: "web_search", Hosted: true, Error: "too_many"}}
	t.Iterations = []llm.Iteration{{Kind: "message", Usage: llm.Usage{Input: 900, Output: 150}}, {Kind: "advisor", Model: "gpt-5-pro", Usage: llm.Usage{Input: 100, Output: 50}}}
	t.Thoughts = []llm.Thought{{Text: "hm", Size: 2}}
	t.Searches = 1
	e.Charges = []ledger.Charge{{Model: "gpt-5", Picos: 1_000_000_000, Version: "2026-10-27"}, {Kind: "advisor", Model: "gpt-5-pro", Unpriced: 150, Version: "2026-10-27"}}
	e.Tools = []ledger.ToolUse{{Call: "call1", Server: "docs", Tool: "find", Start: at.Add(time.Second), Duration: 250 * time.Millisecond, Outcome: ledger.ToolTimeout, Size: 77, Err: errors.New("too slow")}}
	e.Decisions = []ledger.Decision{
		{At: at, Key: "k0", What: "verdict", Why: "rate_limited", Action: "next_key", Scope: "organization", Until: at.Add(time.Minute), For: 5 * time.Millisecond},
	}
}

// archive is the admin side over a record.
type archive struct {
	http.Handler
	t     *testing.T
	store *store.Store
	list  []*ledger.Exchange
}

func newArchive(t *testing.T, list ...*ledger.Exchange) *archive {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "keybridge.db"), sqlite.Options{Options: store.Options{Instance: "i"}, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	if err := s.Write(t.Context(), nil, list); err != nil {
		t.Fatal(err)
	}
	return &archive{recordSide(func() (*store.Store, error) { return s, nil }), t, s, list}
}

func recordSide(record func() (*store.Store, error)) http.Handler {
	return New(Options{
		Gatherer: prometheus.NewRegistry(), Ready: func() error { return nil }, Reload: func() error { return nil },
		Record: record, Log: slog.New(slog.DiscardHandler),
	})
}

func ask1(ctx context.Context, h http.Handler, method, path string) *httptest.ResponseRecorder {
	r := httptest.NewRequestWithContext(ctx, method, "http://127.0.0.1:8788"+path, nil)
	r.RemoteAddr = "127.0.0.1:5"
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

func (a *archive) get(path string) *httptest.ResponseRecorder {
	a.t.Helper()
	return ask1(a.t.Context(), a, http.MethodGet, path)
}

// into reads an answer that is one.
func (a *archive) into(path string, v any) {
	a.t.Helper()
	w := a.get(path)
	if w.Code != http.StatusOK || w.Header().Get("Content-Type") != "application/json" {
		a.t.Fatalf("%s: %d %s %s", path, w.Code, w.Header(), w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), v); err != nil {
		a.t.Fatalf("%s: %v in %s", path, err, w.Body)
	}
}

func office(t *testing.T) *archive {
	t.Helper()
	return newArchive(
		t,
		asked(0, "ann", "talk/1", troubled),
		asked(time.Minute, "ann", "talk/1", func(e *ledger.Exchange) { e.Answers = []ledger.Answer{{Call: "call2"}} }),
		asked(2*time.Minute, "bob", "talk/1", func(e *ledger.Exchange) {
			e.Principal.Credential, e.Charges, e.Attempts[0].Key = ledger.BYOK, nil, ""
			e.Provider, e.Model, e.Turns[0].Model, e.Client = "anthropic", "=cmd|'x'!A1", "", "claude-code"
		}),
		asked(25*time.Hour, "", "\t@sum", func(e *ledger.Exchange) { e.Status, e.Turns, e.Charges = ledger.Cancelled, nil, nil }),
	)
}

// One interception, whole: each member.
func TestInterception(t *testing.T) {
	a := office(t)
	const want = `{
		"id":"req_kb019ab04edba0000000000000","started":"2026-11-23T08:59:00Z","first_event":"2026-11-23T08:59:01Z","ended":"2026-11-23T08:59:02Z",
		"status":"failed","http_status":502,"class":"bad_upstream","error":"cut <off>\nhere",
		"caller":"ann","metadata":{"team":"search"},"client":"codex","version":"1.2","session":"talk/1","signal":"session-id","thread":"req_kb019ab04edba0000000000000",
		"provider":"openai","route":"/v1/responses","method":"POST","stream":true,"model":"gpt-5-1","model_asked":"gpt-5","model_answered":"gpt-5-1",
		"credential":"pooled","key":"k1","hint":"sk-…1","attempt_count":2,"turn_count":1,"loop_turns":2,
		"usage":{"input":1000,"cache_read":30,"cache_write":40,"cache_write_long":5,"output":200,"reasoning":60},"usage_reported":true,
		"cost_usd":"0.001","cost_picos":1000000000,"unpriced_tokens":150,
		"prompt":{"text":"Where is\nthe \"bug\"?","size":500},
		"attempts":[
			{"turn":0,"key":"k0","hint":"sk-…0","sent":"2026-11-23T08:59:00Z","waited_seconds":0.0015,"duration_seconds":0.005,"status":429,"action":"next_key","reason":"rate_limited"},
			{"turn":0,"key":"k1","hint":"sk-…1","sent":"2026-11-23T08:59:00.001Z","waited_seconds":0,"duration_seconds":1,"status":200,"action":"relay"}],
		"turns":[{"message":"resp_ann","model":"gpt-5-1","stop":"completed","tier":"default","complete":true,
			"usage":{"input":1000,"cache_read":30,"cache_write":40,"cache_write_long":5,"output":200,"reasoning":60},"usage_reported":true,"searches":1,
			"cost_usd":"0.001","cost_picos":1000000000,"unpriced_tokens":150,"price_model":"gpt-5","price_version":"2026-10-27",
			"iterations":[
				{"kind":"message","usage":{"input":900,"cache_read":0,"cache_write":0,"cache_write_long":0,"output":150,"reasoning":0},"cost_usd":"0.001","cost_picos":1000000000,"unpriced_tokens":0},
				{"kind":"advisor","model":"gpt-5-pro","usage":{"input":100,"cache_read":0,"cache_write":0,"cache_write_long":0,"output":50,"reasoning":0},"cost_usd":"0.00","cost_picos":0,"unpriced_tokens":150}]}],
		"tool_calls":[
			{"turn":0,"id":"call1","kind":"injected","server":"docs","name":"find","arguments":"{\"a\":1}","arguments_size":7,"result_size":77,"outcome":"timeout","failed":true,"error":"too slow",
				"started":"2026-11-23T08:59:01Z","duration_seconds":0.25},
			{"turn":0,"id":"call2","kind":"client","name":"Bash","arguments_size":9,"failed":false},
			{"turn":0,"id":"call3","kind":"hosted","name":"web_search","arguments_size":0,"failed":true,"error":"too_many"}],
		"reasoning":[{"turn":0,"text":"hm","size":2}],
		"decisions":[{"at":"2026-11-23T08:59:00Z","what":"verdict","key":"k0","why":"rate_limited","action":"next_key","scope":"organization","until":"2026-11-23T09:00:00Z","for_seconds":0.005}]
	}`
	expected := strings.ReplaceAll(want, "req_kb019ab04edba0000000000000", a.list[0].ID)
	for _, path := range []string{a.list[0].ID, strings.ToUpper(a.list[0].ID), a.list[0].ID[:18]} {
		w := a.get("/interceptions/" + path)
		if diff := cmp.Diff(decoded(t, expected), decoded(t, w.Body.String())); w.Code != http.StatusOK || diff != "" {
			t.Errorf("%s: %d (-want +got):\n%s", path, w.Code, diff)
		}
	}
	var second struct{ Thread, Parent string }
	a.into("/interceptions/"+a.list[1].ID, &second)
	if second.Thread != a.list[0].ID || second.Parent != a.list[0].ID {
		t.Errorf("what answers a call is of thread %q, after %q: want %s for both", second.Thread, second.Parent, a.list[0].ID)
	}
}

// The lists by each filter, by numbers of what was asked.
func TestInterceptionsBy(t *testing.T) {
	a := office(t)
	tests := []struct {
		query string
		want  []int // of a.list, newest first
	}{
		{"", []int{3, 2, 1, 0}},
		{"caller=ann", []int{1, 0}},
		{"caller=-", []int{3}},
		{"caller=-&status=completed", nil},
		{"client=claude-code", []int{2}},
		{"session=talk/1", []int{2, 1, 0}},
		{"session=talk/1&caller=bob", []int{2}},
		{"thread=" + a.list[0].ID, []int{1, 0}},
		{"provider=anthropic", []int{2}},
		{"model=gpt-5", []int{3, 1, 0}},
		{"model=gpt-5-1", []int{1, 0}},
		{"key=k1", []int{3, 1, 0}},
		{"status=failed", []int{0}},
		{"status=cancelled&caller=ann", nil},
		{"credential=byok", []int{2}},
		{"from=2026-11-24", []int{3}},
		{"to=2026-11-24", []int{2, 1, 0}},
		{"from=2026-11-23T09:00:00Z&to=2026-11-23T09:01:00Z", []int{1}},
		{"from=2026-11-23T10:00:00+01:00&to=2026-12", []int{3, 2, 1}},
		{"from=1000d", []int{3, 2, 1, 0}},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			var got struct{ Interceptions []struct{ ID string } }
			a.into("/interceptions?"+tt.query, &got)
			var want, ids []string
			for _, i := range tt.want {
				want = append(want, a.list[i].ID)
			}
			for _, n := range got.Interceptions {
				ids = append(ids, n.ID)
			}
			if diff := cmp.Diff(want, ids); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// Pages join to the whole list, of interceptions and of sessions.
func TestRecordPages(t *testing.T) {
	var list []*ledger.Exchange
	for i := range 25 {
		list = append(list, asked(time.Duration(i)*time.Minute, "ann", fmt.Sprintf("s%02d", i)))
	}
	a := newArchive(t, list...)
	for _, path := range []string{"/interceptions", "/sessions"} {
		var got []string
		pages := 0
		for next := ""; pages == 0 || next != ""; pages++ {
			query := "?limit=10&caller=ann"
			if next != "" {
				query += "&cursor=" + url.QueryEscape(next)
			}
			var page struct {
				Interceptions, Sessions []struct{ ID, Name string }
				Next                    string
			}
			a.into(path+query, &page)
			for _, n := range append(page.Interceptions, page.Sessions...) {
				got = append(got, n.ID+n.Name)
			}
			next = page.Next
		}
		var want []string
		for _, e := range slices.Backward(list) {
			want = append(want, map[string]string{"/interceptions": e.ID, "/sessions": e.Session}[path])
		}
		if diff := cmp.Diff(want, got); diff != "" || pages != 3 {
			t.Errorf("%s: %d pages (-want +got):\n%s", path, pages, diff)
		}
	}
}

func TestSessions(t *testing.T) {
	a := office(t)
	const sum = `"unreported":%d,"usage":{"input":%d,"cache_read":%d,"cache_write":%d,"cache_write_long":%d,"output":%d,"reasoning":%d},"cost_usd":"%s","cost_picos":%d,"unpriced_tokens":%d`
	anns := fmt.Sprintf(sum, 0, 2000, 60, 80, 10, 400, 120, "0.00223", 2230000000, 150)
	bobs := fmt.Sprintf(sum, 0, 1000, 30, 40, 5, 200, 60, "0.00", 0, 0)
	none := fmt.Sprintf(sum, 1, 0, 0, 0, 0, 0, 0, "0.00", 0, 0)
	ann := `{"name":"talk/1","caller":"ann","client":"codex","started":"2026-11-23T08:59:00Z","last":"2026-11-23T09:00:00Z","requests":2,` + anns
	bob := `{"name":"talk/1","caller":"bob","client":"claude-code","started":"2026-11-23T09:01:00Z","last":"2026-11-23T09:01:00Z","requests":1,` + bobs
	nobody := `{"name":"\t@sum","caller":"","client":"codex","started":"2026-11-24T09:59:00Z","last":"2026-11-24T09:59:00Z","requests":1,` + none
	thread := `,"threads":[{"id":"%s","started":"2026-11-23T%sZ","last":"2026-11-23T%sZ","requests":%d,%s}]}`
	tests := []struct {
		path   string
		status int
		want   string
	}{
		{"/sessions", 200, `{"sessions":[` + nobody + `},` + bob + `},` + ann + `}]}`},
		{"/sessions?caller=ann", 200, `{"sessions":[` + ann + `}]}`},
		{"/sessions?caller=-", 200, `{"sessions":[` + nobody + `}]}`},
		{"/sessions?caller=carol", 200, `{"sessions":[]}`},
		{"/sessions/talk%2F1?caller=ann", 200, ann + fmt.Sprintf(thread, a.list[0].ID, "08:59:00", "09:00:00", 2, anns)},
		{"/sessions/talk%2F1?caller=bob", 200, bob + fmt.Sprintf(thread, a.list[2].ID, "09:01:00", "09:01:00", 1, bobs)},
		{"/sessions/%09@sum", 200, nobody + strings.ReplaceAll(fmt.Sprintf(thread, a.list[3].ID, "09:59:00", "09:59:00", 1, none), "2026-11-23", "2026-11-24")},
		{"/sessions/%09@sum?caller=", 200, nobody + strings.ReplaceAll(fmt.Sprintf(thread, a.list[3].ID, "09:59:00", "09:59:00", 1, none), "2026-11-23", "2026-11-24")},
		{"/sessions/%09@sum?caller=-", 200, nobody + strings.ReplaceAll(fmt.Sprintf(thread, a.list[3].ID, "09:59:00", "09:59:00", 1, none), "2026-11-23", "2026-11-24")},
		{"/sessions/talk%2F1", 409, `{"error":{"message":"several callers have a session \"talk/1\": name the caller, one of ann, bob","known":["ann","bob"]}}`},
		{"/sessions/talk", 404, `{"error":{"message":"no session \"talk\" is recorded: the list of sessions has those there are"}}`},
		{"/sessions/talk%2F1?caller=", 404, `{"error":{"message":"no session \"talk/1\" is recorded: the list of sessions has those there are"}}`},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			w := a.get(tt.path)
			if diff := cmp.Diff(decoded(t, tt.want), decoded(t, w.Body.String())); w.Code != tt.status || diff != "" {
				t.Errorf("status %d, want %d (-want +got):\n%s", w.Code, tt.status, diff)
			}
		})
	}
}

// A name that only one caller has needs no caller, and metadata that is none hides nothing else.
func TestSessionOfOne(t *testing.T) {
	a := newArchive(t, asked(0, "ann", "only", func(e *ledger.Exchange) { e.Principal.Metadata = "{" }))
	var session struct {
		Caller  string
		Threads []struct{ ID string }
	}
	a.into("/sessions/only", &session)
	if session.Caller != "ann" || len(session.Threads) != 1 || session.Threads[0].ID != a.list[0].ID {
		t.Errorf("%+v", session)
	}
	var one struct {
		Caller   string
		Metadata any
	}
	a.into("/interceptions/"+a.list[0].ID, &one)
	if one.Caller != "ann" || one.Metadata != nil {
		t.Errorf("%+v", one)
	}
}

func TestUsage(t *testing.T) {
	a := office(t)
	row := func(by string, requests, unreported, input, output, reasoning, read, written, long int, cost string, picos, unpriced, searches int) string {
		return fmt.Sprintf(`{%s"requests":%d,"unreported":%d,"usage":{"input":%d,"cache_read":%d,"cache_write":%d,"cache_write_long":%d,"output":%d,"reasoning":%d},"cost_usd":"%s","cost_picos":%d,"unpriced_tokens":%d,"searches":%d}`,
			by, requests, unreported, input, read, written, long, output, reasoning, cost, picos, unpriced, searches)
	}
	ann := func(by string) string {
		return row(by, 2, 0, 2000, 400, 120, 60, 80, 10, "0.00223", 2230000000, 150, 1)
	}
	bob := func(by string) string { return row(by, 1, 0, 1000, 200, 60, 30, 40, 5, "0.00", 0, 0, 0) }
	nobody := func(by string) string { return row(by, 1, 1, 0, 0, 0, 0, 0, 0, "0.00", 0, 0, 0) }
	all := row("", 4, 1, 3000, 600, 180, 90, 120, 15, "0.00223", 2230000000, 150, 1)
	tests := []struct{ query, want string }{
		{"", `{"by":[],"per":"all","rows":[` + all + `],"total":` + all + `}`},
		{
			"by=caller,credential", `{"by":["caller","credential"],"per":"all","rows":[` + ann(`"by":{"caller":"ann","credential":"pooled"},`) + `,` +
				nobody(`"by":{"caller":"","credential":"pooled"},`) + `,` + bob(`"by":{"caller":"bob","credential":"byok"},`) + `],"total":` + all + `}`,
		},
		{
			"by=session&per=day&to=2026-11-24", `{"by":["session"],"per":"day","to":"2026-11-24T00:00:00Z","rows":[` +
				row(`"at":"2026-11-23T00:00:00Z","by":{"session":"talk/1"},`, 3, 0, 3000, 600, 180, 90, 120, 15, "0.00223", 2230000000, 150, 1) + `],"total":` +
				row("", 3, 0, 3000, 600, 180, 90, 120, 15, "0.00223", 2230000000, 150, 1) + `}`,
		},
		{
			"per=month&caller=bob&format=json", `{"by":[],"per":"month","rows":[` + bob(`"at":"2026-11-01T00:00:00Z",`) + `],"total":` + bob("") + `}`,
		},
		{"caller=-", `{"by":[],"per":"all","rows":[` + nobody("") + `],"total":` + nobody("") + `}`},
		{"caller=-&by=credential,caller", `{"by":["credential","caller"],"per":"all","rows":[` + nobody(`"by":{"caller":"","credential":"pooled"},`) + `],"total":` + nobody("") + `}`},
		{"caller=-&by=credential&per=day", `{"by":["credential"],"per":"day","rows":[` + nobody(`"at":"2026-11-24T00:00:00Z","by":{"credential":"pooled"},`) + `],"total":` + nobody("") + `}`},
		{"caller=carol", `{"by":[],"per":"all","rows":[],"total":` + row("", 0, 0, 0, 0, 0, 0, 0, 0, "0.00", 0, 0, 0) + `}`},
	}
	for _, tt := range tests {
		t.Run(tt.query, func(t *testing.T) {
			w := a.get("/usage?" + tt.query)
			got := decoded(t, w.Body.String())
			if diff := cmp.Diff(decoded(t, tt.want), got); w.Code != http.StatusOK || diff != "" {
				t.Errorf("status %d (-want +got):\n%s", w.Code, diff)
			}
		})
	}
	w := a.get("/usage?format=csv&by=model&per=hour")
	const want = "at,model,requests,input_tokens,cache_read_tokens,cache_write_tokens,cache_write_long_tokens,output_tokens,reasoning_tokens,searches,cost_usd,cost_picos,unpriced_tokens,unreported\r\n" +
		"2026-11-23T08:00:00Z,gpt-5-1,1,1000,30,40,5,200,60,1,0.001,1000000000,150,0\r\n" +
		"2026-11-23T09:00:00Z,gpt-5-1,1,1000,30,40,5,200,60,0,0.00123,1230000000,0,0\r\n" +
		"2026-11-23T09:00:00Z,'=cmd|'x'!A1,1,1000,30,40,5,200,60,0,0.00,0,0,0\r\n" +
		"2026-11-24T09:00:00Z,gpt-5,1,0,0,0,0,0,0,0,0.00,0,0,1\r\n"
	if diff := cmp.Diff(want, w.Body.String()); diff != "" || w.Header().Get("Content-Type") != "text/csv; charset=utf-8; header=present" {
		t.Errorf("%s (-want +got):\n%s", w.Header(), diff)
	}
}

func TestForget(t *testing.T) {
	a := office(t)
	forget := func(name string, status int, want string) {
		t.Helper()
		w := ask1(t.Context(), a, http.MethodDelete, "/callers/"+name+"/records")
		if diff := cmp.Diff(decoded(t, want), decoded(t, w.Body.String())); w.Code != status || diff != "" {
			t.Errorf("%s: status %d, want %d (-want +got):\n%s", name, w.Code, status, diff)
		}
	}
	forget("carol", 404, `{"error":{"message":"nothing is recorded of a caller \"carol\": there is something of -, ann, bob","known":["-","ann","bob"]}}`)
	forget("ann", 200, `{"caller":"ann","interceptions":2,"sessions":1,"usage_rows":2}`)
	forget("ann", 404, `{"error":{"message":"nothing is recorded of a caller \"ann\": there is something of -, bob","known":["-","bob"]}}`)
	forget("-", 200, `{"caller":"","interceptions":1,"sessions":1,"usage_rows":1}`)
	forget("bob", 200, `{"caller":"bob","interceptions":1,"sessions":1,"usage_rows":1}`)
	forget("bob", 404, `{"error":{"message":"nothing is recorded of a caller \"bob\": nothing is recorded at all"}}`)
	if w := a.get("/interceptions"); decodedString(t, w) != `{"interceptions":[]}` {
		t.Errorf("left: %s", w.Body)
	}
}

func decodedString(t *testing.T, w *httptest.ResponseRecorder) string {
	t.Helper()
	b, err := json.Marshal(decoded(t, w.Body.String()))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func ask1From(h http.Handler, method, path, from string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://127.0.0.1:8788"+path, nil)
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}
