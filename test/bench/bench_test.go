package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestMain(m *testing.M) {
	if role, ok := roleOf(os.Args); ok {
		exit(role(os.Args[2:]))
	}
	os.Exit(m.Run())
}

// built is the real gateway.
func built(t *testing.T) string {
	t.Helper()
	if _, err := os.Stat("/proc/self/schedstat"); err != nil {
		t.Skip("processes are measured through Linux's /proc")
	}
	path := filepath.Join(t.TempDir(), "keybridge")
	if out, err := exec.Command("go", "build", "-o", path, "keybridge/cmd/keybridge").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return path
}

// Every scenario runs, every proxy answers every call, and what can be known
// beforehand comes out.
func TestQuick(t *testing.T) {
	gateway := built(t)
	var out bytes.Buffer
	r, err := newRig(t.Context(), options{keybridge: gateway, rounds: 1, quick: true}, &out)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	for _, s := range scenarios() {
		figures, err := s.run(r, s.name)
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		for _, f := range figures {
			judged := f.values[keybridge]
			if f.judged != "" {
				judged = f.values[f.judged]
			}
			if len(judged) != 1 {
				t.Errorf("%s: %s was measured %d times, want once", s.name, f.name, len(judged))
			}
			got, positive := median(judged), false
			switch {
			case f.name == "attempts per request":
				if got != 2 || f.base[0] != 1 {
					t.Errorf("%v attempts per request where the first key is refused, %v where it is not, want 2 and 1", got, f.base[0])
				}
			case strings.HasPrefix(f.name, "CPU"), strings.HasPrefix(f.name, "allocations"), strings.HasPrefix(f.name, "KiB"),
				strings.HasPrefix(f.name, "peak memory"):
				positive = true
			}
			for _, column := range s.columns(r) {
				if v := f.values[column]; positive && len(v) > 0 && v[0] <= 0 {
					t.Errorf("%s: %s of %s is %v", s.name, f.name, column, v[0])
				}
			}
		}
	}
	if got := r.tallies[keybridge]; got.calls == 0 || got.lost != 0 {
		t.Errorf("Keybridge was sent %d calls and lost %d", got.calls, got.lost)
	}
}

func TestProfiles(t *testing.T) {
	gateway, dir := built(t), filepath.Join(t.TempDir(), "profiles")
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-quick", "-keybridge", gateway, "-only", "1kb", "-profile", dir}, &out); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"1kb.cpu.pprof", "1kb.allocs.pprof"} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Size() == 0 {
			t.Errorf("%s: %v, %v", name, info, err)
		}
	}
	if !strings.Contains(out.String(), "CPU µs per request") || !strings.Contains(out.String(), "targets met") {
		t.Errorf("printed\n%s", out.String())
	}
}

func TestSoak(t *testing.T) {
	gateway := built(t)
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-keybridge", gateway, "-soak", "1500"}, &out); err != nil {
		t.Fatal(err)
	}
	if want := "1500 streams of 1500, 0 lost, 0 altered; 188 with failover"; !strings.Contains(out.String(), want) {
		t.Errorf("printed\n%swant %q", out.String(), want)
	}
}

