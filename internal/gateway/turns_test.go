package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/gateway"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// looped adds to a dialect what a conversation with central tools needs, in the
// plainest form: an answer that says CALL asks for the tool, and what the turns
// before the last one say is not shown.
type looped struct{ dialect.Dialect }

func (looped) Inject(body []byte, defs []llm.ToolDef) ([]byte, []string, error) {
	return body, []string{defs[0].Name}, nil
}

func (looped) Splice(func(string) bool) dialect.Splicer { return &splicer{} }

func (looped) FollowUp(body []byte, s dialect.Step, final bool) ([]byte, error) {
	var said strings.Builder
	for i, r := range s.Results {
		fmt.Fprintf(&said, "%s=%s;", s.Said.Mine[i].ID, r.Parts[0].Text)
	}
	if final {
		said.WriteString("final;")
	}
	return bytes.Replace(body, []byte(`"messages":[`), fmt.Appendf(nil, `"messages":[%q`, said.String()), 1), nil
}

// splicer passes a stream's events on as they come, but for the end of a turn
// that is not the last; of blocking turns it shows the last.
type splicer struct {
	turns int
	ends  []byte
	said  dialect.Said
}

func (s *splicer) Event(e wire.Event) []wire.Event {
	for i := range bytes.Count(e.Data, []byte("CALL")) {
		s.said.Mine = append(s.said.Mine, llm.ToolCall{ID: fmt.Sprint("call_", i+1), Name: "clock"})
	}
	if bytes.Contains(e.Data, []byte("CLIENT")) {
		s.said.Others = []llm.ToolCall{{ID: "theirs", Name: "edit"}}
	}
	kind := dialect.TypeOf(e)
	switch {
	case dialect.IsBody(e), kind == "message_stop", bytes.HasPrefix(e.Data, []byte("[DONE]")):
		s.ends = bytes.Clone(e.Raw)
		return nil
	case s.turns > 0 && (kind == "message_start" || bytes.Contains(e.Data, []byte(`"role"`))):
		return nil
	}
	return []wire.Event{e}
}

func (s *splicer) Said() dialect.Said { return s.said }

func (s *splicer) End(last bool) []wire.Event {
	s.turns++
	s.said = dialect.Said{}
	if !last {
		return nil
	}
	return []wire.Event{{Raw: s.ends}}
}

type tools struct {
	mu     sync.Mutex
	called []llm.ToolCall
	call   func(ctx context.Context)
}

func (*tools) Of(ledger.Principal) []llm.ToolDef { return []llm.ToolDef{{Name: "clock"}} }

func (t *tools) Call(ctx context.Context, _ ledger.Principal, c llm.ToolCall) (llm.ToolResult, ledger.ToolUse) {
	t.mu.Lock()
	t.called = append(t.called, c)
	t.mu.Unlock()
	use := ledger.ToolUse{Server: "here", Tool: "clock", Outcome: ledger.ToolOK}
	if t.call != nil {
		if t.call(ctx); ctx.Err() != nil {
			use.Outcome = ledger.ToolTimeout
		}
	}
	return llm.ToolResult{CallID: c.ID, Parts: []llm.Part{{Text: "noon"}}}, use
}

// api is one bridged API in the two-turn tests.
type api struct {
	path, provider string
	request        map[bool]string // by streaming
	say            func(w http.ResponseWriter, streaming bool, text string)
	told           func(streaming bool, texts ...string) string // what the client gets of these
	limited        string
	failed         func(t *testing.T, event string) // the in-stream error
}

var apis = map[string]api{
	"chat": {
		path: "/v1/chat/completions", provider: "openai", limited: rateLimited,
		request: map[bool]string{true: chatRequest, false: chatBlocking},
		say: func(w http.ResponseWriter, streaming bool, text string) {
			if !streaming {
				jsonAnswer(w, 200, strings.Replace(completion, "Hi", text, 1))
				return
			}
			sse(w, roleChunk, strings.Replace(textChunk, "Hi", text, 1), finishChunk, doneChunk)
		},
		told: func(streaming bool, texts ...string) string {
			if !streaming {
				return strings.Replace(completion, "Hi", texts[len(texts)-1], 1)
			}
			return roleChunk + each(textChunk+finishChunk, texts) + doneChunk
		},
		failed: func(t *testing.T, event string) {
			data, ok := strings.CutPrefix(event, "data: ")
			if !ok || !gjson.Get(data, "error.message").Exists() || gjson.Get(data, "error.type").Str != "rate_limit_error" {
				t.Errorf("the stream ends with %q", event)
			}
		},
	},
	"messages": {
		path: "/v1/messages", provider: "anthropic",
		limited: `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit"}}`,
		request: map[bool]string{true: messagesRequest, false: strings.Replace(messagesRequest, `"stream":true,`, "", 1)},
		say: func(w http.ResponseWriter, streaming bool, text string) {
			if !streaming {
				jsonAnswer(w, 200, `{"id":"m1","type":"message","content":[{"type":"text","text":"`+text+`"}],"stop_reason":"end_turn"}`)
				return
			}
			sse(w, messageStart, strings.Replace(textDelta, "Hi", text, 1), messageStop)
		},
		told: func(streaming bool, texts ...string) string {
			if !streaming {
				return `{"id":"m1","type":"message","content":[{"type":"text","text":"` + texts[len(texts)-1] + `"}],"stop_reason":"end_turn"}`
			}
			return messageStart + each(textDelta, texts) + messageStop
		},
		failed: func(t *testing.T, event string) {
			data, ok := strings.CutPrefix(event, "event: error\ndata: ")
			if !ok || gjson.Get(data, "type").Str != "error" || gjson.Get(data, "error.type").Str != "rate_limit_error" {
				t.Errorf("the stream ends with %q", event)
			}
		},
	},
}

