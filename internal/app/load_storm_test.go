package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/app"
	"keybridge/internal/simulator"
	"keybridge/keypool"
)

const (
	stormCalls = 1000 // at once
	stormTurns = 2    // of each caller
	stormKeys  = 10   // the last is bad from the start and never replaced
	stormSpare = 200  // keys that are added and removed, each once
	stormSeed  = 20_261
)

// stormFaults are what a key suffers from, by weight of a thousand calls.
var stormFaults = []struct {
	weight int
	fault  simulator.Fault
}{
	{30, simulator.Fault{Name: "rate_limit_retry_after_ms", Wait: 300 * time.Millisecond}},
	{20, simulator.Fault{Name: "rate_limit", Wait: time.Second}},
	{3, simulator.Fault{Name: "invalid_key"}},
	{20, simulator.Fault{Name: "server_error"}},
	{20, simulator.Fault{Name: "reset"}},
	{10, simulator.Fault{Name: "refuse"}},
	{20, simulator.Fault{Name: "error_first"}},
	{10, simulator.Fault{Name: "error_after_preamble", Error: "rate_limit_retry_after_ms", Wait: time.Second}},
	{20, simulator.Fault{Name: "error_after_content"}},
	{20, simulator.Fault{Name: "cut_after_content"}},
	{20, simulator.Fault{Name: "truncate"}},
	{5, simulator.Fault{Name: "stall"}},
	{5, simulator.Fault{Name: "stall_body"}},
}

// stormModels spread the cooldowns, which are of one key and model.
var stormModels = []string{"gpt-5-mini", "gpt-5", "gpt-4o", "gpt-4o-mini", "gpt-4.1", "o3", "o4-mini", "gpt-5.1"}

// storm is a provider whose keys fail at random, and the secrets it knows.
type storm struct {
	sim     *simulator.Simulator
	mu      sync.Mutex
	rand    *rand.Rand
	names   map[string]string // by secret
	secrets []string          // the first stormKeys are configured from the start
	armed   map[string]int
}

func newStorm() *storm {
	s := &storm{rand: rand.New(rand.NewPCG(stormSeed, 1)), names: map[string]string{}, armed: map[string]int{}}
	var keys []simulator.Key
	for i := range stormKeys + stormSpare {
		k := simulator.Key{Provider: simulator.OpenAI, Name: fmt.Sprintf("k%03d", i), Secret: fmt.Sprintf("sk-storm-0123456789-%04d", i)}
		s.names["Bearer "+k.Secret] = k.Name
		keys, s.secrets = append(keys, k), append(s.secrets, k.Secret)
	}
	s.sim = simulator.New(simulator.Options{
		Keys: keys, Deterministic: true, Chunks: 4,
		Faults: []simulator.Fault{{Provider: simulator.OpenAI, Key: keys[stormKeys-1].Name, Name: "invalid_key"}},
	})
	return s
}

// ServeHTTP arms a fault for the key that asks, at random, and lets the simulator
// answer. A concurrent call with the same key may be the one that suffers.
func (s *storm) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	n := s.rand.IntN(1000)
	for _, f := range stormFaults {
		if n -= f.weight; n < 0 {
			f.fault.Provider, f.fault.Key, f.fault.Times = simulator.OpenAI, s.names[r.Header.Get("Authorization")], 1
			s.armed[f.fault.Name]++
			if err := s.sim.Arm(f.fault); err != nil {
				panic(err)
			}
			break
		}
	}
	s.mu.Unlock()
	s.sim.ServeHTTP(w, r)
}

// bringBack has every configured key rate-limited, and one that is back serve: the
// storm can be over, or its keys removed, before any cooldown is.
func (s *storm) bringBack(t *testing.T, a *app.App, secrets []string, c *caller) {
	t.Helper()
	for _, secret := range secrets {
		if err := s.sim.Arm(simulator.Fault{
			Provider: simulator.OpenAI, Key: s.names["Bearer "+secret], Name: "rate_limit_retry_after_ms", Wait: 300 * time.Millisecond, Times: 1,
		}); err != nil {
			t.Fatal(err)
		}
	}
	n := stormCalls * stormTurns
	if !loadPoll(20*time.Second, func() bool {
		n++
		c.call(n)
		return loadValues(loadFamilies(t, a.Gatherer())["keybridge_key_pool_recoveries_total"], "via")["cooldown"] > 0
	}) {
		t.Errorf("of keys that cool for 300 ms none came back")
	}
}

