//go:build unix

package storetest_test

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/sqlite"
	"keybridge/internal/store/storetest"
)

var (
	rows   = flag.Int("rows", 0, "measure the reading of so many interceptions")
	rowsIn = flag.String("rows.in", "sqlite", "the database: sqlite or postgres")
	rowsDB = flag.String("rows.db", "", "keep SQLite's file there, and take it if it is there")
	rowsTo = flag.String("rows.doc", "", "write the figures into this file")
)

// limit is what the three questions of every day may take at the median, on SQLite.
const limit = 100 * time.Millisecond

func TestRows(t *testing.T) {
	if *rows == 0 {
		t.Skip("make rows")
	}
	s, took := filled(t)
	questions := asked(t, s)
	var doc strings.Builder
	fmt.Fprintf(&doc, "%d interceptions of 30 days, 50 callers, 5 000 sessions, 12 models of 4 providers, on %s", *rows, *rowsIn)
	if took > 0 {
		fmt.Fprintf(&doc, ", written in %.0f s", took.Seconds())
	}
	doc.WriteString("; each question asked 21 times, slow ones 5, milliseconds:\n\n| question | rows | CPU, median | median | slowest |\n| --- | ---: | ---: | ---: | ---: |\n")
	for _, q := range questions {
		var times, cpu []time.Duration
		answer := 0
		for begun := time.Now(); len(times) < 5 || len(times) < 21 && time.Since(begun) < 2*time.Second; {
			start, used := time.Now(), worked(t)
			n, err := q.ask()
			times, cpu = append(times, time.Since(start)), append(cpu, worked(t)-used)
			if err != nil {
				t.Fatalf("%s: %v", q.name, err)
			}
			answer = n
		}
		slices.Sort(times)
		slices.Sort(cpu)
		median, work := times[len(times)/2], cpu[len(cpu)/2]
		ms := func(d time.Duration) float64 { return d.Seconds() * 1000 }
		fmt.Fprintf(&doc, "| %s | %d | %.1f | %.1f | %.1f |\n", q.name, answer, ms(work), ms(median), ms(times[len(times)-1]))
		// One thread answers: on a machine that is busy with other things, its work counts.
		if q.daily && *rowsIn == "sqlite" && min(median, work) > limit {
			t.Errorf("%s takes %v, more than %v", q.name, median, limit)
		}
	}
	t.Log("\n" + doc.String())
	if *rowsTo != "" {
		if err := os.WriteFile(*rowsTo, []byte("# The record at size\n\nWritten by `make rows`. "+doc.String()), 0o644); err != nil {
			t.Error(err)
		}
	}
}

