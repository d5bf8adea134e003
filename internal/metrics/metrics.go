// Package metrics counts what the gateway serves, for Prometheus. It listens to
// the ledger, so it agrees with the access log and the record. The health of the
// key pools is not here: keypool has its own metrics.
//
// Every label is of a closed set. A client can choose none of them freely, so no
// traffic makes the number of series grow without bound.
package metrics

import (
	"cmp"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"keybridge/internal/ledger"
	"keybridge/keypool/verdict"

	"github.com/prometheus/client_golang/prometheus"
)

// seconds are the buckets of every duration: a long answer takes minutes.
var seconds = []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900} //nolint:gochecknoglobals // a constant table

// The closed sets. An index into one is what is cached by.
var (
	statuses     = [...]ledger.Status{ledger.Completed, ledger.Failed, ledger.Cancelled}            //nolint:gochecknoglobals // a constant table
	tokenTypes   = [...]string{"input", "output", "cache_read", "cache_write", "reasoning"}         //nolint:gochecknoglobals // a constant table
	attemptClass = [...]string{"2xx", "3xx", "4xx", "5xx", "timeout", "error", "cancelled"}         //nolint:gochecknoglobals // a constant table
	methods      = [...]string{http.MethodGet, http.MethodHead, http.MethodPost, http.MethodDelete, //nolint:gochecknoglobals // a constant table
		http.MethodPut, http.MethodPatch, http.MethodOptions}
)

// ProviderInfo is what provider_info tells of a configured provider.
type ProviderInfo struct {
	Name   string
	Kind   string
	Status string // "enabled" or "disabled"
}

// Metrics are the gateway's own metrics and the ledger.Listener that fills them.
// Exchanges of providers that SetProviders has not named, or no longer names, are
// not counted.
type Metrics struct {
	interceptions *prometheus.CounterVec
	duration      *prometheus.HistogramVec
	firstEvent    *prometheus.HistogramVec
	passthrough   *prometheus.CounterVec
	attempts      *prometheus.CounterVec
	tokens        *prometheus.CounterVec
	dollars       *prometheus.CounterVec
	unpriced      *prometheus.CounterVec
	unreported    *prometheus.CounterVec
	reloadOK      prometheus.Gauge
	reloadTime    prometheus.Gauge

	// mu guards which providers there are and the binding of their series: a series
	// is only ever made under it and for a present provider, so that a late count
	// cannot bring a removed one back.
	mu        sync.RWMutex
	providers map[string]*provider
	order     []*provider
	// flights outlives the providers: what has been counted in must be counted out,
	// whatever is configured by then.
	flights map[flight]*atomic.Int64
	tools   tools
}

// provider holds the bound series of one provider.
type provider struct {
	info     ProviderInfo
	attempts [len(attemptClass)]prometheus.Counter
	bridged  map[bridgedKey]*bridged
	passed   map[passedKey]prometheus.Counter
	tokens   map[string]*[len(tokenTypes)]prometheus.Counter
	costs    map[string]*costs
}

type (
	flight     struct{ provider, route string }
	bridgedKey struct{ model, route string }
	passedKey  struct{ route, method, class string }
)

type bridged struct {
	byStatus   [len(statuses)]prometheus.Counter
	duration   prometheus.Observer
	firstEvent prometheus.Observer
}

