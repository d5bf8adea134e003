package keypool

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"keybridge/keypool/verdict"
)

// rig is a pool under test with everything that watches it.
type rig struct {
	t     *testing.T
	reg   *prometheus.Registry
	pools []*Pool // what a scrape sees
	m     *Metrics
	log   bytes.Buffer

	logger *slog.Logger // of all pools: they write one after the other
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, reg: prometheus.NewPedanticRegistry()}
	r.logger = slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{ReplaceAttr: func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}}))
	m, err := NewMetrics(r.reg, func() []*Pool { return r.pools })
	if err != nil {
		t.Fatal(err)
	}
	r.m = m
	return r
}

// pool makes a pool "p" of keys named k0, k1 and so on, each standing alone.
func (r *rig) pool(n int, with ...func(*Options)) *Pool {
	r.t.Helper()
	o := Options{Provider: "p", Family: verdict.Anthropic, Host: "api.test", Metrics: r.m, Logger: r.logger}
	for i := range n {
		o.Keys = append(o.Keys, Key{ID: fmt.Sprintf("k%d", i), Secret: fmt.Sprintf("sk-test-0123456789-%04d", i)})
	}
	for _, f := range with {
		f(&o)
	}
	p, err := New(o)
	if err != nil {
		r.t.Fatal(err)
	}
	r.pools = []*Pool{p}
	return p
}

// reply is one answer of the upstream.
type reply struct {
	verdict verdict.Verdict
	err     error
	takes   time.Duration // until its head
	header  http.Header   // what is observed of it; nil: nothing is
}

// refusal is the error that stands for an upstream's answer.
type refusal string

func (r refusal) Error() string { return string(r) }

func good() reply { return reply{verdict: verdict.Success()} }

func limited(after time.Duration) reply {
	return reply{verdict: verdict.Verdict{
		Action: verdict.NextKey, Mark: verdict.Cool, Scope: verdict.Scope{Level: verdict.Organization, Model: true},
		Reason: verdict.RateLimited, Until: time.Now().Add(after), Status: http.StatusTooManyRequests,
	}, err: refusal("429")}
}

// unstated is a rate limit that names no wait.
func unstated() reply {
	r := limited(0)
	r.verdict.Until = time.Time{}
	return r
}

func condemned(l verdict.Level, reason verdict.Reason) reply {
	return reply{verdict: verdict.Verdict{
		Action: verdict.NextKey, Mark: verdict.Condemn, Scope: verdict.Scope{Level: l}, Reason: reason, Status: http.StatusUnauthorized,
	}, err: refusal(reason)}
}

func rejected() reply { return condemned(verdict.Key, verdict.Unauthorized) }
func broke() reply    { return condemned(verdict.Organization, verdict.QuotaExhausted) }

func denied(s verdict.Scope, text string) reply {
	return reply{verdict: verdict.Verdict{Action: verdict.NextKey, Mark: verdict.Deny, Scope: s, Reason: verdict.ModelAccess}, err: refusal(text)}
}

func suspected(text string) reply {
	return reply{verdict: verdict.Verdict{
		Action: verdict.NextKey, Mark: verdict.Suspect, Scope: verdict.Scope{Level: verdict.Key, Model: true}, Reason: verdict.Forbidden, Status: http.StatusForbidden,
	}, err: refusal(text)}
}

func tooLarge(text string) reply {
	return reply{verdict: verdict.Verdict{Action: verdict.NextKey, Scope: verdict.Scope{Level: verdict.Organization}, Reason: verdict.TooLarge}, err: refusal(text)}
}

func broken(text string) reply { return reply{verdict: verdict.Broken(), err: refusal(text)} }
func bad(text string) reply {
	return reply{verdict: verdict.Verdict{Action: verdict.Stop}, err: refusal(text)}
}

// wire is an answer judged by the real tables.
func wire(status int, body string, header ...string) reply {
	h := http.Header{}
	for i := 0; i < len(header); i += 2 {
		h.Set(header[i], header[i+1])
	}
	v := verdict.Classify(verdict.Anthropic, verdict.Answer{Status: status, Header: h, Body: []byte(body), Now: time.Now()})
	if v.Action == verdict.Relay {
		return reply{verdict: v}
	}
	return reply{verdict: v, err: refusal(fmt.Sprintf("%d %s", status, body))}
}

// script is what each key answers, in order.
type script map[string][]reply

// do runs one call and returns the keys that were asked, in order.
func do(t *testing.T, p *Pool, w Want, s script) ([]string, error) {
	t.Helper()
	return doContext(t.Context(), t, p, w, s)
}

