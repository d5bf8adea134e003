package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5/pgtype"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
)

// Base is an empty database of a test's own.
type Base struct {
	// Open opens a store of it; the second one is that of a process that begins when the
	// first has been closed.
	Open func(t *testing.T) *store.Store
	// Ask runs a statement in the database itself, for what no store shows, and returns the
	// rows.
	Ask func(t *testing.T, statement string) [][]any
}

// Run holds what a store writes against what it is to write.
func Run(t *testing.T, base func(t *testing.T) Base) {
	for name, test := range map[string]func(*testing.T, Base){
		"rows": writeRows, "twice": writeTwice, "begun": writeBegun, "order": writeOrder, "collisions": writeCollisions,
		"threads": writeThreads, "one batch": writeThreadAtOnce, "refs": writeRefs, "failures": writeFailures, "sessions": writeSessions,
		"hours": writeHours, "lost": writeLost, "nothing half": writeHalf, "rejected": writeRejected, "bounds": writeBounds,
		"prune": writePrune, "prune kinds": writePruneKinds, "forget": writeForget, "readers": writeReaders, "closed": writeClosed, "cut": writeCut,
		"counted": writeCounted, "counted by many": writeCountedByMany, "late": writeLate, "update": writeUpdate,
		"panic": writePanic, "alike": writeAlike, "hostile": writeHostile, "known": writeKnown, "prune parts": writePruneParts, "vast": writeVast, "vast tokens": writeVastTokens,
	} {
		t.Run(name, func(t *testing.T) { test(t, base(t)) })
	}
}

var morning = time.Date(2026, 11, 23, 8, 59, 0, 0, time.UTC) //nolint:gochecknoglobals // a constant

// made is an exchange that begins so long after the morning, with one attempt and one turn.
func made(after time.Duration, change ...func(*ledger.Exchange)) *ledger.Exchange {
	at := morning.Add(after)
	usage := llm.Usage{Input: 10, Output: 20, CacheRead: 30, CacheWrite: 40, CacheWriteLong: 5, Reasoning: 6}
	e := &ledger.Exchange{
		ID: idAt(at, 0x0123456789ab), Start: at, Principal: ledger.Principal{Name: "ann", Metadata: `{"team":"a"}`, Credential: ledger.Pooled},
		Provider: "p", Route: "/r", Method: "POST", Bridged: true, Admitted: true, Stream: true, Model: "m", Client: "c", Version: "1",
		Attempts:   []ledger.Attempt{{Key: "k", Hint: "h", Sent: at.Add(time.Millisecond), Duration: time.Second, Status: 200, Action: "relay"}},
		Turns:      []llm.Turn{{ID: "msg", Model: "m-1", Stop: "stop", Tier: "t", Usage: usage, Reported: true, Complete: true, Searches: 1}},
		Charges:    []ledger.Charge{{Model: "m", Usage: usage, Picos: 1000, Unpriced: 3, Version: "v"}},
		FirstEvent: at.Add(time.Second), End: at.Add(2 * time.Second), HTTPStatus: 200, Status: ledger.Completed,
	}
	for _, f := range change {
		f(e)
	}
	return e
}

func idAt(at time.Time, nonce int64) string {
	return fmt.Sprintf("req_kb%012x%012x", at.UnixMilli(), nonce)
}

// begun is what is known of an exchange when it begins.
func begun(e *ledger.Exchange) *ledger.Exchange {
	return &ledger.Exchange{
		ID: e.ID, Start: e.Start, Principal: e.Principal, Provider: e.Provider, Route: e.Route, Method: e.Method, Bridged: true, Admitted: true,
		Stream: e.Stream, Model: e.Model, Client: e.Client, Version: e.Version, Session: e.Session, Signal: e.Signal, Answers: e.Answers, After: e.After,
	}
}

func list(e ...*ledger.Exchange) []*ledger.Exchange { return e }

// ask returns the rows that a statement finds, a text each.
func (b Base) ask(t *testing.T, query string) []string {
	t.Helper()
	var out []string
	for _, row := range b.Ask(t, query) {
		texts := make([]string, len(row))
		for i, v := range row {
			if n, ok := v.(pgtype.Numeric); ok {
				v, _ = n.Value() // a sum
			}
			texts[i] = fmt.Sprint(v)
		}
		out = append(out, strings.Join(texts, "|"))
	}
	return out
}

func (b Base) expect(t *testing.T, query string, want ...string) {
	t.Helper()
	if d := gocmp.Diff(want, b.ask(t, query)); d != "" {
		t.Errorf("%s (-want +got):\n%s", query, d)
	}
}

