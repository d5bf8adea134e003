package chaos

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/simulator"
	"keybridge/internal/store"
)

// kill is a kill -9, which came after one time and had done its work before the other.
type kill struct{ at, over time.Time }

// account is all that is known of a run, from its four sides.
type account struct {
	notes  []note             // the clients'
	served []simulator.Served // the provider's
	kills  []kill
	// window is how much younger than a kill -9 an answer may be that is not recorded: the
	// flush interval, and what a busy machine adds to it.
	window time.Duration

	// The record's.
	whole   []*store.Whole
	usage   []store.Used // by the dimensions that dims are
	open    int64        // rows, when the last gateway had ended
	dropped int64        // exchanges that the gateways say are lost
	spool   []string     // what is left there
	// unsettled says that others were not given the time to find out that a process is no
	// more: what it had begun is open still.
	unsettled bool
}

// dims are what the sums are compared by.
var dims = []store.Dimension{store.ByStatus, store.ByProvider, store.ByModel, store.ByCredential, store.ByCaller}

// figures are what a comparison counts.
type figures struct {
	statuses map[ledger.Status]int
	compared map[string]int // answers that are in the record as clients had them, by their kind
	cut      int            // answers that the record has in part
	begun    int            // of them with what they said at their start
	trips    int            // second halves of round trips
	own      int            // answers with callers' own keys
	refused  int            // errors instead of answers, all in the record
	young    int            // answers that a kill took
	youth    time.Duration  // of the oldest of them, at the kill
	metered  simulator.Usage
	recorded simulator.Usage
}

// entry is a turn in the record.
type entry struct {
	w *store.Whole
	t *store.Turn
}

type comparison struct {
	account
	figures

	found  []string
	answer map[string]simulator.Served
	turns  map[string]entry
	ids    map[string]*store.Whole
	asked  map[string]bool // the users' words that are recorded
}

// compare holds the record against what clients had and what the provider has served.
func compare(a account) (figures, []string) {
	c := &comparison{account: a, answer: map[string]simulator.Served{}, turns: map[string]entry{}, ids: map[string]*store.Whole{}, asked: map[string]bool{}}
	c.statuses, c.compared = map[ledger.Status]int{}, map[string]int{}
	for _, s := range a.served {
		c.answer[s.ID] = s
	}
	for _, w := range a.whole {
		c.interception(w)
	}
	for i := range a.notes {
		c.note(&a.notes[i])
	}
	c.unfinished()
	c.sums()
	if a.dropped > 0 {
		c.says("the gateways count %d exchanges as dropped", a.dropped)
	}
	for _, name := range a.spool {
		c.says("%s is left in the spool", name)
	}
	return c.figures, c.found
}

func (c *comparison) says(format string, args ...any) {
	c.found = append(c.found, fmt.Sprintf(format, args...))
}

// interception looks at what the record has of one exchange.
func (c *comparison) interception(w *store.Whole) {
	c.statuses[w.Status]++
	if c.ids[w.ID] != nil {
		c.says("%s is recorded twice", w.ID)
	}
	c.ids[w.ID] = w
	if w.Prompt != nil {
		c.asked[w.Prompt.Text] = true
	}
	var sum llm.Usage
	for i := range w.Turns {
		t := &w.Turns[i]
		sum = sum.Add(t.Usage)
		if t.Message == "" {
			continue // cut before it had a name
		}
		if first, twice := c.turns[t.Message]; twice {
			c.says("the answer %s is recorded twice, in %s and %s", t.Message, first.w.ID, w.ID)
			continue
		}
		c.turns[t.Message] = entry{w, t}
		c.turn(w, t)
	}
	if sum != w.Usage {
		c.says("%s: its turns used %+v, it has %+v", w.ID, sum, w.Usage)
	}
	if w.AttemptCount != len(w.Attempts) || w.TurnCount != len(w.Turns) {
		c.says("%s has %d of %d attempts and %d of %d turns", w.ID, len(w.Attempts), w.AttemptCount, len(w.Turns), w.TurnCount)
	}
	if w.Credential == ledger.BYOK && w.Picos+w.Unpriced != 0 {
		c.says("%s: who brought a key is charged %d", w.ID, w.Picos)
	}
}