// each repeats a piece of a stream for each of the texts.
func each(piece string, texts []string) string {
	var b strings.Builder
	for _, text := range texts {
		b.WriteString(strings.Replace(piece, "Hi", text, 1))
	}
	return b.String()
}

func twoTurns(t *testing.T, check func(t *testing.T, a api, streaming bool)) {
	for name, a := range apis {
		for streaming, mode := range map[bool]string{true: "streaming", false: "blocking"} {
			t.Run(name+" "+mode, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { check(t, a, streaming) })
			})
		}
	}
}

// looping is a gateway with tools whose upstream asks for one in the first turn;
// second answers the calls after that.
func looping(t *testing.T, a api, streaming bool, kit gateway.Tools, second func(w http.ResponseWriter, key string)) *rig {
	return newRig(t, setup{
		chat: looped{chat.New()}, msgs: looped{messages.New()}, tools: kit,
		upstream: func(w http.ResponseWriter, _ *http.Request, key string, n int) {
			if n == 0 {
				a.say(w, streaming, "CALL")
				return
			}
			second(w, key)
		},
	})
}

func limit(w http.ResponseWriter, a api) {
	w.Header().Set("Retry-After", "30")
	jsonAnswer(w, http.StatusTooManyRequests, a.limited)
}

func TestTwoTurnsOnOneKey(t *testing.T) {
	twoTurns(t, func(t *testing.T, a api, streaming bool) {
		kit := &tools{}
		r := looping(t, a, streaming, kit, func(w http.ResponseWriter, _ string) { a.say(w, streaming, "noon") })
		got := r.post(a.path, a.request[streaming])
		diff(t, "body", a.told(streaming, "CALL", "noon"), got.Body)
		diff(t, "keys", []string{"k0", "k0"}, r.asked())
		diff(t, "calls of tools", []llm.ToolCall{{ID: "call_1", Name: "clock"}}, kit.called)
		if second := r.seen()[1].Body; !strings.Contains(second, `"messages":["call_1=noon;"]`) {
			t.Errorf("the second turn was asked %s", second)
		}
		e := r.ended()
		diff(t, "turns", 2, len(e.Turns))
		diff(t, "status", ledger.Completed, e.Status)
		r.pool(a.provider, "failover_attempts 1/2 call_attempts 2/2 failovers 0 transitions 0")
	})
}

func TestSecondTurnFailsOver(t *testing.T) {
	twoTurns(t, func(t *testing.T, a api, streaming bool) {
		r := looping(t, a, streaming, &tools{}, func(w http.ResponseWriter, key string) {
			if key == "k0" {
				limit(w, a)
				return
			}
			a.say(w, streaming, "noon")
		})
		got := r.post(a.path, a.request[streaming])
		diff(t, "body", a.told(streaming, "CALL", "noon"), got.Body)
		diff(t, "keys", []string{"k0", "k0", "k1"}, r.asked())
		r.ended()
		r.pool(a.provider, "failover_attempts 1/3 call_attempts 2/3 failovers 1 transitions 1")
	})
}

func TestSecondTurnExhausted(t *testing.T) {
	twoTurns(t, func(t *testing.T, a api, streaming bool) {
		r := looping(t, a, streaming, &tools{}, func(w http.ResponseWriter, _ string) { limit(w, a) })
		got := r.post(a.path, a.request[streaming])
		e := r.ended()
		r.pool(a.provider, "failover_attempts 1/3 call_attempts 2/3 failovers 1 transitions 2")
		diff(t, "exhaustions", 1.0, r.sum("key_pool_exhaustions_total", a.provider))
		diff(t, "status", ledger.Failed, e.Status)
		if !streaming {
			diff(t, "status", http.StatusTooManyRequests, got.Status)
			diff(t, "wait", "30", got.Header.Get("Retry-After"))
			diff(t, "type", "rate_limit_error", gjson.Get(got.Body, "error.type").Str)
			return
		}
		diff(t, "status", http.StatusOK, got.Status)
		shown, _ := strings.CutSuffix(strings.TrimSuffix(a.told(true, "CALL"), doneChunk), messageStop)
		event, ok := strings.CutPrefix(got.Body, shown)
		if !ok || got.Err != nil {
			t.Fatalf("got %q, %v", got.Body, got.Err)
		}
		a.failed(t, event)
	})
}

