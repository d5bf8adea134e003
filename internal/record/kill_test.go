package record_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/record"
	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

const childFolder = "RECORD_CHILD_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		serveUntilKilled(dir)
	}
	os.Exit(m.Run())
}

// name is an ID as the gateway makes them; a store takes no other.
func name(i int) string { return fmt.Sprintf("req_kb%012x%012x", 1_790_000_000_000+i, i) }

// The exchanges that do not end.
const neverEnded, ofTheNext = 1_000_000, 1_000_001

// certain is how many exchanges the child has on the disk when it says so.
const certain = 300

// serveUntilKilled is a process that cannot reach its store.
func serveUntilKilled(dir string) {
	s := newSink()
	s.fail = down
	r := record.New(record.Options{Sink: s, Spool: dir, Flush: 10 * time.Millisecond, Instance: "killed"})
	r.Begin(begun(name(neverEnded)))
	for i := range certain {
		r.Begin(begun(name(i)))
		finish(r, name(i))
	}
	for queued, spooled := r.Waiting(); queued > 0 || spooled < certain; queued, spooled = r.Waiting() {
		time.Sleep(time.Millisecond)
	}
	fmt.Println("ready")
	for i := certain; ; i++ {
		finish(r, name(i))
		if i%100 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// What a killed process had spooled is in the store soon after the next one has started,
// whatever it was doing; what it had not finished is lost, and nothing is there by half.
func TestKill(t *testing.T) {
	for range 3 {
		dir := t.TempDir()
		child := exec.CommandContext(t.Context(), os.Args[0])
		child.Env = append(os.Environ(), childFolder+"="+dir)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := child.Start(); err != nil {
			t.Fatal(err)
		}
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "ready\n" {
			t.Fatal(line, err)
		}
		time.Sleep(time.Duration(rand.IntN(50)) * time.Millisecond)
		if err := child.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = child.Wait() // it was killed
		recovers(t, dir)
	}
}

func recovers(t *testing.T, dir string) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	db, err := sqlite.Open(ctx, filepath.Join(dir, "record.db"), sqlite.Options{Options: store.Options{Instance: "next"}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	seen := newTally()
	r := record.New(record.Options{Sink: db, Spool: dir, Observer: seen, Instance: "next"})
	r.Begin(begun(name(ofTheNext)))
	for len(spoolFiles(t, dir)) > 0 && ctx.Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := r.Close(ctx); err != nil {
		t.Error(err)
	}
	if _, err := db.Beat(ctx); err != nil {
		t.Error(err)
	}
	status := map[string]ledger.Status{}
	for cursor := ""; ; {
		page, next, err := db.Interceptions(ctx, store.Filter{}, store.Page{Limit: 100, Cursor: cursor})
		if err != nil {
			t.Fatal(err)
		}
		for i := range page {
			status[page[i].ID] = page[i].Status
			if page[i].Status == ledger.Completed && (page[i].AttemptCount != 1 || page[i].Usage.Output != 20) {
				t.Errorf("%s is there by half: %+v", page[i].ID, page[i])
			}
		}
		if cursor = next; cursor == "" {
			break
		}
	}
	for i := range certain {
		if id := name(i); status[id] != ledger.Completed {
			t.Errorf("%s is %q", id, status[id])
		}
	}
	same(t, "what the killed process had not finished", ledger.Lost, status[name(neverEnded)])
	same(t, "what this process has not finished", ledger.Open, status[name(ofTheNext)])
	if n := seen.of(seen.dropped)[record.Damaged]; n > 1 {
		t.Errorf("%d lines are damaged", n)
	}
	t.Logf("%d exchanges, %d damaged", len(status), seen.of(seen.dropped)[record.Damaged])
}

func spoolFiles(t *testing.T, dir string) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(dir, "record-spool-*"))
	if err != nil {
		t.Fatal(err)
	}
	return paths
}
