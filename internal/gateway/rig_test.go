package gateway_test

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"keybridge/internal/auth"
	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/gateway"
	"keybridge/internal/ledger"
	"keybridge/internal/metrics/metricstest"
	"keybridge/internal/route"
	"keybridge/internal/testkit"
	"keybridge/internal/upstream"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// key is the secret of the i-th pooled key.
func key(i int) string { return fmt.Sprintf("sk-pooled-%d-0123456789abcdefghij", i) }

// call is one request as the upstream saw it.
type call struct {
	Key    string // "k0", …; the credential itself if it is none of the pool's
	Method string
	URI    string
	Header http.Header
	Body   string
}

// setup is what a test wants changed of the usual gateway.
type setup struct {
	keys   int
	limits gateway.Limits
	stream gateway.Stream
	tokens []auth.Token
	tools  gateway.Tools
	// recorder is nil in most
	recorder gateway.Recorder
	tcp      bool // real sockets instead of those in memory
	base     func(net.Listener) context.Context
	chat     dialect.Dialect
	msgs     dialect.Dialect
	writes   *atomic.Int32 // counts what is written to the client
	early    bool          // the upstream answers before it has read the body
	pool     func(*keypool.Options)
	// upstream answers the n-th call (from 0) of all.
	upstream func(w http.ResponseWriter, r *http.Request, key string, n int)
}

// rig is a gateway between a client and a scripted upstream, over real HTTP.
type rig struct {
	t        *testing.T
	client   *http.Client
	dial     func() net.Conn
	registry *prometheus.Registry
	logs     *strings.Builder
	snapshot *gateway.Snapshot

	mu        sync.Mutex
	calls     []call
	exchanges []*ledger.Exchange
	finished  chan *ledger.Exchange
}

func (r *rig) Started(*ledger.Exchange)                    {}
func (r *rig) Attempted(*ledger.Exchange, *ledger.Attempt) {}
func (r *rig) Finished(e *ledger.Exchange) {
	r.mu.Lock()
	r.exchanges = append(r.exchanges, e)
	r.mu.Unlock()
	r.finished <- e
}

// ended waits for the next exchange to be settled.
func (r *rig) ended() *ledger.Exchange {
	r.t.Helper()
	return <-r.finished
}

func (r *rig) seen() []call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]call(nil), r.calls...)
}

// asked is the order in which keys were asked.
func (r *rig) asked() []string {
	var keys []string
	for _, c := range r.seen() {
		keys = append(keys, c.Key)
	}
	return keys
}

func usual() gateway.Stream {
	return gateway.Stream{Hold: 10 * time.Second, HoldBytes: 1 << 20, Ping: 10 * time.Second, IdleTimeout: 5 * time.Minute}
}

// newRig serves until the test ends.
func newRig(t *testing.T, s setup) *rig {
	t.Helper()
	r := &rig{t: t, registry: prometheus.NewRegistry(), logs: &strings.Builder{}, finished: make(chan *ledger.Exchange, 64)}
	if s.keys == 0 {
		s.keys = 2
	}
	if s.limits == (gateway.Limits{}) {
		s.limits = gateway.Limits{MaxBody: 32 << 20, MaxUpload: 512 << 20}
	}
	if s.stream == (gateway.Stream{}) {
		s.stream = usual()
	}
	if s.chat == nil {
		s.chat = chat.New()
	}
	if s.msgs == nil {
		s.msgs = messages.New()
	}
	up, toUpstream := r.listen(s.tcp)
	r.serve(up, nil, http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) { r.answer(w, req, &s) }))
	client := upstream.NewClient(upstream.Options{DialContext: toUpstream})
	r.snapshot = r.build(s)
	g := gateway.New(gateway.Options{
		Snapshot: func() *gateway.Snapshot { return r.snapshot }, Client: client, Ledger: r, Recorder: s.recorder,
		Logger: slog.New(slog.NewTextHandler(r.logs, nil)),
	})
	down, toGateway := r.listen(s.tcp)
	if s.writes != nil {
		down = counted{down, s.writes}
	}
	r.serve(down, s.base, g)
	transport := &http.Transport{DialContext: toGateway, DisableCompression: true}
	r.client = &http.Client{Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	r.dial = func() net.Conn {
		c, err := toGateway(context.Background(), "tcp", "")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c
	}
	t.Cleanup(func() { transport.CloseIdleConnections(); client.CloseIdle() })
	return r
}

func (r *rig) listen(tcp bool) (net.Listener, func(ctx context.Context, network, addr string) (net.Conn, error)) {
	if !tcp {
		l := testkit.NewListener()
		return l, l.Dial
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		r.t.Fatal(err)
	}
	return l, func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "tcp", l.Addr().String())
	}
}

