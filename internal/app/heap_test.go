package app

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestGrowth(t *testing.T) {
	const mb = 1 << 20
	for name, tt := range map[string]struct {
		live, roots uint64
		want        int
	}{
		"before the first collection":    {0, 0, usualGrowth},
		"next to nothing is live":        {1 * mb, 0, mostGrowth},
		"little is live":                 {leastHeap / 3, 0, 2 * usualGrowth},
		"the roots count, too":           {leastHeap / 4, leastHeap / 8, 2 * usualGrowth},
		"half of the least heap is live": {leastHeap / 2, 0, usualGrowth},
		"much is live":                   {200 * mb, mb, usualGrowth},
	} {
		if got := growth(tt.live, tt.roots); got != tt.want {
			t.Errorf("%s: %d, want %d", name, got, tt.want)
		}
	}
}

// The watch goes on after each collection and gives the collector back.
func TestTend(t *testing.T) {
	before := debug.SetGCPercent(usualGrowth)
	defer debug.SetGCPercent(before)
	percent := func() int {
		p := debug.SetGCPercent(usualGrowth)
		debug.SetGCPercent(p)
		return p
	}
	t.Setenv("GOGC", "")
	t.Setenv("GOMEMLIMIT", "")
	runtime.GC()
	h := tend()
	if p := percent(); p <= usualGrowth {
		t.Errorf("the heap of a test may grow by %d %%", p)
	}
	much := make([]*[1 << 20]byte, 0, 64)
	for range cap(much) {
		much = append(much, new([1 << 20]byte))
	}
	for range 1000 {
		runtime.GC()
		if percent() == usualGrowth {
			break
		}
		runtime.Gosched()
	}
	if p := percent(); p != usualGrowth {
		t.Errorf("with much that is live it may grow by %d %%", p)
	}
	runtime.KeepAlive(much)
	h.stop()
	if p := percent(); p != usualGrowth {
		t.Errorf("after the end it may grow by %d %%", p)
	}
	t.Setenv("GOGC", "150")
	debug.SetGCPercent(150)
	tend().stop()
	if p := percent(); p != 150 {
		t.Errorf("what the environment asks for has become %d %%", p)
	}
}
