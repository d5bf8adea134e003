package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"

	"keybridge/internal/app"
	"keybridge/internal/config"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"keybridge": main,
		// keybridge-stuck is the command over a gateway that takes for ever to stop.
		"keybridge-stuck": func() {
			os.Exit(runMain(func(ctx context.Context, o app.Options) error {
				fmt.Fprintln(o.Stdout, "serving")
				<-ctx.Done()
				fmt.Fprintln(o.Stdout, "stopping")
				select {}
			}))
		},
		// keybridge-tidy is the command over a gateway that stops when it is told to.
		"keybridge-tidy": func() {
			os.Exit(runMain(func(ctx context.Context, o app.Options) error {
				fmt.Fprintln(o.Stdout, "serving")
				<-ctx.Done()
				return fmt.Errorf("listener: %w", ctx.Err())
			}))
		},
	})
}

func TestScripts(t *testing.T) {
	t.Parallel()
	testscript.Run(t, testscript.Params{Dir: "testdata/script", RequireExplicitExec: true, Cmds: scriptCommands()})
}

func TestServe(t *testing.T) {
	t.Parallel()
	boom := errors.New("boom")
	problems := config.Problems{{File: "k.yaml", Line: 3, At: "listen", Text: "is not an address"}, {File: "k.yaml", Line: 7, Text: "x"}}
	tests := []struct {
		name      string
		args      []string
		err       error
		cancelled bool
		config    string
		addresses string
		code      int
		stderr    string
	}{
		{name: "no arguments"},
		{name: "command", args: []string{"serve"}},
		{name: "flag without command", args: []string{"--config", "k.yaml"}, config: "k.yaml"},
		{name: "command and flag", args: []string{"serve", "--config=k.yaml"}, config: "k.yaml"},
		{name: "addresses", args: []string{"--listen", "127.0.0.1:0", "--admin=localhost:1"}, addresses: "127.0.0.1:0 localhost:1"},
		{name: "failure", err: boom, code: 1, stderr: "keybridge: boom\n"},
		{
			name: "bad configuration", args: []string{"--config", "k.yaml"}, config: "k.yaml", err: fmt.Errorf("start: %w", problems), code: 2,
			stderr: "k.yaml:3: listen: is not an address\nk.yaml:7: x\n",
		},
		{name: "told to stop", cancelled: true, err: fmt.Errorf("serve: %w", context.Canceled)},
		{name: "failed while stopping", cancelled: true, err: boom, code: 1, stderr: "keybridge: boom\n"},
		{name: "cancelled by itself", err: context.Canceled, code: 1, stderr: "keybridge: context canceled\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var stdout, stderr strings.Builder
			var got *app.Options
			p := program{
				serve: func(_ context.Context, o app.Options) error {
					got = &o
					if tt.cancelled {
						cancel()
					}
					return tt.err
				},
				called: "bin/keybridge", env: func(name string) (string, bool) { return "value of " + name, true },
				stdout: &stdout, stderr: &stderr,
			}
			if code := p.run(ctx, tt.args); code != tt.code {
				t.Errorf("exit code %d, want %d", code, tt.code)
			}
			if diff := cmp.Diff(tt.stderr, stderr.String()); diff != "" {
				t.Errorf("stderr (-want +got):\n%s", diff)
			}
			switch v, ok := got.Env("X"); {
			case strings.TrimSpace(got.ListenAddress+" "+got.AdminAddress) != tt.addresses:
				t.Errorf("addresses %q and %q, want %q", got.ListenAddress, got.AdminAddress, tt.addresses)
			case got.ConfigPath != tt.config, got.Stdout != &stdout, got.Stderr != &stderr, got.Version == "", got.Command != "bin/keybridge":
				t.Errorf("options %+v", got)
			case v != "value of X" || !ok:
				t.Error("the environment is not handed on")
			}
		})
	}
}

// The first signal asks the gateway to stop, the second does not ask.
func TestSignals(t *testing.T) {
	t.Parallel()
	for _, sig := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			stuck, lines := start(t, "keybridge-stuck")
			expect(t, lines, "serving")
			signalTo(t, stuck, sig)
			expect(t, lines, "stopping")
			signalTo(t, stuck, sig)
			var exit *exec.ExitError
			if err := stuck.Wait(); !errors.As(err, &exit) || !exit.Sys().(syscall.WaitStatus).Signaled() {
				t.Errorf("after the second signal: %v", err)
			}
			tidy, lines := start(t, "keybridge-tidy")
			expect(t, lines, "serving")
			signalTo(t, tidy, sig)
			if err := tidy.Wait(); err != nil {
				t.Errorf("after one signal: %v", err)
			}
		})
	}
}

func start(t *testing.T, name string) (*exec.Cmd, *bufio.Reader) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err = cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return cmd, bufio.NewReader(out)
}

func expect(t *testing.T, r *bufio.Reader, want string) {
	t.Helper()
	if line, err := r.ReadString('\n'); err != nil || line != want+"\n" {
		t.Fatalf("printed %q (%v), want %q", line, err, want)
	}
}

func signalTo(t *testing.T, cmd *exec.Cmd, sig os.Signal) {
	t.Helper()
	if err := cmd.Process.Signal(sig); err != nil {
		t.Fatal(err)
	}
}

type brokenPipe struct{}

func (brokenPipe) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestUnwritableOutput(t *testing.T) {
	t.Parallel()
	var stderr strings.Builder
	p := program{env: func(string) (string, bool) { return "x", true }, stdout: brokenPipe{}, stderr: &stderr}
	for _, args := range [][]string{{"version"}, {"check", "../../internal/config/testdata/good/byok.yaml"}} {
		stderr.Reset()
		if code := p.run(t.Context(), args); code != 1 || !strings.Contains(stderr.String(), io.ErrClosedPipe.Error()) {
			t.Errorf("%v: exit code %d, stderr %q", args, code, stderr.String())
		}
	}
}

func TestIdentify(t *testing.T) {
	t.Parallel()
	setting := func(k, v string) debug.BuildSetting { return debug.BuildSetting{Key: k, Value: v} }
	tests := []struct {
		name string
		info debug.BuildInfo
		want identity
		line string
	}{
		{"tree without revision", debug.BuildInfo{Main: debug.Module{Version: "(devel)"}}, identity{version: "devel"}, "keybridge devel go"},
		{"test binary", debug.BuildInfo{}, identity{version: "devel"}, "keybridge devel go"},
		{
			"changed tree",
			debug.BuildInfo{Settings: []debug.BuildSetting{setting("vcs.revision", "0123456789abcdef0123"), setting("vcs.modified", "true")}},
			identity{"devel", "0123456789ab", true},
			"keybridge devel revision 0123456789ab with local changes go",
		},
		{
			"release",
			debug.BuildInfo{Main: debug.Module{Version: "v1.2.3"}, Settings: []debug.BuildSetting{setting("vcs.revision", "0123"), setting("vcs.modified", "false")}},
			identity{"v1.2.3", "0123", false},
			"keybridge v1.2.3 revision 0123 go",
		},
	}
	for _, tt := range tests {
		if got := identify(&tt.info); got != tt.want || !strings.HasPrefix(got.line(), tt.line) {
			t.Errorf("%s: %+v %q, want %+v %q", tt.name, got, got.line(), tt.want, tt.line)
		}
	}
}
