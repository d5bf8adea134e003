package storetest

import (
	"cmp"
	"slices"
	"strings"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

// model is what a store was given: the truth about it.
type model struct {
	list []*ledger.Exchange // in the order of their starts
	made map[string]*store.Interception
}

func fill(t *testing.T, s *store.Store, count int) *model {
	t.Helper()
	traffic := NewTraffic(1, count)
	traffic.Sessions = 150
	traffic.Span = 100 * time.Hour
	traffic.Start = time.Date(2026, 9, 29, 7, 20, 0, 0, time.UTC)
	m := &model{made: map[string]*store.Interception{}}
	for e := traffic.Next(); e != nil; e = traffic.Next() {
		if e.Client == "codex" {
			e.Session = "default" // as each of its callers calls all his
		}
		if e.Principal.Name == "caller-07" {
			e.Principal.Name = ""
		}
		m.list = append(m.list, e)
	}
	// What matches rarely, at the far end and in between.
	for _, i := range []int{1, 2, 700} {
		a := m.list[i].Attempts
		a[len(a)-1].Key = "retired"
	}
	unreport(m.list)
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

// unreport has what some used not reported. Of those that failed without an answer, and of
// those that were given up before anybody was asked, nothing is lacking.
func unreport(list []*ledger.Exchange) {
	for i, e := range list {
		calls := len(e.Turns) > 0 && len(e.Turns[0].Calls) > 0
		switch {
		case len(e.Turns) > 0 && i%7 == 0:
			e.Turns[0].Reported = false
		case !calls && i%7 == 1: // given up
			e.Status, e.Turns, e.Charges = ledger.Cancelled, nil, nil
			if i%2 == 0 {
				e.Attempts = nil
			}
		case !calls && i%7 == 2: // broken off
			e.Status, e.Class = ledger.Failed, "bad_upstream"
			for j := range e.Turns {
				e.Turns[j].Reported = false
			}
		}
	}
}

// lacking is whether something that an interception used was not reported.
func lacking(n *store.Interception) bool {
	if n.TurnCount == 0 {
		return n.Status == ledger.Completed || n.Status == ledger.Cancelled && n.AttemptCount > 0
	}
	return !n.Reported
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
		case f.Unnamed && n.Caller != "":
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
		"to the epoch":    {To: time.Unix(0, 0)},
		"backwards":       {From: day.Add(time.Hour), To: day.Add(-time.Hour)},
		"a far future":    {From: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"a wide span":     {From: time.Date(1, 1, 2, 0, 0, 0, 0, time.UTC), To: time.Date(9999, 1, 1, 0, 0, 0, 0, time.UTC)},
		"a caller":        {Caller: some.Caller},
		"unnamed":         {Unnamed: true},
		"unnamed, failed": {Unnamed: true, Status: ledger.Failed},
		"unnamed, of all": {Unnamed: true, Session: "default"},
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
		"all in one":      {Session: "default"},
		"many in one":     {Session: "default", Credential: ledger.Pooled},
		"some in one":     {Session: "default", Status: ledger.Failed},
		"a key in one":    {Session: "default", Key: "openai-1"},
		"few in one":      {Session: "default", Key: "retired"},
		"none in one":     {Session: "default", Client: "opencode"},
		"nothing in one":  {Session: "default", Status: ledger.Lost},
		"a day in one":    {Session: "default", Status: ledger.Completed, From: day, To: day.Add(24 * time.Hour)},
		"a thread":        {Thread: threaded.Thread},
		"no thread":       {Thread: "req_kb" + strings.Repeat("0", 24)},
		"nonsense":        {Thread: "nonsense"},
		"a caller's day":  {Caller: some.Caller, From: day, To: day.Add(24 * time.Hour), Provider: some.Provider},
	}
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
	slices.SortFunc(out, byName)
	return out
}

func byName(a, b store.Session) int {
	return cmp.Or(strings.Compare(a.Name, b.Name), strings.Compare(a.Caller, b.Caller))
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
	if lacking(n) {
		s.Unreported++
	}
	s.Usage = s.Usage.Add(n.Usage)
	s.Picos += n.Picos
	s.Unpriced += n.Unpriced
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
