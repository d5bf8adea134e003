package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"keybridge/internal/store"
)

// Read holds what a store reads against a model of what was written.
func Read(t *testing.T, open func(t *testing.T) *store.Store) {
	t.Run("empty", func(t *testing.T) { readNothing(t, open(t)) })
	t.Run("whole", func(t *testing.T) { readWhole(t, open(t)) })
	t.Run("hostile", func(t *testing.T) { readHostile(t, open(t)) })
	t.Run("open", func(t *testing.T) { readOpen(t, open(t)) })
	t.Run("traffic", func(t *testing.T) {
		s := open(t)
		m := fill(t, s, 1500)
		t.Run("pages", func(t *testing.T) { readPages(t, s, m) })
		t.Run("export", func(t *testing.T) { readExport(t, s, m) })
		t.Run("sessions", func(t *testing.T) { readSessions(t, s, m) })
		t.Run("usage", func(t *testing.T) { readUsage(t, s, m) })
		t.Run("resolve", func(t *testing.T) { readResolve(t, s, m) })
		t.Run("cancelled", func(t *testing.T) { readCancelled(t, s) })
	})
}

// pages reads all pages of a list.
func pages(t *testing.T, s *store.Store, f store.Filter, limit int) (all []*store.Interception) {
	t.Helper()
	for p := (store.Page{Limit: limit}); ; {
		page, next, err := s.Interceptions(t.Context(), f, p)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit || next != "" && len(page) < limit {
			t.Fatalf("a page of %d has %d, the next is %q", limit, len(page), next)
		}
		for i := range page {
			all = append(all, &page[i])
		}
		if p.Cursor = next; next == "" {
			return all
		}
	}
}

func readPages(t *testing.T, s *store.Store, m *model) {
	for name, f := range m.filters() {
		t.Run(name, func(t *testing.T) {
			want := m.chosen(&f)
			slices.Reverse(want)
			limit := 250
			if len(want) < 100 {
				limit = 7
			}
			got := pages(t, s, f, limit)
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("%d instead of %d (-want +got):\n%.4000s", len(got), len(want), d)
			}
			if n, err := s.Count(t.Context(), f); err != nil || n != int64(len(want)) {
				t.Errorf("counts %d, %v", n, err)
			}
		})
	}
	t.Run("of usual size", func(t *testing.T) {
		page, next, err := s.Interceptions(t.Context(), store.Filter{}, store.Page{})
		if err != nil || len(page) != 50 || next == "" {
			t.Errorf("%d, %q, %v", len(page), next, err)
		}
		page, _, err = s.Interceptions(t.Context(), store.Filter{}, store.Page{Limit: 1 << 30})
		if err != nil || len(page) != 1000 {
			t.Errorf("at most %d, %v", len(page), err)
		}
	})
}

func readExport(t *testing.T, s *store.Store, m *model) {
	for name, f := range m.filters() {
		if name == "a wide span" || name == "pooled" {
			continue // as much as all is
		}
		t.Run(name, func(t *testing.T) {
			var got []*store.Interception
			err := s.Export(t.Context(), f, func(w *store.Whole) error {
				if len(w.Attempts) != w.AttemptCount || len(w.Turns) != w.TurnCount {
					t.Errorf("%s has %d attempts, %d turns", w.ID, len(w.Attempts), len(w.Turns))
				}
				got = append(got, &w.Interception)
				return nil
			})
			if d := gocmp.Diff(m.chosen(&f), got); d != "" || err != nil {
				t.Errorf("%v (-want +got):\n%.4000s", err, d)
			}
		})
	}
	t.Run("an error ends it", func(t *testing.T) {
		enough, seen := errors.New("enough"), 0
		err := s.Export(t.Context(), store.Filter{}, func(*store.Whole) error {
			if seen++; seen == 300 {
				return enough
			}
			return nil
		})
		if !errors.Is(err, enough) || seen != 300 {
			t.Errorf("%v after %d", err, seen)
		}
	})
}

func readSessions(t *testing.T, s *store.Store, m *model) {
	for name, f := range m.filters() {
		t.Run(name, func(t *testing.T) {
			want := m.sessions(&f)
			var got []store.Session
			p := store.Page{Limit: 17}
			for {
				page, next, err := s.Sessions(t.Context(), f, p)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, page...)
				if p.Cursor = next; next == "" {
					break
				}
			}
			// A session's row may be a minute behind, and with it its place in the list.
			if !slices.IsSortedFunc(got, func(a, b store.Session) int { return b.Last.Add(time.Minute).Compare(a.Last) }) {
				t.Error("not in the order of their last use")
			}
			slices.SortFunc(got, byName)
			slices.SortFunc(want, byName)
			if d := gocmp.Diff(want, got); d != "" {
				t.Errorf("(-want +got):\n%.4000s", d)
			}
		})
	}
	t.Run("one", func(t *testing.T) {
		for _, want := range m.sessions(&store.Filter{})[:5] {
			want.Threads = m.threads(want.Caller, want.Name)
			got, err := s.Session(t.Context(), want.Caller, want.Name)
			if d := gocmp.Diff(&want, got); d != "" || err != nil {
				t.Errorf("%v (-want +got):\n%.4000s", err, d)
			}
			if _, err := s.Session(t.Context(), "nobody", want.Name); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("another caller's: %v", err)
			}
		}
	})
}

