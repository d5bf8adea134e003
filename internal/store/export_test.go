package store

import (
	"database/sql"
	"testing"
)

// Narrow makes lists be read in small steps, so that few rows take all ways that many do.
func Narrow(t *testing.T) {
	t.Helper()
	wide, many := stretch, few
	stretch, few = 100, 60
	t.Cleanup(func() { stretch, few = wide, many })
}

// Bound makes an answer about usage have at most so many rows.
func Bound(t *testing.T, groups int) {
	t.Helper()
	most := mostGroups
	mostGroups = groups
	t.Cleanup(func() { mostGroups = most })
}

// Steps is in how many a list is read that is a page of so many.
func Steps(t *testing.T, s *Store, f Filter, limit int) (steps int) {
	t.Helper()
	err := s.look(t.Context(), func(v *view) error {
		w, err := v.walk(&f)
		for more := true; more && err == nil; steps++ {
			more, err = w.back(limit, func(*sql.Rows) error { return nil })
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return steps
}
