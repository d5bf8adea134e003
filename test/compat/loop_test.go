package compat_test

import (
	"bufio"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// What the model says before the calls of its first turn, and of its first two.
const (
	sayFirst = "First I say that I call a tool."
	sayTwice = sayFirst + sayFirst + " This is turn 2."
)

// A prompt makes the simulator call tools; the SDK sees one answer.
func TestToolLoop(t *testing.T) {
	s := looping(t)
	for _, w := range ways() {
		picture := "here: [image/png]"
		if strings.HasPrefix(w.name, "chat") {
			picture = "here: "
		}
		for _, tt := range []struct {
			name   string
			prompt string
			ran    []string
			said   string // before the last turn's text
			last   string // the last turn's text begins so
			turns  int64
			thinks int
		}{
			{"no tool", "Hi", nil, "", "You said: Hi (simulated ", 1, 0},
			{"one", "simulate:tool=kb_kit_look", []string{"look"}, "", "The tool said: all is well (simulated ", 2, 0},
			{"one by its prefix, text first", "simulate:say-first simulate:tool=kb_kit_ec*", []string{"echo"}, sayFirst, "The tool said: echo: <simulate:say-first simulate:tool=kb_kit_ec*> (simulated ", 2, 0},
			{"two at once", "simulate:tool=kb_kit_meet,kb_kit_meet", []string{"meet", "meet"}, "", "The tool said: met | met (simulated ", 2, 0},
			{"three turns", "simulate:tool=kb_kit_look simulate:tool-turns=3", []string{"look", "look", "look"}, "", "The tool said: all is well (simulated ", 4, 0},
			{"thoughts, and text first", "simulate:thinking simulate:say-first simulate:tool=kb_kit_look/kb_kit_meet,kb_kit_meet", []string{"look", "meet", "meet"}, sayTwice, "The tool said: met | met (simulated ", 3, 3},
			{"one that fails", "simulate:tool=kb_kit_fail", []string{"fail"}, "", "The tool said: Error: it is broken (simulated ", 2, 0},
			{"a picture", "simulate:tool=kb_kit_draw", []string{"draw"}, "", "The tool said: " + picture, 2, 0},
			{"broken arguments", "simulate:tool=kb_kit_echo simulate:bad-arguments", nil, "", "The tool said: Error: ", 2, 0},
		} {
			t.Run(w.name+"/"+tt.name, func(t *testing.T) {
				before := s.served(t)
				d := w.begin()
				d.says(tt.prompt)
				got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
				if err != nil {
					t.Fatal(err)
				}
				if got.End != endWhole || len(got.Calls) > 0 || !strings.HasPrefix(got.Text, tt.said+tt.last) {
					t.Errorf("got %+v, want %q and no calls", got, tt.said+tt.last)
				}
				if diff := cmp.Diff(tt.ran, s.kit.noted()); diff != "" {
					t.Error("tools that ran (-want +got):", diff)
				}
				after := s.served(t)
				if diff := cmp.Diff(served{tt.turns, got.In, got.Out}, served{after.Requests - before.Requests, after.In - before.In, after.Out - before.Out}); diff != "" {
					t.Error("turns and usage (-told +counted by the simulator):", diff)
				}
				if tt.thinks > 0 && got.Thoughts < tt.thinks {
					t.Errorf("%d thoughts, want %d", got.Thoughts, tt.thinks)
				}
				d.says("Well?") // the client goes on with what it has seen
				got, err = d.ask(t.Context(), client{gateway: s.gateway, key: token})
				if err != nil || !strings.HasPrefix(got.Text, "You said: Well? (simulated ") {
					t.Errorf("later: %+v, %v", got, err)
				}
			})
		}
	}
}

// A turn that calls a tool of the client's, too, shows only that; the conversation
// that goes on is whole to the model, as the simulator finds.
func TestMixedTurns(t *testing.T) {
	s := looping(t)
	for _, w := range ways() {
		for _, tt := range []struct {
			name   string
			prompt string
			ran    []string
			said   string
			more   int // further turns of calls of the client's
			last   string
		}{
			{"first turn", "simulate:tool=kb_kit_look," + toolName, []string{"look"}, "", 0, "The tool said: all is well | 17 degrees (simulated "},
			{"client's first", "simulate:tool=" + toolName + ",kb_kit_look", []string{"look"}, "", 0, "The tool said: all is well | 17 degrees (simulated "},
			{"second turn", "simulate:thinking simulate:say-first simulate:tool=kb_kit_look/kb_kit_meet," + toolName + ",kb_kit_meet", []string{"look", "meet", "meet"}, sayTwice, 0, "The tool said: met | met | 17 degrees (simulated "},
			{"client's after ours", "simulate:tool=kb_kit_look/" + toolName, []string{"look"}, "", 0, "The tool said: 17 degrees (simulated "},
			{"two of the client's", "simulate:tool=" + toolName + ",kb_kit_look," + toolName, []string{"look"}, "", 0, "The tool said: all is well | 17 degrees | 17 degrees (simulated "},
			{"twice", "simulate:thinking simulate:tool=kb_kit_look," + toolName + " simulate:tool-turns=2", []string{"look"}, "", 1, "The tool said: all is well | 17 degrees (simulated "},
		} {
			t.Run(w.name+"/"+tt.name, func(t *testing.T) {
				before := s.served(t)
				d := w.begin()
				d.says(tt.prompt)
				var in, out int64
				for turn := range tt.more + 1 {
					got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
					if err != nil {
						t.Fatal(err)
					}
					if got.End != endCalls || len(got.Calls) != strings.Count(tt.prompt, toolName) || turn == 0 && got.Text != tt.said {
						t.Fatalf("got %+v, want %q and calls of %s", got, tt.said, toolName)
					}
					for _, c := range got.Calls {
						if _, err := toolCity(c.Args); err != nil || c.Name != toolName {
							t.Errorf("call %+v: %v", c, err)
						}
					}
					in, out = in+got.In, out+got.Out
					if diff := cmp.Diff(tt.ran, s.kit.noted()); diff != "" {
						t.Error("tools that ran (-want +got):", diff)
					}
					d.returns(got.Calls, toolAnswered)
				}
				got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
				if err != nil {
					t.Fatal(err)
				}
				if got.End != endWhole || len(got.Calls) > 0 || !strings.HasPrefix(got.Text, tt.last) {
					t.Errorf("at last %+v, want %q", got, tt.last)
				}
				if ran := s.kit.noted(); ran != nil {
					t.Errorf("ran again: %v", ran)
				}
				after := s.served(t)
				if diff := cmp.Diff([]int64{in + got.In, out + got.Out}, []int64{after.In - before.In, after.Out - before.Out}); diff != "" {
					t.Error("usage (-told +counted by the simulator):", diff)
				}
				d.says("Well?") // what was hidden is put back once more
				got, err = d.ask(t.Context(), client{gateway: s.gateway, key: token})
				if err != nil || !strings.HasPrefix(got.Text, "You said: Well? (simulated ") {
					t.Errorf("later: %+v, %v", got, err)
				}
			})
		}
	}
}

// Where the gateway does not know any more what it has hidden, the conversation goes
// on without it.
func TestHiddenIsLost(t *testing.T) {
	s := looping(t)
	restarted := s.again(t)
	for _, w := range ways() {
		if strings.HasPrefix(w.name, "responses, previous") { // the provider still knows, and wants the result
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			d := w.begin()
			d.says("simulate:thinking simulate:tool=kb_kit_look/kb_kit_look," + toolName)
			got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
			if err != nil || got.End != endCalls {
				t.Fatalf("%+v, %v", got, err)
			}
			d.returns(got.Calls, toolAnswered)
			got, err = d.ask(t.Context(), client{gateway: restarted, key: token})
			if err != nil { // the simulator counts one turn of results, and asks for the second once more
				t.Fatal(err)
			}
			if got.End != endCalls || len(got.Calls) != 1 {
				t.Fatalf("got %+v, want one call", got)
			}
			d.returns(got.Calls, toolAnswered)
			got, err = d.ask(t.Context(), client{gateway: restarted, key: token})
			if err != nil || !strings.HasPrefix(got.Text, "The tool said: all is well | 17 degrees (simulated ") {
				t.Errorf("at last %+v, %v", got, err)
			}
		})
	}
}

