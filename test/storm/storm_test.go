package storm

import (
	"context"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/keypool"
	"keybridge/test/storm/world"
)

var (
	whole   = flag.Bool("whole", false, "run whole days and tell of them, as make storm does")
	seeds   = flag.Int("seeds", 20, "how many storms")
	first   = flag.Int("first", 0, "the seed of the first")
	doc     = flag.String("doc", "", "write the report here, with the plot beside it")
	only    = flag.String("only", "", "run only contestants whose name begins so")
	plotted = flag.String("plotted", "headroom", "whose first storm is drawn")
)

// contestant is one that is compared.
type contestant struct {
	name string
	kind kind
	make func(*run) (policy, error)
}

func contestants() []contestant {
	all := []contestant{
		{"ideal", ideal, func(*run) (policy, error) { return anybody{}, nil }},
		{"oracle", knowing, func(r *run) (policy, error) { return &oracle{r}, nil }},
	}
	for _, s := range []keypool.Strategy{keypool.Priority, keypool.RoundRobin, keypool.LeastBusy, keypool.Weighted, keypool.Headroom} {
		all = append(all, contestant{string(s), ours, func(r *run) (policy, error) { return newPooled(r, s) }})
	}
	return append(all,
		contestant{"random, no memory", theirs, func(r *run) (policy, error) { return newControl(r, 0, false), nil }},
		contestant{"fixed 5 s", theirs, func(r *run) (policy, error) { return newControl(r, 5*time.Second, false), nil }},
		contestant{"fixed 60 s, in order", theirs, func(r *run) (policy, error) { return newControl(r, time.Minute, true), nil }},
	)
}

// play runs one contestant through one storm.
func play(t *testing.T, s *world.Scenario, c contestant, record bool) *run {
	t.Helper()
	r := &run{scenario: s, record: record}
	synctest.Test(t, func(t *testing.T) {
		r.provider = world.NewProvider(s, time.Now())
		if c.kind == ideal {
			r.provider = world.NewIdeal(s, time.Now())
		}
		p, err := c.make(r)
		if err != nil {
			t.Fatal(err)
		}
		r.policy = p
		if x, ok := p.(*pooled); ok {
			ctx, cancel := context.WithCancel(t.Context())
			var probing sync.WaitGroup
			probing.Go(func() { keypool.RunProbes(ctx, func() []*keypool.Pool { return []*keypool.Pool{x.pool} }) })
			defer probing.Wait()
			defer cancel()
		}
		r.play()
	})
	return r
}

// storms runs all contestants through several storms.
func storms(t *testing.T, scenarios []*world.Scenario) (rows []row) {
	t.Helper()
	var chosen []contestant
	for _, c := range contestants() {
		if c.kind <= knowing || strings.HasPrefix(c.name, *only) {
			chosen = append(chosen, c)
			rows = append(rows, row{c.name, c.kind, make([]result, len(scenarios))})
		}
	}
	t.Run("storms", func(t *testing.T) {
		for n, s := range scenarios {
			for i, c := range chosen {
				t.Run(fmt.Sprintf("%d/%s", s.Seed, c.name), func(t *testing.T) {
					t.Parallel()
					rows[i].results[n] = play(t, s, c, false).result
				})
			}
		}
	})
	return rows
}

// TestStorm runs days of trouble; see docs/storm.md.
func TestStorm(t *testing.T) {
	if !*whole {
		t.Skip("whole days are for make storm")
	}
	var scenarios []*world.Scenario
	for n := range *seeds {
		scenarios = append(scenarios, world.New(uint64(*first+n), 0, 24*time.Hour))
	}
	rows := storms(t, scenarios)
	for _, b := range breaches(*first, rows) {
		t.Error(b)
	}
	if *doc == "" {
		t.Log(report(*first, rows))
		return
	}
	picture := strings.TrimSuffix(*doc, ".md") + ".svg"
	caption := fmt.Sprintf("Storm %d: one day of nine keys, strategy %s", *first, *plotted)
	write(t, *doc, page(*first, rows, filepath.Base(picture), caption))
	for _, c := range contestants() {
		if c.name == *plotted {
			write(t, picture, plot(play(t, scenarios[0], c, true), caption))
		}
	}
}

func write(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRepeats runs the same storms twice: not a byte may differ.
func TestRepeats(t *testing.T) {
	for _, seed := range []uint64{4, 5} {
		s := world.New(seed, 9*time.Hour, 25*time.Minute)
		for _, c := range contestants() {
			t.Run(fmt.Sprintf("%d/%s", seed, c.name), func(t *testing.T) {
				a, b := play(t, s, c, true), play(t, s, c, true)
				if diff := cmp.Diff(fmt.Sprintf("%+v", a.result), fmt.Sprintf("%+v", b.result)); diff != "" {
					t.Errorf("the same storm came out differently (-first +second):\n%s", diff)
				}
				if plot(a, "storm") != plot(b, "storm") {
					t.Error("the plots differ")
				}
			})
		}
	}
}

// TestBounds runs a busy hour of each provider and holds the pool to its bounds.
func TestBounds(t *testing.T) {
	if *whole {
		t.Skip("the whole days are tested instead")
	}
	scenarios := []*world.Scenario{world.New(6, 14*time.Hour, 2*time.Hour), world.New(5, 14*time.Hour, 2*time.Hour)}
	rows := storms(t, scenarios)
	for _, b := range breaches(0, rows) {
		t.Error(b)
	}
	if t.Failed() {
		t.Log(report(0, rows))
	}
}

// TestOracleKnowsNoPool keeps the oracle, and all that it is asked about, apart
// from what it is compared with.
func TestOracleKnowsNoPool(t *testing.T) {
	files, err := filepath.Glob("world/*.go")
	if err != nil || len(files) == 0 {
		t.Fatal("no files in world", err)
	}
	for _, name := range files {
		f, err := parser.ParseFile(token.NewFileSet(), name, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range f.Imports {
			if strings.Contains(i.Path.Value, "keybridge/") {
				t.Errorf("%s imports %s", name, i.Path.Value)
			}
		}
	}
}
