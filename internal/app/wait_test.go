package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

// crowd is what became of many requests, by their names.
type crowd struct {
	mu    sync.Mutex
	ended map[string]int // statuses
}

// chatOf is a chat completion whose message is the name of the request.
func chatOf(name string) string {
	return fmt.Sprintf(`{"model":"gpt-5","messages":[{"role":"user","content":"request %s."}]}`, name)
}

// coolAll has every key refuse one request for as long.
func (r *rig) coolAll(t *testing.T, wait time.Duration) {
	t.Helper()
	for _, k := range r.keys {
		if err := r.sim.Arm(simulator.Fault{Key: k.Name, Name: "rate_limit", Wait: wait, Times: 1}); err != nil {
			t.Fatal(err)
		}
	}
}

// TestCrowdWaitsForTheKeys has 500 clients wait while all keys cool: one caller with
// 400 requests, one with five and one with the rest.
func TestCrowdWaitsForTheKeys(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cool = 8 * time.Second
		r := newRigWith(t, simulator.OpenAI, 3, "tokens: [literal:token-of-the-big-one, literal:token-of-the-small-one, literal:token-of-a-third]", "    max_wait: 10s\n")
		r.coolAll(t, cool)
		for _, k := range r.keys { // so that it shows who goes first
			if err := r.sim.Arm(simulator.Fault{Key: k.Name, Name: "slow", Wait: 50 * time.Millisecond, Times: 1}); err != nil {
				t.Fatal(err)
			}
		}
		start := time.Now()
		all := crowd{ended: map[string]int{}}
		var running sync.WaitGroup
		one := func(caller, name string) {
			running.Go(func() {
				req := newRequest(t, http.MethodPost, "http://"+gatewayAddress+"/openai/v1/chat/completions", chatOf(name))
				req.Header.Set("Authorization", "Bearer token-of-"+caller)
				a := send(t, r.client, req)
				all.mu.Lock()
				all.ended[name] = a.Status
				all.mu.Unlock()
			})
			time.Sleep(time.Millisecond) // so that they come in order
		}
		for i := range 400 {
			one("the-big-one", fmt.Sprintf("big-%d", i))
		}
		for i := range 95 {
			one("a-third", fmt.Sprintf("third-%d", i))
		}
		for i := range 5 {
			one("the-small-one", fmt.Sprintf("small-%d", i))
		}
		running.Wait()
		answered := 0
		for name, status := range all.ended {
			if status == http.StatusOK {
				answered++
			} else {
				t.Logf("%s: %d", name, status)
			}
		}
		if answered < 495 {
			t.Errorf("%d of 500 were answered", answered)
		}
		// The first request has all keys cool; when they are back, one request of each
		// caller tries one, and the others go when these are answered.
		calls := r.sim.Log()
		slices.SortStableFunc(calls, func(a, b simulator.Call) int { return a.Time.Compare(b.Time) })
		var first []string
		last := map[string]int{}
		then := map[string]time.Duration{} // when the last of each caller came
		for _, c := range calls {
			_, name, _ := strings.Cut(string(c.Body), "request ")
			name, _, _ = strings.Cut(name, ".")
			at := c.Time.Sub(start)
			caller, number, _ := strings.Cut(name, "-")
			n, err := strconv.Atoi(number)
			switch {
			case err != nil:
				t.Fatal(err)
			case c.Fault == "rate_limit":
				continue
			case at < cool:
				t.Errorf("%s was sent at %v", name, at)
			case at == cool:
				first = append(first, name+" "+c.KeyName)
			}
			if n < last[caller] && at > then[caller] {
				t.Errorf("%s came at %v, after %s-%d", name, at, caller, last[caller])
			}
			last[caller], then[caller] = max(last[caller], n), at
		}
		slices.Sort(first)
		if diff := cmp.Diff([]string{"big-0 k0", "small-0 k2", "third-0 k1"}, first); diff != "" {
			t.Errorf("at %v (-want +got):\n%s", cool, diff)
		}
		if len(calls) != 503 || then["small"] > cool+time.Second {
			t.Errorf("%d calls in all, the last of the small caller at %v", len(calls), then["small"])
		}
	})
}

// With a deadline farther than anyone may wait, the answer comes at once and says so.
func TestFarDeadlineIsToldAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const cool = 10 * time.Minute
		r := newRigWith(t, simulator.OpenAI, 2, "", "    max_wait: 10s\n")
		r.coolAll(t, cool)
		start := time.Now()
		for range 3 {
			before := time.Now()
			a := r.ask(t, http.MethodPost, "/v1/chat/completions", chatOf("x"))
			after, err := strconv.Atoi(a.Header.Get("Retry-After"))
			if a.Status != http.StatusTooManyRequests || a.Header.Get("X-Should-Retry") != "false" || err != nil {
				t.Fatalf("%d %v %s", a.Status, a.Header, a.Body)
			}
			if waited := time.Since(before); waited > 100*time.Millisecond {
				t.Errorf("it took %v", waited)
			}
			if off := time.Duration(after)*time.Second - (cool - time.Since(start)); off < 0 || off > time.Second {
				t.Errorf("Retry-After %d s is off by %v", after, off)
			}
			time.Sleep(100*time.Second + 300*time.Millisecond)
		}
		if n := len(r.sim.Log()); n != 2 {
			t.Errorf("%d calls upstream, want one for each key", n)
		}
	})
}
