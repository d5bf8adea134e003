package gateway_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/auth"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// recorder notes what begins, and may refuse it.
type recorder struct {
	mu    sync.Mutex
	begun []ledger.Exchange
	wrong *fault.Error
}

func (r *recorder) Begin(e *ledger.Exchange) *fault.Error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.begun = append(r.begun, *e)
	return r.wrong
}

// unit prices each turn at the number of its tokens.
type unit struct{}

func (unit) Charge(family verdict.Family, provider, asked string, turn int, t *llm.Turn) []ledger.Charge {
	return []ledger.Charge{{Turn: turn, Kind: string(family) + " " + provider, Model: asked, Usage: t.Usage, Picos: t.Usage.Total()}}
}

func TestRecordKnowsWhoAsksBeforeItGoesUpstream(t *testing.T) {
	rec := &recorder{}
	r := newRig(t, setup{recorder: rec, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		rec.mu.Lock()
		defer rec.mu.Unlock()
		if len(rec.begun) != 1 {
			t.Errorf("upstream before the record has begun: %d", len(rec.begun))
		}
		sse(w, roleChunk, textChunk, doneChunk)
	}})
	r.post("/v1/chat/completions", chatRequest, "User-Agent", "opencode/1.18.33", "X-Session-Id", "ses_1")
	e := r.ended()
	got := rec.begun[0]
	diff(t, "id", e.ID, got.ID)
	diff(t, "client", [2]string{"opencode", "1.18.33"}, [2]string{got.Client, got.Version})
	diff(t, "session", [2]string{"ses_1", "x-session-id"}, [2]string{got.Session, got.Signal})
	diff(t, "model", gjson.Get(chatRequest, "model").Str, got.Model)
	if !got.Admitted {
		t.Error("not admitted")
	}
}

func TestRecorderRefuses(t *testing.T) {
	for path, member := range map[string]string{"/v1/chat/completions": "error.code", "/v1/messages": "error.type"} {
		r := newRig(t, setup{recorder: &recorder{wrong: fault.New(fault.Unrecorded, "cannot record")}, upstream: func(http.ResponseWriter, *http.Request, string, int) {
			t.Error("went upstream")
		}})
		got := r.post(path, chatRequest)
		diff(t, "status", http.StatusServiceUnavailable, got.Status)
		if gjson.Get(got.Body, member).Str == "" || !strings.Contains(got.Body, "cannot record") {
			t.Errorf("%s: got %s", path, got.Body)
		}
		diff(t, "class", "unrecorded", r.ended().Class)
	}
}

// What a request answers tells the thread it belongs to; the user's words are kept only
// where they are wanted.
func TestRecordKnowsWhatIsAnswered(t *testing.T) {
	const body = `{"model":"m","messages":[{"role":"user","content":"what time is it?"},` +
		`{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"clock","input":{}}]},` +
		`{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","is_error":true,"content":"broken"},{"type":"text","text":"Guess, é!"}]}]}`
	for limit, want := range map[int]string{0: "", 8: "Guess, "} {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { jsonAnswer(w, http.StatusOK, "{}") }})
		r.snapshot.Keep.Prompt, r.snapshot.Keep.Limit = limit > 0, limit
		r.post("/v1/messages", body)
		e := r.ended()
		diff(t, "answers", []ledger.Answer{{Call: "toolu_1", Failed: true}}, e.Answers)
		diff(t, "prompt", want, e.Prompt)
	}
	r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { jsonAnswer(w, http.StatusOK, "{}") }})
	r.post("/v1/responses", `{"model":"m","input":"go on","previous_response_id":"resp_1"}`)
	diff(t, "after", "resp_1", r.ended().After)
}

// What is passed through unread is no interception, and a stranger's request is nobody's.
func TestNothingElseBegins(t *testing.T) {
	rec := &recorder{}
	r := newRig(t, setup{recorder: rec, tokens: []auth.Token{{Name: "a", Secret: "token-0123456789abcdef"}}, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
		jsonAnswer(w, http.StatusOK, "{}")
	}})
	r.get("/v1/models", "Authorization", "Bearer token-0123456789abcdef")
	diff(t, "admitted", true, r.ended().Admitted)
	r.post("/v1/chat/completions", chatRequest, "Authorization", "Bearer wrong")
	diff(t, "admitted", false, r.ended().Admitted)
	diff(t, "begun", 0, len(rec.begun))
}

