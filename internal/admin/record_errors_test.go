package admin

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/store"
)

// What cannot be asked, and what to ask instead.
func TestRecordRefuses(t *testing.T) {
	a := office(t)
	const filters = "from, to, caller, client, session, thread, provider, model, key, status, credential"
	tests := []struct {
		path   string
		status int
		says   string
	}{
		{"/interceptions?colour=red", 400, `"colour" is nothing that can be asked for here: use limit, cursor, ` + filters},
		{"/sessions?format=csv", 400, `"format" is nothing that can be asked for here: use limit, cursor, ` + filters},
		{"/usage?limit=1", 400, `"limit" is nothing that can be asked for here: use by, per, format, ` + filters},
		{"/export?by=caller", 400, `"by" is nothing that can be asked for here: use format, ` + filters},
		{"/sessions/x?model=m", 400, `"model" is nothing that can be asked for here: use caller`},
		{"/interceptions/" + a.list[0].ID + "?caller=ann", 400, `"caller" is nothing that can be asked for here`},
		{"/interceptions?caller=a&caller=b", 400, "caller: stands there 2 times: once, please"},
		{"/interceptions?caller=", 400, "caller: is empty: - stands for callers without a name"},
		{"/interceptions?caller=%zz", 400, `the query is not well formed: invalid URL escape "%zz"`},
		{"/interceptions?limit=0", 400, `limit: "0" is no number from 1 to 1000: for more, go on with a cursor, or export them`},
		{"/interceptions?limit=1001", 400, `limit: "1001" is no number from 1 to 1000: for more, go on with a cursor, or export them`},
		{"/interceptions?limit=many", 400, `limit: "many" is no number from 1 to 1000: for more, go on with a cursor, or export them`},
		{"/interceptions?cursor=%21", 400, `cursor: is none: take the one that the page before ended with, and the same filters`},
		{"/interceptions?cursor=xxx", 400, `cursor: is none: take the one that the page before ended with, and the same filters`},
		{"/sessions?cursor=a.b", 400, `cursor: is none: take the one that the page before ended with, and the same filters`},
		{"/interceptions?status=bad", 400, `status: "bad" is none: use open, completed, failed, cancelled, lost`},
		{"/interceptions?credential=mine", 400, `credential: "mine" is none: use pooled, byok`},
		{"/interceptions?from=now", 400, `from: "now" is no time: write 2026-11-23, 2026-11, 2026-11-23T14:30:00Z, or how long ago it is, such as 24h or 30d`},
		{"/interceptions?to=2026-13-01", 400, `to: "2026-13-01" is no time: write 2026-11-23, 2026-11, 2026-11-23T14:30:00Z, or how long ago it is, such as 24h or 30d`},
		{"/interceptions?from=2026-11-23&to=2026-11-23", 400, "from (2026-11-23T00:00:00Z) is not before to (2026-11-23T00:00:00Z): what begins at to or later is not chosen"},
		{"/usage?by=colour", 400, `by: "colour" is nothing that usage is told apart by: use caller, client, provider, model, key, credential, status, session, thread, separated by commas`},
		{"/usage?by=key,%20key", 400, "by: key stands there twice"},
		{"/usage?per=week", 400, `per: "week" is none: use hour, day, month, all`},
		{"/usage?format=xml", 400, `format: "xml" is none: use json, csv`},
		{"/export?format=json", 400, `format: "json" is none: use jsonl, csv`},
		{"/interceptions/req_kbffff", 404, `no interception is recorded whose id begins with "req_kbffff": it is the id in the gateway's log, in X-Keybridge-Id with attempts_header, ` +
			"and X-Request-Id in what the gateway itself refuses (answers of providers have the provider's); what has just ended is written within moments, what is older than record.keep is deleted, " +
			"and some is not recorded: what is refused for its token or its path, and what no dialect reads (lists of models, files, batches, token counts)"},
		{"/interceptions/" + a.list[0].ID[:8], 409, `several interceptions begin with "req_kb01": write more of the id, as in ` + a.list[0].ID + ", " + a.list[1].ID},
		{"/interceptions/req_kb", 409, `several interceptions begin with "req_kb": write more of the id, as in ` + a.list[3].ID + ", " + a.list[2].ID},
		{"/interceptions/REQ", 409, `several interceptions begin with "REQ": write more of the id, as in ` + a.list[3].ID},
		{"/interceptions/chatcmpl-1", 404, `no interception is recorded whose id begins with "chatcmpl-1": `},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			w := a.get(tt.path)
			got, _ := decoded(t, w.Body.String()).(map[string]any)["error"].(map[string]any)["message"].(string)
			if w.Code != tt.status || got != tt.says && (tt.status == 400 || !strings.HasPrefix(got, tt.says)) {
				t.Errorf("%d %s\nwant %d %s", w.Code, got, tt.status, tt.says)
			}
		})
	}
}

