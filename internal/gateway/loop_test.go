package gateway_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/ledger"
	"keybridge/internal/wire"
)

func TestCallsOfATurnRunSideBySide(t *testing.T) {
	a := apis["chat"]
	synctest.Test(t, func(t *testing.T) {
		kit := &tools{call: func(context.Context) { time.Sleep(time.Second) }}
		r := newRig(t, setup{chat: looped{chat.New()}, tools: kit, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
			a.say(w, true, []string{"CALL CALL CALL CALL", "noon"}[n])
		}})
		start := time.Now()
		r.post(a.path, a.request[true])
		diff(t, "time", time.Second, time.Since(start))
		e := r.ended()
		diff(t, "calls that were run", 3, len(kit.called))
		var outcomes []ledger.ToolOutcome
		for _, use := range e.Tools {
			outcomes = append(outcomes, use.Outcome)
		}
		diff(t, "outcomes", []ledger.ToolOutcome{ledger.ToolOK, ledger.ToolOK, ledger.ToolOK, ledger.ToolRefused}, outcomes)
		diff(t, "turns", 2, e.Loop)
		if second := r.seen()[1].Body; !strings.Contains(second, "call_3=noon;call_4=Not run: too many calls at once.") {
			t.Errorf("the second turn was asked %s", second)
		}
	})
}

// A model that calls without end is asked to answer, and if it calls even then the
// answer ends.
func TestLoopIsBounded(t *testing.T) {
	a := apis["messages"]
	for _, obeys := range []bool{true, false} {
		t.Run(fmt.Sprint("obeys ", obeys), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				kit := &tools{}
				r := newRig(t, setup{msgs: looped{messages.New()}, tools: kit, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
					if n == 4 && obeys {
						a.say(w, true, "noon")
						return
					}
					a.say(w, true, "CALL")
				}})
				got := r.post(a.path, a.request[true])
				last := "CALL"
				if obeys {
					last = "noon"
				}
				diff(t, "body", a.told(true, "CALL", "CALL", "CALL", "CALL", last), got.Body)
				calls := r.seen()
				diff(t, "turns", 5, len(calls))
				diff(t, "tools run", 4, len(kit.called))
				for i, c := range calls {
					if final := strings.Contains(c.Body, "final;"); final != (i == 4) {
						t.Errorf("turn %d is asked %s", i, c.Body)
					}
				}
				e := r.ended()
				diff(t, "status", ledger.Completed, e.Status)
				diff(t, "loop", 5, e.Loop)
				r.pool("anthropic", "failover_attempts 1/5 call_attempts 5/5 failovers 0 transitions 0")
			})
		})
	}
}

func TestToolsHaveSoMuchTimeInAll(t *testing.T) {
	a := apis["messages"]
	synctest.Test(t, func(t *testing.T) {
		kit := &tools{call: func(ctx context.Context) {
			select {
			case <-ctx.Done():
			case <-time.After(6 * time.Minute):
			}
		}}
		r := newRig(t, setup{msgs: looped{messages.New()}, tools: kit, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
			a.say(w, true, []string{"CALL", "CALL", "noon"}[n])
		}})
		start := time.Now()
		r.post(a.path, a.request[true])
		diff(t, "time", 10*time.Minute, time.Since(start))
		e := r.ended()
		diff(t, "second call", ledger.ToolTimeout, e.Tools[1].Outcome)
		diff(t, "its turn", 1, e.Tools[1].Turn)
		if last := r.seen()[2].Body; !strings.Contains(last, "final;") {
			t.Errorf("the last turn is asked %s", last)
		}
	})
}

// recalling marks what it puts back of an earlier exchange.
type recalling struct{ looped }

func (recalling) Recall(body []byte, find func(string) *dialect.Hidden) ([]byte, error) {
	h := find("theirs")
	if h == nil {
		return body, nil
	}
	mark := fmt.Appendf(nil, `"messages":["recalled %d %s",`, len(h.Steps), h.Steps[0].Results[0].Parts[0].Text)
	return bytes.Replace(body, []byte(`"messages":[`), mark, 1), nil
}

func TestHiddenCallsOfAMixedTurnAreKeptForTheirCaller(t *testing.T) {
	a := apis["messages"]
	synctest.Test(t, func(t *testing.T) {
		kit := &tools{}
		r := newRig(t, setup{msgs: recalling{looped{messages.New()}}, tools: kit, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
			a.say(w, true, []string{"CALL CLIENT", "done", "done"}[min(n, 2)])
		}})
		got := r.post(a.path, a.request[true])
		diff(t, "body", a.told(true, "CALL CLIENT"), got.Body)
		diff(t, "status", ledger.Completed, r.ended().Status)
		diff(t, "tools run", 1, len(kit.called))
		back := strings.Replace(a.request[true], `"messages":[`, `"messages":["result of theirs"`, 1)
		r.post(a.path, back)
		r.ended()
		if body := r.seen()[1].Body; !strings.Contains(body, `"messages":["recalled 1 noon","result of theirs"`) {
			t.Errorf("the client's next request went out as %s", body)
		}
		time.Sleep(time.Hour + time.Second)
		r.post(a.path, back)
		r.ended()
		if body := r.seen()[2].Body; body != back {
			t.Errorf("an hour later it went out as %s", body)
		}
	})
}

// echoing splices as one does that makes events anew from their data.
type echoing struct{ looped }

func (echoing) Splice(func(string) bool) dialect.Splicer { return &echo{} }

type echo struct{ splicer }

func (*echo) Event(e wire.Event) []wire.Event {
	return []wire.Event{{Raw: fmt.Appendf(nil, "data: %s\n\n", e.Data)}}
}

// An error that quotes a key is masked before a splicer sees it, in its data too.
func TestErrorsAreMaskedBeforeTheyAreSpliced(t *testing.T) {
	a := apis["messages"]
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{msgs: echoing{looped{messages.New()}}, tools: &tools{}, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
			sse(w, messageStart, textDelta, "event: error\ndata: "+`{"type":"error","error":{"type":"api_error","message":"`+req.Header.Get("X-Api-Key")+`"}}`+"\n\n")
		}})
		got := r.post(a.path, a.request[true])
		if strings.Contains(got.Body, key(0)) || !strings.Contains(got.Body, "***") {
			t.Errorf("the client is told %s", got.Body)
		}
		r.ended()
	})
}
