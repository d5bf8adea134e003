package app_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// The operator's hand through the whole gateway: what clients see of it, and that a
// reload does not undo it.
func TestOperatorTakesKeysOutOfUse(t *testing.T) {
	r := simulated(t)
	pools := "http://" + r.Address("admin") + "/pools"
	hand := func(path string) {
		t.Helper()
		if code, body := r.do(t, http.MethodPost, pools+"/openai/keys/"+path, ""); code != http.StatusOK {
			t.Fatalf("%s: %d %s", path, code, body)
		}
	}
	ask := func() (*http.Response, string) {
		t.Helper()
		req := newRequest(t, http.MethodPost, "http://"+r.Address("listen")+"/v1/chat/completions", `{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}`)
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := loadRead(resp)
		if err != nil {
			t.Fatal(err)
		}
		return resp, string(body)
	}
	served := func() (keys []string) {
		t.Helper()
		_, body := r.do(t, http.MethodGet, pools+"/openai", "")
		for _, k := range gjson.Get(body, "keys").Array() {
			if k.Get("served").Int() > 0 {
				keys = append(keys, k.Get("id").Str)
			}
		}
		return keys
	}
	hand("k0/bench")
	hand("k1/drain")
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if resp, body := ask(); resp.StatusCode != http.StatusOK || strings.Join(served(), " ") != "k2" {
		t.Errorf("%d %s, served by %v", resp.StatusCode, body, served())
	}
	hand("k2/bench?for=90s")
	const out = "All keys of the provider openai that could serve this request are taken out of use by the operator."
	resp, body := ask()
	if after := resp.Header.Get("Retry-After"); resp.StatusCode != http.StatusTooManyRequests || after != "90" || resp.Header.Get("X-Should-Retry") != "false" ||
		gjson.Get(body, "error.message").Str != out+" Retry after 90 s." {
		t.Errorf("with one that comes back: %d, Retry-After %q, %s", resp.StatusCode, after, body)
	}
	hand("k2/bench")
	const want = out + " Contact your administrator."
	resp, body = ask()
	if got := gjson.Get(body, "error.message").Str; resp.StatusCode != http.StatusBadGateway || got != want ||
		resp.Header.Get("X-Should-Retry") != "false" || resp.Header.Get("Retry-After") != "" {
		t.Errorf("with none that comes back: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	hand("k1/revive")
	if resp, body := ask(); resp.StatusCode != http.StatusOK || strings.Join(served(), " ") != "k1 k2" {
		t.Errorf("after the revival: %d %s, served by %v", resp.StatusCode, body, served())
	}
}

// The admin_token of the configuration guards the operator's side, and a reload can
// change it.
func TestAdminToken(t *testing.T) {
	k := t.TempDir() + "/keybridge.yaml"
	write := func(token string) {
		loadConfig(t, k, "data_dir: "+t.TempDir()+"\n"+token+"providers: [{name: openai, kind: openai, keys: ['literal:sk-0123456789']}]\n")
	}
	write("")
	r := start(t, k, nil)
	ask := func(token string) int {
		t.Helper()
		req := newRequest(t, http.MethodGet, "http://"+r.Address("admin")+"/pools", "")
		req.Header.Set("Authorization", "Bearer "+token)
		resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		return resp.StatusCode
	}
	if got := ask("x"); got != http.StatusOK {
		t.Errorf("without a token configured: %d", got)
	}
	write("admin_token: literal:first\n")
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if ask("x") != http.StatusUnauthorized || ask("first") != http.StatusOK {
		t.Errorf("with a token: %d and %d", ask("x"), ask("first"))
	}
	write("admin_token: literal:second\n")
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if ask("first") != http.StatusUnauthorized || ask("second") != http.StatusOK {
		t.Errorf("with another: %d and %d", ask("first"), ask("second"))
	}
}
