package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

// scenario is one way of using the proxies.
type scenario struct {
	name  string
	title string
	run   func(r *rig, name string) ([]figure, error)
	only  []string // the proxies that are measured; none: all
}

func (s *scenario) columns(r *rig) []string {
	if s.only != nil {
		return s.only
	}
	return r.columns()
}

const (
	width     = 8    // calls at a time where the rate is left to the proxy
	warmCalls = 1000 // before a proxy is measured
	pacedWide = 500
	idleWide  = 5000
	perSecond = 500 // calls, where the rate is fixed
)

// scenarios are all of them, in the order of the table.
func scenarios() []scenario {
	return []scenario{
		{"1kb", "1 KB request, blocking", flooded(blockingPath, 1_000, 8000, 0.8), nil},
		{"rate", fmt.Sprintf("1 KB request, blocking, at a fixed %d per second", perSecond), atRate, nil},
		{"500kb", "500 KB request, blocking", flooded(blockingPath, 500_000, 800, 0.95), nil},
		{"events", fmt.Sprintf("stream of %d events", burstEvents), flooded(streamPath, 1_000, 4000, 1.1), nil},
		{"paced", fmt.Sprintf("%d streams at once, %d events each, one every %s", pacedWide, pacedEvents, pace), paced, nil},
		{"idle", fmt.Sprintf("%d idle streams at once", idleWide), idle, nil},
		{"failover", "failover on every request, compared with Keybridge's own single attempt", failover, nil},
		{"prompt", "very large prompts", prompts, nil},
		{"record", "recording every request in SQLite, compared with recording nothing", recorded, []string{keybridge, recording}},
	}
}

func names() []string {
	var all []string
	for _, s := range scenarios() {
		all = append(all, s.name)
	}
	return all
}

// choose returns the scenarios of a list of names, all if it is empty.
func choose(only string) ([]scenario, error) {
	if only == "" {
		return scenarios(), nil
	}
	var chosen []scenario
	for name := range strings.SplitSeq(only, ",") {
		i := slices.IndexFunc(scenarios(), func(s scenario) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("there is no scenario %q: choose from %s", name, strings.Join(names(), ", "))
		}
		chosen = append(chosen, scenarios()[i])
	}
	return chosen, nil
}

// samples are the rounds of each proxy.
type samples map[string][]sample

func (t samples) figure(name string, most float64, of func(sample) float64) figure {
	f := figure{name: name, most: most, values: map[string][]float64{}}
	for column, rounds := range t {
		for _, s := range rounds {
			f.values[column] = append(f.values[column], of(s))
		}
	}
	return f
}

// work are the figures of what is measured per call.
func (t samples) work(per string, cpu float64) []figure {
	connections := t.figure("new upstream connections per "+per, mostConnections, func(s sample) float64 { return s.connections })
	connections.absolute = true
	objects := t.figure("allocations per "+per, 0, func(s sample) float64 { return s.objects })
	size := t.figure("KiB allocated per "+per, 0, func(s sample) float64 { return s.size })
	delete(objects.values, nginx)
	delete(size.values, nginx)
	return []figure{t.figure("CPU µs per "+per, cpu, func(s sample) float64 { return s.cpu }), objects, size, connections}
}

const mostConnections = 0.01

func peak(s sample) float64 { return s.peak }

// answerLength is how long the answers of a kind are.
func answerLength(kind string) int64 {
	switch kind {
	case streamPath:
		return int64(len(bodyOf(events(burstEvents))))
	case pacedPath:
		return int64(len(bodyOf(events(pacedEvents))))
	}
	return int64(len(completion))
}

