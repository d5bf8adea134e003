package record_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/record"
)

// refusal is a store's error about an exchange's content.
type refusal struct{ rejected bool }

func (refusal) Error() string    { return "value too long" }
func (r refusal) Word() string   { return "content" }
func (r refusal) Rejected() bool { return r.rejected }

// refuse makes a Sink refuse whatever has an ended exchange that is bad.
func refuse(bad func(id string) bool) func(begun, ended []*ledger.Exchange) error {
	return func(begun, ended []*ledger.Exchange) error {
		if slices.ContainsFunc(slices.Concat(begun, ended), func(e *ledger.Exchange) bool { return bad(e.ID) }) {
			return fmt.Errorf("write: %w", refusal{true})
		}
		return nil
	}
}

// rejectedName is of today's file of what was set aside.
func rejectedName() string {
	return "record-rejected-" + time.Now().UTC().Format(time.DateOnly) + ".jsonl"
}

// rejected reads the file of what was set aside.
func rejected(t *testing.T, dir string) []string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(dir, rejectedName()))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range bytes.Lines(data) {
		var row struct {
			At           time.Time
			Error        string
			Begun, Ended *ledger.Exchange
		}
		if err := json.Unmarshal(line, &row); err != nil {
			t.Fatalf("%v in %s", err, line)
		}
		if row.At.IsZero() || row.Error == "" || (row.Begun == nil) == (row.Ended == nil) {
			t.Errorf("a line is incomplete: %s", line)
		}
		if row.Ended != nil {
			out = append(out, row.Ended.ID+": "+row.Error)
		} else {
			out = append(out, row.Begun.ID+" begun: "+row.Error)
		}
	}
	return out
}

func TestRejected(t *testing.T) {
	for _, after := range []bool{false, true} {
		t.Run(map[bool]string{false: "at once", true: "after an outage"}[after], func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
				bad := refuse(func(id string) bool {
					return id == "req_00000" || id == "req_00300" || id == "req_00301" || id == "req_00999"
				})
				s.fail = bad
				if after {
					s.fail = down
				}
				r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
				finish(r, ids(0, 1000)...)
				wait(time.Second)
				s.set(func(s *sink) { s.fail = bad })
				wait(10 * time.Second)
				want := slices.DeleteFunc(ids(0, 1000), func(id string) bool { return bad(nil, []*ledger.Exchange{{ID: id}}) != nil })
				same(t, "the others", want, s.ended())
				same(t, "set aside", []string{
					"req_00000: write: value too long", "req_00300: write: value too long", "req_00301: write: value too long", "req_00999: write: value too long",
				}, rejected(t, dir))
				same(t, "counted", 4, seen.of(seen.recorded)[record.Rejected])
				same(t, "health", nil, r.Health())
				if log.told("level=ERROR", "set aside", "req_00000", "value too long", rejectedName()) != 1 {
					t.Errorf("log:\n%s", log)
				}
				same(t, "files", []string{rejectedName()}, files(t, dir))
				queued, spooled := r.Waiting()
				same(t, "waiting", [2]int{}, [2]int{queued, spooled})
				closed(t, r)
			})
		})
	}
}

// What looks like the fault of each exchange is the store's: they are not all set aside
// in a moment.
func TestAllRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
		s.fail = refuse(func(string) bool { return true })
		r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
		finish(r, ids(0, 1000)...)
		wait(time.Minute)
		if n := seen.of(seen.recorded)[record.Rejected]; n < 10 || n > 30 {
			t.Errorf("%d set aside in a minute", n)
		}
		if r.Health() == nil {
			t.Error("healthy")
		}
		n := seen.of(seen.recorded)[record.Rejected]
		s.set(func(s *sink) { s.fail = nil })
		wait(10 * time.Second)
		if got := len(s.ended()); got < 1000-n-2 || r.Health() != nil {
			t.Errorf("%d were set aside before, %d written, health %v", n, got, r.Health())
		}
		closed(t, r)
	})
}

func TestRejectedWithoutFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen, log := newSink(), newTally(), new(logbook)
		s.fail = refuse(func(id string) bool { return id == "b" || id == "c" })
		r := record.New(record.Options{Sink: s, Observer: seen, Logger: log.logger()})
		r.Begin(begun("b"))
		wait(time.Second)
		finish(r, "a", "c", "d")
		wait(time.Second)
		same(t, "the others", []string{"a", "d"}, s.ended())
		same(t, "counted", 1, seen.of(seen.recorded)[record.Rejected]) // b has not ended
		same(t, "told", 1, log.told("level=ERROR", "id=b", "lost="))
		closed(t, r)
	})
}

