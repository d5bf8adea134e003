package record_test

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/record"

	"github.com/google/go-cmp/cmp"
)

// logbook keeps the lines of a log.
type logbook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logbook) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// told is how many lines hold all the words.
func (l *logbook) told(words ...string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for line := range strings.Lines(l.b.String()) {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			n++
		}
	}
	return n
}

func (l *logbook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// files are the names of what is in a folder, but for their changing parts.
func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, entry := range entries {
		name := entry.Name()
		if strings.HasPrefix(name, "record-spool-") && strings.HasSuffix(name, ".jsonl") {
			name = "spool"
		}
		names = append(names, name)
	}
	return names
}

func same[T any](t *testing.T, what string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestWhatIsRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s, Instance: "gw-1"})
		want := exchange("ours").Clone()
		want.Instance = "gw-1"
		passed, stranger := exchange("passed"), exchange("stranger")
		passed.Bridged, stranger.Admitted = false, false
		for _, e := range []*ledger.Exchange{passed, stranger, exchange("ours")} {
			r.Started(e)
			if f := r.Begin(e); f != nil {
				t.Error(f)
			}
			r.Attempted(e, &e.Attempts[0])
			r.Finished(e)
		}
		wait(time.Second)
		same(t, "rows", map[string]*ledger.Exchange{"ours": want}, s.all())
		closed(t, r)
	})
}

func TestStartRows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s})
		r.Begin(begun("short"))
		r.Begin(begun("long"))
		finish(r, "short")
		wait(300 * time.Millisecond)
		same(t, "long", ledger.Open, s.status("long"))
		same(t, "short", ledger.Completed, s.status("short"))
		same(t, "begun and ended rows", [][2]int{{1, 1}}, s.pieces())
		finish(r, "long")
		wait(300 * time.Millisecond)
		same(t, "long", ledger.Completed, s.status("long"))
		closed(t, r)
	})
}

// The exchange is the gateway's: what it does with it later does not show.
func TestCopies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s})
		e := exchange("a")
		r.Finished(e)
		e.Attempts[0].Key, e.Turns[0].ID = "overwritten", "overwritten"
		wait(time.Second)
		same(t, "key", "main", s.all()["a"].Attempts[0].Key)
		same(t, "turn", "chatcmpl-a", s.all()["a"].Turns[0].ID)
		closed(t, r)
	})
}

func TestManyAreWrittenEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s, Flush: time.Hour})
		finish(r, ids(0, 511)...)
		wait(time.Minute)
		same(t, "written of 511", 0, len(s.ended()))
		finish(r, ids(511, 512)...)
		synctest.Wait()
		same(t, "written of 512", 512, len(s.ended()))
		closed(t, r)
	})
}

func TestPieces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s})
		s.set(func(s *sink) { s.hang = make(chan struct{}) })
		finish(r, ids(0, 1300)...)
		s.set(func(s *sink) { close(s.hang); s.hang = nil })
		wait(time.Second)
		same(t, "order", ids(0, 1300), s.ended())
		for _, n := range s.pieces() {
			if n[1] > 512 {
				t.Errorf("%d exchanges at once", n[1])
			}
		}
		heavy := exchange("heavy-1")
		heavy.Prompt = strings.Repeat("x", 9<<20)
		r.Finished(heavy)
		heavy.ID = "heavy-2"
		r.Finished(heavy)
		before := len(s.pieces())
		wait(time.Second)
		same(t, "heavy ones", [][2]int{{0, 1}, {0, 1}}, s.pieces()[before:])
		closed(t, r)
	})
}

func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
		r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
		finish(r, ids(0, 10)...)
		wait(time.Second)
		s.set(func(s *sink) { s.fail = down })
		for i := range 60 {
			r.Begin(begun(ids(100+i, 101+i)[0]))
			finish(r, ids(10+i*10, 20+i*10)...)
			wait(time.Second)
		}
		if err := r.Health(); err == nil || err.Error() != errDown.Error() {
			t.Errorf("health: %v", err)
		}
		queued, spooled := r.Waiting()
		same(t, "waiting in memory and on the disk", [2]int{0, 600}, [2]int{queued, spooled})
		same(t, "files", []string{"spool"}, files(t, dir))
		// 0.2, 0.4, 0.8, 1.6, 3.2 s, then every 5 s.
		if n := seen.of(seen.failures)["other"]; n < 15 || n > 17 {
			t.Errorf("%d failures in a minute", n)
		}
		s.set(func(s *sink) { s.fail = nil })
		wait(6 * time.Second)
		same(t, "health", nil, r.Health())
		same(t, "order", ids(0, 610), s.ended())
		same(t, "files", nil, files(t, dir))
		same(t, "outcomes", map[string]int{record.Written: 10, record.Late: 600}, seen.of(seen.recorded))
		same(t, "told of the trouble", 1, log.told("level=WARN", "cannot be recorded", "connection refused", dir, "do="))
		same(t, "told of its end", 1, log.told("level=INFO", "recorded again", "late=600"))
		same(t, "lines", 2, log.told("\n"))
		finish(r, ids(610, 620)...)
		wait(time.Second)
		same(t, "written at once", 20, seen.of(seen.recorded)[record.Written])
		closed(t, r)
		same(t, "dropped", map[string]int{}, seen.of(seen.dropped))
	})
}

