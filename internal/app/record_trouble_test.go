package app_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

const completedRows = "SELECT status, count(*), count(DISTINCT id) FROM interceptions_view GROUP BY status"

// say asks a chat of the rig.
func (r *rig) say(t *testing.T) answer {
	t.Helper()
	return r.ask(t, http.MethodPost, "/v1/chat/completions", fmt.Sprintf(chatBody, ""))
}

func (r *rig) end(t *testing.T) { r.Stop(context.WithoutCancel(t.Context())) }

// A store that is not there does not keep anybody waiting: what happens meanwhile is
// recorded when it comes.
func TestRecordWaitsForItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		blocked := filepath.Join(dir, "folder")
		if err := os.WriteFile(blocked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(blocked, "keybridge.db")
		begin := time.Now()
		r := newRig(t, simulator.OpenAI, 1, "data_dir: "+dir+"\nstore: sqlite:"+file)
		if took := time.Since(begin); took > 3*time.Second {
			t.Errorf("the start took %v", took)
		}
		for range 3 {
			if a := r.say(t); a.Status != http.StatusOK {
				t.Fatalf("%d %s", a.Status, a.Body)
			}
		}
		time.Sleep(time.Minute)
		if log := r.log.String(); strings.Count(log, "requests cannot be recorded") != 1 || !strings.Contains(log, file) {
			t.Errorf("not told of once:\n%s", log)
		}
		if got := spooled(t, dir); len(got) == 0 {
			t.Error("nothing is spooled: a crash would take it")
		}
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		r.say(t)
		r.end(t)
		if diff := cmp.Diff([]string{"completed 4 4"}, rows(t, file, completedRows)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
		if log := r.log.String(); strings.Count(log, `"requests are recorded again" late=3`) != 1 {
			t.Errorf("its end is not told of:\n%s", log)
		}
		if left := spooled(t, dir); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// Under strict, what could not be recorded is refused, from the first request on, and
// served once it can be.
func TestStrictRecordWaitsForItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		blocked := filepath.Join(dir, "folder")
		if err := os.WriteFile(blocked, nil, 0o600); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(blocked, "keybridge.db")
		r := newRig(t, simulator.OpenAI, 1, "data_dir: "+dir+"\nstore: sqlite:"+file+"\nrecord: {strict: true}")
		a := r.say(t)
		if a.Status != http.StatusServiceUnavailable || !strings.Contains(a.Body, "This gateway serves only what it can record, and cannot record now") {
			t.Errorf("%d %s", a.Status, a.Body)
		}
		if strings.Contains(a.Body, dir) {
			t.Errorf("a caller is told of a file: %s", a.Body)
		}
		const want = "not ready: nothing can be recorded, and record.strict refuses what is not: the log says why\n"
		if status, said := adminPage(t, r.admin, "/readyz"); status != http.StatusServiceUnavailable || said != want {
			t.Errorf("readyz says %d %q", status, said)
		}
		if err := os.Remove(blocked); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		if a := r.say(t); a.Status != http.StatusOK {
			t.Errorf("with the store: %d %s", a.Status, a.Body)
		}
		if status, said := adminPage(t, r.admin, "/readyz"); status != http.StatusOK {
			t.Errorf("with the store readyz says %d %q", status, said)
		}
		r.end(t)
		if diff := cmp.Diff([]string{"completed 1 1"}, rows(t, file, completedRows)); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// A strict gateway with its store serves its first request.
func TestStrictRecordServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, simulator.OpenAI, 1, "data_dir: "+t.TempDir()+"\nrecord: {strict: true}")
		if a := r.say(t); a.Status != http.StatusOK {
			t.Errorf("%d %s", a.Status, a.Body)
		}
	})
}

