package store

import (
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

// TestNewKinds lets a caller have so many in an hour, and each caller his own.
func TestNewKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ks := newKinds[toolKind]("tool_kinds", "kind, server, name, outcome", new(int64))
		made := 0
		more := func(caller string, n int) (ids map[int64]bool) {
			var list []int64
			for range n {
				made++
				list = append(list, ks.id(caller, toolKind{kind: byClient, name: strconv.Itoa(made)}))
			}
			return decided(&ks, list)
		}
		expect := func(what string, ids map[int64]bool, want int) {
			t.Helper()
			if len(ids) != want {
				t.Errorf("%s: %d kinds, want %d", what, len(ids), want)
			}
		}
		expect("what is not committed", more("ann", mostNew/2), mostNew/2)
		ks.rollback()
		expect("as many as there may be", more("ann", mostNew), mostNew)
		ks.commit()
		expect("all others", more("ann", mostNew), 1)
		ks.rollback()
		expect("another's", more("bob", 10), 10)
		known, unknown := toolKind{kind: byClient, name: strconv.Itoa(mostNew)}, toolKind{kind: byClient, name: "new"}
		expect("what is known is what it was", decided(&ks, []int64{ks.id("ann", known), ks.id("ann", unknown)}), 2)
		time.Sleep(time.Hour)
		expect("in the next hour", more("ann", 10), 10)
		more("ann", mostNew)
		ks.commit()
		ks.forget()
		expect("when nothing is known any more", more("ann", 10), 10)
	})
}

// TestDoubtfulKinds tells what is in the table from what is new, and makes of the new no
// more the same than it has to.
func TestDoubtfulKinds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ks := newKinds[turnKind]("turn_kinds", "model, stop, tier, reported, complete, price_model, price_version", new(int64))
		kind := func(model string, stop int) turnKind { return turnKind{model: model, stop: strconv.Itoa(stop)} }
		var known []int64
		for i := range 2 * mostNew {
			known = append(known, ks.hash(kind("m", i)))
		}
		var list []int64
		for i := range 2 * mostNew {
			list = append(list, ks.id("", kind("m", i)))
		}
		if ids := decided(&ks, list, known...); len(ids) != len(known) {
			t.Errorf("%d of %d kinds in the table are what they were", len(ids), len(known))
		}
		if n := ks.new[whose{"", 0}]; n != unasked {
			t.Errorf("%d of them are taken for new", n)
		}
		list = nil
		for i := range mostNew {
			list = append(list, ks.id("", kind("n", i)))
		}
		rough := ks.hash(turnKind{model: "n", stop: other})
		if ids := decided(&ks, list); len(ids) != mostNew-unasked+1 || !ids[rough] {
			t.Errorf("%d kinds are left, one of all that are too many: %v", len(ids), ids[rough])
		}
		list = nil
		for i := range 2 * mostNew {
			list = append(list, ks.id("", kind("n"+strconv.Itoa(i), i)))
		}
		coarse := ks.hash(turnKind{model: other, stop: other})
		if ids := decided(&ks, list); len(ids) != mostNew || !ids[coarse] {
			t.Errorf("%d kinds are left, one without a model: %v", len(ids), ids[coarse])
		}
		if width := len(ks.rows.table.columns); len(ks.rows.args) != (len(known)+2*mostNew-unasked+1)*width {
			t.Errorf("%d rows are inserted", len(ks.rows.args)/width)
		}
	})
}

// decided are the ids that kinds have when it is known which are in the table.
func decided[K kinded[K]](ks *kinds[K], list []int64, there ...int64) map[int64]bool {
	for _, id := range there {
		ks.there[id] = true
	}
	renamed := ks.decide()
	ids := map[int64]bool{}
	for _, id := range list {
		if to, ok := renamed[id]; ok {
			id = to
		}
		ids[id] = true
	}
	return ids
}