// everything is what is in the tables but for what says who is writing, and for the kinds
// that nothing is of.
func (b Base) everything(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	for table, of := range map[string]string{
		"interception_kinds": "SELECT kind FROM interceptions UNION SELECT kind FROM usage_hours", "attempt_kinds": "SELECT kind FROM attempts",
		"turn_kinds": "SELECT kind FROM turns", "tool_kinds": "SELECT kind FROM tool_calls",
		"sessions": "", "interceptions": "", "attempts": "", "turns": "", "iterations": "", "tool_calls": "", "call_arguments": "", "prompts": "",
		"thoughts": "", "decisions": "", "refs": "", "usage_hours": "",
	} {
		query := "SELECT * FROM " + table
		if of != "" {
			query = "SELECT id FROM " + table + " WHERE id IN (" + of + ")" // a hash of the rest
		}
		rows := b.ask(t, query)
		slices.Sort(rows)
		out[table] = rows
	}
	return out
}

func (b Base) same(t *testing.T, want map[string][]string) {
	t.Helper()
	if d := gocmp.Diff(want, b.everything(t)); d != "" {
		t.Errorf("the tables are not what they were (-were +are):\n%s", d)
	}
}

// rich is an exchange with all that can be in one.
func rich() *ledger.Exchange {
	return made(0, func(e *ledger.Exchange) {
		part := llm.Usage{Input: 4, Output: 8}
		e.Session, e.Signal, e.Class, e.Status, e.Err, e.Loop, e.Eventful = "s", "header", "bad_upstream", ledger.Failed, ledger.TextError("cut \x00off"), 2, true
		e.Prompt, e.PromptSize = "hello", 500
		e.Attempts = append(e.Attempts, ledger.Attempt{Turn: 1, Waited: time.Millisecond, Key: "k2", Hint: "h2", Sent: morning.Add(time.Second), Status: 429, Action: "next_key", Reason: "rate"})
		e.Turns[0].Calls = []llm.ToolCall{
			{ID: "call1", Name: "srv__find", Arguments: []byte(`{"a":1}`), Size: 7},
			{ID: "call2", Name: "Bash", Arguments: []byte(`{"cut`), Size: 999},
			{ID: "call3", Name: "web_search", Hosted: true, Error: "too_many_requests"},
		}
		e.Turns[0].Iterations = []llm.Iteration{{Kind: "message", Model: "m-1", Usage: part}, {Kind: "advisor", Model: "m-2", Usage: part}}
		e.Turns[0].Thoughts = []llm.Thought{{Text: "hm", Size: 2}, {Size: 80}}
		e.Turns = append(e.Turns, llm.Turn{ID: "resp_2", Model: "m-3", Usage: part, Thoughts: []llm.Thought{{Text: "so", Size: 2}}})
		e.Charges = []ledger.Charge{
			{Kind: "message", Model: "m", Picos: 100, Version: "v"},
			{Kind: "advisor", Model: "m2", Picos: 10, Unpriced: 2, Version: "v"},
			{Turn: 1, Model: "m3", Picos: 1, Version: "w"},
		}
		e.Tools = []ledger.ToolUse{
			{Call: "call1", Server: "srv", Tool: "find", Start: morning, Duration: time.Second, Outcome: ledger.ToolOK, Size: 77},
			{Call: "call9", Server: "srv", Tool: "gone", Turn: 1, Outcome: ledger.ToolTimeout, Err: ledger.TextError("slow")},
		}
		e.Decisions = []ledger.Decision{
			{At: morning, Key: "k", What: "judged", Why: "overloaded", Action: "next_key", Scope: "key", Until: morning.Add(time.Minute), For: time.Second},
			{At: morning, What: "served"},
		}
	})
}