// flooded makes the calls of one kind as fast as they are answered; cpu is the
// target against the floor.
func flooded(kind string, size, calls int, cpu float64) func(*rig, string) ([]figure, error) {
	return func(r *rig, name string) ([]figure, error) {
		body, want, n := chat(kind, size), answerLength(kind), r.some(calls)
		load := func(s *subject, n int) error {
			return s.flood(n, width, func(int) error { return s.ask(body, want) })
		}
		all, stop, err := r.all(r.columns(), name, func(s *subject) error { return load(s, r.some(min(warmCalls, calls))) })
		if err != nil {
			return nil, err
		}
		defer stop()
		t := samples{}
		for range r.rounds {
			for _, s := range all {
				one, err := r.measure(s, n, func() error { return load(s, n) })
				if err != nil {
					return nil, err
				}
				t[s.name] = append(t[s.name], one)
			}
		}
		per := "request"
		if kind == streamPath {
			per = "stream"
		}
		return append(t.work(per, cpu), t.figure("peak memory, MiB", 0, peak)), nil
	}
}

// atRate measures what a proxy adds to the time of a call: against calls to the
// mock itself in the same round.
func atRate(r *rig, name string) ([]figure, error) {
	body, want, n := chat(blockingPath, 1_000), answerLength(blockingPath), r.some(4*perSecond)
	load := func(c *crowd, n int) ([]time.Duration, error) {
		return c.arrive(n, time.Second/perSecond, func() error { return c.ask(body, want) })
	}
	all, stop, err := r.all(r.columns(), name, func(s *subject) error { _, err := load(s.crowd, r.some(warmCalls)); return err })
	if err != nil {
		return nil, err
	}
	defer stop()
	direct := newCrowd(r.ctx, r.upstream)
	defer direct.hangUp()
	p50 := figure{name: "added p50, µs", values: map[string][]float64{}}
	p99 := figure{name: "added p99, µs", values: map[string][]float64{}, most: 1}
	for range r.rounds {
		bare, err := load(direct, n)
		if err != nil {
			return nil, err
		}
		for _, s := range all {
			took, err := load(s.crowd, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, errors.Join(err, s.alive()))
			}
			p50.values[s.name] = append(p50.values[s.name], quantile(took, 0.5)-quantile(bare, 0.5))
			p99.values[s.name] = append(p99.values[s.name], quantile(took, 0.99)-quantile(bare, 0.99))
		}
	}
	return []figure{p50, p99}, nil
}

// paced holds many slow streams at once.
func paced(r *rig, name string) ([]figure, error) {
	body, want, wide := chat(pacedPath, 1_000), answerLength(pacedPath), r.some(pacedWide)
	load := func(s *subject, n int) error {
		return s.flood(n, wide, func(int) error { return s.ask(body, want) })
	}
	all, stop, err := r.all(r.columns(), name, func(s *subject) error { return load(s, wide) })
	if err != nil {
		return nil, err
	}
	defer stop()
	n := 2 * wide
	if r.quick {
		n = wide
	}
	t := samples{}
	for range r.rounds {
		for _, s := range all {
			one, err := r.measure(s, n, func() error { return load(s, n) })
			if err != nil {
				return nil, err
			}
			t[s.name] = append(t[s.name], one)
		}
	}
	return append(t.work("stream", 1.1), t.figure("peak memory, MiB", 1, peak)), nil
}

// idle holds many streams that say nothing, each time by a proxy just started.
func idle(r *rig, name string) ([]figure, error) {
	n := min(r.some(idleWide), (r.files-200)/2)
	if !r.quick && n < idleWide {
		r.say("only %d idle streams: a process may open no more than %d files\n", n, r.files)
	}
	f := figure{name: "peak KiB per stream", values: map[string][]float64{}, most: 1}
	for range min(r.rounds, 3) {
		for _, column := range r.columns() {
			held, err := r.idle(column, name, n)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", column, err)
			}
			f.values[column] = append(f.values[column], float64(held)/1024/float64(n))
		}
	}
	return []figure{f}, nil
}

