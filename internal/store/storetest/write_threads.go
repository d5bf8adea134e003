package storetest

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
)

// calling makes an exchange's model call the client's tools.
func calling(ids ...string) func(*ledger.Exchange) {
	return func(e *ledger.Exchange) {
		for _, id := range ids {
			e.Turns[0].Calls = append(e.Turns[0].Calls, llm.ToolCall{ID: id, Name: "Bash"})
		}
	}
}

// answering makes an exchange bring the results of calls.
func answering(ids ...string) func(*ledger.Exchange) {
	return func(e *ledger.Exchange) {
		for _, id := range ids {
			e.Answers = append(e.Answers, ledger.Answer{Call: id})
		}
	}
}

func bobs(e *ledger.Exchange) { e.Principal.Name = "bob" }

// chain expects that each exchange belongs to the thread of another and answers one: by
// how many seconds after the morning they began.
func (b Base) chain(t *testing.T, want ...[3]int) {
	t.Helper()
	key := func(seconds int) int64 {
		if seconds < 0 {
			return 0
		}
		k, _, _ := store.Key(made(time.Duration(seconds) * time.Second).ID)
		return k
	}
	rows := make([]string, len(want))
	for i, w := range want {
		rows[i] = fmt.Sprintf("%d|%d|%d", key(w[0]), key(w[1]), key(w[2]))
	}
	b.expect(t, "SELECT id, thread, parent FROM interceptions ORDER BY id", rows...)
}

// writeThreads follows conversations over batches, processes and callers.
func writeThreads(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0, calling("c1", "c2"))))
	second := made(time.Second, answering("c1", "c2"), calling("c3"))
	write(t, s, list(begun(second)), nil)
	b.chain(t, [3]int{0, 0, -1}, [3]int{1, 0, 0})
	write(t, s, nil, list(second))
	write(t, s, nil, list(
		made(2*time.Second, answering("c1"), bobs), // somebody else, who has guessed
		made(3*time.Second, answering("unknown")),
		made(4*time.Second, func(e *ledger.Exchange) { e.Turns[0].ID = "resp_4" }),
	))
	want := [][3]int{{0, 0, -1}, {1, 0, 0}, {2, 2, -1}, {3, 3, -1}, {4, 4, -1}}
	b.chain(t, want...)
	_ = s.Close()

	s = b.Open(t) // which remembers nothing
	write(t, s, nil, list(
		made(5*time.Second, answering("unknown", "c3"), calling("c4")),
		made(6*time.Second, func(e *ledger.Exchange) { e.After = "resp_4" }, calling("c5")),
		made(7*time.Second, func(e *ledger.Exchange) { e.After = "resp_4" }, bobs),
		made(8*time.Second, func(e *ledger.Exchange) { e.After = "msg" }), // no provider goes on from such
	))
	want = append(want, [3]int{5, 0, 1}, [3]int{6, 4, 4}, [3]int{7, 7, -1}, [3]int{8, 8, -1})
	b.chain(t, want...)
	write(t, s, nil, list(made(9*time.Second, answering("c4")), made(10*time.Second, answering("c5"))))
	b.chain(t, append(want, [3]int{9, 0, 5}, [3]int{10, 4, 6})...)
}