// A caller's own key is refused in a later turn: that cannot go back as it came.
func TestSecondTurnOfOwnKeyRefused(t *testing.T) {
	twoTurns(t, func(t *testing.T, a api, streaming bool) {
		r := looping(t, a, streaming, &tools{}, func(w http.ResponseWriter, _ string) { limit(w, a) })
		got := r.post(a.path, a.request[streaming], "X-Keybridge-Token", "any", "x-api-key", own)
		diff(t, "keys", []string{own, own}, r.asked())
		diff(t, "status", ledger.Failed, r.ended().Status)
		if !streaming {
			diff(t, "status", http.StatusTooManyRequests, got.Status)
			diff(t, "body", a.limited, got.Body)
			return
		}
		shown, _ := strings.CutSuffix(strings.TrimSuffix(a.told(true, "CALL"), doneChunk), messageStop)
		event, ok := strings.CutPrefix(got.Body, shown)
		_, data, named := strings.Cut(event, "data: ")
		if !ok || !named || got.Err != nil || !strings.Contains(gjson.Get(data, "error.message").Str, "(429)") {
			t.Errorf("got %q, %v", got.Body, got.Err)
		}
	})
}

// A second turn that dies inside its first attempt's preamble leaves no trace in
// the stream, and the in-stream error is still told when all have died so.
func TestSecondTurnBreaks(t *testing.T) {
	a := apis["messages"]
	synctest.Test(t, func(t *testing.T) {
		r := looping(t, a, true, &tools{}, func(w http.ResponseWriter, _ string) {
			sse(w, messageStart)
			cut(w)
		})
		got := r.post(a.path, a.request[true])
		event, ok := strings.CutPrefix(got.Body, messageStart+strings.Replace(textDelta, "Hi", "CALL", 1)+"event: error\ndata: ")
		if !ok || gjson.Get(event, "error.type").Str != "api_error" || got.Err != nil {
			t.Errorf("got %q, %v", got.Body, got.Err)
		}
		diff(t, "keys", []string{"k0", "k0", "k1", "k1"}, r.asked()) // resends go to a key not yet asked first
		r.ended()
	})
}

// The stream is kept alive while a tool works, and a second turn is held like a
// first one.
func TestPingsBetweenTurns(t *testing.T) {
	a := apis["messages"]
	synctest.Test(t, func(t *testing.T) {
		kit := &tools{call: func(context.Context) { time.Sleep(25 * time.Second) }}
		r := looping(t, a, true, kit, func(w http.ResponseWriter, _ string) {
			sse(w, "event: message_start\ndata: "+`{"type":"message_start","message":{}}`+"\n\n", pingEvent+": later\n\n")
			time.Sleep(4 * time.Second)
			a.say(w, true, "noon")
		})
		got, _, err := r.arrivals(a.path, a.request[true])
		diff(t, "arrivals", []arrival{
			{0, messageStart + strings.Replace(textDelta, "Hi", "CALL", 1)},
			{10 * time.Second, pingEvent},
			{20 * time.Second, pingEvent},
			{29 * time.Second, pingEvent + ": later\n\n" + strings.Replace(textDelta, "Hi", "noon", 1) + messageStop},
		}, got)
		if err != nil {
			t.Error(err)
		}
		r.ended()
	})
}

// What is held for a splicer goes out in time, too.
func TestHoldIsBoundedForSplicers(t *testing.T) {
	a := apis["chat"]
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{
			chat: looped{chat.New()}, tools: &tools{},
			upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
				sse(w, roleChunk)
				time.Sleep(12 * time.Second)
				send(w, textChunk, finishChunk, doneChunk)
			},
		})
		got, _, _ := r.arrivals(a.path, a.request[true])
		diff(t, "arrivals", []arrival{
			{10 * time.Second, roleChunk},
			{12 * time.Second, textChunk + finishChunk + doneChunk},
		}, got)
	})
}

// A tool that works for a client that has left is called off.
func TestToolsAreCalledOff(t *testing.T) {
	a := apis["chat"]
	synctest.Test(t, func(t *testing.T) {
		kit := &tools{call: func(ctx context.Context) { <-ctx.Done() }}
		r := looping(t, a, false, kit, func(http.ResponseWriter, string) { t.Error("a turn for nobody") })
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if got := r.do(request(ctx, http.MethodPost, a.path, a.request[false])); got.Err == nil {
			t.Errorf("got %+v", got)
		}
		diff(t, "status", ledger.Cancelled, r.ended().Status)
		r.pool("openai", "failover_attempts 1/1 call_attempts 1/1 failovers 0 transitions 0")
	})
}

// A second turn of another form than the first cannot go on with its answer.
func TestSecondTurnOfAnotherForm(t *testing.T) {
	a := apis["chat"]
	synctest.Test(t, func(t *testing.T) {
		r := looping(t, a, true, &tools{}, func(w http.ResponseWriter, key string) {
			a.say(w, key == "k1", "noon")
		})
		got := r.post(a.path, a.request[true])
		diff(t, "body", a.told(true, "CALL", "noon"), got.Body)
		diff(t, "keys", []string{"k0", "k0", "k1"}, r.asked())
		r.ended()
	})
}
