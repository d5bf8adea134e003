package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// A central tool is "clock" here, one of the client's "edit".

func chatTurn(content, finish string, calls ...string) string {
	return `{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":` + content +
		`,"tool_calls":[` + strings.Join(calls, ",") + `]},"finish_reason":"` + finish + `"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`
}

func chatCall(id, name string) string {
	return fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":"{}"}}`, id, name)
}

func messageTurn(stop string, blocks ...string) string {
	return `{"id":"msg_1","type":"message","role":"assistant","content":[` + strings.Join(blocks, ",") + `],"stop_reason":"` + stop + `","usage":{"input_tokens":1,"output_tokens":1}}`
}

func toolUse(id, name string) string {
	return `{"type":"tool_use","id":"` + id + `","name":"` + name + `","input":{}}`
}

func messageText(text string) string { return `{"type":"text","text":"` + text + `"}` }

func responseTurn(id, status string, items ...string) string {
	return `{"id":"` + id + `","object":"response","status":"` + status + `","output":[` + strings.Join(items, ",") + `],"usage":{"input_tokens":1,"output_tokens":1}}`
}

func functionCall(call, name string) string {
	return `{"type":"function_call","id":"fc_` + call + `","call_id":"` + call + `","name":"` + name + `","arguments":"{}","status":"completed"}`
}

const (
	chatAsk     = `{"model":"m","messages":[{"role":"user","content":"hi"}]}`
	messageAsk  = `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"}]}`
	responseAsk = `{"model":"m","input":"hi"}`
)

// blocking is a gateway with a central tool whose upstream answers with these bodies,
// the last of them again and again.
func blocking(t *testing.T, kit *tools, answers ...string) *rig {
	return newRig(t, setup{tools: kit, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
		jsonAnswer(w, http.StatusOK, answers[min(n, len(answers)-1)])
	}})
}

// last is the body of the last request that went upstream.
func (r *rig) last() string {
	all := r.seen()
	return all[len(all)-1].Body
}

// ask posts and waits until the exchange is settled.
func (r *rig) ask(path, body string, header ...string) reply {
	r.t.Helper()
	got := r.post(path, body, header...)
	r.ended()
	return got
}

// What is hidden of an answer of one API is not for the requests of another, whatever
// ids they name.
func TestHiddenIsOfItsAPI(t *testing.T) {
	back := map[string]string{
		"/v1/chat/completions": `{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[` + chatCall("call_B", "edit") + `]},{"role":"tool","tool_call_id":"call_B","content":"ok"}],"tool_choice":"none"}`,
		"/v1/messages":         `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[` + toolUse("call_B", "edit") + `]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_B","content":"ok"}]}],"tool_choice":{"type":"none"}}`,
		"/v1/responses":        `{"model":"m","input":[{"role":"user","content":"hi"},` + functionCall("call_B", "edit") + `,{"type":"function_call_output","call_id":"call_B","output":"ok"}],"tool_choice":"none"}`,
	}
	turns := map[string][2]string{
		"/v1/chat/completions": {chatAsk, chatTurn("null", "tool_calls", chatCall("call_A", "clock"), chatCall("call_B", "edit"))},
		"/v1/messages":         {messageAsk, messageTurn("tool_use", toolUse("call_A", "clock"), toolUse("call_B", "edit"))},
		"/v1/responses":        {responseAsk, responseTurn("resp_1", "completed", functionCall("call_A", "clock"), functionCall("call_B", "edit"))},
	}
	for from, turn := range turns {
		r := blocking(t, &tools{}, turn[1])
		r.ask(from, turn[0])
		for to, body := range back {
			r.ask(to, body)
			if put := strings.Contains(r.last(), "call_A"); put != (from == to) {
				t.Errorf("from %s to %s: put back %t: %s", from, to, put, r.last())
			}
		}
	}
}

// Upstreams may give all answers one id: where nobody names answers, that says nothing.
func TestAnswersOfOneID(t *testing.T) {
	r := blocking(t, &tools{},
		chatTurn("null", "tool_calls", chatCall("call_A", "clock"), chatCall("call_B", "edit")),
		chatTurn("null", "tool_calls", chatCall("call_C", "clock"), chatCall("call_D", "edit")), chatTurn(`"ok"`, "stop"))
	r.ask("/v1/chat/completions", chatAsk)
	r.ask("/v1/chat/completions", chatAsk)
	r.ask("/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[`+
		chatCall("call_B", "edit")+`]},{"role":"tool","tool_call_id":"call_B","content":"ok"}]}`)
	if !strings.Contains(r.last(), "call_A") {
		t.Errorf("the pair is not put back: %s", r.last())
	}
}