// writeCounted follows clients that count their calls, so that each of their sessions has
// the same ids: at once, batch by batch, and by a process that remembers nothing.
func writeCounted(t *testing.T, b Base) {
	const failed = "SELECT interception, call FROM tool_calls WHERE failed = 1 ORDER BY interception"
	failing := func(e *ledger.Exchange) {
		for i := range e.Answers {
			e.Answers[i].Failed = true
		}
	}
	batch := list(
		made(0, in("s0"), calling("c0")), made(time.Second, in("s1"), calling("c0")), made(2*time.Second, in("s2"), calling("c0")),
		made(3*time.Second, in("s1"), answering("c0"), failing, calling("c0")), // its own id once more
		made(4*time.Second, in("s0"), answering("c0"), calling("c1")),
		made(5*time.Second, in("s3"), answering("c0"), failing),       // nobody's
		made(6*time.Second, in("s1"), bobs, answering("c0"), failing), // a session of that name, and somebody else's
		made(7*time.Second, calling("c0", "plain")),
		made(8*time.Second, in("s4"), answering("c0")),           // the session got its name later
		made(9*time.Second, answering("c1")),                     // or has lost it
		made(10*time.Second, answering("c0")),                    // has none, as the one before
		made(11*time.Second, in("s2"), answering("plain", "c0")), // one says what the other does not
	)
	want := [][3]int{
		{0, 0, -1},
		{1, 1, -1},
		{2, 2, -1},
		{3, 1, 1},
		{4, 0, 0},
		{5, 5, -1},
		{6, 6, -1},
		{7, 7, -1},
		{8, 7, 7},
		{9, 0, 4},
		{10, 7, 7},
		{11, 7, 7},
	}
	key, _, _ := store.Key(batch[1].ID)
	for name, together := range map[string]int{"at once": len(batch), "one by one": 1, "some": 3} {
		for _, again := range []bool{false, true} {
			s := b.Open(t)
			for part := range slices.Chunk(batch, together) {
				write(t, s, nil, part)
				if again {
					_ = s.Close()
					s = b.Open(t)
				}
			}
			b.chain(t, want...)
			b.expect(t, failed, fmt.Sprintf("%d|c0", key))
			if t.Failed() {
				t.Fatalf("%s, remembering nothing: %t", name, again)
			}
			for _, caller := range []string{"ann", "bob"} {
				if _, err := s.Forget(t.Context(), caller); err != nil {
					t.Fatal(err)
				}
			}
			b.expect(t, "SELECT COUNT(*) FROM refs", "0")
			_ = s.Close()
		}
	}
}

// writeCountedByMany has an id that everybody uses: a session finds its own, however many
// are newer, and who has none is not looked for among all.
func writeCountedByMany(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0, in("s"), calling("c")), made(time.Second, calling("c", "mine"))))
	var others []*ledger.Exchange
	for i := range 200 {
		others = append(others, made(time.Duration(10+i)*time.Second, bobs, in([]string{"", "other"}[i%2]), calling("c")))
	}
	write(t, s, nil, others)
	_ = s.Close()
	s = b.Open(t)
	write(t, s, nil, list(
		made(300*time.Second, in("s"), answering("c")), made(301*time.Second, answering("c")), made(302*time.Second, answering("c", "mine")),
		made(303*time.Second, bobs, answering("c")), made(5*time.Second, in("s"), answering("c")), // which is late
	))
	key := func(seconds int) int64 {
		k, _, _ := store.Key(made(time.Duration(seconds) * time.Second).ID)
		return k
	}
	var want []string
	for _, w := range [][2]int{{5, 0}, {300, 0}, {302, 1}, {303, 208}} {
		want = append(want, fmt.Sprintf("%d|%d", key(w[0]), key(w[1])))
	}
	b.expect(t, "SELECT id, parent FROM interceptions WHERE parent <> 0 ORDER BY id", want...)
}

// writeLate hears of an old request when newer ones are known: it goes on from what was
// before it, and nothing goes on from it that does from a newer one.
func writeLate(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0, in("s"), calling("c"))))
	write(t, s, nil, list(made(10*time.Second, in("s"), calling("c"))))
	write(t, s, nil, list(made(5*time.Second, in("s"), answering("c"), calling("c"))))
	write(t, s, nil, list(made(20*time.Second, in("s"), answering("c"))))
	b.chain(t, [3]int{0, 0, -1}, [3]int{5, 0, 0}, [3]int{10, 10, -1}, [3]int{20, 10, 10})
}

// writeThreadAtOnce finds a whole conversation in one batch, whatever the order in which
// its exchanges ended, and also one that was written while the one before it was not.
func writeThreadAtOnce(t *testing.T, b Base) {
	s := b.Open(t)
	child := made(3*time.Second, answering("c3"), calling("c4"))
	write(t, s, list(begun(child)), nil)
	b.chain(t, [3]int{3, 3, -1})
	write(t, s, list(begun(made(4*time.Second, answering("c4")))), list(
		child, made(2*time.Second, answering("c2", "c1"), calling("c3")), made(0, calling("c1")), made(time.Second, answering("c1"), calling("c2")),
	))
	b.chain(t, [3]int{0, 0, -1}, [3]int{1, 0, 0}, [3]int{2, 0, 1}, [3]int{3, 0, 2}, [3]int{4, 0, 3})
}

