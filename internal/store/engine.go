package store

import (
	"context"
	"database/sql"
	"io/fs"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

// Engine is what differs between one kind of database and another.
type Engine struct {
	// Place is which database, for messages: a path or an address, never a secret.
	Place string
	// Numbered says that placeholders are $1, $2; they are written ? everywhere.
	Numbered bool
	// Rows is how many rows are best inserted by one statement.
	Rows int
	// Alone says that no other process writes here: what another has left open is lost.
	Alone bool
	// Begin is how a transaction begins that writes; "" is BEGIN.
	Begin string
	// Share is what a SELECT ends with that keeps its rows as they are until the
	// transaction ends.
	Share string

	// Shred makes what the connection deletes from now on unreadable, Unshred ends that; ""
	// where the database can do no such thing.
	Shred, Unshred string

	// Wipe makes unreadable what was deleted and still stands beside the tables; nil where
	// nothing can be done about it.
	Wipe func(context.Context, *sql.Conn) error

	Migrations fs.FS
	Dialect    goose.Dialect
	Locker     lock.SessionLocker // of migrations; nil if nobody else can be there

	// Open connects. It is called again when the database was lost.
	Open func(context.Context) (*Database, error)
	// Explain says what is wrong, in terms of this kind of database; it is given no nil,
	// and leaves alone what is an *Error already.
	Explain func(error) error
	// Expire removes what the engine itself has kept of databases that were given up until a
	// time; nil if it keeps nothing.
	Expire func(until time.Time) error
	// Retry says that the same transaction may well succeed at once: another had won.
	Retry func(error) bool
}

// Database is an open one.
type Database struct {
	Write *sql.DB // of one connection
	Read  *sql.DB
	// Check says what has happened to the database behind the connections' backs, before
	// each write. With an error the database is opened anew.
	Check func() error
	// Close is called when both are closed: it lets go of locks.
	Close func() error
	// Gone says of a failed write that the connections are of no use any more.
	Gone func(error) bool
}

func (d *Database) close() {
	_ = d.Read.Close()  // nothing is left to read
	_ = d.Write.Close() // what was committed is in the database
	if d.Close != nil {
		_ = d.Close() // a lock ends with the process at the latest
	}
}

// asker is a connection or a transaction.
type asker interface {
	QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error)
}

// each calls scan for every row of a query.
func (e *Engine) each(ctx context.Context, of asker, query string, args []any, scan func(*sql.Rows) error) error {
	rows, err := of.QueryContext(ctx, e.text(query), args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says it
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}

// text is a statement in the database's own way to write placeholders.
func (e *Engine) text(query string) string {
	if !e.Numbered {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 64)
	n := 0
	for {
		before, after, found := strings.Cut(query, "?")
		b.WriteString(before)
		if !found {
			return b.String()
		}
		n++
		b.WriteByte('$')
		b.WriteString(strconv.Itoa(n))
		query = after
	}
}
