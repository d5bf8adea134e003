package sqlite_test

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

func id(at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	binary.BigEndian.PutUint64(b[6:14], rand.Uint64())
	return "req_kb" + hex.EncodeToString(b[:12])
}

// exchange is what most are: one attempt, one turn.
func exchange(at time.Time) *ledger.Exchange {
	usage := llm.Usage{Input: 1000 + rand.Int64N(9000), Output: 100 + rand.Int64N(900), CacheRead: rand.Int64N(50_000)}
	message := "chatcmpl-" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64()))
	return &ledger.Exchange{
		ID: id(at), Start: at, Principal: ledger.Principal{Name: "ci", Metadata: `{"team":"search"}`, Credential: ledger.Pooled},
		Provider: "openai", Route: "/openai/v1/chat/completions", Method: "POST", Bridged: true, Model: "gpt-5", Admitted: true,
		Client: "openai-python", Version: "2.1.0",
		Attempts:   []ledger.Attempt{{Key: "first", Hint: "sk-…abcd", Sent: at.Add(300 * time.Microsecond), Duration: 800 * time.Microsecond, Status: 200, Action: "relay", Waited: 20 * time.Microsecond}},
		Turns:      []llm.Turn{{ID: message, Model: "gpt-5-2025-08-07", Stop: "stop", Tier: "default", Usage: usage, Reported: true, Complete: true}},
		Charges:    []ledger.Charge{{Model: "gpt-5", Usage: usage, Picos: 1_250_000*usage.Input + 10_000_000*usage.Output, Version: "2026-11-20"}},
		FirstEvent: at.Add(time.Millisecond), End: at.Add(2 * time.Millisecond), HTTPStatus: 200, Status: ledger.Completed,
	}
}

func open(t *testing.T, path string) (*store.Store, error) {
	t.Helper()
	s, err := sqlite.Open(t.Context(), path, sqlite.Options{Options: store.Options{Instance: "a"}, Logger: slog.New(slog.DiscardHandler)})
	if err == nil {
		t.Cleanup(func() { s.Close() })
	}
	return s, err
}

func mustOpen(t *testing.T, path string) *store.Store {
	t.Helper()
	s, err := open(t, path)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func some(n int) []*ledger.Exchange {
	list := make([]*ledger.Exchange, n)
	for i := range list {
		list[i] = exchange(time.Now())
	}
	return list
}

func mustWrite(t *testing.T, s *store.Store, n int) {
	t.Helper()
	if err := s.Write(t.Context(), nil, some(n)); err != nil {
		t.Fatal(err)
	}
}

func expectCount(t *testing.T, s *store.Store, want int64) {
	t.Helper()
	if n, err := s.Count(t.Context(), store.Filter{}); n != want || err != nil {
		t.Errorf("%d interceptions, %v, want %d", n, err, want)
	}
}

// expectWhole reads interceptions with the names of all that is in them, and the usage.
func expectWhole(t *testing.T, s *store.Store, want int64) {
	t.Helper()
	page, _, err := s.Interceptions(t.Context(), store.Filter{}, store.Page{})
	if err != nil || int64(len(page)) != want {
		t.Fatalf("%d interceptions, %v, want %d", len(page), err, want)
	}
	one, err := s.Interception(t.Context(), page[0].ID)
	if err != nil || len(one.Attempts) != 1 || len(one.Turns) != 1 || one.Attempts[0].Key != "first" || one.Turns[0].Stop != "stop" {
		t.Errorf("%+v, %v", one, err)
	}
	used, err := s.Usage(t.Context(), store.Filter{}, nil, store.Altogether)
	if err != nil || len(used) != 1 || used[0].Requests != want {
		t.Errorf("the hours say %+v, %v, want %d", used, err, want)
	}
}

// expectError holds an error against its kind and what an operator is to read.
func expectError(t *testing.T, err error, kind store.Kind, place, words string) {
	t.Helper()
	if store.KindOf(err) != kind {
		t.Fatalf("%v is of kind %q, want %q", err, store.KindOf(err), kind)
	}
	if text := err.Error(); !strings.HasPrefix(text, place+": ") || !strings.Contains(text, words) {
		t.Errorf("%q does not say %q of %s", text, words, place)
	} else if strings.Contains(text, "\n") {
		t.Errorf("%q takes several lines", text)
	}
}

func statement(t *testing.T, path, text string) {
	t.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(t.Context(), text); err != nil {
		t.Fatal(err)
	}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	out := make([]string, len(list))
	for i := range list {
		out[i] = list[i].Name()
	}
	return out
}

func TestOnlyTheOwnerMayReadIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "made", "here")
	s := mustOpen(t, filepath.Join(dir, "record.db"))
	mustWrite(t, s, 1)
	for _, name := range names(t, dir) {
		if about, err := os.Stat(filepath.Join(dir, name)); err != nil || about.Mode().Perm() != 0o600 {
			t.Errorf("%s: %v, %v", name, about.Mode(), err)
		}
	}
	if len(names(t, dir)) != 4 {
		t.Errorf("files %q", names(t, dir))
	}
	if about, err := os.Stat(dir); err != nil || about.Mode().Perm() != 0o700 {
		t.Errorf("the folder: %v, %v", about.Mode(), err)
	}
}

