package store

import (
	"cmp"
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"keybridge/internal/ledger"
)

const (
	knownKinds    = 10_000
	knownSessions = 50_000
	knownRefs     = 100_000
)

// writer is what one open database is written by, and what it remembers of its tables.
type writer struct {
	inserter

	instance int64 // this process
	name     string
	started  int64
	beaten   time.Time
	others   map[int64]sighting

	epoch    *int64
	outdates bool // the transaction ahead changes the epoch

	seed   maphash.Seed
	tables *tables

	kinds    kinds[interceptionKind]
	attempts kinds[attemptKind]
	turns    kinds[turnKind]
	tools    kinds[toolKind]
	known    cache[sessionName, session]
	refs     cache[uint64, ref]

	begun, ended []entry
	recalled     map[question]ref    // of the batch, from the tables
	beside       map[uint64][]origin // of the batch itself
	failed       []ref               // calls
	hours        map[hourKind]tally
}

func newWriter(e *Engine) *writer {
	epoch := new(int64)
	return &writer{
		inserter: inserter{engine: e, prepared: map[statement]driver.StmtExecContext{}},
		epoch:    epoch,
		seed:     maphash.MakeSeed(),
		tables:   newTables(),
		kinds: newKinds[interceptionKind]("interception_kinds", "status, http_status, class, caller, metadata, client, version, "+
			"signal, provider, route, method, stream, model, model_asked, model_answered, credential, key, hint, reported", epoch),
		attempts: newKinds[attemptKind]("attempt_kinds", "key, hint, status, action, reason", epoch),
		turns:    newKinds[turnKind]("turn_kinds", "model, stop, tier, reported, complete, price_model, price_version", epoch),
		tools:    newKinds[toolKind]("tool_kinds", "kind, server, name, outcome", epoch),
		known:    newCache[sessionName, session](knownSessions),
		refs:     newCache[uint64, ref](knownRefs),
		recalled: map[question]ref{},
		beside:   map[uint64][]origin{},
		hours:    map[hourKind]tally{},
		others:   map[int64]sighting{},
	}
}

// brokenError is why a transaction has failed that could not be ended either.
type brokenError struct{ error }

func (e *brokenError) Unwrap() error { return e.error }

// errKnown says that some of what was taken for new is in the tables.
var errKnown = errors.New("some of it is recorded already")

// write puts exchanges into the tables, all or none of them.
func (w *writer) write(ctx context.Context, begun, ended []*ledger.Exchange) error {
	var err error
	if w.ended, err = entries(w.ended[:0], ended); err != nil {
		return err
	}
	if w.begun, err = entries(w.begun[:0], begun); err != nil {
		return err
	}
	for i := range w.begun {
		w.begun[i].skip = w.begun[i].skip || among(w.ended, &w.begun[i])
	}
	err = w.transaction(ctx, func() error { return w.rows(ctx, false) })
	if errors.Is(err, errKnown) {
		err = w.transaction(ctx, func() error { return w.rows(ctx, true) })
	}
	w.reset()
	clear(w.ended) // the exchanges belong to somebody else
	clear(w.begun)
	return err
}

// entries are the exchanges in the order of their ids, each once: of two with one id the
// later.
func entries(into []entry, list []*ledger.Exchange) ([]entry, error) {
	sorted := true
	for _, e := range list {
		key, nonce, ok := Key(e.ID)
		if !ok {
			return into, &Error{Kind: Content, Place: "the record", Text: "an exchange has the id " + e.ID + ", which is none of the gateway's"}
		}
		sorted = sorted && (len(into) == 0 || into[len(into)-1].key < key)
		into = append(into, entry{e: e, key: key, nonce: nonce})
	}
	if sorted {
		return into, nil
	}
	slices.SortStableFunc(into, func(a, b entry) int { return cmp.Or(cmp.Compare(a.key, b.key), cmp.Compare(a.nonce, b.nonce)) })
	for i := 1; i < len(into); i++ {
		last, n := &into[i-1], &into[i]
		switch {
		case n.nonce == last.nonce && n.e.ID == last.e.ID:
			last.skip = true
			n.key = last.key
		case n.key <= last.key:
			n.key = last.key + 1
		}
	}
	return into, nil
}

