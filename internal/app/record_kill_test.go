package app_test

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/app"
	"keybridge/internal/simulator"
)

const processVariable = "KEYBRIDGE_TEST_CONFIG"

// TestAsProcess is no test: it is the gateway of those that kill it.
func TestAsProcess(t *testing.T) {
	file := os.Getenv(processVariable)
	if file == "" {
		t.SkipNow()
	}
	told := make(chan os.Signal, 1)
	ctx, cancel := context.WithCancel(context.Background())
	signal.Notify(told, syscall.SIGTERM)
	go func() { <-told; cancel() }()
	if err := app.Run(ctx, app.Options{ConfigPath: file, Env: noEnv, Stdout: os.Stdout, Drain: 2 * time.Second}); err != nil {
		t.Fatal(err)
	}
}

// process starts the gateway as a process of its own.
func (o *office) process() (cmd *exec.Cmd, base string) {
	o.t.Helper()
	cmd = exec.CommandContext(o.t.Context(), os.Args[0], "-test.run=^TestAsProcess$")
	cmd.Env = append(os.Environ(), processVariable+"="+filepath.Join(o.dir, "keybridge.yaml"))
	out, err := cmd.StdoutPipe()
	if err != nil {
		o.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		o.t.Fatal(err)
	}
	o.t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	serves := regexp.MustCompile(`serves on (http://\S+)`)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := serves.FindStringSubmatch(lines.Text()); m != nil {
			go func() {
				for lines.Scan() {
					continue // whatever else it says
				}
			}()
			return cmd, m[1]
		}
	}
	o.t.Fatal("the process does not serve")
	return nil, ""
}

// throng are clients that note which of their requests were answered, and when.
type throng struct {
	mu       sync.Mutex
	asked    int
	answered map[string]time.Time // by what was asked
	gone     sync.WaitGroup
}

func (c *throng) note(question string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.answered[question] = time.Now()
}

// question is another one each time.
func (c *throng) question() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked++
	return fmt.Sprintf("Question %d", c.asked)
}

func (c *throng) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answered)
}

// keepAsking asks until nobody answers any more.
func (c *throng) keepAsking(t *testing.T, base string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1}}
	defer client.CloseIdleConnections()
	for t.Context().Err() == nil {
		question := c.question()
		body := strings.Replace(fmt.Sprintf(chatBody, ""), "Say hello", question, 1)
		req := newRequest(t, http.MethodPost, base+"/v1/chat/completions", body)
		req.Header.Set("Authorization", "Bearer "+annsToken)
		resp, err := client.Do(req)
		if err != nil {
			return
		}
		if _, err := loadRead(resp); err == nil && resp.StatusCode == http.StatusOK {
			c.note(question)
		}
	}
}

// A process that is told to stop under load records every answer that it has given; one
// that is killed loses what is younger than the flush interval at most, and no half of
// anything is there.
func TestRecordOutlivesItsProcess(t *testing.T) {
	t.Parallel()
	if testing.Short() {
		t.Skip("takes seconds")
	}
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGKILL} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, "record: {prompts: true}")
			cmd, base := o.process()
			c := &throng{answered: map[string]time.Time{}}
			if err := o.sim.Arm(simulator.Fault{Name: "stall_body", Model: "gpt-5-mini"}); err != nil {
				t.Fatal(err)
			}
			c.gone.Go(func() { // this one is never answered
				req := newRequest(t, http.MethodPost, base+"/v1/responses", fmt.Sprintf(responsesBody, asStream))
				req.Header.Set("Authorization", "Bearer "+annsToken)
				if resp, err := http.DefaultClient.Do(req); err == nil {
					_ = resp.Body.Close()
				}
			})
			for range 4 {
				c.gone.Go(func() { c.keepAsking(t, base) })
			}
			look := time.NewTicker(10 * time.Millisecond)
			defer look.Stop()
			for begin := time.Now(); time.Since(begin) < 4*time.Second || c.count() < 200; {
				<-look.C
				if time.Since(begin) > time.Minute {
					t.Fatalf("only %d answers in a minute", c.count())
				}
			}
			end := time.Now()
			if err := cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if err := cmd.Wait(); (err == nil) != (sig == syscall.SIGTERM) {
				t.Errorf("its end: %v", err)
			}
			c.gone.Wait()
			o.open().stop() // which takes stock of what the process has left
			o.compare(c, sig, end)
		})
	}
}

// compare holds the record against what clients were told.
func (o *office) compare(c *throng, sig syscall.Signal, end time.Time) {
	t := o.t
	recorded := map[string]bool{}
	for _, question := range rows(t, o.database(), `SELECT text FROM prompts p JOIN interceptions i ON i.id = p.interception
JOIN interception_kinds k ON k.id = i.kind WHERE status = 'completed'`) {
		if recorded[question] {
			t.Errorf("%q is recorded twice", question)
		}
		recorded[question] = true
	}
	sure := end // on a machine that is busy with other things a flush may come late
	if sig == syscall.SIGKILL {
		sure = end.Add(-2 * time.Second)
	}
	checked := 0
	for question, at := range c.answered {
		if sig == syscall.SIGKILL && at.After(sure) {
			continue
		}
		if checked++; !recorded[question] {
			t.Errorf("%q was answered %v before the end, and is not recorded", question, end.Sub(at))
		}
	}
	if checked < 20 {
		t.Errorf("only %d of %d answers were early enough to count", checked, len(c.answered))
	}
	unfinished := map[syscall.Signal]string{syscall.SIGTERM: "failed", syscall.SIGKILL: "lost"}[sig]
	for query, want := range map[string]string{
		"SELECT status, count(*) FROM interceptions_view WHERE route = '/v1/responses' GROUP BY 1": unfinished + " 1",
		"SELECT count(*) FROM interceptions_view WHERE status = 'open'":                            "0",
		`SELECT count(*) FROM interceptions i WHERE attempts <> (SELECT count(*) FROM attempts a WHERE a.interception = i.id)
OR turns <> (SELECT count(*) FROM turns t WHERE t.interception = i.id)`: "0",
		"SELECT (SELECT sum(input + output) FROM interceptions) - (SELECT sum(input + output) FROM usage_hours)": "0",
		"SELECT (SELECT count(*) FROM interceptions) - (SELECT sum(requests) FROM usage_hours)":                  "0",
		"PRAGMA integrity_check": "ok",
	} {
		if diff := cmp.Diff([]string{want}, rows(t, o.database(), query)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", query, diff)
		}
	}
	if left := spooled(t, filepath.Join(o.dir, "data")); len(left) > 0 {
		t.Errorf("left: %s", strings.Join(left, " "))
	}
}
