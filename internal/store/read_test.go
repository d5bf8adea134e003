package store_test

import (
	"errors"
	"path/filepath"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/sqlite"
	"keybridge/internal/store/storetest"
)

func openSQLite(t *testing.T) *store.Store {
	t.Helper()
	s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "record.db"), sqlite.Options{Options: store.Options{Instance: "a"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func openPostgres(t *testing.T) *store.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), storetest.Postgres(t), store.Options{Instance: "a"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestReadSQLite(t *testing.T) {
	store.Narrow(t)
	storetest.Read(t, openSQLite)
}

func TestReadPostgres(t *testing.T) {
	store.Narrow(t)
	storetest.Read(t, openPostgres)
}

// A session that many callers have, with many interceptions, of which few or none are
// wanted, is gone through once.
func TestLongSession(t *testing.T) {
	for name, open := range map[string]func(*testing.T) *store.Store{"SQLite": openSQLite, "PostgreSQL": openPostgres} {
		t.Run(name, func(t *testing.T) {
			store.Narrow(t)
			s := open(t)
			traffic := storetest.NewTraffic(1, 2000)
			var list []*ledger.Exchange
			for e := traffic.Next(); e != nil; e = traffic.Next() {
				e.Session = "default"
				list = append(list, e)
			}
			if err := s.Write(t.Context(), nil, list); err != nil {
				t.Fatal(err)
			}
			for _, f := range []store.Filter{
				{Status: ledger.Lost}, {Status: ledger.Failed}, {Key: "local-1", Status: ledger.Failed}, {Key: "local-1", Model: "gpt-5"}, {Client: "codex", Provider: "local"},
			} {
				f.Session = "default"
				if steps := store.Steps(t, s, f, 1000); steps > 2 {
					t.Errorf("%+v: %d steps", f, steps)
				}
			}
		})
	}
}

// An answer that would be too long is refused, also if it is put together of several.
func TestTooManyGroups(t *testing.T) {
	store.Bound(t, 3)
	s := openSQLite(t)
	traffic := storetest.NewTraffic(1, 40)
	traffic.Span = 4 * time.Hour
	for e := traffic.Next(); e != nil; e = traffic.Next() {
		if err := s.Write(t.Context(), nil, []*ledger.Exchange{e}); err != nil {
			t.Fatal(err)
		}
	}
	for _, tt := range []struct {
		from time.Duration
		by   []store.Dimension
		err  error
	}{
		{from: 2 * time.Hour}, // of four hours
		{from: time.Hour},
		{0, nil, store.ErrTooMany},
		{by: []store.Dimension{store.ByCaller}, err: store.ErrTooMany},
		{90 * time.Minute, nil, nil},
		{30 * time.Minute, nil, store.ErrTooMany}, // three whole ones and a half
	} {
		used, err := s.Usage(t.Context(), store.Filter{From: traffic.Start.Add(tt.from)}, tt.by, store.PerHour)
		if !errors.Is(err, tt.err) || (len(used) == 0) != (tt.err != nil) {
			t.Errorf("from %s by %s: %d rows, %v", tt.from, tt.by, len(used), err)
		}
	}
}

func TestReadClosed(t *testing.T) {
	s := openSQLite(t)
	s.Close()
	if _, err := s.Count(t.Context(), store.Filter{}); store.KindOf(err) != store.Closed {
		t.Error(err)
	}
}
