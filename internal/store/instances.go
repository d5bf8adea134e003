package store

import (
	"context"
	"database/sql"
	"time"

	"keybridge/internal/ledger"
)

const (
	// unseen is how long a process has said nothing that is no more.
	unseen = time.Minute
	// lostAtOnce are marked in one transaction.
	lostAtOnce = 500
)

// sighting is what another process last said, and since when it has said nothing else: by
// this process's clock, theirs may be wrong.
type sighting struct {
	said  int64
	since time.Time
}

// begin is called of a database that was just opened.
func (w *writer) begin(ctx context.Context, db *Database, name string) error {
	if err := w.connect(ctx, db); err != nil {
		return err
	}
	if w.instance == 0 {
		w.started = micros(time.Now())
		w.instance = newID(w.started)
	}
	w.name = name
	*w.epoch = 0 // no table has it: what is remembered may be of another database
	_, err := w.beat(ctx)
	return err
}

// connect takes the connection that is written on.
func (w *writer) connect(ctx context.Context, db *Database) error {
	conn, err := db.Write.Conn(ctx)
	w.conn = conn
	return err
}

// Beat says that this process is alive, and marks as lost what others have left open that
// are no more. It is to be called every ten seconds or so; lost is how many it has marked.
func (s *Store) Beat(ctx context.Context) (lost int64, err error) {
	err = s.do(ctx, func() error {
		lost, err = s.w.beat(ctx)
		return err
	})
	return lost, err
}

func (w *writer) beat(ctx context.Context) (lost int64, err error) {
	now := time.Now()
	err = w.transaction(ctx, func() error {
		_, err = w.conn.ExecContext(ctx, w.engine.text(`INSERT INTO instances (id, name, started, seen) VALUES (?, ?, ?, ?)
ON CONFLICT (id) DO UPDATE SET seen = excluded.seen`), w.instance, plain(w.name), w.started, micros(now))
		return err
	})
	if err != nil {
		return 0, err
	}
	if now.Sub(w.beaten) > unseen/2 {
		clear(w.others) // who did not look cannot say that they were silent
	}
	w.beaten = now
	others, err := w.look(ctx)
	if err != nil {
		return 0, err
	}
	for id, said := range others {
		last, ok := w.others[id]
		if !ok || last.said != said {
			last = sighting{said, now}
			w.others[id] = last
		}
		if !w.engine.Alone && now.Sub(last.since) < unseen {
			continue
		}
		n, err := w.lose(ctx, id, said)
		lost += n
		if err != nil {
			return lost, err
		}
		delete(w.others, id)
	}
	return lost, nil
}

// look is who else writes here, with what they last said.
func (w *writer) look(ctx context.Context) (map[int64]int64, error) {
	const query = `SELECT id, seen FROM instances WHERE id <> ?
UNION ALL SELECT DISTINCT instance, 0 FROM interceptions WHERE ended = 0 AND instance <> ? AND instance NOT IN (SELECT id FROM instances)`
	return w.pairs(ctx, query, []any{w.instance, w.instance})
}

// pairs are the rows of a query by their first number.
func (w *writer) pairs(ctx context.Context, query string, args []any) (map[int64]int64, error) {
	list := map[int64]int64{}
	err := w.each(ctx, query, args, func(rows *sql.Rows) error {
		var key, value int64
		failed := rows.Scan(&key, &value)
		list[key] = value
		return failed
	})
	return list, err
}

// leave says that this process ends: what it has not finished is lost.
func (w *writer) leave(ctx context.Context) error {
	_, err := w.lose(ctx, w.instance, micros(time.Now()))
	return err
}

// lose marks what a process has left open, which was last heard of at a time, and
// forgets the process.
func (w *writer) lose(ctx context.Context, instance, at int64) (lost int64, err error) {
	for {
		some := int64(0)
		err = w.transaction(ctx, func() error {
			w.reset()
			some, err = w.loseSome(ctx, instance, at)
			return err
		})
		lost += some
		if err != nil || some == 0 {
			return lost, err
		}
	}
}

// left is an interception that was left open.
type left struct{ key, kind, started int64 }

func (w *writer) loseSome(ctx context.Context, instance, at int64) (lost int64, err error) {
	open, err := w.left(ctx, instance)
	if err != nil {
		return 0, err
	}
	if len(open) == 0 {
		_, err = w.conn.ExecContext(ctx, w.engine.text("DELETE FROM instances WHERE id = ?"), instance)
		return 0, err
	}
	kinds := map[int64]int64{}
	for _, n := range open {
		if _, ok := kinds[n.kind]; !ok {
			if kinds[n.kind], err = w.lostKind(ctx, n.kind); err != nil {
				return 0, err
			}
		}
	}
	if err := w.insertKinds(ctx, &w.tables.ended); err != nil {
		return 0, err
	}
	for _, n := range open {
		result, err := w.conn.ExecContext(ctx, w.engine.text("UPDATE interceptions SET kind = ?, ended = ? WHERE id = ? AND ended = 0"),
			kinds[n.kind], max(at, n.started, 1), n.key)
		if err != nil {
			return 0, err
		}
		changed, err := result.RowsAffected()
		if err != nil {
			return 0, err
		}
		if changed == 0 {
			continue // another process was faster
		}
		lost++
		k := hourKind{n.started / hour * hour, kinds[n.kind]}
		total := w.hours[k]
		total.requests++
		w.hours[k] = total
	}
	return lost, w.sum(ctx)
}

func (w *writer) left(ctx context.Context, instance int64) ([]left, error) {
	var open []left
	const query = "SELECT id, kind, started FROM interceptions WHERE ended = 0 AND instance = ? LIMIT ?"
	err := w.each(ctx, query, []any{instance, lostAtOnce}, func(rows *sql.Rows) error {
		var n left
		failed := rows.Scan(&n.key, &n.kind, &n.started)
		open = append(open, n)
		return failed
	})
	return open, err
}

// lostKind is the kind that an open one becomes: there are no more of them than of those.
func (w *writer) lostKind(ctx context.Context, id int64) (int64, error) {
	var k interceptionKind
	var stream, reported int64
	err := w.conn.QueryRowContext(ctx, w.engine.text(`SELECT http_status, class, caller, metadata, client, version, signal, provider, route,
method, stream, model, model_asked, model_answered, credential, key, hint, reported FROM interception_kinds WHERE id = ?`), id).Scan(
		&k.http, &k.class, &k.caller, &k.metadata, &k.client, &k.version, &k.signal, &k.provider, &k.route,
		&k.method, &stream, &k.model, &k.asked, &k.answered, &k.credential, &k.key, &k.hint, &reported)
	k.status, k.stream, k.reported = string(ledger.Lost), stream != 0, reported != 0
	return w.kinds.sure(k), err
}
