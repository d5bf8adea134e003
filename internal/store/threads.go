package store

import (
	"context"
	"hash/maphash"
	"strings"

	"keybridge/internal/ledger"
)

const (
	// An answer to any call of a turn leads to the turn: a few are as good as all.
	asked = 8
	// lookup bounds the parameters of one statement.
	lookup = 256
	// noCall is the seq of a ref that is an answer's id, not a call's.
	noCall = -1
)

// ref is where something that a later request may name came from.
type ref struct{ interception, thread, seq int64 }

// named is how a ref is remembered: the text, of this caller.
func (w *writer) named(caller, text string) uint64 {
	var h maphash.Hash
	h.SetSeed(w.seed)
	_, _ = h.WriteString(caller) // it never fails
	_ = h.WriteByte(0)
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
	b.int(n.key)
	b.int(seq)
}

// continued says whether a later request may go on from an answer by its id.
func continued(message string) bool { return strings.HasPrefix(message, "resp_") }

// names calls f with everything an exchange refers back to, until f has had enough.
func names(e *ledger.Exchange, f func(text string, failed bool) (enough bool)) {
	if e.After != "" && f(e.After, false) {
		return
	}
	for i := range e.Answers {
		if (i < asked || e.Answers[i].Failed) && e.Answers[i].Call != "" && f(e.Answers[i].Call, e.Answers[i].Failed) {
			return
		}
	}
}

// elsewhere are the texts that no exchange of the batch itself is referred to by.
func (w *writer) elsewhere(entries []entry, texts []string, keys []uint64) []string {
	here := map[uint64]bool{}
	for i := range entries {
		if n := &entries[i]; !n.skip {
			w.referable(n.e, func(key uint64, _ int64) { here[key] = true })
		}
	}
	out := texts[:0]
	for i, text := range texts {
		if !here[keys[i]] {
			out = append(out, text)
		}
	}
	return out
}

// remember makes what an exchange may be referred to by known to those behind it.
func (w *writer) remember(n *entry) {
	w.referable(n.e, func(key uint64, seq int64) { w.refs.add(key, ref{n.key, n.thread, seq}) })
}

// referable calls f with all that an exchange may be referred to by.
func (w *writer) referable(e *ledger.Exchange, f func(key uint64, seq int64)) {
	seq := int64(0)
	for i := range e.Turns {
		t := &e.Turns[i]
		if continued(t.ID) {
			f(w.named(e.Principal.Name, t.ID), noCall)
		}
		for j := range t.Calls {
			c := &t.Calls[j]
			if !c.Hosted && c.ID != "" && toolUse(e.Tools, i, c.ID, nil) < 0 {
				f(w.named(e.Principal.Name, c.ID), seq)
			}
			seq++
		}
	}
}

// thread finds what an exchange goes on from, as far as is remembered.
func (w *writer) thread(n *entry) {
	n.thread, n.parent = n.key, 0
	caller := n.e.Principal.Name
	names(n.e, func(text string, _ bool) bool {
		if r, ok := w.refs.get(w.named(caller, text)); ok && r.interception < n.key {
			n.thread, n.parent = r.thread, r.interception
			return true
		}
		return false
	})
}

// recall looks up in the tables what exchanges refer to and is not remembered: from
// before this process, of another one, or long ago.
func (w *writer) recall(ctx context.Context, entries []entry) error {
	var missing []string
	var keys []uint64
	for i := range entries {
		n := &entries[i]
		if n.skip || n.e.After == "" && len(n.e.Answers) == 0 {
			continue
		}
		names(n.e, func(text string, _ bool) bool {
			key := w.named(n.e.Principal.Name, text)
			if _, ok := w.refs.get(key); !ok {
				missing, keys = append(missing, text), append(keys, key)
			}
			return false
		})
	}
	if len(missing) == 0 {
		return nil
	}
	missing = w.elsewhere(entries, missing, keys)
	for len(missing) > 0 {
		some := missing[:min(len(missing), lookup)]
		missing = missing[len(some):]
		if err := w.find(ctx, some); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) find(ctx context.Context, texts []string) error {
	args := make([]any, len(texts))
	for i := range texts {
		args[i] = plain(texts[i])
	}
	rows, err := w.conn.QueryContext(ctx, w.engine.text(`SELECT r.ref, k.caller, r.interception, i.thread, r.seq FROM refs r
JOIN interceptions i ON i.id = r.interception JOIN interception_kinds k ON k.id = i.kind
WHERE r.ref IN `+in(len(args))), args...)
	if err != nil {
		return err
	}
	defer rows.Close() //nolint:errcheck // Err says it
	for rows.Next() {
		var text, caller string
		var r ref
		if err := rows.Scan(&text, &caller, &r.interception, &r.thread, &r.seq); err != nil {
			return err
		}
		w.refs.add(w.named(caller, text), r)
	}
	return rows.Err()
}

// failures notes which of the client's tools have failed, now that it says so.
func (w *writer) failures(ctx context.Context, entries []entry) error {
	for i := range entries {
		n := &entries[i]
		if n.skip {
			continue
		}
		for _, a := range n.e.Answers {
			if !a.Failed {
				continue
			}
			r, ok := w.refs.get(w.named(n.e.Principal.Name, a.Call))
			if !ok || r.seq == noCall {
				continue
			}
			if _, err := w.conn.ExecContext(ctx, w.engine.text("UPDATE tool_calls SET failed = 1 WHERE interception = ? AND seq = ?"),
				r.interception, r.seq); err != nil {
				return err
			}
		}
	}
	return nil
}