func doContext(ctx context.Context, t *testing.T, p *Pool, w Want, s script) ([]string, error) {
	t.Helper()
	var order []string
	var leases []*Lease
	w.Model = cmp.Or(w.Model, "m")
	w.Endpoint = cmp.Or(w.Endpoint, "/v1/messages")
	err := p.Do(ctx, w, func(ctx context.Context, l *Lease) (verdict.Verdict, error) {
		order = append(order, l.Key())
		leases = append(leases, l)
		if len(s[l.Key()]) == 0 {
			t.Errorf("the call sent %v, which the script does not foresee", order)
			return verdict.Verdict{Action: verdict.Stop}, refusal("unforeseen")
		}
		r := s[l.Key()][0]
		s[l.Key()] = s[l.Key()][1:]
		if r.takes > 0 {
			if err := sleep(ctx, r.takes); err != nil {
				return verdict.Broken(), err
			}
		}
		if r.header != nil {
			l.Observe(r.header)
		}
		return r.verdict, r.err
	})
	for _, l := range leases {
		l.Release(Usage{})
	}
	for key, rest := range s {
		if len(rest) > 0 {
			t.Errorf("%d answers of %s were not asked for", len(rest), key)
		}
	}
	return order, err
}

// call is do with what it must come to: the keys asked and the error.
func call(t *testing.T, p *Pool, s script, keys string, want error) {
	t.Helper()
	order, err := do(t, p, Want{}, s)
	if got := strings.Join(order, " "); got != keys {
		t.Errorf("asked %q, want %q", got, keys)
	}
	sameError(t, err, want)
}

