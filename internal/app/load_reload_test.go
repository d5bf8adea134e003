package app_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"keybridge/internal/app"
	"keybridge/internal/simulator"
	"keybridge/keypool"
)

const (
	reloadStreams = 1000 // open at once
	reloadEvery   = 100 * time.Millisecond
	reloadKeys    = 6
)

// reloadLength is how long the streams take: KEYBRIDGE_LOAD=60s has the whole test.
func reloadLength(t *testing.T) time.Duration {
	t.Helper()
	text, ok := os.LookupEnv("KEYBRIDGE_LOAD")
	if !ok {
		return 4 * time.Second
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("KEYBRIDGE_LOAD: %v", err)
	}
	return d
}

// halfway holds an answer up in its middle, until it may go on.
type halfway struct {
	http.ResponseWriter

	on, done <-chan struct{}
	left     int // writes until then
}

func (h *halfway) Write(b []byte) (int, error) {
	if h.left--; h.left == 0 {
		select {
		case <-h.on:
		case <-h.done:
		}
	}
	return h.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (h *halfway) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// TestLoadReloadsUnderStreams has a thousand streams open while the configuration is
// read again ten times a second: now it is refused, now keys in use are gone or have
// come back, now the strategy is another. No stream may be cut, none mixed with
// another.
func TestLoadReloadsUnderStreams(t *testing.T) {
	length := reloadLength(t)
	const chunks = 40
	var keys []simulator.Key
	var secrets []string
	for i := range reloadKeys {
		k := simulator.Key{Provider: simulator.OpenAI, Name: fmt.Sprintf("k%d", i), Secret: fmt.Sprintf("sk-reload-0123456789-%04d", i)}
		keys, secrets = append(keys, k), append(secrets, k.Secret)
	}
	sim := simulator.New(simulator.Options{Keys: keys, Deterministic: true, Chunks: chunks, Pace: length / chunks})
	all := make(chan struct{}) // closed when every stream is open
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		sim.ServeHTTP(&halfway{ResponseWriter: w, done: r.Context().Done(), on: all, left: chunks / 2}, r)
	}))
	file := filepath.Join(t.TempDir(), "keybridge.yaml")
	write := func(secrets []string, strategy string) {
		var text strings.Builder
		fmt.Fprintf(&text, "data_dir: %s\nproviders:\n  - name: openai\n    kind: openai\n    base_url: %s/openai/v1\n    strategy: %s\n    keys:\n",
			filepath.Join(filepath.Dir(file), "data"), upstream.URL, strategy)
		for i, s := range secrets {
			fmt.Fprintf(&text, "      - {id: slot-%d, secret: 'literal:%s'}\n", i, s)
		}
		loadConfig(t, file, text.String())
	}
	write(secrets, "round_robin")
	a := loadStart(t, app.Options{ConfigPath: file, Stderr: &loadLog{}, Drain: 10 * time.Second})
	pools := map[*keypool.Pool]struct{}{a.KeyPools()[0]: {}}

	tr := &http.Transport{MaxIdleConnsPerHost: reloadStreams}
	var streams sync.WaitGroup
	var open, atOnce, whole, over atomic.Int64
	for i := range reloadStreams {
		streams.Go(func() {
			defer over.Add(1)
			path := []string{"/v1/chat/completions", "/v1/responses"}[i%2]
			nonce := fmt.Sprintf("nonce-%d-end", i)
			said := `"` + nonce + ` says hello"`
			body := fmt.Sprintf(`{"model":"gpt-5-mini","stream":true,"messages":[{"role":"user","content":%s}],"input":%s}`, said, said)
			req, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+a.Address("listen")+path, strings.NewReader(body))
			req.Header.Set("Content-Type", "application/json")
			resp, err := (&http.Client{Transport: tr}).Do(req)
			if open.Add(1) == reloadStreams {
				atOnce.Store(reloadStreams - over.Load())
				close(all)
			}
			if err != nil {
				t.Errorf("stream %d: %v", i, err)
				return
			}
			got, err := loadRead(resp)
			if verdict, ok := stormVerdict(path, resp.StatusCode, got, err, nonce); verdict != "whole" || !ok {
				t.Errorf("stream %d %s: status %d, read error %v, %s:\n%.2000s", i, path, resp.StatusCode, err, verdict, got)
				return
			}
			whole.Add(1)
		})
	}

	tick := time.NewTicker(reloadEvery)
	defer tick.Stop()
	reloads, refused := 0, 0
	for n := 0; over.Load() < reloadStreams; n++ {
		<-tick.C
		want := true
		switch n % 6 {
		case 0: // half of the keys that are in use are gone
			write(secrets[n/6%2*reloadKeys/2:][:reloadKeys/2], "least_busy")
		case 1: // and back, in another order
			back := slices.Clone(secrets)
			slices.Reverse(back)
			write(back, "headroom")
		case 2:
			write(append(slices.Clone(secrets), secrets[0]), "priority")
			want = false
		case 3: // one is left
			write(secrets[n/6%reloadKeys:][:1], "priority")
		case 4:
			loadConfig(t, file, "providers: [")
			want = false
		case 5:
			write(secrets, "weighted")
		}
		err := a.Reload()
		if (err == nil) != want {
			t.Fatalf("reload %d: %v", n, err)
		}
		if reloads++; !want {
			refused++
		}
		pools[a.KeyPools()[0]] = struct{}{}
	}
	streams.Wait()
	t.Logf("%d of %d streams whole over %s, %d open at once, %d reloads, %d of them refused", whole.Load(), reloadStreams, length, atOnce.Load(), reloads, refused)
	if least := int(length / reloadEvery / 2); reloads < least || refused == 0 || atOnce.Load() < reloadStreams {
		t.Errorf("%d reloads, %d refused, %d streams at once: the test shows nothing", reloads, refused, atOnce.Load())
	}
	nothingInFlight(t, a, pools)
	tr.CloseIdleConnections()
	a.Stop(context.WithoutCancel(t.Context()))
	sim.Close()
	upstream.Close()
}
