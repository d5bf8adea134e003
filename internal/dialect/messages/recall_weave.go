package messages

import (
	"slices"

	"keybridge/internal/dialect"
)

// past is a block of an exchange of which something is hidden.
type past struct {
	raw    []byte
	kind   string
	step   int
	hidden bool // the client has not seen it
	had    bool // the client repeats it, changed or not
}

func pastOf(h *dialect.Hidden) (all []past) {
	for i := range h.Steps {
		mine := map[string]bool{}
		for _, c := range h.Steps[i].Said.Mine {
			mine[c.ID] = true
		}
		for parts := dialect.PartsOf(h.Steps[i].Said.Raw); ; {
			_, b, ok := parts.Next()
			if !ok {
				break
			}
			id := callID(b)
			all = append(all, past{raw: b, kind: dialect.Text(dialect.Member(b, "type")), step: i, hidden: id != "" && mine[id]})
		}
	}
	return all
}

// thought says that a block is of what the model thinks, which some clients leave out and
// none can change: the API asks for it in front of calls.
func (p *past) thought() bool { return p.kind == "thinking" || p.kind == "redacted_thinking" }

// woven is the content of each turn: what the client repeats of it, as it repeats it, with
// what it has not seen, and what it has left out of the model's thoughts, in between.
func woven(h *dialect.Hidden, blocks [][]byte) [][][]byte {
	all := pastOf(h)
	places := aligned(all, blocks)
	turns := make([][][]byte, len(h.Steps))
	next := 0
	for place := -1; place < len(all); place++ {
		turn := &turns[0]
		if place >= 0 {
			p := &all[place]
			turn = &turns[p.step]
			if p.hidden || p.thought() && !p.had {
				*turn = append(*turn, p.raw)
			}
		}
		for ; next < len(blocks) && places[next] == place; next++ {
			*turn = append(*turn, blocks[next])
		}
	}
	return turns
}

// aligned says of each block of the client's behind which one of the exchange it belongs,
// or in the place of which; -1 is in front of all. A block that is not among them is the
// next one of its kind, changed, or belongs to the one before it.
func aligned(all []past, blocks [][]byte) []int {
	known := map[string][]int{}
	for i := range all {
		if !all[i].hidden {
			s := sign(all[i].raw)
			known[s] = append(known[s], i)
		}
	}
	const unknown = -2
	places := make([]int, len(blocks))
	bounds := make([]int, len(blocks)) // where the next known one belongs
	next := len(all)
	for i, b := range slices.Backward(blocks) {
		bounds[i] = next
		s := sign(b)
		at := known[s]
		for len(at) > 0 && at[len(at)-1] >= next {
			at = at[:len(at)-1]
		}
		if known[s], places[i] = at, unknown; len(at) > 0 {
			next = at[len(at)-1]
			places[i], all[next].had = next, true
		}
	}
	before, searched := -1, 0
	for before+1 < len(all) && all[before+1].thought() { // nothing stands in front of thoughts
		before++
	}
	for i, b := range blocks {
		if places[i] == unknown {
			places[i] = min(before, bounds[i]-1)
			kind := dialect.Text(dialect.Member(b, "type"))
			for ; searched < bounds[i] && !all[searched].is(kind); searched++ {
			}
			if searched < bounds[i] {
				places[i], all[searched].had = searched, true
			}
		}
		before = places[i]
		searched = max(searched, before+1)
	}
	return places
}

// is says that a block of this kind may be this one, changed.
func (p *past) is(kind string) bool { return !p.hidden && !p.had && p.kind == kind }
