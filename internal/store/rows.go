package store

import (
	"encoding/json"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// What no exchange truly reaches: an upstream may report any number, and sums of them
// must hold.
const (
	mostTokens = 100_000_000
	mostPicos  = 10_000 * 1_000_000_000_000
)

// entry is an exchange on its way into the tables.
type entry struct {
	e          *ledger.Exchange
	key, nonce int64
	kind       int64
	session    int64
	thread     int64
	parent     int64
	skip       bool  // it is there already
	lost       int64 // the kind it was lost as; 0 if it was not
}

// tally is what an exchange, or many, used.
type tally struct {
	requests int64
	usage    llm.Usage
	searches int64
	picos    int64
	unpriced int64
}

func (t *tally) add(v *tally) {
	t.requests += v.requests
	t.usage = together(t.usage, v.usage)
	t.searches = plus(t.searches, v.searches)
	t.picos = plus(t.picos, v.picos)
	t.unpriced = plus(t.unpriced, v.unpriced)
}

type hourKind struct{ hour, kind int64 }

const hour = int64(time.Hour / time.Microsecond)

// micros is a time as the tables have it: microseconds since 1970, 0 for none.
func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func bound(v, most int64) int64 { return min(max(v, 0), most) }

func (b *batch) usage(u *llm.Usage) {
	b.int(u.Input)
	b.int(u.Output)
	b.int(u.CacheRead)
	b.int(u.CacheWrite)
	b.int(u.CacheWriteLong)
	b.int(u.Reasoning)
}

func bounded(u llm.Usage) llm.Usage {
	return llm.Usage{
		Input: bound(u.Input, mostTokens), Output: bound(u.Output, mostTokens), CacheRead: bound(u.CacheRead, mostTokens),
		CacheWrite: bound(u.CacheWrite, mostTokens), CacheWriteLong: bound(u.CacheWriteLong, mostTokens), Reasoning: bound(u.Reasoning, mostTokens),
	}
}

// kindOf is what repeats of an exchange.
func kindOf(e *ledger.Exchange, status ledger.Status) interceptionKind {
	k := interceptionKind{
		status: string(status), class: e.Class, http: e.HTTPStatus,
		caller: e.Principal.Name, metadata: e.Principal.Metadata, client: e.Client, version: e.Version, signal: e.Signal,
		provider: e.Provider, route: e.Route, method: e.Method, stream: e.Stream, reported: len(e.Turns) > 0,
		model: e.Model, asked: e.Model, credential: string(e.Principal.Credential),
	}
	for i := range e.Turns {
		if m := e.Turns[i].Model; m != "" {
			k.model, k.answered = m, m
		}
		k.reported = k.reported && e.Turns[i].Reported
	}
	if n := len(e.Attempts); n > 0 {
		k.key, k.hint = e.Attempts[n-1].Key, e.Attempts[n-1].Hint
	}
	return k
}

// interception puts the row of an exchange into b.
func (w *writer) interception(b *batch, n *entry, ended int64, sum *tally) {
	e := n.e
	b.int(n.key)
	b.int(n.nonce)
	b.int(n.kind)
	b.int(micros(e.Start))
	b.int(micros(e.FirstEvent))
	b.int(ended)
	b.int(n.session)
	b.int(n.thread)
	b.int(n.parent)
	b.int(int64(len(e.Attempts)))
	b.int(int64(len(e.Turns)))
	b.int(int64(e.Loop))
	b.usage(&sum.usage)
	b.int(sum.picos)
	b.int(sum.unpriced)
	b.int(w.servedBy(e))
}

// servedBy is the process that serves an exchange. What comes from the spool of one that
// is no more is nobody's: it is lost, unless its end comes too.
func (w *writer) servedBy(e *ledger.Exchange) int64 {
	if e.Instance == "" || e.Instance == w.name {
		return w.instance
	}
	return 0
}

// below puts what belongs to an exchange into the batches, and sums it up.
func (w *writer) below(n *entry) tally {
	e, t := n.e, w.tables
	for i := range e.Attempts {
		a := &e.Attempts[i]
		b := &t.attempts
		b.int(n.key)
		b.int(int64(i))
		b.int(int64(a.Turn))
		b.int(w.attempts.id(e.Principal.Name, attemptKind{a.Key, a.Hint, a.Status, a.Action, a.Reason}))
		b.int(micros(a.Sent))
		b.int(a.Waited.Microseconds())
		b.int(a.Duration.Microseconds())
	}
	sum := tally{requests: 1}
	charges := e.Charges
	for i := range e.Turns {
		var mine []ledger.Charge
		for len(charges) > len(mine) && charges[len(mine)].Turn <= i {
			mine = charges[:len(mine)+1]
		}
		charges = charges[len(mine):]
		one := w.turn(n, i, mine)
		sum.add(&one)
	}
	w.calls(n)
	w.words(n)
	return sum
}

// turn puts a turn with its parts into the batches.
func (w *writer) turn(n *entry, seq int, charges []ledger.Charge) tally {
	t, b := &n.e.Turns[seq], &w.tables.turns
	sum := tally{usage: bounded(t.Usage), searches: bound(t.Searches, mostTokens)}
	kind := turnKind{model: t.Model, stop: t.Stop, tier: t.Tier, reported: t.Reported, complete: t.Complete}
	for i := range charges {
		c := &charges[i]
		sum.picos = plus(sum.picos, bound(c.Picos, mostPicos))
		sum.unpriced = plus(sum.unpriced, bound(c.Unpriced, mostTokens))
		if i == 0 {
			kind.priceModel, kind.priceVersion = c.Model, c.Version
		}
	}
	if continued(t.ID) {
		w.refer(n, t.ID, noCall)
	}
	b.int(n.key)
	b.int(int64(seq))
	b.int(w.turns.id(n.e.Principal.Name, kind))
	b.text(plain(t.ID))
	b.usage(&sum.usage)
	b.int(sum.searches)
	b.int(sum.picos)
	b.int(sum.unpriced)

	for i := range t.Iterations {
		var c ledger.Charge
		if len(charges) == len(t.Iterations) {
			c = charges[i] // one each, in their order
		}
		p, b := &t.Iterations[i], &w.tables.iterations
		used := bounded(p.Usage)
		b.int(n.key)
		b.int(int64(seq))
		b.int(int64(i))
		b.text(plain(p.Kind))
		b.text(plain(p.Model))
		b.usage(&used)
		b.int(bound(c.Picos, mostPicos))
		b.int(bound(c.Unpriced, mostTokens))
	}
	return sum
}

// Who ran a tool.
const (
	byClient   = "client"   // the client, if it likes
	byGateway  = "injected" // the gateway
	byProvider = "hosted"   // the provider
)

// calls puts the tool calls of an exchange into the batches: those the model made, in
// their order, and what the gateway ran beyond them.
func (w *writer) calls(n *entry) {
	e, seq := n.e, int64(0)
	var used map[int]bool // of e.Tools
	for i := range e.Turns {
		for j := range e.Turns[i].Calls {
			c := &e.Turns[i].Calls[j]
			at := toolUse(e.Tools, i, c.ID, used)
			if at >= 0 {
				if used == nil {
					used = make(map[int]bool, len(e.Tools))
				}
				used[at] = true
				w.call(n, seq, i, c, &e.Tools[at])
			} else {
				w.call(n, seq, i, c, nil)
			}
			seq++
		}
	}
	for i := range e.Tools {
		if !used[i] {
			w.call(n, seq, e.Tools[i].Turn, &llm.ToolCall{ID: e.Tools[i].Call}, &e.Tools[i])
			seq++
		}
	}
}

func toolUse(tools []ledger.ToolUse, turn int, call string, used map[int]bool) int {
	for i := range tools {
		if tools[i].Call == call && tools[i].Turn == turn && !used[i] {
			return i
		}
	}
	return -1
}

func (w *writer) call(n *entry, seq int64, turn int, c *llm.ToolCall, u *ledger.ToolUse) {
	kind := toolKind{kind: byClient, name: c.Name}
	var row struct {
		result, started, duration int64
		failed                    bool
		err                       string
	}
	switch {
	case u != nil:
		kind = toolKind{byGateway, u.Server, u.Tool, string(u.Outcome)}
		row.result, row.started, row.duration = int64(u.Size), micros(u.Start), u.Duration.Microseconds()
		row.failed = u.Outcome != ledger.ToolOK
		if u.Err != nil {
			row.err = u.Err.Error()
		}
	case c.Hosted:
		kind.kind, row.failed, row.err = byProvider, c.Error != "", c.Error
	default:
		w.refer(n, c.ID, seq)
	}
	b := &w.tables.tools
	b.int(n.key)
	b.int(seq)
	b.int(int64(turn))
	b.int(w.tools.id(n.e.Principal.Name, kind))
	b.text(plain(c.ID))
	b.int(int64(c.Size))
	b.int(row.result)
	b.flag(row.failed)
	b.text(plain(row.err))
	b.int(row.started)
	b.int(row.duration)
	if len(c.Arguments) > 0 {
		b = &w.tables.arguments
		b.int(n.key)
		b.int(seq)
		b.text(plain(string(c.Arguments)))
	}
}

// words puts the texts of an exchange into the batches.
func (w *writer) words(n *entry) {
	e := n.e
	if e.Prompt != "" {
		b := &w.tables.prompts
		b.int(n.key)
		b.text(plain(e.Prompt))
		b.int(int64(e.PromptSize))
	}
	seq := int64(0)
	for i := range e.Turns {
		for _, t := range e.Turns[i].Thoughts {
			b := &w.tables.thoughts
			b.int(n.key)
			b.int(seq)
			b.int(int64(i))
			b.text(plain(t.Text))
			b.int(int64(t.Size))
			seq++
		}
	}
	why := len(e.Decisions) > 0 && (e.Eventful || e.Status != ledger.Completed)
	if !why && e.Err == nil {
		return
	}
	b := &w.tables.decisions
	b.int(n.key)
	if e.Err != nil {
		b.text(plain(e.Err.Error()))
	} else {
		b.text("")
	}
	if why {
		b.text(decisionList(e.Decisions))
	} else {
		b.text("[]")
	}
}

// decision is a ledger.Decision as the tables have it: microseconds, and nothing that is
// not there.
type decision struct {
	At     int64  `json:"at"`
	What   string `json:"what"`
	Key    string `json:"key,omitempty"`
	Why    string `json:"why,omitempty"`
	Action string `json:"action,omitempty"`
	Scope  string `json:"scope,omitempty"`
	Until  int64  `json:"until,omitempty"`
	For    int64  `json:"for,omitempty"`
}

func decisionList(list []ledger.Decision) string {
	out := make([]decision, len(list))
	for i := range list {
		d := &list[i]
		out[i] = decision{
			At: micros(d.At), What: d.What, Key: plain(d.Key), Why: plain(d.Why), Action: d.Action, Scope: d.Scope,
			Until: micros(d.Until), For: d.For.Microseconds(),
		}
	}
	text, err := json.Marshal(out)
	if err != nil {
		return "[]" // texts and numbers: it cannot fail
	}
	return string(text)
}

// decisionsOf reads what decisionList wrote.
func decisionsOf(text string) ([]ledger.Decision, error) {
	var in []decision
	if err := json.Unmarshal([]byte(text), &in); err != nil {
		return nil, err
	}
	list := make([]ledger.Decision, len(in))
	for i, d := range in {
		list[i] = ledger.Decision{
			At: timeOf(d.At), What: d.What, Key: d.Key, Why: d.Why, Action: d.Action, Scope: d.Scope,
			Until: timeOf(d.Until), For: time.Duration(d.For) * time.Microsecond,
		}
	}
	return list, nil
}

// timeOf is the time that micros made a number of.
func timeOf(us int64) time.Time {
	if us == 0 {
		return time.Time{}
	}
	return time.UnixMicro(us).UTC()
}