func TestOneGatewayAtATime(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	first := mustOpen(t, path)
	_, err := open(t, path)
	expectError(t, err, store.Locked, path, "another gateway has the file: give each gateway a file of its own")
	mustWrite(t, first, 3)
	first.Close()
	expectCount(t, mustOpen(t, path), 3)
}

// TestBegunElsewhere writes from the spool of a process that was killed: it will not end
// what it has begun.
func TestBegunElsewhere(t *testing.T) {
	s := mustOpen(t, filepath.Join(t.TempDir(), "record.db"))
	begun := some(3)
	begun[0].Instance, begun[1].Instance = "another", "a"
	if err := s.Write(t.Context(), begun, nil); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int64{1, 0} {
		if lost, err := s.Beat(t.Context()); lost != want || err != nil {
			t.Errorf("%d are lost, %v, want %d", lost, err, want)
		}
	}
	if err := s.Write(t.Context(), nil, begun[:1]); err != nil { // its end was in the spool too
		t.Fatal(err)
	}
	if n, err := s.Count(t.Context(), store.Filter{Status: ledger.Open}); n != 2 || err != nil {
		t.Errorf("%d are open, %v", n, err)
	}
	if n, err := s.Count(t.Context(), store.Filter{Status: ledger.Lost}); n != 0 || err != nil {
		t.Errorf("%d are lost, %v", n, err)
	}
}

func TestStrangeNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "a b?mode=memory&x=%41#ü.db")
	s := mustOpen(t, path)
	mustWrite(t, s, 3)
	s.Close()
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	expectCount(t, mustOpen(t, path), 3)
}

func TestNewerTablesAreLeftAlone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	s := mustOpen(t, path)
	mustWrite(t, s, 3)
	s.Close()
	statement(t, path, "INSERT INTO migrations (version_id, is_applied) VALUES (99, 1)")
	_, err := open(t, path)
	expectError(t, err, store.Newer, path, "the tables are of version 99, and this Keybridge knows versions up to 3: run the newer Keybridge")
	statement(t, path, "DELETE FROM migrations WHERE version_id = 99")
	expectCount(t, mustOpen(t, path), 3)
}

// TestForeignFile names a file that was never a database: it is left alone, also at the next
// try, and the record is kept there once it is gone.
func TestForeignFile(t *testing.T) {
	for _, text := range []string{"n", "notes of mine, longer than the beginning of a database"} {
		dir := t.TempDir()
		path := filepath.Join(dir, "notes.txt")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			_, err := sqlite.Open(t.Context(), path, sqlite.Options{})
			if told, ok := errors.AsType[*store.Error](err); !ok || told.Kind != store.Corrupt || !strings.Contains(told.Error(), "is no SQLite database, and left alone") {
				t.Fatalf("opened with %v", err)
			}
		}
		if got := names(t, dir); len(got) != 1 {
			t.Errorf("files %q", got)
		}
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		s := mustOpen(t, path)
		mustWrite(t, s, 3)
		expectCount(t, s, 3)
		s.Close()
	}
}