func TestClasses(t *testing.T) {
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, key string)
		want   string
	}{
		"good":    {func(w http.ResponseWriter, _ string) { sse(w, roleChunk, textChunk, doneChunk) }, ""},
		"limited": {func(w http.ResponseWriter, _ string) { limit(w, apis["chat"]) }, "rate_limited"},
		"refused": {func(w http.ResponseWriter, _ string) {
			jsonAnswer(w, http.StatusBadRequest, `{"error":{"message":"no"}}`)
		}, "upstream_4xx"},
		"cut": {func(w http.ResponseWriter, _ string) { sse(w, roleChunk, textChunk); cut(w) }, "bad_upstream"},
		"in the stream": {func(w http.ResponseWriter, _ string) {
			sse(w, roleChunk, textChunk, `data: {"error":{"message":"no"}}`+"\n\n")
		}, "upstream_error"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{tcp: true, upstream: func(w http.ResponseWriter, _ *http.Request, key string, _ int) { tt.answer(w, key) }})
			r.post("/v1/chat/completions", chatRequest)
			diff(t, "class", tt.want, r.ended().Class)
		})
	}
}

// Each attempt says what it waited for its key, each turn what it costs; a caller's own
// key costs nothing here.
func TestAttemptsAndCharges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := apis["chat"]
		r := looping(t, a, true, &tools{}, func(w http.ResponseWriter, key string) {
			if key == "k0" {
				time.Sleep(time.Second)
				limit(w, a)
				return
			}
			a.say(w, true, "noon")
		})
		r.snapshot.Prices = unit{}
		r.post(a.path, a.request[true])
		e := r.ended()
		var turns []int
		for _, at := range e.Attempts {
			turns = append(turns, at.Turn)
			diff(t, "waited", time.Duration(0), at.Waited)
		}
		diff(t, "turns of the attempts", []int{0, 1, 1}, turns)
		diff(t, "duration", time.Second, e.Attempts[1].Duration)
		diff(t, "call", "call_1", e.Tools[0].Call)
		diff(t, "charges", 2, len(e.Charges))
		for i, c := range e.Charges {
			diff(t, "charge", ledger.Charge{Turn: i, Kind: "openai " + a.provider, Model: e.Model, Usage: e.Turns[i].Usage, Picos: e.Turns[i].Usage.Total()}, c)
		}
		r.post(a.path, a.request[true], "X-Keybridge-Token", "", "Authorization", "Bearer "+own)
		diff(t, "charges of a caller with an own key", 0, len(r.ended().Charges))
	})
}

// A wait for the only key's return is the attempt's own.
func TestWaitedForAKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{keys: 1, pool: func(o *keypool.Options) { o.MaxWait = time.Minute }, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
			if n == 0 {
				limit(w, apis["chat"])
				return
			}
			sse(w, roleChunk, textChunk, doneChunk)
		}})
		r.post("/v1/chat/completions", chatRequest)
		e := r.ended()
		diff(t, "attempts", 2, len(e.Attempts))
		if w := e.Attempts[1].Waited; w < 30*time.Second || w > 40*time.Second {
			t.Errorf("waited %v", w)
		}
	})
}

func TestIDsSortByTheirTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { sse(w, roleChunk, textChunk, doneChunk) }})
		before := ""
		for range 20 {
			r.post("/v1/chat/completions", chatRequest)
			id := r.ended().ID
			if id <= before {
				t.Errorf("%s stands behind %s", id, before)
			}
			before = id
			time.Sleep(time.Millisecond)
		}
	})
}

