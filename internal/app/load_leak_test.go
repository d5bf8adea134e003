package app_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net"
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
	"keybridge/internal/ledger"
)

const (
	leakRequests = 10_000 // over both formats of the log
	leakClients  = 48
	leakKeys     = 6  // of a pool
	dyingKeys    = 40 // of the pool whose keys are refused
)

// leakLedger keeps what exchanges tell besides the metrics and the log.
type leakLedger struct{ *loadLog }

func (leakLedger) Started(*ledger.Exchange) {}

func (l leakLedger) Attempted(_ *ledger.Exchange, a *ledger.Attempt) { fmt.Fprintf(l, "%+v\n", *a) }

func (l leakLedger) Finished(e *ledger.Exchange) {
	if e.Err != nil {
		fmt.Fprintf(l, "%s %s\n", e.Route, e.Err)
	}
}

// leakRig is a gateway full of secrets before an upstream that repeats them.
type leakRig struct {
	listen, admin string
	tokens, byok  []string
	finder        *finder
	logged        *loadLog // stdout, stderr and the standard logger
	told          *loadLog // ledger errors
	stop          func()
	answers       atomic.Int64
	echoed        atomic.Int64
}

func leakStart(t *testing.T, format string) *leakRig {
	t.Helper()
	p := planted{rand.New(rand.NewPCG(7, uint64(len(format))))}
	upstream := httptest.NewUnstartedServer(&parrot{})
	upstream.Config.ErrorLog = log.New(io.Discard, "", 0)
	upstream.Start()
	t.Cleanup(upstream.Close)
	g := &leakRig{logged: &loadLog{}, told: &loadLog{}}
	var secrets []string
	var text strings.Builder
	fmt.Fprintf(&text, "log: {level: debug, format: %s}\ntokens:\n", format)
	for range 3 {
		g.tokens = append(g.tokens, p.token())
		fmt.Fprintf(&text, "  - literal:%s\n", g.tokens[len(g.tokens)-1])
	}
	text.WriteString("providers:\n")
	for _, v := range []struct {
		name, kind, base string
		keys             int
		make             func() string
	}{
		{"openai", "openai", "/v1", leakKeys, p.openAI},
		{"anthropic", "anthropic", "", leakKeys, p.anthropic},
		{"local", "openai-compatible", "/v1", leakKeys, p.other},
		{"dying", "openai", "/v1", dyingKeys, p.old},
	} {
		fmt.Fprintf(&text, "  - name: %s\n    kind: %s\n    base_url: %s%s\n    strategy: round_robin\n    keys:\n", v.name, v.kind, upstream.URL, v.base)
		for range v.keys {
			secrets = append(secrets, v.make())
			fmt.Fprintf(&text, "      - 'literal:%s'\n", secrets[len(secrets)-1])
		}
	}
	for i := range 40 {
		g.byok = append(g.byok, []func() string{p.openAI, p.anthropic, p.old, p.other}[i%4]())
	}
	g.finder = newFinder(slices.Concat(secrets, g.tokens, g.byok))
	file := filepath.Join(t.TempDir(), "keybridge.yaml")
	loadConfig(t, file, text.String())
	g.run(t, file)
	return g
}

// run starts the gateway as the command does, and learns where it listens.
func (g *leakRig) run(t *testing.T, file string) {
	t.Helper()
	log.SetOutput(g.logged) // net/http has things to say there
	var listeners []net.Listener
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	done := make(chan error, 1)
	go func() {
		done <- app.Run(ctx, app.Options{
			ConfigPath: file, Env: noEnv, Stdout: g.logged, Stderr: g.logged, Ledger: leakLedger{g.told},
			Listen: func(network, address string) (net.Listener, error) {
				l, err := net.Listen(network, address)
				if listeners = append(listeners, l); len(listeners) == 2 {
					close(ready)
				}
				return l, err
			},
		})
	}()
	g.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(g.stop)
	select {
	case <-ready:
	case err := <-done:
		t.Fatal(err)
	}
	g.admin, g.listen = "http://"+listeners[0].Addr().String(), "http://"+listeners[1].Addr().String()
}

// leakAsk is one request: who asks, with what, for which echo.
type leakAsk struct {
	provider, path, body, way, form string
	place, token, own               string // own: the caller's own key; "": pooled
}

func (g *leakRig) ask(i int) leakAsk {
	r := rand.New(rand.NewPCG(8, uint64(i)))
	forms := slices.Sorted(maps.Keys(escapes))
	a := leakAsk{
		provider: []string{"openai", "anthropic", "local"}[r.IntN(3)], token: g.tokens[r.IntN(len(g.tokens))],
		way: echoes[r.IntN(len(echoes)-len(marks)-len(retried)-len(dear))].name, form: forms[i%len(forms)],
	}
	switch n := r.IntN(100); {
	case n < 2:
		a.provider, a.way = "dying", marks[i%len(marks)]
	case n < 5:
		a.way = retried[r.IntN(len(retried))]
	case n < 6:
		a.way = dear[r.IntN(len(dear))]
	}
	a.place = []string{"Authorization", "X-Api-Key"}[r.IntN(2)]
	if r.IntN(4) == 0 {
		a.own = g.byok[r.IntN(len(g.byok))]
	}
	a.path = []string{"/v1/chat/completions", "/v1/responses", "/v1/embeddings"}[r.IntN(3)]
	if a.provider == "anthropic" {
		a.path = []string{"/v1/messages", "/v1/messages/count_tokens"}[r.IntN(2)]
	}
	if slices.Contains(inBody, a.way) { // what an opaque answer of 200 says is not read
		a.path = strings.NewReplacer("/v1/embeddings", "/v1/responses", "/count_tokens", "").Replace(a.path)
	}
	a.body = withModel("gpt-5-mini", fmt.Sprintf(`,"stream":%t`, r.IntN(2) == 0)+talk)
	return a
}

