package store

import (
	"context"
	"database/sql"
	"errors"
	"hash/crc32"
	"strconv"
	"strings"
	"time"

	"keybridge/internal/ledger"
)

// Filter chooses interceptions. What is zero or "" does not choose.
type Filter struct {
	From, To time.Time // of the start: From belongs to it, To does not

	Caller, Client  string
	Unnamed         bool   // only callers without a name; Caller is "" then
	Session         string // as the client calls it
	Thread          string // the id of its first interception
	Provider, Model string // the model as asked for or as answered
	Key             string // that served last
	Status          ledger.Status
	Credential      ledger.Credential
}

// Page is a piece of a list that is read newest first.
type Page struct {
	Limit  int    // 0: 50; at most 1000
	Cursor string // what the page before ended with; "" for the first
}

const (
	usualPage = 50
	mostPage  = 1000
)

// size is how many are on a page.
func (p Page) size() int {
	if p.Limit <= 0 {
		return usualPage
	}
	return min(p.Limit, mostPage)
}

// endOf is the cursor of a page of a list that ends with numbers.
func endOf(list string, numbers ...int64) string {
	var b strings.Builder
	for _, n := range numbers {
		b.WriteString(strconv.FormatInt(n, 36) + ".")
	}
	return b.String() + strconv.FormatUint(uint64(crc32.ChecksumIEEE([]byte(list+b.String()))), 36)
}

// placeOf reads the numbers of a cursor of a list. What endOf has not made is none.
func placeOf(list, cursor string, numbers ...*int64) error {
	rest, made := cursor, make([]int64, len(numbers))
	for i, n := range numbers {
		var text string
		text, rest, _ = strings.Cut(rest, ".")
		made[i], _ = strconv.ParseInt(text, 36, 64) // what it makes of nonsense differs below
		*n = made[i]
	}
	if cursor != endOf(list, made...) {
		return ErrCursor
	}
	return nil
}

// Errors of what was asked, not of the database.
var (
	ErrNotFound = errors.New("there is no such record")
	ErrCursor   = errors.New("the cursor is none that a page has ended with")
	ErrTooMany  = errors.New("the answer has too many rows: ask for a shorter time, fewer dimensions or a coarser grain")
)

// USD writes picodollars as an exact decimal of US dollars, with two decimals or more.
func USD(picos int64) string {
	const decimals = 12
	sign, abs := "", uint64(picos) //nolint:gosec // below for what is negative
	if picos < 0 {
		sign, abs = "-", -abs
	}
	const dollar = 1_000_000_000_000
	whole, rest := abs/dollar, abs%dollar
	digits := strconv.FormatUint(rest, 10)
	digits = strings.Repeat("0", decimals-len(digits)) + digits
	digits = digits[:2] + strings.TrimRight(digits[2:], "0")
	return sign + strconv.FormatUint(whole, 10) + "." + digits
}

// conditions are what a WHERE says, and the arguments in the order of their places.
type conditions struct {
	text strings.Builder
	args []any
}

func (c *conditions) and(condition string, args ...any) {
	if c.text.Len() > 0 {
		c.text.WriteString(" AND ")
	}
	c.text.WriteString(condition)
	c.args = append(c.args, args...)
}

// sql is the WHERE, "" if there is nothing to say.
func (c *conditions) sql() string {
	if c.text.Len() == 0 {
		return ""
	}
	return " WHERE " + c.text.String()
}

// kinds are the conditions of a filter that interception_kinds k knows of.
func (f *Filter) kinds() *conditions {
	c := &conditions{}
	for _, equal := range []struct{ column, value string }{
		{"caller", f.Caller},
		{"client", f.Client},
		{"provider", f.Provider},
		{"key", f.Key},
		{"status", string(f.Status)},
		{"credential", string(f.Credential)},
	} {
		if equal.value != "" {
			c.and("k."+equal.column+" = ?", plain(equal.value))
		}
	}
	if f.Unnamed {
		c.and("k.caller = ''")
	}
	if f.Model != "" {
		c.and("? IN (k.model, k.model_asked)", plain(f.Model))
	}
	return c
}

// span is the times of a filter as microseconds: from belongs to it, to does not.
func (f *Filter) span() (from, to int64) {
	from, to = 0, 1<<63-1
	if !f.From.IsZero() {
		from = max(0, f.From.UnixMicro())
	}
	if !f.To.IsZero() {
		to = f.To.UnixMicro()
	}
	return from, to
}

// keysOf are the keys that interceptions of a span may have, the last not among them.
func keysOf(from, to int64) (least, end int64) {
	end = 1<<63 - 1
	if to < end-2000 {
		end = KeyAt(to + 2000) // the millisecond itself, and what had to give way into the next
	}
	return KeyAt(from), end
}

// look reads within one transaction: what it sees belongs to one moment. A database that
// a write has let go of is opened again, if none is about to do so.
func (s *Store) look(ctx context.Context, read func(*view) error) error {
	err := s.within(ctx, read)
	if err != nil && err.Error() == closedText {
		if err = s.reopen(ctx); err == nil {
			err = s.within(ctx, read)
		}
	}
	switch {
	case err == nil, errors.Is(err, ErrNotFound), errors.Is(err, ErrCursor), errors.Is(err, ErrTooMany):
		return err
	}
	return s.engine.Explain(err)
}

// closedText is of an error that database/sql has no name for.
const closedText = "sql: database is closed"

// reopen opens the database for readers.
func (s *Store) reopen(ctx context.Context) error {
	if !s.mu.TryLock() {
		return &Error{Kind: Unreachable, Place: s.engine.Place, Text: "it is being opened again", Do: "try again"}
	}
	defer s.mu.Unlock()
	if s.closed {
		return &Error{Kind: Closed, Place: s.engine.Place, Text: "the record is closed"}
	}
	return s.ready(ctx)
}

func (s *Store) within(ctx context.Context, read func(*view) error) error {
	// What one answer is read from by several statements belongs to one moment.
	tx, err := s.read.Load().BeginTx(ctx, &sql.TxOptions{ReadOnly: true, Isolation: sql.LevelRepeatableRead})
	if err != nil {
		return err
	}
	defer func() { _ = tx.Rollback() }() // nothing was written
	return read(&view{s: s, tx: tx, ctx: ctx})
}

// view is the record as it was when a transaction began.
type view struct {
	s   *Store
	tx  *sql.Tx
	ctx context.Context //nolint:containedctx // of one call, which the view does not outlive
}

// each calls scan for every row of a query.
func (v *view) each(query string, args []any, scan func(*sql.Rows) error) error {
	return v.s.engine.each(v.ctx, v.tx, query, args, scan)
}

// number is the one number that a query answers with.
func (v *view) number(query string, args ...any) (n int64, err error) {
	err = v.tx.QueryRowContext(v.ctx, v.s.engine.text(query), args...).Scan(&n)
	return n, err
}