// stormConfig is a configuration of the secrets, each with an id of the reload's.
func stormConfig(base string, secrets []string, more string) string {
	var text strings.Builder
	text.WriteString("log: {level: info, format: json}\nstream: {first_event_timeout: 3s, idle_timeout: 3s, hold: 1s}\n" +
		"providers:\n  - name: openai\n    kind: openai\n    max_wait: 2s\n    base_url: " + base + "/openai/v1\n" + more + "    keys:\n")
	for i, s := range secrets {
		fmt.Fprintf(&text, "      - {id: slot-%d, secret: 'literal:%s'}\n", i, s)
	}
	return text.String()
}

// reloader rewrites the configuration and has it read until it is told to stop.
type reloader struct {
	good, bad int
	secrets   []string                   // configured at the end, in order
	pools     map[*keypool.Pool]struct{} // every pool there was

	app        *app.App
	file, base string // of the configuration, of the upstream
}

func (r *reloader) run(t *testing.T, s *storm, stop <-chan struct{}) {
	rng := rand.New(rand.NewPCG(stormSeed, 2))
	spare := s.secrets[stormKeys:]
	r.secrets = slices.Clone(s.secrets[:stormKeys])
	r.pools = map[*keypool.Pool]struct{}{r.app.KeyPools()[0]: {}}
	for {
		select {
		case <-stop:
			return
		case <-time.After(20 * time.Millisecond): // a busy operator
		}
		next := slices.Clone(r.secrets)
		if len(spare) > 0 && rng.IntN(2) == 0 { // one key for another: it goes and never comes back
			if i := rng.IntN(len(next)); next[i] != s.secrets[stormKeys-1] {
				next[i], spare = spare[0], spare[1:]
			}
		}
		rng.Shuffle(len(next), func(i, j int) { next[i], next[j] = next[j], next[i] })
		text, want := stormConfig(r.base, next, "    strategy: "+[]string{"priority", "round_robin", "least_busy"}[rng.IntN(3)]+"\n"), http.StatusOK
		switch rng.IntN(6) {
		case 0:
			text, want = stormConfig(r.base, append(next, next[0]), ""), http.StatusInternalServerError
		case 1:
			text, want = text[:len(text)-20], http.StatusInternalServerError
		}
		loadConfig(t, r.file, text)
		req, _ := http.NewRequest(http.MethodPost, "http://"+r.app.Address("admin")+"/-/reload", nil)
		resp, err := http.DefaultTransport.RoundTrip(req)
		if err != nil {
			t.Error(err)
			return
		}
		if said, err := loadRead(resp); err != nil || resp.StatusCode != want {
			t.Errorf("reload: status %d, want %d, error %v: %s", resp.StatusCode, want, err, said)
			return
		}
		if want != http.StatusOK {
			r.bad++
			continue
		}
		r.good++
		r.secrets = next
		r.pools[r.app.KeyPools()[0]] = struct{}{}
	}
}

// caller makes one call after the other.
type caller struct {
	t      *testing.T
	client *http.Client
	base   string
	rand   *rand.Rand
	tally  *stormTally
}

type stormTally struct{ whole, failed, cancelled atomic.Int64 }

