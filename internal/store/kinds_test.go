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
			ids = map[int64]bool{}
			for range n {
				made++
				ids[ks.id(caller, toolKind{kind: byClient, name: strconv.Itoa(made)})] = true
			}
			return ids
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
		if ks.id("ann", known) == ks.id("ann", unknown) {
			t.Error("what is known is not what it was any more")
		}
		time.Sleep(time.Hour)
		expect("in the next hour", more("ann", 10), 10)
		more("ann", mostNew)
		ks.commit()
		ks.forget()
		expect("when nothing is known any more", more("ann", 10), 10)
	})
}
