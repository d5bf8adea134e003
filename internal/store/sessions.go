package store

import (
	"cmp"
	"context"
	"database/sql"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"keybridge/internal/ledger"
)

// staleness is how far behind the last interception of a session its row may say it was:
// a row need not be written for each.
const staleness = int64(time.Minute / time.Microsecond)

type sessionName struct{ caller, name string }

type session struct{ id, last int64 }

// sessionRow is a session that is to be written.
type sessionRow struct {
	sessionName

	id            int64
	client        string
	started, last int64
}

const sessionSet = ` ON CONFLICT (caller, name) DO UPDATE SET
started = CASE WHEN excluded.started < sessions.started THEN excluded.started ELSE sessions.started END,
last = CASE WHEN excluded.last > sessions.last THEN excluded.last ELSE sessions.last END
RETURNING id, caller, name, last`

// sessions gives the entries the ids of their sessions, and writes those that are new or
// whose row is out of date.
func (w *writer) sessions(ctx context.Context, lists ...[]entry) error {
	due := map[sessionName]*sessionRow(nil)
	each(lists, func(n *entry) {
		k := sessionOf(n.e)
		known, ok := w.known.get(k)
		at := micros(n.e.Start)
		if ok && at <= known.last+staleness {
			return
		}
		row := due[k]
		if row == nil {
			if due == nil {
				due = map[sessionName]*sessionRow{}
			}
			row = &sessionRow{sessionName: k, id: known.id, client: plain(n.e.Client), started: at, last: at}
			if !ok {
				row.id = newID(at)
			}
			due[k] = row
		}
		row.started, row.last = min(row.started, at), max(row.last, at)
	})
	if err := w.writeSessions(ctx, due); err != nil {
		return err
	}
	each(lists, func(n *entry) {
		s, _ := w.known.get(sessionOf(n.e))
		n.session = s.id
	})
	return nil
}

// sessionOf names an exchange's session as the tables have it: two names may become one.
func sessionOf(e *ledger.Exchange) sessionName {
	return sessionName{plain(e.Principal.Name), plain(e.Session)}
}

// each calls f for the entries that have a session.
func each(lists [][]entry, f func(*entry)) {
	for _, list := range lists {
		for i := range list {
			if n := &list[i]; !n.skip && n.e.Session != "" {
				f(n)
			}
		}
	}
}

func (w *writer) writeSessions(ctx context.Context, due map[sessionName]*sessionRow) error {
	if len(due) == 0 {
		return nil
	}
	rows := slices.Collect(maps.Values(due))
	// Always in the same order, so that two gateways wait for each other and not in a circle.
	slices.SortFunc(rows, func(a, b *sessionRow) int {
		return cmp.Or(strings.Compare(a.caller, b.caller), strings.Compare(a.name, b.name))
	})
	for len(rows) > 0 {
		n := len(rows)
		for _, size := range [...]int{w.engine.Rows, 8, 1} { // few sizes, so that few statements are prepared
			if len(rows) >= size {
				n = size
				break
			}
		}
		if err := w.writeSome(ctx, rows[:n]); err != nil {
			return err
		}
		rows = rows[n:]
	}
	return nil
}

func (w *writer) writeSome(ctx context.Context, rows []*sessionRow) error {
	args := make([]any, 0, 6*len(rows))
	for _, r := range rows {
		args = append(args, r.id, r.caller, r.name, r.client, r.started, r.last)
	}
	query := "INSERT INTO sessions (id, caller, name, client, started, last) VALUES " + places(len(rows), 6) + sessionSet
	return w.each(ctx, query, args, func(found *sql.Rows) error {
		var k sessionName
		var s session
		if err := found.Scan(&s.id, &k.caller, &k.name, &s.last); err != nil {
			return err
		}
		w.known.add(k, s)
		return nil
	})
}

// newID is a number for what began at a time: numbers sort by time.
func newID(at int64) int64 {
	return KeyAt(at) | rand.Int64N(1<<keyBits) //nolint:gosec // it need not be secret, only not the same twice
}