func (r *rig) serve(l net.Listener, base func(net.Listener) context.Context, h http.Handler) {
	srv := &http.Server{Handler: h, BaseContext: base, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	if g, ok := h.(*gateway.Gateway); ok {
		l = g.Attach(srv, l)
	}
	done := make(chan struct{})
	go func() { defer close(done); srv.Serve(l) }()
	r.t.Cleanup(func() { srv.Close(); <-done })
}

func (r *rig) build(s setup) *gateway.Snapshot {
	r.t.Helper()
	snapshot := &gateway.Snapshot{
		Gate: auth.New(s.tokens), Limits: s.limits, Stream: s.stream,
		Chat: s.chat, Responses: responses.New(), Messages: s.msgs,
		Tools: s.tools, Loop: gateway.Loop{MaxTurns: 4, MaxCalls: 3, MaxTime: 10 * time.Minute},
	}
	m, err := keypool.NewMetrics(r.registry, func() []*keypool.Pool { return snapshot.KeyPools() })
	if err != nil {
		r.t.Fatal(err)
	}
	var keys []keypool.Key
	for i := range s.keys {
		keys = append(keys, keypool.Key{ID: fmt.Sprintf("k%d", i), Secret: key(i)})
	}
	var routes []route.Provider
	for _, p := range []route.Provider{
		{Name: "openai", Kind: verdict.OpenAI, Enabled: true},
		{Name: "anthropic", Kind: verdict.Anthropic, Enabled: true},
		{Name: "keyless", Kind: verdict.OpenAI, Enabled: true},
		{Name: "off", Kind: verdict.OpenAI},
	} {
		base := &url.URL{Scheme: "http", Host: "upstream.test"}
		if p.Kind == verdict.OpenAI {
			base.Path = "/v1"
		}
		target := &gateway.Target{Target: upstream.Target{Name: p.Name, Kind: p.Kind, Base: base}, Enabled: p.Enabled, Masker: upstream.NewMasker(nil)}
		if p.Name != "keyless" {
			o := keypool.Options{Provider: p.Name, Family: p.Kind, Host: base.Host, Keys: keys, Metrics: m}
			if s.pool != nil {
				s.pool(&o)
			}
			pool, err := keypool.New(o)
			if err != nil {
				r.t.Fatal(err)
			}
			target.Pool, target.Masker = pool, upstream.NewMasker(pool.Secrets())
		}
		snapshot.Targets = append(snapshot.Targets, target)
		routes = append(routes, p)
	}
	snapshot.Table = route.New(routes)
	return snapshot
}

// answer notes the call and lets the script answer it.
func (r *rig) answer(w http.ResponseWriter, req *http.Request, s *setup) {
	var body []byte
	var err error
	if !s.early {
		body, err = io.ReadAll(req.Body)
	}
	secret := strings.TrimPrefix(req.Header.Get("Authorization"), "Bearer ")
	if k := req.Header.Get("X-Api-Key"); k != "" {
		secret = k
	}
	name := secret
	for i := range 10 {
		if secret == key(i) {
			name = fmt.Sprintf("k%d", i)
		}
	}
	r.mu.Lock()
	n := len(r.calls)
	r.calls = append(r.calls, call{name, req.Method, req.RequestURI, req.Header.Clone(), string(body)})
	r.mu.Unlock()
	if err == nil {
		s.upstream(w, req, name, n)
	}
}

// reply is an answer as the client got it.
type reply struct {
	Status int
	Header http.Header
	Body   string
	Err    error // why the body could not be read to its end
}

// request makes a request; header is a list of names and values.
func request(ctx context.Context, method, path, body string, header ...string) *http.Request {
	var rd io.Reader
	if body != "" {
		rd = strings.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://127.0.0.1"+path, rd)
	if err != nil {
		panic(err) // a method or a path that is none
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	return req
}

func (r *rig) do(req *http.Request) reply {
	r.t.Helper()
	resp, err := r.client.Do(req)
	if err != nil {
		return reply{Err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp.StatusCode, resp.Header, string(body), err}
}

func (r *rig) post(path, body string, header ...string) reply {
	r.t.Helper()
	return r.do(request(context.Background(), http.MethodPost, path, body, header...))
}

func (r *rig) get(path string, header ...string) reply {
	r.t.Helper()
	return r.do(request(context.Background(), http.MethodGet, path, "", header...))
}

// raw sends bytes on a connection of its own and reads to its end.
func (r *rig) raw(request string) (string, error) {
	r.t.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, request); err != nil {
		r.t.Fatal(err)
	}
	b, err := io.ReadAll(c)
	return string(b), err
}

// pool compares the pool counters that tests of the gateway care about.
func (r *rig) pool(provider, want string) {
	r.t.Helper()
	var got strings.Builder
	for _, name := range []string{"key_pool_failover_attempts", "key_pool_call_attempts"} {
		count, sum := r.histogram(name, provider)
		fmt.Fprintf(&got, "%s %d/%g ", strings.TrimPrefix(name, "key_pool_"), count, sum)
	}
	fmt.Fprintf(&got, "failovers %g transitions %g", r.sum("key_pool_failovers_total", provider), r.sum("key_pool_state_transitions_total", provider))
	if diff := cmp.Diff(want, got.String()); diff != "" {
		r.t.Errorf("pool %s (-want +got):\n%s", provider, diff)
	}
}

func (r *rig) histogram(name, provider string) (count uint64, sum float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == provider {
				return m.GetHistogram().GetSampleCount(), m.GetHistogram().GetSampleSum()
			}
		}
	}
	r.t.Fatalf("no %s of %s", name, provider)
	return 0, 0
}

// sum adds up a family's counters of one provider.
func (r *rig) sum(name, provider string) (total float64) {
	r.t.Helper()
	families, err := r.registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	found := false
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "provider" && l.GetValue() == provider {
					total += m.GetCounter().GetValue()
					found = true
				}
			}
		}
	}
	if !found {
		r.t.Fatalf("no %s of %s", name, provider)
	}
	return total
}

// states compares how many keys of the provider openai are valid and cooling.
func (r *rig) states(valid, temporary int) {
	r.t.Helper()
	var want strings.Builder
	want.WriteString("# TYPE key_pool_state gauge\n")
	for _, p := range []string{"openai", "anthropic"} {
		v, tmp := 2, 0
		if p == "openai" {
			v, tmp = valid, temporary
		}
		for state, n := range map[string]int{"valid": v, "temporary": tmp, "permanent": 0} {
			fmt.Fprintf(&want, "key_pool_state{provider=%q,state=%q} %d\n", p, state, n)
		}
	}
	metricstest.Compare(r.t, r.registry, want.String(), "key_pool_state")
}
