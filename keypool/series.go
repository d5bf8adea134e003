package keypool

import (
	"sync"
	"sync/atomic"

	"keybridge/keypool/verdict"
)

// via is how a key became valid again.
type via uint8

const (
	viaCooldown via = iota
	viaProbe
	viaTrial
	viaOperator
)

//nolint:gochecknoglobals // the closed label sets, in the order of their counters
var viaWords = [...]string{"cooldown", "probe", "trial", "operator"}

//nolint:gochecknoglobals // as above
var transitionReasons = [...]verdict.Reason{verdict.RateLimited, verdict.Unauthorized, verdict.Forbidden, verdict.QuotaExhausted}

//nolint:gochecknoglobals // as above
var failoverReasons = [...]verdict.Reason{
	verdict.RateLimited, verdict.Unauthorized, verdict.Forbidden, verdict.QuotaExhausted,
	verdict.ModelAccess, verdict.TooLarge, verdict.UpstreamError, verdict.Timeout,
}

//nolint:gochecknoglobals // as above
var outcomes = [...]Outcome{OutcomeRateLimited, OutcomeAuthFailed, OutcomeQuotaExhausted}

//nolint:gochecknoglobals // a constant table
var buckets = [...]float64{1, 2, 3, 4, 5, 10, 25}

// series are the counters of one provider. They belong to the book, so they
// outlive a reload and end with the provider.
type series struct {
	transitions [len(transitionReasons)]atomic.Uint64
	exhaustions [len(outcomes)]atomic.Uint64
	failovers   [len(failoverReasons)]atomic.Uint64
	recoveries  [len(viaWords)]atomic.Uint64
	attempts    histogram // per client request
	calls       histogram // per upstream call
}

func newSeries() *series { return &series{} }

func (s *series) transition(r verdict.Reason) {
	for i, known := range transitionReasons {
		if r == known {
			s.transitions[i].Add(1)
		}
	}
}

func (s *series) failover(r verdict.Reason) {
	for i, known := range failoverReasons {
		if r == known {
			s.failovers[i].Add(1)
		}
	}
}

func (s *series) exhaustion(o Outcome) {
	for i, known := range outcomes {
		if o == known {
			s.exhaustions[i].Add(1)
		}
	}
}

// histogram counts small whole numbers in the fixed buckets.
type histogram struct {
	mu     sync.Mutex
	counts [len(buckets)]uint64 // cumulative
	count  uint64
	sum    uint64
}

func (h *histogram) observe(n int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.count++
	h.sum += uint64(max(n, 0))
	for i, le := range buckets {
		if float64(n) <= le {
			h.counts[i]++
		}
	}
}

func (h *histogram) snapshot() (count uint64, sum float64, byBound map[float64]uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	byBound = make(map[float64]uint64, len(buckets))
	for i, le := range buckets {
		byBound[le] = h.counts[i]
	}
	return h.count, float64(h.sum), byBound
}

// Tally counts the keys that one client request was handed, over all its upstream
// calls. Close it when the request ends, on every way out.
type Tally struct {
	mu      sync.Mutex
	entries []tallied
}

type tallied struct {
	provider string
	series   *series
	handed   int
}

// add counts under the provider's name, which outlives a reload.
func (t *Tally) add(provider string, s *series, handed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := range t.entries {
		if t.entries[i].provider == provider {
			t.entries[i].series = s
			t.entries[i].handed += handed
			return
		}
	}
	t.entries = append(t.entries, tallied{provider, s, handed})
}

// Close observes one sample of key_pool_failover_attempts for each provider that
// handed out at least one key. It is idempotent.
func (t *Tally) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, e := range t.entries {
		e.series.attempts.observe(e.handed)
	}
	t.entries = nil
}
