package admin

import (
	"encoding/csv"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What is exported as JSON is what is shown, a line each; as CSV a row each.
func TestExport(t *testing.T) {
	a := office(t)
	w := a.get("/export?session=talk/1")
	lines := strings.Split(strings.TrimSuffix(w.Body.String(), "\n"), "\n")
	if len(lines) != 3 || w.Header().Get("Content-Type") != "application/jsonl" || w.Header().Get("X-Total-Count") != "3" {
		t.Fatalf("%d lines, %s", len(lines), w.Header())
	}
	for i, line := range lines {
		var whole any
		a.into("/interceptions/"+a.list[i].ID, &whole)
		if diff := cmp.Diff(whole, decoded(t, line)); diff != "" {
			t.Errorf("line %d (-shown +exported):\n%s", i, diff)
		}
	}

	w = a.get("/export?format=csv")
	body := w.Body.String()
	rows, err := csv.NewReader(strings.NewReader(body)).ReadAll()
	if err != nil || strings.Count(body, "\r\n") != 5 || strings.Count(body, "\n") != 5 {
		t.Fatalf("not RFC 4180 with a row a line: %v\n%s", err, body)
	}
	want := map[string]string{
		"id": a.list[0].ID, "started": "2026-11-23T08:59:00Z", "first_event": "2026-11-23T08:59:01Z", "ended": "2026-11-23T08:59:02Z", "status": "failed",
		"http_status": "502", "class": "bad_upstream", "error": "cut <off> here", "caller": "ann", "metadata": `{"team":"search"}`, "client": "codex", "version": "1.2",
		"session": "talk/1", "signal": "session-id", "thread": a.list[0].ID, "parent": "", "provider": "openai", "route": "/v1/responses", "method": "POST", "stream": "true",
		"model": "gpt-5-1", "model_asked": "gpt-5", "model_answered": "gpt-5-1", "credential": "pooled", "key": "k1", "hint": "sk-…1", "attempt_count": "2", "turn_count": "1",
		"loop_turns": "2", "tool_calls": "3", "input_tokens": "1000", "cache_read_tokens": "30", "cache_write_tokens": "40", "cache_write_long_tokens": "5",
		"output_tokens": "200", "reasoning_tokens": "60", "usage_reported": "true", "cost_usd": "0.001", "cost_picos": "1000000000", "unpriced_tokens": "150",
	}
	got := map[string]string{}
	for i, name := range rows[0] {
		got[name] = rows[1][i]
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("first row (-want +got):\n%s", diff)
	}
	session := slices.Index(rows[0], "session")
	if got := []string{rows[2][session], rows[4][session], rows[3][slices.Index(rows[0], "model")]}; !slices.Equal(got, []string{"talk/1", "' @sum", "'=cmd|'x'!A1"}) {
		t.Errorf("sessions and a formula: %q", got)
	}

	for _, path := range []string{"/export?format=csv&caller=carol", "/export?caller=carol"} {
		rows := strings.Count(a.get(path).Body.String(), "\n")
		if want := strings.Count(path, "csv"); rows != want {
			t.Errorf("%s: %d lines, want %d", path, rows, want)
		}
	}
	nobodys := a.get("/export?caller=-")
	if body := nobodys.Body.String(); strings.Count(body, "\n") != 1 || !strings.Contains(body, a.list[3].ID) || nobodys.Header().Get("X-Total-Count") != "1" {
		t.Errorf("of callers without a name: %s\n%s", nobodys.Header(), body)
	}
	head := ask1(t.Context(), a, http.MethodHead, "/export")
	if head.Code != http.StatusOK || head.Body.Len() > 0 || head.Header().Get("X-Total-Count") != "4" {
		t.Errorf("HEAD: %d %s %q", head.Code, head.Header(), head.Body)
	}
}

// breaking is a reader who goes away after so many bytes.
type breaking struct {
	*httptest.ResponseRecorder
	left int
}

func (b *breaking) Write(p []byte) (int, error) {
	if b.left -= len(p); b.left < 0 {
		return 0, errors.New("gone")
	}
	return b.ResponseRecorder.Write(p)
}

// An export that cannot go on does not end as if it were whole.
func TestExportBreaksOff(t *testing.T) {
	a := office(t)
	for _, left := range []int{0, 100} {
		broken := func() (err any) {
			defer func() { err = recover() }()
			r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8788/export", nil)
			r.RemoteAddr = "127.0.0.1:5"
			a.ServeHTTP(&breaking{httptest.NewRecorder(), left}, r)
			return nil
		}()
		if broken != http.ErrAbortHandler { //nolint:errorlint // what was panicked with
			t.Errorf("after %d bytes: ends with %v", left, broken)
		}
	}
}