// Without a store, and with one that cannot be read, each question is told why.
func TestRecordIsNotThere(t *testing.T) {
	opening := recordSide(func() (*store.Store, error) { return nil, errors.New("/data/keybridge.db: the disk is full") })
	closed := newArchive(t)
	if err := closed.store.Close(); err != nil {
		t.Fatal(err)
	}
	slow, slowly := http.NewServeMux(), office(t).store
	reader{func() (*store.Store, error) { return slowly, nil }, slog.New(slog.DiscardHandler), 0}.mount(slow)
	for _, path := range []string{"/interceptions", "/interceptions/req_kb019", "/sessions", "/sessions/x", "/usage", "/export", "DELETE /callers/ann/records"} {
		method := http.MethodGet
		if rest, ok := strings.CutPrefix(path, "DELETE "); ok {
			method, path = http.MethodDelete, rest
		}
		for name, tt := range map[string]struct {
			http.Handler
			status int
			says   string
		}{
			"none":   {recordSide(nil), 404, "nothing is recorded: this gateway has no store. Set store in its configuration (sqlite:PATH or postgres://…), or data_dir"},
			"opened": {opening, 503, "the record cannot be read now: /data/keybridge.db: the disk is full"},
			"closed": {closed, 503, "keybridge.db: "},
			"slow":   {slow, 503, "the record was not read within 0s: ask for a shorter time, or for less, and look at the load of the store"},
		} {
			if name == "slow" && (method == http.MethodDelete || path == "/export") {
				continue // they take as long as they take
			}
			w := ask1(t.Context(), tt, method, path)
			if got := w.Body.String(); w.Code != tt.status || !strings.Contains(got, tt.says) || w.Header().Get("Content-Type") != "application/json" {
				t.Errorf("%s %s: %d %s\nwant %d %s", name, path, w.Code, got, tt.status, tt.says)
			}
		}
	}
	if w := ask1(t.Context(), slow, http.MethodGet, "/export"); w.Code != http.StatusOK || w.Header().Get("X-Total-Count") != "" || strings.Count(w.Body.String(), "\n") != 4 {
		t.Errorf("what takes too long to count: %d %s", w.Code, w.Header())
	}
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	if w := ask1(gone, closed, http.MethodGet, "/usage"); w.Body.Len() > 0 {
		t.Errorf("who has gone is told %s", w.Body)
	}
}

// The record tells what callers did: it is guarded like the pools, and refuses in its form.
func TestRecordIsGuarded(t *testing.T) {
	a := office(t)
	for _, path := range []string{"/interceptions", "/interceptions/x", "/sessions/x", "/usage", "/export", "/callers/ann/records"} {
		for _, method := range []string{http.MethodGet, http.MethodDelete} {
			r := ask1From(a, method, path, "192.0.2.1:5")
			if r.Code != http.StatusForbidden || !strings.Contains(r.Body.String(), `"message": "Without an admin_token`) {
				t.Errorf("%s %s: %d %s", method, path, r.Code, r.Body)
			}
		}
	}
	r := httptest.NewRequest(http.MethodDelete, "http://127.0.0.1:8788/callers/ann/records", nil)
	r.RemoteAddr = "127.0.0.1:5"
	r.Header.Set("Sec-Fetch-Site", "cross-site")
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if w.Code != http.StatusForbidden || a.get("/interceptions/"+a.list[0].ID).Code != http.StatusOK {
		t.Errorf("another site's page may delete: %d %s", w.Code, w.Body)
	}
}

func TestMoment(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now() // 2000-01-01
		for text, want := range map[string]string{
			"1999-12-31": "1999-12-31T00:00:00Z", "1999-11": "1999-11-01T00:00:00Z", "1999-12-31T12:00:00.5Z": "1999-12-31T12:00:00.5Z",
			"1999-12-31T12:00:00+02:00": "1999-12-31T10:00:00Z", "1999-12-31T12:00:00 02:00": "1999-12-31T10:00:00Z",
			"90m": "1999-12-31T22:30:00Z", "24h": "1999-12-31T00:00:00Z", "30d": "1999-12-02T00:00:00Z", "1d12h": "1999-12-30T12:00:00Z", "0": "2000-01-01T00:00:00Z",
			"": "", "d": "", "-1d": "", "-1h": "", "1d-1h": "", "100001d": "", "1": "", "1d1": "", "1w": "", "yesterday": "", "1999": "", "1999-12-31 ": "",
		} {
			got := ""
			if at, ok := moment(text, now); ok {
				got = at.Format(time.RFC3339Nano)
			}
			if got != want {
				t.Errorf("%q: %q, want %q", text, got, want)
			}
		}
	})
}

// No spreadsheet runs a cell, and none breaks a line.
func TestCell(t *testing.T) {
	for text, want := range map[string]string{
		"": "", "plain": "plain", "a=b": "a=b", "1+1": "1+1", "=1+1": "'=1+1", "+1": "'+1", "-1": "'-1", "@SUM(A1)": "'@SUM(A1)",
		" =1": "' =1", "\t=1": "' =1", "\r\n=1": "'  =1", "＝1": "'＝1", "\ufeff=1": "'\ufeff=1", "\u200b-1": "'\u200b-1", "a\nb\x00c\u2028d": "a b c d", "\"=1": "\"=1", "  ": "  ",
	} {
		if got := cell(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}
