package store

import "maps"

// cache remembers what is in the tables: at most twice as many as it is told, those
// that were not asked for lately being forgotten first. What the transaction at hand adds
// is kept apart until it is known to have been committed.
type cache[K comparable, V any] struct {
	most              int
	young, old, fresh map[K]V
}

func newCache[K comparable, V any](most int) cache[K, V] {
	return cache[K, V]{most: most, young: map[K]V{}, old: map[K]V{}, fresh: map[K]V{}}
}

func (c *cache[K, V]) get(k K) (V, bool) {
	if len(c.fresh) > 0 {
		if v, ok := c.fresh[k]; ok {
			return v, true
		}
	}
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		c.keep(k, v)
	}
	return v, ok
}

// add remembers what is true once the transaction is committed.
func (c *cache[K, V]) add(k K, v V) { c.fresh[k] = v }

// keep remembers what is in the tables already.
func (c *cache[K, V]) keep(k K, v V) {
	if len(c.young) >= c.most {
		c.old, c.young = c.young, make(map[K]V, c.most)
	}
	c.young[k] = v
}

func (c *cache[K, V]) commit() {
	for k, v := range c.fresh {
		c.keep(k, v)
	}
	clear(c.fresh)
}

func (c *cache[K, V]) rollback() { clear(c.fresh) }

// drop forgets what f is true of.
func (c *cache[K, V]) drop(f func(V) bool) {
	for _, m := range []map[K]V{c.young, c.old} {
		maps.DeleteFunc(m, func(_ K, v V) bool { return f(v) })
	}
}

// forget empties the cache.
func (c *cache[K, V]) forget() {
	clear(c.young)
	clear(c.old)
	clear(c.fresh)
}

// memory is what is remembered of a table.
type memory interface {
	commit()
	rollback()
	forget()
}

func (w *writer) memories() [6]memory {
	return [...]memory{&w.kinds, &w.attempts, &w.turns, &w.tools, &w.known, &w.refs}
}
