package record_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/record"
)

// sink keeps what it is given, as a store does: an ended exchange stands above one that
// has only begun, and what it has already changes nothing.
type sink struct {
	mu     sync.Mutex
	rows   map[string]*ledger.Exchange
	order  []string // of first writes of ended exchanges
	writes [][2]int // begun and ended of each successful one
	calls  int
	fail   func(begun, ended []*ledger.Exchange) error // nil: no failure
	hang   chan struct{}                               // writes do not come back until it is closed
	deaf   bool                                        // not even if their context ends
	slow   time.Duration                               // that a write takes
}

func newSink() *sink { return &sink{rows: map[string]*ledger.Exchange{}} }

func (s *sink) Write(ctx context.Context, begun, ended []*ledger.Exchange) error {
	s.mu.Lock()
	s.calls++
	hang, deaf, slow := s.hang, s.deaf, s.slow
	s.mu.Unlock()
	time.Sleep(slow)
	if hang != nil {
		over := ctx.Done()
		if deaf {
			over = nil
		}
		select {
		case <-hang:
		case <-over:
			return ctx.Err()
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fail != nil {
		if err := s.fail(begun, ended); err != nil {
			return err
		}
	}
	s.take(begun, ended)
	return nil
}

// take keeps what it is given.
func (s *sink) take(begun, ended []*ledger.Exchange) {
	if len(begun)+len(ended) > 0 {
		s.writes = append(s.writes, [2]int{len(begun), len(ended)})
	}
	for _, e := range begun {
		if s.rows[e.ID] == nil {
			s.rows[e.ID] = e
		}
	}
	for _, e := range ended {
		if was := s.rows[e.ID]; was == nil || was.Status == ledger.Open {
			s.rows[e.ID] = e
			s.order = append(s.order, e.ID)
		}
	}
}

// set changes the sink while it is in use.
func (s *sink) set(change func(*sink)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(s)
}

// status is what the sink has of an exchange; "" for nothing.
func (s *sink) status(id string) ledger.Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	if e := s.rows[id]; e != nil {
		return e.Status
	}
	return ""
}

func (s *sink) all() map[string]*ledger.Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	return maps.Clone(s.rows)
}

func (s *sink) pieces() [][2]int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.writes)
}

func (s *sink) ended() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.order)
}

var errDown = errors.New("db.example:5432: connection refused")

func down([]*ledger.Exchange, []*ledger.Exchange) error { return errDown }

// tally is an Observer.
type tally struct {
	mu       sync.Mutex
	recorded map[string]int
	dropped  map[string]int
	failures map[string]int
	flushes  int
	waited   int
}

func newTally() *tally {
	return &tally{recorded: map[string]int{}, dropped: map[string]int{}, failures: map[string]int{}}
}

func (t *tally) Recorded(outcome string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.recorded[outcome] += n
}

func (t *tally) Dropped(reason string, n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.dropped[reason] += n
}

func (t *tally) Wrote(_ time.Duration, failure string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flushes++
	if failure != "" {
		t.failures[failure]++
	}
}

func (t *tally) Waited() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waited++
}

// of reads a count while it may change.
func (t *tally) of(counts map[string]int) map[string]int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return maps.Clone(counts)
}

func (t *tally) waits() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.waited
}

// exchange is a bridged exchange as the gateway hands it on at its end.
func exchange(id string) *ledger.Exchange {
	now := time.Now()
	return &ledger.Exchange{
		ID: id, Start: now, Principal: ledger.Principal{Name: "ci", Credential: ledger.Pooled}, Provider: "openai", Route: "/v1/chat/completions",
		Method: "POST", Bridged: true, Admitted: true, Model: "gpt-5", End: now.Add(time.Second), HTTPStatus: 200, Status: ledger.Completed,
		Attempts: []ledger.Attempt{{Key: "main", Hint: "sk-…abcd", Sent: now, Status: 200}},
		Turns:    []llm.Turn{{ID: "chatcmpl-" + id, Reported: true, Complete: true, Usage: llm.Usage{Input: 10, Output: 20}}},
	}
}

// begun is the same exchange at its beginning.
func begun(id string) *ledger.Exchange {
	e := exchange(id)
	e.End, e.HTTPStatus, e.Status, e.Attempts, e.Turns = time.Time{}, 0, "", nil, nil
	return e
}

func ids(from, to int) []string {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("req_%05d", i))
	}
	return out
}

func finish(r *record.Recorder, names ...string) {
	for _, id := range names {
		r.Finished(exchange(id))
	}
}

func closed(t *testing.T, r *record.Recorder) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
}

// wait lets time pass, and all that has something to do in it end.
func wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s})
		wait(time.Minute)
		finish(r, ids(0, 3)...)
		wait(199 * time.Millisecond)
		if got := s.ended(); len(got) != 0 {
			t.Errorf("written before the flush interval: %v", got)
		}
		wait(2 * time.Millisecond)
		if got := s.ended(); len(got) != 3 {
			t.Errorf("written after the flush interval: %v", got)
		}
		closed(t, r)
	})
}
