package sqlite

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

// TestFull has a file that may not grow, as on a full disk, until it may.
func TestFull(t *testing.T) {
	f := &file{path: filepath.Join(t.TempDir(), "record.db")}
	e, err := f.engine()
	if err != nil {
		t.Fatal(err)
	}
	e.Open = func(ctx context.Context) (*store.Database, error) {
		db, failed := f.open(ctx)
		if failed == nil {
			_, failed = db.Write.ExecContext(ctx, "PRAGMA max_page_count = 80")
		}
		return db, failed
	}
	e.Shred = "PRAGMA max_page_count = 1000000" // the one way to the connection that writes
	s, err := store.Open(t.Context(), e, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	write := func(batch int) error {
		var list []*ledger.Exchange
		for i := range 100 {
			id := fmt.Sprintf("req_kb%012x%012x", batch*100+i, 0)
			list = append(list, &ledger.Exchange{ID: id, Start: time.Now(), End: time.Now(), Status: ledger.Completed})
		}
		return s.Write(t.Context(), nil, list)
	}
	batch := 0
	for err == nil && batch < 1000 {
		batch++
		err = write(batch)
	}
	if store.KindOf(err) != store.Full {
		t.Fatalf("batch %d: %v", batch, err)
	}
	if err := write(batch); store.KindOf(err) != store.Full {
		t.Errorf("again: %v", err)
	}
	if _, err := s.Prune(t.Context(), time.Now(), store.Keep{Prompts: time.Hour}); err != nil {
		t.Fatal(err)
	}
	if err := write(batch); err != nil {
		t.Errorf("with room again: %v", err)
	}
	if n, err := s.Count(t.Context(), store.Filter{}); n != int64(100*batch) || err != nil {
		t.Errorf("%d, %v after %d batches of 100", n, err, batch)
	}
}