// A turn that ends amid a call ends the answer: the call is neither run nor shown.
func TestCutInACall(t *testing.T) {
	s := looping(t)
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			before := s.served(t)
			d := w.begin()
			d.says("simulate:say-first simulate:cut-in-call simulate:tool=kb_kit_look/kb_kit_echo")
			got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
			if err != nil {
				t.Fatal(err)
			}
			if got.End != endShort || len(got.Calls) > 0 || got.Text != sayTwice {
				t.Errorf("got %+v, want %q and the end of the limit", got, sayTwice)
			}
			if diff := cmp.Diff([]string{"look"}, s.kit.noted()); diff != "" {
				t.Error("tools that ran (-want +got):", diff)
			}
			after := s.served(t)
			if diff := cmp.Diff(served{2, got.In, got.Out}, served{after.Requests - before.Requests, after.In - before.In, after.Out - before.Out}); diff != "" {
				t.Error("turns and usage (-told +counted by the simulator):", diff)
			}
		})
	}
}

// What the model says before it calls is with the client before the tool has run.
func TestTextComesBeforeTheTool(t *testing.T) {
	s := looping(t)
	for path, body := range map[string]string{
		"/v1/chat/completions": `{"model":"gpt-4o-mini","messages":[{"role":"user","content":%q}],"stream":true}`,
		"/v1/responses":        `{"model":"gpt-5-mini","input":%q,"stream":true}`,
		"/v1/messages":         `{"model":"claude-haiku-4-5","max_tokens":4096,"messages":[{"role":"user","content":%q}],"stream":true}`,
	} {
		t.Run(path, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.gateway+path,
				strings.NewReader(fmt.Sprintf(body, "simulate:say-first simulate:tool=kb_kit_wait")))
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Anthropic-Version", "2023-06-01")
			req.Header.Set("Authorization", "Bearer "+token)
			resp, err := http.DefaultTransport.RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			var heard sync.Once
			for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
				if strings.Contains(lines.Text(), "a tool.") { // the last of the four parts of the text
					heard.Do(func() {
						select {
						case s.kit.heard <- struct{}{}:
						case <-time.After(15 * time.Second):
							t.Error("the tool does not run when the text is there")
						}
					})
				}
			}
			if diff := cmp.Diff([]string{"wait"}, s.kit.noted()); diff != "" {
				t.Error("tools that ran (-want +got):", diff)
			}
		})
	}
}