// SDKs repeat a request that has failed: not once tools have run for it.
func TestNoRetryOnceToolsHaveRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, status := range []int{http.StatusInternalServerError, http.StatusTooManyRequests, http.StatusBadRequest} {
			for _, calls := range []bool{true, false} {
				kit := &tools{}
				r := newRig(t, setup{tools: kit, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
					if calls && n == 0 {
						jsonAnswer(w, http.StatusOK, messageTurn("tool_use", toolUse("toolu_A", "clock")))
						return
					}
					jsonAnswer(w, status, `{"type":"error","error":{"type":"api_error","message":"boom"}}`)
				}})
				got := r.ask("/v1/messages", messageAsk)
				want := ""
				if calls {
					want = "false"
				}
				if got.Status < 400 || got.Header.Get("X-Should-Retry") != want {
					t.Errorf("%d after %d calls: status %d, X-Should-Retry %q, want %q", status, len(kit.called), got.Status, got.Header.Get("X-Should-Retry"), want)
				}
			}
		}
	})
}

// Anthropic's search results are sealed for nobody: the loop may go on with any key.
func TestSearchResultsDoNotSealTheLoop(t *testing.T) {
	const search = `{"type":"server_tool_use","id":"srvtoolu_1","name":"web_search","input":{"query":"x"}},` +
		`{"type":"web_search_tool_result","tool_use_id":"srvtoolu_1","content":[{"type":"web_search_result","url":"u","title":"t","encrypted_content":"EqgfCioI"}]}`
	r := newRig(t, setup{tools: &tools{}, upstream: func(w http.ResponseWriter, _ *http.Request, key string, n int) {
		switch {
		case n == 0:
			jsonAnswer(w, http.StatusOK, messageTurn("tool_use", search, toolUse("toolu_A", "clock")))
		case key == "k0":
			w.Header().Set("Retry-After", "30")
			jsonAnswer(w, http.StatusTooManyRequests, `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit"}}`)
		default:
			jsonAnswer(w, http.StatusOK, messageTurn("end_turn", messageText("done")))
		}
	}})
	got := r.ask("/v1/messages", messageAsk)
	diff(t, "status", http.StatusOK, got.Status)
	diff(t, "keys", []string{"k0", "k0", "k1"}, r.asked())
}

// The client's idempotency key is for the body that it has sent.
func TestIdempotencyKeyIsOfTheFirstTurn(t *testing.T) {
	r := blocking(t, &tools{}, messageTurn("tool_use", toolUse("toolu_A", "clock")), messageTurn("end_turn", messageText("done")))
	r.ask("/v1/messages", messageAsk, "Idempotency-Key", "abc", "X-Idempotency-Key", "def", "X-Other", "ghi")
	for i, c := range r.seen() {
		want := []string{"abc", "def", "ghi"}
		if i > 0 {
			want = []string{"", "", "ghi"}
		}
		diff(t, fmt.Sprint("turn ", i), want, []string{c.Header.Get("Idempotency-Key"), c.Header.Get("X-Idempotency-Key"), c.Header.Get("X-Other")})
	}
}

// bomb is a tool that panics.
type bomb struct{ tools }

func (*bomb) Call(context.Context, ledger.Principal, llm.ToolCall) (llm.ToolResult, ledger.ToolUse) {
	panic("short circuit")
}

// A panic in a call ends neither the process nor the conversation.
func TestCallPanics(t *testing.T) {
	r := newRig(t, setup{tools: &bomb{}, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
		jsonAnswer(w, http.StatusOK, []string{messageTurn("tool_use", toolUse("toolu_A", "clock")), messageTurn("end_turn", messageText("done"))}[n])
	}})
	got := r.post("/v1/messages", messageAsk)
	e := r.ended()
	diff(t, "status", http.StatusOK, got.Status)
	diff(t, "outcome", ledger.ToolInvalid, e.Tools[0].Outcome)
	var asked struct{ Messages []json.RawMessage }
	if err := json.Unmarshal([]byte(r.last()), &asked); err != nil || len(asked.Messages) != 3 || !strings.Contains(string(asked.Messages[2]), `"is_error":true`) {
		t.Errorf("the second turn was asked %s", r.last())
	}
	if logs := r.logs.String(); !strings.Contains(logs, "panic while calling a tool") || !strings.Contains(logs, "short circuit") || !strings.Contains(logs, "conversation_test.go") {
		t.Errorf("the log says %s", logs)
	}
}