// among says whether the exchange of an entry is in the list.
func among(list []entry, n *entry) bool {
	i, _ := slices.BinarySearchFunc(list, n.key, func(a entry, key int64) int { return cmp.Compare(a.key, key) })
	for ; i < len(list) && list[i].key < n.key+neighbours; i++ {
		if list[i].nonce == n.nonce {
			return true
		}
	}
	return false
}

// transaction runs f in one, and keeps what was learned in it if it is committed. It is
// none of database/sql's: that ends one by itself with its context, between two statements
// that go round it, and the second would stand alone. A panic ends it as an error does,
// and is one.
func (w *writer) transaction(ctx context.Context, f func() error) error {
	begin := "BEGIN"
	if w.engine.Begin != "" {
		begin = w.engine.Begin
	}
	if _, err := w.conn.ExecContext(ctx, begin); err != nil {
		_ = w.rollback(ctx) // it may have begun all the same, when its time was up
		return err
	}
	err := w.current(ctx)
	if err == nil {
		err = w.attempt(f)
	}
	if err == nil {
		// It may be committed even if this fails: what is written again is found to be there.
		_, err = w.conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		for _, m := range w.memories() {
			m.rollback()
		}
		if w.rollback(ctx) != nil {
			err = &brokenError{err}
		}
		return err
	}
	for _, m := range w.memories() {
		m.commit()
	}
	return nil
}

// attempt makes an error of a panic, whose cause is what was to be written: the connection
// must not stay in the transaction.
func (w *writer) attempt(f func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = &Error{Kind: Panic, Place: w.engine.Place, Text: "it cannot be written", Err: fmt.Errorf("panic: %v", p)}
		}
	}()
	return f()
}

// rollback ends a transaction that has failed. Without that the connection is of no use.
func (w *writer) rollback(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	_, err := w.conn.ExecContext(ctx, "ROLLBACK")
	return err
}

// current forgets what is remembered if others have deleted rows. They cannot go on to
// before the transaction has ended.
func (w *writer) current(ctx context.Context) error {
	var epoch int64
	lock := w.engine.Share
	if w.outdates && lock != "" {
		lock = " FOR UPDATE" // two that share the row and then change it would wait for each other
	}
	if err := w.conn.QueryRowContext(ctx, "SELECT epoch FROM state"+lock).Scan(&epoch); err != nil {
		return err
	}
	if epoch != *w.epoch {
		*w.epoch = epoch
		for _, m := range w.memories() {
			m.forget()
		}
	}
	return nil
}

// rows writes the entries. Careful, it looks first which of them are there; else it
// finds out when not as many rows change as should.
func (w *writer) rows(ctx context.Context, careful bool) error {
	w.reset()
	target := &w.tables.ended
	if careful {
		target = &w.tables.settled
		if err := w.settle(ctx); err != nil {
			return err
		}
	}
	if err := w.sessions(ctx, w.ended, w.begun); err != nil {
		return err
	}
	if err := w.recall(ctx, w.ended); err != nil {
		return err
	}
	count := w.gather(target)
	if err := w.insertKinds(ctx, target); err != nil {
		return err
	}
	changed, err := w.insert(ctx, target)
	if err == nil && changed != count {
		err = errKnown
	}
	if err != nil {
		return err
	}
	for _, b := range w.tables.each {
		if _, err = w.insert(ctx, b); err != nil {
			return err
		}
	}
	if err = w.failures(ctx); err != nil {
		return err
	}
	return w.sum(ctx)
}

// gather puts the entries into the batches. It returns how many have ended.
func (w *writer) gather(target *batch) (ended int64) {
	for i := range w.ended {
		if n := &w.ended[i]; !n.skip {
			ended++
			w.end(target, n)
		}
	}
	for i := range w.begun {
		if n := &w.begun[i]; !n.skip {
			w.thread(n)
			n.kind = w.kinds.id(n.e.Principal.Name, kindOf(n.e, ledger.Open))
			w.interception(&w.tables.began, n, 0, &tally{})
		}
	}
	return ended
}

