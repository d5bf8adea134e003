package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
)

// everything is an exchange with all that can be in one.
func everything() *ledger.Exchange {
	after := monthsEnd.Add
	return &ledger.Exchange{
		ID: fmt.Sprintf("req_kb%012xabcdef012345", monthsEnd.UnixMilli()), Start: monthsEnd, Provider: "p", Route: "POST /r", Method: "POST",
		Bridged: true, Admitted: true, Stream: true, Model: "asked", Client: "c", Version: "v", Session: "s", Signal: "sig",
		Principal: ledger.Principal{Name: "alice", Metadata: `{"team":"x"}`, Credential: ledger.Pooled},
		Prompt:    "last wor", PromptSize: 10, Loop: 2, Eventful: true,
		Attempts: []ledger.Attempt{
			{Key: "k1", Hint: "h1", Waited: time.Millisecond, Sent: after(time.Second), Duration: 2 * time.Second, Status: 429, Action: "next_key", Reason: "rate_limited"},
			{Key: "k2", Hint: "h2", Waited: 3 * time.Millisecond, Sent: after(4 * time.Second), Duration: time.Second, Status: 200, Action: "relay", Turn: 1},
		},
		Turns: []llm.Turn{
			{
				ID: "msg_1", Model: "m1", Stop: "tool_use", Tier: "priority", Usage: used(10), Reported: true, Complete: true, Searches: 3,
				Calls: []llm.ToolCall{
					{ID: "call_1", Name: "srv__find", Arguments: []byte(`{"q":"x"}`), Size: 9},
					{ID: "call_2", Name: "web_search", Size: 7, Hosted: true, Error: "unavailable"},
					{ID: "call_3", Name: "Bash", Size: 5},
				},
				Iterations: []llm.Iteration{{Kind: "compaction", Model: "m0", Usage: used(4)}, {Kind: "message", Usage: used(6)}},
				Thoughts:   []llm.Thought{{Text: "hm", Size: 20}, {Size: 30}},
			},
			{ID: "msg_2", Model: "m2", Usage: used(7)},
		},
		Charges: []ledger.Charge{
			{Turn: 0, Kind: "compaction", Model: "m0", Usage: used(4), Picos: 400, Version: "v1"},
			{Turn: 0, Kind: "message", Model: "m1", Usage: used(6), Picos: 600, Unpriced: 1, Version: "v1"},
			{Turn: 1, Model: "m2", Usage: used(7), Picos: 7_000_000_000_000, Version: "v1"},
		},
		Tools: []ledger.ToolUse{{
			Call: "call_1", Server: "srv", Tool: "find", Start: after(2 * time.Second), Duration: 5 * time.Millisecond, Outcome: ledger.ToolTimeout,
			Size: 11, Err: ledger.TextError("too slow"),
		}},
		Decisions:  []ledger.Decision{{At: after(time.Second), Key: "k1", What: "judged", Why: "rate_limited", Action: "next_key", Scope: "key", Until: after(time.Minute), For: time.Millisecond}},
		FirstEvent: after(5 * time.Second), End: after(6 * time.Second), HTTPStatus: 200,
		Status: ledger.Failed, Err: ledger.TextError("cut"), Class: "cut_off",
	}
}

