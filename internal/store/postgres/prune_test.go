package postgres_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
	"keybridge/internal/store/storetest"
)

// TestPruneWhileOthersWrite deletes kinds that another gateway is just about to take up
// again, at one moment or another: none is missing that something is of.
func TestPruneWhileOthersWrite(t *testing.T) {
	const rounds = 60
	address := storetest.Postgres(t)
	pruner, writer := open(t, address), open(t, address)
	start := time.Now()
	made := int64(0)
	write := func() {
		made++
		list := make([]*ledger.Exchange, 2)
		for i := range list {
			what := []string{"old", "young"}[i]
			at := start.Add(-time.Duration(2-i) * time.Hour).Add(time.Duration(made) * time.Millisecond)
			list[i] = &ledger.Exchange{
				ID: fmt.Sprintf("req_kb%012x%012x", at.UnixMilli(), i), Start: at, Status: ledger.Completed, Version: what,
				Attempts: []ledger.Attempt{{Key: what}}, Turns: []llm.Turn{{Model: what, Calls: []llm.ToolCall{{Name: what}}}},
			}
		}
		if err := writer.Write(t.Context(), nil, list); err != nil {
			t.Error(err)
		}
	}
	for round := range rounds {
		write()
		var other sync.WaitGroup
		other.Go(func() {
			for range round % 20 { // something that takes a moment
				if _, err := writer.Count(t.Context(), store.Filter{}); err != nil {
					t.Error(err)
				}
			}
			write()
		})
		kept := time.Duration(round) * 24 * time.Hour // a day later it is looked for kinds again
		p, err := pruner.Prune(t.Context(), start.Add(kept), store.Keep{Records: kept + 90*time.Minute, Usage: kept + time.Minute})
		if err != nil || p.Interceptions == 0 {
			t.Errorf("%+v, %v", p, err)
		}
		other.Wait()
	}
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for table, kinds := range map[string]string{
		"interceptions": "interception_kinds", "usage_hours": "interception_kinds", "attempts": "attempt_kinds", "turns": "turn_kinds", "tool_calls": "tool_kinds",
	} {
		var rows, orphans int
		err := c.QueryRow(t.Context(), "SELECT count(*), count(*) FILTER (WHERE NOT EXISTS (SELECT 1 FROM "+kinds+" k WHERE k.id = x.kind)) FROM "+table+" x").Scan(&rows, &orphans)
		if err != nil || rows == 0 && table != "usage_hours" || orphans > 0 {
			t.Errorf("%s: %d of %d are of no kind, %v", table, orphans, rows, err)
		}
	}
}

// TestPruneBesideLateRows has gateways delete what is old, all at once, while each writes
// what is as old: nobody waits for each other in a circle, and no part of an interception
// is left without it.
func TestPruneBesideLateRows(t *testing.T) {
	const (
		gateways = 3
		rounds   = 12
		day      = 24 * time.Hour
	)
	address := storetest.Postgres(t)
	start := time.Now()
	var all sync.WaitGroup
	for g := range gateways {
		s := open(t, address)
		all.Go(func() {
			for round := range rounds {
				var late []*ledger.Exchange
				for i := range 40 {
					at := start.Add(-2*day + time.Duration(1000*round+i)*time.Millisecond)
					what := fmt.Sprint(g, "/", round)
					late = append(late, &ledger.Exchange{
						ID: fmt.Sprintf("req_kb%012x%06x%06x", at.UnixMilli(), g, i), Start: at, End: at, Status: ledger.Completed, Version: what,
						Attempts: []ledger.Attempt{{Key: what}}, Turns: []llm.Turn{{ID: "resp_" + what, Model: what}}, Prompt: "words",
					})
				}
				if err := s.Write(t.Context(), nil, late); err != nil {
					t.Error(err)
				}
				now := start.Add(time.Duration(round) * day) // a day later it is looked for kinds again
				if _, err := s.Prune(t.Context(), now, store.Keep{Records: time.Duration(round+1) * day, Usage: time.Duration(round+1) * day}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, table := range []string{"attempts", "turns", "prompts", "refs"} {
		var orphans int
		err := c.QueryRow(t.Context(), "SELECT count(*) FROM "+table+" x WHERE NOT EXISTS (SELECT 1 FROM interceptions i WHERE i.id = x.interception)").Scan(&orphans)
		if err != nil || orphans > 0 {
			t.Errorf("%s: %d are of no interception, %v", table, orphans, err)
		}
	}
}
