package app_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"keybridge/internal/app"
	"keybridge/internal/ledger"
	"keybridge/internal/simulator"
	"keybridge/internal/testkit"
)

const (
	gatewayAddress = "127.0.0.1:8787"
	adminAddress   = "127.0.0.1:8788"
)

// rig is a whole gateway in memory: the app with one provider, named as the
// simulator's that is its upstream, and clients of both. Make it inside a synctest
// bubble.
type rig struct {
	*app.App
	sim      *simulator.Simulator
	keys     []simulator.Key
	path     string // of the configuration
	provider string
	journal  *journal
	log      *buffer
	rates    rates
	upstream *network
	front    *testkit.Listener
	client   *http.Client // reaches the gateway
	admin    *http.Client // reaches its operator's side
	direct   *http.Client // reaches the simulator
}

// newRig starts a gateway over n keys of a provider of the simulator, each of an
// organization and a project of its own. settings are top-level lines of the
// configuration.
func newRig(t testing.TB, provider string, n int, settings string) *rig {
	t.Helper()
	return newRigWith(t, provider, n, settings, "")
}

// newRigWith is newRig with more lines of the provider's own settings.
func newRigWith(t testing.TB, provider string, n int, settings, more string) *rig {
	t.Helper()
	r := &rig{provider: provider, journal: &journal{}, log: &buffer{}, front: testkit.NewListener()}
	var config strings.Builder
	config.WriteString(settings)
	fmt.Fprintf(&config, `
listen: %s
admin: %s
providers:
  - name: %s
    kind: %s
    base_url: http://upstream.test/%s
    strategy: priority
    probe: off
%s    keys:
`, gatewayAddress, adminAddress, provider, provider, base(provider), more)
	for i := range n {
		k := simulator.Key{
			Provider: provider, Name: fmt.Sprintf("k%d", i), Secret: fmt.Sprintf("sk-secret-of-key-%d-%s-%04d", i, provider, 1000+i),
			Organization: fmt.Sprintf("org-%d", i), Project: fmt.Sprintf("project-%d", i),
		}
		r.keys = append(r.keys, k)
		fmt.Fprintf(&config, "      - {id: %s, secret: \"literal:%s\", organization: %s, project: %s}\n", k.Name, k.Secret, k.Organization, k.Project)
	}
	path := filepath.Join(t.TempDir(), "keybridge.yaml")
	if err := os.WriteFile(path, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	r.path = path
	r.sim = simulator.New(simulator.Options{Keys: r.keys, Deterministic: true})
	r.upstream = &network{Listener: testkit.NewListener()}
	r.client, r.direct = clientOf(r.front.Dial), clientOf(r.upstream.Dial)
	r.run(t, path)
	return r
}

// base is the path prefix under which the simulator plays the provider.
func base(provider string) string {
	if provider == simulator.OpenAI {
		return provider + "/v1"
	}
	return provider
}

// adminPage reads a page of the admin listener.
func adminPage(t testing.TB, c *http.Client, path string) (status int, said string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+adminAddress+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r *rig) run(t testing.TB, path string) {
	t.Helper()
	admin := testkit.NewListener()
	operator := clientOf(admin.Dial)
	r.admin = operator
	a, err := app.New(app.Options{
		ConfigPath: path, Env: noEnv,
		Stderr: r.log, Version: "test", Ledger: r.journal, Dial: r.upstream.dial,
		Listen: func(_, address string) (net.Listener, error) {
			if address == adminAddress {
				return admin, nil
			}
			return r.front, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	upstream := &http.Server{Handler: r.rates.watch(r.sim, r.keys)}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := upstream.Serve(r.upstream); !errors.Is(err, http.ErrServerClosed) {
			t.Errorf("the simulator's server: %v", err)
		}
	})
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		operator.CloseIdleConnections()
		r.direct.CloseIdleConnections()
		a.Stop(context.WithoutCancel(t.Context()))
		r.sim.Close()
		_ = upstream.Close()
		serving.Wait()
	})
	r.App = a
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
}

func clientOf(dial func(context.Context, string, string) (net.Conn, error)) *http.Client {
	return &http.Client{Transport: &http.Transport{DialContext: dial, DisableCompression: true}}
}

// network counts and may refuse what the gateway dials.
type network struct {
	*testkit.Listener
	mu      sync.Mutex
	dials   int
	refused int // so many of the next dials find nobody listening; negative: all of them
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	n.dials++
	refuse := n.refused != 0
	if n.refused > 0 {
		n.refused--
	}
	n.mu.Unlock()
	if refuse {
		return nil, &net.OpError{Op: "dial", Net: network, Addr: n.Addr(), Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	}
	return n.Dial(ctx, network, address)
}

func (n *network) refuse(dials int) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.refused = dials
}

func (n *network) dialled() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.dials
}

// answer is what a client saw.
type answer struct {
	Status int
	Header http.Header
	Body   string
	Cut    bool // the body broke off
}

// ask sends a request to the gateway, as a caller without a token of its own.
func (r *rig) ask(t testing.TB, method, path, body string) answer {
	t.Helper()
	return send(t, r.client, newRequest(t, method, "http://"+gatewayAddress+"/"+r.provider+path, body))
}

// askDirectly sends the same request to the simulator with one of the keys.
func (r *rig) askDirectly(t testing.TB, key int, method, path, body string) answer {
	t.Helper()
	req := newRequest(t, method, "http://upstream.test/"+r.provider+path, body)
	req.Header.Set("Authorization", "Bearer "+r.keys[key].Secret)
	return send(t, r.direct, req)
}

// newRequest is what a client of either API may send.
func newRequest(t testing.TB, method, url, body string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer of no key")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	return req
}

func send(t testing.TB, c *http.Client, req *http.Request) answer {
	t.Helper()
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", req.Method, req.URL, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("%s %s: the body: %v", req.Method, req.URL, err)
	}
	return answer{Status: resp.StatusCode, Header: resp.Header, Body: string(b), Cut: err != nil}
}

// journal keeps the finished exchanges.
type journal struct {
	mu       sync.Mutex
	finished []*ledger.Exchange
}

// Started implements ledger.Listener.
func (j *journal) Started(*ledger.Exchange) {}

// Attempted implements ledger.Listener.
func (j *journal) Attempted(*ledger.Exchange, *ledger.Attempt) {}

// Finished implements ledger.Listener.
func (j *journal) Finished(e *ledger.Exchange) {
	copied := *e
	j.mu.Lock()
	defer j.mu.Unlock()
	j.finished = append(j.finished, &copied)
}

func (j *journal) list() []*ledger.Exchange {
	j.mu.Lock()
	defer j.mu.Unlock()
	return append([]*ledger.Exchange(nil), j.finished...)
}
