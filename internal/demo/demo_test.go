package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/testkit"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// network is loopback in memory.
type network struct {
	mu        sync.Mutex
	listeners map[string]*testkit.Listener
	// spoil changes what the clients of the listener of that number read.
	spoiled int
	spoil   func([]byte)
}

type bound struct {
	*testkit.Listener
	addr net.Addr
}

func (b bound) Addr() net.Addr { return b.addr }

func (n *network) listen(string, string) (net.Listener, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	b := bound{testkit.NewListener(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1000 + len(n.listeners)}}
	n.listeners[b.addr.String()] = b.Listener
	return b, nil
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	n.mu.Lock()
	l, spoil := n.listeners[address], n.spoil
	n.mu.Unlock()
	c, err := l.Dial(ctx, network, address)
	if err == nil && spoil != nil && address == fmt.Sprintf("127.0.0.1:%d", 1000+n.spoiled) {
		return spoiler{c, spoil}, nil
	}
	return c, err
}

type spoiler struct {
	net.Conn
	spoil func([]byte)
}

func (s spoiler) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p)
	s.spoil(p[:n])
	return n, err
}

// The listeners in the order in which they are opened.
const (
	simulated = iota
	administration
	gateway
	untroubled
)

func newNetwork() *network { return &network{listeners: map[string]*testkit.Listener{}} }

// show runs a whole demo in virtual time.
func perform(t *testing.T, n *network, o Options) (out string, err error) {
	t.Helper()
	var b bytes.Buffer
	o.Stdout, o.Listen, o.Dial = &b, n.listen, n.dial
	begin := time.Now()
	err = Run(t.Context(), o)
	if took := time.Since(begin); took < Shortest || took > Shortest+patience {
		t.Errorf("took %v", took)
	}
	return b.String(), err
}

var escapes = regexp.MustCompile("\x1b\\[[0-9]*[A-Za-z]")

func TestDemoPasses(t *testing.T) {
	for _, seed := range []uint64{1, 2026} {
		synctest.Test(t, func(t *testing.T) {
			out, err := perform(t, newNetwork(), Options{Seed: seed})
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			for _, want := range []string{
				"0 failures seen by clients: each answer was, to the byte,",
				"\n 5.0 s  ",
				"openai/k1 permanent: unauthorized, next try ",
				"anthropic  k0   out of credit ",
				"a probe found it good\n",
				"its wait was over\n",
				"stays out: it did not heal\n",
				`keybridge_key_pool_recoveries_total{provider="anthropic",via="probe"} 3`,
				`keybridge_key_pool_key_state{key="k3",provider="openai",state="valid"} 1`,
				"\nPASSED  ",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q", want)
				}
			}
			if strings.Contains(out, "\x1b") || strings.Contains(out, "k3 permanent") || strings.Contains(out, "sk-") {
				t.Error("says what it should not")
			}
			if t.Failed() {
				t.Log(out)
			}
		})
	}
}

func TestDemoRedraws(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := perform(t, newNetwork(), Options{Terminal: true, Colour: true})
		if err != nil {
			t.Fatal(err)
		}
		rows := strings.Count(out, "\x1b[10A") // eight keys, the head and the sum
		if rows < 70 || !strings.Contains(out, "\x1b[31mpermanent\x1b[0m") {
			t.Errorf("redrawn %d times, want some 80", rows)
		}
		table, _, _ := strings.Cut(escapes.ReplaceAllString(out, ""), "The pool's metrics")
		for line := range strings.SplitSeq(table, "\n") {
			if utf8.RuneCountInString(line) > 100 || strings.HasPrefix(line, "anthropic") && utf8.RuneCountInString(line) > 79 {
				t.Errorf("too wide: %q", line)
			}
		}
	})
}

func TestWithoutFailoverClientsSeeIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		out, err := perform(t, newNetwork(), Options{WithoutFailover: true})
		failed, ok := errors.AsType[FailedError](err)
		if !ok || len(failed) != 1 || !regexp.MustCompile(`^clients saw \d{3} failures in 1200 requests$`).MatchString(failed[0]) {
			t.Errorf("%v", err)
		}
		for _, want := range []string{"status 429\n", "status 401\n", "status 503\n", "status 529\n", "status 400\n", "an error in the answer\n", "\nFAILED\n", "0 failovers"} {
			if !strings.Contains(out, want) {
				t.Errorf("does not say %q\n%s", want, out)
			}
		}
	})
}

// What is altered on the way, or lost, is noticed.
func TestDemoCannotLie(t *testing.T) {
	for name, tc := range map[string]struct {
		spoiled int
		from    string
		to      string
		want    string
	}{
		"a changed word":      {gateway, "Question 700", "Question 7OO", "clients saw 1 failure in 1200 requests"},
		"a changed reference": {untroubled, "Question 700", "Question 7OO", "clients saw 1 failure in 1200 requests"},
		"no metrics":          {administration, "HTTP/1.1 200", "HTTP/1.1 500", "the metrics could not be read"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := newNetwork()
				n.spoiled = tc.spoiled
				n.spoil = func(p []byte) {
					for i := bytes.Index(p, []byte(tc.from)); i >= 0; i = bytes.Index(p, []byte(tc.from)) {
						copy(p[i:], tc.to)
					}
				}
				out, err := perform(t, n, Options{})
				if failed, _ := errors.AsType[FailedError](err); len(failed) != 1 || failed[0] != tc.want {
					t.Errorf("%v, want %s\n%s", err, tc.want, out)
				}
			})
		})
	}
}

func TestDemoIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNetwork()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := Run(ctx, Options{Stdout: &bytes.Buffer{}, Listen: n.listen, Dial: n.dial}); err == nil || err.Error() != "the demo was interrupted" {
			t.Errorf("%v", err)
		}
	})
	if err := Run(t.Context(), Options{Length: time.Second}); err == nil || !strings.Contains(err.Error(), "needs 20 seconds or more") {
		t.Errorf("%v", err)
	}
}

func TestComplete(t *testing.T) {
	for _, tc := range []struct {
		speech int
		stream bool
		body   string
		want   string
	}{
		{0, true, "data: {}\n\ndata: [DONE]\n\n", ""},
		{0, true, "data: {}\n\n", "an answer without its end"},
		{0, true, "data: [DONE]\n\ndata: {", "an answer without its end"},
		{0, true, "data: {\"error\":{}}\n\ndata: [DONE]\n\n", "an error in the answer"},
		{0, false, `{"choices": [{"finish_reason": "stop"}]}`, ""},
		{0, false, `{"choices": []}`, "an answer without its end"},
		{0, false, `{"error": {"message": "x"}}`, "an error in the answer"},
		{1, true, "event: response.completed\ndata: {}\n\n", ""},
		{1, true, "event: response.failed\ndata: {}\n\n", "an error in the answer"},
		{1, false, `{"status": "completed"}`, ""},
		{1, false, `{"status": "failed"}`, "an answer without its end"},
		{2, true, "event: message_stop\ndata: {}\n\n", ""},
		{2, true, "event: error\ndata: {}\n\n", "an error in the answer"},
		{2, false, `{"stop_reason":"end_turn"}`, ""},
		{2, false, `{"stop_reason":null}`, "an answer without its end"},
		{2, false, `{"type":"error"}`, "an error in the answer"},
	} {
		got := ""
		if err := (errand{speech: &speeches[tc.speech], stream: tc.stream}).complete([]byte(tc.body)); err != nil {
			got = err.Error()
		}
		if got != tc.want {
			t.Errorf("%s: %q, want %q", tc.body, got, tc.want)
		}
	}
}

