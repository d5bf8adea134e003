package store

import (
	"context"
	"database/sql"
	"errors"
	"slices"
	"strings"
	"time"
)

// Keep is how long what is kept; 0 is for ever. What belongs to an interception goes with
// it at the latest, but for its part of the usage by the hour.
type Keep struct {
	Records   time.Duration // interceptions with all that belongs to them, and sessions
	Prompts   time.Duration
	Arguments time.Duration
	Reasoning time.Duration
	Usage     time.Duration // by the hour
}

// Pruned is how many rows were too old.
type Pruned struct{ Interceptions, Prompts, Arguments, Thoughts, Sessions, Hours int64 }

const (
	// pruneAtOnce are deleted in one transaction, so that writes do not wait for long.
	pruneAtOnce = 500
	refsAtOnce  = 64

	between = " BETWEEN ? AND ?"
	orphan  = between + " AND NOT EXISTS (SELECT 1 FROM interceptions i WHERE i.id = interception)"
)

// below are the tables of what belongs to interceptions.
func below() []string {
	return []string{"attempts", "turns", "iterations", "tool_calls", "call_arguments", "prompts", "thoughts", "decisions"}
}

// Prune deletes what is older than it is to be kept, also files that were set aside. It gives way to writes, and may be
// broken off at any time.
func (s *Store) Prune(ctx context.Context, now time.Time, keep Keep) (Pruned, error) {
	p, err := s.pruneRows(ctx, now, keep)
	if keep.Records > 0 && s.engine.Expire != nil {
		if failed := s.engine.Expire(now.Add(-keep.Records)); failed != nil {
			err = errors.Join(err, s.engine.Explain(failed))
		}
	}
	return p, err
}

func (s *Store) pruneRows(ctx context.Context, now time.Time, keep Keep) (Pruned, error) {
	var p Pruned
	until := func(d time.Duration) int64 { return KeyAt(micros(now.Add(-d))) }
	for _, one := range []struct {
		keep    time.Duration
		table   string
		deleted *int64
	}{
		{keep.Records, "interceptions", &p.Interceptions},
		{keep.Prompts, "prompts", &p.Prompts},
		{keep.Arguments, "call_arguments", &p.Arguments},
		{keep.Reasoning, "thoughts", &p.Thoughts},
	} {
		if one.keep <= 0 {
			continue
		}
		column := "interception"
		if one.table == "interceptions" {
			column = "id"
		}
		if err := s.prune(ctx, one.table, column, until(one.keep), one.deleted); err != nil {
			return p, err
		}
	}
	if keep.Usage > 0 {
		if err := s.prune(ctx, "usage_hours", "hour", micros(now.Add(-keep.Usage))/hour*hour, &p.Hours); err != nil {
			return p, err
		}
	}
	if p.Interceptions > 0 {
		if err := s.pruneSessions(ctx, micros(now.Add(-keep.Records))-staleness, &p.Sessions); err != nil {
			return p, err
		}
	}
	if p.Interceptions > 0 || p.Hours > 0 {
		return p, s.pruneKinds(ctx, now)
	}
	return p, nil
}

// deleting runs f in a transaction, in which what is deleted is made unreadable where the
// database can do that.
func (s *Store) deleting(ctx context.Context, f func() error) error {
	return s.do(ctx, func() error { return s.shredding(ctx, f) })
}

// outdating is deleting for what calls outdate.
func (s *Store) outdating(ctx context.Context, f func() error) error {
	return s.do(ctx, func() error {
		s.w.outdates = true
		defer func() { s.w.outdates = false }()
		return s.shredding(ctx, f)
	})
}

func (s *Store) shredding(ctx context.Context, f func() error) error {
	if s.engine.Shred != "" {
		if _, err := s.w.conn.ExecContext(ctx, s.engine.Shred); err != nil {
			return err
		}
		defer s.w.conn.ExecContext(context.WithoutCancel(ctx), s.engine.Unshred) //nolint:errcheck // to go on shredding does no harm
	}
	return s.w.transaction(ctx, f)
}