// A panic of the Sink is taken for the fault of what it was given.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, seen := t.TempDir(), newSink(), newTally()
		s.fail = func(_, ended []*ledger.Exchange) error {
			if slices.ContainsFunc(ended, func(e *ledger.Exchange) bool { return e.ID == "req_00077" }) {
				panic("index out of range")
			}
			return nil
		}
		r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen})
		finish(r, ids(0, 100)...)
		wait(time.Second)
		same(t, "written", 99, len(s.ended()))
		same(t, "set aside", []string{"req_00077: panic: index out of range"}, rejected(t, dir))
		if seen.of(seen.failures)["panic"] == 0 {
			t.Error("not counted")
		}
		closed(t, r)
	})
}

// An error that only says it is none about the content is the store's state.
func TestStateIsNotContent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, seen := newSink(), newTally()
		s.fail = func([]*ledger.Exchange, []*ledger.Exchange) error { return refusal{} }
		r := record.New(record.Options{Sink: s, Spool: t.TempDir(), Observer: seen})
		finish(r, ids(0, 10)...)
		wait(time.Minute)
		same(t, "recorded", map[string]int{}, seen.of(seen.recorded))
		if seen.of(seen.failures)["content"] < 10 {
			t.Errorf("failures: %v", seen.of(seen.failures))
		}
		s.set(func(s *sink) { s.fail = nil })
		wait(6 * time.Second)
		same(t, "written", ids(0, 10), s.ended())
		closed(t, r)
	})
}

func TestSpoolIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
		s.fail = down
		r := record.New(record.Options{Sink: s, Spool: dir, MaxSpool: 400 << 10, Observer: seen, Logger: log.logger()})
		for i := range 100 {
			finish(r, ids(i*10, i*10+10)...)
			wait(time.Second)
		}
		size := int64(0)
		entries, _ := os.ReadDir(dir)
		for _, entry := range entries {
			info, err := entry.Info()
			if err != nil {
				t.Fatal(err)
			}
			size += info.Size()
		}
		queued, spooled := r.Waiting()
		if size > 400<<10 || size < 300<<10 || queued+spooled != 1000 || queued == 0 || spooled == 0 {
			t.Errorf("%d bytes on the disk, %d exchanges in memory, %d in the spool", size, queued, spooled)
		}
		same(t, "told", 1, log.told("level=WARN", "on the disk", "as much as it may", "record.spool"))
		s.set(func(s *sink) { s.fail = nil })
		wait(10 * time.Second)
		same(t, "order", ids(0, 1000), s.ended())
		same(t, "dropped", map[string]int{}, seen.of(seen.dropped))
		same(t, "files", nil, files(t, dir))
		closed(t, r)
	})
}

// Without a spool of its own, a process still deals with what an earlier one has left.
func TestSpoolIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, log := t.TempDir(), newSink(), new(logbook)
		spooled(t, dir, ids(0, 10)...)
		s.slow = time.Second
		r := record.New(record.Options{Sink: s, Spool: dir, MaxSpool: -1, Logger: log.logger()})
		finish(r, ids(10, 20)...)
		wait(10 * time.Second)
		same(t, "order", ids(0, 20), s.ended())
		same(t, "log", "", log.String())
		s.set(func(s *sink) { s.fail = down })
		finish(r, ids(20, 30)...)
		wait(time.Minute)
		queued, spooled := r.Waiting()
		same(t, "in memory, on the disk", [2]int{10, 0}, [2]int{queued, spooled})
		same(t, "told", 1, log.told("cannot be recorded", "in memory"))
		same(t, "files", nil, files(t, dir))
		s.set(func(s *sink) { s.fail = nil })
		closed(t, r)
		same(t, "order", ids(0, 30), s.ended())
	})
}

// A folder that cannot be used leaves memory, and is used once it can be.
func TestSpoolFolderInTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, seen, log := filepath.Join(t.TempDir(), "folder"), newSink(), newTally(), new(logbook)
		if err := os.WriteFile(dir, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		s.fail = down
		r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
		finish(r, ids(0, 100)...)
		wait(time.Minute)
		queued, spooled := r.Waiting()
		same(t, "in memory, on the disk", [2]int{100, 0}, [2]int{queued, spooled})
		same(t, "told", 1, log.told("level=WARN", "on the disk", "not a directory"))
		if err := os.Remove(dir); err != nil {
			t.Fatal(err)
		}
		finish(r, ids(100, 110)...)
		wait(time.Second)
		queued, spooled = r.Waiting()
		same(t, "in memory, on the disk", [2]int{0, 110}, [2]int{queued, spooled})
		same(t, "told", 1, log.told("level=INFO", "on the disk again"))
		s.set(func(s *sink) { s.fail = nil })
		wait(6 * time.Second)
		same(t, "order", ids(0, 110), s.ended())
		closed(t, r)
	})
}

