package sqlite_test

import (
	"path/filepath"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

func TestWriteTwice(t *testing.T) {
	p := filepath.Join(t.TempDir(), "t.db")
	s, err := sqlite.Open(t.Context(), p, sqlite.Options{Options: store.Options{Instance: "bench"}})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e := exchange(time.Now())
	f := exchange(time.Now().Add(time.Second))
	f.Session = "s1"
	for range 2 {
		if err := s.Write(t.Context(), []*ledger.Exchange{f}, []*ledger.Exchange{e}); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Write(t.Context(), []*ledger.Exchange{f}, []*ledger.Exchange{e, f}); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), []*ledger.Exchange{f}, []*ledger.Exchange{e, f}); err != nil {
		t.Fatal(err)
	}
}
