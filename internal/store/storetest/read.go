package storetest

import (
	"cmp"
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

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
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
		m := fill(t, s, 9000)
		t.Run("pages", func(t *testing.T) { readPages(t, s, m) })
		t.Run("export", func(t *testing.T) { readExport(t, s, m) })
		t.Run("sessions", func(t *testing.T) { readSessions(t, s, m) })
		t.Run("usage", func(t *testing.T) { readUsage(t, s, m) })
		t.Run("resolve", func(t *testing.T) { readResolve(t, s, m) })
		t.Run("cancelled", func(t *testing.T) { readCancelled(t, s) })
	})
}

// model is what a store was given: the truth about it.
type model struct {
	list []*ledger.Exchange // in the order of their starts
	made map[string]*store.Interception
}

func fill(t *testing.T, s *store.Store, count int) *model {
	t.Helper()
	traffic := NewTraffic(1, count)
	traffic.Sessions = 150
	traffic.Span = 100 * time.Hour // from September into October would be too long: see start
	traffic.Start = time.Date(2026, 9, 29, 7, 20, 0, 0, time.UTC)
	m := &model{made: map[string]*store.Interception{}}
	for e := traffic.Next(); e != nil; e = traffic.Next() {
		m.list = append(m.list, e)
	}
	// What matches rarely, at the far end and in between.
	for _, i := range []int{1, 2, 4100} {
		a := m.list[i].Attempts
		a[len(a)-1].Key = "retired"
	}
	for part := range slices.Chunk(m.list, 500) {
		write(t, s, nil, part)
	}
	threads := map[string]string{} // by call
	for _, e := range m.list {
		n := expected(e)
		n.Thread = n.ID
		for _, a := range e.Answers {
			n.Parent = strings.Replace(a.Call, "toolu_", "req_kb", 1)
			n.Thread = threads[a.Call]
		}
		for _, turn := range e.Turns {
			for _, c := range turn.Calls {
				threads[c.ID] = n.Thread
			}
		}
		m.made[e.ID] = n
	}
	return m
}

func write(t *testing.T, s *store.Store, begun, ended []*ledger.Exchange) {
	t.Helper()
	if err := s.Write(t.Context(), begun, ended); err != nil {
		t.Fatal(err)
	}
}

// expected is an exchange as it is read again, but for its thread.
func expected(e *ledger.Exchange) *store.Interception {
	n := &store.Interception{
		ID: e.ID, Started: e.Start.Truncate(time.Microsecond), FirstEvent: e.FirstEvent.Truncate(time.Microsecond), Ended: e.End.Truncate(time.Microsecond),
		Status: e.Status, HTTPStatus: e.HTTPStatus, Class: e.Class,
		Caller: e.Principal.Name, Metadata: e.Principal.Metadata, Credential: e.Principal.Credential,
		Client: e.Client, Version: e.Version, Session: e.Session, Signal: e.Signal,
		Provider: e.Provider, Route: e.Route, Method: e.Method, Stream: e.Stream, Model: e.Model, ModelAsked: e.Model,
		AttemptCount: len(e.Attempts), TurnCount: len(e.Turns), Loop: e.Loop, Usage: e.Usage(), Reported: len(e.Turns) > 0,
	}
	for _, turn := range e.Turns {
		n.Model, n.ModelAnswers = turn.Model, turn.Model
		n.Reported = n.Reported && turn.Reported
	}
	for _, a := range e.Attempts {
		n.Key, n.Hint = a.Key, a.Hint
	}
	for _, c := range e.Charges {
		n.Picos += c.Picos
		n.Unpriced += c.Unpriced
	}
	return n
}

// chosen are the interceptions that a filter wants, in the order of their starts.
func (m *model) chosen(f *store.Filter) []*store.Interception {
	var out []*store.Interception
	for _, e := range m.list {
		n := m.made[e.ID]
		switch {
		case !f.From.IsZero() && n.Started.Before(f.From), !f.To.IsZero() && !n.Started.Before(f.To):
		case f.Model != "" && f.Model != n.Model && f.Model != n.ModelAsked:
		case differs(f.Caller, n.Caller), differs(f.Client, n.Client), differs(f.Session, n.Session), differs(f.Thread, n.Thread):
		case differs(f.Provider, n.Provider), differs(f.Key, n.Key), differs(string(f.Status), string(n.Status)):
		case differs(string(f.Credential), string(n.Credential)):
		default:
			out = append(out, n)
		}
	}
	return out
}

