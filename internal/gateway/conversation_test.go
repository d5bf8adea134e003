package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// A central tool is "clock" here, one of the client's "edit".

func chatTurn(content, finish string, calls ...string) string {
	return `{"id":"chatcmpl-1","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":` + content +
		`,"tool_calls":[` + strings.Join(calls, ",") + `]},"finish_reason":"` + finish + `"}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}`
}

func chatCall(id, name, arguments string) string {
	return fmt.Sprintf(`{"id":%q,"type":"function","function":{"name":%q,"arguments":%q}}`, id, name, arguments)
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
		"/v1/chat/completions": `{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[` + chatCall("call_B", "edit", "{}") + `]},{"role":"tool","tool_call_id":"call_B","content":"ok"}],"tool_choice":"none"}`,
		"/v1/messages":         `{"model":"m","max_tokens":9,"messages":[{"role":"user","content":"hi"},{"role":"assistant","content":[` + toolUse("call_B", "edit") + `]},{"role":"user","content":[{"type":"tool_result","tool_use_id":"call_B","content":"ok"}]}],"tool_choice":{"type":"none"}}`,
		"/v1/responses":        `{"model":"m","input":[{"role":"user","content":"hi"},` + functionCall("call_B", "edit") + `,{"type":"function_call_output","call_id":"call_B","output":"ok"}],"tool_choice":"none"}`,
	}
	turns := map[string][2]string{
		"/v1/chat/completions": {chatAsk, chatTurn("null", "tool_calls", chatCall("call_A", "clock", "{}"), chatCall("call_B", "edit", "{}"))},
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
		chatTurn("null", "tool_calls", chatCall("call_A", "clock", "{}"), chatCall("call_B", "edit", "{}")),
		chatTurn("null", "tool_calls", chatCall("call_C", "clock", "{}"), chatCall("call_D", "edit", "{}")), chatTurn(`"ok"`, "stop"))
	r.ask("/v1/chat/completions", chatAsk)
	r.ask("/v1/chat/completions", chatAsk)
	r.ask("/v1/chat/completions", `{"model":"m","messages":[{"role":"user","content":"hi"},{"role":"assistant","content":null,"tool_calls":[`+
		chatCall("call_B", "edit", "{}")+`]},{"role":"tool","tool_call_id":"call_B","content":"ok"}]}`)
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
		"/v1/chat/completions": {chatAsk, chatTurn("null", "tool_calls", chatCall("call_A", "clock", "{}")), chatTurn(`"noon"`, "stop")},
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
