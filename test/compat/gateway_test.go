package compat_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
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
	file := filepath.Join(t.TempDir(), "keybridge.yaml")
	var config strings.Builder
	fmt.Fprintf(&config, "tokens: [%q]\nproviders:\n", "literal:"+token)
	for kind, base := range map[string]string{"openai": p.URL + "/v1", "anthropic": p.URL} {
		fmt.Fprintf(&config, "  - name: %s\n    kind: %s\n    base_url: %s\n    probe: off\n    keys:\n", kind, kind, base)
		fmt.Fprintf(&config, "      - {id: k0, secret: %q}\n      - {id: k1, secret: %q}\n", "literal:"+key0, "literal:"+key1)
	}
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway, _ := serve(t, "--config", file)
	return gateway
}

// greeting has the addresses, and ends what the gateway prints once it listens.
var greeting = regexp.MustCompile(`(?s)serves on (http://\S+).*Metrics +(http://[^/]+)/metrics.*/readyz\n`)

// serve runs a gateway on free ports until the test ends, and returns where clients
// and where the operator connect.
func serve(t *testing.T, args ...string) (gateway, admin string) {
	t.Helper()
	found := launch(t, greeting, append([]string{"serve", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"}, args...)...)
	return found[1], found[2]
}

// launch runs keybridge until the test ends, with no variable that holds a key, and
// returns the match of what it prints when it is ready. If the test failed it shows
// all that was printed.
func launch(t *testing.T, ready *regexp.Regexp, args ...string) []string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	cmd := exec.CommandContext(ctx, binary, args...)
	cmd.Env = []string{"HOME=" + t.TempDir()}
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	out := &output{greeting: ready, greeted: make(chan []string, 1)}
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		cancel()
		<-ended
		if t.Failed() {
			t.Logf("keybridge ended with %v and wrote:\n%s", cmd.ProcessState, out)
		}
	})
	select {
	case found := <-out.greeted:
		return found
	case <-ended:
		t.Fatal("keybridge did not start")
	case <-time.After(20 * time.Second):
		t.Fatal("keybridge did not start within 20 s")
	}
	return nil
}

// output is what a process prints, read while it still runs.
type output struct {
	mu       sync.Mutex
	b        bytes.Buffer
	told     bool
	greeting *regexp.Regexp
	greeted  chan []string // gets one match of greeting
}

func (o *output) Write(p []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	n, err := o.b.Write(p)
	if found := o.greeting.FindStringSubmatch(o.b.String()); !o.told && found != nil {
		o.told = true
		o.greeted <- found
	}
	return n, err
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.b.String()
}
