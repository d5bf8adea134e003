// Package price knows what tokens cost. It ships a price list, lets the operator's own
// prices win over it, and counts in whole picodollars, a millionth of a millionth of a
// US dollar: a dollar per million tokens is a million picodollars a token.
package price

import (
	"strings"
	"sync"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/keypool/verdict"
)

// remembered is how many names are kept resolved. Clients choose some of them, so there
// is a bound; beyond it all are forgotten.
const remembered = 4096

// longest is the longest name of a model that is looked up at all.
const longest = 256

// List is a price list: the shipped one under the operator's overrides. It never changes,
// and is safe for concurrent use.
type List struct {
	book      *book
	overrides []override
	version   string

	mu    sync.RWMutex
	known map[query]*entry
}

// New is the shipped list with the overrides, of which the first that fits a model counts.
// The error names every override that is wrong, and how.
func New(overrides []Override) (*List, error) {
	b, err := readBook(shipped)
	if err != nil {
		return nil, err
	}
	read, err := readOverrides(overrides)
	if err != nil {
		return nil, err
	}
	return &List{book: b, overrides: read, version: b.date + fingerprint(overrides), known: map[query]*entry{}}, nil
}

// Version names the list: the date of the shipped one, and, if there are overrides, a
// short hash of them.
func (l *List) Version() string { return l.version }

// entry is a name resolved: what it costs, and what it is called in the charge.
type entry struct {
	model   string
	tariffs []tariff // of those that hold the last counts; none: no price is known
	free    bool     // of tiers: one without a price costs what the standard tier does
}

// tariff is a span with its tiers worked out; the first is the standard tier.
type tariff struct {
	span

	tiers []tariffTier
}

type tariffTier struct {
	word        string
	short, long rates
}

// Charge says what a turn costs: one charge for it, or one for each part that the
// provider accounts for by itself, each by its own model; none if no usage is known.
// The model is the one that answered, or the one that was asked for if the answer names
// none. A nil turn costs nothing.
func (l *List) Charge(family verdict.Family, provider, asked string, turn int, t *llm.Turn) []ledger.Charge {
	if t == nil || !t.Reported && t.Usage == (llm.Usage{}) && t.Searches <= 0 && len(t.Iterations) == 0 {
		return nil
	}
	q := query{family: family, provider: provider, asked: asked, model: t.Model}
	if q.model == "" {
		q.model = asked
	}
	main := l.entry(q)
	if len(t.Iterations) == 0 {
		charge := ledger.Charge{Turn: turn, Model: main.model, Usage: t.Usage, Version: l.version}
		main.price(&charge, t.Tier, main.now())
		charge.Picos = plus(charge.Picos, main.searches(t.Searches, main.now()))
		return []ledger.Charge{charge}
	}
	charges, pays := make([]ledger.Charge, len(t.Iterations)), -1
	for i := range t.Iterations {
		it, e := &t.Iterations[i], main
		if it.Model != "" && it.Model != q.model {
			e = l.entry(query{family: family, provider: provider, model: it.Model})
		} else if pays < 0 {
			pays = i
		}
		charges[i] = ledger.Charge{Turn: turn, Kind: it.Kind, Model: e.model, Usage: it.Usage, Version: l.version}
		e.price(&charges[i], t.Tier, e.now())
	}
	// Searches are the whole turn's: the first part by its own model pays for them.
	paid := &charges[max(pays, 0)]
	paid.Picos = plus(paid.Picos, main.searches(t.Searches, main.now()))
	return charges
}

// now is the time, to those for whom it makes a difference: asking is half of the work.
func (e *entry) now() int64 {
	if len(e.tariffs) < 2 {
		return 0
	}
	return time.Now().Unix()
}