func (c *caller) call(n int) {
	nonce := fmt.Sprintf("nonce-%d-end", n)
	said := `"` + nonce + ` says hello"`
	stream := c.rand.IntN(3) > 0
	body := fmt.Sprintf(`{"model":"%s","stream":%t,"messages":[{"role":"user","content":%s}],"input":%s}`, stormModels[c.rand.IntN(len(stormModels))], stream, said, said)
	path, method := []string{"/v1/chat/completions", "/v1/responses", "/v1/embeddings", "/v1/models"}[c.rand.IntN(4)], http.MethodPost
	if path == "/v1/models" {
		method, body = http.MethodGet, ""
	}
	ctx, cancel := context.WithCancel(c.t.Context())
	defer cancel()
	cancels := c.rand.IntN(5) == 0
	if cancels {
		defer time.AfterFunc(time.Duration(c.rand.IntN(1500))*time.Millisecond, cancel).Stop()
	}
	req, _ := http.NewRequestWithContext(ctx, method, c.base+path, strings.NewReader(body))
	req.Header.Set("Content-Type", "application/json")
	if stream {
		req.Header.Set("X-Simulator-Pace", "5ms")
	}
	resp, err := c.client.Do(req)
	if err != nil {
		if !cancels {
			c.t.Errorf("call %d %s: no answer: %v", n, path, err)
		}
		c.tally.cancelled.Add(1)
		return
	}
	got, err := loadRead(resp)
	switch verdict, ok := stormVerdict(path, resp.StatusCode, got, err, nonce); {
	case cancels && err != nil:
		c.tally.cancelled.Add(1)
	case !ok:
		c.t.Errorf("call %d %s (stream %t): status %d, read error %v: a short answer that looks whole: %s", n, path, stream, resp.StatusCode, err, got)
	case verdict == "whole":
		c.tally.whole.Add(1)
	default:
		c.tally.failed.Add(1)
	}
}

// TestLoadStormBalances has a thousand callers at once over ten keys that fail at
// random, some of whom go away, while the configuration changes under them. Then
// the accounts must balance.
func TestLoadStormBalances(t *testing.T) {
	before := goroutines()
	s := newStorm()
	upstream := httptest.NewServer(s)
	file := filepath.Join(t.TempDir(), "keybridge.yaml")
	loadConfig(t, file, stormConfig(upstream.URL, s.secrets[:stormKeys], "    strategy: round_robin\n"))
	logged := &loadLog{}
	a := loadStart(t, app.Options{ConfigPath: file, Stderr: logged, Drain: 10 * time.Second})

	r, stop := &reloader{app: a, file: file, base: upstream.URL}, make(chan struct{})
	var reloading, callers sync.WaitGroup
	reloading.Go(func() { r.run(t, s, stop) })
	tr := &http.Transport{MaxIdleConnsPerHost: stormCalls}
	var tally stormTally
	began := time.Now()
	for i := range stormCalls {
		callers.Go(func() {
			c := &caller{
				t: t, client: &http.Client{Transport: tr}, base: "http://" + a.Address("listen"),
				rand: rand.New(rand.NewPCG(stormSeed, uint64(100+i))), tally: &tally,
			}
			for n := range stormTurns {
				c.call(i*stormTurns + n)
			}
		})
	}
	callers.Wait()
	close(stop)
	reloading.Wait()
	s.bringBack(t, a, r.secrets, &caller{
		t: t, client: &http.Client{Transport: tr}, base: "http://" + a.Address("listen"), rand: rand.New(rand.NewPCG(stormSeed, 3)), tally: &tally,
	})
	s.mu.Lock() // a call whose client has left may still arrive
	armed := maps.Clone(s.armed)
	s.mu.Unlock()
	t.Logf("seed %d: %d calls in %s: %d whole, %d errors, %d cancelled; %d reloads, %d refused; faults %v", stormSeed, stormCalls*stormTurns,
		time.Since(began).Round(time.Millisecond), tally.whole.Load(), tally.failed.Load(), tally.cancelled.Load(), r.good, r.bad, armed)
	for name, n := range map[string]int64{
		"whole answers": tally.whole.Load(), "errors": tally.failed.Load(), "cancelled calls": tally.cancelled.Load(),
		"reloads": int64(r.good), "refused reloads": int64(r.bad),
	} {
		if n == 0 {
			t.Errorf("the storm had no %s: it shows nothing", name)
		}
	}

	nothingInFlight(t, a, r.pools)
	stormAccounts(t, a, r, logged, s.secrets)

	http.DefaultTransport.(*http.Transport).CloseIdleConnections()
	tr.CloseIdleConnections()
	a.Stop(context.WithoutCancel(t.Context()))
	s.sim.Close()
	upstream.Close()
	var left []string
	if !loadPoll(10*time.Second, func() bool { left = since(before); return len(left) == 0 }) {
		t.Errorf("%d goroutines are left after the stop:\n%s", len(left), strings.Join(left, "\n\n"))
	}
}

