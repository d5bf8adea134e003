package gateway_test

import (
	"net/http"
	"strings"
	"testing"

	"keybridge/internal/ledger"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// decided puts an exchange's decisions into words.
func decided(e *ledger.Exchange) string {
	var all []string
	for _, d := range e.Decisions {
		all = append(all, strings.Join(strings.Fields(strings.Join([]string{d.What, d.Key, d.Action, d.Why}, " ")), " "))
	}
	return strings.Join(all, "; ")
}

func TestDecisionsAndAttemptsHeader(t *testing.T) {
	limited := func(w http.ResponseWriter) {
		w.Header().Set("Retry-After", "30")
		jsonAnswer(w, 429, `{"error":{"type":"rate_limit_exceeded","message":"slow down"}}`)
	}
	own := []string{"X-Keybridge-Token", "any", "Authorization", "Bearer sk-own-0123456789"}
	for _, tt := range []struct {
		name      string
		tell      bool
		header    []string
		upstream  func(w http.ResponseWriter, key string)
		status    int
		attempts  string
		eventful  bool
		decisions string
	}{
		{
			"served at once", true, nil, func(w http.ResponseWriter, _ string) { jsonAnswer(w, 200, completion) },
			200, "1", false, "leased k0; verdict k0 relay",
		},
		{
			"failed over", true, nil, func(w http.ResponseWriter, key string) {
				if key == "k0" {
					limited(w)
					return
				}
				jsonAnswer(w, 200, completion)
			},
			200, "2", true, "leased k0; verdict k0 next_key rate_limited; leased k1; verdict k1 relay",
		},
		{
			"the upstream's own error", true, nil, func(w http.ResponseWriter, _ string) { jsonAnswer(w, 400, `{"error":{"message":"bad"}}`) },
			400, "1", true, "leased k0; verdict k0 stop",
		},
		{
			"no key left", true, nil, func(w http.ResponseWriter, _ string) { limited(w) },
			429, "2", true, "leased k0; verdict k0 next_key rate_limited; leased k1; verdict k1 next_key rate_limited; exhausted rate_limited",
		},
		{
			"a caller's own key", true, own, func(w http.ResponseWriter, _ string) { limited(w) },
			429, "1", false, "",
		},
		{
			"not told unless asked for", false, nil, func(w http.ResponseWriter, _ string) { jsonAnswer(w, 200, completion) },
			200, "", false, "leased k0; verdict k0 relay",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, key string, _ int) { tt.upstream(w, key) }})
			r.snapshot.AttemptsHeader = tt.tell
			got := r.post("/v1/chat/completions", chatBlocking, tt.header...)
			e := r.ended()
			if got.Status != tt.status || got.Header.Get("X-Keybridge-Attempts") != tt.attempts {
				t.Errorf("status %d, X-Keybridge-Attempts %q, want %d and %q", got.Status, got.Header.Get("X-Keybridge-Attempts"), tt.status, tt.attempts)
			}
			if id := got.Header.Get("X-Keybridge-Id"); tt.attempts == "" && id != "" || tt.attempts != "" && id != e.ID {
				t.Errorf("X-Keybridge-Id %q, the exchange is %s", id, e.ID)
			}
			diff(t, "decisions", tt.decisions, decided(e))
			if e.Eventful != tt.eventful {
				t.Errorf("eventful: %t", e.Eventful)
			}
		})
	}
}

// A call that finds no key left takes those of the pool that a reload has put in
// the place of its own. Their secrets are masked as its own are.
func TestKeyThatAReloadHasBroughtIsMasked(t *testing.T) {
	var r *rig
	r = newRig(t, setup{keys: 1, upstream: func(w http.ResponseWriter, _ *http.Request, name string, n int) {
		if n > 0 {
			jsonAnswer(w, 400, `{"error":{"message":"your key `+key(7)+`, before it `+key(0)+`"}}`)
			return
		}
		next, err := keypool.New(keypool.Options{
			Provider: "openai", Family: verdict.OpenAI, Host: "upstream.test", Metrics: keypool.NoMetrics(),
			Keys: []keypool.Key{{ID: "k0", Secret: key(0)}, {ID: "k7", Secret: key(7)}},
		})
		if err != nil {
			t.Error(err)
			return
		}
		next.Adopt(r.snapshot.Targets[0].Pool)
		jsonAnswer(w, 429, `{"error":{"type":"rate_limit_exceeded","message":"slow down"}}`)
	}})
	got := r.post("/v1/chat/completions", chatBlocking)
	r.ended()
	diff(t, "asked", []string{"k0", "k7"}, r.asked())
	if got.Status != 400 || strings.Contains(got.Body, key(7)) || strings.Contains(got.Body, key(0)) {
		t.Errorf("the client was shown %d %s", got.Status, got.Body)
	}
}