// TestDamageIsSetAside opens files that are of no use: they are kept, and a new one begun.
func TestDamageIsSetAside(t *testing.T) {
	for name, damage := range map[string]func(whole []byte) []byte{
		"no database": func([]byte) []byte { return bytes.Repeat([]byte("not a database\n"), 1000) },
		"cut":         func(whole []byte) []byte { return whole[:len(whole)/2] },
		"a page":      func(whole []byte) []byte { copy(whole[4096*10:], bytes.Repeat([]byte{0xa5}, 4096*4)); return whole },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			path := filepath.Join(dir, "record.db")
			s := mustOpen(t, path)
			mustWrite(t, s, 500)
			s.Close()
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			damaged := damage(whole)
			if err = os.WriteFile(path, damaged, 0o600); err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			s, err = sqlite.Open(t.Context(), path, sqlite.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			mustWrite(t, s, 3)
			expectCount(t, s, 3)
			aside, _ := filepath.Glob(path + ".corrupt-*Z")
			if len(aside) != 1 {
				t.Fatalf("files %q", names(t, dir))
			}
			if kept, err := os.ReadFile(aside[0]); err != nil || !bytes.Equal(kept, damaged) {
				t.Errorf("what was set aside is not what was there: %v", err)
			}
			for _, more := range []string{"-wal", "-shm"} {
				if err := os.WriteFile(aside[0]+more, nil, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			mine := path + ".corrupt-by-hand"
			if err := os.WriteFile(mine, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.MkdirAll(path+".corrupt-20200101T000000.000Z/full", 0o700); err != nil {
				t.Fatal(err)
			}
			for days, want := range []int{5, 5, 2} { // what may be kept for a day and a half, and what nobody knows
				if _, err := s.Prune(t.Context(), time.Now().AddDate(0, 0, days), store.Keep{Records: 36 * time.Hour}); err != nil {
					t.Fatal(err)
				}
				if left, _ := filepath.Glob(path + ".corrupt-*"); len(left) != want {
					t.Errorf("after %d days: %q, want %d", days, left, want)
				}
			}
			if !strings.Contains(log.String(), "level=WARN") || !strings.Contains(log.String(), aside[0]) {
				t.Errorf("log %q", log.String())
			}
		})
	}
}

// TestDamageWhileOpen overwrites the file under the gateway's feet. The write that meets
// it fails, and the next one goes to a new file.
func TestDamageWhileOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	s := mustOpen(t, path)
	for range 40 {
		mustWrite(t, s, 250)
	}
	statement(t, path, "PRAGMA wal_checkpoint(TRUNCATE)")
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	about, _ := file.Stat()
	_, err = file.WriteAt(bytes.Repeat([]byte{0xa5}, int(about.Size())-4096), 4096)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
	// A process that has more pages in its memory than there are would not notice at once.
	statement(t, path, "PRAGMA user_version = 7")

	list := some(10)
	err = s.Write(t.Context(), nil, list)
	expectError(t, err, store.Corrupt, path, "the file is damaged")
	if err := s.Write(t.Context(), nil, list); err != nil {
		t.Fatal(err)
	}
	expectCount(t, s, 10)
	expectWhole(t, s, 10)
	if aside, _ := filepath.Glob(path + ".corrupt-*Z"); len(aside) != 1 {
		t.Errorf("set aside: %q", aside)
	}
}

// TestFileGone takes the file away: what is written next is in a new one.
func TestFileGone(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "record.db")
	var log bytes.Buffer
	s, failed := sqlite.Open(t.Context(), path, sqlite.Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	if failed != nil {
		t.Fatal(failed)
	}
	defer s.Close()
	mustWrite(t, s, 5)
	for _, name := range names(t, dir) {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	mustWrite(t, s, 3)
	expectCount(t, s, 3)
	expectWhole(t, s, 3) // nothing is taken for known that the old file had
	if got := log.String(); strings.Count(got, "level=WARN") != 1 || !strings.Contains(got, "deleted or replaced") || !strings.Contains(got, "file="+path) {
		t.Errorf("log %q", got)
	}

	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := s.Write(t.Context(), nil, some(1))
	expectError(t, err, store.Unreachable, path, "the file cannot be opened")
	if _, err := s.Count(t.Context(), store.Filter{}); err == nil {
		t.Error("a file that is away can be read")
	}
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, s, 2)
	expectCount(t, s, 5)
}

// TestForgottenWords looks for what a caller who is forgotten has said in the file and its
// log, also while somebody reads.
func TestForgottenWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	s := mustOpen(t, path)
	const words = "zebras graze at dawn"
	say := func() {
		t.Helper()
		list := some(3)
		list[1].Prompt, list[1].PromptSize = words, len(words)
		if err := s.Write(t.Context(), nil, list); err != nil {
			t.Fatal(err)
		}
		if !readable(t, path, words) {
			t.Fatal("the words are not in the file as they are")
		}
	}
	forget := func(left int64) error {
		t.Helper()
		f, err := s.Forget(t.Context(), "ci")
		if f.Interceptions != left {
			t.Errorf("%+v, want %d", f, left)
		}
		if err == nil && readable(t, path, words) {
			t.Error("the words can still be read")
		}
		return err
	}
	say()
	if err := forget(3); err != nil {
		t.Error(err)
	}
	say()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	reader, err := db.BeginTx(t.Context(), nil)
	if err == nil {
		_, err = reader.ExecContext(t.Context(), "SELECT * FROM interceptions")
	}
	if err != nil {
		t.Fatal(err)
	}
	expectError(t, forget(3), store.Locked, path, "what was deleted can still be read in its log, the file with -wal: end what reads the file")
	if err = reader.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err = forget(0); err != nil {
		t.Error(err)
	}
}