// What an upstream says of a later turn's refusal is the client's: it may quote the key, and
// the prompt, which are not to be recorded.
func TestWordsOfRefusalsAreNotRecorded(t *testing.T) {
	const quoted = "no such thing as my secret plan"
	a := apis["chat"]
	for name, header := range map[string][]string{"pooled": nil, "own key": {"X-Keybridge-Token", "any", "Authorization", "Bearer " + own}} {
		t.Run(name, func(t *testing.T) {
			r := looping(t, a, true, &tools{}, func(w http.ResponseWriter, key string) {
				jsonAnswer(w, http.StatusBadRequest, `{"error":{"message":"`+key+`: `+quoted+`","type":"invalid_request_error"}}`)
			})
			if got := r.post(a.path, a.request[true], header...); !strings.Contains(got.Body, quoted) {
				t.Errorf("the client is told %s", got.Body)
			}
			e := r.ended()
			diff(t, "error", "the upstream answered 400", e.Err.Error())
			diff(t, "class", "upstream_4xx", e.Class)
		})
	}
}

// An answer that breaks off while it is held back has used what it has reported. Not
// counted are an attempt before the last one, and an error in the place of the answer.
func TestUsageOfWhatWasHeldBack(t *testing.T) {
	used := llm.Usage{Input: 3, Output: 1}
	const refused = "event: error\ndata: " + `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}` + "\n\n"
	wait := func(_ http.ResponseWriter, q *http.Request) { <-q.Context().Done() }
	held := func(then func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, q *http.Request) { sse(w, messageStart); then(w, q) }
	}
	breaks := held(func(w http.ResponseWriter, _ *http.Request) { cut(w) })
	for name, tt := range map[string]struct {
		first, others func(http.ResponseWriter, *http.Request)
		status        ledger.Status
		want          []llm.Usage
	}{
		"the client leaves":                   {held(wait), nil, ledger.Cancelled, []llm.Usage{used}},
		"it leaves while another key is sent": {breaks, wait, ledger.Cancelled, nil},
		"no key's answer is whole":            {breaks, breaks, ledger.Failed, []llm.Usage{used}},
		"another key's is":                    {breaks, held(func(w http.ResponseWriter, _ *http.Request) { send(w, textDelta, messageStop) }), ledger.Completed, []llm.Usage{used}},
		"it is an error":                      {held(func(w http.ResponseWriter, _ *http.Request) { send(w, refused) }), held(func(w http.ResponseWriter, _ *http.Request) { send(w, refused) }), ledger.Failed, nil},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, q *http.Request, _ string, n int) {
					if n == 0 {
						tt.first(w, q)
					} else {
						tt.others(w, q)
					}
				}})
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				r.do(request(ctx, http.MethodPost, "/v1/messages", messagesRequest))
				e := r.ended()
				var got []llm.Usage
				for _, turn := range e.Turns {
					got = append(got, turn.Usage)
				}
				diff(t, "usage", tt.want, got)
				diff(t, "status", tt.status, e.Status)
			})
		})
	}
}

// strict is a tool whose server refuses each call, quoting it.
type strict struct{ tools }

func (*strict) Call(_ context.Context, _ ledger.Principal, c llm.ToolCall) (llm.ToolResult, ledger.ToolUse) {
	use := ledger.ToolUse{Server: "here", Tool: "clock", Outcome: ledger.ToolInvalid, Err: fmt.Errorf("refused: %w", ledger.ToldError("no time in 4111"))}
	return llm.ToolResult{CallID: c.ID, IsError: true, Parts: []llm.Part{{Text: "no time in 4111"}}}, use
}

// What a server says of a call may quote the arguments: it is kept if they are.
func TestServersWordsAreKeptWithTheArguments(t *testing.T) {
	a := apis["chat"]
	for _, kept := range []bool{true, false} {
		r := looping(t, a, false, &strict{}, func(w http.ResponseWriter, _ string) { a.say(w, false, "noon") })
		r.snapshot.Keep.Arguments = kept
		r.post(a.path, a.request[false])
		if e := r.ended(); len(e.Tools) != 1 || e.Tools[0].Err == nil || strings.Contains(e.Tools[0].Err.Error(), "4111") != kept {
			t.Errorf("arguments kept %t: %+v", kept, e.Tools)
		}
		if next := r.seen()[1].Body; !strings.Contains(next, "no time in 4111") {
			t.Errorf("the model is told %s", next)
		}
	}
}

