package demo

import (
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

// What an organization's keys are asked in vain is counted for each model and period,
// and so is what goes from one of them to the other.
func TestWasted(t *testing.T) {
	begin := time.Now()
	call := func(seconds float64, key, fault, model, body string) simulator.Call {
		return simulator.Call{
			Provider: simulator.Anthropic, KeyName: key, Method: http.MethodPost, Path: "/v1/messages", Model: model, Fault: fault, Body: []byte(body),
			Time: begin.Add(time.Duration(seconds * float64(time.Second))),
		}
	}
	const fault = "rate_limit_retry_after"
	probe := call(0, "k1", fault, "opus", "0")
	probe.Path += "/count_tokens"
	elsewhere := call(0.1, "k0", fault, "opus", "0")
	elsewhere.Provider = simulator.OpenAI
	good := record{
		probe, elsewhere, call(0, "k0", fault, "opus", "1"), call(0.1, "k2", "", "opus", "1"),
		call(0.2, "k0", fault, "haiku", "2"), call(0.3, "k3", "", "haiku", "2"), call(1, "k1", fault, "opus", "3"), call(1.1, "k2", "", "opus", "3"),
	}
	for name, tc := range map[string]struct {
		record      record
		want        [4]int // rejected, periods, again, within
		complaining string
	}{
		"each once":            {good, [4]int{3, 3, 0, 0}, ""},
		"within the period":    {append(good, call(1.9, "k0", fault, "opus", "4"), call(1.95, "k2", "", "opus", "4")), [4]int{4, 3, 1, 0}, "org-a was asked again within a cooling period 1 times, and 0 calls went from one of its keys to the other"},
		"to its sibling":       {append(good, call(2, "k0", fault, "opus", "4"), call(2.1, "k1", "", "opus", "4")), [4]int{4, 4, 0, 1}, "org-a was asked again within a cooling period 0 times, and 1 calls went from one of its keys to the other"},
		"nobody met the limit": {nil, [4]int{}, "no request met org-a when it was rate-limited"},
	} {
		t.Run(name, func(t *testing.T) {
			w := tc.record.wasted()
			if len(w) != 2 {
				t.Fatalf("%d times", len(w))
			}
			if got := [4]int{w[0].rejected, w[0].periods, w[0].again, w[0].within}; got != tc.want {
				t.Errorf("%v, want %v", got, tc.want)
			}
			s, complaint := &show{o: Options{Length: Shortest}}, ""
			s.domains(w[:1], func(f string, args ...any) { complaint = fmt.Sprintf(f, args...) })
			if got := complaint + strings.Join(s.missed, "; "); got != tc.complaining {
				t.Errorf("%q, want %q", got, tc.complaining)
			}
		})
	}
}

func TestLoads(t *testing.T) {
	var r record
	for i := range 200 {
		c := simulator.Call{Provider: simulator.OpenAI, KeyName: fmt.Sprintf("k%d", i%2*3), Method: http.MethodPost, Model: "o3", Status: http.StatusOK}
		switch {
		case i < 3:
			c.Status = http.StatusTooManyRequests
		case i < 9:
			c.Status, c.Fault = http.StatusTooManyRequests, "rate_limit"
		}
		r = append(r, c)
	}
	r = append(r, simulator.Call{Provider: simulator.OpenAI, KeyName: "k0", Method: http.MethodGet}, simulator.Call{Provider: simulator.Anthropic, KeyName: "k0", Method: http.MethodPost, Model: "x"})
	got := r.loads(Shortest)
	want := []load{{"k0", 100, 2, 0.5, 36. / 216, 36}, {"k1", 0, 0, 0, 72. / 216, 72}, {"k2", 0, 0, 0, 18. / 216, 18}, {"k3", 100, 1, 0.5, 90. / 216, 90}}
	near := cmp.Comparer(func(a, b float64) bool { return math.Abs(a-b) < 1e-9 })
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(load{}), near); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	complaint := ""
	text := (&show{}).headroom(got, func(f string, args ...any) { complaint = fmt.Sprintf(f, args...) })
	if complaint != "3 of 200 calls to openai were refused because a limit was used up, want 1 in 100 at the most" || !strings.Contains(text, "2 of 100\n") {
		t.Errorf("%q\n%s", complaint, text)
	}
}

func TestTalk(t *testing.T) {
	var r record
	for i, c := range []struct {
		session, key, fault string
		status              int
	}{
		{"a", "k0", "", 200},
		{"a", "k0", "", 200},
		{"b", "k0", "", 200},
		{"", "k3", "", 200},
		{"a", "k1", "overloaded", 529},
		{"a", "k2", "truncate", 200},
		{"a", "k1", "", 200},
		{"a", "k1", "", 200},
		{"b", "k0", "", 200},
	} {
		h := http.Header{}
		h.Set(sessionHeader, c.session)
		r = append(r, simulator.Call{KeyName: c.key, Fault: c.fault, Status: c.status, Header: h, Time: time.Unix(int64(i), 0)})
	}
	if got, want := r.talk(), (talk{2, 4, 3}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
}