// readable looks for words in the file and its log. Another process does: a file's locks go
// with any of its closes.
func readable(t *testing.T, path, words string) bool {
	t.Helper()
	text, err := exec.CommandContext(t.Context(), "cat", path, path+"-wal").Output()
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(text, []byte(words))
}

// TestLockedByHand waits for somebody who works on the file, and then says so.
func TestLockedByHand(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	s := mustOpen(t, path)
	db, err := sql.Open("sqlite", path+"?_txlock=immediate")
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	list := some(1)
	recorders, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	expectError(t, s.Write(recorders, nil, list), store.Locked, path, "another process keeps the file locked: end its transaction")
	if err := tx.Rollback(); err != nil {
		t.Fatal(err)
	}
	if err := s.Write(t.Context(), nil, list); err != nil {
		t.Error(err)
	}
	expectCount(t, s, 1)
}

// TestKilled ends a process in the midst of writing, again and again: what it has been
// told is written is there, whole, and what it had not ended is lost.
func TestKilled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "record.db")
	written := int64(0)
	round := func() {
		child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledChild$")
		child.Env = append(os.Environ(), "KEYBRIDGE_TEST_FILE="+path)
		out, err := child.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err = child.Start(); err != nil {
			t.Fatal(err)
		}
		told := make([]byte, 1)
		for range 20 {
			if _, err = out.Read(told); err != nil {
				t.Fatal(err)
			}
			written += batchOfChild
		}
		_ = child.Process.Kill()
		rest, err := io.ReadAll(out)
		if err != nil {
			t.Fatal(err)
		}
		written += int64(len(rest)) * batchOfChild
		_ = child.Wait()
	}
	for range 4 {
		round()
	}
	s := mustOpen(t, path)
	n, err := s.Count(t.Context(), store.Filter{Status: ledger.Completed})
	if err != nil || n < written || n > written+4*batchOfChild || n%batchOfChild != 0 {
		t.Errorf("%d are completed, %v; the processes knew of %d", n, err, written)
	}
	open, err := s.Count(t.Context(), store.Filter{Status: ledger.Open})
	if open != 0 || err != nil {
		t.Errorf("%d are open, %v", open, err)
	}
	lost, err := s.Count(t.Context(), store.Filter{Status: ledger.Lost})
	if lost < 4*20 || err != nil {
		t.Errorf("%d are lost, %v", lost, err)
	}
	used, err := s.Usage(t.Context(), store.Filter{Status: ledger.Completed}, nil, store.Altogether)
	if err != nil || len(used) != 1 || used[0].Requests != n {
		t.Errorf("the hours say %+v, %v", used, err)
	}
}

const batchOfChild = 7

// TestKilledChild is the process that is killed: it says each batch that was written.
func TestKilledChild(t *testing.T) {
	path := os.Getenv("KEYBRIDGE_TEST_FILE")
	if path == "" {
		t.Skip("only what TestKilled starts")
	}
	s := mustOpen(t, path)
	for {
		if err := s.Write(t.Context(), some(1), some(batchOfChild)); err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stdout.WriteString("."); err != nil {
			return
		}
	}
}
