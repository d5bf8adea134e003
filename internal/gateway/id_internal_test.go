package gateway

import (
	"testing"
	"time"
)

// Ids sort by time, also within a millisecond: a record's thread is in their order.
func TestIDsSortByTime(t *testing.T) {
	at := time.Date(2026, time.November, 23, 9, 29, 59, 999_000_000, time.UTC)
	last := newID(at.Add(-time.Microsecond))
	for range 2000 {
		id := newID(at)
		if len(id) != 30 || id <= last {
			t.Fatalf("%s: %s does not follow %s", at, id, last)
		}
		if newID(at) == id {
			t.Fatalf("%s: two have the id %s", at, id)
		}
		at, last = at.Add(time.Microsecond), id
	}
}
