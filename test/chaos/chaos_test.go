// Package chaos holds the record of a gateway against what its clients had and what the
// provider has served, over everything that goes wrong.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/simulator"
	"keybridge/internal/store"
)

var (
	exchanges = flag.Int("exchanges", 3000, "how many requests the clients of each gateway make")
	away      = flag.Duration("outage", 2*time.Second, "how long each database is away")
	margin    = flag.Duration("margin", 300*time.Millisecond, "how much later than the flush interval a busy machine may record")
)

// silent is how long others wait for a process before what it had begun is lost.
const silent = 60 * time.Second

// A gateway serves clients of all kinds while its providers fail, clients go away, the
// database is lost, and it is killed itself. What it has recorded is what was served.
func TestChaos(t *testing.T) {
	if testing.Short() {
		t.Skip("takes half a minute")
	}
	binary := build(t)
	t.Run("sqlite", func(t *testing.T) { chaos(t, binary, file{}) })
	t.Run("postgres", func(t *testing.T) { chaos(t, binary, newServer(t)) })
}

func chaos(t *testing.T, binary string, d database) {
	keys := append(simulator.Keys(2*keysEach), ownKey(simulator.OpenAI), ownKey(simulator.Anthropic))
	sim := simulator.New(simulator.Options{Keys: keys, MeterSize: 4 * *exchanges, LogSize: 1})
	t.Cleanup(sim.Close)
	up := httptest.NewServer(sim)
	t.Cleanup(up.Close)
	g := newGateway(t, binary, up.URL, d.setting())
	g.start(t)

	troubled, calm := context.WithCancel(t.Context())
	var asking, troubling sync.WaitGroup
	defer troubling.Wait()
	defer calm()
	c := newClients("http://"+g.listen, *exchanges, max(8*time.Second, *away*5/2))
	asking.Go(func() { c.run(t.Context()) })
	troubling.Go(func() { trouble(troubled, sim) })
	g.suffer(t, d, c)
	asking.Wait()

	a := account{window: flush + *margin, unsettled: !d.alone() && *away < silent}
	if !a.unsettled {
		g.settle(t)
	}
	g.stop(t)
	took := time.Since(c.begin)
	a.notes, a.served, a.kills, a.dropped = c.notes, sim.Meter(), g.kills, g.dropped
	a.open, a.spool = d.count(t, g, "SELECT count(*) FROM interceptions WHERE ended = 0"), g.spool(t)
	a.read(t, d.open(t, g))
	f, found := compare(a)
	t.Log(f.table(c, g.late, took))
	for _, lack := range f.lacks(g.late) {
		t.Errorf("the run shows nothing of %s", lack)
	}
	const most = 20
	for i, says := range found {
		if i == most {
			t.Errorf("and %d more", len(found)-most)
			break
		}
		t.Error(says)
	}
	if t.Failed() {
		t.Log(g.said())
	}
}

// suffer does to the gateway what is to be done to it, at its times in the traffic.
func (g *gateway) suffer(t *testing.T, d database, c *clients) {
	t.Helper()
	at := func(percent int) { until(t.Context(), c.begin.Add(c.lasts*time.Duration(percent)/100)) }
	at(10)
	g.stop(t)
	g.start(t)
	at(20)
	g.kill(t)
	at(30)
	back := d.lose(t, g)
	lost := time.Now()
	until(t.Context(), lost.Add(*away/2))
	g.kill(t)
	until(t.Context(), lost.Add(*away))
	back()
}

// settle waits until what was killed is known to be no more.
func (g *gateway) settle(t *testing.T) {
	t.Helper()
	end := time.Now().Add(2 * silent)
	for strings.Contains(g.get(t, "/interceptions?status=open&limit=1"), `"id"`) && time.Now().Before(end) {
		until(t.Context(), time.Now().Add(time.Second))
	}
}

// read takes everything out of the record.
func (a *account) read(t *testing.T, s *store.Store) {
	t.Helper()
	defer s.Close()
	err := s.Export(t.Context(), store.Filter{}, func(w *store.Whole) error {
		w.Decisions, w.Thoughts = nil, nil // they may be large
		a.whole = append(a.whole, w)
		return nil
	})
	if err == nil {
		a.usage, err = s.Usage(t.Context(), store.Filter{}, dims, store.Altogether)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// lacks says what a run has shown nothing of, which then proves nothing.
func (f *figures) lacks(late int64) (what []string) {
	for _, kind := range []string{
		"chat blocking", "chat stream", "chat stream, metered", "chat stream, with usage", "responses blocking", "responses stream",
		"messages blocking", "messages stream",
	} {
		if f.compared[kind] == 0 {
			what = append(what, kind)
		}
	}
	m := f.metered
	for name, n := range map[string]int64{
		"answers that were cut": int64(f.cut), "answers that say at their start what they used": int64(f.begun), "round trips": int64(f.trips),
		"callers' own keys": int64(f.own),
		"refusals":          int64(f.refused), "rows that came late": late, "reading caches": m.CacheRead, "writing caches": m.CacheWrite, "reasoning": m.Reasoning,
		"requests that failed": int64(f.statuses[ledger.Failed]), "clients that went away": int64(f.statuses[ledger.Cancelled]),
	} {
		if n == 0 {
			what = append(what, name)
		}
	}
	return what
}

// table tells of a run.
func (f *figures) table(c *clients, late int64, took time.Duration) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	row := func(name, format string, args ...any) { fmt.Fprintf(w, name+"\t"+format+"\n", args...) }
	compared := 0
	for _, n := range f.compared {
		compared += n
	}
	row("requests", "%d in %.0f s", len(c.notes)-c.some[unreached], took.Seconds())
	row("as clients saw them", "%d whole, %d refused, %d broken off, %d cancelled; %d times nobody was there", c.some[whole], c.some[refused], c.some[broken], c.some[cancelled], c.some[unreached])
	row("in the record", "%d completed, %d failed, %d cancelled, %d lost, %d open", f.statuses[ledger.Completed], f.statuses[ledger.Failed],
		f.statuses[ledger.Cancelled], f.statuses[ledger.Lost], f.statuses[ledger.Open])
	row("answers compared", "%d whole, %d cut (%d with their beginning's usage), %d round trips, %d refusals", compared, f.cut, f.begun, f.trips, f.refused)
	row("taken by a kill", "%d, at most %.0f ms old", f.young, f.youth.Seconds()*1000)
	row("written late", "%d", late)
	row("tokens", "input\toutput\tcache read\tcache write\treasoning")
	row("the provider's meter", "%d\t%d\t%d\t%d\t%d", f.metered.Input, f.metered.Output, f.metered.CacheRead, f.metered.CacheWrite, f.metered.Reasoning)
	row("the record", "%d\t%d\t%d\t%d\t%d", f.recorded.Input, f.recorded.Output, f.recorded.CacheRead, f.recorded.CacheWrite, f.recorded.Reasoning)
	w.Flush()
	return "\n" + b.String()
}
