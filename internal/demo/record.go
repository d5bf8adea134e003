package demo

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"keybridge/internal/simulator"
)

// record is the simulator's own log: what really reached the providers.
type record []simulator.Call

// asks tells whether a call asks a model, other than a probe's.
func asks(c simulator.Call) bool {
	return c.Method == http.MethodPost && c.Model != "" && !strings.HasSuffix(c.Path, "/count_tokens")
}

// hits counts the requests that met each class of faults. Being cut amid an answer
// counts for streams, cut before their first content.
func (r record) hits() (n [classes]int) {
	by := map[string]class{}
	for _, a := range script {
		by[a.fault] = a.class
	}
	for _, c := range r {
		if hit, ok := by[c.Fault]; ok && (hit != cut || c.Stream) {
			n[hit]++
		}
	}
	return n
}

// wasted is what an organization's rate limit has cost.
type wasted struct {
	act      *act
	rejected int // calls
	periods  int // for each model, the time that a rejection states
	again    int // rejected within a period: what one key has learned another one has asked again
	within   int // sent on to the organization's other key
}

// wasted reads it for every time when the organization was rate-limited.
func (r record) wasted() (all []wasted) {
	for i := range script {
		a := &script[i]
		if a.class != limited || a.provider != simulator.Anthropic || a.key != "k0" {
			continue
		}
		w := wasted{act: a}
		period := map[string]time.Time{} // when it ends, by the model
		for at, c := range r {
			if c.Provider != a.provider || c.Fault != a.fault || !asks(c) {
				continue
			}
			w.rejected++
			if c.Time.Before(period[c.Model]) {
				w.again++
			} else {
				w.periods++
				period[c.Model] = c.Time.Add(a.wait)
			}
			if sent := r.sentOn(at); sent != nil && owner(c.Provider, sent.KeyName) == owner(c.Provider, c.KeyName) {
				w.within++
			}
		}
		all = append(all, w)
	}
	return all
}

// sentOn is where the request of a call went next; nil: nowhere.
func (r record) sentOn(at int) *simulator.Call {
	for i := at + 1; i < len(r); i++ {
		if r[i].Path == r[at].Path && string(r[i].Body) == string(r[at].Body) {
			return &r[i]
		}
	}
	return nil
}

func owner(provider, key string) string {
	for i, k := range cast() {
		if k.Provider == provider && k.Name == key {
			return organizations[provider][i%keysEach].name
		}
	}
	return ""
}

// load is how a key of OpenAI's was used.
type load struct {
	key             string
	asked, over     int // calls, and those refused because a limit was used up
	share, deserved float64
	grant           int64
}

// loads tells of the keys of OpenAI how their use compares with their limits.
func (r record) loads(length time.Duration) (all []load) {
	calls, parts := 0, int64(0)
	for i, o := range organizations[simulator.OpenAI] {
		l := load{key: fmt.Sprintf("k%d", i)}
		for _, c := range r {
			if c.Provider != simulator.OpenAI || c.KeyName != l.key || !asks(c) {
				continue
			}
			l.asked++
			if c.Status == http.StatusTooManyRequests && c.Fault == "" {
				l.over++
			}
		}
		for _, limit := range limits(length) {
			if limit.Organization == o.name {
				l.grant = limit.Requests
			}
		}
		calls += l.asked
		parts += l.grant
		all = append(all, l)
	}
	for i := range all {
		all[i].share, all[i].deserved = float64(all[i].asked)/float64(max(calls, 1)), float64(all[i].grant)/float64(parts)
	}
	return all
}

// talk is how the agents' conversations stayed where their prompts were cached.
type talk struct{ sessions, turns, stayed int }

func (r record) talk() (t talk) {
	last := map[string]string{} // the key that served, by the conversation
	served := slices.DeleteFunc(slices.Clone(r), func(c simulator.Call) bool {
		return c.Status != http.StatusOK || c.Fault != "" || c.Header.Get(sessionHeader) == ""
	})
	slices.SortStableFunc(served, func(a, b simulator.Call) int { return a.Time.Compare(b.Time) })
	for _, c := range served {
		name := c.Header.Get(sessionHeader)
		switch before := last[name]; before {
		case "":
			t.sessions++
		case c.KeyName:
			t.stayed++
			fallthrough
		default:
			t.turns++
		}
		last[name] = c.KeyName
	}
	return t
}
