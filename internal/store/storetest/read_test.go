package storetest_test

import (
	"path/filepath"
	"testing"

	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/sqlite"
	"keybridge/internal/store/storetest"
)

func TestReadSQLite(t *testing.T) {
	storetest.Read(t, func(t *testing.T) *store.Store {
		s, err := sqlite.Open(t.Context(), filepath.Join(t.TempDir(), "record.db"), sqlite.Options{Options: store.Options{Instance: "a"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}

func TestReadPostgres(t *testing.T) {
	storetest.Read(t, func(t *testing.T) *store.Store {
		s, err := postgres.Open(t.Context(), storetest.Postgres(t), store.Options{Instance: "a"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { s.Close() })
		return s
	})
}
