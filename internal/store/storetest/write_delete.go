package storetest

import (
	"fmt"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

// aged is a rich exchange of so many days before the morning.
func aged(days int, change ...func(*ledger.Exchange)) *ledger.Exchange {
	e := rich()
	at := morning.AddDate(0, 0, -days)
	e.ID, e.Start, e.End, e.Session = idAt(at, 1), at, at.Add(time.Second), fmt.Sprintf("s%d", days)
	for i := range e.Turns[0].Calls {
		e.Turns[0].Calls[i].ID += fmt.Sprint(".", days)
	}
	e.Tools[0].Call = e.Turns[0].Calls[0].ID
	e.Turns[1].ID += fmt.Sprint(".", days)
	for _, f := range change {
		f(e)
	}
	return e
}

// days are from how many days before the morning a table has rows.
func (b Base) days(t *testing.T, table, column string) string {
	t.Helper()
	var out strings.Builder
	for _, key := range b.ask(t, "SELECT DISTINCT "+column+" FROM "+table+" ORDER BY "+column+" DESC") {
		var k int64
		_, _ = fmt.Sscan(key, &k)
		fmt.Fprint(&out, int(morning.Sub(time.UnixMilli(k>>21)).Hours()/24), " ")
	}
	return out.String()
}

// writePrune deletes each sort of row at its age, and nothing younger.
func writePrune(t *testing.T, b Base) {
	s := b.Open(t)
	for day := range 12 {
		write(t, s, nil, list(aged(day)))
	}
	const day = 24 * time.Hour
	if p, err := s.Prune(t.Context(), morning, store.Keep{}); p != (store.Pruned{}) || err != nil {
		t.Errorf("for ever: %+v, %v", p, err)
	}
	keep := store.Keep{Records: 9*day + time.Hour, Prompts: 3*day + time.Hour, Arguments: 5*day + time.Hour, Reasoning: 7*day + time.Hour, Usage: 10*day + time.Hour}
	p, err := s.Prune(t.Context(), morning, keep)
	if d := gocmp.Diff(store.Pruned{Interceptions: 2, Prompts: 6, Arguments: 8, Thoughts: 6, Sessions: 2, Hours: 1}, p); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	if p, err := s.Prune(t.Context(), morning, keep); p != (store.Pruned{}) || err != nil {
		t.Errorf("again: %+v, %v", p, err)
	}
	for table, want := range map[string]string{
		"prompts": "0 1 2 3 ", "call_arguments": "0 1 2 3 4 5 ", "thoughts": "0 1 2 3 4 5 6 7 ", "interceptions": "0 1 2 3 4 5 6 7 8 9 ",
		"attempts": "0 1 2 3 4 5 6 7 8 9 ", "turns": "0 1 2 3 4 5 6 7 8 9 ", "iterations": "0 1 2 3 4 5 6 7 8 9 ",
		"tool_calls": "0 1 2 3 4 5 6 7 8 9 ", "decisions": "0 1 2 3 4 5 6 7 8 9 ", "refs": "0 1 2 3 4 5 6 7 8 9 ",
	} {
		column := "interception"
		if table == "interceptions" {
			column = "id"
		}
		if d := gocmp.Diff(want, b.days(t, table, column)); d != "" {
			t.Errorf("days of %s (-want +got):\n%s", table, d)
		}
	}
	b.expect(t, "SELECT COUNT(*), SUM(requests) FROM usage_hours", "11|11")
	b.expect(t, "SELECT COUNT(*) FROM sessions", "10")

	// What was pruned may be spoken of again.
	write(t, s, nil, list(made(time.Minute, in("s11")), made(2*time.Minute, answering("call2.11")), made(3*time.Minute, answering("call2.9"))))
	b.expect(t, "SELECT COUNT(*) FROM interceptions i JOIN sessions s ON s.id = i.session WHERE s.name = 's11'", "1")
	b.expect(t, "SELECT COUNT(*) FROM interceptions WHERE parent <> 0", "1")
}

// writePruneKinds forgets what nothing is of any more, and finds that out when it comes back.
func writePruneKinds(t *testing.T, b Base) {
	s := b.Open(t)
	old := func(e *ledger.Exchange) { e.Model, e.Turns[1].Model = "old", "old" }
	write(t, s, nil, list(aged(3, old), aged(2), aged(1)))
	if p, err := s.Prune(t.Context(), morning, store.Keep{Records: 60 * time.Hour}); p.Interceptions != 1 || err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	b.expect(t, "SELECT COUNT(*) FROM interception_kinds", "2") // the hours are still of it
	if p, err := s.Prune(t.Context(), morning, store.Keep{Usage: 60 * time.Hour}); p.Hours != 1 || err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	b.expect(t, "SELECT model FROM interception_kinds", "m-3")
	write(t, s, nil, list(aged(0, old)))
	b.expect(t, "SELECT k.model FROM interceptions i JOIN interception_kinds k ON k.id = i.kind ORDER BY i.id", "m-3", "m-3", "old")
	for n := range 1203 { // more than is deleted at once
		write(t, s, nil, list(made(time.Duration(n)*time.Second)))
		if n == 3 { // the rest in one
			var batch []*ledger.Exchange
			for n++; n < 1203; n++ {
				batch = append(batch, made(time.Duration(n)*time.Second))
			}
			write(t, s, nil, batch)
			break
		}
	}
	if p, err := s.Prune(t.Context(), morning.Add(1000*time.Hour), store.Keep{Records: time.Hour, Usage: time.Hour}); p.Interceptions != 1206 || err != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	for table, rows := range b.everything(t) {
		if len(rows) > 0 {
			t.Errorf("%s still has %d rows", table, len(rows))
		}
	}
	b.expect(t, "SELECT COUNT(*) FROM interception_kinds", "0")
}

// writeForget deletes a caller, and leaves no trace of him.
func writeForget(t *testing.T, b Base) {
	s := b.Open(t)
	own := func(e *ledger.Exchange) {
		e.Principal = ledger.Principal{Name: "bob", Metadata: `{"secret":"bobs"}`, Credential: ledger.BYOK}
		for i := range e.Attempts {
			e.Attempts[i].Key, e.Attempts[i].Hint = "", "sk-…bobs"
		}
	}
	write(t, s, nil, list(aged(3), aged(1, in("shared"))))
	want := b.everything(t)
	write(t, s, nil, list(aged(2, own, in("shared")), aged(4, own)))
	var many []*ledger.Exchange
	for i := range 450 {
		many = append(many, made(time.Duration(i)*time.Second, own, in("bobs"), calling(fmt.Sprint("bob", i))))
	}
	write(t, s, list(begun(made(-time.Minute, own))), many)
	f, err := s.Forget(t.Context(), "bob")
	if d := gocmp.Diff(store.Forgotten{Interceptions: 453, Sessions: 3, Hours: 4}, f); d != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, d)
	}
	b.same(t, want)
	b.expect(t, "SELECT COUNT(*) FROM interception_kinds WHERE caller <> 'ann'", "0")
	b.expect(t, "SELECT COUNT(*) FROM attempt_kinds WHERE hint LIKE '%bobs'", "0")
	if f, err := s.Forget(t.Context(), "bob"); f != (store.Forgotten{}) || err != nil {
		t.Errorf("again: %+v, %v", f, err)
	}
	// He was refused before he was told apart by his key; another has such an attempt.
	write(t, s, nil, list(made(0, own, func(e *ledger.Exchange) { e.Attempts = nil }), made(time.Second, func(e *ledger.Exchange) {
		e.Attempts = []ledger.Attempt{{Key: "byok"}, {Key: "byok", Hint: "sk-…anns"}}
	})))
	if f, err := s.Forget(t.Context(), "bob"); f.Interceptions != 1 || err != nil {
		t.Errorf("once more: %+v, %v", f, err)
	}
	b.expect(t, "SELECT COUNT(*) FROM attempts a JOIN attempt_kinds k ON k.id = a.kind WHERE k.key = 'byok'", "2")
	write(t, s, nil, list(made(0, own, in("shared")))) // he comes back
	b.expect(t, "SELECT k.caller, s.name FROM interceptions i JOIN interception_kinds k ON k.id = i.kind JOIN sessions s ON s.id = i.session WHERE k.caller = 'bob'", "bob|shared")
	b.expect(t, "SELECT COUNT(*) FROM attempts a JOIN attempt_kinds k ON k.id = a.kind WHERE k.hint = 'sk-…bobs'", "1")
}
