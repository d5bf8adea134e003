package admin

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// desk is the admin side over two pools: openai with the keys k0 to k2, of which the
// first two belong to one organization, and other with one key.
type desk struct {
	http.Handler
	openai, other *keypool.Pool
}

func newDesk(t *testing.T) *desk {
	t.Helper()
	pool := func(provider string, keys ...keypool.Key) *keypool.Pool {
		p, err := keypool.New(keypool.Options{
			Provider: provider, Family: verdict.OpenAI, Host: "h", Keys: keys, Metrics: keypool.NoMetrics(), Strategy: keypool.LeastBusy,
		})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	d := &desk{
		openai: pool("openai", keypool.Key{ID: "k0", Secret: "sk-secret-of-k0-0123456789"}, keypool.Key{ID: "k1", Secret: "sk-secret-of-k1-0123456789"},
			keypool.Key{ID: "k2", Secret: "sk-secret-of-k2-0123456789", Project: "proj"}),
		other: pool("other", keypool.Key{ID: "only", Secret: "sk-secret-of-only-012345"}),
	}
	d.Handler = New(Options{
		Gatherer: prometheus.NewRegistry(), Ready: func() error { return nil }, Reload: func() error { return nil },
		Pools: func() []*keypool.Pool { return []*keypool.Pool{d.openai, d.other} }, Log: slog.New(slog.DiscardHandler),
	})
	return d
}

func (d *desk) ask(method, path, body string) (int, string) {
	var r io.Reader
	if body != "" {
		r = strings.NewReader(body)
	}
	req := httptest.NewRequest(method, "http://127.0.0.1:8788"+path, r)
	req.RemoteAddr = "127.0.0.1:5"
	w := httptest.NewRecorder()
	d.ServeHTTP(w, req)
	return w.Code, w.Body.String()
}

// answer sends one call through the pool, which each key answers so.
func (d *desk) answer(t *testing.T, answers map[string]verdict.Answer) {
	t.Helper()
	err := d.openai.Do(t.Context(), keypool.Want{Model: "gpt-5", Endpoint: "/v1/x"}, func(_ context.Context, l *keypool.Lease) (verdict.Verdict, error) {
		a := answers[l.Key()]
		a.Now = time.Now()
		l.Observe(a.Header)
		v := verdict.Classify(verdict.OpenAI, a)
		if v.Action == verdict.Relay {
			l.Release(keypool.Usage{})
			return v, nil
		}
		return v, io.ErrUnexpectedEOF
	})
	if err != nil {
		t.Fatal(err)
	}
}

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestPools(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		for range 2 { // the first walk tells whom the keys belong to
			d.answer(t, map[string]verdict.Answer{
				"k0": {Status: 429, Header: header("openai-organization", "org-a", "retry-after", "90",
					"x-ratelimit-limit-requests", "500", "x-ratelimit-remaining-requests", "0", "x-ratelimit-reset-requests", "1m30s")},
				"k1": {Status: 200, Header: header("openai-organization", "org-b")},
			})
		}
		if _, err := d.openai.Revive("k1"); err != nil {
			t.Fatal(err)
		}
		if err := d.openai.Bench("k2", 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		if err := d.other.Drain("only"); err != nil {
			t.Fatal(err)
		}
		status, body := d.ask("GET", "/pools", "")
		const want = `{"pools":[
			{"provider":"openai","strategy":"least_busy","affinity":"auto","waiting":0,"pins":0,"keys":[
				{"id":"k0","state":"temporary","benched":false,"draining":false,"reason":"rate_limited","models":["gpt-5"],
					"until":"2000-01-01T00:01:30Z","next_try":"2000-01-01T00:01:30Z",
					"organization":{"name":"org-a","evidence":"openai-organization"},
					"headroom":[{"model":"gpt-5","limit":"requests","max":500,"remaining":0,"estimate":0,
						"full":"2000-01-01T00:01:30Z","reported":"2000-01-01T00:00:00Z"}],
					"in_flight":0,"served":0,"sessions":0},
				{"id":"k1","state":"valid","benched":false,"draining":false,
					"organization":{"name":"org-b","evidence":"openai-organization"},"in_flight":0,"served":2,"sessions":0},
				{"id":"k2","state":"temporary","benched":true,"draining":false,"reason":"benched",
					"until":"2000-01-01T00:10:00Z","next_try":"2000-01-01T00:10:00Z",
					"project":{"name":"proj","evidence":"configured"},"in_flight":0,"served":0,"sessions":0}]},
			{"provider":"other","strategy":"least_busy","affinity":"auto","waiting":0,"pins":0,"keys":[
				{"id":"only","state":"valid","benched":false,"draining":true,"in_flight":0,"served":0,"sessions":0}]}]}`
		if diff := cmp.Diff(decoded(t, want), decoded(t, body)); status != 200 || diff != "" {
			t.Errorf("status %d (-want +got):\n%s", status, diff)
		}
		if strings.Contains(body, "sk-s") || strings.Contains(body, "...") {
			t.Errorf("a secret or a hint is shown:\n%s", body)
		}
		one, body := d.ask("GET", "/pools/other", "")
		if diff := cmp.Diff(decoded(t, want).(map[string]any)["pools"].([]any)[1], decoded(t, body)); one != 200 || diff != "" {
			t.Errorf("one pool: status %d (-want +got):\n%s", one, diff)
		}
	})
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatalf("%v:\n%s", err, text)
	}
	return v
}