// Space before a request or an answer changes nothing.
func TestSpaceBeforeBodies(t *testing.T) {
	for path, c := range map[string]struct{ ask, first, last string }{
		"/v1/chat/completions": {chatAsk, chatTurn("null", "tool_calls", chatCall("call_A", "clock")), chatTurn(`"noon"`, "stop")},
		"/v1/messages":         {messageAsk, messageTurn("tool_use", toolUse("toolu_A", "clock")), messageTurn("end_turn", messageText("noon"))},
		"/v1/responses":        {responseAsk, responseTurn("resp_1", "completed", functionCall("call_A", "clock")), responseTurn("resp_2", "completed")},
	} {
		kit := &tools{}
		r := blocking(t, kit, "\r\n\n"+c.first, "\n"+c.last)
		got := r.ask(path, "\n "+c.ask)
		if len(kit.called) != 1 || strings.Contains(got.Body, "clock") || !json.Valid([]byte(got.Body)) {
			t.Errorf("%s: %d calls run, the client got %s", path, len(kit.called), got.Body)
		}
		for i, sent := range r.seen() {
			if !json.Valid([]byte(sent.Body)) || strings.Count(sent.Body, `"tools"`) != 1 {
				t.Errorf("%s: turn %d was asked %q", path, i, sent.Body)
			}
		}
	}
}

// A model that was asked for no more calls calls a central tool and one of the client's:
// the one is answered as not run.
func TestCallsAfterTheLastTurnAreAnswered(t *testing.T) {
	turn := func(i int) string { return messageTurn("tool_use", toolUse(fmt.Sprint("toolu_", i), "clock")) }
	r := blocking(t, &tools{}, turn(0), turn(1), turn(2), turn(3), messageTurn("tool_use", toolUse("toolu_A", "clock"), toolUse("toolu_B", "edit")), messageTurn("end_turn"))
	r.ask("/v1/messages", messageAsk)
	r.ask("/v1/messages", `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[`+toolUse("toolu_B", "edit")+
		`]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_B","content":"ok"}]}]}`)
	const refused = `{"type":"tool_result","tool_use_id":"toolu_A","content":[{"type":"text","text":"Not run: `
	if !strings.Contains(r.last(), toolUse("toolu_A", "clock")) || !strings.Contains(r.last(), refused) {
		t.Errorf("the client's next request went out as %s", r.last())
	}
	item := func(i int) string {
		return responseTurn(fmt.Sprint("resp_", i), "completed", functionCall(fmt.Sprint("call_", i), "clock"))
	}
	r = blocking(t, &tools{}, item(0), item(1), item(2), item(3), item(4), responseTurn("resp_5", "completed"))
	r.ask("/v1/responses", responseAsk)
	r.ask("/v1/responses", `{"model":"m","tool_choice":"none","previous_response_id":"resp_0","input":"go on"}`)
	const front = `{"model":"m","tool_choice":"none","previous_response_id":"resp_4","input":[{"type":"function_call_output","call_id":"call_4","output":"Error: Not run: `
	if !strings.HasPrefix(r.last(), front) || !strings.HasSuffix(r.last(), `,{"type":"message","role":"user","content":"go on"}]}`) {
		t.Errorf("the client's next request went out as %s", r.last())
	}
}

// responseEvents is a response of one item as a stream.
func responseEvents(id, status, item string) []string {
	event := func(n int, kind, rest string) string {
		return fmt.Sprintf("event: %s\ndata: {\"type\":%q,\"sequence_number\":%d%s}\n\n", kind, kind, n, rest)
	}
	return []string{
		event(0, "response.created", `,"response":{"id":"`+id+`","object":"response","status":"in_progress","output":[]}`),
		event(1, "response.output_item.added", `,"output_index":0,"item":`+item),
		event(2, "response.output_item.done", `,"output_index":0,"item":`+item),
		event(3, "response."+status, `,"response":`+responseTurn(id, status, item)),
	}
}

// The provider knows an answer of several turns by the id of the last one, also if that
// was cut short.
func TestAnswerIsGoneOnFrom(t *testing.T) {
	const text = `{"type":"message","id":"msg_2","role":"assistant","content":[{"type":"output_text","text":"It is"}]}`
	for name, c := range map[string]struct{ status, item, want string }{
		"whole":                {"completed", text, `{"model":"m","previous_response_id":"resp_2","input":"go on"`},
		"cut short":            {"incomplete", text, `{"model":"m","previous_response_id":"resp_2","input":"go on"`},
		"cut short in a call":  {"incomplete", functionCall("call_B", "clock"), `{"model":"m","previous_response_id":"resp_2","input":[{"type":"function_call_output","call_id":"call_B","output":"Error: Not run: `},
		"a call of the client": {"completed", functionCall("call_B", "edit"), `{"model":"m","previous_response_id":"resp_2","input":"go on"`},
	} {
		for _, streaming := range []bool{true, false} {
			r := newRig(t, setup{tools: &tools{}, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
				id, status, item := "resp_1", "completed", functionCall("call_A", "clock")
				if n > 0 {
					id, status, item = "resp_2", c.status, c.item
				}
				if streaming {
					sse(w, responseEvents(id, status, item)...)
				} else {
					jsonAnswer(w, http.StatusOK, responseTurn(id, status, item))
				}
			}})
			got := r.ask("/v1/responses", fmt.Sprintf(`{"model":"m","input":"hi","stream":%t}`, streaming))
			shown, other := "resp_2", "resp_1"
			if streaming { // it has begun with the first turn's
				shown, other = other, shown
			}
			if !strings.Contains(got.Body, shown) || strings.Contains(got.Body, other) {
				t.Errorf("%s, streaming %t: the client is shown %s", name, streaming, got.Body)
			}
			r.ask("/v1/responses", `{"model":"m","previous_response_id":"`+shown+`","input":"go on"}`)
			if body := r.seen()[2].Body; !strings.HasPrefix(body, c.want) {
				t.Errorf("%s, streaming %t: the next request went out as %s", name, streaming, body)
			}
		}
	}
}