// end puts an exchange that has ended into the batches.
func (w *writer) end(target *batch, n *entry) {
	e := n.e
	w.thread(n)
	w.remember(n)
	n.kind = w.kinds.id(e.Principal.Name, kindOf(e, e.Status))
	sum := w.below(n)
	w.interception(target, n, max(micros(e.End), micros(e.Start), 1), &sum)

	at := hourKind{micros(e.Start) / hour * hour, n.kind}
	total := w.hours[at]
	total.add(&sum)
	w.hours[at] = total
	if n.lost != 0 {
		at.kind = n.lost
		total := w.hours[at]
		total.requests--
		w.hours[at] = total
	}
}

// sum adds to the hours. It comes last: other gateways add to the same rows, and wait.
func (w *writer) sum(ctx context.Context) error {
	list := make([]hourKind, 0, len(w.hours))
	for k := range w.hours {
		list = append(list, k)
	}
	slices.SortFunc(list, func(a, b hourKind) int { return cmp.Or(cmp.Compare(a.hour, b.hour), cmp.Compare(a.kind, b.kind)) })
	b := &w.tables.hours
	for _, k := range list {
		t := w.hours[k]
		b.int(k.hour)
		b.int(k.kind)
		b.int(t.requests)
		b.usage(&t.usage)
		b.int(t.searches)
		b.int(t.picos)
		b.int(t.unpriced)
	}
	_, err := w.insert(ctx, b)
	return err
}

// reset empties what an attempt to write has left.
func (w *writer) reset() {
	for _, b := range w.tables.each {
		b.reset()
	}
	for _, b := range []*batch{
		&w.tables.ended, &w.tables.settled, &w.tables.hours, &w.kinds.rows, &w.attempts.rows, &w.turns.rows, &w.tools.rows,
	} {
		b.reset()
	}
	clear(w.hours)
	clear(w.recalled)
	clear(w.beside)
	w.failed = w.failed[:0]
}

// settle finds out which entries are in the tables and gives the others keys that are free.
func (w *writer) settle(ctx context.Context) error {
	taken := make(map[int64]bool, len(w.ended))
	for i := range w.ended {
		taken[w.ended[i].key] = true
	}
	for i := range w.ended {
		n := &w.ended[i]
		if n.skip {
			continue
		}
		delete(taken, n.key)
		if err := w.place(ctx, n, taken); err != nil {
			return err
		}
		taken[n.key] = true
	}
	return nil
}

// place finds the row of an entry, or room for it.
func (w *writer) place(ctx context.Context, n *entry, taken map[int64]bool) error {
	first, _, _ := Key(n.e.ID)
	share := w.engine.Share
	if share != "" {
		share += " OF i" // kinds are inserted in an order, so that gateways do not wait for each other
	}
	found, err := w.conn.QueryContext(ctx, w.engine.text(`SELECT i.id, i.nonce, i.kind, i.ended, k.status
FROM interceptions i JOIN interception_kinds k ON k.id = i.kind WHERE i.id >= ? AND i.id < ? ORDER BY i.id`+share), first, first+neighbours)
	if err != nil {
		return err
	}
	defer found.Close() //nolint:errcheck // Err says it
	free := first
	for found.Next() {
		var key, nonce, kind, ended int64
		var status ledger.Status
		if err := found.Scan(&key, &nonce, &kind, &ended, &status); err != nil {
			return err
		}
		if nonce == n.nonce {
			n.key, n.skip = key, ended != 0 && status != ledger.Lost
			if status == ledger.Lost {
				n.lost = kind
			}
			return nil
		}
		taken[key] = true
	}
	if err := found.Err(); err != nil {
		return err
	}
	for taken[free] {
		free++
	}
	n.key = free
	if free >= first+neighbours {
		return &Error{Kind: Content, Place: "the record", Text: "there are too many exchanges of the very time of " + n.e.ID}
	}
	return nil
}