// A key that is rate-limited between two turns is replaced; the client notices nothing.
func TestKeyFailsBetweenTurns(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := looping(t)
			s.kit.between = func() { s.do(t, http.MethodPut, "faults", `{"key":"k0","fault":"rate_limit","wait":"2m"}`) }
			d := w.begin()
			d.says("simulate:say-first simulate:tool=kb_kit_trouble/kb_kit_look")
			got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
			if err != nil || got.End != endWhole || !strings.HasPrefix(got.Text, sayTwice+"The tool said: all is well (simulated ") {
				t.Errorf("got %+v, %v", got, err)
			}
			if diff := cmp.Diff([]string{"trouble", "look"}, s.kit.noted()); diff != "" {
				t.Error("tools that ran (-want +got):", diff)
			}
			if diff := cmp.Diff([]seen{{"k0", ""}, {"k0", "rate_limit"}, {"k1", ""}, {"k1", ""}}, s.log(t)); diff != "" {
				t.Error("the simulator's log (-want +got):", diff)
			}
		})
	}
}

// When no key is left for the second turn, a stream keeps what it has and ends with
// an error; a blocking answer is the error.
func TestKeysAreExhaustedBetweenTurns(t *testing.T) {
	t.Parallel()
	for _, w := range ways() {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			s := looping(t)
			s.kit.between = func() { s.do(t, http.MethodPut, "faults", `{"fault":"rate_limit","wait":"2m"}`) }
			d := w.begin()
			d.says("simulate:say-first simulate:tool=kb_kit_trouble")
			got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token})
			if err == nil {
				t.Fatalf("no error, but %+v", got)
			}
			if w.stream && got.Text != sayFirst {
				t.Errorf("the client has %q, want what came before the end: %q", got.Text, sayFirst)
			}
			if !w.stream {
				if f := typed(t, err); f.Status != http.StatusTooManyRequests {
					t.Errorf("got %+v, want a 429", f)
				}
			}
			if diff := cmp.Diff([]string{"trouble"}, s.kit.noted()); diff != "" {
				t.Error("tools that ran (-want +got):", diff)
			}
		})
	}
}

// A loop of five healthy turns is five calls over the pool, each with one attempt.
func TestLoopInThePoolsMetrics(t *testing.T) {
	t.Parallel()
	s := looping(t)
	d := ways()[0].begin()
	d.says("simulate:tool=kb_kit_look simulate:tool-turns=4")
	if got, err := d.ask(t.Context(), client{gateway: s.gateway, key: token}); err != nil || got.End != endWhole {
		t.Fatalf("%+v, %v", got, err)
	}
	got := map[string]string{}
	for _, series := range []string{
		`keybridge_key_pool_failover_attempts_count{provider="openai"}`,
		`keybridge_key_pool_failover_attempts_sum{provider="openai"}`,
		`keybridge_key_pool_call_attempts_count{provider="openai"}`,
		`keybridge_key_pool_call_attempts_bucket{provider="openai",le="1"}`,
		`keybridge_tool_loop_turns_sum`,
		`keybridge_injected_tool_invocations_total{outcome="ok",server="kit"}`,
	} {
		got[series] = metric(t, s.metrics, series)
	}
	if diff := cmp.Diff(map[string]string{
		`keybridge_key_pool_failover_attempts_count{provider="openai"}`:        "1",
		`keybridge_key_pool_failover_attempts_sum{provider="openai"}`:          "5",
		`keybridge_key_pool_call_attempts_count{provider="openai"}`:            "5",
		`keybridge_key_pool_call_attempts_bucket{provider="openai",le="1"}`:    "5",
		`keybridge_tool_loop_turns_sum`:                                        "5",
		`keybridge_injected_tool_invocations_total{outcome="ok",server="kit"}`: "4",
	}, got); diff != "" {
		t.Error(diff)
	}
}
