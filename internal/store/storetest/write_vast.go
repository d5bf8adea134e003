package storetest

import (
	"math"
	"slices"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

const (
	vastPicos = 9_999_990_000_000_001 // one cent less than 10 000 dollars, and a bit
	vastExact = 922                   // requests of so much, whose sum is a number
	vastMore  = 1000                  // whose sum is none
)

// writeVast writes so much money that its sum is no number any more: it is recorded, and
// told exactly as long as it can be.
func writeVast(t *testing.T, b Base) {
	s := b.Open(t)
	dear := func(caller, model, session string, from time.Duration, requests int) {
		var batch []*ledger.Exchange
		for i := range requests {
			batch = append(batch, made(from+time.Duration(i)*time.Millisecond, in(session), func(e *ledger.Exchange) {
				e.Principal.Name, e.Turns[0].Model, e.Charges[0].Picos, e.Charges[0].Unpriced = caller, model, vastPicos, 0
			}))
		}
		for part := range slices.Chunk(batch, 300) { // an hour's sum grows by several statements
			write(t, s, nil, part)
		}
	}
	dear("ann", "m-1", "one", 0, vastMore)
	dear("ann", "m-2", "two", 10*time.Second, vastMore) // another kind
	dear("bob", "m-1", "three", 20*time.Second, vastExact)
	dear("bob", "m-1", "three", 2*time.Hour, 1) // the sum of both hours is none
	b.expect(t, "SELECT MAX(picos), MIN(picos), SUM(requests) FROM usage_hours", "9223372036854775807|9999990000000001|2923")

	readVast(t, s)
	sessions, _, err := s.Sessions(t.Context(), store.Filter{}, store.Page{})
	if err != nil || len(sessions) != 3 {
		t.Fatal(sessions, err)
	}
	for i := range sessions {
		if sessions[i].Picos != math.MaxInt64 {
			t.Errorf("%s: %+v", sessions[i].Name, sessions[i].Sum)
		}
	}
	if one, err := s.Session(t.Context(), "bob", "three"); err != nil || len(one.Threads) != vastExact+1 || one.Threads[0].Picos != vastPicos {
		t.Errorf("%v, %v", one, err)
	}
}

// readVast asks for the usage: of whole hours, of single interceptions, and of both.
func readVast(t *testing.T, s *store.Store) {
	t.Helper()
	const most, exact = math.MaxInt64, vastExact * vastPicos
	second := morning.Add(20 * time.Second) // when bob begins
	for _, tt := range []struct {
		name     string
		filter   store.Filter
		by       []store.Dimension
		requests int64
		picos    []int64
	}{
		{"all", store.Filter{}, nil, 2*vastMore + vastExact + 1, []int64{most}},
		{"hours", store.Filter{To: morning.Add(time.Minute)}, []store.Dimension{store.ByCaller, store.ByModel}, 2*vastMore + vastExact, []int64{most, most, exact}},
		{"cut", store.Filter{From: second.Add(time.Millisecond), To: morning.Add(2*time.Hour + time.Millisecond)}, nil, vastExact, []int64{exact}},
		{"put together", store.Filter{From: second}, nil, vastExact + 1, []int64{most}},
		{"one by one", store.Filter{}, []store.Dimension{store.BySession}, 2*vastMore + vastExact + 1, []int64{most, most, most}},
		{"one by one, exactly", store.Filter{To: morning.Add(time.Hour), From: second}, []store.Dimension{store.BySession}, vastExact, []int64{exact}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			used, err := s.Usage(t.Context(), tt.filter, tt.by, store.Altogether)
			if err != nil {
				t.Fatal(err)
			}
			var got []int64
			var total store.Used
			for i := range used {
				got = append(got, used[i].Picos)
				total.Add(&used[i])
			}
			if d := gocmp.Diff(tt.picos, got); d != "" || total.Requests != tt.requests || total.Usage.Input != 10*tt.requests || total.Searches != tt.requests {
				t.Errorf("%+v (-want +got):\n%s", total, d)
			}
		})
	}
}

// writeVastTokens meets sums of tokens that are as great as a number can be.
func writeVastTokens(t *testing.T, b Base) {
	s := b.Open(t)
	write(t, s, nil, list(made(0, in("s")), made(time.Second, in("s"))))
	const most = "= 9223372036854775807"
	b.ask(t, "UPDATE usage_hours SET input "+most+", cache_read "+most+", reasoning "+most+", searches "+most+", unpriced "+most)
	b.ask(t, "UPDATE interceptions SET input "+most+", cache_read "+most+", reasoning "+most+", unpriced "+most)
	write(t, s, nil, list(made(2*time.Second, in("s")), made(time.Hour, in("s"))))
	b.expect(t, "SELECT input, output, searches FROM usage_hours ORDER BY hour", "9223372036854775807|60|9223372036854775807", "10|20|1")
	for _, by := range [][]store.Dimension{nil, {store.BySession}} {
		used, err := s.Usage(t.Context(), store.Filter{}, by, store.Altogether)
		if err != nil || len(used) != 1 {
			t.Fatal(used, err)
		}
		u := used[0].Usage
		if d := gocmp.Diff([]int64{math.MaxInt64, 80, math.MaxInt64, 160, 20, math.MaxInt64, math.MaxInt64},
			[]int64{u.Input, u.Output, u.CacheRead, u.CacheWrite, u.CacheWriteLong, u.Reasoning, used[0].Unpriced}); d != "" {
			t.Errorf("by %v (-want +got):\n%s", by, d)
		}
	}
}