// A Sink that fails now and then in an outage is one trouble, not many.
func TestFlapping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, log := newSink(), new(logbook)
		calls := 0
		r := record.New(record.Options{Sink: s, Spool: t.TempDir(), Logger: log.logger()})
		wait(time.Second)
		s.set(func(s *sink) { s.fail = down })
		finish(r, ids(0, 3000)...)
		wait(time.Second)
		s.set(func(s *sink) {
			s.fail = func([]*ledger.Exchange, []*ledger.Exchange) error {
				if calls++; calls%2 == 0 {
					return errDown
				}
				return nil
			}
		})
		wait(time.Minute)
		same(t, "written", 3000, len(s.ended()))
		same(t, "lines", 2, log.told("\n"))
		closed(t, r)
	})
}

func TestFullQueue(t *testing.T) {
	for _, tt := range []struct {
		name    string
		o       record.Options
		takes   time.Duration
		waited  int
		dropped int
		told    []string
	}{
		{name: "block", o: record.Options{BlockFor: 2050 * time.Millisecond}, takes: 2050 * time.Millisecond, waited: 1, dropped: 1, told: []string{"lost=3"}},
		{name: "drop", o: record.Options{WhenFull: record.Drop}, dropped: 1, told: []string{"lost=3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s, seen, log := newSink(), newTally(), new(logbook)
				tt.o.Sink, tt.o.Observer, tt.o.MaxBytes, tt.o.Logger = s, seen, 100<<10, log.logger()
				s.fail = down
				r := record.New(tt.o)
				n := 0
				for seen.waits()+len(seen.of(seen.dropped)) == 0 {
					start := time.Now()
					finish(r, ids(n, n+1)...)
					n++
					if took := time.Since(start); took != 0 && took != tt.takes {
						t.Errorf("the end of an exchange was held up for %v", took)
					}
				}
				if n < 20 || n > 50 {
					t.Errorf("full after %d exchanges", n)
				}
				same(t, "waited", tt.waited, seen.waits())
				same(t, "dropped", map[string]int{record.Full: tt.dropped}, seen.of(seen.dropped))
				r.Begin(begun("late")) // never waits
				start := time.Now()
				finish(r, "lost-1", "lost-2")
				same(t, "waited for a store that has been away for longer", 0, time.Since(start))
				wait(2 * time.Minute)
				for _, lost := range tt.told {
					same(t, "told", 1, log.told("level=WARN", "not recorded", lost, "record.queue"))
				}
				same(t, "told", len(tt.told), log.told("not recorded"))
				same(t, "where it waits", 1, log.told("cannot be recorded", "in memory"))
				s.set(func(s *sink) { s.fail = nil })
				wait(10 * time.Second)
				same(t, "kept", ids(0, n-1), s.ended())
				finish(r, ids(n, n+1)...)
				wait(time.Second)
				same(t, "after it", n, len(s.ended()))
				same(t, "bytes that are taken", 0, r.Bytes())
				closed(t, r)
			})
		})
	}
}

// Who waits for room goes on as soon as there is some.
func TestRoomAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen := newSink(), newTally()
		s.fail = down
		r := record.New(record.Options{Sink: s, Observer: seen, MaxBytes: 64 << 10, BlockFor: time.Minute})
		var wg sync.WaitGroup
		wg.Go(func() { finish(r, ids(0, 60)...) })
		wait(11 * time.Second)
		s.set(func(s *sink) { s.fail = nil })
		wg.Wait()
		wait(time.Second)
		same(t, "written", 60, len(s.ended()))
		if seen.waits() == 0 || len(seen.of(seen.dropped)) > 0 {
			t.Errorf("%d waited, dropped %v", seen.waits(), seen.of(seen.dropped))
		}
		closed(t, r)
	})
}

// What is larger than the whole queue is recorded if it is alone.
func TestLargerThanTheQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen := newSink(), newTally()
		r := record.New(record.Options{Sink: s, Observer: seen, MaxBytes: 1000})
		for _, id := range ids(0, 3) {
			r.Begin(begun(id))
			finish(r, id)
		}
		wait(time.Second)
		same(t, "written", ids(0, 3), s.ended())
		same(t, "dropped", map[string]int{}, seen.of(seen.dropped))
		closed(t, r)
	})
}

