package storetest_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/sqlite"
	"keybridge/internal/store/storetest"
)

func TestWriteSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Base {
		path := filepath.Join(t.TempDir(), "record.db")
		return storetest.Base{Ask: askSQLite(path), Open: func(t *testing.T) *store.Store {
			return opened(t)(sqlite.Open(t.Context(), path, sqlite.Options{Options: store.Options{Instance: "a"}}))
		}}
	})
}

func TestWritePostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Base {
		url := storetest.Postgres(t)
		return storetest.Base{Ask: askPostgres(url), Open: func(t *testing.T) *store.Store {
			return opened(t)(postgres.Open(t.Context(), url, store.Options{Instance: "a"}))
		}}
	})
}

func askSQLite(path string) func(*testing.T, string) [][]any {
	return func(t *testing.T, statement string) [][]any {
		t.Helper()
		db, err := sql.Open("sqlite", path)
		if err != nil {
			t.Fatal(err)
		}
		defer db.Close()
		found, err := db.QueryContext(t.Context(), statement)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		defer found.Close()
		columns, err := found.Columns()
		if err != nil {
			t.Fatal(err)
		}
		var rows [][]any
		for found.Next() {
			row, into := make([]any, len(columns)), make([]any, len(columns))
			for i := range row {
				into[i] = &row[i]
			}
			if err := found.Scan(into...); err != nil {
				t.Fatal(err)
			}
			rows = append(rows, row)
		}
		if err := found.Err(); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return rows
	}
}

func askPostgres(url string) func(*testing.T, string) [][]any {
	return func(t *testing.T, statement string) [][]any {
		t.Helper()
		c, err := pgx.Connect(t.Context(), url)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close(t.Context())
		found, err := c.Query(t.Context(), statement)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		rows, err := pgx.CollectRows(found, func(r pgx.CollectableRow) ([]any, error) { return r.Values() })
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
		return rows
	}
}

func opened(t *testing.T) func(*store.Store, error) *store.Store {
	return func(s *store.Store, err error) *store.Store {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	}
}