// repeat deletes as long as there is something to delete.
func (s *Store) repeat(ctx context.Context, sum *int64, f func() (int64, error)) error {
	for {
		n := int64(0)
		err := s.deleting(ctx, func() (err error) {
			n, err = f()
			return err
		})
		if err != nil || n == 0 {
			return err
		}
		*sum += n
	}
}

// prune deletes the rows of a table below a bound, the lowest first.
func (s *Store) prune(ctx context.Context, table, column string, until int64, sum *int64) error {
	return s.repeat(ctx, sum, func() (int64, error) {
		// Between two bounds: of what is below one, a database takes for granted that it is much.
		var first sql.NullInt64
		if err := s.w.conn.QueryRowContext(ctx, "SELECT MIN("+column+") FROM "+table).Scan(&first); err != nil || !first.Valid || first.Int64 >= until {
			return 0, err
		}
		last := until - 1
		err := s.w.conn.QueryRowContext(ctx, s.engine.text("SELECT "+column+" FROM "+table+" WHERE "+column+" BETWEEN ? AND ? ORDER BY "+column+" LIMIT 1 OFFSET ?"),
			first.Int64, last, pruneAtOnce-1).Scan(&last)
		if err != nil && !errors.Is(err, sql.ErrNoRows) {
			return 0, err
		}
		some := []any{first.Int64, last}
		if table == "interceptions" {
			return s.pruneInterceptions(ctx, last, some)
		}
		return s.delete(ctx, table+" WHERE "+column+between, some...)
	})
}

// pruneInterceptions deletes those between two ids. They go first, and then what is left of
// them: another gateway may write meanwhile what is as old.
func (s *Store) pruneInterceptions(ctx context.Context, last int64, some []any) (int64, error) {
	gone, err := s.w.pairs(ctx, "DELETE FROM interceptions WHERE id"+between+" RETURNING id, session", some)
	if err != nil {
		return 0, err
	}
	s.w.refs.drop(func(r ref) bool { return r.interception <= last })
	return int64(len(gone)), s.deleteBelow(ctx, gone, orphan, some)
}

// deleteBelow deletes what belongs to interceptions, of which a condition is true.
func (s *Store) deleteBelow(ctx context.Context, sessions map[int64]int64, which string, args []any) error {
	if err := s.deleteRefs(ctx, sessions, which, args); err != nil {
		return err
	}
	for _, table := range below() {
		if _, err := s.delete(ctx, table+" WHERE interception"+which, args...); err != nil {
			return err
		}
	}
	return nil
}

// deleteRefs deletes what the interceptions may be referred to by. They are named one by
// one: a database that cannot know how few they are reads all refs to find them.
func (s *Store) deleteRefs(ctx context.Context, sessions map[int64]int64, which string, args []any) error {
	for _, texts := range []string{
		"SELECT call, interception FROM tool_calls WHERE call <> '' AND interception",
		"SELECT message, interception FROM turns WHERE message LIKE '" + continuing + "%' AND interception",
	} {
		keys, err := s.refsOf(ctx, sessions, texts+which, args)
		if err != nil {
			return err
		}
		for some := range slices.Chunk(keys, 3*refsAtOnce) {
			named := strings.Repeat(", (CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT))", len(some)/3)[2:]
			if _, err := s.delete(ctx, "refs WHERE (ref, session, interception) IN (VALUES "+named+")", some...); err != nil {
				return err
			}
		}
	}
	return nil
}

// refsOf are the keys of the refs that texts may be, one after the other.
func (s *Store) refsOf(ctx context.Context, sessions map[int64]int64, query string, args []any) (keys []any, err error) {
	err = s.w.each(ctx, query, args, func(rows *sql.Rows) error {
		var text string
		var interception int64
		failed := rows.Scan(&text, &interception)
		if session, ok := sessions[interception]; ok {
			keys = append(keys, text, session, interception)
		}
		return failed
	})
	return keys, err
}

