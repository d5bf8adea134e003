package app_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"keybridge/internal/metrics/metricstest"
)

// TestReloadKeepsTheHealthOfTheKeys has a key rejected, reloads, and wants it to be
// out still: nobody asks it again.
func TestReloadKeepsTheHealthOfTheKeys(t *testing.T) {
	r := simulated(t)
	simulator := "http://" + r.Address("admin") + "/simulator"
	if code, body := r.do(t, http.MethodPost, simulator+"/faults", `{"provider":"openai","key":"k0","fault":"revoked"}`); code != http.StatusOK {
		t.Fatalf("revoking a key: %d %s", code, body)
	}
	asked := func() int {
		t.Helper()
		r.do(t, http.MethodDelete, simulator+"/log", "")
		code, body := r.do(t, http.MethodPost, "http://"+r.Address("listen")+"/v1/chat/completions", `{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}`)
		if code != http.StatusOK {
			t.Fatalf("%d %s", code, body)
		}
		_, body = r.do(t, http.MethodGet, simulator+"/log", "")
		var calls []struct{}
		if err := json.Unmarshal([]byte(body), &calls); err != nil {
			t.Fatal(err)
		}
		return len(calls)
	}
	if n := asked(); n != 2 {
		t.Errorf("%d keys were asked with the first one revoked, want 2", n)
	}
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	metricstest.Compare(t, r.Gatherer(), `
# TYPE keybridge_key_pool_state gauge
keybridge_key_pool_state{provider="anthropic",state="permanent"} 0
keybridge_key_pool_state{provider="anthropic",state="temporary"} 0
keybridge_key_pool_state{provider="anthropic",state="valid"} 3
keybridge_key_pool_state{provider="openai",state="permanent"} 1
keybridge_key_pool_state{provider="openai",state="temporary"} 0
keybridge_key_pool_state{provider="openai",state="valid"} 2
`, "keybridge_key_pool_state")
	if n := asked(); n != 1 {
		t.Errorf("%d keys were asked after the reload, want the good one only", n)
	}
}
