package postgres

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
)

// closing bounds the farewell to a server that may not answer any more.
const closing = 2 * time.Second

// connector makes pgx's connections what database/sql takes: as much of it as a store
// needs. The pool is database/sql's.
type connector struct{ config *pgx.ConnConfig }

func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	pg, err := pgx.ConnectConfig(ctx, c.config)
	if err != nil {
		return nil, err
	}
	return &conn{pg}, nil
}

func (c connector) Driver() driver.Driver { return c }

// Open implements driver.Driver; database/sql does not call it of a connector's.
func (c connector) Open(string) (driver.Conn, error) { return c.Connect(context.Background()) }

type conn struct{ pg *pgx.Conn }

func (c *conn) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), closing)
	defer cancel()
	return c.pg.Close(ctx)
}

func (c *conn) IsValid() bool { return !c.pg.IsClosed() }

// ResetSession implements driver.SessionResetter: a transaction left open is not handed on.
func (c *conn) ResetSession(context.Context) error {
	if c.pg.IsClosed() || c.pg.PgConn().TxStatus() != 'I' {
		return driver.ErrBadConn
	}
	return nil
}

func (c *conn) Ping(ctx context.Context) error { return c.judged(c.pg.Ping(ctx)) }

func (c *conn) Begin() (driver.Tx, error) {
	return c.BeginTx(context.Background(), driver.TxOptions{})
}

func (c *conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	statement := "BEGIN"
	if o.ReadOnly {
		// What one answer is read from by several statements belongs to one moment.
		statement = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"
	}
	if _, err := c.pg.Exec(ctx, statement); err != nil {
		return nil, c.judged(err)
	}
	return &tx{c: c, ctx: ctx}, nil
}

func (c *conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	tag, err := c.pg.Exec(ctx, query, values(args)...)
	if err != nil {
		return nil, c.judged(err)
	}
	return driver.RowsAffected(tag.RowsAffected()), nil
}

func (c *conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	found, err := c.pg.Query(ctx, query, values(args)...)
	if err != nil {
		return nil, c.judged(err)
	}
	// The columns, and an error of the statement, are known with the first row.
	more := found.Next()
	if err := found.Err(); err != nil {
		return nil, c.judged(err)
	}
	return &rows{c: c, found: found, first: true, more: more}, nil
}

func (c *conn) Prepare(query string) (driver.Stmt, error) {
	return c.PrepareContext(context.Background(), query)
}

// PrepareContext implements driver.ConnPrepareContext: pgx prepares each text when it
// first runs and keeps it by connection, so there is nothing left to do.
func (c *conn) PrepareContext(_ context.Context, query string) (driver.Stmt, error) {
	return &statement{c: c, query: query}, nil
}

type statement struct {
	c     *conn
	query string
}

func (s *statement) Close() error  { return nil }
func (s *statement) NumInput() int { return -1 }

func (s *statement) Exec([]driver.Value) (driver.Result, error) { return nil, driver.ErrSkip }
func (s *statement) Query([]driver.Value) (driver.Rows, error)  { return nil, driver.ErrSkip }

func (s *statement) ExecContext(ctx context.Context, args []driver.NamedValue) (driver.Result, error) {
	return s.c.ExecContext(ctx, s.query, args)
}

func (s *statement) QueryContext(ctx context.Context, args []driver.NamedValue) (driver.Rows, error) {
	return s.c.QueryContext(ctx, s.query, args)
}

// tx ends a transaction within the context it was begun in.
type tx struct {
	c   *conn
	ctx context.Context //nolint:containedctx // database/sql's Commit brings none
}

var errRolledBack = errors.New("the transaction was rolled back, not committed")

func (t *tx) Commit() error {
	tag, err := t.c.pg.Exec(t.ctx, "COMMIT")
	if err == nil && tag.String() == "ROLLBACK" {
		return errRolledBack // after a statement that failed, the server answers so
	}
	return t.c.judged(err)
}

func (t *tx) Rollback() error {
	if t.c.pg.IsClosed() {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.ctx), closing)
	defer cancel()
	_, err := t.c.pg.Exec(ctx, "ROLLBACK")
	return err
}

type rows struct {
	c           *conn
	found       pgx.Rows
	first, more bool
}

func (r *rows) Columns() []string {
	fields := r.found.FieldDescriptions()
	names := make([]string, len(fields))
	for i := range fields {
		names[i] = fields[i].Name
	}
	return names
}

func (r *rows) Close() error {
	r.found.Close()
	return r.found.Err()
}

func (r *rows) Next(into []driver.Value) error {
	if !r.first {
		r.more = r.found.Next()
	}
	r.first = false
	if !r.more {
		if err := r.found.Err(); err != nil {
			return r.c.judged(err)
		}
		return io.EOF
	}
	got, err := r.found.Values()
	if err != nil {
		return err
	}
	for i := range got {
		if into[i], err = plain(got[i]); err != nil {
			return err
		}
	}
	return nil
}

// plain is what database/sql knows of a value of PostgreSQL's.
func plain(v any) (driver.Value, error) {
	switch v := v.(type) {
	case nil, int64, float64, bool, string, []byte, time.Time:
		return v, nil
	case int32:
		return int64(v), nil
	case int16:
		return int64(v), nil
	case pgtype.Numeric: // a sum
		return v.Value()
	}
	return nil, fmt.Errorf("PostgreSQL answers with a %T", v)
}

func values(args []driver.NamedValue) []any {
	out := make([]any, len(args))
	for i := range args {
		out[i] = args[i].Value
	}
	return out
}

// brokenError is an error with which the connection has ended.
type brokenError struct{ err error }

func (e *brokenError) Error() string { return e.err.Error() }
func (e *brokenError) Unwrap() error { return e.err }

// judged tells database/sql to take another connection if nothing has reached the server
// on this one, and marks errors that have ended it.
func (c *conn) judged(err error) error {
	switch {
	case err == nil:
		return nil
	case pgconn.SafeToRetry(err):
		return driver.ErrBadConn
	case c.pg.IsClosed():
		return &brokenError{err}
	}
	return err
}