// No file grows without bound while the store keeps pace and the spool never empties.
func TestSpoolRotates(t *testing.T) {
	if testing.Short() {
		t.Skip("writes 80 MB")
	}
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), newSink()
		s.fail = down
		r := record.New(record.Options{Sink: s, Spool: dir})
		e := exchange("x")
		e.Prompt = strings.Repeat("p", 1<<20)
		add := func(n int) {
			for i := range n {
				e.ID = fmt.Sprintf("%s-%d", time.Now().Format("150405.000"), i)
				r.Finished(e)
			}
			wait(time.Second)
		}
		for range 5 {
			add(8)
		}
		if n := len(files(t, dir)); n < 2 || n > 4 {
			t.Errorf("%d files for 40 MB", n)
		}
		s.set(func(s *sink) { s.fail, s.slow = nil, 900*time.Millisecond })
		for range 5 {
			add(8)
			if n := len(files(t, dir)); n == 0 || n > 4 {
				t.Errorf("%d files", n)
			}
		}
		wait(time.Minute)
		same(t, "written", 80, len(s.ended()))
		same(t, "files", nil, files(t, dir))
		closed(t, r)
	})
}

// Two gateways may have the same folder. What one leaves behind is the other's soon.
func TestSharedFolder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		s, other := newSink(), newSink()
		other.fail = down
		r := record.New(record.Options{Sink: s, Spool: dir})
		dying := record.New(record.Options{Sink: other, Spool: dir, Instance: "dying"})
		finish(dying, ids(0, 10)...)
		wait(5 * time.Minute)
		same(t, "taken from a living one", 0, len(s.ended()))
		same(t, "files", []string{"spool"}, files(t, dir))
		closed(t, dying)
		wait(time.Minute + time.Second)
		same(t, "taken over", ids(0, 10), s.ended())
		same(t, "who served", "dying", s.all()["req_00000"].Instance)
		same(t, "files", nil, files(t, dir))
		closed(t, r)
	})
}

// spooled makes the files of an outage.
func spooled(t *testing.T, dir string, names ...string) {
	t.Helper()
	s := newSink()
	s.fail = down
	r := record.New(record.Options{Sink: s, Spool: dir})
	wait(time.Second)
	for _, id := range names {
		r.Begin(begun(id))
		wait(time.Second)
		finish(r, id)
	}
	closed(t, r)
}

func TestDamagedSpool(t *testing.T) {
	tests := []struct {
		name   string
		damage func(lines [][]byte) []byte
		left   []int // of exchanges 0 to 4, each a line that begins and one that ends
		lost   int
	}{
		{"whole", func(l [][]byte) []byte { return bytes.Join(l, nil) }, []int{0, 1, 2, 3, 4}, 0},
		{"torn end", func(l [][]byte) []byte { return bytes.Join(l, nil)[:len(bytes.Join(l, nil))-20] }, []int{0, 1, 2, 3}, 1},
		{"no last newline", func(l [][]byte) []byte { return bytes.TrimSuffix(bytes.Join(l, nil), []byte("\n")) }, []int{0, 1, 2, 3, 4}, 0},
		{"zeros at the end", func(l [][]byte) []byte { return append(bytes.Join(l, nil), make([]byte, 100_000)...) }, []int{0, 1, 2, 3, 4}, 1},
		{"a changed byte", func(l [][]byte) []byte {
			l[5][200] ^= 1
			return bytes.Join(l, nil)
		}, []int{0, 1, 3, 4}, 1},
		{"a changed sum", func(l [][]byte) []byte {
			l[5] = bytes.Replace(l[5], l[5][8:16], []byte("zzzzzzzz"), 1)
			return bytes.Join(l, nil)
		}, []int{0, 1, 3, 4}, 1},
		{"another format", func(l [][]byte) []byte {
			return append([]byte("hello\n{}\n\n"), bytes.Join(l, nil)...)
		}, []int{0, 1, 2, 3, 4}, 3},
		{"nothing whole", func([][]byte) []byte { return []byte(`{"sum":"`) }, nil, 1},
		{"empty", func([][]byte) []byte { return nil }, nil, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				dir, s, seen, log := t.TempDir(), newSink(), newTally(), new(logbook)
				spooled(t, dir, ids(0, 5)...)
				paths, err := filepath.Glob(filepath.Join(dir, "*"))
				if err != nil || len(paths) != 1 {
					t.Fatal(paths, err)
				}
				data, err := os.ReadFile(paths[0])
				if err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(paths[0], tt.damage(slices.Collect(bytes.Lines(data))), 0o600); err != nil {
					t.Fatal(err)
				}
				r := record.New(record.Options{Sink: s, Spool: dir, Observer: seen, Logger: log.logger()})
				wait(time.Second)
				var want []string
				for _, i := range tt.left {
					want = append(want, ids(i, i+1)[0])
				}
				same(t, "written", want, s.ended())
				same(t, "dropped", tt.lost, seen.of(seen.dropped)[record.Damaged])
				same(t, "told", min(tt.lost, 1), log.told("damaged", paths[0]))
				same(t, "files", nil, files(t, dir))
				_, left := r.Waiting()
				same(t, "waiting", 0, left)
				closed(t, r)
			})
		})
	}
}

