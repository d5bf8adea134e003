package record_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/record"
)

// seeds is how many random courses of events are tried.
var seeds = flag.Uint64("seeds", 6, "random courses of events to try")

// weather makes a Sink behave in a way that is drawn anew every now and then.
type weather struct {
	r      *rand.Rand
	poison string // an exchange whose ID ends so is refused
}

func (w weather) change(s *sink) {
	kind := w.r.IntN(6)
	slow := time.Duration(w.r.IntN(800)) * time.Millisecond
	nth := 0
	s.set(func(s *sink) {
		if s.slow = 0; kind == 3 {
			s.slow = slow
		}
		if s.hang != nil {
			close(s.hang)
		}
		s.hang = nil
		if kind == 5 {
			s.hang = make(chan struct{})
		}
		s.fail = func(begun, ended []*ledger.Exchange) error {
			nth++
			switch {
			case kind == 1, kind == 2 && nth%3 > 0:
				return errDown
			case kind == 4 && nth%2 == 0: // the answer is lost, not what was written
				w.keep(s, begun, ended)
				return errors.New("connection reset")
			}
			return refuse(w.poisoned)(begun, ended)
		}
	})
}

func (w weather) poisoned(id string) bool { return strings.HasSuffix(id, w.poison) }

// keep does what a Sink's Write does after its failure was drawn.
func (w weather) keep(s *sink, begun, ended []*ledger.Exchange) {
	for _, e := range slices.Concat(begun, ended) {
		if w.poisoned(e.ID) {
			return
		}
	}
	s.take(begun, ended)
}

// Whatever the order of failures and restarts: every exchange reaches the Sink, or is set
// aside if it is refused, or, without a spool and at an end, is counted as lost.
func TestNothingIsLost(t *testing.T) {
	for seed := range *seeds {
		t.Run(strconv.FormatUint(seed, 10), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { nothingIsLost(t, rand.New(rand.NewPCG(seed, 6))) })
		})
	}
}

func nothingIsLost(t *testing.T, rnd *rand.Rand) {
	s, seen := newSink(), newTally()
	w := weather{r: rnd, poison: "13"}
	s.fail = refuse(w.poisoned)
	o := record.Options{Sink: s, Observer: seen, Spool: t.TempDir(), Flush: time.Duration(50+rnd.IntN(500)) * time.Millisecond}
	switch rnd.IntN(3) {
	case 0:
		o.MaxSpool = 200 << 10 // memory helps out
	case 1:
		o.MaxBytes = 300 << 10 // who ends waits for room
		o.BlockFor = time.Hour
	}
	r := record.New(o)
	var all []string
	begin := func() string {
		id := fmt.Sprintf("%s-%05d", time.Now().Format("150405.000"), len(all))
		all = append(all, id)
		r.Begin(begun(id))
		return id
	}
	var open []string
	for range 40 {
		for range rnd.IntN(60) {
			open = append(open, begin())
		}
		for len(open) > 0 && rnd.IntN(20) > 0 {
			i := rnd.IntN(len(open))
			finish(r, open[i])
			open = slices.Delete(open, i, i+1)
		}
		time.Sleep(time.Duration(rnd.IntN(1500)) * time.Millisecond)
		w.change(s)
		if rnd.IntN(12) == 0 && o.MaxSpool == 0 {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			if err := r.Close(ctx); err != nil {
				t.Error(err)
			}
			cancel()
			r = record.New(o)
		}
	}
	finish(r, open...)
	s.set(func(s *sink) {
		if s.hang != nil {
			close(s.hang)
		}
		s.hang, s.slow, s.fail = nil, 0, refuse(w.poisoned)
	})
	wait(5 * time.Minute)
	var want, aside []string
	for _, id := range all {
		if w.poisoned(id) {
			aside = append(aside, id)
		} else if got := s.status(id); got != ledger.Completed {
			want = append(want, fmt.Sprintf("%s is %q", id, got))
		}
	}
	same(t, "missing", nil, want)
	var kept []string
	if len(aside) > 0 {
		for _, line := range rejected(t, o.Spool) {
			if id, _, _ := strings.Cut(line, ":"); !strings.HasSuffix(id, " begun") {
				kept = append(kept, id)
			}
		}
	}
	slices.Sort(kept)
	slices.Sort(aside)
	same(t, "set aside", aside, slices.Compact(kept))
	counts := seen.of(seen.recorded)
	if got := counts[record.Written] + counts[record.Late] + counts[record.Rejected]; got < len(all) || got > len(all)+len(kept)-len(aside)+600 {
		t.Errorf("%d of %d are counted: %v", got, len(all), counts)
	}
	same(t, "dropped", map[string]int{}, seen.of(seen.dropped))
	queued, spooled := r.Waiting()
	same(t, "waiting", [2]int{}, [2]int{queued, spooled})
	same(t, "bytes that are taken", 0, r.Bytes())
	closed(t, r)
	same(t, "files", len(aside) > 0, len(files(t, o.Spool)) == 1)
}

// A crash leaves the spool cut off anywhere: all that is whole reaches the Sink, each
// once, and no part of what is not.
func TestSpoolCutAnywhere(t *testing.T) {
	var data []byte
	var name string
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		spooled(t, dir, ids(0, 20)...)
		paths, err := filepath.Glob(filepath.Join(dir, "*"))
		if err != nil || len(paths) != 1 {
			t.Fatal(paths, err)
		}
		name = filepath.Base(paths[0])
		if data, err = os.ReadFile(paths[0]); err != nil {
			t.Fatal(err)
		}
	})
	rnd := rand.New(rand.NewPCG(7, 7))
	for range 150 {
		cut := rnd.IntN(len(data) + 1)
		synctest.Test(t, func(t *testing.T) {
			dir, s := t.TempDir(), newSink()
			if err := os.WriteFile(filepath.Join(dir, name), data[:cut], 0o600); err != nil {
				t.Fatal(err)
			}
			var want []string
			for line := range bytes.Lines(data[:cut]) {
				if i := len(want); bytes.Contains(line, []byte(`"ended":{`)) && (bytes.HasSuffix(line, []byte("}}\n")) || bytes.HasSuffix(line, []byte("}}"))) &&
					len(line) >= len(bytes.TrimSuffix(lineOf(data, 2*i+1), []byte("\n"))) {
					want = append(want, ids(i, i+1)[0])
				}
			}
			r := record.New(record.Options{Sink: s, Spool: dir})
			wait(time.Second)
			same(t, fmt.Sprintf("cut at %d of %d", cut, len(data)), want, s.ended())
			same(t, "files", nil, files(t, dir))
			closed(t, r)
		})
	}
}

func lineOf(data []byte, n int) []byte {
	for line := range bytes.Lines(data) {
		if n == 0 {
			return line
		}
		n--
	}
	return nil
}