func TestOperatorsHand(t *testing.T) {
	tests := []struct {
		name, method, path, body string
		status                   int
		want                     string // a part of the answer
		state                    string // of k0 afterwards: benched, draining, temporary, permanent, valid
		until                    time.Duration
	}{
		{name: "bench", path: "/pools/openai/keys/k0/bench", status: 200, want: `"action": "bench"`, state: "benched permanent"},
		{name: "bench for a time", path: "/pools/openai/keys/k0/bench?for=10m", status: 200, want: `"until": "2000-01-01T00:10:00Z"`, state: "benched temporary", until: 10 * time.Minute},
		{name: "bench by JSON", path: "/pools/openai/keys/k0/bench", body: `{"for":"90s"}`, status: 200, state: "benched temporary", until: 90 * time.Second},
		{name: "drain", path: "/pools/openai/keys/k0/drain", status: 200, want: `"draining": true`, state: "draining valid"},
		{name: "revive", path: "/pools/openai/keys/k0/revive", status: 200, want: `"state": "valid"`, state: "valid"},
		{name: "unknown provider", path: "/pools/opnai/keys/k0/bench", status: 404, want: `there is no pool \"opnai\": the pools are openai, other`, state: "valid"},
		{name: "unknown key", path: "/pools/openai/keys/k7/bench", status: 404, want: `openai has no key \"k7\": its keys are k0, k1, k2`, state: "valid"},
		{name: "unknown action", path: "/pools/openai/keys/k0/kill", status: 404, want: `\"kill\" is nothing that can be done with a key: use revive, bench or drain`, state: "valid"},
		{name: "no time", path: "/pools/openai/keys/k0/bench?for=soon", status: 400, want: `\"soon\" is no time to bench a key for`, state: "valid"},
		{name: "a time that is past", path: "/pools/openai/keys/k0/bench?for=-1m", status: 400, want: "is no time", state: "valid"},
		{name: "no time at all", path: "/pools/openai/keys/k0/bench?for=0s", status: 400, want: "is no time", state: "valid"},
		{name: "drain for a time", path: "/pools/openai/keys/k0/drain?for=1m", status: 400, want: "bench only", state: "valid"},
		{name: "no JSON", path: "/pools/openai/keys/k0/bench", body: "for=10m", status: 400, want: `{\"for\":\"10m\"}`, state: "valid"},
		{name: "JSON of another kind", path: "/pools/openai/keys/k0/bench", body: `{"fro":"10m"}`, status: 400, want: `{\"for\":\"10m\"}`, state: "valid"},
		{name: "reading changes nothing", method: "GET", path: "/pools/openai/keys/k0/bench", status: 405, want: "the method is not for this path: use POST", state: "valid"},
		{name: "unknown pool", method: "GET", path: "/pools/x", status: 404, want: `"known": [`, state: "valid"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := newDesk(t)
				if tt.method == "" {
					tt.method = "POST"
				}
				status, body := d.ask(tt.method, tt.path, tt.body)
				if status != tt.status || !strings.Contains(body, tt.want) {
					t.Errorf("%d %s, want %d with %s", status, body, tt.status, tt.want)
				}
				k := d.openai.Status().Keys[0]
				state := string(k.State)
				if k.Benched {
					state = "benched " + state
				}
				if k.Draining {
					state = "draining " + state
				}
				if state != tt.state || tt.until > 0 && time.Until(k.Until) != tt.until {
					t.Errorf("the key is %s until %s", state, k.Until)
				}
			})
		})
	}
}

// A revival says which other keys come back with the key.
func TestReviveTellsWhoElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t)
		for _, org := range []string{"k0", "k1"} { // one organization
			if err := d.openai.Bench(map[string]string{"k0": "k1", "k1": "k0"}[org], 0); err != nil {
				t.Fatal(err)
			}
			d.answer(t, map[string]verdict.Answer{org: {Status: 200, Header: header("openai-organization", "org-a")}})
			if _, err := d.openai.Revive(map[string]string{"k0": "k1", "k1": "k0"}[org]); err != nil {
				t.Fatal(err)
			}
		}
		d.answer(t, map[string]verdict.Answer{
			"k0": {Status: 429, Body: []byte(`{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"You exceeded your current quota"}}`)},
			"k2": {Status: 200},
		})
		_, body := d.ask("POST", "/pools/openai/keys/k1/revive", "")
		var got struct{ Also []string }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"k0"}, got.Also); diff != "" {
			t.Errorf("also (-want +got):\n%s\n%s", diff, body)
		}
	})
}

// What is refused at the pools is refused in their form.
func TestPoolsRefuseInJSON(t *testing.T) {
	d := newDesk(t)
	req := httptest.NewRequest(http.MethodGet, "http://evil.example/pools", nil)
	w := httptest.NewRecorder()
	d.ServeHTTP(w, req)
	if w.Code != http.StatusForbidden || w.Header().Get("Content-Type") != "application/json" || !json.Valid(w.Body.Bytes()) {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