// Every line of the spool is JSON that other tools read too.
func TestSpoolIsJSON(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		spooled(t, dir, "a")
		paths, _ := filepath.Glob(filepath.Join(dir, "*"))
		data, err := os.ReadFile(paths[0])
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range bytes.Lines(data) {
			var row struct {
				Sum          string
				Begun, Ended *ledger.Exchange
			}
			if err = json.Unmarshal(line, &row); err != nil {
				t.Fatal(err)
			}
			if row.Begun != nil {
				got = append(got, row.Begun.ID+" "+string(row.Begun.Status))
			} else {
				got = append(got, row.Ended.ID+" "+string(row.Ended.Status))
			}
		}
		same(t, "lines", []string{"a open", "a completed"}, got)
		info, err := os.Stat(paths[0])
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	})
}

// A file that cannot be read does not keep the others back.
func TestUnreadableSpool(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s, log := t.TempDir(), newSink(), new(logbook)
		spooled(t, dir, "a")
		if err := os.Mkdir(filepath.Join(dir, "record-spool-0-folder.jsonl"), 0o700); err != nil {
			t.Fatal(err)
		}
		r := record.New(record.Options{Sink: s, Spool: dir, Logger: log.logger()})
		wait(10 * time.Minute)
		same(t, "written", []string{"a"}, s.ended())
		same(t, "told", 1, log.told("cannot be read", "folder"))
		closed(t, r)
	})
}

// The writer does not outlive a context that has ended before.
func TestCloseAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), newSink()
		s.fail = down
		r := record.New(record.Options{Sink: s, Spool: dir})
		finish(r, ids(0, 10)...)
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := r.Close(ctx); err != nil {
			t.Error(err)
		}
		same(t, "files", []string{"spool"}, files(t, dir))
	})
}

// TestPruneRejected removes what was set aside, day by day, and what could not be read.
func TestPruneRejected(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir, s := t.TempDir(), newSink()
		s.fail = refuse(func(string) bool { return true })
		r := record.New(record.Options{Sink: s, Spool: dir})
		defer r.Close(t.Context())
		var days []string
		for day := range 3 {
			finish(r, ids(day, day+1)...)
			wait(time.Minute)
			days = append(days, rejectedName())
			time.Sleep(24 * time.Hour)
		}
		same(t, "files", days, files(t, dir))
		const unreadable = "record-spool-0-0-0.jsonl.unreadable"
		if err := os.WriteFile(filepath.Join(dir, unreadable), nil, 0o600); err != nil {
			t.Fatal(err)
		}
		first := time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) // when a bubble begins
		met := first.Add(60 * time.Hour)
		if err := os.Chtimes(filepath.Join(dir, unreadable), met, met); err != nil {
			t.Fatal(err)
		}
		for _, tt := range []struct {
			until time.Duration
			left  []string
		}{
			{24*time.Hour - 1, []string{days[0], days[1], days[2], unreadable}},
			{24 * time.Hour, []string{days[1], days[2], unreadable}},
			{60*time.Hour + 1, []string{days[2]}},
			{72 * time.Hour, nil},
		} {
			if err := r.Prune(first.Add(tt.until)); err != nil {
				t.Fatal(err)
			}
			same(t, "left until "+tt.until.String(), tt.left, files(t, dir))
		}
	})
}