func differs(want, got string) bool { return want != "" && want != got }

// filters are of every sort: wide and narrow, and some that want nothing there is.
func (m *model) filters() map[string]store.Filter {
	some := m.made[m.list[len(m.list)/2].ID]
	var threaded *store.Interception
	for _, e := range m.list {
		if n := m.made[e.ID]; n.Parent != "" {
			threaded = n
		}
	}
	day := time.Date(2026, 9, 30, 0, 0, 0, 0, time.UTC)
	return map[string]store.Filter{
		"all":             {},
		"a day":           {From: day, To: day.Add(24 * time.Hour)},
		"from an instant": {From: some.Started},
		"to an instant":   {To: some.Started},
		"within an hour":  {From: day.Add(10 * time.Minute), To: day.Add(50 * time.Minute)},
		"across an hour":  {From: day.Add(-10*time.Minute - 1*time.Microsecond), To: day.Add(10 * time.Minute)},
		"before 1970":     {To: time.Date(1960, 1, 1, 0, 0, 0, 0, time.UTC)},
		"a far future":    {From: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"a wide span":     {From: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"a caller":        {Caller: some.Caller},
		"a client":        {Client: "codex"},
		"a provider":      {Provider: "openai"},
		"asked for":       {Model: "gpt-5"},
		"answered":        {Model: "gpt-5-2025-08-07"},
		"a key":           {Key: "openai-2"},
		"a rare key":      {Key: "retired"},
		"a rare key late": {Key: "retired", From: day},
		"failed":          {Status: ledger.Failed},
		"a failed key":    {Status: ledger.Failed, Key: "openai-1", From: day},
		"pooled":          {Credential: ledger.Pooled},
		"byok":            {Credential: ledger.BYOK},
		"no such caller":  {Caller: "nobody' OR '1'='1"},
		"a session":       {Session: some.Session},
		"its caller's":    {Session: some.Session, Caller: some.Caller, Status: ledger.Completed},
		"another's":       {Session: some.Session, Caller: "nobody"},
		"a thread":        {Thread: threaded.Thread},
		"no thread":       {Thread: "req_kb" + strings.Repeat("0", 24)},
		"nonsense":        {Thread: "nonsense"},
		"a caller's day":  {Caller: some.Caller, From: day, To: day.Add(24 * time.Hour), Provider: some.Provider},
	}
}

func readPages(t *testing.T, s *store.Store, m *model) {
	for name, f := range m.filters() {
		t.Run(name, func(t *testing.T) {
			want := m.chosen(&f)
			slices.Reverse(want)
			var got []*store.Interception
			p := store.Page{Limit: 700}
			if len(want) < 100 {
				p.Limit = 7
			}
			for {
				page, next, err := s.Interceptions(t.Context(), f, p)
				if err != nil {
					t.Fatal(err)
				}
				if len(page) > p.Limit || next != "" && len(page) < p.Limit {
					t.Fatalf("a page of %d has %d, the next is %q", p.Limit, len(page), next)
				}
				for i := range page {
					got = append(got, &page[i])
				}
				if p.Cursor = next; next == "" {
					break
				}
			}
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
			byName := func(a, b store.Session) int { return strings.Compare(a.Name, b.Name) }
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

// sessions are those that have an interception that a filter wants. The filter's times
// are of the session: it was used from then on, or up to then.
func (m *model) sessions(f *store.Filter) []store.Session {
	type name struct{ caller, session string }
	all, wanted := map[name]*store.Session{}, map[name]bool{}
	g := *f
	g.From, g.To = time.Time{}, time.Time{}
	for _, n := range m.chosen(&g) {
		wanted[name{n.Caller, n.Session}] = true
	}
	var out []store.Session
	for _, e := range m.list {
		n := m.made[e.ID]
		k := name{n.Caller, n.Session}
		if k.session == "" {
			continue
		}
		s := all[k]
		if s == nil {
			s = &store.Session{Caller: n.Caller, Name: n.Session, Client: n.Client, Started: n.Started}
			all[k] = s
		}
		s.Last = n.Started
		count(&s.Sum, n)
	}
	for k, s := range all {
		if wanted[k] && (f.From.IsZero() || !s.Last.Before(f.From)) && (f.To.IsZero() || s.Started.Before(f.To)) {
			out = append(out, *s)
		}
	}
	slices.SortFunc(out, func(a, b store.Session) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func (m *model) threads(caller, session string) []store.Thread {
	var out []store.Thread
	for _, n := range m.chosen(&store.Filter{Caller: caller, Session: session}) {
		at := slices.IndexFunc(out, func(t store.Thread) bool { return t.ID == n.Thread })
		if at < 0 {
			at = len(out)
			out = append(out, store.Thread{ID: n.Thread, Started: n.Started})
		}
		out[at].Last = n.Started
		count(&out[at].Sum, n)
	}
	slices.SortFunc(out, func(a, b store.Thread) int { return strings.Compare(b.ID, a.ID) })
	return out
}

func count(s *store.Sum, n *store.Interception) {
	s.Requests++
	s.Usage = s.Usage.Add(n.Usage)
	s.Picos += n.Picos
	s.Unpriced += n.Unpriced
}

func readUsage(t *testing.T, s *store.Store, m *model) {
	several := [][]store.Dimension{
		nil, {store.ByCaller}, {store.ByProvider, store.ByModel}, {store.ByKey, store.ByStatus, store.ByClient, store.ByCredential},
		{store.BySession}, {store.ByThread}, {store.ByThread, store.ByModel},
	}
	grains := []store.Grain{store.PerHour, store.PerDay, store.PerMonth, store.Altogether}
	turn := 0
	filters := m.filters()
	for _, name := range slices.Sorted(maps.Keys(filters)) {
		f := filters[name]
		for _, by := range several {
			for _, per := range grains {
				// All ways with one filter, and with the others a few.
				if turn++; name != "across an hour" && turn%9 != 0 {
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

func (m *model) usage(f *store.Filter, by []store.Dimension, per store.Grain) []store.Used {
	groups := map[string]*store.Used{}
	for _, n := range m.chosen(f) {
		u := store.Used{By: make([]string, len(by))}
		for i, d := range by {
			u.By[i] = value(n, d)
		}
		at := n.Started.UTC()
		switch per {
		case store.PerHour:
			u.At = at.Truncate(time.Hour)
		case store.PerDay:
			u.At = time.Date(at.Year(), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
		case store.PerMonth:
			u.At = time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
		case store.Altogether:
		}
		name := u.At.String() + strings.Join(u.By, "\x00")
		if groups[name] == nil {
			groups[name] = &u
		}
		count(&groups[name].Sum, n)
	}
	var out []store.Used
	for _, u := range groups {
		out = append(out, *u)
	}
	slices.SortFunc(out, func(a, b store.Used) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(b.Picos, a.Picos), cmp.Compare(b.Requests, a.Requests), slices.Compare(a.By, b.By))
	})
	return out
}

func value(n *store.Interception, d store.Dimension) string {
	switch d {
	case store.ByCaller:
		return n.Caller
	case store.ByClient:
		return n.Client
	case store.ByProvider:
		return n.Provider
	case store.ByModel:
		return n.Model
	case store.ByKey:
		return n.Key
	case store.ByCredential:
		return string(n.Credential)
	case store.ByStatus:
		return string(n.Status)
	case store.BySession:
		return n.Session
	case store.ByThread:
		return n.Thread
	}
	return "?"
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
	for _, cursor := range []string{"!", "1.2", "zzzzzzzzzzzzzzzzzzzzzzz"} {
		if _, _, err := s.Interceptions(t.Context(), store.Filter{}, store.Page{Cursor: cursor}); !errors.Is(err, store.ErrCursor) {
			t.Errorf("cursor %q: %v", cursor, err)
		}
	}
	for _, cursor := range []string{"!", "1", "1.!"} {
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

// readOpen reads what has begun and not ended: it is there, and nothing was used yet.
func readOpen(t *testing.T, s *store.Store) {
	e := NewTraffic(3, 1).Next()
	begun := &ledger.Exchange{ID: e.ID, Start: e.Start, Principal: e.Principal, Provider: e.Provider, Model: e.Model, Session: e.Session, Client: e.Client}
	write(t, s, []*ledger.Exchange{begun}, nil)
	page, _, err := s.Interceptions(t.Context(), store.Filter{Status: ledger.Open}, store.Page{})
	if err != nil || len(page) != 1 || page[0].ID != e.ID || page[0].Status != ledger.Open || !page[0].Ended.IsZero() {
		t.Errorf("%+v, %v", page, err)
	}
	for _, by := range []store.Dimension{store.ByModel, store.BySession} {
		if used, err := s.Usage(t.Context(), store.Filter{}, []store.Dimension{by}, store.PerDay); len(used) > 0 || err != nil {
			t.Errorf("used %+v, %v", used, err)
		}
	}
	write(t, s, nil, []*ledger.Exchange{e})
	page, _, err = s.Interceptions(t.Context(), store.Filter{Status: ledger.Open}, store.Page{})
	if err != nil || len(page) != 0 {
		t.Errorf("still open: %+v, %v", page, err)
	}
}

// readHostile reads texts that somebody else has chosen.
func readHostile(t *testing.T, s *store.Store) {
	e := NewTraffic(4, 1).Next()
	e.Principal.Name, e.Client, e.Session = `a'; DROP TABLE interceptions; --`, "?$1%_\\", "nul\x00 and \xff\xfe"
	e.Model = strings.Repeat("ü", 200)
	write(t, s, nil, []*ledger.Exchange{e})
	for _, f := range []store.Filter{{Caller: e.Principal.Name}, {Client: e.Client}, {Session: e.Session}, {Model: e.Model}} {
		page, _, err := s.Interceptions(t.Context(), f, store.Page{})
		if err != nil || len(page) != 1 {
			t.Errorf("%+v: %+v, %v", f, page, err)
		}
	}
	if one, err := s.Session(t.Context(), e.Principal.Name, e.Session); err != nil || one.Name != "nul\uFFFD and \uFFFD" {
		t.Errorf("%+v, %v", one, err)
	}
}

// readWhole reads an exchange with all that can be in one.
func readWhole(t *testing.T, s *store.Store) {
	start := time.Date(2026, 2, 28, 23, 59, 59, 123_456_000, time.UTC)
	after := func(d time.Duration) time.Time { return start.Add(d) }
	u := func(n int64) llm.Usage {
		return llm.Usage{Input: n, Output: 2 * n, CacheRead: 3 * n, CacheWrite: 5 * n, CacheWriteLong: 4 * n, Reasoning: n}
	}
	e := &ledger.Exchange{
		ID: fmt.Sprintf("req_kb%012xabcdef012345", start.UnixMilli()), Start: start, Provider: "p", Route: "POST /r", Method: "POST",
		Bridged: true, Admitted: true, Stream: true, Model: "asked", Client: "c", Version: "v", Session: "s", Signal: "sig",
		Principal: ledger.Principal{Name: "alice", Metadata: `{"team":"x"}`, Credential: ledger.Pooled},
		Prompt:    "last wor", PromptSize: 10, Loop: 2, Eventful: true,
		Attempts: []ledger.Attempt{
			{Key: "k1", Hint: "h1", Waited: time.Millisecond, Sent: after(time.Second), Duration: 2 * time.Second, Status: 429, Action: "next_key", Reason: "rate_limited"},
			{Key: "k2", Hint: "h2", Waited: 3 * time.Millisecond, Sent: after(4 * time.Second), Duration: time.Second, Status: 200, Action: "relay", Turn: 1},
		},
		Turns: []llm.Turn{
			{
				ID: "msg_1", Model: "m1", Stop: "tool_use", Tier: "priority", Usage: u(10), Reported: true, Complete: true, Searches: 3,
				Calls: []llm.ToolCall{
					{ID: "call_1", Name: "srv__find", Arguments: []byte(`{"q":"x"}`), Size: 9},
					{ID: "call_2", Name: "web_search", Size: 7, Hosted: true, Error: "unavailable"},
					{ID: "call_3", Name: "Bash", Size: 5},
				},
				Iterations: []llm.Iteration{{Kind: "compaction", Model: "m0", Usage: u(4)}, {Kind: "message", Usage: u(6)}},
				Thoughts:   []llm.Thought{{Text: "hm", Size: 20}, {Size: 30}},
			},
			{ID: "msg_2", Model: "m2", Usage: u(7)},
		},
		Charges: []ledger.Charge{
			{Turn: 0, Kind: "compaction", Model: "m0", Usage: u(4), Picos: 400, Version: "v1"},
			{Turn: 0, Kind: "message", Model: "m1", Usage: u(6), Picos: 600, Unpriced: 1, Version: "v1"},
			{Turn: 1, Model: "m2", Usage: u(7), Picos: 7_000_000_000_000, Version: "v1"},
		},
		Tools: []ledger.ToolUse{{
			Call: "call_1", Server: "srv", Tool: "find", Start: after(2 * time.Second), Duration: 5 * time.Millisecond, Outcome: ledger.ToolTimeout,
			Size: 11, Err: ledger.TextError("too slow"),
		}},
		Decisions:  []ledger.Decision{{At: after(time.Second), Key: "k1", What: "judged", Why: "rate_limited", Action: "next_key", Scope: "key", Until: after(time.Minute), For: time.Millisecond}},
		FirstEvent: after(5 * time.Second), End: after(6 * time.Second), HTTPStatus: 200,
		Status: ledger.Failed, Err: ledger.TextError("cut"), Class: "cut_off",
	}
	write(t, s, nil, []*ledger.Exchange{e})
	want := &store.Whole{
		Interception: *expected(e), Error: "cut", Prompt: &store.Text{Text: "last wor", Size: 10}, Decisions: e.Decisions,
		Attempts: []store.Attempt{
			{Key: "k1", Hint: "h1", Waited: time.Millisecond, Sent: after(time.Second), Duration: 2 * time.Second, Status: 429, Action: "next_key", Reason: "rate_limited"},
			{Key: "k2", Hint: "h2", Waited: 3 * time.Millisecond, Sent: after(4 * time.Second), Duration: time.Second, Status: 200, Action: "relay", Turn: 1},
		},
		Turns: []store.Turn{
			{
				Message: "msg_1", Model: "m1", Stop: "tool_use", Tier: "priority", Usage: u(10), Reported: true, Complete: true, Searches: 3,
				Picos: 1000, Unpriced: 1, PriceModel: "m0", PriceVersion: "v1",
				Iterations: []store.Iteration{{Kind: "compaction", Model: "m0", Usage: u(4), Picos: 400}, {Kind: "message", Usage: u(6), Picos: 600, Unpriced: 1}},
			},
			{Message: "msg_2", Model: "m2", Usage: u(7), Picos: 7_000_000_000_000, PriceModel: "m2", PriceVersion: "v1"},
		},
		Calls: []store.Call{
			{
				ID: "call_1", Kind: "injected", Server: "srv", Name: "find", Arguments: `{"q":"x"}`, Size: 9, Result: 11, Outcome: "timeout", Failed: true,
				Error: "too slow", Started: after(2 * time.Second), Duration: 5 * time.Millisecond,
			},
			{ID: "call_2", Kind: "hosted", Name: "web_search", Size: 7, Failed: true, Error: "unavailable"},
			{ID: "call_3", Kind: "client", Name: "Bash", Size: 5},
		},
		Thoughts: []store.Thought{{Text: store.Text{Text: "hm", Size: 20}}, {Text: store.Text{Size: 30}}},
	}
	want.Thread = e.ID
	got, err := s.Interception(t.Context(), e.ID)
	if d := gocmp.Diff(want, got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	used, err := s.Usage(t.Context(), store.Filter{}, nil, store.PerMonth)
	if err != nil || len(used) != 1 || used[0].Searches != 3 || !used[0].At.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", used, err)
	}
	narrow, err := s.Usage(t.Context(), store.Filter{From: start, To: after(time.Microsecond)}, nil, store.PerMonth)
	if d := gocmp.Diff(used, narrow); d != "" || err != nil {
		t.Errorf("an hour cut in two: %v (-whole +cut):\n%s", err, d)
	}
}