const messageEnd = "event: message_delta\ndata: " + `{"type":"message_delta","delta":{"stop_reason":"tool_use"},"usage":{"output_tokens":1}}` + "\n\n" + messageStop

func blockEvents(block string) string {
	return "event: content_block_start\ndata: " + `{"type":"content_block_start","index":0,"content_block":` + block + "}\n\n" +
		"event: content_block_stop\ndata: " + `{"type":"content_block_stop","index":0}` + "\n\n"
}

// An upstream that stays open behind the end of its stream delays neither the tools nor
// the end of the answer.
func TestUpstreamStaysOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{tools: &tools{}, upstream: func(w http.ResponseWriter, q *http.Request, _ string, n int) {
			if n == 0 {
				sse(w, messageStart, blockEvents(toolUse("toolu_A", "clock")), messageEnd)
			} else {
				sse(w, messageStart, blockEvents(messageText("noon")), messageEnd)
			}
			send(w)
			<-q.Context().Done()
		}})
		start := time.Now()
		got := r.post("/v1/messages", messagesRequest)
		e := r.ended()
		diff(t, "time", 2*time.Second, time.Since(start))
		diff(t, "status", ledger.Completed, e.Status)
		diff(t, "turns", 2, len(r.seen()))
		if !strings.HasSuffix(got.Body, messageStop) || got.Err != nil {
			t.Errorf("got %q, %v", got.Body, got.Err)
		}
		r.pool("anthropic", "failover_attempts 1/2 call_attempts 2/2 failovers 0 transitions 0")
	})
}

// A large answer is joined like any other. One beyond all bounds goes by if it is the
// first, and else ends the exchange: what was said before it would be lost.
func TestLargeAnswers(t *testing.T) {
	large := messageText(strings.Repeat("x", 9<<20))
	r := blocking(t, &tools{}, messageTurn("tool_use", large, toolUse("toolu_A", "clock")), messageTurn("end_turn", messageText("LAST")))
	got := r.ask("/v1/messages", messageAsk)
	if len(r.seen()) != 2 || strings.Contains(got.Body, "clock") || len(got.Body) < 9<<20 || !strings.Contains(got.Body, "LAST") {
		t.Errorf("first: %d turns, %d bytes: %.200s", len(r.seen()), len(got.Body), got.Body)
	}
	r = blocking(t, &tools{}, messageTurn("tool_use", messageText("FIRST"), toolUse("toolu_A", "clock")), messageTurn("end_turn", large))
	got = r.ask("/v1/messages", messageAsk)
	if len(got.Body) < 9<<20 || !strings.Contains(got.Body, "FIRST") || !strings.HasSuffix(got.Body, `"usage":{"input_tokens":2,"output_tokens":2}}`) {
		t.Errorf("second: %d bytes: %.200s", len(got.Body), got.Body)
	}
	huge := messageText(strings.Repeat("x", 33<<20))
	r = blocking(t, &tools{}, messageTurn("end_turn", huge))
	if got = r.ask("/v1/messages", messageAsk); got.Body != messageTurn("end_turn", huge) {
		t.Errorf("huge: %d, %d bytes", got.Status, len(got.Body))
	}
	r = blocking(t, &tools{}, messageTurn("tool_use", messageText("FIRST"), toolUse("toolu_A", "clock")), messageTurn("end_turn", huge))
	got = r.post("/v1/messages", messageAsk)
	diff(t, "status", http.StatusBadGateway, got.Status)
	diff(t, "retry", "false", got.Header.Get("X-Should-Retry"))
	diff(t, "status", ledger.Failed, r.ended().Status)
	if len(r.seen()) != 2 || !strings.Contains(got.Body, "too large") {
		t.Errorf("huge: %d turns, %.300s", len(r.seen()), got.Body)
	}
}
