//go:build unix

package storetest_test

import (
	"bufio"
	"errors"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/store/storetest"
)

// ask runs a statement on a connection of its own.
func ask(t *testing.T, url, statement string) (n int, err error) {
	t.Helper()
	db, err := pgx.Connect(t.Context(), url)
	if err != nil {
		return 0, err
	}
	defer db.Close(t.Context())
	err = db.QueryRow(t.Context(), statement).Scan(&n)
	return n, err
}

func TestEachTestHasItsOwnDatabase(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"first", "second"} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			url := storetest.Postgres(t)
			if _, err := ask(t, url, "CREATE TABLE mine AS SELECT 1 AS n"); !errors.Is(err, pgx.ErrNoRows) {
				t.Error(err)
			}
		})
	}
}

func TestServerKeepsWhatIsCommitted(t *testing.T) {
	s := storetest.PostgresServer(t)
	url := s.Database(t)
	if _, err := ask(t, url, "CREATE TABLE kept AS SELECT 42 AS n"); !errors.Is(err, pgx.ErrNoRows) {
		t.Fatal(err)
	}
	s.Stop(t)
	if _, err := ask(t, url, "SELECT n FROM kept"); err == nil {
		t.Error("a stopped server answers")
	}
	s.Start(t)
	if n, err := ask(t, url, "SELECT n FROM kept"); err != nil || n != 42 {
		t.Errorf("after the start: %d, %v", n, err)
	}
}

// A test process that is killed takes its server and its data along.
func TestServerEndsWithItsProcess(t *testing.T) {
	const victim = "KEYBRIDGE_TEST_VICTIM"
	if os.Getenv(victim) != "" {
		os.Stdout.WriteString(storetest.Postgres(t) + "\n")
		select {}
	}
	storetest.Postgres(t) // skips without PostgreSQL
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run", "^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), victim+"=1")
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	at, err := url.Parse(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ask(t, at.String(), "SELECT 1"); err != nil {
		t.Fatalf("before the end: %v", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(at.Query().Get("host")); os.IsNotExist(err) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("the folder is still there")
		}
	}
}