// nothingInFlight checks that every lease was given back, also of keys that were
// removed meanwhile. A server learns of a client's leaving a moment after it.
func nothingInFlight(t *testing.T, a *app.App, pools map[*keypool.Pool]struct{}) {
	t.Helper()
	flying := func() (leases int, exchanges float64) {
		for p := range pools {
			leases += p.InFlight()
		}
		for _, n := range loadValues(loadFamilies(t, a.Gatherer())["keybridge_interceptions_inflight"], "route") {
			exchanges += n
		}
		return leases, exchanges
	}
	if !loadPoll(10*time.Second, func() bool { leases, exchanges := flying(); return leases == 0 && exchanges == 0 }) {
		leases, exchanges := flying()
		t.Errorf("at the end %d leases are out and %v exchanges in flight, want none", leases, exchanges)
	}
}

// stormAccounts holds the counters against the log, line by line, and both against
// the states in which the keys are at the end.
func stormAccounts(t *testing.T, a *app.App, r *reloader, logged *loadLog, secrets []string) {
	t.Helper()
	got := loadFamilies(t, a.Gatherer()) // settles what is due, so the log has it too
	type life struct{ temporary, permanent, recovered int }
	lives := map[string]life{}
	reasons, vias := map[string]float64{}, map[string]float64{}
	for line := range bytes.Lines(logged.bytes()) {
		var l struct{ Msg, Hint, State, Reason, Via string }
		if err := json.Unmarshal(line, &l); err != nil {
			t.Fatalf("log line %s: %v", line, err)
		}
		if l.Msg != "key out" && l.Msg != "key recovered" {
			continue
		}
		k := lives[l.Hint]
		switch keypool.State(l.State) {
		case keypool.Valid:
			k.recovered++
			vias[l.Via]++
		case keypool.Temporary:
			k.temporary++
			reasons[l.Reason]++
		case keypool.Permanent:
			k.permanent++
			reasons[l.Reason]++
		}
		lives[l.Hint] = k
	}
	for name, want := range map[string]map[string]float64{"state_transitions_total/reason": reasons, "recoveries_total/via": vias} {
		family, label, _ := strings.Cut(name, "/")
		counted := loadValues(got["keybridge_key_pool_"+family], label)
		maps.DeleteFunc(counted, func(_ string, v float64) bool { return v == 0 })
		if diff := cmp.Diff(want, counted); diff != "" {
			t.Errorf("%s (-logged +counted):\n%s", family, diff)
		}
	}
	if reasons["rate_limited"] == 0 || reasons["unauthorized"] == 0 || vias["cooldown"] == 0 {
		t.Errorf("transitions %v and recoveries %v: the storm shows nothing", reasons, vias)
	}

	states := loadValues(got["keybridge_key_pool_key_state"], "key", "state")
	for i, secret := range r.secrets {
		out := 1
		if states[fmt.Sprintf("slot-%d/valid", i)] == 1 {
			out = 0
		}
		k := lives[keypool.Hint(secret)]
		// A key that goes from one way of being out to the other leaves twice and
		// comes back once; without a rejection it cannot.
		crossed := k.temporary + k.permanent - k.recovered - out
		if crossed < 0 || crossed > 2*min(k.temporary, k.permanent) {
			t.Errorf("slot-%d: %+v do not lead to the states %v", i, k, states)
		}
	}
	for _, secret := range secrets {
		k := lives[keypool.Hint(secret)]
		if gone := !slices.Contains(r.secrets, secret); gone && k.permanent == 0 && k.temporary-k.recovered != 0 && k.temporary-k.recovered != 1 {
			t.Errorf("a removed key (%s): %+v lead to no state", keypool.Hint(secret), k)
		}
	}
}