// A healed key that stays out, and one that no request met, are failures.
func TestReturns(t *testing.T) {
	begin := time.Now()
	pools := func(k0 keypool.State) []keypool.Status {
		return []keypool.Status{{Provider: "openai", Keys: []keypool.KeyStatus{{ID: "k0", State: k0}, {ID: "k1", State: keypool.Valid}}}}
	}
	gone := &act{provider: "openai", key: "k0", class: revoked, to: 1}
	unmet := &act{provider: "openai", key: "k1", class: limited, to: 1}
	w := newWatch(begin)
	w.struck(gone)
	w.struck(unmet)
	w.see(pools(keypool.Permanent), begin.Add(time.Second))
	w.healed(gone, begin.Add(2*time.Second))
	w.healed(unmet, begin.Add(2*time.Second))
	w.see(pools(keypool.Permanent), begin.Add(3*time.Second))
	if !w.waiting() {
		t.Error("does not wait for the healed key")
	}
	told := func() (text string, complaints []string) {
		text = (&show{watch: w}).returns(func(f string, args ...any) { complaints = append(complaints, fmt.Sprintf(f, args...)) })
		return text, complaints
	}
	_, complaints := told()
	want := []string{"openai/k0 healed from being revoked and did not come back", "openai/k1 was rate-limited, and no request met it"}
	if diff := cmp.Diff(want, complaints); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.see(pools(keypool.Valid), begin.Add(5*time.Second))
	text, complaints := told()
	if w.waiting() || len(complaints) != 1 || !strings.Contains(text, "openai     k0   revoked           4.0 s   3.0 s, a probe found it good\n") {
		t.Errorf("%v\n%s", complaints, text)
	}
}

func TestRow(t *testing.T) {
	now := time.Now()
	s := &show{watch: newWatch(now)}
	s.watch.struck(&act{provider: "openai", key: "k0", class: drained})
	for want, k := range map[string]keypool.KeyStatus{
		"openai     k0   out of credit   valid                                  7":      {ID: "k0", State: keypool.Valid, Served: 7},
		"openai     k1                   temporary  rate_limited (2)     1.5 s       0": {ID: "k1", State: keypool.Temporary, Reason: verdict.RateLimited, Models: []string{"a", "b"}, NextTry: now.Add(1500 * time.Millisecond)},
		"openai     k2                   permanent  quota_exhausted     60 min       0": {ID: "k2", State: keypool.Permanent, Reason: verdict.QuotaExhausted, NextTry: now.Add(time.Hour)},
		"openai     k3                   permanent  unauthorized           now       0": {ID: "k3", State: keypool.Permanent, Reason: verdict.Unauthorized, NextTry: now.Add(-1)},
	} {
		if diff := cmp.Diff(strings.Join(strings.Fields(want), " "), strings.Join(strings.Fields(s.row("openai", k, now)), " ")); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestPoolSamples(t *testing.T) {
	moves, text := poolSamples(strings.NewReader(`# HELP keybridge_key_pool_failovers_total Moves
keybridge_key_pool_failovers_total{provider="a",reason="timeout"} 3
keybridge_key_pool_failovers_total{provider="b",reason="timeout"} 4
keybridge_key_pool_failovers_total{provider="b",reason="too_large"} 0
keybridge_key_pool_call_attempts_bucket{provider="b",le="1"} 9
keybridge_key_pool_call_attempts_sum{provider="b"} 12
keybridge_interceptions_total{provider="b"} 5
`))
	want := "  keybridge_key_pool_failovers_total{provider=\"a\",reason=\"timeout\"} 3\n" +
		"  keybridge_key_pool_failovers_total{provider=\"b\",reason=\"timeout\"} 4\n  keybridge_key_pool_call_attempts_sum{provider=\"b\"} 12\n"
	if diff := cmp.Diff(want, text); diff != "" || moves != 7 {
		t.Errorf("%d moves (-want +got):\n%s", moves, diff)
	}
}
