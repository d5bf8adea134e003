package app

import (
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"sync"
)

const (
	leastHeap   = 16 << 20 // that the garbage collector leaves alone
	usualGrowth = 100      // percent of what is live; the runtime's own default
	mostGrowth  = 300      // bounds what a moment in which much comes alive can cost
	growthStep  = 25       // to change it stops the world
)

// heap keeps the garbage collector from running dozens of times a second while
// next to nothing is live. It looks after every collection: the next one is due
// at leastHeap, or, as ever, when what is live has doubled.
type heap struct {
	mu      sync.Mutex
	samples []metrics.Sample
	growth  int
	stopped bool
}

// tend starts the watch over the heap, unless the environment says how the
// collector is to behave.
func tend() *heap {
	h := &heap{growth: usualGrowth}
	for _, name := range []string{"/gc/heap/live:bytes", "/gc/scan/stack:bytes", "/gc/scan/globals:bytes"} {
		h.samples = append(h.samples, metrics.Sample{Name: name})
	}
	if os.Getenv("GOGC") == "" && os.Getenv("GOMEMLIMIT") == "" {
		h.look(0)
	}
	return h
}

// stop gives the collector back.
func (h *heap) stop() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.stopped = true
	h.grow(usualGrowth)
}

// look is called after a collection.
func (h *heap) look(int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.stopped {
		return
	}
	metrics.Read(h.samples)
	h.grow(growth(h.samples[0].Value.Uint64(), h.samples[1].Value.Uint64()+h.samples[2].Value.Uint64()))
	// The next collection finds this and calls again.
	runtime.AddCleanup(new([1]*byte), h.look, 0)
}

func (h *heap) grow(percent int) {
	if percent != h.growth {
		h.growth = percent
		debug.SetGCPercent(percent)
	}
}

// growth is by how much the heap may grow, in percent of what is live and of the
// roots, until the next collection.
func growth(live, roots uint64) int {
	if live >= leastHeap || live+roots == 0 {
		return usualGrowth
	}
	percent := int((leastHeap-live)*100/(live+roots)) / growthStep * growthStep //nolint:gosec // less than 100 leastHeap
	return min(max(usualGrowth, percent), mostGrowth)
}