// writeRows compares every column of every row of an exchange with everything in it.
func writeRows(t *testing.T, b Base) {
	s := b.Open(t)
	e := rich()
	write(t, s, nil, list(e))
	key, nonce, _ := store.Key(e.ID)
	us := morning.UnixMicro()
	text := fmt.Sprintf

	b.expect(t, "SELECT status, http_status, class, caller, metadata, client, version, signal, provider, route, method, stream, model, model_asked, "+
		"model_answered, credential, key, hint, reported FROM interception_kinds",
		`failed|200|bad_upstream|ann|{"team":"a"}|c|1|header|p|/r|POST|1|m-3|m|m-3|pooled|k2|h2|0`)
	b.expect(t, "SELECT i.id, i.nonce, i.kind = k.id, i.started, i.first_event, i.ended, i.session = s.id, i.thread, i.parent, attempts, turns, loop, "+
		"input, output, cache_read, cache_write, cache_write_long, reasoning, picos, unpriced, instance = n.id "+
		"FROM interceptions i, interception_kinds k, sessions s, instances n",
		strings.NewReplacer("true", b.yes(t)).Replace(
			text("%d|%d|true|%d|%d|%d|true|%d|0|2|2|2|14|28|30|40|5|6|111|2|true", key, nonce, us, us+1_000_000, us+2_000_000, key)))
	b.expect(t, "SELECT caller, name, client, started, last FROM sessions", text("ann|s|c|%d|%d", us, us))
	b.expect(t, "SELECT a.interception, a.seq, a.turn, k.key, k.hint, k.status, k.action, k.reason, a.sent, a.waited, a.duration "+
		"FROM attempts a JOIN attempt_kinds k ON k.id = a.kind ORDER BY seq",
		text("%d|0|0|k|h|200|relay||%d|0|1000000", key, us+1000), text("%d|1|1|k2|h2|429|next_key|rate|%d|1000|0", key, us+1_000_000))
	b.expect(t, "SELECT t.interception, t.seq, t.message, k.model, k.stop, k.tier, k.reported, k.complete, k.price_model, k.price_version, "+
		"input, output, cache_read, cache_write, cache_write_long, reasoning, searches, picos, unpriced FROM turns t JOIN turn_kinds k ON k.id = t.kind ORDER BY seq",
		text("%d|0|msg|m-1|stop|t|1|1|m|v|10|20|30|40|5|6|1|110|2", key), text("%d|1|resp_2|m-3|||0|0|m3|w|4|8|0|0|0|0|0|1|0", key))
	b.expect(t, "SELECT * FROM iterations ORDER BY interception, turn, seq",
		text("%d|0|0|message|m-1|4|8|0|0|0|0|100|0", key), text("%d|0|1|advisor|m-2|4|8|0|0|0|0|10|2", key))
	b.expect(t, "SELECT c.interception, c.seq, c.turn, k.kind, k.server, k.name, k.outcome, c.call, c.size, c.result, c.failed, c.error, c.started, c.duration "+
		"FROM tool_calls c JOIN tool_kinds k ON k.id = c.kind ORDER BY seq",
		text("%d|0|0|injected|srv|find|ok|call1|7|77|0||%d|1000000", key, us), text("%d|1|0|client||Bash||call2|999|0|0||0|0", key),
		text("%d|2|0|hosted||web_search||call3|0|0|1|too_many_requests|0|0", key), text("%d|3|1|injected|srv|gone|timeout|call9|0|0|1|slow|0|0", key))
	b.expect(t, "SELECT * FROM call_arguments ORDER BY seq", text(`%d|0|{"a":1}`, key), text(`%d|1|{"cut`, key))
	b.expect(t, "SELECT * FROM prompts", text("%d|hello|500", key))
	b.expect(t, "SELECT * FROM thoughts ORDER BY seq", text("%d|0|0|hm|2", key), text("%d|1|0||80", key), text("%d|2|1|so|2", key))
	b.expect(t, "SELECT * FROM decisions", text(`%d|cut `+"\uFFFD"+`off|[{"at":%d,"what":"judged","key":"k","why":"overloaded","action":"next_key","scope":"key","until":%d,"for":1000000},{"at":%d,"what":"served"}]`,
		key, us, us+60_000_000, us))
	b.expect(t, "SELECT r.ref, r.session = s.id, r.interception, r.seq FROM refs r, sessions s ORDER BY r.ref",
		text("call2|%s|%d|1", b.yes(t), key), text("resp_2|%s|%d|-1", b.yes(t), key))
	b.expect(t, "SELECT hour, requests, input, output, cache_read, cache_write, cache_write_long, reasoning, searches, picos, unpriced FROM usage_hours",
		text("%d|1|14|28|30|40|5|6|1|111|2", morning.Truncate(time.Hour).UnixMicro()))
	b.expect(t, "SELECT name, started > 0, seen >= started FROM instances", "a|"+b.yes(t)+"|"+b.yes(t))
}

// yes is the database's word for it.
func (b Base) yes(t *testing.T) string {
	t.Helper()
	return b.ask(t, "SELECT 1 = 1")[0]
}

// writeTwice writes again what is there, as after a commit whose answer was lost.
func writeTwice(t *testing.T, b Base) {
	s := b.Open(t)
	first, second, third := rich(), made(time.Second), made(2*time.Second)
	write(t, s, list(begun(third)), list(first, second))
	want := b.everything(t)
	write(t, s, list(begun(third)), list(first, second))
	b.same(t, want)
	write(t, s, list(begun(first), begun(second)), nil)
	b.same(t, want)
	changed := made(time.Second, func(e *ledger.Exchange) { e.Turns[0].Usage.Input = 7777; e.Status = ledger.Failed })
	write(t, s, nil, list(changed, changed))
	b.same(t, want)

	fourth := made(3 * time.Second)
	write(t, s, nil, list(fourth, second, third, first)) // two are new
	b.expect(t, "SELECT SUM(requests), SUM(input), SUM(searches) FROM usage_hours", "4|44|4")
	b.expect(t, "SELECT COUNT(*) FROM turns", "5")
	b.expect(t, "SELECT COUNT(*) FROM interceptions WHERE ended = 0", "0")
	want = b.everything(t)
	_ = s.Close()
	write(t, b.Open(t), list(begun(third)), list(first, second, third, fourth)) // another process, which knows nothing
	b.same(t, want)
}