// price fills in what the charge's usage costs, and how much of it has no known price.
func (e *entry) price(c *ledger.Charge, word string, at int64) {
	input, output := max(c.Usage.Input, 0), max(c.Usage.Output, 0)
	read, written := max(c.Usage.CacheRead, 0), max(c.Usage.CacheWrite, 0)
	writtenLong := min(max(c.Usage.CacheWriteLong, 0), written)

	r := e.rates(word, plus(plus(input, read), written), at)
	var total sum
	for _, part := range [...]struct{ n, price int64 }{
		{input, r.input}, {output, r.output}, {read, r.read}, {written - writtenLong, r.write}, {writtenLong, r.writeLong},
	} {
		if part.price < 0 {
			c.Unpriced = plus(c.Unpriced, part.n)
			continue
		}
		total.add(part.n, part.price)
	}
	c.Picos = total.picos()
}

// searches is what so many cost.
func (e *entry) searches(n, at int64) int64 {
	now := e.tariff(at)
	if n <= 0 || now == nil || now.search < 0 {
		return 0
	}
	var total sum
	total.add(n, now.search)
	return total.picos()
}

// tariff is the one that holds, or nil.
func (e *entry) tariff(at int64) *tariff {
	for i := len(e.tariffs) - 1; i >= 0; i-- {
		if e.tariffs[i].holds(at) {
			return &e.tariffs[i]
		}
	}
	return nil
}

// rates are the prices of a token at a time, in a tier, in a request with so much input.
func (e *entry) rates(word string, input, at int64) rates {
	now := e.tariff(at)
	if now == nil {
		return nothing()
	}
	t, long := now.tier(word), now.above > 0 && input > now.above
	if e.free && (t == nil || long && t.long.input < 0) {
		t = &now.tiers[0]
	}
	switch {
	case t == nil:
		return nothing()
	case long:
		return t.long
	}
	return t.short
}

// tier is nil for one that has no known price: it is there because it costs something else.
func (t *tariff) tier(word string) *tariffTier {
	word = strings.ToLower(word)
	switch word {
	case "", "default", "standard", "auto", "on_demand":
		return &t.tiers[0]
	}
	for i := range t.tiers {
		if t.tiers[i].word == word {
			return &t.tiers[i]
		}
	}
	return nil
}

// entry resolves a name, or remembers it.
func (l *List) entry(q query) *entry {
	l.mu.RLock()
	e := l.known[q]
	l.mu.RUnlock()
	if e != nil {
		return e
	}
	if len(q.model) > longest {
		return &entry{model: strings.Clone(q.model[:longest])}
	}
	if len(q.asked) > longest {
		q.asked = ""
	}
	// The names may be parts of a whole request: they must not keep it.
	q.asked, q.model, q.provider = strings.Clone(q.asked), strings.Clone(q.model), strings.Clone(q.provider)
	e = l.resolve(q)
	l.mu.Lock()
	if len(l.known) >= remembered {
		clear(l.known)
	}
	l.known[q] = e
	l.mu.Unlock()
	return e
}

func (l *List) resolve(q query) *entry {
	v, m := l.book.find(q)
	e := &entry{model: q.model}
	if m != nil {
		e.model = m.id
		e.tariffs = m.tariffs(v)
	}
	if o := l.override(q, e.model); o != nil {
		e.tariffs = o.over(e.tariffs)
		e.free = true
	}
	return e
}

// tariffs works out what the tiers cost.
func (m *model) tariffs(v *vendor) []tariff {
	out := make([]tariff, len(m.spans))
	for i, s := range m.spans {
		out[i] = tariff{span: s, tiers: []tariffTier{{short: s.short, long: s.long}}}
		for _, t := range m.tiers {
			out[i].add(t)
		}
		for _, t := range v.tiers {
			if out[i].tier(t.word) == nil { // the model's own counts
				out[i].add(t)
			}
		}
	}
	return out
}

func (t *tariff) add(how tier) {
	if how.set != nil { // holds for a request that is not long
		t.tiers = append(t.tiers, tariffTier{how.word, *how.set, nothing()})
		return
	}
	t.tiers = append(t.tiers, tariffTier{how.word, t.short.each(how.factor.of), t.long.each(how.factor.of)})
}
