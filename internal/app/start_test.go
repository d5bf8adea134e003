package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"

	"keybridge/internal/app"
	"keybridge/internal/metrics/metricstest"
)

// running is an app on loopback ports of its own.
type running struct {
	*app.App
	out, log *buffer
}

// buffer is a bytes.Buffer that an app writes while a test reads.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func start(t testing.TB, path string, env map[string]string) *running {
	t.Helper()
	return run(t, app.Options{
		ConfigPath: path, Env: func(name string) (string, bool) { v, ok := env[name]; return v, ok },
	})
}

// simulated starts the gateway as without any key, on ports of the system's choice.
func simulated(t *testing.T) *running {
	t.Helper()
	return run(t, app.Options{Listen: anyPort, Env: noEnv, Command: "bin/keybridge"})
}

func anyPort(network, _ string) (net.Listener, error) { return net.Listen(network, "127.0.0.1:0") }

func run(t testing.TB, o app.Options) *running {
	t.Helper()
	r := &running{out: &buffer{}, log: &buffer{}}
	o.Stdout, o.Stderr, o.Version = r.out, r.log, "test"
	r.App = launch(t, o)
	return r
}

// launch starts an app; it is stopped with the test unless it has been.
func launch(t testing.TB, o app.Options) *app.App {
	t.Helper()
	a, err := app.New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Stop(context.WithoutCancel(t.Context())) })
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	return a
}

// noEnv is an environment without any variable.
func noEnv(string) (string, bool) { return "", false }

