package store

import "strings"

const usageColumns = "input, output, cache_read, cache_write, cache_write_long, reasoning"

// tables are what one connection inserts into.
type tables struct {
	began, ended, settled batch // interceptions
	attempts, turns       batch
	iterations, tools     batch
	arguments, prompts    batch
	thoughts, decisions   batch
	refs, hours           batch
	each                  []*batch // in their order, behind the interceptions that have ended
}

func columns(list string) []string { return strings.Split(strings.ReplaceAll(list, "\n", " "), ", ") }

func newTables() *tables {
	interceptions := columns("id, nonce, kind, started, first_event, ended, session, thread, parent, attempts, turns, loop, " +
		usageColumns + ", picos, unpriced, instance")
	overwrite := " ON CONFLICT (id) DO UPDATE SET " + assign(interceptions[2:]) + " WHERE interceptions.nonce = excluded.nonce"
	hours := columns("hour, kind, requests, " + usageColumns + ", searches, picos, unpriced")
	sums := make([]string, 0, len(hours))
	for _, c := range hours[2:] {
		sums = append(sums, c+" = "+atMost("usage_hours."+c, "excluded."+c))
	}
	once := func(name, list string) batch { return batch{table: &table{name: name, columns: columns(list)}} }
	t := &tables{
		began:   batch{table: &table{"interceptions", interceptions, " ON CONFLICT (id) DO NOTHING"}},
		ended:   batch{table: &table{"interceptions", interceptions, overwrite + " AND interceptions.ended = 0"}},
		settled: batch{table: &table{"interceptions", interceptions, overwrite}},

		attempts:   once("attempts", "interception, seq, turn, kind, sent, waited, duration"),
		turns:      once("turns", "interception, seq, kind, message, "+usageColumns+", searches, picos, unpriced"),
		iterations: once("iterations", "interception, turn, seq, kind, model, "+usageColumns+", picos, unpriced"),
		tools:      once("tool_calls", "interception, seq, turn, kind, call, size, result, failed, error, started, duration"),
		arguments:  once("call_arguments", "interception, seq, text"),
		prompts:    once("prompts", "interception, text, size"),
		thoughts:   once("thoughts", "interception, seq, turn, text, size"),
		decisions:  once("decisions", "interception, error, list"),
		refs:       batch{table: &table{"refs", columns("ref, session, interception, seq"), " ON CONFLICT (ref, session, interception) DO NOTHING"}},
		hours:      batch{table: &table{"usage_hours", hours, " ON CONFLICT (hour, kind) DO UPDATE SET " + strings.Join(sums, ", ")}},
	}
	t.each = []*batch{
		&t.began, &t.attempts, &t.turns, &t.iterations, &t.tools, &t.arguments, &t.prompts, &t.thoughts, &t.decisions, &t.refs,
	}
	return t
}

func assign(list []string) string {
	set := make([]string, len(list))
	for i, c := range list {
		set[i] = c + " = excluded." + c
	}
	return strings.Join(set, ", ")
}
