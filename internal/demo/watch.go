package demo

import (
	"slices"
	"sync"
	"time"

	"keybridge/keypool"
)

// watch follows what the script does to the keys and what becomes of them.
type watch struct {
	mu    sync.Mutex
	begin time.Time
	now   []*act
	spans []*span
}

// span is a key's time out of the pool, for one act.
type span struct {
	act    *act
	out    time.Time // zero: it has not left the pool yet
	state  keypool.State
	healed time.Time
	back   time.Time
}

func newWatch(begin time.Time) *watch { return &watch{begin: begin} }

func (w *watch) struck(a *act) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = append(w.now, a)
	if a.class.marks() {
		w.spans = append(w.spans, &span{act: a})
	}
}

func (w *watch) healed(a *act, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = slices.DeleteFunc(w.now, func(b *act) bool { return a == b })
	for _, s := range w.spans {
		if s.act == a {
			s.healed = now
		}
	}
}

// see holds the pools against the script.
func (w *watch) see(pools []keypool.Status, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.spans {
		switch state := stateOf(pools, s.act); {
		case !s.back.IsZero():
		case state != keypool.Valid:
			s.state = state
			if s.out.IsZero() {
				s.out = now
			}
		case !s.healed.IsZero():
			s.back = now
		}
	}
}

func stateOf(pools []keypool.Status, a *act) keypool.State {
	for _, p := range pools {
		for _, k := range p.Keys {
			if p.Provider == a.provider && k.ID == a.key {
				return k.State
			}
		}
	}
	return keypool.Permanent
}

// waiting tells whether a healed key is still out.
func (w *watch) waiting() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.ContainsFunc(w.spans, func(s *span) bool { return !s.healed.IsZero() && s.back.IsZero() })
}

// trouble is what the script does to the key now.
func (w *watch) trouble(provider, key string) string {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, a := range w.now {
		if a.provider == provider && a.key == key {
			return words[a.class]
		}
	}
	return ""
}

// history is every span, once the show is over.
func (w *watch) history() []span {
	w.mu.Lock()
	defer w.mu.Unlock()
	out := make([]span, len(w.spans))
	for i, s := range w.spans {
		out[i] = *s
	}
	return out
}
