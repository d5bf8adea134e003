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
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/app"
	"keybridge/internal/testkit"
)

const (
	behaviourBegin  = "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"m\"}}\n\n"
	behaviourDelta  = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Hi\"}}\n\n"
	behaviourEnd    = "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n"
	behaviourPrompt = `{"model":"claude-opus-5","stream":true}`
	behaviourKeys   = "\n    keys: [{id: first, secret: \"literal:sk-ant-first-0123456789\"}, {id: second, secret: \"literal:sk-ant-second-0123456789\"}]\n"
)

// behaviourRig is an app in memory whose upstream is a handler.
type behaviourRig struct {
	*app.App
	t             *testing.T
	path          string
	client        *http.Client
	front, behind *testkit.Listener
}

func behaviourApp(t *testing.T, upstream http.HandlerFunc) *behaviourRig {
	t.Helper()
	r := &behaviourRig{t: t, path: filepath.Join(t.TempDir(), "keybridge.yaml"), front: testkit.NewListener(), behind: testkit.NewListener()}
	r.configure("a", "b")
	up := testkit.NewListener()
	srv := &http.Server{Handler: upstream}
	served := make(chan struct{})
	go func() { defer close(served); srv.Serve(up) }()
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasSuffix(address, ":8788") {
			return r.behind.Dial(ctx, network, address)
		}
		return r.front.Dial(ctx, network, address)
	}}
	r.client = &http.Client{Transport: transport}
	a, err := app.New(app.Options{
		ConfigPath: r.path, Env: noEnv, Drain: 20 * time.Second, Dial: up.Dial,
		Listen: func(_, address string) (net.Listener, error) {
			if strings.HasSuffix(address, ":8788") {
				return r.behind, nil
			}
			return r.front, nil
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.App = a
	if err := a.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		a.Stop(context.WithoutCancel(t.Context()))
		srv.Close()
		<-served
	})
	return r
}

// configure writes a configuration with these providers.
func (r *behaviourRig) configure(providers ...string) {
	r.t.Helper()
	var text strings.Builder
	text.WriteString("providers:\n")
	for _, p := range providers {
		fmt.Fprintf(&text, "  - name: %s\n    kind: anthropic\n    base_url: http://upstream.test\n    probe: off%s", p, behaviourKeys)
	}
	if err := os.WriteFile(r.path, []byte(text.String()), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// stream asks for a stream and returns when its first event has come.
func (r *behaviourRig) stream(provider string) io.ReadCloser {
	r.t.Helper()
	resp, err := r.client.Do(behaviourPost(r.t, "http://127.0.0.1:8787/"+provider+"/v1/messages"))
	if err != nil {
		r.t.Fatal(err)
	}
	begin := make([]byte, len(behaviourBegin+behaviourDelta))
	if _, err := io.ReadFull(resp.Body, begin); err != nil {
		r.t.Fatalf("%q, %v", begin, err)
	}
	return resp.Body
}

func behaviourPost(t *testing.T, url string) *http.Request {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, strings.NewReader(behaviourPrompt))
	if err != nil {
		t.Fatal(err)
	}
	return req
}

func (r *behaviourRig) get(path string) (int, string) { return adminPage(r.t, r.client, path) }

// series returns the lines of the metrics that begin with the prefix.
func (r *behaviourRig) series(prefix string) string {
	r.t.Helper()
	_, text := r.get("/metrics")
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, prefix) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// behaviourTrickle streams content for as long, then ends well.
func behaviourTrickle(long time.Duration) http.HandlerFunc {
	return func(w http.ResponseWriter, req *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		io.WriteString(w, behaviourBegin+behaviourDelta)
		http.NewResponseController(w).Flush()
		select {
		case <-time.After(long):
			io.WriteString(w, behaviourEnd)
		case <-req.Context().Done():
		}
	}
}

// A stop lets running streams end within its bound. Meanwhile the gateway says
// that it is not ready, and takes no new connection.
func TestStopDrains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behaviourApp(t, behaviourTrickle(19*time.Second))
		if status, _ := r.get("/readyz"); status != http.StatusOK {
			t.Errorf("readyz says %d before the stop", status)
		}
		body := r.stream("a")
		defer body.Close()
		start := time.Now()
		stopped := make(chan time.Duration)
		go func() { r.Stop(t.Context()); stopped <- time.Since(start) }()
		synctest.Wait()
		if status, said := r.get("/readyz"); status != http.StatusServiceUnavailable || !strings.Contains(said, "stopping") {
			t.Errorf("readyz says %d %s while stopping", status, said)
		}
		if status, _ := r.get("/healthz"); status != http.StatusOK {
			t.Errorf("healthz says %d while stopping", status)
		}
		if _, err := r.client.Do(behaviourPost(t, "http://127.0.0.1:8787/a/v1/messages")); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("a new connection while stopping: %v", err)
		}
		rest, err := io.ReadAll(body)
		if err != nil || strings.ReplaceAll(string(rest), "event: ping\ndata: {\"type\": \"ping\"}\n\n", "") != behaviourEnd {
			t.Errorf("the stream ends with %q, %v", rest, err)
		}
		if took := <-stopped; took < 19*time.Second || took > 20*time.Second {
			t.Errorf("the stop took %v", took)
		}
	})
}

