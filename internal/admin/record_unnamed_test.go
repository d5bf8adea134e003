package admin

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/store"
)

// Wherever those without a name are among the others, and however few are read at a time,
// the pages join to all of them, each is full but the last, and none is empty.
func TestUnnamedPage(t *testing.T) {
	const all = 9
	for pattern := range 1 << all {
		callers := make([]string, all)
		var want []int
		for i := range callers {
			if pattern>>i&1 == 1 {
				callers[i] = "ann"
			} else {
				want = append(want, i)
			}
		}
		for atOnce := 1; atOnce <= all+1; atOnce++ {
			read := func(p store.Page) ([]int, string, error) {
				from, _ := strconv.Atoi(p.Cursor)
				to := min(from+min(p.Limit, atOnce), all)
				next := ""
				if to < all {
					next = strconv.Itoa(to)
				}
				var list []int
				for i := from; i < to; i++ {
					list = append(list, i)
				}
				return list, next, nil
			}
			for size := 1; size <= 4; size++ {
				var got, sizes []int
				for page := (store.Page{Limit: size}); ; {
					list, next, err := unnamedPage(page, func(i *int) string { return callers[*i] }, read)
					if err != nil {
						t.Fatal(err)
					}
					got, sizes = append(got, list...), append(sizes, len(list))
					if page.Cursor = next; next == "" {
						break
					}
				}
				pages := max(1, (len(want)+size-1)/size)
				if !slices.Equal(got, want) || len(sizes) != pages || slices.Max(sizes) > size {
					t.Fatalf("%b, %d read at once, pages of %d: %v (-want +got):\n%s", pattern, atOnce, size, sizes, cmp.Diff(want, got))
				}
			}
		}
	}
}
