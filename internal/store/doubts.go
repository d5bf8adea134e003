package store

import (
	"context"
	"database/sql"
	"maps"
	"slices"
)

// doubt is a kind that is not known, of a caller who has had many of them. How it is
// written is decided when it is known which of its ids are in the table.
type doubt[K any] struct {
	caller string
	kinds  [steps]K
	ids    [steps]int64
}

func (ks *kinds[K]) doubtful() (table string, there map[int64]bool) {
	return ks.rows.table.name, ks.there
}

// decide ends all doubts, and says which ids become which.
func (ks *kinds[K]) decide() map[int64]int64 {
	renamed := map[int64]int64{}
	for i := range ks.doubts {
		d := &ks.doubts[i]
		if id := ks.decided(d); id != d.ids[0] {
			renamed[d.ids[0]] = id
		}
	}
	ks.certain()
	return renamed
}

func (ks *kinds[K]) decided(d *doubt[K]) int64 {
	for step, k := range d.kinds {
		id, who := d.ids[step], whose{d.caller, step}
		if _, ok := ks.get(k); ok {
			return id
		}
		if ks.there[id] {
			return ks.put(k, id) // in use again
		}
		if step == steps-1 || ks.fewer(who, mostNew) {
			ks.new[who]++
			return ks.put(k, id)
		}
	}
	return 0 // the last step is always taken
}

func (ks *kinds[K]) certain() {
	ks.doubts = nil // many, and rarely
	clear(ks.there)
}

// insertKinds writes the kinds of what is in the batches, ended among them, and decides
// those that are in doubt.
func (w *writer) insertKinds(ctx context.Context, ended *batch) error {
	t := w.tables
	for _, of := range []struct {
		kinds interface {
			doubtful() (string, map[int64]bool)
			decide() map[int64]int64
		}
		rows *batch // to be inserted
		used []*batch
	}{
		{&w.kinds, &w.kinds.rows, []*batch{ended, &t.began}},
		{&w.attempts, &w.attempts.rows, []*batch{&t.attempts}},
		{&w.turns, &w.turns.rows, []*batch{&t.turns}},
		{&w.tools, &w.tools.rows, []*batch{&t.tools}},
	} {
		if table, there := of.kinds.doubtful(); len(there) > 0 {
			if err := w.present(ctx, table, there); err != nil {
				return err
			}
			renamed := of.kinds.decide()
			for _, b := range of.used {
				b.rename(renamed)
			}
			if of.rows == &w.kinds.rows {
				w.hours = renamedHours(w.hours, renamed)
			}
		}
		of.rows.sort() // gateways that insert the same rows in different orders would wait for each other
		if _, err := w.insert(ctx, of.rows); err != nil {
			return err
		}
	}
	return nil
}

// present finds out which ids are in a table.
func (w *writer) present(ctx context.Context, table string, there map[int64]bool) error {
	for some := range slices.Chunk(slices.Collect(maps.Keys(there)), lookup) {
		args := make([]any, len(some))
		for i, id := range some {
			args[i] = id
		}
		err := w.each(ctx, "SELECT id FROM "+table+" WHERE id IN "+in(len(args)), args, func(rows *sql.Rows) error {
			var id int64
			failed := rows.Scan(&id)
			there[id] = failed == nil
			return failed
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// rename changes ids of kinds in rows of them.
func (b *batch) rename(ids map[int64]int64) {
	for at := slices.Index(b.table.columns, "kind"); at < len(b.args); at += len(b.table.columns) {
		if id, ok := b.args[at].Value.(int64); ok {
			if to, ok := ids[id]; ok {
				b.args[at].Value = to
			}
		}
	}
}

func renamedHours(hours map[hourKind]tally, ids map[int64]int64) map[hourKind]tally {
	out := make(map[hourKind]tally, len(hours))
	for at, t := range hours {
		if to, ok := ids[at.kind]; ok {
			at.kind = to
		}
		sum := out[at]
		sum.add(&t)
		out[at] = sum
	}
	return out
}