func readUsage(t *testing.T, s *store.Store, m *model) {
	several := [][]store.Dimension{
		nil,
		{store.ByCaller},
		{store.ByProvider, store.ByModel},
		{store.ByKey, store.ByStatus, store.ByClient, store.ByCredential},
		{store.BySession},
		{store.ByThread},
		{store.ByThread, store.ByModel},
	}
	grains := []store.Grain{store.PerHour, store.PerDay, store.PerMonth, store.Altogether}
	turn := 0
	filters := m.filters()
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		f := filters[name]
		for _, by := range several {
			for _, per := range grains {
				// All ways with two filters, and with the others a few.
				if turn++; name != "across an hour" && name != "to the epoch" && turn%9 != 0 {
					continue
				}
				t.Run(fmt.Sprint(name, by, per), func(t *testing.T) {
					got, err := s.Usage(t.Context(), f, by, per)
					if d := gocmp.Diff(m.usage(&f, by, per), got, cmpopts.EquateEmpty()); d != "" || err != nil {
						t.Errorf("%v (-want +got):\n%.4000s", err, d)
					}
				})
			}
		}
	}
}

func readResolve(t *testing.T, s *store.Store, m *model) {
	id := m.list[77].ID
	for _, length := range []int{len(id), len(id) - 1, len(id) - 8, len(id) - 12, 12} {
		var want []string
		for _, e := range m.list {
			if strings.HasPrefix(e.ID, id[:length]) && len(want) < 5 {
				want = append(want, e.ID)
			}
		}
		for _, start := range []string{id[:length], strings.ToUpper(id[:length])} {
			got, err := s.Resolve(t.Context(), start, 5)
			if d := gocmp.Diff(want, got); d != "" || err != nil {
				t.Errorf("%s: %v (-want +got):\n%s", start, err, d)
			}
		}
	}
	for _, start := range []string{"", "req_kb", "req_kbxyz", "req_kbffffffff", id + "0", "call_1"} {
		if got, err := s.Resolve(t.Context(), start, 5); len(got) > 0 || err != nil {
			t.Errorf("%q: %v, %v", start, got, err)
		}
	}
}

func readCancelled(t *testing.T, s *store.Store) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, _, err := s.Interceptions(ctx, store.Filter{}, store.Page{}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_, ofList, err := s.Interceptions(t.Context(), store.Filter{}, store.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	_, ofSessions, err := s.Sessions(t.Context(), store.Filter{}, store.Page{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	wrong := []string{"!", "1", "xxx", "1.2", "1.!", "a.b", "1.2.3", ".", "zzzzzzzzzzzzzzzzzzzzzzz", "0" + ofList, ofList + "0", ofList[1:], ofSessions[1:], strings.ToUpper(ofList + ofSessions)}
	for _, cursor := range append(wrong, ofSessions) {
		if _, _, err := s.Interceptions(t.Context(), store.Filter{}, store.Page{Cursor: cursor}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	for _, cursor := range append(wrong, ofList) {
		if _, _, err := s.Sessions(t.Context(), store.Filter{}, store.Page{Cursor: cursor}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
}

func readNothing(t *testing.T, s *store.Store) {
	page, next, err := s.Interceptions(t.Context(), store.Filter{Key: "k"}, store.Page{})
	if len(page) > 0 || next != "" || err != nil {
		t.Errorf("%v, %q, %v", page, next, err)
	}
	for _, per := range []store.Grain{store.PerHour, store.Altogether} {
		for _, from := range []time.Time{{}, time.Now()} {
			if used, err := s.Usage(t.Context(), store.Filter{From: from}, nil, per); len(used) > 0 || err != nil {
				t.Errorf("%s: %v, %v", per, used, err)
			}
		}
	}
	if list, _, err := s.Sessions(t.Context(), store.Filter{}, store.Page{}); len(list) > 0 || err != nil {
		t.Errorf("%v, %v", list, err)
	}
	if err := s.Export(t.Context(), store.Filter{}, func(w *store.Whole) error { return errors.New(w.ID) }); err != nil {
		t.Error(err)
	}
	for _, id := range []string{"", "nonsense", "req_kb" + strings.Repeat("0", 24), "req_kb" + strings.Repeat("f", 24)} {
		if w, err := s.Interception(t.Context(), id); !errors.Is(err, store.ErrNotFound) {
			t.Errorf("%q: %v, %v", id, w, err)
		}
	}
}