// New makes the metrics and registers them. The names have no prefix: wrap the
// registerer to give them one.
func New(reg prometheus.Registerer) *Metrics {
	m := &Metrics{
		interceptions: counter("interceptions_total", "Bridged exchanges that have ended.", "provider", "model", "route", "status"),
		duration: histogram("interceptions_duration_seconds", "Time from a bridged request's arrival to the end of its answer.",
			"provider", "model", "route"),
		firstEvent: histogram("time_to_first_event_seconds", "Time from a bridged request's arrival until its answer began.",
			"provider", "model", "route"),
		passthrough: counter("passthrough_total", "Exchanges that were passed through unread, by the class of the client's HTTP status.",
			"provider", "route", "method", "class"),
		attempts: counter("upstream_attempts_total", "Requests sent upstream, by the class of the answer's HTTP status or why there was none.",
			"provider", "class"),
		tokens: counter("tokens_total", "Tokens that providers reported; input without the cache's, output with reasoning, reasoning also on its own.",
			"provider", "model", "type"),
		dollars:  counter("cost_usd_total", "What the answers cost by the price list, in US dollars. Callers with keys of their own pay elsewhere.", "provider", "model"),
		unpriced: counter("unpriced_tokens_total", "Tokens that no price is known for.", "provider", "model"),
		unreported: counter("usage_unreported_total", "Complete answers without a report of the tokens that they took.",
			"provider", "model"),
		reloadOK: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "config_last_reload_successful", Help: "Whether the last reading of the configuration succeeded.",
		}),
		reloadTime: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "config_last_reload_success_timestamp_seconds", Help: "When the configuration was last read successfully.",
		}),
		providers: make(map[string]*provider),
		flights:   make(map[flight]*atomic.Int64),
		tools:     newTools(reg),
	}
	reg.MustRegister(m.interceptions, m.duration, m.firstEvent, m.passthrough, m.attempts, m.tokens,
		m.dollars, m.unpriced, m.unreported, m.reloadOK, m.reloadTime, present{m})
	return m
}

func counter(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

func histogram(name, help string, labels ...string) *prometheus.HistogramVec {
	return prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: name, Help: help, Buckets: seconds}, labels)
}

// SetProviders names the providers there are from now on. The series of a kept
// provider go on; those of a removed one are gone from the next scrape.
func (m *Metrics) SetProviders(infos []ProviderInfo) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.providers
	m.providers, m.order = make(map[string]*provider, len(infos)), nil
	for _, info := range infos {
		p := before[info.Name]
		if p == nil {
			p = &provider{
				bridged: make(map[bridgedKey]*bridged),
				passed:  make(map[passedKey]prometheus.Counter),
				tokens:  make(map[string]*[len(tokenTypes)]prometheus.Counter),
				costs:   make(map[string]*costs),
			}
			for i, class := range attemptClass {
				p.attempts[i] = m.attempts.WithLabelValues(info.Name, class)
			}
		}
		p.info = info
		m.providers[info.Name] = p
		m.order = append(m.order, p)
	}
	for name := range before {
		if m.providers[name] == nil {
			gone := prometheus.Labels{"provider": name}
			for _, vec := range []interface {
				DeletePartialMatch(labels prometheus.Labels) int
			}{m.interceptions, m.duration, m.firstEvent, m.passthrough, m.attempts, m.tokens, m.dollars, m.unpriced, m.unreported} {
				vec.DeletePartialMatch(gone)
			}
		}
	}
}

// Reloaded notes an attempt to read the configuration, the first one too.
func (m *Metrics) Reloaded(ok bool, at time.Time) {
	if !ok {
		m.reloadOK.Set(0)
		return
	}
	m.reloadOK.Set(1)
	m.reloadTime.Set(float64(at.UnixMilli()) / 1e3)
}

// Started implements ledger.Listener. The exchange's Provider, Route and Bridged
// must be set and stay as they are.
func (m *Metrics) Started(e *ledger.Exchange) {
	if e.Bridged {
		m.flying(e).Add(1)
	}
}

// Attempted implements ledger.Listener.
func (m *Metrics) Attempted(e *ledger.Exchange, a *ledger.Attempt) {
	m.mu.RLock()
	p := m.providers[e.Provider]
	m.mu.RUnlock()
	if p != nil {
		p.attempts[attemptIndex(a)].Inc()
	}
}

