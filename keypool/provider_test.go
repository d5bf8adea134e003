package keypool_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/simulator"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// provider is a simulated one with a pool of its keys before it, in a bubble.
type provider struct {
	t    *testing.T
	name string
	sim  *simulator.Simulator
	opts keypool.Options
	pool *keypool.Pool
	via  *keypool.Transport

	mu   sync.Mutex
	sent map[string]int // requests by key and status, as "k0 200"
}

// simulated makes a provider whose keys belong to the organizations named. The pool
// is told nothing of them.
func simulated(t *testing.T, name string, organizations []string, limits []simulator.Limit, with ...func(*keypool.Options)) *provider {
	t.Helper()
	o := simulator.Options{Limits: limits, LogSize: 1}
	p := &provider{t: t, name: name, sent: map[string]int{}, opts: keypool.Options{
		Provider: "p", Family: verdict.Family(name), Host: "api.test", Metrics: keypool.NoMetrics(),
	}}
	for i, organization := range organizations {
		k := simulator.Key{Provider: name, Name: fmt.Sprint("k", i), Secret: fmt.Sprintf("sk-test-%s-%04d", name, i), Organization: organization}
		o.Keys = append(o.Keys, k)
		p.opts.Keys = append(p.opts.Keys, keypool.Key{ID: k.Name, Secret: k.Secret})
	}
	for _, f := range with {
		f(&p.opts)
	}
	p.sim = simulator.New(o)
	p.reload()
	return p
}

func (p *provider) reload() {
	next, err := keypool.New(p.opts)
	if err != nil {
		p.t.Fatal(err)
	}
	next.Adopt(p.pool)
	p.pool = next
	if p.via, err = keypool.NewTransport(keypool.TransportOptions{Pool: next, Base: p}); err != nil {
		p.t.Fatal(err)
	}
}

// RoundTrip is the wire between the pool and the simulator.
func (p *provider) RoundTrip(r *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	in := httptest.NewRequest(r.Method, r.URL.Path, bytes.NewReader(body))
	in.Header = r.Header.Clone()
	out := httptest.NewRecorder()
	p.sim.Provider(p.name).ServeHTTP(out, in)
	secret := cmpOr(r.Header.Get("X-Api-Key"), r.Header.Get("Authorization"))
	p.mu.Lock()
	p.sent[fmt.Sprintf("k%s %d", strings.TrimLeft(secret[len(secret)-4:len(secret)-1], "0")+secret[len(secret)-1:], out.Code)]++
	p.mu.Unlock()
	return out.Result(), nil
}

func cmpOr(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// asks sends one request and gives its status: that of the answer, or 429 where no
// key could serve.
func (p *provider) asks(model string, most int) int {
	path, body := "/v1/chat/completions", fmt.Sprintf(`{"model":%q,"max_completion_tokens":%d,"messages":[{"role":"user","content":"x"}]}`, model, most)
	if p.name == simulator.Anthropic {
		path, body = "/v1/messages", fmt.Sprintf(`{"model":%q,"max_tokens":%d,"messages":[{"role":"user","content":"x"}]}`, model, most)
	}
	r, err := http.NewRequestWithContext(p.t.Context(), http.MethodPost, "https://api.test"+path, strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("Anthropic-Version", "2023-06-01")
	resp, err := p.via.RoundTrip(r)
	if _, ok := errors.AsType[*keypool.ExhaustedError](err); ok {
		return http.StatusTooManyRequests
	}
	if err != nil {
		p.t.Fatal(err)
	}
	_, _ = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp.StatusCode
}

// refused counts the requests that the provider refused for its limits, of keys
// whose names begin so.
func (p *provider) refused(names ...string) (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for what, count := range p.sent {
		key, status, _ := strings.Cut(what, " ")
		if status == "429" && (len(names) == 0 || slices.Contains(names, key)) {
			n += count
		}
	}
	return n
}

func (p *provider) total() (n int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, count := range p.sent {
		n += count
	}
	return n
}

var models = map[string]string{simulator.OpenAI: "gpt-4o", simulator.Anthropic: "claude-haiku-4-5"}

// Two organizations of three keys, one of which has next to nothing: what the first
// refusals reveal is known from then on, over reloads too, so each cooling period
// costs one request for all of that organization.
func TestExhaustedOrganizationCostsOneRequestAPeriod(t *testing.T) {
	for _, name := range []string{simulator.OpenAI, simulator.Anthropic} {
		for _, strategy := range []keypool.Strategy{keypool.Priority, keypool.RoundRobin, keypool.LeastBusy, keypool.Weighted} {
			t.Run(name+" "+string(strategy), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					p := simulated(t, name, []string{"a", "a", "a", "b", "b", "b"}, []simulator.Limit{
						{Organization: "a", Requests: 1}, {Organization: "b", Requests: 100_000},
					}, func(o *keypool.Options) { o.Strategy = strategy })
					a := []string{"k0", "k1", "k2"}
					ask := func(n int, every time.Duration) {
						for range n {
							if status := p.asks(models[name], 10); status != http.StatusOK {
								t.Fatalf("a client saw %d", status)
							}
							time.Sleep(every)
						}
					}
					// The first answers of a's keys: one serves, each of the others may cost one.
					ask(20, time.Millisecond)
					if n := p.refused(a...); n > 3 {
						t.Errorf("%d requests wasted before a's keys were known, want at most one of each", n)
					}
					for period := range 10 {
						before := p.refused(a...)
						// One request a minute is granted: it ends the cooldown, the next begins one.
						ask(590, 100*time.Millisecond)
						time.Sleep(time.Second)
						if n := p.refused(a...) - before; n > 1 {
							t.Errorf("period %d: %d requests wasted on a, want at most 1", period, n)
						}
						if period == 4 {
							p.reload()
						}
					}
					if n := p.refused("k3", "k4", "k5"); n > 0 {
						t.Errorf("b refused %d", n)
					}
				})
			})
		}
	}
}

