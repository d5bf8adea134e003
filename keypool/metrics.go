package keypool

import (
	"errors"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"keybridge/keypool/verdict"
)

// Metrics shows the pools made with it to Prometheus, under key_pool_*. Counters
// live with the pools, so a reload that keeps a provider keeps them, and a removed
// provider's series end with it.
type Metrics struct {
	pools func() []*Pool
	descs descs
}

type descs struct {
	state, transitions, exhaustions, attempts, failovers, calls,
	recoveries, next, key, headroom, scoped *prometheus.Desc
}

// NewMetrics registers the key_pool_* families. pools is called at each scrape and
// lists the pools now in use; a pool that was not made with these metrics, or
// whose name is doubled, is left out. Wrap reg for a prefix.
func NewMetrics(reg prometheus.Registerer, pools func() []*Pool) (*Metrics, error) {
	if reg == nil || pools == nil {
		return nil, errors.New("keypool: NewMetrics needs a registerer and a list of pools; for pools nobody watches there is NoMetrics")
	}
	d := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("key_pool_"+name, help, append([]string{"provider"}, labels...), nil)
	}
	m := &Metrics{pools: pools, descs: descs{
		state:       d("state", "Keys now in each state.", "state"),
		transitions: d("state_transitions_total", "Keys that changed state because of an upstream answer.", "reason"),
		exhaustions: d("exhaustions_total", "Calls that found no usable key.", "outcome"),
		attempts:    d("failover_attempts", "Keys handed out to one client request."),
		failovers:   d("failovers_total", "Moves of a call to another key.", "reason"),
		calls:       d("call_attempts", "Keys tried for one upstream call; 1 means no failover."),
		recoveries:  d("recoveries_total", "Keys that became valid again.", "via"),
		next:        d("next_recovery_seconds", "Time until the soonest cooling key may be used; absent when none cools."),
		key:         d("key_state", "1 for the state the key is in.", "key", "state"),
		headroom:    d("key_headroom_ratio", "What is left of the key's rate limit, as a share of it, as last reported; absent when unknown.", "key", "limit"),
		scoped:      d("scoped_cooldowns", "Cooldowns of one model and access denials now in force.", "scope"),
	}}
	if err := reg.Register(m); err != nil {
		return nil, err
	}
	return m, nil
}

// NoMetrics is for pools that nobody watches.
func NoMetrics() *Metrics { return &Metrics{pools: func() []*Pool { return nil }} }

// Describe implements prometheus.Collector.
func (m *Metrics) Describe(ch chan<- *prometheus.Desc) {
	d := m.descs
	for _, desc := range []*prometheus.Desc{d.state, d.transitions, d.exhaustions, d.attempts, d.failovers, d.calls, d.recoveries, d.next, d.key, d.headroom, d.scoped} {
		ch <- desc
	}
}

// Collect implements prometheus.Collector.
func (m *Metrics) Collect(ch chan<- prometheus.Metric) {
	seen := map[string]bool{}
	for _, p := range m.pools() {
		if p == nil || p.opts.Metrics != m || seen[p.provider] {
			continue
		}
		seen[p.provider] = true
		m.gauges(ch, p)
		m.counters(ch, p)
	}
}

// gauges settles the pool and reads it, under its lock; the families that settling
// moves are read after it.
func (m *Metrics) gauges(ch chan<- prometheus.Metric, p *Pool) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, append([]string{p.provider}, labels...)...)
	}
	now := time.Now()
	view := p.view(now)
	for _, st := range [...]State{Valid, Temporary, Permanent} {
		gauge(m.descs.state, float64(view.states[st]), string(st))
	}
	for i, k := range view.keys {
		gauge(m.descs.key, 1, k.ID, string(k.State))
		for res, ratio := range view.ratios[i] {
			if ratio >= 0 {
				gauge(m.descs.headroom, ratio, k.ID, verdict.Resource(res).String())
			}
		}
	}
	if !view.next.IsZero() {
		gauge(m.descs.next, max(view.next.Sub(now).Seconds(), 0))
	}
	for level, word := range scopeWords {
		gauge(m.descs.scoped, float64(view.scoped[level]), word)
	}
}

var scopeWords = map[verdict.Level]string{ //nolint:gochecknoglobals // a constant table
	verdict.Key: "key", verdict.Project: "project", verdict.Organization: "organization",
}

func (m *Metrics) counters(ch chan<- prometheus.Metric, p *Pool) {
	count := func(d *prometheus.Desc, v uint64, label string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(v), p.provider, label)
	}
	s := p.book.series
	for i, r := range transitionReasons {
		count(m.descs.transitions, s.transitions[i].Load(), string(r))
	}
	for i, o := range outcomes {
		count(m.descs.exhaustions, s.exhaustions[i].Load(), string(o))
	}
	for i, r := range failoverReasons {
		count(m.descs.failovers, s.failovers[i].Load(), string(r))
	}
	for i, v := range viaWords {
		count(m.descs.recoveries, s.recoveries[i].Load(), v)
	}
	for desc, h := range map[*prometheus.Desc]*histogram{m.descs.attempts: &s.attempts, m.descs.calls: &s.calls} {
		n, sum, byBound := h.snapshot()
		ch <- prometheus.MustNewConstHistogram(desc, n, sum, byBound, p.provider)
	}
}

// view is a pool at one moment.
type view struct {
	states map[State]int
	keys   []KeyStatus
	ratios []ratios // of each key
	next   time.Time
	scoped map[verdict.Level]int
}

func (p *Pool) view(now time.Time) view {
	v := view{states: map[State]int{}, scoped: map[verdict.Level]int{}}
	b := p.book
	b.mu.Lock()
	events := p.settle(now)
	for _, m := range p.members {
		st := m.stateAt(now)
		v.states[st]++
		v.keys = append(v.keys, m.status(st, now))
		v.ratios = append(v.ratios, m.ratios(&b.lanes))
		if at, ok := m.soonestTry(now); ok && st == Temporary {
			sooner(&v.next, at)
		}
	}
	for id, d := range b.domains {
		for _, bl := range d.models {
			if bl.inForce(now) {
				v.scoped[id.level]++
			}
		}
	}
	b.denials.inForce(now, func(l verdict.Level) { v.scoped[l]++ })
	b.mu.Unlock()
	p.report(events)
	return v
}

// soonestTry is when a cooling key may next be used for something it cannot be
// used for now.
func (m *member) soonestTry(now time.Time) (at time.Time, ok bool) {
	var whole time.Time
	for _, d := range m.domains() {
		if d == nil {
			continue
		}
		for _, b := range [...]*block{&d.whole, &d.bench} {
			if b.inForce(now) && b.nextTry().After(whole) {
				whole = b.nextTry()
			}
		}
	}
	if !whole.IsZero() {
		return whole, true
	}
	for _, d := range m.domains() {
		if d == nil {
			continue
		}
		for _, b := range d.models {
			if b.inForce(now) {
				sooner(&at, b.nextTry())
			}
		}
	}
	return at, !at.IsZero()
}