// Calls of central tools that the gateway did not come to are its own all the same, not
// the client's.
func TestCallsThatWereNotRun(t *testing.T) {
	clock := func(i int) string { return messageTurn("tool_use", toolUse(fmt.Sprint("toolu_", i), "clock")) }
	begun := func(w http.ResponseWriter) {
		sse(w, messageStart, blockEvents(toolUse("toolu_A", "clock")), blockEvents(toolUse("toolu_B", "edit")))
	}
	for name, tt := range map[string]struct {
		answer func(w http.ResponseWriter, q *http.Request, n int)
		turn   int
		want   ledger.ToolOutcome
		why    string
	}{
		"the model was asked for no more": {func(w http.ResponseWriter, _ *http.Request, n int) {
			if n < 4 {
				jsonAnswer(w, http.StatusOK, clock(n))
				return
			}
			jsonAnswer(w, http.StatusOK, messageTurn("tool_use", toolUse("toolu_A", "clock"), toolUse("toolu_B", "edit")))
		}, 4, ledger.ToolRefused, "the answer had to end"},
		"the model was cut short": {func(w http.ResponseWriter, _ *http.Request, _ int) {
			jsonAnswer(w, http.StatusOK, messageTurn("max_tokens", toolUse("toolu_A", "clock")))
		}, 0, ledger.ToolRefused, "the answer had to end"},
		"the upstream broke off": {func(w http.ResponseWriter, _ *http.Request, _ int) { begun(w); cut(w) }, 0, ledger.ToolRefused, "the answer had to end"},
		"the client left": {func(w http.ResponseWriter, q *http.Request, _ int) {
			begun(w)
			<-q.Context().Done()
		}, 0, ledger.ToolCancelled, "the client went away"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{tools: &tools{}, upstream: func(w http.ResponseWriter, q *http.Request, _ string, n int) { tt.answer(w, q, n) }})
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				r.do(request(ctx, http.MethodPost, "/v1/messages", messageAsk))
				e := r.ended()
				var got []ledger.ToolUse
				for _, use := range e.Tools {
					if use.Outcome != ledger.ToolOK {
						diff(t, "why", tt.why, use.Err.Error())
						use.Start, use.Err = time.Time{}, nil
						got = append(got, use)
					}
				}
				diff(t, "calls", []ledger.ToolUse{{Call: "toolu_A", Tool: "clock", Turn: tt.turn, Outcome: tt.want}}, got)
			})
		})
	}
}

// A request that cannot be understood is recorded, too, with who sent it.
func TestRefusedRequestsAreOfTheirClient(t *testing.T) {
	r := newRig(t, setup{upstream: func(http.ResponseWriter, *http.Request, string, int) { t.Error("went upstream") }})
	diff(t, "status", http.StatusBadRequest, r.post("/v1/messages", `{"model":`, "User-Agent", "claude-cli/2.1.210 (external, cli)").Status)
	e := r.ended()
	diff(t, "client", [2]string{"claude-code", "2.1.210"}, [2]string{e.Client, e.Version})
	diff(t, "admitted", true, e.Admitted)
}

// brokenPrices prices nothing.
type brokenPrices struct{}

func (brokenPrices) Charge(verdict.Family, string, string, int, *llm.Turn) []ledger.Charge {
	panic("no such price")
}

// Whatever goes wrong in the books, the client has its answer and the exchange ends.
func TestBooksMayPanic(t *testing.T) {
	r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) { sse(w, roleChunk, textChunk, doneChunk) }})
	r.snapshot.Prices = brokenPrices{}
	got := r.post("/v1/chat/completions", chatRequest)
	diff(t, "body", roleChunk+textChunk+doneChunk, got.Body)
	e := r.ended()
	diff(t, "status", ledger.Completed, e.Status)
	if logs := r.logs.String(); got.Err != nil || !strings.Contains(logs, "no such price") || !strings.Contains(logs, "account_test.go") {
		t.Errorf("%v, the log says %s", got.Err, logs)
	}
}
