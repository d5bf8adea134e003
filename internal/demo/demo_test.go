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
	administration = iota
	gateway
	simulated
	untroubled
	toolbox
	sceneAdministration
	sceneGateway
	sceneSimulated
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
				"s  anthropic  k1      belongs to org-a, says anthropic-organization-id\n",
				"openai     k1      permanent: unauthorized, next try in ",
				"anthropic  k0 k1   all of org-a temporary: rate_limited (",
				"anthropic  k0 k1   all of org-a permanent: quota_exhausted, next try in 1.",
				"openai     k2      back after 3.",
				" s: the operator revived it\n",
				"anthropic  org-a: k0 k1  org-b: k2  org-c: k3\n",
				"of 1.0 s: 1 wasted call for each\n",
				"of 1.5 s: 1 wasted call for each\n",
				"  k2                  18               8%              8%            0 of ",
				"30 conversations of agents with anthropic",
				"  turn 2  k0   calls kb_warehouse_stock: shelf 2: 15 crates\n  turn 3  k0   403: revoked\n  turn 3  k1   calls kb_warehouse_stock: shelf 3: 10 crates\n  turn 4  k1   answers\n",
				"one answer, no call, no error, in 0.",
				"    First I say that I call a tool. This is turn 3.\n    The tool said: shelf 3: 10 crates (simulated claude-sonnet-5)\n",
				"anthropic  k0   out of credit ",
				" s, a probe found it good\n",
				" s, its wait was over\n",
				" s, the operator revived it\n",
				`keybridge_key_pool_recoveries_total{provider="anthropic",via="probe"} 5`,
				`keybridge_key_pool_recoveries_total{provider="openai",via="operator"} 1`,
				`keybridge_key_pool_key_state{key="k3",provider="openai",state="valid"} 1`,
				"\nPASSED  ",
			} {
				if !strings.Contains(out, want) {
					t.Errorf("does not say %q", want)
				}
			}
			if strings.Contains(out, "\x1b") || strings.Contains(out, "k3      permanent") || strings.Contains(out, "does not say how") || strings.Contains(out, "NOT SHOWN") || strings.Contains(out, "sk-") {
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
		rows := strings.Count(out, "\x1b[19A") // eight keys, three heads, five news, the sum, and blanks
		if rows < 70 || !strings.Contains(out, "\x1b[31mpermanent\x1b[0m") {
			t.Errorf("redrawn %d times, want some 80", rows)
		}
		table, _, _ := strings.Cut(escapes.ReplaceAllString(out, ""), "The pool's metrics")
		for line := range strings.SplitSeq(table, "\n") {
			if utf8.RuneCountInString(line) > 100 || strings.HasPrefix(line, "k") && utf8.RuneCountInString(line) > 79 {
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
		"a lost end":          {sceneGateway, "message_stop", "message_stoq", "the client of the tool loop did not see one whole answer"},
		"no tool":             {toolbox, "HTTP/1.1 200", "HTTP/1.1 500", "in the tool loop the tool was called 0 times and 0 keys failed"},
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

// A healed key that stays out is a failure; one that no request met has not been shown.
func TestReturns(t *testing.T) {
	begin := time.Now()
	pools := func(k0 keypool.State) []keypool.Status {
		return []keypool.Status{{Provider: "openai", Keys: []keypool.KeyStatus{{ID: "k0", State: k0}, {ID: "k1", State: keypool.Valid}}}}
	}
	gone := &act{provider: "openai", key: "k0", class: revoked, to: 1}
	unmet := &act{provider: "openai", key: "k1", class: limited, to: 1}
	w := newWatch(begin)
	w.struck(gone, begin)
	w.struck(unmet, begin)
	w.see(pools(keypool.Permanent), begin.Add(time.Second))
	w.healed(gone, begin.Add(2*time.Second))
	w.healed(unmet, begin.Add(2*time.Second))
	w.see(pools(keypool.Permanent), begin.Add(3*time.Second))
	if !w.waiting() {
		t.Error("does not wait for the healed key")
	}
	s := &show{watch: w}
	told := func() (text string, complaints []string) {
		s.missed = nil
		text = s.returns(func(f string, args ...any) { complaints = append(complaints, fmt.Sprintf(f, args...)) })
		return text, complaints
	}
	_, complaints := told()
	want := [][]string{{"openai/k0 healed from being revoked and did not come back"}, {"openai/k1 was rate-limited, and no request met it"}}
	if diff := cmp.Diff(want, [][]string{complaints, s.missed}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	w.see(pools(keypool.Valid), begin.Add(5*time.Second))
	text, complaints := told()
	if w.waiting() || len(complaints) != 0 || len(s.missed) != 1 || !strings.Contains(text, "openai     k0   revoked           4.0 s  3.0 s, the log does not say how\n") {
		t.Errorf("%v\n%s", complaints, text)
	}
	w.returns = []comeback{{keyName{"openai", "k0"}, "trial", begin.Add(5 * time.Second)}, {keyName{"openai", "k0"}, "probe", begin.Add(6 * time.Second)}}
	if text, _ := told(); !strings.Contains(text, "3.0 s, a request found it good\n") {
		t.Errorf("%s", text)
	}
}

// What a slow machine could not show is told of, and fails nothing.
func TestNotShown(t *testing.T) {
	var out bytes.Buffer
	s := &show{o: Options{Stdout: &out}}
	s.miss("%s was out of credit, and no request met it", "anthropic/k2")
	if err := s.verdict(nil); err != nil || !strings.Contains(out.String(), "NOT SHOWN  ") || !strings.Contains(out.String(), "\n  anthropic/k2 was out") || !strings.Contains(out.String(), "PASSED") {
		t.Errorf("%v\n%s", err, &out)
	}
}

// The log may be a little later than the pool, and news wait for it.
func TestNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWatch(time.Now())
		in := func(org string) keypool.Membership { return keypool.Membership{Name: org, Evidence: "X-Org"} }
		both := in("org-a")
		key := func(id string, st keypool.State, org keypool.Membership, shared ...string) keypool.KeyStatus {
			org.Shared = shared
			return keypool.KeyStatus{ID: id, State: st, Reason: verdict.RateLimited, Organization: org, NextTry: time.Now().Add(time.Second)}
		}
		pool := func(keys ...keypool.KeyStatus) []keypool.Status { return []keypool.Status{{Provider: "p", Keys: keys}} }
		w.see(pool(key("k0", keypool.Valid, in("")), key("k1", keypool.Valid, in("")), key("k2", keypool.Valid, in(""))), time.Now())
		w.see(pool(key("k0", keypool.Valid, both, "k1"), key("k1", keypool.Valid, both, "k0"), key("k2", keypool.Valid, in(""))), time.Now())
		time.Sleep(time.Second)
		out := pool(key("k0", keypool.Temporary, both, "k1"), key("k1", keypool.Temporary, both, "k0"), key("k2", keypool.Temporary, in("")))
		w.see(out, time.Now())
		time.Sleep(time.Second)
		due := key("k2", keypool.Permanent, in(""))
		due.NextTry = time.Now()
		well := pool(key("k0", keypool.Valid, both, "k1"), key("k1", keypool.Temporary, both, "k0"), due)
		w.see(well, time.Now())
		for _, part := range []string{"time=now level=INFO msg=\"key out\" provider=p key=k0 via=probe\n", "time=now level=INFO msg=\"key recovered\" provider=p key=k0 hint=x state=valid via=cooldown\n"} {
			if n, err := w.Write([]byte(part)); n != len(part) || err != nil {
				t.Fatal(n, err)
			}
		}
		time.Sleep(100 * time.Millisecond)
		w.see(well, time.Now())
		w.see(well, time.Now())
		news, all := w.latest(0)
		want := []string{
			" 0.0 s  p          k0      belongs to org-a, says x-org",
			" 0.0 s  p          k1      belongs to org-a, says x-org",
			" 1.0 s  p          k0 k1   all of org-a temporary: rate_limited, next try in 1.0 s",
			" 1.0 s  p          k2      temporary: rate_limited, next try in 1.0 s",
			" 2.0 s  p          k2      permanent: rate_limited, next try at once",
			" 2.1 s  p          k0      back after 1.1 s: its wait was over",
		}
		if diff := cmp.Diff(want, news); diff != "" || all != len(want) {
			t.Errorf("%d (-want +got):\n%s", all, diff)
		}
		if rest, _ := w.latest(5); len(rest) != 1 {
			t.Errorf("%q", rest)
		}
	})
}

func TestRow(t *testing.T) {
	now := time.Now()
	s := &show{watch: newWatch(now)}
	s.watch.struck(&act{provider: "openai", key: "k0", class: drained}, now)
	room := func(left, of int64) []keypool.Room {
		return []keypool.Room{{Max: 100, Estimate: 90}, {Max: of, Estimate: left}, {Max: 0, Estimate: 5}}
	}
	for want, k := range map[string]keypool.KeyStatus{
		"k0 ? out of credit   valid                           ?       7": {ID: "k0", State: keypool.Valid, Served: 7},
		"k1 org-b temporary  rate_limited (2)     1.5 s   40%       0":   {ID: "k1", State: keypool.Temporary, Reason: verdict.RateLimited, Models: []string{"a", "b"}, NextTry: now.Add(1500 * time.Millisecond), Organization: keypool.Membership{Name: "org-b"}, Headroom: room(8, 20)},
		"k2 ?     permanent  quota_exhausted     60 min 0% 0":            {ID: "k2", State: keypool.Permanent, Reason: verdict.QuotaExhausted, NextTry: now.Add(time.Hour), Headroom: room(-3, 20)},
		"k3 ?     permanent  unauthorized           now 90% 0":           {ID: "k3", State: keypool.Permanent, Reason: verdict.Unauthorized, NextTry: now.Add(-1), Headroom: room(20, 20)},
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
