package store

import (
	"context"
	"database/sql"
	"encoding/binary"
	"hash/maphash"
	"slices"
	"strconv"
	"strings"

	"keybridge/internal/ledger"
)

const (
	// An answer to any call of a turn leads to the turn: a few are as good as all.
	asked = 8
	// lookup bounds the parameters of one statement.
	lookup = 256
	// continuing is what the ids of such answers begin with that a later request may go on from.
	continuing = "resp_"
	// noCall is the seq of a ref that is an answer's id, not a call's.
	noCall = -1
	// anySession stands for all of a caller's, and none.
	anySession = -1
)

// ref is where something that a later request may name came from.
type ref struct{ interception, thread, seq int64 }

// question is what an exchange refers to.
type question struct {
	n    *entry
	text string
}

// origin is an exchange that may be referred to, and by which of its calls.
type origin struct {
	n   *entry
	seq int64
}

// named is how a ref is remembered: the text, in this session of the caller. Some clients
// count their calls, so that the same id is in every session.
func (w *writer) named(caller string, session int64, text string) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(caller) // it never fails
	var id [9]byte
	binary.LittleEndian.PutUint64(id[1:], uint64(session)) //nolint:gosec // its bits
	_, _ = h.Write(id[:])
	_, _ = h.WriteString(text)
	return h.Sum64()
}

// refer says that a later request may name this call of the interception, or its answer.
func (w *writer) refer(n *entry, text string, seq int64) {
	if text == "" {
		return
	}
	b := &w.tables.refs
	b.text(plain(text))
	b.int(n.session)
	b.int(n.key)
	b.int(seq)
}

// continued says whether a later request may go on from an answer by its id.
func continued(message string) bool { return strings.HasPrefix(message, continuing) }

// names calls f with everything an exchange refers back to.
func names(e *ledger.Exchange, f func(text string, failed bool)) {
	if e.After != "" {
		f(e.After, false)
	}
	for i := range e.Answers {
		if (i < asked || e.Answers[i].Failed) && e.Answers[i].Call != "" {
			f(e.Answers[i].Call, e.Answers[i].Failed)
		}
	}
}

// remember makes what an exchange may be referred to by known to those behind it.
func (w *writer) remember(n *entry) {
	referable(n.e, func(text string, seq int64) {
		key := w.named(n.e.Principal.Name, n.session, text)
		if r, ok := w.refs.get(key); !ok || r.interception <= n.key { // it may come late
			w.refs.add(key, ref{n.key, n.thread, seq})
		}
	})
}

// referable calls f with all that an exchange may be referred to by.
func referable(e *ledger.Exchange, f func(text string, seq int64)) {
	seq := int64(0)
	for i := range e.Turns {
		t := &e.Turns[i]
		if continued(t.ID) {
			f(t.ID, noCall)
		}
		for j := range t.Calls {
			c := &t.Calls[j]
			if !c.Hosted && c.ID != "" && toolUse(e.Tools, i, c.ID, nil) < 0 {
				f(c.ID, seq)
			}
			seq++
		}
	}
}

// thread finds what an exchange goes on from, and which of the client's tools have failed,
// now that it says so.
func (w *writer) thread(n *entry) {
	n.thread, n.parent = n.key, 0
	names(n.e, func(text string, failed bool) {
		if n.parent != 0 && !failed {
			return
		}
		r, ok := w.origin(n, text)
		if !ok {
			return
		}
		if n.parent == 0 {
			n.thread, n.parent = r.thread, r.interception
		}
		if failed && r.seq != noCall {
			w.failed = append(w.failed, r)
		}
	})
}

// origin is the newest before an exchange that a text stands for: in its own session or,
// if there is none and one of the two has no session, elsewhere of the same caller.
func (w *writer) origin(n *entry, text string) (ref, bool) {
	caller := n.e.Principal.Name
	if r, ok := w.refs.get(w.named(caller, n.session, text)); ok && r.interception < n.key {
		return r, true
	}
	if r, ok := w.recalled[question{n, text}]; ok {
		return r, true
	}
	var last *origin
	beside := w.beside[w.named(caller, anySession, text)]
	for i := range beside {
		o := &beside[i]
		if o.n.key < n.key && (o.n.session == 0 || n.session == 0) && (last == nil || last.n.key < o.n.key) {
			last = o
		}
	}
	if last == nil {
		return ref{}, false
	}
	return ref{last.n.key, last.n.thread, last.seq}, true
}