// received is stream n as a client gets it from the mock.
func received(t *testing.T, streams soakStreams, n int) []byte {
	t.Helper()
	server, conn := net.Pipe()
	defer conn.Close()
	go func() {
		defer server.Close()
		_ = streams.send(server, n)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func TestSoakNoticesEveryDifference(t *testing.T) {
	streams := newSoakStreams()
	for n := range 2 * len(streams) {
		if err := streams.check(received(t, streams, n), n); err != nil {
			t.Fatalf("stream %d as sent: %v", n, err)
		}
	}
	const n = 4711
	body := received(t, streams, n)
	for _, tt := range []struct {
		name string
		body []byte
	}{
		{"a byte flipped at the start", flipped(body, 0)},
		{"a byte flipped in the middle", flipped(body, len(body)/2)},
		{"a byte flipped at the end", flipped(body, len(body)-1)},
		{"cut short", body[:len(body)-1]},
		{"longer", append(bytes.Clone(body), '\n')},
		{"empty", nil},
		{"another's number", received(t, streams, n+len(streams))},
		{"another's body", received(t, streams, n+1)},
		{"another's end", append(bytes.Clone(body[:len(body)/2]), received(t, streams, n+len(streams))[len(body)/2:]...)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := streams.check(tt.body, n); !errors.Is(err, errAltered) {
				t.Errorf("passed: %v", err)
			}
		})
	}
}

func flipped(body []byte, at int) []byte {
	body = bytes.Clone(body)
	body[at] ^= 1
	return body
}

func TestPromptSizes(t *testing.T) {
	for _, size := range []int{1_000, 500_000, 4_000_000, 32_000_000} {
		body := prompt(size, false)
		if len(body) != size || !json.Valid(body) {
			t.Errorf("a prompt of %d bytes is %d long, of JSON: %v", size, len(body), json.Valid(body))
		}
	}
}

func TestFigures(t *testing.T) {
	paired := func(most float64, mine, base []float64) figure {
		return figure{name: "x", most: most, values: map[string][]float64{keybridge: mine, floorRead: base}}
	}
	own := paired(2.2, []float64{20, 21}, []float64{1, 1})
	own.base = []float64{10, 10}
	itself := paired(0.01, []float64{0, 0.02, 0}, nil)
	itself.absolute = true
	for _, tt := range []struct {
		name string
		f    figure
		want []string
	}{
		{"met", paired(0.8, []float64{70, 90, 80}, []float64{100, 100, 100}), []string{"x", "80.0 (70.0–90.0)", "100 (100–100)", "0.800 (0.700–0.900)", "≤ 0.8, met"}},
		{"missed by the median", paired(1, []float64{3, 1, 3}, []float64{2, 2, 2}), []string{"x", "3.00 (1.00–3.00)", "2.00 (2.00–2.00)", "1.50 (0.500–1.50)", "≤ 1, missed"}},
		{"paired by round", paired(1, []float64{1, 100}, []float64{2, 200}), []string{"x", "50.5 (1.00–100)", "101 (2.00–200)", "0.500 (0.500–0.500)", "≤ 1, met"}},
		{"a floor below the noise", paired(1, []float64{1, 1}, []float64{-2, 4}), []string{"x", "1.00 (1.00–1.00)", "1.00 (-2.00–4.00)", "0.250 (0.250–0.250)", "≤ 1, met"}},
		{"its own base", own, []string{"x", "20.5 (20.0–21.0)", "1.00 (1.00–1.00)", "2.05 (2.00–2.10)", "≤ 2.2, met"}},
		{"itself", itself, []string{"x", "0.000 (0.000–0.020)", "–", "–", "≤ 0.01 itself, met"}},
		{"no target", paired(0, []float64{1}, []float64{4}), []string{"x", "1.00 (1.00–1.00)", "4.00 (4.00–4.00)", "0.250 (0.250–0.250)", ""}},
		{"nothing to compare", paired(1, []float64{1}, nil), []string{"x", "1.00 (1.00–1.00)", "–", "–", "not measured"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, tt.f.cells([]string{keybridge, floorRead})); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestQuantile(t *testing.T) {
	var all []time.Duration
	for i := range 100 {
		all = append(all, time.Duration(100-i)*time.Microsecond)
	}
	got := []float64{quantile(all, 0), quantile(all, 0.5), quantile(all, 0.99), quantile(all, 1)}
	if diff := cmp.Diff([]float64{1, 51, 100, 100}, got); diff != "" {
		t.Error(diff)
	}
}

func TestBetween(t *testing.T) {
	got, err := between([]byte("a\n"+beginMark+"old\n"+endMark+"b\n"), []byte("new\n"))
	if err != nil || string(got) != "a\n"+beginMark+"new\n"+endMark+"b\n" {
		t.Errorf("%q, %v", got, err)
	}
	for _, page := range []string{"", beginMark, endMark + beginMark} {
		if got, err := between([]byte(page), nil); err == nil {
			t.Errorf("%q became %q", page, got)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, args := range [][]string{{"-only", "nothing"}, {"-rounds", "0"}, {"-soak", "-1"}, {"more"}, {"-keybridge", "nowhere"}} {
		if err := run(t.Context(), args, io.Discard); err == nil {
			t.Errorf("%q is accepted", args)
		}
	}
}
