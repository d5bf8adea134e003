package store

import "testing"

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
