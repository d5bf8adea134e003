package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// process is a keybridge of its own.
type process struct {
	cmd           *exec.Cmd
	address, side string // where it serves, and its operator's side
}

func startProcess(t *testing.T, dir string, args ...string) *process {
	t.Helper()
	cmd := exec.Command("keybridge", args...)
	cmd.Dir, cmd.Env, cmd.Stderr = dir, []string{"HOME=" + dir}, io.Discard
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: cmd}
	t.Cleanup(p.kill)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if m := servesOn.FindStringSubmatch(lines.Text()); m != nil {
			p.address = m[1]
		}
		if m := adminOn.FindStringSubmatch(lines.Text()); m != nil {
			p.side = m[1]
		}
		if p.side != "" || strings.HasPrefix(lines.Text(), "Its keys") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return p
		}
	}
	t.Fatalf("%v does not start", args)
	return nil
}

// kill ends the process as kill -9 does.
func (p *process) kill() {
	_ = p.cmd.Process.Signal(syscall.SIGKILL)
	_ = p.cmd.Wait()
}

func (p *process) post(ctx context.Context, path, body string) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+path, strings.NewReader(body))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{}).Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	_, err = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode, err
}

// outKeys is what keeps each key out, to the nanosecond, by name.
func (p *process) outKeys(t *testing.T) map[string]string {
	t.Helper()
	resp, err := (&http.Client{}).Get("http://" + p.side + "/pools")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	var all struct {
		Pools []struct {
			Keys []struct {
				ID, State, Reason string
				Until             time.Time
				NextTry           time.Time `json:"next_try"`
				Benched, Draining bool
				Organization      *struct{ Name, Evidence string }
			}
		}
	}
	if err := json.NewDecoder(resp.Body).Decode(&all); err != nil {
		t.Fatal(err)
	}
	keys := map[string]string{}
	for _, k := range all.Pools[0].Keys {
		if k.State != "valid" || k.Draining {
			keys[k.ID] = fmt.Sprintf("%s %s until %s next %s benched %t draining %t organization %v", k.State, k.Reason,
				k.Until.Format(time.RFC3339Nano), k.NextTry.Format(time.RFC3339Nano), k.Benched, k.Draining, k.Organization)
		}
	}
	return keys
}

// A gateway that is killed while it serves has the same keys out when it is started
// again, with the same deadlines; those that are out are asked by nobody.
func TestKillAndRestart(t *testing.T) {
	t.Parallel()
	const keys = 8
	dir := t.TempDir()
	sim := startProcess(t, dir, "simulate", "--listen", "127.0.0.1:0", "--keys", strconv.Itoa(keys))
	var config strings.Builder
	fmt.Fprintf(&config, "data_dir: data\nproviders:\n  - name: openai\n    kind: openai\n    base_url: http://%s/openai/v1\n    strategy: round_robin\n    probe: off\n    keys:\n", sim.address)
	for i := range keys {
		fmt.Fprintf(&config, "      - {id: k%d, secret: 'literal:sk-simulated-openai-key-%d'}\n", i, i)
	}
	file := filepath.Join(dir, "keybridge.yaml")
	if err := os.WriteFile(file, []byte(config.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	serve := func() *process {
		return startProcess(t, dir, "serve", "--config", file, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0")
	}
	const chat = `{"model":"gpt-5-mini","stream":true,"messages":[{"role":"user","content":"hello"}]}`
	gw := serve()
	var served atomic.Int64
	traffic := func(gw *process) (end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		var callers sync.WaitGroup
		for range 16 {
			callers.Go(func() {
				for ctx.Err() == nil {
					if status, err := gw.post(ctx, gw.address+"/v1/chat/completions", chat); err == nil && status == http.StatusOK {
						served.Add(1)
					}
				}
			})
		}
		return func() { cancel(); callers.Wait() }
	}
	end := traffic(gw)
	for _, fault := range []string{
		`{"provider":"openai","key":"k0","fault":"rate_limit","wait":"17m"}`, `{"provider":"openai","key":"k1","fault":"invalid_key"}`,
		`{"provider":"openai","key":"k2","fault":"quota"}`, `{"provider":"openai","key":"k3","fault":"rate_limit","wait":"3h"}`,
	} {
		if status, err := sim.post(t.Context(), sim.address+"/simulator/faults", fault); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v", fault, status, err)
		}
	}
	for _, act := range []string{"k4/bench", "k5/bench?for=1h", "k6/drain"} {
		if status, err := gw.post(t.Context(), gw.side+"/pools/openai/keys/"+act, ""); err != nil || status != http.StatusOK {
			t.Fatalf("%s: %d %v", act, status, err)
		}
	}
	var before map[string]string
	for deadline := time.Now().Add(20 * time.Second); len(before) < keys-1; before = gw.outKeys(t) {
		if time.Now().After(deadline) {
			t.Fatalf("out are %v only", before)
		}
	}
	written := time.Now().Add(time.Second) // the file is later only on a machine that is too busy
	for n := served.Load(); time.Now().Before(written) || served.Load() < n+20; {
		before = gw.outKeys(t)
	}
	gw.kill()
	end()

	gw = serve()
	if diff := cmp.Diff(before, gw.outKeys(t)); diff != "" {
		t.Errorf("after kill -9 and a restart (-before +after):\n%s", diff)
	}
	asked := func() (n int) {
		resp, err := (&http.Client{}).Get("http://" + sim.address + "/simulator/log?last=100000")
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var calls []struct{ Key string }
		if err := json.NewDecoder(resp.Body).Decode(&calls); err != nil {
			t.Fatal(err)
		}
		for _, c := range calls {
			if c.Key != "k7" {
				n++
			}
		}
		return n
	}
	forget, err := http.NewRequestWithContext(t.Context(), http.MethodDelete, "http://"+sim.address+"/simulator/log", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{}).Do(forget) // the log is bounded: what it drops would count as less
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("the simulator keeps its log: %v %v", resp, err)
	}
	resp.Body.Close()
	good := served.Load()
	end = traffic(gw)
	for deadline := time.Now().Add(20 * time.Second); served.Load() < good+100 && time.Now().Before(deadline); {
		gw.outKeys(t)
	}
	end()
	if served.Load() < good+100 {
		t.Errorf("%d requests served after the restart", served.Load()-good)
	}
	if n := asked(); n > 0 {
		t.Errorf("%d requests went to keys that are out", n)
	}
	if diff := cmp.Diff(before, gw.outKeys(t)); diff != "" {
		t.Errorf("under traffic (-before +after):\n%s", diff)
	}
}