func usageOf(u llm.Usage) simulator.Usage {
	return simulator.Usage{Input: u.Input, Output: u.Output, CacheRead: u.CacheRead, CacheWrite: u.CacheWrite, Reasoning: u.Reasoning}
}

func plus(u, v simulator.Usage) simulator.Usage {
	return simulator.Usage{
		Input: u.Input + v.Input, Output: u.Output + v.Output, CacheRead: u.CacheRead + v.CacheRead,
		CacheWrite: u.CacheWrite + v.CacheWrite, Reasoning: u.Reasoning + v.Reasoning,
	}
}

// turn holds what is recorded of an answer against what it cost.
func (c *comparison) turn(w *store.Whole, t *store.Turn) {
	s, ok := c.answer[t.Message]
	if !ok {
		c.says("%s: nobody has served the answer %s", w.ID, t.Message)
		return
	}
	used := usageOf(t.Usage)
	switch {
	case t.Complete && t.Reported:
		c.metered, c.recorded = plus(c.metered, s.Usage), plus(c.recorded, used)
		if used != s.Usage {
			c.says("%s: the answer %s cost %+v, recorded are %+v", w.ID, t.Message, s.Usage, used)
		}
	case t.Complete && w.Status == ledger.Completed && s.Whole && s.Reports:
		c.says("%s: the answer %s says what it cost, the record does not know it", w.ID, t.Message)
	case used == simulator.Usage{}, used == s.Usage:
	case used == s.Begun:
		c.begun++
	default:
		c.says("%s: the answer %s was cut; it began with %+v and cost %+v, recorded are %+v", w.ID, t.Message, s.Begun, s.Usage, used)
	}
	if !t.Complete {
		c.cut++
	}
}

// note looks for what a client had.
func (c *comparison) note(n *note) {
	if n.status == 0 {
		return // nothing came back: it may not even have been heard
	}
	if e, ok := c.turns[n.answer]; ok && n.outcome == whole {
		c.has(n, e)
		return
	}
	w := c.ids[n.exchange]
	switch {
	case n.outcome == whole, n.outcome != refused && n.answer != "" && c.turns[n.answer].w == nil:
		c.missing(n, "the answer "+n.answer)
	case n.exchange != "" && (w == nil || w.Status == ledger.Open || w.Status == ledger.Lost):
		c.missing(n, "the refusal "+n.exchange)
	case n.exchange != "" && (w.Status != ledger.Failed || w.HTTPStatus != n.status):
		c.says("%s: a client was refused with %d, recorded is %s with %d", w.ID, n.status, w.Status, w.HTTPStatus)
	case n.after == "" && !c.asked[n.asked]:
		c.missing(n, fmt.Sprintf("an answer with status %d", n.status))
	case n.outcome == refused:
		c.refused++
	}
}

// missing judges what a client had and the record has not.
func (c *comparison) missing(n *note, what string) {
	for _, k := range c.kills {
		if age := k.at.Sub(n.ended); n.began.Before(k.over) && age < c.window {
			c.young++
			c.youth = max(c.youth, age)
			return
		}
	}
	next := "none came after it"
	for _, k := range c.kills {
		if k.at.After(n.ended) {
			next = "a kill came " + k.at.Sub(n.ended).String() + " later"
			break
		}
	}
	c.says("a client had %s (%s, %s, of %q) at %s, and it is not recorded; %s", what, n.outcome, n.kind, n.asked, n.ended.Format(clock), next)
}

const clock = "15:04:05.000"