// The end does not wait for those who wait for room.
func TestCloseWhileFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen := newSink(), newTally()
		s.fail = down
		r := record.New(record.Options{Sink: s, Observer: seen, MaxBytes: 8 << 10, BlockFor: time.Hour})
		var wg sync.WaitGroup
		for _, id := range ids(0, 10) {
			wg.Go(func() { finish(r, id) })
		}
		wait(time.Second)
		s.set(func(s *sink) { s.fail = nil })
		start := time.Now()
		closed(t, r)
		wg.Wait()
		if took := time.Since(start); took > 5*time.Second {
			t.Errorf("took %v", took)
		}
		written, stopped := len(s.ended()), seen.of(seen.dropped)[record.Stopped]
		if written == 0 || stopped == 0 || written+stopped != 10 {
			t.Errorf("%d written, %d dropped", written, stopped)
		}
	})
}

func TestStrict(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen := newSink(), newTally()
		s.fail = down
		o := record.Options{Sink: s, Observer: seen, Strict: true, WhenFull: record.Drop, MaxBytes: 64 << 10, Spool: t.TempDir()}
		r := record.New(o)
		refused := func(word string) {
			t.Helper()
			e := begun("x")
			f := r.Begin(e)
			if f == nil || f.Code != fault.Unrecorded || !strings.Contains(f.Public, word) || strings.Contains(f.Public, "db.example") {
				t.Fatalf("begin: %v", f)
			}
			e.Err, e.Status = f, ledger.Failed
			r.Finished(e)
		}
		serves := func() {
			t.Helper()
			if f := r.Begin(begun("y")); f != nil {
				t.Fatalf("begin: %v", f)
			}
		}
		refused("takes nothing") // it has not been asked yet
		wait(time.Second)
		refused("takes nothing")
		s.set(func(s *sink) { s.fail = nil })
		wait(time.Minute) // nobody had to ask for anything
		serves()
		s.set(func(s *sink) { s.fail = down })
		finish(r, "a")
		wait(time.Second)
		refused("takes nothing")
		same(t, "counted", map[string]int{record.Refused: 3}, seen.of(seen.recorded))
		s.set(func(s *sink) { s.fail = nil })
		wait(10 * time.Second)
		serves()
		finish(r, ids(0, 25)...)
		refused("too much waits")
		o.Strict = false
		r.Reload(o)
		serves()
		wait(time.Second)
		same(t, "the refused one", "", s.status("x"))
		closed(t, r)
	})
}

func TestHealth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		s.fail = down
		r := record.New(record.Options{Sink: s})
		if r.Health() == nil {
			t.Error("healthy before anything was tried")
		}
		wait(time.Minute)
		if r.Health() == nil {
			t.Error("healthy without a store")
		}
		s.set(func(s *sink) { s.fail = nil })
		wait(5 * time.Second)
		same(t, "health", nil, r.Health())
		calls := s.calls
		wait(time.Hour)
		same(t, "calls while there is nothing to do", calls, s.calls)
		closed(t, r)
	})
}

func TestReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s, Flush: time.Minute})
		finish(r, "a")
		wait(time.Minute)
		r.Reload(record.Options{Flush: 50 * time.Millisecond})
		finish(r, "b")
		wait(60 * time.Millisecond)
		same(t, "written", []string{"a", "b"}, s.ended())
		closed(t, r)
	})
}

// A Sink that hangs holds up neither the others nor the end, and what it was given is on
// the disk soon.
func TestHang(t *testing.T) {
	for _, deaf := range []bool{false, true} {
		t.Run(map[bool]string{false: "until its context ends", true: "for ever"}[deaf], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
				r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
				wait(time.Second)
				hang := make(chan struct{})
				s.set(func(s *sink) { s.hang, s.deaf = hang, deaf })
				finish(r, ids(0, 5)...)
				wait(201 * time.Millisecond) // given to the Sink
				wait(200 * time.Millisecond)
				_, spooled := r.Waiting()
				same(t, "on the disk", 5, spooled)
				finish(r, ids(5, 10)...)
				wait(10 * time.Second)
				_, spooled = r.Waiting()
				same(t, "on the disk", 10, spooled)
				if r.Health() == nil {
					t.Error("healthy")
				}
				same(t, "told", 1, log.told("cannot be recorded"))
				if seen.of(seen.failures)["timeout"] == 0 {
					t.Errorf("failures: %v", seen.of(seen.failures))
				}
				start := time.Now()
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				if err := r.Close(ctx); err != nil || time.Since(start) > 5*time.Second {
					t.Errorf("close: %v after %v", err, time.Since(start))
				}
				cancel()
				s.set(func(s *sink) { s.hang = nil })
				close(hang)
				r = record.New(record.Options{Sink: s, Spool: dir})
				wait(time.Second)
				got := s.ended()
				slices.Sort(got)
				same(t, "kept", ids(0, 10), got)
				same(t, "files", nil, files(t, dir))
				closed(t, r)
			})
		})
	}
}

