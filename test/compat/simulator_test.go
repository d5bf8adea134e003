package compat_test

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// simulation is a gateway started without any key: its own simulator, with three
// keys for each provider, is the upstream.
type simulation struct{ gateway, admin string }

func simulate(t *testing.T) simulation {
	t.Helper()
	gateway, admin := serve(t)
	return simulation{gateway, admin + "/simulator/"}
}

// do asks the simulator's operator side.
func (s simulation) do(t *testing.T, method, path, body string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, s.admin+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %s, %v: %s", method, path, resp.Status, err, b)
	}
	return b
}

// seen is what the simulator's log says of a request: the key, and its fault.
type seen struct{ Key, Fault string }

// log is what the simulator was asked since the last call.
func (s simulation) log(t *testing.T) []seen {
	t.Helper()
	var log []seen
	if err := json.Unmarshal(s.do(t, http.MethodGet, "log", ""), &log); err != nil {
		t.Fatal(err)
	}
	s.do(t, http.MethodDelete, "log", "")
	return log
}

// fault breaks the first key of both providers.
type fault struct {
	name string
	arm  string
	cold bool // the key is not asked again for now
}

var faults = []fault{
	{"429", "rate_limit", true},
	{"401", "invalid_key", true},
	{"out of credit", "credit", true},
	{"overloaded", "overloaded", false},
	{"server error", "server_error", false},
	{"reset", "reset", false},
	{"truncated", "truncate", false},
	{"error as first event", "error_first", false},
	{"error after the preamble", "error_after_preamble", false},
}

// broken returns a gateway whose first keys have the fault.
func (f fault) broken(t *testing.T) simulation {
	t.Helper()
	s := simulate(t)
	s.do(t, http.MethodPut, "faults", `{"key":"k0","fault":"`+f.arm+`"}`)
	return s
}

// path is what the log says of a call that fails over.
func (f fault) path() []seen { return []seen{{"k0", f.arm}, {"k1", ""}} }

// Whatever is wrong with the first key, the SDK is answered at its first request,
// and the log says that k0 was asked, then k1. With the SDK's own retries on it is
// the same: they have nothing to do.
func TestSimulatedFailover(t *testing.T) {
	t.Parallel()
	for _, f := range faults {
		for retries, name := range map[bool]string{false: "without retries", true: "with retries"} {
			t.Run(f.name+"/"+name, func(t *testing.T) {
				t.Parallel()
				failsOver(t, f, retries)
			})
		}
	}
}

func failsOver(t *testing.T, f fault, retries bool) {
	gateway := f.broken // a new one for each call: a cold key is not asked again
	if !f.cold {
		s := f.broken(t)
		gateway = func(*testing.T) simulation { return s }
	}
	for _, c := range calls {
		t.Run(c.name, func(t *testing.T) {
			s, sent := gateway(t), &atomic.Int64{}
			got, err := c.ask(t.Context(), client{s.gateway, "anything", retries, sent})
			if want := "You said: Hi (simulated " + c.model + ")"; err != nil || got != want {
				t.Errorf("got %q, %v, want %q", got, err, want)
			}
			if diff := cmp.Diff(f.path(), s.log(t)); diff != "" {
				t.Error("the simulator's log (-want +got):", diff)
			}
			if n := sent.Load(); n != 1 {
				t.Errorf("the SDK sent %d requests, want 1", n)
			}
		})
	}
	for _, c := range trips {
		t.Run(c.name+", tool", func(t *testing.T) {
			s, sent, ran := gateway(t), &atomic.Int64{}, 0
			tool := func(name, arguments string) string {
				ran++
				if city, err := toolCity(arguments); err != nil || name != toolName || city == "" {
					t.Errorf("the tool %s was called with %s (%v)", name, arguments, err)
				}
				if diff := cmp.Diff(f.path(), s.log(t)); diff != "" {
					t.Error("the simulator's log of the first call (-want +got):", diff)
				}
				return toolAnswered
			}
			got, err := c.ask(t.Context(), client{s.gateway, "anything", retries, sent}, tool)
			if want := "The tool said: " + toolAnswered + " (simulated " + c.model + ")"; err != nil || got != want || ran != 1 {
				t.Errorf("got %q, %v after %d calls of the tool, want %q", got, err, ran, want)
			}
			want := f.path()[1:] // the conversation stays where its prompt is cached
			if diff := cmp.Diff(want, s.log(t)); diff != "" {
				t.Error("the simulator's log of the second call (-want +got):", diff)
			}
			if n := sent.Load(); n != 2 {
				t.Errorf("the SDK sent %d requests, want 2", n)
			}
		})
	}
}

// A stream that breaks after content is an error with retries on, too, and is not
// asked for again: what came is kept.
func TestSimulatedBreak(t *testing.T) {
	t.Parallel()
	for _, arm := range []string{"cut_after_content", "error_after_content"} {
		for retries, name := range map[bool]string{false: "without retries", true: "with retries"} {
			t.Run(arm+"/"+name, func(t *testing.T) {
				t.Parallel()
				s := fault{arm: arm}.broken(t)
				for _, c := range calls {
					if !c.stream {
						continue
					}
					t.Run(c.name, func(t *testing.T) {
						sent := &atomic.Int64{}
						got, err := c.ask(t.Context(), client{s.gateway, "anything", retries, sent})
						if err == nil || errors.Is(err, errShort) {
							t.Errorf("err = %v, want an error", err)
						}
						if whole := "You said: Hi (simulated " + c.model + ")"; got == "" || got == whole || !strings.HasPrefix(whole, got) {
							t.Errorf("got %q, want a beginning of %q", got, whole)
						}
						if diff := cmp.Diff([]seen{{"k0", arm}}, s.log(t)); diff != "" {
							t.Error("the simulator's log (-want +got):", diff)
						}
						if n := sent.Load(); n != 1 {
							t.Errorf("the SDK sent %d requests, want 1", n)
						}
					})
				}
			})
		}
	}
}

// When no key can help for long, the SDK's own retries do not hammer.
func TestRetriesAreCalledOff(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		arm, wait string
		status    int
	}{{"rate_limit", "2m", http.StatusTooManyRequests}, {"invalid_key", "0s", http.StatusBadGateway}} {
		t.Run(tt.arm, func(t *testing.T) {
			t.Parallel()
			for _, c := range calls {
				t.Run(c.name, func(t *testing.T) {
					s, sent := simulate(t), &atomic.Int64{}
					s.do(t, http.MethodPut, "faults", `{"fault":"`+tt.arm+`","wait":"`+tt.wait+`"}`)
					_, err := c.ask(t.Context(), client{s.gateway, "anything", true, sent})
					if f := typed(t, err); f.Status != tt.status {
						t.Errorf("got %+v, want a %d", f, tt.status)
					}
					if diff := cmp.Diff([]seen{{"k0", tt.arm}, {"k1", tt.arm}, {"k2", tt.arm}}, s.log(t)); diff != "" {
						t.Error("the simulator's log (-want +got):", diff)
					}
					if n := sent.Load(); n != 1 {
						t.Errorf("the SDK sent %d requests, want 1", n)
					}
				})
			}
		})
	}
}