func (a leakAsk) request(base string) *http.Request {
	url := base + "/" + a.provider + a.path
	if a.own != "" {
		url += "?key=" + escapes["query"](a.own)
	}
	req, err := http.NewRequest(http.MethodPost, url, strings.NewReader(a.body))
	if err != nil {
		panic(err) // of our own making
	}
	credential := a.token
	if a.own != "" {
		req.Header.Set("X-Keybridge-Token", a.token)
		credential = a.own
	}
	if a.place == "Authorization" {
		credential = "Bearer " + credential
	}
	req.Header.Set(a.place, credential)
	req.Header.Set("X-Ask", a.way+"/"+a.form)
	return req
}

// loadSeen is what a client can see: the head, the body, and the body unpacked.
func loadSeen(resp *http.Response) []byte {
	var b bytes.Buffer
	_ = resp.Header.Write(&b)
	body, _ := loadRead(resp)
	b.Write(body)
	if resp.Header.Get("Content-Encoding") == "gzip" {
		if z, err := gzip.NewReader(bytes.NewReader(body)); err == nil {
			plain, _ := io.ReadAll(z)
			b.WriteByte('\n')
			b.Write(plain)
		}
	}
	return b.Bytes()
}

// send asks n times and looks at every answer. It returns what leaked, by way.
func (g *leakRig) send(t *testing.T, n int) map[string]string {
	t.Helper()
	tr := &http.Transport{MaxIdleConnsPerHost: leakClients, DisableCompression: true}
	defer tr.CloseIdleConnections()
	var next atomic.Int64
	var mu sync.Mutex
	leaks := map[string]string{}
	var clients sync.WaitGroup
	for range leakClients {
		clients.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= n {
					return
				}
				a := g.ask(i)
				resp, err := tr.RoundTrip(a.request(g.listen))
				if err != nil {
					t.Errorf("request %d %+v: %v", i, a, err)
					continue
				}
				got := loadSeen(resp)
				g.answers.Add(1)
				var own []string
				if a.own != "" {
					own = append(own, a.own) // it goes back as it came
				}
				if s := g.finder.find(got, own...); s != "" {
					mu.Lock()
					leaks["answer "+a.way+" "+a.form] = fmt.Sprintf("%s%s, secret %s: %.900q", a.provider, a.path, s, got)
					mu.Unlock()
				}
				if bytes.Contains(got, []byte("***")) || a.own != "" && g.finder.find(got) == a.own {
					g.echoed.Add(1)
				}
			}
		})
	}
	clients.Wait()
	return leaks
}

// places are everything that the gateway tells besides its answers.
func (g *leakRig) places(t *testing.T) map[string][]byte {
	t.Helper()
	req, _ := http.NewRequestWithContext(t.Context(), http.MethodGet, g.admin+"/metrics", nil)
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := loadRead(resp)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("metrics: status %d, error %v", resp.StatusCode, err)
	}
	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	g.stop()
	return map[string][]byte{"metrics": metrics, "logs": g.logged.bytes(), "ledger": g.told.bytes()}
}

// leaksIn looks through the places, line by line.
func (g *leakRig) leaksIn(places map[string][]byte) map[string]string {
	leaks := map[string]string{}
	for name, text := range places {
		for line := range bytes.Lines(text) {
			if s := g.finder.find(line); s != "" {
				leaks[name] = fmt.Sprintf("secret %s: %s", s, line)
			}
		}
	}
	return leaks
}

// TestLoadNoSecretGetsOut has an upstream repeat the keys it is sent in every form
// and place. Whatever the gateway says then, and to whomever, must be free of them.
func TestLoadNoSecretGetsOut(t *testing.T) {
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	for _, format := range []string{"text", "json"} {
		t.Run(format, func(t *testing.T) {
			g := leakStart(t, format)
			began := time.Now()
			leaks := g.send(t, leakRequests/2)
			places := g.places(t)
			maps.Copy(leaks, g.leaksIn(places))
			t.Logf("%d answers in %s, %d of them with an echo, masked or the caller's own; %d bytes of log, %d of metrics, %d of the ledger",
				g.answers.Load(), time.Since(began).Round(time.Millisecond), g.echoed.Load(), len(places["logs"]), len(places["metrics"]), len(places["ledger"]))
			for _, what := range slices.Sorted(maps.Keys(leaks)) {
				t.Errorf("leaked: %s: %s", what, leaks[what])
			}
			if g.echoed.Load() < leakRequests/4 {
				t.Error("few answers had an echo: the test shows little")
			}
			for name, text := range places {
				if len(text) == 0 {
					t.Errorf("nothing was said in the %s: the test shows nothing there", name)
				}
			}
			g.control(t, places)
		})
	}
}

// control plants a piece of each kind of secret, in each form, into each place: the
// search that found nothing must find it there.
func (g *leakRig) control(t *testing.T, places map[string][]byte) {
	t.Helper()
	for _, secret := range []string{g.tokens[0], g.byok[0], g.byok[1], g.byok[2], g.byok[3], g.byok[7], g.byok[11], g.byok[15]} {
		piece := secret[9 : 9+leakPiece]
		for form, escape := range escapes {
			if form == "cut" {
				continue // half of it is no piece
			}
			for name := range places {
				planted := map[string][]byte{name: []byte("first line\nlevel=ERROR msg=\"x " + escape(piece) + " y\"\n")}
				if len(g.leaksIn(planted)) == 0 {
					t.Errorf("the search does not see %q of %q as %s in the %s: %s", piece, secret, form, name, planted[name])
				}
			}
		}
	}
}
