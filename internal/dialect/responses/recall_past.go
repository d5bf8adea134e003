package responses

import (
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

// past is an exchange with all that the client has not seen of it.
type past struct {
	seen   []item    // what the client was shown, in order
	whole  []stretch // all of it, with the results of the gateway's tools
	mine   map[named]bool
	others []string // the calls that wait for the client
	last   [][]byte // the results that belong to the last turn
}

// named is what tells calls apart: an id alone may be another's.
type named struct{ id, name string }

// stretch is an item of an exchange, and which of those seen, -1 for one that was hidden.
type stretch struct {
	raw  []byte
	seen int
}

func newPast(h *dialect.Hidden) *past {
	p := &past{mine: map[named]bool{}}
	for i := range h.Steps {
		s := &h.Steps[i]
		mine := map[string]bool{}
		for _, c := range s.Said.Mine {
			mine[c.ID], p.mine[named{c.ID, c.Name}] = true, true
		}
		for _, c := range s.Said.Others {
			p.others = append(p.others, c.ID)
		}
		for _, raw := range elements(s.Said.Raw) {
			it := itemOf(raw)
			if it.call != "" && mine[it.call] {
				p.whole = append(p.whole, stretch{raw, -1})
				continue
			}
			p.whole = append(p.whole, stretch{raw, len(p.seen)})
			p.seen = append(p.seen, it)
		}
		p.last = outputs(s)
		for _, o := range p.last {
			p.whole = append(p.whole, stretch{o, -1})
		}
	}
	return p
}

// there says that what is hidden is not: its calls are in the request.
func (p *past) there(items []item) bool {
	return slices.ContainsFunc(items, func(it item) bool { return it.said && p.mine[named{it.call, it.name}] })
}

// changed says that the client has changed a call of its own, or that it is another's by
// the same id.
func (p *past) changed(items []item) bool {
	said := map[string]*item{}
	for i := range p.seen {
		if p.seen[i].said && slices.Contains(p.others, p.seen[i].call) {
			said[p.seen[i].call] = &p.seen[i]
		}
	}
	return slices.ContainsFunc(items, func(it item) bool {
		v := said[it.call]
		return it.said && v != nil && !it.same(v)
	})
}

// same says that two calls are the same but for how they are written.
func (it *item) same(v *item) bool {
	said, c := callOf(*v), callOf(*it)
	if it.kind != v.kind || !dialect.SameCall(&said, c.Name, c.Arguments) {
		return false
	}
	for _, name := range [...]string{"action", "actions", "operation"} {
		if !dialect.SameJSON(dialect.Member(it.raw, name), dialect.Member(v.raw, name)) {
			return false
		}
	}
	return true
}

// restore puts an exchange in the place of what the client repeats of it. Where the
// provider has it, only the results of its last turn are missing.
func (p *past) restore(items []item, kept bool) []edit {
	if p.there(items) || p.changed(items) {
		return nil
	}
	answered := map[string]int{}
	for i, it := range slices.Backward(items) {
		if it.answer {
			answered[it.call] = i
		}
	}
	first := len(items) // the first answer to a call of its last turn
	for _, id := range p.others {
		i, ok := answered[id]
		if !ok {
			return nil // a call without an answer is refused: what is there is left alone
		}
		first = min(first, i)
	}
	if !p.match(items) {
		if !kept || first == len(items) || len(p.last) == 0 {
			return nil
		}
		var with []byte
		for _, o := range p.last {
			with = append(append(with, o...), ',')
		}
		return []edit{{items[first].from, items[first].from, with}}
	}
	return p.replace(items)
}

// replace puts the exchange in the place of the items that repeat it. These stay as they
// are; what was left out stays so, but for reasoning, without which calls are refused.
func (p *past) replace(items []item) (edits []edit) {
	has := map[int]*item{}
	for i := range items {
		if items[i].taken && items[i].raw != nil {
			has[items[i].as] = &items[i]
		}
	}
	var all [][]byte
	for _, w := range p.whole {
		it := has[w.seen]
		switch {
		case it != nil && (it.kind != "reasoning" || p.seen[w.seen].kind != "reasoning"):
			all = append(all, it.raw)
		case w.seen < 0 || p.seen[w.seen].kind == "reasoning":
			all = append(all, w.raw)
		}
	}
	for i := range items {
		if !items[i].taken || items[i].raw == nil {
			continue
		}
		items[i].raw = nil // another exchange's turn is another's
		if edits == nil {
			array := dialect.Array(all...)
			edits = append(edits, edit{items[i].from, items[i].to, array[1 : len(array)-1]})
			continue
		}
		edits = append(edits, edit{items[i-1].to, items[i].to, nil}) // with the comma before it
	}
	return edits
}

// match takes the items that repeat the exchange, and says whether there are any. It is
// known by its calls or, if the client has got none, by an id and what the item says: not
// every provider's ids are unique. What stands beside that needs only the one or the
// other, as clients that leave nothing with the provider send no ids.
func (p *past) match(items []item) bool {
	used := make([]bool, len(p.seen))
	lo, hi := p.pair(items, used, 0, len(items), (*item).isCall)
	if hi < lo {
		lo, hi = p.pair(items, used, 0, len(items), (*item).isSaid)
	}
	if hi < lo {
		return false
	}
	for lo > 0 && items[lo-1].said {
		lo--
	}
	for hi+1 < len(items) && items[hi+1].said {
		hi++
	}
	p.pair(items, used, lo, hi+1, func(it, v *item) bool {
		return it.id != "" && it.id == v.id || (it.id == "" || v.id == "") && it.like(v)
	})
	return true
}

// isCall says that the item is the call v.
func (it *item) isCall(v *item) bool {
	return v.call != "" && (it.call == v.call || it.kind == "item_reference" && it.id == v.id)
}

// isSaid says that the item has the id of v and says what it says.
func (it *item) isSaid(v *item) bool {
	return it.id != "" && it.id == v.id && (it.kind == "item_reference" || it.like(v))
}

// pair takes the items within bounds that are the same as one seen, the last ones if they
// stand twice, and returns where the first and the last of them are.
func (p *past) pair(items []item, used []bool, from, to int, same func(it, v *item) bool) (lo, hi int) {
	lo, hi = to, from-1
	for i := to - 1; i >= from; i-- {
		if items[i].taken || !items[i].said {
			continue
		}
		for k := len(p.seen) - 1; k >= 0; k-- {
			if !used[k] && same(&items[i], &p.seen[k]) {
				items[i].taken, items[i].as, used[k] = true, k, true
				lo, hi = i, max(hi, i)
				break
			}
		}
	}
	return lo, hi
}

// like says that two items say the same.
func (it *item) like(v *item) bool {
	if it.kind != v.kind || it.kind != "reasoning" && it.kind != "message" || it.words() != v.words() {
		return false
	}
	return it.kind == "message" || it.words() != "" || it.id == v.id
}

// words is the text of a message, and of reasoning what is sealed. It is read once: in a
// long conversation every item is held against every other.
func (it *item) words() string {
	if !it.read {
		it.read, it.text = true, wordsOf(it)
	}
	return it.text
}

func wordsOf(it *item) string {
	if it.kind == "reasoning" {
		return dialect.Text(dialect.Member(it.raw, "encrypted_content"))
	}
	content := dialect.Member(it.raw, "content")
	if len(content) > 0 && content[0] == '"' {
		return dialect.Text(content)
	}
	var b strings.Builder
	for _, part := range elements(content) {
		b.WriteString(dialect.Text(dialect.Member(part, "text")))
		b.WriteString(dialect.Text(dialect.Member(part, "refusal")))
	}
	return b.String()
}
