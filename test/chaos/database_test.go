package chaos

import (
	"context"
	"database/sql"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/sqlite"
	"keybridge/internal/store/storetest"
)

// database is where a gateway records.
type database interface {
	setting() string                             // of the gateway's configuration
	lose(t *testing.T, g *gateway) (back func()) // takes it away
	count(t *testing.T, g *gateway, query string) int64
	open(t *testing.T, g *gateway) *store.Store // once there is no gateway
	alone() bool                                // it belongs to one gateway, which knows that others are no more
}

// file is SQLite's.
type file struct{}

func (file) setting() string { return "" }

func (file) alone() bool { return true }

func (file) path(g *gateway) string { return filepath.Join(g.dir, "data", "keybridge.db") }

// attach opens the file beside the gateway.
func (f file) attach(t *testing.T, g *gateway) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: f.path(g), RawQuery: "mode=rw&_pragma=busy_timeout(30000)"}).String())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func (f file) count(t *testing.T, g *gateway, query string) (n int64) {
	t.Helper()
	db := f.attach(t, g)
	defer db.Close()
	if err := db.QueryRowContext(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// lose has somebody else hold the file.
func (f file) lose(t *testing.T, g *gateway) (back func()) {
	t.Helper()
	db := f.attach(t, g)
	ctx := context.WithoutCancel(t.Context())
	conn, err := db.Conn(ctx)
	if err == nil {
		_, err = conn.ExecContext(ctx, "BEGIN EXCLUSIVE")
	}
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		_, err := conn.ExecContext(ctx, "ROLLBACK")
		conn.Close()
		db.Close()
		if err != nil {
			t.Error(err)
		}
	}
}

func (f file) open(t *testing.T, g *gateway) *store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), f.path(g), sqlite.Options{Options: store.Options{Instance: "chaos"}})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// server is PostgreSQL's.
type server struct {
	*storetest.Server

	address string
}

func newServer(t *testing.T) *server {
	t.Helper()
	s := storetest.PostgresServer(t)
	return &server{s, s.Database(t)}
}

func (s *server) setting() string { return "store: \"" + s.address + "\"" }

func (s *server) alone() bool { return false }

func (s *server) count(t *testing.T, _ *gateway, query string) (n int64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), s.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	if err := conn.QueryRow(t.Context(), query).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

// lose ends the server as a crash does.
func (s *server) lose(t *testing.T, _ *gateway) (back func()) {
	t.Helper()
	s.Stop(t)
	return func() { s.Start(t) }
}

func (s *server) open(t *testing.T, _ *gateway) *store.Store {
	t.Helper()
	opened, err := postgres.Open(t.Context(), s.address, store.Options{Instance: "chaos"})
	if err != nil {
		t.Fatal(err)
	}
	return opened
}
