package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// rig is what every scenario runs on.
type rig struct {
	ctx       context.Context //nolint:containedctx // of the whole run
	out       io.Writer
	dir       string // temporary
	self      string // this program
	keybridge string
	nginx     string // empty: not installed
	profile   string
	upstream  string
	mock      *process
	rounds    int
	quick     bool
	files     int // that a process may open
	tallies   map[string]tally
}

// tally is how many calls a proxy was sent and how many of them it did not answer.
type tally struct{ calls, lost int64 }

func newRig(ctx context.Context, o options, out io.Writer) (*rig, error) {
	r := &rig{ctx: ctx, out: out, profile: o.profile, rounds: o.rounds, quick: o.quick, nginx: findNginx(), tallies: map[string]tally{}}
	if err := r.open(o); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

func (r *rig) open(o options) (err error) {
	if r.dir, err = os.MkdirTemp("", "bench"); err != nil {
		return err
	}
	if r.self, err = os.Executable(); err != nil {
		return err
	}
	if r.keybridge, err = filepath.Abs(o.keybridge); err != nil {
		return err
	}
	if _, err = os.Stat(r.keybridge); err != nil {
		return fmt.Errorf("the gateway is not built: %w", err)
	}
	if r.profile != "" {
		if err = os.MkdirAll(r.profile, 0o750); err != nil {
			return err
		}
	}
	if r.nginx == "" {
		r.say("nginx is not installed: left out\n")
	}
	var limit syscall.Rlimit
	if err = syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	r.files = int(min(limit.Max, 1<<20))
	if r.upstream, err = freeAddress(r.ctx); err != nil {
		return err
	}
	r.mock, err = start(r.ctx, r.dir, r.upstream, r.self, "mock", "-listen", r.upstream)
	return err
}

func (r *rig) close() {
	if r.mock != nil {
		r.mock.stop()
	}
	_ = os.RemoveAll(r.dir) //nolint:gosec // a folder of our own
}

func (r *rig) say(format string, args ...any) { _, _ = fmt.Fprintf(r.out, format, args...) }

func (r *rig) columns() []string {
	if r.nginx == "" {
		return []string{keybridge, floor, floorRead}
	}
	return []string{keybridge, floor, floorRead, nginx}
}

// some is n, or a small part of it in a smoke test.
func (r *rig) some(n int) int {
	if r.quick {
		return max(n/200, 4)
	}
	return n
}

// counted is what the mock has seen: connections and requests.
func (r *rig) counted() (connections, requests int64, err error) {
	b, err := get(r.ctx, r.upstream, countersPath)
	if err != nil {
		return 0, 0, err
	}
	if _, err = fmt.Sscan(string(b), &connections, &requests); err != nil {
		return 0, 0, err
	}
	return connections, requests, nil
}

// all starts the proxies of these names, has each warmed up, and returns what ends
// them.
func (r *rig) all(names []string, scenario string, warm func(*subject) error) (subjects []*subject, stop func(), err error) {
	stop = func() {
		for _, s := range subjects {
			s.stop()
		}
	}
	for _, name := range names {
		s, err := r.begin(name, scenario)
		if err == nil {
			subjects = append(subjects, s)
			err = warm(s)
		}
		if err != nil {
			stop()
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
	}
	return subjects, stop, nil
}

// sample is what one round of one proxy came to, each per call but for the peak.
type sample struct {
	cpu         float64 // µs
	objects     float64
	size        float64 // KiB
	connections float64
	attempts    float64
	peak        float64 // MiB
}

// measure runs load, which is n calls.
func (r *rig) measure(s *subject, n int, load func() error) (sample, error) {
	var out sample
	fail := func(err error) (sample, error) { return out, fmt.Errorf("%s: %w", s.name, err) }
	connections, requests, err := r.counted()
	if err != nil {
		return fail(err)
	}
	objects, size, err := s.heap(r.ctx)
	if err != nil {
		return fail(err)
	}
	s.forgetPeak()
	before, err := s.cpu()
	if err = errors.Join(err, load()); err != nil {
		return fail(err)
	}
	after, err := s.cpu()
	if err != nil {
		return fail(err)
	}
	_, peak, err := s.memory()
	if err != nil {
		return fail(err)
	}
	objects2, size2, err := s.heap(r.ctx)
	if err != nil {
		return fail(err)
	}
	connections2, requests2, err := r.counted()
	if err != nil {
		return fail(err)
	}
	per := 1 / float64(n)
	return sample{
		cpu:     float64((after - before).Nanoseconds()) / 1e3 * per,
		objects: (objects2 - objects) * per, size: (size2 - size) / 1024 * per,
		connections: float64(connections2-connections-1) * per, // but for the counters' own
		attempts:    float64(requests2-requests) * per, peak: mib(peak),
	}, nil
}

func mib(n int64) float64 { return float64(n) / (1 << 20) }
