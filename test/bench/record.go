package main

import (
	"errors"
	"fmt"
	"time"
)

// settled is how long a gateway is given to write what it has recorded, so that the
// work is counted to the requests that made it.
const settled = 600 * time.Millisecond

// recordedKinds are the calls with which the record is measured.
var recordedKinds = []struct { //nolint:gochecknoglobals // a constant table
	name, kind  string
	size, calls int
	wide        int
}{
	{"1 KB request", blockingPath, 1_000, 8000, width},
	{"500 KB request", blockingPath, 500_000, 800, width},
	{"stream of 100 events", streamPath, 1_000, 4000, width},
	{"paced stream", pacedPath, 1_000, 2 * pacedWide, pacedWide},
}

// recorded compares a gateway that records with one that does not.
func recorded(r *rig, name string) ([]figure, error) {
	all, stop, failed := r.all([]string{keybridge, recording}, name, func(s *subject) error {
		body, want := chat(blockingPath, 1_000), answerLength(blockingPath)
		return s.flood(r.some(warmCalls), width, func(int) error { return s.ask(body, want) })
	})
	if failed != nil {
		return nil, failed
	}
	defer stop()
	var figures []figure
	for _, k := range recordedKinds {
		body, want, n := chat(k.kind, k.size), answerLength(k.kind), r.some(k.calls)
		t := samples{}
		for range r.rounds {
			for _, s := range all {
				one, err := r.measure(s, n, func() error {
					defer time.Sleep(settled) //nolint:forbidigo // nothing tells from outside that a gateway has written; the wait is part of the measure
					return s.flood(n, min(k.wide, n), func(int) error { return s.ask(body, want) })
				})
				if err != nil {
					return nil, err
				}
				t[s.name] = append(t[s.name], one)
			}
		}
		cpu := t.figure("CPU µs per "+k.name, 1.1, func(s sample) float64 { return s.cpu })
		memory := t.figure("peak memory, MiB, "+k.name, 0, peak)
		figures = append(figures, cpu.against(), memory.against())
	}
	atRate, err := recordedAtRate(r, all)
	return append(figures, atRate...), err
}

// against makes the values of the gateway that records the figure's own, and those of
// the other one what they are compared with.
func (f figure) against() figure {
	f.base, f.judged = f.values[keybridge], recording
	return f
}

// recordedAtRate is what a request costs and how much later the slowest answers come, in
// microseconds, when requests come one by one.
func recordedAtRate(r *rig, all []*subject) ([]figure, error) {
	rate := fmt.Sprintf("at %d per second", perSecond)
	p99 := figure{name: "p99 " + rate + ", µs later", values: map[string][]float64{}, most: 1000, absolute: true, judged: recording}
	body, want, n := chat(blockingPath, 1_000), answerLength(blockingPath), r.some(8*perSecond)
	t := samples{}
	for range r.rounds {
		slowest := map[string]float64{}
		for _, s := range all {
			one, err := r.measure(s, n, func() error {
				took, err := s.arrive(n, time.Second/perSecond, func() error { return s.ask(body, want) })
				if err != nil {
					return errors.Join(err, s.alive())
				}
				slowest[s.name] = quantile(took, 0.99)
				return nil
			})
			if err != nil {
				return nil, err
			}
			t[s.name] = append(t[s.name], one)
		}
		p99.values[recording] = append(p99.values[recording], slowest[recording]-slowest[keybridge])
	}
	cpu := t.figure("CPU µs per 1 KB request "+rate, 1.1, func(s sample) float64 { return s.cpu })
	return []figure{cpu.against(), p99}, nil
}
