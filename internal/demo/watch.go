package demo

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"keybridge/keypool"
)

// watch follows what the script does to the keys and what becomes of them.
type watch struct {
	mu      sync.Mutex
	begin   time.Time
	now     []*act
	spans   []*span
	news    []string
	seen    map[keyName]keypool.KeyStatus
	since   map[keyName]time.Time // when they left the pool
	returns []comeback
}

// late is how much later than a key's return its line in the log is believed.
const late = time.Second / 2

type keyName struct{ provider, key string }

func (a *act) name() keyName { return keyName{a.provider, a.key} }

// span is a key's time out of the pool, for one act.
type span struct {
	act    *act
	out    time.Time // zero: it has not left the pool yet
	healed time.Time
	back   time.Time
	via    string
}

// comeback is a recovery as the gateway logs it.
type comeback struct {
	keyName
	via string
	at  time.Time
}

func newWatch(begin time.Time) *watch {
	return &watch{begin: begin, seen: map[keyName]keypool.KeyStatus{}, since: map[keyName]time.Time{}}
}

var recovery = regexp.MustCompile(`msg="key recovered" provider=(\S+) key=(\S+) .*\bvia=(\S+)`)

// Write reads the gateway's log for how keys come back.
func (w *watch) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for line := range bytes.Lines(p) {
		if m := recovery.FindSubmatch(line); m != nil {
			w.returns = append(w.returns, comeback{keyName{string(m[1]), string(m[2])}, string(m[3]), time.Now()})
		}
	}
	return len(p), nil
}

// tell is a line of news; w.mu is held.
func (w *watch) tell(now time.Time, provider, keys, text string) {
	w.news = append(w.news, fmt.Sprintf("%4.1f s  %-9s  %-6s  %s", now.Sub(w.begin).Seconds(), provider, keys, text))
}

// latest is the news from the n-th on, and how many there are in all.
func (w *watch) latest(n int) (news []string, all int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.news[min(n, len(w.news)):]), len(w.news)
}

func (w *watch) struck(a *act, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.now = append(w.now, a)
	if a.class.marks() {
		w.spans = append(w.spans, &span{act: a})
	}
	w.tell(now, a.provider, a.key, "trouble: "+words[a.class])
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
	w.tell(now, a.provider, a.key, "no longer "+words[a.class])
}

// see holds the pools against the script, and against what they were.
func (w *watch) see(pools []keypool.Status, now time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, s := range w.spans {
		switch state := stateOf(pools, s.act); {
		case !s.back.IsZero():
		case state != keypool.Valid:
			if s.out.IsZero() {
				s.out = now
			}
		case !s.healed.IsZero():
			s.back = now
		}
	}
	for _, p := range pools {
		var gone []keypool.KeyStatus
		for _, k := range p.Keys {
			name := keyName{p.Provider, k.ID}
			before, known := w.seen[name]
			w.seen[name] = k
			if k.Organization.Name != before.Organization.Name {
				w.tell(now, p.Provider, k.ID, "belongs to "+k.Organization.Name+", says "+strings.ToLower(k.Organization.Evidence))
			}
			switch out := known && before.State != keypool.Valid; {
			case k.State == keypool.Valid && out:
				w.returned(name, before, now)
			case k.State != keypool.Valid && (!out || k.State != before.State):
				gone = append(gone, k)
			}
		}
		w.left(p.Provider, gone, now)
	}
}

// returned tells that a key is back, as soon as the log has said how.
func (w *watch) returned(name keyName, before keypool.KeyStatus, now time.Time) {
	via := w.via(name, w.since[name], now)
	if via == "" {
		w.seen[name] = before
		return
	}
	w.tell(now, name.provider, name.key, fmt.Sprintf("back after %.1f s: %s", now.Sub(w.since[name]).Seconds(), ways[via]))
	delete(w.since, name)
}

// left tells that keys are out, those of one organization in one line.
func (w *watch) left(provider string, gone []keypool.KeyStatus, now time.Time) {
	for i, k := range gone {
		if name := (keyName{provider, k.ID}); w.since[name].IsZero() {
			w.since[name] = now
		}
		if sharedBy(gone[:i], k) {
			continue
		}
		when := "at once"
		if wait := next(k, now); wait != "now" {
			when = "in " + wait
		}
		text := fmt.Sprintf("%s: %s, next try %s", k.State, reason(k), when)
		keys := []string{k.ID}
		for _, o := range gone[i+1:] {
			if slices.Contains(k.Organization.Shared, o.ID) {
				keys = append(keys, o.ID)
			}
		}
		if len(keys) > 1 {
			text = "all of " + k.Organization.Name + " " + text
		}
		w.tell(now, provider, strings.Join(keys, " "), text)
	}
}

// ways are those of coming back, as the pool calls them.
var ways = map[string]string{ //nolint:gochecknoglobals // a constant table
	"cooldown": "its wait was over", "probe": "a probe found it good", "trial": "a request found it good", "operator": "the operator revived it",
}

// via is how a key that was seen leaving and coming back did that: the last way that
// the log tells of. The log may be a little late.
func (w *watch) via(name keyName, out, back time.Time) (via string) {
	for _, c := range w.returns {
		if c.keyName == name && c.at.After(out) && c.at.Before(back.Add(late)) {
			via = c.via
		}
	}
	return via
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
		out[i].via = w.via(s.act.name(), s.out, s.back)
	}
	return out
}
