package keypool

// lru is a bounded map that forgets what was used longest ago.
type lru[K comparable, V any] struct {
	most          int
	index         map[K]*kept[K, V]
	newest, first *kept[K, V] // first is the one used longest ago
}

type kept[K comparable, V any] struct {
	key          K
	value        V
	newer, older *kept[K, V]
}

func newLRU[K comparable, V any](most int) lru[K, V] {
	return lru[K, V]{most: most, index: map[K]*kept[K, V]{}}
}

func (l *lru[K, V]) len() int { return len(l.index) }

// find returns the value of a key, nil if there is none, and counts as a use.
func (l *lru[K, V]) find(k K) *V {
	e := l.index[k]
	if e == nil {
		return nil
	}
	l.touch(e)
	return &e.value
}

// add returns the value of a key, a new one if there is none; old is what was
// forgotten to make room.
func (l *lru[K, V]) add(k K) (v, old *V) {
	if v = l.find(k); v != nil {
		return v, nil
	}
	if len(l.index) >= l.most {
		old = &l.first.value
		l.drop(l.first.key)
	}
	e := &kept[K, V]{key: k}
	l.index[k] = e
	l.push(e)
	return &e.value, old
}

func (l *lru[K, V]) drop(k K) {
	if e := l.index[k]; e != nil {
		delete(l.index, k)
		l.unlink(e)
	}
}

// oldest returns what was used longest ago.
func (l *lru[K, V]) oldest() (k K, v *V) {
	if l.first != nil {
		k, v = l.first.key, &l.first.value
	}
	return k, v
}

// each visits everything, what was used longest ago first. A visit may drop what it
// is at.
func (l *lru[K, V]) each(visit func(K, *V)) {
	for e := l.first; e != nil; e = e.newer {
		visit(e.key, &e.value)
	}
}

func (l *lru[K, V]) touch(e *kept[K, V]) {
	if l.newest != e {
		l.unlink(e)
		l.push(e)
	}
}

func (l *lru[K, V]) push(e *kept[K, V]) {
	e.newer, e.older = nil, l.newest
	if l.newest != nil {
		l.newest.newer = e
	} else {
		l.first = e
	}
	l.newest = e
}

func (l *lru[K, V]) unlink(e *kept[K, V]) {
	if e.newer != nil {
		e.newer.older = e.older
	} else {
		l.newest = e.older
	}
	if e.older != nil {
		e.older.newer = e.newer
	} else {
		l.first = e.newer
	}
}
