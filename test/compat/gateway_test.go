package compat_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The gateway's token, and the pool's keys: k0 is asked first.
const (
	token = "gateway-token-0123456789"
	key0  = "sk-compat-k0-00000000000000000000"
	key1  = "sk-compat-k1-11111111111111111111"
)

var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "keybridge-compat")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "keybridge")
	build := exec.Command("go", "build", "-o", binary, "./cmd/keybridge")
	build.Dir = filepath.Join("..", "..")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build keybridge: %v\n%s", err, out)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// provider is the upstream of a test: what a key gets is set for each test.
type provider struct {
	*httptest.Server
	mu      sync.Mutex
	answers map[string]http.HandlerFunc // by key name; healthy if there is none
	asked   []string                    // key names in the order they were asked
}

func newProvider(t *testing.T) *provider {
	p := &provider{answers: map[string]http.HandlerFunc{}}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *provider) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	r.Body = io.NopCloser(bytes.NewReader(body))
	name := "stranger"
	switch {
	case r.Header.Get("X-Api-Key") == key0, r.Header.Get("Authorization") == "Bearer "+key0:
		name = "k0"
	case r.Header.Get("X-Api-Key") == key1, r.Header.Get("Authorization") == "Bearer "+key1:
		name = "k1"
	}
	p.mu.Lock()
	p.asked = append(p.asked, name)
	answer := p.answers[name]
	p.mu.Unlock()
	if answer == nil {
		answer = healthy
	}
	answer(w, r)
}

// keys are the keys that were asked since the last call.
func (p *provider) keys() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	asked := p.asked
	p.asked = nil
	return asked
}

// start runs a gateway in front of p, with the same two keys for an OpenAI and an
// Anthropic provider, and returns its address.
func start(t *testing.T, p *provider) string {
	t.Helper()
	listen, admin, dir := freeAddr(t), freeAddr(t), t.TempDir()
	file := filepath.Join(dir, "keybridge.yaml")
	var config strings.Builder
	fmt.Fprintf(&config, "listen: %s\nadmin: %s\ndata_dir: %s\ntokens: [%q]\nproviders:\n", listen, admin, dir, "literal:"+token)
	for kind, base := range map[string]string{"openai": p.URL + "/v1", "anthropic": p.URL} {
		fmt.Fprintf(&config, "  - name: %s\n    kind: %s\n    base_url: %s\n    probe: off\n    keys:\n", kind, kind, base)
		fmt.Fprintf(&config, "      - {id: k0, secret: %q}\n      - {id: k1, secret: %q}\n", "literal:"+key0, "literal:"+key1)
	}
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, file)
	waitReady(t, "http://"+admin+"/readyz")
	return "http://" + listen
}

// run serves until the test ends, and shows what the gateway wrote if it failed.
func run(t *testing.T, file string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, "serve", "--config", file)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		err := cmd.Wait()
		if t.Failed() {
			t.Logf("keybridge ended with %v and wrote:\n%s", err, out.String())
		}
	})
}

func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func waitReady(t *testing.T, url string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if resp, err := http.DefaultTransport.RoundTrip(req); err == nil {
			resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return
			}
		}
		select {
		case <-ctx.Done():
			t.Fatal("keybridge is not ready after 20 s")
		case <-tick.C:
		}
	}
}