// write puts a configuration with ports of the system's choice into a file.
func write(t testing.TB, path, providers string) string {
	t.Helper()
	if path == "" {
		path = filepath.Join(t.TempDir(), "keybridge.yaml")
	}
	if err := os.WriteFile(path, []byte("listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n"+providers), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func (r *running) do(t *testing.T, method, url, body string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	tr := &http.Transport{DisableKeepAlives: true}
	resp, err := tr.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(data)
}

// TestFirstMinute does what a newcomer does: start without anything, paste what
// was printed, break a key as printed, and paste again.
func TestFirstMinute(t *testing.T) {
	// The default ports may be taken on the machine that tests.
	path := write(t, "", "providers:\n  - {name: own, kind: openai, keys: [env:K]}\n")
	if r := start(t, path, map[string]string{"K": "sk-some-key-of-our-own"}); strings.Contains(r.out.String(), "simulator") {
		t.Errorf("a configured gateway speaks of the simulator:\n%s", r.out)
	}

	r := simulated(t)
	for _, line := range []string{
		"the built-in simulator plays openai and anthropic, 3 keys each",
		"OPENAI_BASE_URL=http://" + r.Address("listen") + "/v1",
		"ANTHROPIC_BASE_URL=http://" + r.Address("listen") + " ",
		"codex -c openai_base_url=http://" + r.Address("listen") + "/v1",
		"http://" + r.Address("admin") + "/metrics",
		"Keys     bin/keybridge pool --admin " + r.Address("admin") + " ",
		"\n         bin/keybridge usage --admin " + r.Address("admin") + " ",
	} {
		if !strings.Contains(r.out.String(), line) {
			t.Errorf("the greeting lacks %q:\n%s", line, r.out)
		}
	}
	ask := func() {
		t.Helper()
		printed := regexp.MustCompile(`curl -s (http\S+/v1/chat/completions)[^']*(?:'[^']*'[^']*?)*?-d '([^']+)'`).FindStringSubmatch(r.out.String())
		if printed == nil {
			t.Fatalf("no curl in the greeting:\n%s", r.out)
		}
		code, body := r.do(t, "POST", printed[1], printed[2])
		var answer struct {
			Choices []struct{ Message struct{ Content string } }
		}
		if err := json.Unmarshal([]byte(body), &answer); err != nil || code != 200 || len(answer.Choices) != 1 || answer.Choices[0].Message.Content == "" {
			t.Fatalf("the printed curl answers %d %s", code, body)
		}
	}
	ask()
	broken := regexp.MustCompile(`curl -s -X POST (http\S+/simulator/faults) -d '([^']+)'`).FindStringSubmatch(r.out.String())
	if broken == nil {
		t.Fatalf("nothing to break in the greeting:\n%s", r.out)
	}
	if code, body := r.do(t, "POST", broken[1], broken[2]); code != 200 {
		t.Fatalf("breaking a key: %d %s", code, body)
	}
	ask()
	metricstest.Compare(t, r.Gatherer(), `
# HELP keybridge_key_pool_state Keys now in each state.
# TYPE keybridge_key_pool_state gauge
keybridge_key_pool_state{provider="anthropic",state="permanent"} 0
keybridge_key_pool_state{provider="anthropic",state="temporary"} 0
keybridge_key_pool_state{provider="anthropic",state="valid"} 3
keybridge_key_pool_state{provider="openai",state="permanent"} 1
keybridge_key_pool_state{provider="openai",state="temporary"} 0
keybridge_key_pool_state{provider="openai",state="valid"} 2
`, "keybridge_key_pool_state")
}

// TestReload changes the file under a running gateway.
func TestReload(t *testing.T) {
	env := map[string]string{"A": "sk-key-number-a-000000", "B": "sk-key-number-b-000000"}
	path := write(t, "", "providers:\n  - {name: one, kind: openai, keys: [env:A]}\n")
	r := start(t, path, env)
	reload := "http://" + r.Address("admin") + "/-/reload"

	write(t, path, "providers:\n  - {name: one, kind: openai, keys: [env:A, env:MISSING]}\n  - {name: one, kind: openai}\n")
	code, body := r.do(t, "POST", reload, "")
	if code != 500 || !strings.Contains(body, `environment variable "MISSING" is not set`) || !strings.Contains(body, "keybridge.yaml:5") {
		t.Errorf("a bad file: %d %s", code, body)
	}
	if got := len(r.KeyPools()); got != 1 {
		t.Errorf("a bad file left %d pools", got)
	}
	metricstest.Compare(t, r.Gatherer(), `
# HELP keybridge_config_last_reload_successful Whether the last reading of the configuration succeeded.
# TYPE keybridge_config_last_reload_successful gauge
keybridge_config_last_reload_successful 0
`, "keybridge_config_last_reload_successful")

	write(t, path, "log: {level: debug}\nproviders:\n  - {name: one, kind: openai, keys: [env:A, env:B]}\n  - {name: two, kind: anthropic, enabled: false, keys: [env:B]}\n")
	if code, body := r.do(t, "POST", reload, ""); code != 200 {
		t.Errorf("a good file: %d %s", code, body)
	}
	metricstest.Compare(t, r.Gatherer(), `
# HELP keybridge_config_last_reload_successful Whether the last reading of the configuration succeeded.
# TYPE keybridge_config_last_reload_successful gauge
keybridge_config_last_reload_successful 1
# HELP keybridge_key_pool_state Keys now in each state.
# TYPE keybridge_key_pool_state gauge
keybridge_key_pool_state{provider="one",state="permanent"} 0
keybridge_key_pool_state{provider="one",state="temporary"} 0
keybridge_key_pool_state{provider="one",state="valid"} 2
`, "keybridge_config_last_reload_successful", "keybridge_key_pool_state")
	if code, _ := r.do(t, "GET", "http://"+r.Address("listen")+"/two/v1/models", ""); code != 503 {
		t.Errorf("a disabled provider answers %d", code)
	}
	for _, secret := range env {
		if strings.Contains(r.log.String(), secret) {
			t.Error("a key is in the log")
		}
	}
}

// TestStartProblems names what is in the way.
func TestStartProblems(t *testing.T) {
	r := simulated(t)
	taken := r.Address("listen")
	path := filepath.Join(t.TempDir(), "keybridge.yaml")
	data := filepath.Join(t.TempDir(), "data")
	if err := os.WriteFile(path, []byte("listen: "+taken+"\nadmin: 127.0.0.1:0\ndata_dir: "+data+"\nproviders:\n  - {name: one, kind: openai, keys: [env:A]}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	err := app.Run(t.Context(), app.Options{ConfigPath: path, Env: func(string) (string, bool) { return "sk-any-key-at-all", true }})
	if err == nil || !strings.Contains(err.Error(), taken) || !strings.Contains(err.Error(), "end what uses the port") {
		t.Errorf("a taken port: %v", err)
	}
	if _, err = os.Stat(data); err == nil {
		t.Error("with a taken port the record and the state are touched, which may be another gateway's")
	}
	err = app.Run(t.Context(), app.Options{ConfigPath: filepath.Join(t.TempDir(), "none.yaml"), Env: noEnv})
	if err == nil || !strings.Contains(err.Error(), "none.yaml") {
		t.Errorf("no file: %v", err)
	}
}

// TestKeysForSomeModels: what names no model is any key's, what names another
// model is nobody's.
func TestKeysForSomeModels(t *testing.T) {
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, `{"asked":"`+r.URL.Path+`"}`)
	}))
	defer up.Close()
	path := write(t, "", "providers:\n  - name: one\n    kind: openai-compatible\n    base_url: "+up.URL+"/v1\n    keys: [{id: a, secret: env:A, models: [\"gpt-*\"]}]\n")
	r := start(t, path, map[string]string{"A": "sk-key-number-a-000000"})
	base := "http://" + r.Address("listen")
	if code, body := r.do(t, "GET", base+"/v1/models", ""); code != 200 || body != `{"asked":"/v1/models"}` {
		t.Errorf("no model: %d %s", code, body)
	}
	if code, body := r.do(t, "POST", base+"/v1/embeddings", `{"model":"gpt-embed","input":"x"}`); code != 200 {
		t.Errorf("an admitted model: %d %s", code, body)
	}
	code, body := r.do(t, "POST", base+"/v1/chat/completions", `{"model":"o3","messages":[]}`)
	if code != 404 || !strings.Contains(body, "o3") || !strings.Contains(body, "model_not_found") {
		t.Errorf("another model: %d %s", code, body)
	}
}