// recall looks up in the tables what exchanges refer to and is not remembered: from
// before this process, of another one, or long ago.
func (w *writer) recall(ctx context.Context, entries []entry) error {
	var missing []question
	for i := range entries {
		n := &entries[i]
		if n.skip || n.e.After == "" && len(n.e.Answers) == 0 {
			continue
		}
		names(n.e, func(text string, _ bool) {
			if r, ok := w.refs.get(w.named(n.e.Principal.Name, n.session, text)); !ok || r.interception >= n.key {
				missing = append(missing, question{n, text})
			}
		})
	}
	if len(missing) == 0 {
		return nil
	}
	w.meet(entries)
	missing = slices.DeleteFunc(missing, func(q question) bool {
		return slices.ContainsFunc(w.beside[w.named(q.n.e.Principal.Name, anySession, q.text)], func(o origin) bool {
			return o.n.session == q.n.session && o.n.key < q.n.key
		})
	})
	for some := range slices.Chunk(missing, lookup) {
		if err := w.find(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

// meet notes what the exchanges of the batch may themselves be referred to by.
func (w *writer) meet(entries []entry) {
	for i := range entries {
		if n := &entries[i]; !n.skip {
			referable(n.e, func(text string, seq int64) {
				key := w.named(n.e.Principal.Name, anySession, text)
				w.beside[key] = append(w.beside[key], origin{n, seq})
			})
		}
	}
}

// find asks for each question as origin does. Where a session does not say whose it is, it
// looks at the newest of all callers only: an id that so many have used says little.
func (w *writer) find(ctx context.Context, questions []question) error {
	var asked strings.Builder
	args := make([]any, 0, 4*len(questions))
	for i, q := range questions {
		if i > 0 {
			asked.WriteString(", ")
		}
		asked.WriteString("(" + strconv.Itoa(i) + ", CAST(? AS TEXT), CAST(? AS BIGINT), CAST(? AS BIGINT), CAST(? AS TEXT))")
		args = append(args, plain(q.text), q.n.session, q.n.key, plain(q.n.e.Principal.Name))
	}
	const his = ` JOIN interceptions i ON i.id = r.interception JOIN interception_kinds k ON k.id = i.kind
WHERE k.caller = a.caller ORDER BY r.interception DESC LIMIT 1)`
	query := `WITH asked(n, ref, session, before, caller) AS (VALUES ` + asked.String() + `),
found AS MATERIALIZED (SELECT a.n, a.ref, COALESCE(
(SELECT interception FROM refs WHERE ref = a.ref AND session = a.session AND session <> 0 AND interception < a.before ORDER BY interception DESC LIMIT 1),
(SELECT r.interception FROM (SELECT interception FROM refs WHERE ref = a.ref AND session = 0 AND interception < a.before
ORDER BY interception DESC LIMIT 64) r` + his + `,
(SELECT r.interception FROM (SELECT interception FROM refs WHERE ref = a.ref AND session > 0 AND a.session = 0 AND interception < a.before
ORDER BY session DESC, interception DESC LIMIT 64) r` + his + `) AS interception FROM asked a)
SELECT f.n, i.id, i.thread, (SELECT seq FROM refs WHERE ref = f.ref AND session = i.session AND interception = i.id)
FROM found f JOIN interceptions i ON i.id = f.interception`
	return w.each(ctx, query, args, func(rows *sql.Rows) error {
		var n int
		var r ref
		if err := rows.Scan(&n, &r.interception, &r.thread, &r.seq); err != nil {
			return err
		}
		w.recalled[questions[n]] = r
		return nil
	})
}

// failures notes which of the client's tools have failed.
func (w *writer) failures(ctx context.Context) error {
	for _, r := range w.failed {
		if _, err := w.conn.ExecContext(ctx, w.engine.text("UPDATE tool_calls SET failed = 1 WHERE interception = ? AND seq = ?"),
			r.interception, r.seq); err != nil {
			return err
		}
	}
	return nil
}