// A stop does not wait for a store that somebody holds up, and loses nothing either: the
// next process records what is left.
func TestStopWithAStoreThatIsHeldUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "keybridge.db")
		r := newRig(t, simulator.OpenAI, 1, "data_dir: "+dir)
		r.say(t)
		time.Sleep(time.Second)
		db := attach(t, file)
		defer db.Close()
		held, err := db.Conn(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := held.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			r.say(t)
		}
		begin := time.Now()
		r.end(t)
		if took := time.Since(begin); took > 25*time.Second {
			t.Errorf("the stop took %v", took)
		}
		if diff := cmp.Diff([]string{"completed 1 1"}, rows(t, file, completedRows)); diff != "" {
			t.Errorf("rows while it is held up (-want +got):\n%s", diff)
		}
		if _, err := held.ExecContext(t.Context(), "ROLLBACK"); err != nil {
			t.Fatal(err)
		}
		if err := held.Close(); err != nil {
			t.Fatal(err)
		}
		r = newRig(t, simulator.OpenAI, 1, "data_dir: "+dir)
		time.Sleep(time.Second)
		r.end(t)
		if diff := cmp.Diff([]string{"completed 6 6"}, rows(t, file, completedRows)); diff != "" {
			t.Errorf("rows after the next start (-want +got):\n%s", diff)
		}
		if left := spooled(t, dir); len(left) > 0 {
			t.Errorf("left: %q", left)
		}
	})
}

// A drain that takes all its time leaves some for the rows of what it has cut.
func TestStopRecordsWhatItCuts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		r := newRig(t, simulator.OpenAI, 1, "data_dir: "+dir+"\nrecord: {flush: 10s}") // later than the end comes
		if err := r.sim.Arm(simulator.Fault{Name: "stall_body"}); err != nil {
			t.Fatal(err)
		}
		done := make(chan answer, 1)
		go func() { done <- r.ask(t, http.MethodPost, "/v1/chat/completions", fmt.Sprintf(chatBody, asStream)) }()
		time.Sleep(11 * time.Second)
		open := rows(t, filepath.Join(dir, "keybridge.db"), "SELECT status, attempts FROM interceptions_view")
		if diff := cmp.Diff([]string{"open 0"}, open); diff != "" {
			t.Errorf("rows before its end (-want +got):\n%s", diff)
		}
		r.end(t)
		<-done
		got := rows(t, filepath.Join(dir, "keybridge.db"), "SELECT status, class, attempts FROM interceptions_view")
		if diff := cmp.Diff([]string{"failed unavailable 1"}, got); diff != "" {
			t.Errorf("rows (-want +got):\n%s", diff)
		}
	})
}

// What is old enough is deleted, each kind at its time, and by the rules of a reload.
func TestRecordIsKeptForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		file := filepath.Join(dir, "keybridge.db")
		r := newRig(t, simulator.OpenAI, 1, "data_dir: "+dir+"\nrecord: {prompts: true, keep: {records: 30h, prompts: 2h}}")
		r.say(t)
		step := func(wait time.Duration, want string) {
			t.Helper()
			time.Sleep(wait)
			got := rows(t, file, "SELECT count(*), (SELECT count(*) FROM prompts), (SELECT count(*) FROM usage_hours) FROM interceptions")
			if diff := cmp.Diff([]string{want}, got); diff != "" {
				t.Errorf("after %v more (-want +got):\n%s", wait, diff)
			}
		}
		step(2*time.Hour-time.Minute, "1 1 1")
		step(time.Hour+2*time.Minute, "1 0 1") // they are looked for once an hour
		step(5*time.Hour, "1 0 1")
		text, err := os.ReadFile(r.path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(r.path, []byte(strings.Replace(string(text), "records: 30h", "records: 4h", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := r.Reload(); err != nil {
			t.Fatal(err)
		}
		step(time.Hour, "0 0 1")
	})
}

// A provider's meter makes a stream report its usage whose client asks for none; the
// client sees nothing of it.
func TestMeter(t *testing.T) {
	for more, want := range map[string]string{"": "0 0 0", "    meter: true\n": "1 17 10"} {
		synctest.Test(t, func(t *testing.T) {
			dir := t.TempDir()
			r := newRigWith(t, simulator.OpenAI, 1, "data_dir: "+dir, more)
			a := r.ask(t, http.MethodPost, "/v1/chat/completions", fmt.Sprintf(chatBody, asStream))
			if a.Status != http.StatusOK || !strings.HasSuffix(a.Body, "data: [DONE]\n\n") || strings.Contains(a.Body, "usage") {
				t.Errorf("%q: %d %s", more, a.Status, a.Body)
			}
			r.end(t)
			got := rows(t, filepath.Join(dir, "keybridge.db"), "SELECT reported, input, output FROM interceptions_view")
			if diff := cmp.Diff([]string{want}, got); diff != "" {
				t.Errorf("%q (-want +got):\n%s", more, diff)
			}
		})
	}
}
