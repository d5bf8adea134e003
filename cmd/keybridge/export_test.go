package main

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keybridge/internal/config"
)

// exporter is a gateway that exports two lines and then ends so.
func exporter(t *testing.T, end func(http.ResponseWriter, *http.Request)) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/export" || r.Header.Get("Authorization") != "Bearer secret" {
			t.Errorf("asked for %s with %q", r.URL, r.Header["Authorization"])
		}
		w.Header().Set("X-Total-Count", "3")
		_, _ = io.WriteString(w, "{\"id\":1}\n{\"id\":2}\n")
		_ = http.NewResponseController(w).Flush()
		end(w, r)
	}))
	t.Cleanup(func() { s.CloseClientConnections(); s.Close() })
	return s.Listener.Addr().String()
}

// An export is whole, or the file stays as it was; what was wrong is told.
func TestExportToFile(t *testing.T) {
	t.Parallel()
	stopped, stop := context.WithCancel(t.Context())
	tests := []struct {
		name  string
		ctx   context.Context //nolint:containedctx // of the case
		end   func(http.ResponseWriter, *http.Request)
		says  string
		whole bool
	}{
		{"whole", t.Context(), func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "{\"id\":3}\n") }, "", true},
		{"broken off", t.Context(), func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, " broke off its answer: unexpected EOF\n", false},
		{"stopped", stopped, func(_ http.ResponseWriter, r *http.Request) { stop(); <-r.Context().Done() }, "old: the export was stopped\n", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			target := filepath.Join(dir, "target")
			if err := os.WriteFile(target, []byte("as it was"), 0o644); err != nil {
				t.Fatal(err)
			}
			name := filepath.Join(dir, "old")
			if err := os.Symlink(target, name); err != nil {
				t.Fatal(err)
			}
			var stdout, stderr strings.Builder
			p := program{env: func(name string) (string, bool) {
				return "secret", name == "KEYBRIDGE_ADMIN_TOKEN"
			}, stdout: &stdout, stderr: &stderr}
			code := p.run(tt.ctx, []string{"export", "-o", name, "--admin", exporter(t, tt.end)})
			got, err := os.ReadFile(target)
			if err != nil {
				t.Fatal(err)
			}
			files, err := os.ReadDir(dir)
			if err != nil || len(files) != 2 {
				t.Errorf("left in the folder: %v, %v", files, err)
			}
			if info, err := os.Lstat(name); err != nil || info.Mode().Type() != os.ModeSymlink {
				t.Errorf("the link is none any more: %v, %v", info, err)
			}
			if tt.whole {
				if code != exitOK || string(got) != "{\"id\":1}\n{\"id\":2}\n{\"id\":3}\n" || stdout.String() != "exported 3 requests to "+name+"\n" {
					t.Errorf("code %d, file %q, says %q %q", code, got, &stdout, &stderr)
				}
				return
			}
			if code != exitFailure || string(got) != "as it was" || !strings.Contains(stderr.String(), tt.says) ||
				!strings.HasPrefix(stderr.String(), "keybridge: nothing was exported to ") || stdout.Len() > 0 {
				t.Errorf("code %d, file %q, says %q %q, want %q", code, got, &stdout, &stderr, tt.says)
			}
		})
	}
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// What cannot be written is not blamed on the gateway.
func TestExportCannotBeWritten(t *testing.T) {
	t.Parallel()
	var stderr strings.Builder
	p := program{env: func(name string) (string, bool) { return "secret", name == "KEYBRIDGE_ADMIN_TOKEN" }, stdout: full{}, stderr: &stderr}
	code := p.run(t.Context(), []string{"export", "--admin", exporter(t, func(http.ResponseWriter, *http.Request) {})})
	if want := "keybridge: what was exported cannot be written: no space left\n"; code != exitFailure || stderr.String() != want {
		t.Errorf("code %d, says %q, want %q", code, &stderr, want)
	}
}

// A gateway that says nothing is given up, before its answer and in the middle of it; one
// that is slow is not.
func TestStreamSilence(t *testing.T) {
	t.Parallel()
	const patience = 300 * time.Millisecond
	deaf, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = deaf.Close() })
	silent := exporter(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	read := func(address string) (string, error) {
		o := operator{address: address, token: "secret", client: newOperator(config.AdminSide{}, tokenFlag).client}
		o.client.Timeout = patience
		s, err := o.stream(t.Context(), "/export", patience)
		if err != nil {
			return "", err
		}
		defer s.Close()
		b, err := io.ReadAll(s)
		if err != nil {
			return string(b), s.err
		}
		return string(b), nil
	}
	if _, err := read(deaf.Addr().String()); err == nil || !strings.HasSuffix(err.Error(), " broke off its answer: it has said nothing for too long") {
		t.Errorf("before the answer: %v", err)
	}
	if got, err := read(silent); !errors.Is(err, errSilent) || got != "{\"id\":1}\n{\"id\":2}\n" {
		t.Errorf("in the middle: %q, %v", got, err)
	}
	slow := exporter(t, func(w http.ResponseWriter, _ *http.Request) {
		ticks := time.NewTicker(patience / 6)
		defer ticks.Stop()
		for range 12 { // twice the patience in all
			<-ticks.C
			_, _ = io.WriteString(w, "x")
			_ = http.NewResponseController(w).Flush()
		}
	})
	if got, err := read(slow); err != nil || !strings.HasSuffix(got, strings.Repeat("x", 12)) {
		t.Errorf("slowly: %q, %v", got, err)
	}
}
