package store

import "testing"

func TestCache(t *testing.T) {
	c := newCache[int, string](2)
	expect := func(when string, want map[int]string) {
		t.Helper()
		for k := range 6 {
			v, ok := c.get(k)
			if w, known := want[k]; ok != known || v != w {
				t.Errorf("%s: %d is %q, %t, want %q, %t", when, k, v, ok, w, known)
			}
		}
	}
	c.add(1, "one")
	expect("at hand", map[int]string{1: "one"})
	c.rollback()
	expect("rolled back", nil)
	c.add(1, "one")
	c.commit()
	c.add(1, "uno")
	expect("changed", map[int]string{1: "uno"})
	c.rollback()
	expect("not changed", map[int]string{1: "one"})

	c.keep(2, "two")
	c.keep(3, "three") // 1 and 2 are the older ones
	c.get(1)           // and 1 is asked for
	c.keep(4, "four")  // 1 and 3 are the older ones
	if _, ok := c.get(2); ok {
		t.Error("what nobody asked for is still known")
	}
	if v, ok := c.get(1); !ok || v != "one" {
		t.Error("what was asked for is not known")
	}
	c.drop(func(v string) bool { return v == "one" })
	if _, ok := c.get(1); ok {
		t.Error("what was dropped is known")
	}
	c.forget()
	expect("forgotten", nil)
}
