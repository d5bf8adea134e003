package app_test

import (
	"flag"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
)

// TestMatrix holds every endpoint against every trouble of a key at every place in
// the pool: what the client gets, what the upstream saw, what is recorded, and all
// of the pool's metrics.
func TestMatrix(t *testing.T) {
	all := cells()
	var ran atomic.Int64
	t.Run("cell", func(t *testing.T) {
		for _, c := range all {
			t.Run(c.String(), func(t *testing.T) {
				t.Parallel()
				ran.Add(1)
				synctest.Test(t, func(t *testing.T) {
					want, got := c.run(t)
					compare(t, want, got)
				})
			})
		}
	})
	product := len(endpoints) * len(troubles) * len(positions)
	t.Logf("the matrix: %d endpoints x %d troubles x %d positions = %d cells, %d run",
		len(endpoints), len(troubles), len(positions), product, ran.Load())
	if len(all) != product {
		t.Errorf("the table has %d cells, want the full product of %d", len(all), product)
	}
	filtered := strings.Contains(flag.Lookup("test.run").Value.String(), "/")
	if !filtered && ran.Load() != int64(product) {
		t.Errorf("%d cells were run, want %d", ran.Load(), product)
	}
}

// TestMatrixCanFail bends one expectation after the other and wants the comparison
// to notice each.
func TestMatrixCanFail(t *testing.T) {
	byName := map[string]cell{}
	for _, c := range cells() {
		byName[c.String()] = c
	}
	for _, name := range []string{
		"chat streaming/429 message/all but the last bad", "chat streaming/429 message/one key only",
		"chat streaming/403 unknown/all but the last bad", "opaque GET anthropic/500/one key only",
		"opaque GET anthropic/truncated body/one key only",
	} {
		c, ok := byName[name]
		if !ok {
			t.Fatalf("the matrix has no cell %q", name)
		}
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				want, got := c.run(t)
				compare(t, want, got)
				for bent, w := range want.bent() {
					if f := (&failures{TB: t}); !f.seenIn(w, got) {
						t.Errorf("the comparison does not notice another %s", bent)
					}
				}
			})
		})
	}
}

// failures is a testing.TB that only counts what fails.
type failures struct {
	testing.TB
	count int
}

// Errorf counts a failure.
func (f *failures) Errorf(string, ...any) { f.count++ }

// Fatalf counts a failure and goes on: what follows can only add to it.
func (f *failures) Fatalf(string, ...any) { f.count++ }

func (f *failures) seenIn(want *expected, got *observed) bool {
	compare(f, want, got)
	return f.count > 0
}