func (s *Store) delete(ctx context.Context, what string, args ...any) (int64, error) {
	result, err := s.w.conn.ExecContext(ctx, s.engine.text("DELETE FROM "+what), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (s *Store) pruneSessions(ctx context.Context, until int64, sum *int64) error {
	return s.repeat(ctx, sum, func() (int64, error) {
		return s.delete(ctx, `sessions WHERE id IN (SELECT s.id FROM sessions s WHERE s.last < ?
AND NOT EXISTS (SELECT 1 FROM interceptions i WHERE i.session = s.id AND i.session <> 0) LIMIT ?)`, until, pruneAtOnce)
	})
}

// sweepEvery is how often it is looked which kinds are out of use where that takes reading
// all that might be of them.
const sweepEvery = 24 * time.Hour

// pruneKinds deletes the kinds that nothing is of any more.
func (s *Store) pruneKinds(ctx context.Context, now time.Time) error {
	list := [][2]string{
		{"interception_kinds", `NOT EXISTS (SELECT 1 FROM interceptions i WHERE i.kind = k.id)
AND NOT EXISTS (SELECT 1 FROM usage_hours u WHERE u.kind = k.id)`},
		{"attempt_kinds", "k.id NOT IN (SELECT DISTINCT kind FROM attempts)"},
		{"turn_kinds", "k.id NOT IN (SELECT DISTINCT kind FROM turns)"},
		{"tool_kinds", "k.id NOT IN (SELECT DISTINCT kind FROM tool_calls)"},
	}
	if last := s.swept.Load(); now.UnixNano()-last >= int64(sweepEvery) {
		s.swept.Store(now.UnixNano())
	} else {
		list = list[:1]
	}
	for _, of := range list {
		if err := s.pruneUnused(ctx, of[0], of[1]); err != nil {
			return err
		}
	}
	return nil
}

// pruneUnused deletes the kinds of a table that a condition is true of. To find them holds
// up nobody; so they are found twice: first whether there are any, and then, when every
// writer marks what it takes up, which.
func (s *Store) pruneUnused(ctx context.Context, table, unused string) error {
	ids, err := s.unused(ctx, table, unused, 1<<62)
	if err != nil || len(ids) == 0 {
		return err
	}
	var epoch int64
	err = s.outdating(ctx, func() error {
		if err = s.outdate(ctx); err != nil {
			return err
		}
		return s.w.conn.QueryRowContext(ctx, "SELECT epoch FROM state").Scan(&epoch)
	})
	if err != nil {
		return err
	}
	if ids, err = s.unused(ctx, table, unused, epoch); err != nil {
		return err
	}
	for some := range slices.Chunk(ids, pruneAtOnce) {
		err := s.deleting(ctx, func() error {
			if *s.w.epoch < epoch {
				return nil // another file has taken its place
			}
			_, err := s.delete(ctx, table+" WHERE seen < ? AND id IN "+in(len(some)), slices.Concat([]any{epoch}, some)...)
			return err
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unused are the kinds of a table that a condition is true of, and that nobody has taken
// up since an epoch.
func (s *Store) unused(ctx context.Context, table, condition string, epoch int64) ([]any, error) {
	var ids []any
	err := s.look(ctx, func(v *view) error {
		ids = nil
		return v.each("SELECT k.id FROM "+table+" k WHERE k.seen < ? AND "+condition, []any{epoch}, func(rows *sql.Rows) error {
			var id int64
			if failed := rows.Scan(&id); failed != nil {
				return failed
			}
			ids = append(ids, id)
			return nil
		})
	})
	return ids, err
}

// outdate tells every writer, once it may go on, that what it remembers is out of date.
func (s *Store) outdate(ctx context.Context) error {
	_, err := s.w.conn.ExecContext(ctx, "UPDATE state SET epoch = epoch + 1")
	return err
}
