package store

import (
	"cmp"
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"slices"
	"strings"
)

// table is what rows are inserted into, and how.
type table struct {
	name    string
	columns []string
	tail    string // what the statement ends with
}

// batch collects rows of a table. It is emptied, not thrown away: its room is used again.
type batch struct {
	table *table
	args  []driver.NamedValue
}

func (b *batch) int(v int64)   { b.args = append(b.args, driver.NamedValue{Value: v}) }
func (b *batch) text(s string) { b.args = append(b.args, driver.NamedValue{Value: s}) }

func (b *batch) flag(v bool) {
	if v {
		b.int(1)
	} else {
		b.int(0)
	}
}

func (b *batch) reset() {
	clear(b.args) // texts may be large
	b.args = b.args[:0]
}

// sort puts the rows in the order of their first column, a number.
func (b *batch) sort() {
	rows := slices.Collect(slices.Chunk(b.args, len(b.table.columns)))
	if len(rows) < 2 {
		return
	}
	slices.SortFunc(rows, func(x, y []driver.NamedValue) int {
		return cmp.Compare(x[0].Value.(int64), y[0].Value.(int64)) //nolint:forcetypeassert // the caller knows
	})
	b.args = slices.Concat(rows...)
}

// inserter runs the statements of one connection. It goes round database/sql, which looks
// at each argument by itself: that costs as much again as the statement.
type inserter struct {
	engine   *Engine
	conn     *sql.Conn
	prepared map[statement]driver.StmtExecContext
}

type statement struct {
	table *table
	rows  int
}

// insert writes all rows of a batch and returns how many changed anything.
func (i *inserter) insert(ctx context.Context, b *batch) (changed int64, err error) {
	width := len(b.table.columns)
	for rest := b.args; len(rest) > 0; {
		rows := i.engine.Rows
		for rows*width > len(rest) {
			rows = (rows + 3) / 4 // few sizes, so that few statements are prepared
		}
		n, err := i.exec(ctx, statement{b.table, rows}, rest[:rows*width])
		if err != nil {
			return changed, err
		}
		changed += n
		rest = rest[rows*width:]
	}
	return changed, nil
}

func (i *inserter) exec(ctx context.Context, st statement, args []driver.NamedValue) (changed int64, err error) {
	for j := range args {
		args[j].Ordinal = j + 1
	}
	bounds := ctx
	if i.engine.Alone {
		bounds = context.WithoutCancel(ctx) // a local file answers by itself; to watch ctx costs more than the statement
	}
	err = i.conn.Raw(func(c any) (err error) {
		prepared := i.prepared[st]
		if prepared == nil {
			if prepared, err = prepare(ctx, c, i.engine.text(st.text())); err != nil {
				return err
			}
			i.prepared[st] = prepared
		}
		result, err := prepared.ExecContext(bounds, args)
		if err == nil {
			changed, err = result.RowsAffected()
		}
		return err
	})
	return changed, err
}

var errDriver = errors.New("the driver knows no prepared statements with a context")

func prepare(ctx context.Context, c any, text string) (driver.StmtExecContext, error) {
	preparer, ok := c.(driver.ConnPrepareContext)
	if !ok {
		return nil, errDriver
	}
	p, err := preparer.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	stmt, ok := p.(driver.StmtExecContext)
	if !ok {
		_ = p.Close() // it is of no use
		return nil, errDriver
	}
	return stmt, nil
}

func (st statement) text() string {
	t := st.table
	return "INSERT INTO " + t.name + " (" + strings.Join(t.columns, ", ") + ") VALUES " + places(st.rows, len(t.columns)) + t.tail
}

// places is as many rows of placeholders.
func places(rows, columns int) string {
	row := "(" + strings.Repeat("?, ", columns-1) + "?)"
	return strings.Repeat(row+", ", rows-1) + row
}

// in is a list of placeholders.
func in(n int) string { return places(1, n) }

// each calls scan for every row of a query.
func (i *inserter) each(ctx context.Context, query string, args []any, scan func(*sql.Rows) error) error {
	return i.engine.each(ctx, i.conn, query, args, scan)
}

// close lets go of the connection.
func (i *inserter) close() {
	if i.conn == nil {
		return
	}
	_ = i.conn.Raw(func(any) error {
		for _, p := range i.prepared {
			if s, ok := p.(driver.Stmt); ok {
				_ = s.Close() // the connection may be gone
			}
		}
		return nil
	})
	clear(i.prepared)
	_ = i.conn.Close() // it goes back to the pool, or is gone
	i.conn = nil
}