// everythingRead is the same as it is read again.
func everythingRead(e *ledger.Exchange) *store.Whole {
	after := monthsEnd.Add
	w := &store.Whole{
		Interception: *expected(e), Error: "cut", Prompt: &store.Text{Text: "last wor", Size: 10}, Decisions: e.Decisions,
		Attempts: []store.Attempt{
			{Key: "k1", Hint: "h1", Waited: time.Millisecond, Sent: after(time.Second), Duration: 2 * time.Second, Status: 429, Action: "next_key", Reason: "rate_limited"},
			{Key: "k2", Hint: "h2", Waited: 3 * time.Millisecond, Sent: after(4 * time.Second), Duration: time.Second, Status: 200, Action: "relay", Turn: 1},
		},
		Turns: []store.Turn{
			{
				Message: "msg_1", Model: "m1", Stop: "tool_use", Tier: "priority", Usage: used(10), Reported: true, Complete: true, Searches: 3,
				Picos: 1000, Unpriced: 1, PriceModel: "m0", PriceVersion: "v1",
				Iterations: []store.Iteration{{Kind: "compaction", Model: "m0", Usage: used(4), Picos: 400}, {Kind: "message", Usage: used(6), Picos: 600, Unpriced: 1}},
			},
			{Message: "msg_2", Model: "m2", Usage: used(7), Picos: 7_000_000_000_000, PriceModel: "m2", PriceVersion: "v1"},
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
	w.Thread = e.ID
	return w
}

//nolint:gochecknoglobals // a time
var monthsEnd = time.Date(2026, 2, 28, 23, 59, 59, 123_456_000, time.UTC)

func used(n int64) llm.Usage {
	return llm.Usage{Input: n, Output: 2 * n, CacheRead: 3 * n, CacheWrite: 5 * n, CacheWriteLong: 4 * n, Reasoning: n}
}

func readWhole(t *testing.T, s *store.Store) {
	e := everything()
	write(t, s, nil, []*ledger.Exchange{e})
	got, err := s.Interception(t.Context(), e.ID)
	if d := gocmp.Diff(everythingRead(e), got); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	month, err := s.Usage(t.Context(), store.Filter{}, nil, store.PerMonth)
	if err != nil || len(month) != 1 || month[0].Searches != 3 || !month[0].At.Equal(time.Date(2026, 2, 1, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("%+v, %v", month, err)
	}
	narrow, err := s.Usage(t.Context(), store.Filter{From: monthsEnd, To: monthsEnd.Add(time.Microsecond)}, nil, store.PerMonth)
	if d := gocmp.Diff(month, narrow); d != "" || err != nil {
		t.Errorf("an hour cut in two: %v (-whole +cut):\n%s", err, d)
	}

	// Another one follows soon, in the next hour, and month.
	next := everything()
	next.Start = monthsEnd.Add(10 * time.Second)
	next.ID = fmt.Sprintf("req_kb%012xabcdef012345", next.Start.UnixMilli())
	write(t, s, nil, []*ledger.Exchange{next})
	both, err := s.Usage(t.Context(), store.Filter{From: monthsEnd}, nil, store.Altogether)
	if err != nil || len(both) != 1 || both[0].Searches != 6 || both[0].Requests != 2 {
		t.Errorf("of a part of an hour and a whole one: %+v, %v", both, err)
	}
	if session, wrong := s.Session(t.Context(), "alice", "s"); wrong != nil || !session.Last.Equal(next.Start) {
		t.Errorf("%+v, %v", session, wrong)
	}
}

// readOpen reads what has begun and not ended: it is there, and nothing was used yet.
func readOpen(t *testing.T, s *store.Store) {
	e := NewTraffic(3, 1).Next()
	started := &ledger.Exchange{ID: e.ID, Start: e.Start, Principal: e.Principal, Provider: e.Provider, Model: e.Model, Session: e.Session, Client: e.Client}
	write(t, s, []*ledger.Exchange{started}, nil)
	page, _, err := s.Interceptions(t.Context(), store.Filter{Status: ledger.Open}, store.Page{})
	if err != nil || len(page) != 1 || page[0].ID != e.ID || page[0].Status != ledger.Open || !page[0].Ended.IsZero() {
		t.Errorf("%+v, %v", page, err)
	}
	for _, by := range []store.Dimension{store.ByModel, store.BySession} {
		if sums, wrong := s.Usage(t.Context(), store.Filter{}, []store.Dimension{by}, store.PerDay); len(sums) > 0 || wrong != nil {
			t.Errorf("used %+v, %v", sums, wrong)
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