// writeRefs keeps only what the client may come back to, and looks no further than it must.
func writeRefs(t *testing.T, b Base) {
	s := b.Open(t)
	many := make([]string, 100)
	for i := range many {
		many[i] = fmt.Sprintf("many%d", i)
	}
	write(t, s, nil, list(made(0, calling(many...), calling("", "gateways"), func(e *ledger.Exchange) {
		e.Turns[0].Calls = append(e.Turns[0].Calls, llm.ToolCall{ID: "hosted", Hosted: true})
		e.Tools = []ledger.ToolUse{{Call: "gateways", Server: "s", Tool: "t", Outcome: ledger.ToolOK}}
	})))
	b.expect(t, "SELECT COUNT(*), COUNT(DISTINCT seq) FROM refs", "100|100")
	b.expect(t, "SELECT COUNT(*) FROM tool_calls", "103")
	write(t, s, nil, list(
		made(time.Second, answering("hosted")), made(2*time.Second, answering("gateways")), made(3*time.Second, answering("")),
		made(4*time.Second, answering(many[50])), made(5*time.Second, answering(many...)),
		made(6*time.Second, answering("many7\x00"), func(e *ledger.Exchange) { e.Answers = append(e.Answers, e.Answers...) }),
		made(7*time.Second, answering(strings.Repeat("x", 512))),
	))
	b.chain(t, [3]int{0, 0, -1}, [3]int{1, 1, -1}, [3]int{2, 2, -1}, [3]int{3, 3, -1}, [3]int{4, 0, 0}, [3]int{5, 0, 0}, [3]int{6, 6, -1}, [3]int{7, 7, -1})
}

// writeFailures hears from the client that a tool has failed, in this process and in the
// next.
func writeFailures(t *testing.T, b Base) {
	s := b.Open(t)
	many := make([]string, 40)
	for i := range many {
		many[i] = fmt.Sprintf("c%d", i)
	}
	write(t, s, nil, list(made(0, calling(many...))))
	failing := func(after time.Duration, which string) *ledger.Exchange {
		return made(after, answering(many...), func(e *ledger.Exchange) {
			for i := range e.Answers {
				e.Answers[i].Failed = e.Answers[i].Call == which
			}
		})
	}
	const failed = "SELECT call FROM tool_calls WHERE failed = 1 ORDER BY seq"
	write(t, s, nil, list(failing(time.Second, "c3")))
	b.expect(t, failed, "c3")
	write(t, s, nil, list(failing(2*time.Second, "c30")))
	b.expect(t, failed, "c3", "c30")
	_ = s.Close()
	s = b.Open(t)
	write(t, s, nil, list(failing(3*time.Second, "c39"), made(4*time.Second, bobs, func(e *ledger.Exchange) {
		e.Answers = []ledger.Answer{{Call: "c1", Failed: true}}
	})))
	b.expect(t, failed, "c3", "c30", "c39")
}

// writeUpdate opens what an older version has made: conversations go on.
func writeUpdate(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0, in("s"), calling("c")), made(time.Second, calling("c", "d"))))
	_ = s.Close()
	b.Ask(t, "ALTER TABLE refs RENAME TO newer")
	b.Ask(t, "CREATE TABLE refs (ref TEXT NOT NULL, interception BIGINT NOT NULL, seq BIGINT NOT NULL, PRIMARY KEY (ref, interception))")
	b.Ask(t, "INSERT INTO refs SELECT ref, interception, seq FROM newer")
	b.Ask(t, "DROP TABLE newer")
	for _, table := range []string{"interception_kinds", "attempt_kinds", "turn_kinds", "tool_kinds"} {
		b.Ask(t, "ALTER TABLE "+table+" DROP COLUMN seen")
	}
	b.Ask(t, "DELETE FROM migrations WHERE version_id > 1")
	write(t, b.Open(t), nil, list(made(2*time.Second, in("s"), answering("c")), made(3*time.Second, answering("c")), made(4*time.Second, in("t"), answering("d"))))
	b.chain(t, [3]int{0, 0, -1}, [3]int{1, 1, -1}, [3]int{2, 0, 0}, [3]int{3, 1, 1}, [3]int{4, 1, 1})
}