// A Sink that is slow, not lost, is not given anything twice.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
		given := map[string]int{}
		s.fail = func(_, ended []*ledger.Exchange) error {
			for _, e := range ended {
				given[e.ID]++
			}
			return nil
		}
		s.slow = 900 * time.Millisecond
		r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
		for i := range 100 {
			finish(r, ids(i*10, i*10+10)...)
			time.Sleep(100 * time.Millisecond)
		}
		wait(5 * time.Second)
		same(t, "order", ids(0, 1000), s.ended())
		same(t, "counted", 1000, seen.of(seen.recorded)[record.Written]+seen.of(seen.recorded)[record.Late])
		for id, n := range given {
			if n != 1 {
				t.Errorf("%s was given %d times", id, n)
			}
		}
		same(t, "log", "", log.String())
		queued, spooled := r.Waiting()
		same(t, "waiting", [2]int{}, [2]int{queued, spooled})
		same(t, "files", nil, files(t, dir))
		closed(t, r)
	})
}

func TestCloseWritesAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newSink()
		r := record.New(record.Options{Sink: s, Flush: time.Hour})
		finish(r, ids(0, 100)...)
		r.Begin(begun("open"))
		closed(t, r)
		closed(t, r) // again
		same(t, "written", ids(0, 100), s.ended())
		same(t, "begun", ledger.Open, s.status("open"))
	})
}

func TestCloseWithoutStore(t *testing.T) {
	for _, spooled := range []bool{true, false} {
		t.Run(map[bool]string{true: "spool", false: "no spool"}[spooled], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
				o := record.Options{Sink: s, Observer: seen, Logger: log.logger()}
				if spooled {
					o.Spool = filepath.Join(dir, "made")
				}
				s.fail = down
				r := record.New(o)
				finish(r, ids(0, 100)...)
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				start := time.Now()
				err := r.Close(ctx)
				if spooled {
					if err != nil || time.Since(start) > 6*time.Second {
						t.Errorf("close: %v after %v", err, time.Since(start))
					}
					same(t, "files", []string{"spool"}, files(t, o.Spool))
					s.set(func(s *sink) { s.fail = nil })
					r = record.New(o)
					wait(time.Second)
					same(t, "written by the next process", ids(0, 100), s.ended())
					same(t, "files", nil, files(t, o.Spool))
					closed(t, r)
					return
				}
				if err == nil || !strings.Contains(err.Error(), "100 exchanges") {
					t.Errorf("close: %v", err)
				}
				same(t, "dropped", map[string]int{record.Stopped: 100}, seen.of(seen.dropped))
				same(t, "told", 1, log.told("level=ERROR", "lost=100"))
				finish(r, "late")
				same(t, "dropped", map[string]int{record.Stopped: 101}, seen.of(seen.dropped))
			})
		})
	}
}

// Whatever happens at once: each exchange is written once it has ended.
func TestConcurrent(t *testing.T) {
	s := newSink()
	calls := 0
	s.fail = func([]*ledger.Exchange, []*ledger.Exchange) error {
		if calls++; calls%5 == 0 {
			return refusal{}
		}
		return nil
	}
	o := record.Options{Sink: s, Spool: t.TempDir(), Flush: time.Millisecond, MaxBytes: 1 << 20, BlockFor: time.Minute}
	r := record.New(o)
	var serving, watching sync.WaitGroup
	for g := range 8 {
		serving.Go(func() {
			for _, id := range ids(g*300, g*300+300) {
				r.Begin(begun(id))
				finish(r, id)
			}
		})
	}
	over := make(chan struct{})
	watching.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-over:
				return
			default:
			}
			o.Flush = time.Duration(1+i%3) * time.Millisecond
			r.Reload(o)
			_ = r.Health()
			r.Waiting()
		}
	})
	serving.Wait()
	close(over)
	watching.Wait()
	closed(t, r)
	s.set(func(s *sink) { s.fail = nil })
	r = record.New(o) // takes over what the other has left in the spool
	for queued, spooled := r.Waiting(); queued+spooled > 0 || len(s.ended()) < 2400; queued, spooled = r.Waiting() {
		time.Sleep(time.Millisecond)
	}
	closed(t, r)
	got := s.ended()
	slices.Sort(got)
	same(t, "written", ids(0, 2400), got)
}