// Finished implements ledger.Listener.
func (m *Metrics) Finished(e *ledger.Exchange) {
	m.looped(e)
	model := family(e.Model)
	m.charged(e, model)
	if u := e.Usage(); u.Total() > 0 {
		if series, ok := bound(m, e.Provider, model, tokenSeries, (*Metrics).bindTokens); ok {
			for i, n := range [len(tokenTypes)]int64{u.Input, u.Output, u.CacheRead, u.CacheWrite, u.Reasoning} {
				series[i].Add(float64(max(n, 0)))
			}
		}
	}
	if !e.Bridged {
		key := passedKey{route: cmp.Or(e.Route, other), method: methodLabel(e.Method), class: classLabel(e.HTTPStatus)}
		if series, ok := bound(m, e.Provider, key, passedSeries, (*Metrics).bindPassed); ok {
			series.Inc()
		}
		return
	}
	m.flying(e).Add(-1)
	series, ok := bound(m, e.Provider, bridgedKey{model: model, route: e.Route}, bridgedSeries, (*Metrics).bindBridged)
	if !ok {
		return
	}
	series.byStatus[statusIndex(e.Status)].Inc()
	series.duration.Observe(e.End.Sub(e.Start).Seconds())
	if !e.FirstEvent.IsZero() {
		series.firstEvent.Observe(e.FirstEvent.Sub(e.Start).Seconds())
	}
}

// flying returns the count of the exchanges like e that are being served.
func (m *Metrics) flying(e *ledger.Exchange) *atomic.Int64 {
	key := flight{provider: e.Provider, route: e.Route}
	m.mu.RLock()
	n := m.flights[key]
	m.mu.RUnlock()
	if n != nil {
		return n
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if n = m.flights[key]; n == nil {
		n = new(atomic.Int64)
		m.flights[key] = n
	}
	return n
}

// bound returns the provider's series for the key, made at its first use; false if
// there is no such provider (any more).
func bound[K comparable, S any](m *Metrics, name string, key K, of func(*provider) map[K]S, bind func(*Metrics, string, K) S) (S, bool) {
	m.mu.RLock()
	p := m.providers[name]
	if p == nil {
		m.mu.RUnlock()
		var none S
		return none, false
	}
	series, ok := of(p)[key]
	m.mu.RUnlock()
	if ok {
		return series, true
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if p = m.providers[name]; p == nil {
		return series, false
	}
	if series, ok = of(p)[key]; !ok {
		series = bind(m, name, key)
		of(p)[key] = series
	}
	return series, true
}

func bridgedSeries(p *provider) map[bridgedKey]*bridged         { return p.bridged }
func passedSeries(p *provider) map[passedKey]prometheus.Counter { return p.passed }
func tokenSeries(p *provider) map[string]*[len(tokenTypes)]prometheus.Counter {
	return p.tokens
}

// bindBridged makes all statuses at once: a rate over a series whose first value
// is already a failure would not show that failure.
func (m *Metrics) bindBridged(name string, key bridgedKey) *bridged {
	series := &bridged{
		duration:   m.duration.WithLabelValues(name, key.model, key.route),
		firstEvent: m.firstEvent.WithLabelValues(name, key.model, key.route),
	}
	for i, status := range statuses {
		series.byStatus[i] = m.interceptions.WithLabelValues(name, key.model, key.route, string(status))
	}
	return series
}

func (m *Metrics) bindPassed(name string, key passedKey) prometheus.Counter {
	return m.passthrough.WithLabelValues(name, key.route, key.method, key.class)
}

func (m *Metrics) bindTokens(name, model string) *[len(tokenTypes)]prometheus.Counter {
	series := new([len(tokenTypes)]prometheus.Counter)
	for i, kind := range tokenTypes {
		series[i] = m.tokens.WithLabelValues(name, model, kind)
	}
	return series
}

func statusIndex(s ledger.Status) int {
	for i, known := range statuses {
		if s == known {
			return i
		}
	}
	return 1 // failed
}

// attemptIndex is the class of an attempt: its status, or why it has none.
func attemptIndex(a *ledger.Attempt) int {
	switch {
	case a.Status >= 200 && a.Status < 600:
		return a.Status/100 - 2
	case a.Reason == string(verdict.Timeout):
		return 4
	case a.Reason == string(verdict.None):
		return 6 // nothing is held against the upstream: the client went away
	}
	return 5
}

func classLabel(status int) string {
	if status < 200 || status >= 600 {
		return "none"
	}
	return attemptClass[status/100-2]
}

func methodLabel(method string) string {
	for _, known := range methods {
		if method == known {
			return known
		}
	}
	return other
}
