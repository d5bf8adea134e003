package sqlite

import (
	"path/filepath"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

// TestSilence has several processes at one database, as they may be at a server's: what
// one has left open is lost a minute after it was last heard of, as the others' own
// clocks go, and not because nobody could be heard.
func TestSilence(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	shared := func(t *testing.T) *store.Store {
		t.Helper()
		f := &file{path: path}
		e, err := f.engine()
		if err != nil {
			t.Fatal(err)
		}
		e.Alone, e.Open = false, f.connect
		s, err := store.Open(t.Context(), e, store.Options{})
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	begun := func(t *testing.T, s *store.Store, id string) *ledger.Exchange {
		t.Helper()
		e := &ledger.Exchange{ID: "req_kb" + id + "000000000000", Start: time.Now(), Status: ledger.Completed}
		if err := s.Write(t.Context(), []*ledger.Exchange{e}, nil); err != nil {
			t.Fatal(err)
		}
		return e
	}
	synctest.Test(t, func(t *testing.T) {
		quiet, talking, watcher := shared(t), shared(t), shared(t)
		defer quiet.Close()
		defer talking.Close()
		defer watcher.Close()
		first := begun(t, quiet, "000000000001")
		begun(t, talking, "000000000002")
		beat := func(s *store.Store, want int64) {
			t.Helper()
			if lost, err := s.Beat(t.Context()); lost != want || err != nil {
				t.Fatalf("after %s: lost %d, %v, want %d", time.Since(first.Start), lost, err, want)
			}
		}
		states := func(status ledger.Status, want int64) {
			t.Helper()
			if n, err := watcher.Count(t.Context(), store.Filter{Status: status}); n != want || err != nil {
				t.Errorf("after %s: %d are %s, %v, want %d", time.Since(first.Start), n, status, err, want)
			}
		}
		for range 5 {
			time.Sleep(10 * time.Second)
			beat(talking, 0)
			beat(watcher, 0)
		}
		time.Sleep(5 * time.Minute) // nobody could reach the database, or the machine slept
		beat(watcher, 0)
		beat(talking, 0)
		for range 5 {
			time.Sleep(10 * time.Second)
			beat(watcher, 0)
			beat(talking, 0)
		}
		states(ledger.Open, 2)
		time.Sleep(10 * time.Second)
		beat(watcher, 1)
		beat(talking, 0)
		states(ledger.Open, 1)
		states(ledger.Lost, 1)

		first.End = time.Now() // it was only slow
		if err := quiet.Write(t.Context(), nil, []*ledger.Exchange{first}); err != nil {
			t.Fatal(err)
		}
		begun(t, quiet, "000000000003")
		beat(quiet, 0)
		states(ledger.Completed, 1)
		states(ledger.Lost, 0)
		for range 12 {
			time.Sleep(10 * time.Second)
			beat(quiet, 0)
			beat(talking, 0)
			beat(watcher, 0)
		}
		talking.Close() // which says so
		states(ledger.Lost, 1)
		states(ledger.Open, 1)
	})
}