// Beyond the bound a stream is told, as its API tells errors.
func TestStopIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := behaviourApp(t, behaviourTrickle(time.Hour))
		body := r.stream("a")
		defer body.Close()
		start := time.Now()
		go r.Stop(t.Context())
		rest, err := io.ReadAll(body)
		if _, event, ok := strings.Cut(string(rest), "event: error\ndata: "); err != nil || !ok || !strings.Contains(event, "stopping") {
			t.Errorf("the stream ends with %q, %v", rest, err)
		}
		if took := time.Since(start); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("it was told after %v", took)
		}
		time.Sleep(5 * time.Second) // the stop comes to its end
	})
}

// A stream that began before a reload ends on the snapshot it began with. What its
// upstream then says of the key is known to the pool that has taken over.
func TestReloadDuringAStream(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		goOn := make(chan struct{})
		r := behaviourApp(t, func(w http.ResponseWriter, req *http.Request) {
			if strings.Contains(req.Header.Get("X-Api-Key"), "second") {
				behaviourTrickle(0)(w, req)
				return
			}
			w.Header().Set("Content-Type", "text/event-stream")
			io.WriteString(w, behaviourBegin)
			http.NewResponseController(w).Flush()
			<-goOn
			io.WriteString(w, "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"rate_limit_error\",\"message\":\"slow down\"}}\n\n")
		})
		type result struct {
			body string
			err  error
		}
		ask := func(provider string) <-chan result {
			done := make(chan result, 1)
			req := behaviourPost(t, "http://127.0.0.1:8787/"+provider+"/v1/messages")
			go func() {
				resp, err := r.client.Do(req)
				if err != nil {
					done <- result{"", err}
					return
				}
				defer resp.Body.Close()
				b, err := io.ReadAll(resp.Body)
				done <- result{string(b), err}
			}()
			return done
		}
		kept, removed := ask("a"), ask("b")
		synctest.Wait()
		r.configure("a")
		if err := r.Reload(); err != nil {
			t.Fatal(err)
		}
		if got := r.series(`keybridge_key_pool_state{provider="a"`); !strings.Contains(got, `state="valid"} 2`) {
			t.Errorf("before the mark:\n%s", got)
		}
		close(goOn)
		for name, done := range map[string]<-chan result{"kept": kept, "removed": removed} {
			if got := <-done; got.err != nil || got.body != behaviourBegin+behaviourDelta+behaviourEnd {
				t.Errorf("%s: got %q, %v", name, got.body, got.err)
			}
		}
		if got := r.series(`keybridge_key_pool_state{provider="a"`); !strings.Contains(got, `state="valid"} 1`) || !strings.Contains(got, `state="temporary"} 1`) {
			t.Errorf("after the mark:\n%s", got)
		}
		if got := r.series(`keybridge_key_pool_failover_attempts_sum{provider="a"}`); !strings.Contains(got, " 2\n") {
			t.Errorf("the kept provider counts %q", got)
		}
		if got := r.series(`keybridge_key_pool_state{provider="b"`); got != "" {
			t.Errorf("the removed provider is back:\n%s", got)
		}
	})
}
