package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"keybridge/internal/simulator"
)

const (
	flush      = 200 * time.Millisecond
	keysEach   = 5         // of each provider
	metered    = "metered" // OpenAI again, asked for the usage of streams
	stopWithin = 60 * time.Second
)

// ownKey is what callers bring who bring their own.
func ownKey(provider string) simulator.Key {
	return simulator.Key{Provider: provider, Name: "own", Secret: "sk-simulated-" + provider + "-own"}
}

// build makes the command.
func build(t *testing.T) string {
	t.Helper()
	binary := filepath.Join(t.TempDir(), "keybridge")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-o", binary, "keybridge/cmd/keybridge")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return binary
}

// gateway is the command as a process, again and again.
type gateway struct {
	binary, dir, file string
	listen, admin     string
	process           *exec.Cmd
	log               *os.File
	kills             []kill
	late, dropped     int64 // what all processes together have counted
}

func newGateway(t *testing.T, binary, up, store string) *gateway {
	t.Helper()
	g := &gateway{binary: binary, dir: t.TempDir(), listen: freeAddress(t), admin: freeAddress(t)}
	g.file = filepath.Join(g.dir, "keybridge.yaml")
	var text strings.Builder
	fmt.Fprintf(&text, "listen: %s\nadmin: %s\ndata_dir: data\nlog: {level: warn}\n%s\n", g.listen, g.admin, store)
	fmt.Fprintf(&text, "record: {flush: %s, prompts: true, arguments: true, reasoning: true}\ntokens:\n", flush)
	for _, c := range callers {
		fmt.Fprintf(&text, "  - {name: %s, secret: \"literal:%s\"}\n", c.name, c.token)
	}
	text.WriteString("providers:\n")
	for _, p := range []struct {
		name, kind, path, more string
		first                  int
	}{{simulator.OpenAI, simulator.OpenAI, "/openai/v1", "", 0}, {metered, simulator.OpenAI, "/openai/v1", "    meter: true\n", keysEach}, {simulator.Anthropic, simulator.Anthropic, "/anthropic", "", 0}} {
		fmt.Fprintf(&text, "  - name: %s\n    kind: %s\n    base_url: %s%s\n    strategy: round_robin\n    probe: off\n    max_wait: 3s\n%s    keys:\n", p.name, p.kind, up, p.path, p.more)
		for i := range keysEach {
			fmt.Fprintf(&text, "      - {id: k%d, secret: \"literal:sk-simulated-%s-key-%d\"}\n", p.first+i, p.kind, p.first+i)
		}
	}
	if err := os.WriteFile(g.file, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if g.process != nil {
			_ = g.process.Process.Kill()
			_ = g.process.Wait()
		}
	})
	return g
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// start starts it, and waits until it serves: it listens before that.
func (g *gateway) start(t *testing.T) {
	t.Helper()
	var err error
	if g.log, err = os.OpenFile(filepath.Join(g.dir, "log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
		t.Fatal(err)
	}
	g.process = exec.Command(g.binary, "serve", "--config", g.file)
	g.process.Dir, g.process.Env = g.dir, []string{"HOME=" + g.dir}
	g.process.Stderr = g.log
	if err := g.process.Start(); err != nil {
		t.Fatal(err)
	}
	asks := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 30 * time.Second}
	for end := time.Now().Add(30 * time.Second); ; {
		resp, err := asks.Get("http://" + g.listen + "/")
		if err == nil {
			resp.Body.Close()
			return
		}
		if !until(t.Context(), time.Now().Add(5*time.Millisecond)) || time.Now().After(end) {
			t.Fatalf("the gateway does not serve: %v\n%s", err, g.said())
		}
	}
}

// said is the last that it has logged.
func (g *gateway) said() string {
	const most = 4000
	text, _ := os.ReadFile(filepath.Join(g.dir, "log"))
	return string(text[max(0, len(text)-most):])
}

// kill ends it as kill -9 does, and starts it again.
func (g *gateway) kill(t *testing.T) {
	t.Helper()
	g.count(t)
	at := time.Now()
	if err := g.process.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	g.ended(t)
	g.kills = append(g.kills, kill{at, time.Now()})
	g.start(t)
}

// stop tells it to end, as an operator does.
func (g *gateway) stop(t *testing.T) {
	t.Helper()
	g.count(t)
	if err := g.process.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := g.ended(t); err != nil {
		t.Errorf("the gateway's end: %v\n%s", err, g.said())
	}
}

func (g *gateway) ended(t *testing.T) error {
	t.Helper()
	late := time.AfterFunc(stopWithin, func() { _ = g.process.Process.Kill() })
	err := g.process.Wait()
	if !late.Stop() {
		t.Errorf("the gateway did not stop within %s\n%s", stopWithin, g.said())
	}
	g.process = nil
	return errors.Join(err, g.log.Close())
}

var counted = regexp.MustCompile(`(?m)^keybridge_record_exchanges_total\{outcome="(late|dropped)"\} (\d+)`)

// count adds what the process has counted: its counters end with it.
func (g *gateway) count(t *testing.T) {
	t.Helper()
	for _, m := range counted.FindAllStringSubmatch(g.get(t, "/metrics"), -1) {
		n, err := strconv.ParseInt(m[2], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if m[1] == "late" {
			g.late += n
		} else {
			g.dropped += n
		}
	}
}

// get asks the operator's side.
func (g *gateway) get(t *testing.T, path string) string {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+g.admin+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: &http.Transport{DisableKeepAlives: true}}).Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// spool lists what is left there.
func (g *gateway) spool(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(g.dir, "data", "record-*"))
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// trouble arms faults at random, until the context ends.
func trouble(ctx context.Context, sim *simulator.Simulator) {
	often := []string{
		"cut_after_content", "cut_after_content", "error_after_content", "error_after_content", "error_after_preamble",
		"truncate", "no_done", "no_done", "refuse", "reset", "server_error", "overloaded",
	}
	const most = 6 // that wait for a call
	look := time.NewTicker(25 * time.Millisecond)
	defer look.Stop()
	for n := 1; ; n++ {
		select {
		case <-look.C:
		case <-ctx.Done():
			return
		}
		if len(sim.Faults()) >= most {
			continue
		}
		f := simulator.Fault{Provider: pick([]string{simulator.OpenAI, simulator.Anthropic}), Name: pick(often), Times: 1}
		if n%12 == 0 {
			f.Name, f.Wait = "rate_limit_retry_after", time.Second
		}
		if err := sim.Arm(f); err != nil {
			panic(err)
		}
	}
}