// idle returns how much memory the streams cost.
func (r *rig) idle(column, name string, n int) (int64, error) {
	s, err := r.fresh(column, name)
	if err != nil {
		return 0, err
	}
	defer s.stop()
	before, _, err := s.memory()
	if err != nil {
		return 0, err
	}
	body := chat(idlePath, 1_000)
	var mu sync.Mutex
	var open []*client
	defer func() {
		_, _ = get(r.ctx, r.upstream, releasePath)
		for _, c := range open {
			c.reset()
		}
	}()
	err = s.flood(n, 64, func(int) error {
		c, fault := dial(r.ctx, s.address)
		if fault != nil {
			return fault
		}
		mu.Lock()
		open = append(open, c)
		mu.Unlock()
		resp, fault := c.begin(body) //nolint:bodyclose // left open on purpose
		if fault == nil {
			_, fault = resp.Body.Read(make([]byte, 1))
		}
		return fault
	})
	if err != nil {
		return 0, errors.Join(err, s.alive())
	}
	_, most, err := s.memory()
	return most - before, err
}

// fresh is a proxy just started that has served a few calls, with its peak yet to come.
func (r *rig) fresh(column, name string) (*subject, error) {
	s, err := r.begin(column, name)
	if err != nil {
		return nil, err
	}
	body, want := chat(blockingPath, 1_000), answerLength(blockingPath)
	if err = s.flood(r.some(warmCalls), width, func(int) error { return s.ask(body, want) }); err != nil {
		s.stop()
		return nil, err
	}
	s.forgetPeak()
	return s, nil
}

// failover compares requests that move to a second key with those that need not.
func failover(r *rig, name string) ([]figure, error) {
	n, want := r.some(4000), answerLength(blockingPath)
	kinds := []string{blockingPath, refusePath}
	load := func(s *subject, kind string, n int) error {
		body := chat(kind, 1_000)
		return s.flood(n, width, func(int) error { return s.ask(body, want) })
	}
	all, stop, err := r.all([]string{keybridge}, name, func(s *subject) error {
		return errors.Join(load(s, blockingPath, r.some(warmCalls)), load(s, refusePath, r.some(warmCalls)))
	})
	if err != nil {
		return nil, err
	}
	defer stop()
	s, byKind := all[0], samples{}
	for range r.rounds {
		for _, kind := range kinds {
			one, err := r.measure(s, n, func() error { return load(s, kind, n) })
			if err != nil {
				return nil, err
			}
			byKind[kind] = append(byKind[kind], one)
		}
	}
	own := samples{keybridge: byKind[blockingPath]}.work("request", 0)
	moved := samples{keybridge: byKind[refusePath]}
	figures := moved.work("request", 2.2)
	for i := range figures {
		figures[i].base = own[i].values[keybridge]
	}
	attempts := moved.figure("attempts per request", 0, func(s sample) float64 { return s.attempts })
	attempts.base = samples{keybridge: byKind[blockingPath]}.figure("", 0, func(s sample) float64 { return s.attempts }).values[keybridge]
	return append(figures, attempts), nil
}

// prompts measures what one very large request adds to the memory of a proxy just
// started, as a multiple of the request.
func prompts(r *rig, name string) ([]figure, error) {
	var figures []figure
	for _, size := range []int{4_000_000, 32_000_000} {
		f := figure{name: fmt.Sprintf("%d MB: peak growth ÷ request", size/1_000_000), values: map[string][]float64{}, most: 1.3, absolute: true}
		body, want := chat(blockingPath, max(r.some(size), 1_000)), answerLength(blockingPath)
		for range min(r.rounds, 3) {
			for _, column := range r.columns() {
				s, err := r.fresh(column, name)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", column, err)
				}
				before, _, err := s.memory()
				err = errors.Join(err, s.ask(body, want))
				_, most, merr := s.memory()
				s.stop()
				if err = errors.Join(err, merr); err != nil {
					return nil, fmt.Errorf("%s: %w", column, err)
				}
				f.values[column] = append(f.values[column], float64(most-before)/float64(len(body)))
			}
		}
		figures = append(figures, f)
	}
	return figures, nil
}