// has compares an answer that a client had whole with its entry.
func (c *comparison) has(n *note, e entry) {
	w := e.w
	switch {
	case w.Status != ledger.Completed || !e.t.Complete:
		c.says("%s: a client had the answer %s of %s whole, recorded is %s, complete %t", w.ID, n.answer, n.kind, w.Status, e.t.Complete)
	case w.Caller != n.caller || w.Session != n.session || w.Stream != n.stream || (w.Credential == ledger.BYOK) != n.byok:
		c.says("%s: caller %q, session %q, stream %t, %s, asked by %q in session %q, stream %t, byok %t",
			w.ID, w.Caller, w.Session, w.Stream, w.Credential, n.caller, n.session, n.stream, n.byok)
	default:
		c.compared[n.kind]++
		if n.byok {
			c.own++
		}
	}
	if n.after == "" {
		if w.Parent != "" {
			c.says("%s goes on from %s, and nobody said so", w.ID, w.Parent)
		}
		return
	}
	first, ok := c.turns[n.after]
	if !ok {
		return // a kill took it, or it was missed above
	}
	c.trips++
	if w.Parent != first.w.ID || w.Thread != first.w.Thread || w.Session != first.w.Session {
		c.says("%s answers a call of %s: its parent is %q, thread %q and %q, session %q and %q",
			w.ID, first.w.ID, w.Parent, w.Thread, first.w.Thread, w.Session, first.w.Session)
	}
}

// unfinished looks at what has begun and has no end: a kill must have taken it, and not
// more than was being served.
func (c *comparison) unfinished() {
	if c.open > 0 && !c.unsettled {
		c.says("%d rows are left open", c.open)
	}
	taken := make([][]time.Time, len(c.kills)) // when they had begun
	for _, w := range c.whole {
		if w.Status != ledger.Lost && w.Status != ledger.Open {
			continue
		}
		at := slices.IndexFunc(c.kills, func(k kill) bool { return w.Started.Before(k.over) })
		if at < 0 {
			c.says("%s is %s, begun at %s, and there was no kill after that", w.ID, w.Status, w.Started.Format(clock))
			continue
		}
		taken[at] = append(taken[at], w.Started)
	}
	for i, k := range c.kills {
		var served []time.Time
		for j := range c.notes {
			if n := &c.notes[j]; n.outcome != unreached && n.began.Before(k.over) && n.ended.After(k.at.Add(-c.window)) {
				served = append(served, n.began)
			}
		}
		slices.SortFunc(served, time.Time.Compare)
		slices.SortFunc(taken[i], time.Time.Compare)
		for j, began := range taken[i] {
			if j >= len(served) || began.Before(served[j].Truncate(time.Microsecond)) {
				c.says("%d are lost, the %d. begun at %s; at the kill at %s %d were being served", len(taken[i]), j+1, began.Format(clock), k.at.Format(clock), len(served))
				break
			}
		}
	}
}

// sums compares those that are kept with the interceptions.
func (c *comparison) sums() {
	want, got := map[string]store.Sum{}, map[string]store.Sum{}
	add := func(to map[string]store.Sum, by []string, v store.Sum) {
		s := to[strings.Join(by, " ")]
		to[strings.Join(by, " ")] = store.Sum{
			Requests: s.Requests + v.Requests, Usage: s.Usage.Add(v.Usage), Picos: s.Picos + v.Picos, Unpriced: s.Unpriced + v.Unpriced,
		}
	}
	for _, w := range c.whole {
		if w.Status != ledger.Open {
			by := []string{string(w.Status), w.Provider, w.Model, string(w.Credential), w.Caller}
			add(want, by, store.Sum{Requests: 1, Usage: w.Usage, Picos: w.Picos, Unpriced: w.Unpriced})
		}
	}
	for i := range c.usage {
		add(got, c.usage[i].By, c.usage[i].Sum)
	}
	for name, w := range want {
		if got[name] != w {
			c.says("%s: the interceptions come to %+v, the sums to %+v", name, w, got[name])
		}
	}
	for name, g := range got {
		if _, ok := want[name]; !ok {
			c.says("%s: there are no interceptions, the sums come to %+v", name, g)
		}
	}
}