// capacity is what a pool's keys are granted in a minute.
type capacity struct {
	name   string
	kind   string
	orgs   []string
	limits []simulator.Limit
	model  []string
	rate   float64 // requests a minute at which all of it is used
	most   int     // a request's max_tokens
}

// At 80 % of what the keys are granted, with bursts and unequal limits, the strategy
// headroom avoids the refusals that others survive.
func TestHeadroomAvoidsRefusals(t *testing.T) {
	for _, c := range []capacity{
		{
			name: "requests", kind: simulator.OpenAI, orgs: []string{"a", "b", "c", "d"}, model: []string{"gpt-4o"}, most: 10, rate: 760,
			limits: []simulator.Limit{{Organization: "a", Requests: 500}, {Organization: "b", Requests: 200}, {Organization: "c", Requests: 50}, {Organization: "d", Requests: 10}},
		},
		{
			name: "requests of organizations with several keys", kind: simulator.Anthropic, orgs: []string{"a", "b", "a", "a", "b", "c"}, model: []string{"claude-haiku-4-5"}, most: 10, rate: 660,
			limits: []simulator.Limit{{Organization: "a", Requests: 500}, {Organization: "b", Requests: 120}, {Organization: "c", Requests: 40}},
		},
		{
			name: "two models", kind: simulator.OpenAI, orgs: []string{"a", "b", "b"}, model: []string{"gpt-4o", "gpt-4o-mini"}, most: 10, rate: 2 * 450,
			limits: []simulator.Limit{{Organization: "a", Requests: 400}, {Organization: "b", Requests: 50}},
		},
		{
			name: "tokens", kind: simulator.OpenAI, orgs: []string{"a", "b", "c"}, model: []string{"gpt-4o"}, most: 1000, rate: 700,
			limits: []simulator.Limit{{Organization: "a", Tokens: 500_000}, {Organization: "b", Tokens: 150_000}, {Organization: "c", Tokens: 50_000}},
		},
		{
			name: "an organization's tokens and a project's", kind: simulator.OpenAI, orgs: []string{"a", "a", "b"}, model: []string{"gpt-4o"}, most: 1000, rate: 600,
			limits: []simulator.Limit{{Organization: "a", Tokens: 300_000}, {Key: "k0", Per: simulator.PerKey, Tokens: 30_000}, {Organization: "b", Tokens: 300_000}},
		},
		{
			name: "an organization's requests and a workspace's", kind: simulator.Anthropic, orgs: []string{"a", "a", "b"}, model: []string{"claude-haiku-4-5"}, most: 10, rate: 600,
			limits: []simulator.Limit{{Organization: "a", Requests: 300}, {Key: "k0", Per: simulator.PerKey, Requests: 30}, {Organization: "b", Requests: 300}},
		},
	} {
		for seed := range uint64(2) {
			t.Run(fmt.Sprintf("%s %d", c.name, seed), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { c.load(t, rand.New(rand.NewPCG(seed, 1))) })
			})
		}
	}
}

// load is ten minutes at 80 %: in each of its minutes a random part of the
// requests comes in bursts, the others one by one.
func (c *capacity) load(t *testing.T, random *rand.Rand) {
	p := simulated(t, c.kind, c.orgs, c.limits, func(o *keypool.Options) { o.Strategy = keypool.Headroom })
	var clients sync.WaitGroup
	refused := 0
	ask := func() {
		model := c.model[random.IntN(len(c.model))]
		clients.Go(func() {
			if status := p.asks(model, c.most); status != http.StatusOK {
				p.mu.Lock()
				refused++
				p.mu.Unlock()
			}
		})
	}
	minute := int(0.8 * c.rate)
	for range 10 {
		left := minute
		begin := time.Now()
		for left > 0 {
			n := 1
			if random.IntN(20) == 0 {
				n = min(left, 1+random.IntN(minute/10))
			}
			for range n {
				ask()
			}
			left -= n
			synctest.Wait()
			time.Sleep(time.Duration(random.ExpFloat64() * float64(n) / float64(minute) * float64(time.Minute)))
		}
		if rest := time.Until(begin.Add(time.Minute)); rest > 0 {
			time.Sleep(rest)
		}
	}
	clients.Wait()
	if refused > 0 {
		t.Errorf("clients saw %d refusals", refused)
	}
	n, total := p.refused(), p.total()
	t.Logf("the provider refused %d of %d requests", n, total)
	if n*1000 >= total {
		t.Error("more than 0.1 %")
	}
}