// worked is how long this process's threads have run.
func worked(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// filled is a store with the rows in it, and how long it took to write them.
func filled(t *testing.T) (*store.Store, time.Duration) {
	t.Helper()
	var (
		s   *store.Store
		err error
	)
	path := *rowsDB
	if path == "" {
		path = filepath.Join(t.TempDir(), "record.db")
	}
	_, missing := os.Stat(path)
	if *rowsIn == "postgres" {
		s, err = postgres.Open(t.Context(), storetest.Postgres(t), store.Options{Instance: "rows"})
	} else {
		s, err = sqlite.Open(t.Context(), path, sqlite.Options{Options: store.Options{Instance: "rows"}})
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	if *rowsIn == "sqlite" && missing == nil {
		return s, 0
	}
	start := time.Now()
	traffic := storetest.NewTraffic(1, *rows)
	list := make([]*ledger.Exchange, 0, 500)
	for {
		e := traffic.Next()
		if e != nil {
			list = append(list, e)
		}
		if len(list) == cap(list) || e == nil {
			if err := s.Write(t.Context(), nil, list); err != nil {
				t.Fatal(err)
			}
			list = list[:0]
		}
		if e == nil {
			return s, time.Since(start)
		}
	}
}

type question struct {
	name  string
	daily bool // has a limit
	ask   func() (rows int, err error)
}

// asked are the questions: those of every day, and some that are harder.
func asked(t *testing.T, s *store.Store) []question {
	t.Helper()
	ctx := t.Context()
	page := func(f store.Filter) func() (int, error) {
		return func() (int, error) {
			list, _, err := s.Interceptions(ctx, f, store.Page{})
			return len(list), err
		}
	}
	sessions := func(f store.Filter) func() (int, error) {
		return func() (int, error) {
			list, _, err := s.Sessions(ctx, f, store.Page{})
			return len(list), err
		}
	}
	usage := func(f store.Filter, per store.Grain, by ...store.Dimension) func() (int, error) {
		return func() (int, error) {
			list, err := s.Usage(ctx, f, by, per)
			return len(list), err
		}
	}
	middle := storetest.NewTraffic(1, 1).Start.Add(15 * 24 * time.Hour)
	some, _, err := s.Interceptions(ctx, store.Filter{To: middle, Client: "codex"}, store.Page{Limit: 1})
	if err != nil || len(some) != 1 {
		t.Fatal(some, err)
	}
	one := some[0]
	day := store.Filter{From: middle.Add(-24 * time.Hour), To: middle}
	odd := store.Filter{From: middle.Add(-24*time.Hour - 17*time.Minute), To: middle.Add(-17 * time.Minute)}
	oneDay := store.Filter{Caller: one.Caller, From: day.From, To: day.To}
	return []question{
		{"a page of sessions", true, sessions(store.Filter{})},
		{"a page of a caller's sessions of a day", false, sessions(oneDay)},
		{"a page of sessions with failures", false, sessions(store.Filter{Status: ledger.Failed})},
		{"a page of sessions with a key", false, sessions(store.Filter{Key: "openai-1"})},
		{"a page of sessions with a key that there is not", false, sessions(store.Filter{Key: "retired"})},
		{"one session with its threads", false, func() (int, error) {
			found, err := s.Session(ctx, one.Caller, one.Session)
			if err != nil {
				return 0, err
			}
			return len(found.Threads), nil
		}},
		{"a day by caller", true, usage(day, store.PerDay, store.ByCaller)},
		{"a day by caller, cut through hours", true, usage(odd, store.PerDay, store.ByCaller)},
		{"a day by provider and model per hour", false, usage(day, store.PerHour, store.ByProvider, store.ByModel)},
		{"a day by session", false, usage(day, store.PerDay, store.BySession)},
		{"a month by caller", false, usage(store.Filter{}, store.PerMonth, store.ByCaller)},
		{"a month by caller and model per day", false, usage(store.Filter{}, store.PerDay, store.ByCaller, store.ByModel)},
		{"a caller's month per day", false, usage(store.Filter{Caller: one.Caller}, store.PerDay)},
		{"one interception, whole", true, func() (int, error) {
			_, err := s.Interception(ctx, one.ID)
			return 1, err
		}},
		{"a page of interceptions", true, page(store.Filter{})},
		{"a page from the middle", false, page(store.Filter{To: middle})},
		{"a page of a caller's", false, page(store.Filter{Caller: one.Caller})},
		{"a page of a caller's day", false, page(oneDay)},
		{"a page of a session's", false, page(store.Filter{Session: one.Session})},
		{"a page of a thread's", false, page(store.Filter{Thread: one.Thread})},
		{"a page of failures", false, page(store.Filter{Status: ledger.Failed})},
		{"a page of a key's failures", false, page(store.Filter{Status: ledger.Failed, Key: "local-3"})},
		{"a page of a caller's failures with a key", false, page(store.Filter{Status: ledger.Failed, Key: "openai-3", Caller: one.Caller})},
		{"a page of a key that there is not", false, page(store.Filter{Key: "retired"})},
		{"how many there are", false, func() (int, error) {
			n, err := s.Count(ctx, store.Filter{})
			return int(n), err
		}},
		{"how many of a caller's", false, func() (int, error) {
			n, err := s.Count(ctx, store.Filter{Caller: one.Caller})
			return int(n), err
		}},
	}
}