func sameError(t *testing.T, got, want error) {
	t.Helper()
	if diff := gocmp.Diff(errorText(want), errorText(got)); diff != "" {
		t.Errorf("error (-want +got):\n%s", diff)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return fmt.Sprintf("%T %v", err, err)
}

func exhausted(o Outcome, after time.Duration) error {
	return &ExhaustedError{Provider: "p", Outcome: o, RetryAfter: after}
}

// expect is the whole of the key_pool_* families. What is not stated is 0, or,
// for a gauge that may be absent, absent.
type expect struct {
	keys        map[string]State // all of them
	transitions map[verdict.Reason]int
	exhaustions map[Outcome]int
	attempts    []int // the samples
	calls       []int // the same; nil: as attempts
	failovers   map[verdict.Reason]int
	recoveries  map[string]int
	next        float64            // seconds; 0: absent
	headroom    map[string]float64 // by key and limit, as "k0 tokens"
	scoped      map[string]int
}

// text is the exposition of one provider's families.
func (e *expect) text(provider string) string {
	var b strings.Builder
	family := func(name, kind string) { fmt.Fprintf(&b, "# TYPE key_pool_%s %s\n", name, kind) }
	family("state", "gauge")
	states := map[State]int{}
	for _, s := range e.keys {
		states[s]++
	}
	for _, s := range []State{Valid, Temporary, Permanent} {
		fmt.Fprintf(&b, "key_pool_state{provider=%q,state=%q} %d\n", provider, s, states[s])
	}
	family("key_state", "gauge")
	for _, k := range slices.Sorted(maps.Keys(e.keys)) {
		fmt.Fprintf(&b, "key_pool_key_state{key=%q,provider=%q,state=%q} 1\n", k, provider, e.keys[k])
	}
	family("state_transitions_total", "counter")
	for _, r := range []verdict.Reason{"rate_limited", "unauthorized", "forbidden", "quota_exhausted"} {
		fmt.Fprintf(&b, "key_pool_state_transitions_total{provider=%q,reason=%q} %d\n", provider, r, e.transitions[r])
	}
	family("exhaustions_total", "counter")
	for _, o := range []Outcome{"rate_limited", "auth_failed", "quota_exhausted"} {
		fmt.Fprintf(&b, "key_pool_exhaustions_total{outcome=%q,provider=%q} %d\n", o, provider, e.exhaustions[o])
	}
	family("failovers_total", "counter")
	for _, r := range []verdict.Reason{"rate_limited", "unauthorized", "forbidden", "quota_exhausted", "model_access", "too_large", "upstream_error", "timeout"} {
		fmt.Fprintf(&b, "key_pool_failovers_total{provider=%q,reason=%q} %d\n", provider, r, e.failovers[r])
	}
	family("recoveries_total", "counter")
	for _, v := range []string{"cooldown", "probe", "trial", "operator"} {
		fmt.Fprintf(&b, "key_pool_recoveries_total{provider=%q,via=%q} %d\n", provider, v, e.recoveries[v])
	}
	if e.next > 0 {
		family("next_recovery_seconds", "gauge")
		fmt.Fprintf(&b, "key_pool_next_recovery_seconds{provider=%q} %v\n", provider, e.next)
	}
	if len(e.headroom) > 0 {
		family("key_headroom_ratio", "gauge")
	}
	for _, of := range slices.Sorted(maps.Keys(e.headroom)) {
		key, limit, _ := strings.Cut(of, " ")
		fmt.Fprintf(&b, "key_pool_key_headroom_ratio{key=%q,limit=%q,provider=%q} %v\n", key, limit, provider, e.headroom[of])
	}
	family("scoped_cooldowns", "gauge")
	for _, s := range []string{"key", "project", "organization"} {
		fmt.Fprintf(&b, "key_pool_scoped_cooldowns{provider=%q,scope=%q} %d\n", provider, s, e.scoped[s])
	}
	calls := e.calls
	if calls == nil {
		calls = e.attempts
	}
	family("failover_attempts", "histogram")
	samples(&b, "key_pool_failover_attempts", provider, e.attempts)
	family("call_attempts", "histogram")
	samples(&b, "key_pool_call_attempts", provider, calls)
	return b.String()
}

func samples(b *strings.Builder, name, provider string, values []int) {
	sum := 0
	for _, v := range values {
		sum += v
	}
	for _, le := range []int{1, 2, 3, 4, 5, 10, 25} {
		n := 0
		for _, v := range values {
			if v <= le {
				n++
			}
		}
		fmt.Fprintf(b, "%s_bucket{provider=%q,le=\"%d\"} %d\n", name, provider, le, n)
	}
	fmt.Fprintf(b, "%s_bucket{provider=%q,le=\"+Inf\"} %d\n", name, provider, len(values))
	fmt.Fprintf(b, "%s_sum{provider=%q} %d\n%s_count{provider=%q} %d\n", name, provider, sum, name, provider, len(values))
}

var helpLines = sync.OnceValue(func() map[string]string {
	lines := map[string]string{}
	reg := prometheus.NewRegistry()
	var pools []*Pool
	m, err := NewMetrics(reg, func() []*Pool { return pools })
	if err != nil {
		panic(err)
	}
	p, err := New(Options{Provider: "x", Family: verdict.OpenAI, Host: "h", Metrics: m, Keys: []Key{{Secret: "a"}, {Secret: "b"}}})
	if err != nil {
		panic(err)
	}
	pools = []*Pool{p}
	p.members[0].key.whole.cool(limited(time.Minute).verdict, time.Now())
	err = p.Do(context.Background(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
		l.Observe(http.Header{"X-Ratelimit-Limit-Tokens": {"2"}, "X-Ratelimit-Remaining-Tokens": {"1"}})
		return verdict.Success(), nil
	})
	if err != nil {
		panic(err)
	}
	families, err := reg.Gather()
	if err != nil {
		panic(err)
	}
	for _, f := range families {
		lines[f.GetName()] = f.GetHelp()
	}
	return lines
})

// families compares everything that a scrape shows with the expectation: nil means
// that no family exists at all, and one that is not expected must be absent.
func (r *rig) families(e *expect) {
	r.t.Helper()
	if err := r.compare(e); err != nil {
		r.t.Errorf("key_pool_*: %v", err)
	}
}

func (r *rig) compare(e *expect) error {
	text := ""
	if e != nil {
		text = e.text("p")
	}
	var want strings.Builder
	expected := map[string]bool{}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, "# TYPE "); ok {
			name, _, _ := strings.Cut(rest, " ")
			fmt.Fprintf(&want, "# HELP %s %s\n", name, helpLines()[name])
			expected[name] = true
		}
		want.WriteString(line)
	}
	families, err := r.reg.Gather()
	if err != nil {
		return err
	}
	got := map[string]bool{}
	for _, f := range families {
		got[f.GetName()] = true
	}
	if diff := gocmp.Diff(expected, got); diff != "" {
		return fmt.Errorf("families (-want +got):\n%s", diff)
	}
	return testutil.GatherAndCompare(r.reg, strings.NewReader(want.String()))
}

// idle asserts that every lease was given back and no trial was left behind.
func idle(t *testing.T, p *Pool) {
	t.Helper()
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	if l := &p.book.line; l.n != 0 || len(l.callers) != 0 || l.turns.Len() != 0 || l.room != 0 || !l.at.IsZero() {
		t.Errorf("left in line: %d calls of %d callers, %d for room, the timer set for %v", l.n, len(l.callers), l.room, l.at)
	}
	for id, d := range p.book.domains {
		if d.inflight != 0 {
			t.Errorf("%d in flight", d.inflight)
		}
		for _, mt := range d.meters {
			if mt != nil && (mt.first != nil || mt.last != nil || mt.pending != need{}) {
				t.Errorf("%s of level %d still counts %v as in flight for %s", id.name, id.level, mt.pending, mt.lane.name)
			}
		}
		blocks := map[string]*block{"": &d.whole}
		maps.Copy(blocks, d.models)
		for model, b := range blocks {
			if b.trial != nil {
				t.Errorf("domain of level %d, model %q: a trial was left behind", id.level, model)
			}
		}
	}
}
