package main

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// The whole story of a request that had all that can happen to one.
func TestTell(t *testing.T) {
	t.Parallel()
	const request = `{"id":"req_kb1","status":"failed","http_status":502,"class":"bad_upstream","started":"2026-11-23T03:12:45.123Z","first_event":"2026-11-23T03:12:49Z",
		"ended":"2026-11-23T03:14:00.123Z","caller":"ann","metadata":{"team":"search","cost_center":"7"},"client":"claude-code","version":"2.1.0","session":"s\u001b[2J","signal":"x-claude-code-session-id",
		"thread":"req_kb0","parent":"req_kb00","provider":"anthropic","method":"POST","route":"/v1/messages","stream":true,"model":"claude-sonnet-5-1","model_asked":"claude-sonnet-5","model_answered":"claude-sonnet-5-1",
		"credential":"pooled","key":"k2","hint":"sk-…2","attempt_count":2,"loop_turns":1,"usage":{"input":1234,"cache_read":90000,"cache_write":12,"cache_write_long":10,"output":345,"reasoning":100},"usage_reported":false,
		"cost_usd":"0.0012345","cost_picos":1234500000,"unpriced_tokens":7,"error":"cut\noff","prompt":{"text":"Where is\nthe bug?","size":500},
		"attempts":[{"key":"k1","hint":"sk-…1","sent":"2026-11-23T03:12:45.124Z","waited_seconds":0.001,"duration_seconds":0.4,"status":429,"action":"next_key","reason":"rate_limited"},
			{"turn":1,"key":"k2","hint":"sk-…2","sent":"2026-11-23T03:12:48.9Z","waited_seconds":3.2,"duration_seconds":71,"action":"stop","reason":"upstream_error"}],
		"turns":[{"message":"msg_1","model":"claude-sonnet-5-1","stop":"tool_use","tier":"standard","complete":true,"usage":{"input":1000,"output":300},"searches":1,"cost_usd":"0.001","price_version":"2026-10-27",
				"iterations":[{"kind":"advisor","model":"claude-opus-5","usage":{"input":600},"cost_usd":"0.0006"}]},
			{"complete":false,"usage":{"input":234,"output":45},"cost_usd":"0.0002345","price_version":"2026-10-27"}],
		"tool_calls":[{"turn":0,"id":"toolu_1","kind":"injected","server":"docs","name":"find","arguments":"{\"q\":\"bug\"}","arguments_size":11,"result_size":2048,"outcome":"timeout","failed":true,"error":"too slow","duration_seconds":30},
			{"turn":0,"id":"toolu_2","kind":"client","name":"Bash","arguments_size":5},{"turn":0,"id":"srv_1","kind":"hosted","name":"web_search","failed":true,"error":"max_uses_exceeded"},
			{"turn":0,"id":"toolu_3","kind":"injected","server":"docs","name":"read","arguments_size":2,"outcome":"ok","duration_seconds":0.002}],
		"reasoning":[{"turn":0,"text":"Let me\nthink","size":12},{"turn":1,"text":"","size":80}],
		"decisions":[{"at":"2026-11-23T03:12:45.124Z","what":"leased","key":"k1"},
			{"at":"2026-11-23T03:12:45.524Z","what":"verdict","key":"k1","why":"rate_limited","action":"next_key","scope":"organization","until":"2026-11-23T03:13:45.524Z","for_seconds":0.4}]}`
	const want = `req_kb1 failed after 1m15s: bad_upstream; the client was shown 502

Asked      2026-11-23 03:12:45.123 UTC by ann (cost_center: 7, team: search), with claude-code 2.1.0
Session    s [2J (said in x-claude-code-session-id)
Thread     began with req_kb0, goes on from req_kb00
Request    POST /v1/messages to anthropic, streamed, first event after 3.88s
Model      claude-sonnet-5, answered by claude-sonnet-5-1
Key        k2 (sk-…2)
Used       1,234 input, 90,000 read from a cache, 12 written to one (10 for an hour), 345 output (100 of it reasoning) tokens; the provider has not reported all of it
Cost       $0.0012345, by the prices of 2026-10-27; 7 tokens have no known price and are not in it
Error      cut off
Prompt     Where is
           the bug?
           … (500 bytes in all)

What happened
+0.001s  k1  asked
+0.401s  k1  refused: rate limited with its whole organization, after 400ms; rests until 03:13:45 (1m0s)

Attempts
TURN  KEY  HINT     SENT  WAITED BEFORE   TOOK  HTTP  VERDICT
   1  k1   sk-…1    +1ms            1ms  400ms   429  refused: rate_limited
   2  k2   sk-…2  +3.78s           3.2s  1m11s     -  failed for good: upstream_error

Turns
TURN  MODEL              TIER      ENDED      INPUT  CACHE READ  CACHE WRITE  OUTPUT  REASONING  SEARCHES   COST USD  MESSAGE
   1  claude-sonnet-5-1  standard  tool_use   1,000           0            0     300          0         1      0.001  msg_1
      claude-opus-5                · advisor    600           0            0       0          0               0.0006
   2  -                  -         cut off      234           0            0      45          0         0  0.0002345  -

Tool calls
TURN  RUN BY    TOOL           ENDED                      TOOK  ARGUMENTS   RESULT  CALL
   1  gateway   docs.find      timeout: too slow           30s       11 B  2,048 B  toolu_1
                  {"q":"bug"}
   1  client    Bash           -                             -        5 B        -  toolu_2
   1  provider  web_search     failed: max_uses_exceeded     -          -        -  srv_1
   1  gateway   docs.read      ok                          2ms        2 B        -  toolu_3

Reasoning
turn 1     Let me
           think
turn 2     (hidden by the provider)
           … (80 bytes in all)
`
	var b bytes.Buffer
	if err := tell(&b, []byte(request)); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// Requests of which there is less to say.
func TestTellLess(t *testing.T) {
	t.Parallel()
	const began = `"id":"req_kb1","started":"2026-11-23T03:12:45Z","provider":"openai","method":"POST","route":"/v1/responses","model":"gpt-5"`
	tests := []struct{ name, request, want string }{
		{
			"open", `"status":"open"`, "req_kb1 is being served\n\nAsked      2026-11-23 03:12:45.000 UTC by a caller without a name\n" +
				"Request    POST /v1/responses to openai\nModel      gpt-5\n\nWhich keys are asked is recorded when it ends.\n",
		},
		{
			"lost", `"status":"lost","ended":"2026-11-23T03:12:45.2Z","caller":"ann"`, "req_kb1 is lost: the gateway's process ended before it did\n\nAsked      2026-11-23 03:12:45.000 UTC by ann\n" +
				"Request    POST /v1/responses to openai\nModel      gpt-5\n\nWhich keys were asked, and what was used, is not known.\n",
		},
		{"nobody asked", `"status":"failed","class":"rate_limited","http_status":429`, "Key        none\n\nNo provider was asked.\n"},
		{
			"own key refused", `"status":"failed","class":"upstream_4xx","http_status":401,"credential":"byok","hint":"sk-…","attempts":[{"key":"caller","sent":"2026-11-23T03:12:45.1Z","status":401,"action":"relay"}]`,
			"Key        the caller's own (sk-…)\nError      the upstream answered 401\n\nAttempts\nTURN  KEY     HINT    SENT  WAITED BEFORE  TOOK  HTTP  VERDICT\n" +
				"   1  caller  -     +100ms             0s    0s   401  relayed as it was\n",
		},
		{
			"cut off", `"status":"failed","class":"bad_upstream","http_status":200,"attempts":[{"key":"a","sent":"2026-11-23T03:12:45.1Z","status":200,"action":"relay"},` +
				`{"turn":1,"key":"b","sent":"2026-11-23T03:12:45.1Z","status":200,"action":"relay"}],"turns":[{"complete":true},{"complete":false}]`,
			"   1  a    -     +100ms             0s    0s   200  served\n   2  b    -     +100ms             0s    0s   200  served, then cut off\n",
		},
		{"cancelled", `"status":"cancelled","ended":"2026-11-23T03:12:46Z","caller":"ann","client":"other","version":"curl/8.1"`, "req_kb1 was cancelled after 1s: the client went away\n\n" +
			"Asked      2026-11-23 03:12:45.000 UTC by ann, with curl/8.1\n"},
		{
			"byok", `"status":"completed","ended":"2026-11-23T03:12:46Z","credential":"byok","hint":"sk-…","thread":"req_kb0","turns":[{"complete":true}],"usage_reported":true,"cost_usd":"0.00"`,
			"req_kb1 was answered after 1s\n\nAsked      2026-11-23 03:12:45.000 UTC by a caller without a name\nThread     began with req_kb0\nRequest    POST /v1/responses to openai\n" +
				"Model      gpt-5\nKey        the caller's own (sk-…)\nUsed       0 input, 0 output tokens\nCost       none: it went to the caller's own account\n",
		},
		{
			"long prompt", `"status":"failed","prompt":{"text":"` + strings.Repeat(`line\n`, 20) + `","size":100}`,
			strings.Repeat("           line\n", 11) + "           … (100 bytes in all; --json prints what was kept of it)\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var b bytes.Buffer
			if err := tell(&b, []byte("{"+began+","+tt.request+"}")); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(b.String(), tt.want) {
				t.Errorf("says\n%s\nwant\n%s", b.String(), tt.want)
			}
		})
	}
	var b bytes.Buffer
	if err := tell(&b, []byte("x")); err == nil || !strings.Contains(err.Error(), "the gateway's answer is not understood") {
		t.Errorf("what is no answer: %v", err)
	}
}

// Each word that the pool decides with is a sentence.
func TestSentences(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 23, 3, 12, 45, 0, time.UTC)
	soon, late := at.Add(90*time.Second), at.Add(50*time.Hour)
	tests := []struct {
		d    shownDecision
		want string
	}{
		{shownDecision{What: "skipped", Why: "models"}, "passed over: it is not configured for the model"},
		{shownDecision{What: "skipped", Why: "denied"}, "passed over: the provider does not let it use the model or the endpoint"},
		{shownDecision{What: "skipped", Why: "scope"}, "passed over: it shares the limits, or the project, of a key that was refused"},
		{shownDecision{What: "skipped", Why: "trial"}, "passed over: another request is trying it"},
		{shownDecision{What: "skipped", Why: "draining"}, "passed over: the operator lets it finish its sessions"},
		{shownDecision{What: "skipped", Why: "benched"}, "passed over: the operator has taken it out of use"},
		{shownDecision{What: "skipped", Why: "rate_limited", Until: soon}, "passed over: rate limited, until 03:14:15 (1m30s)"},
		{shownDecision{What: "skipped", Why: "quota_exhausted", Until: late}, "passed over: its account has no credit or quota left, until 05:12:45 in 2d2h"},
		{shownDecision{What: "skipped"}, "passed over"},
		{shownDecision{What: "leased"}, "asked"},
		{shownDecision{What: "leased", Why: "trial"}, "asked, to try whether it is good again"},
		{shownDecision{What: "leased", Why: "again"}, "asked again, after its upstream had failed"},
		{shownDecision{What: "verdict", Action: "relay", For: 0.5}, "answered, after 500ms"},
		{shownDecision{What: "verdict", Action: "next_key", Why: "unauthorized", Scope: "key"}, "refused: the provider does not accept it"},
		{shownDecision{What: "verdict", Action: "next_key", Why: "rate_limited", Scope: "project", For: 1, Until: soon}, "refused: rate limited with its whole project, after 1s; rests until 03:14:15 (1m30s)"},
		{shownDecision{What: "verdict", Action: "next_key", Why: "upstream_error", Scope: "upstream"}, "refused: its upstream is in trouble"},
		{shownDecision{What: "verdict", Action: "resend", Why: "upstream_error", Until: soon}, "failed: its upstream is in trouble"},
		{shownDecision{What: "verdict", Action: "stop", Why: "too_large"}, "failed for good: too_large"},
		{shownDecision{What: "waited", Why: "room", For: 3.2}, "waited 3.2s for room under a key's limits"},
		{shownDecision{What: "waited", Why: "deadline", For: 60}, "waited 1m0s for a key to come back"},
		{shownDecision{What: "waited", Why: "trial"}, "waited 0s to see what comes of another request's trial of a key"},
		{shownDecision{What: "waited", Why: "line_full"}, "waited 0s for nothing: too many requests wait already"},
		{shownDecision{What: "resend", For: 1}, "paused 1s before the upstream is asked again"},
		{shownDecision{What: "restarted"}, "all keys again: one had come back"},
		{shownDecision{What: "exhausted", Why: "rate_limited", Until: soon}, "no key was left: rate_limited, one comes back at 03:14:15 (1m30s)"},
		{shownDecision{What: "began", Why: "session-id"}, "the session is new, or forgotten: it begins here (known by session-id)"},
		{shownDecision{What: "stayed"}, "the session stays with its key"},
		{shownDecision{What: "moved", Why: "opening"}, "the session moves here from its key (known by opening)"},
		{shownDecision{What: "pinned"}, "only keys of this one's project can serve what the request refers to"},
		{shownDecision{What: "new\x1bword", Why: "a\nreason"}, "new word: a reason"},
	}
	for _, tt := range tests {
		tt.d.At = at
		if got := tt.d.sentence(); got != tt.want {
			t.Errorf("%+v\nsays %q\nwant %q", tt.d, got, tt.want)
		}
	}
}

// What is not known is no number.
func TestListUnknown(t *testing.T) {
	t.Parallel()
	var b bytes.Buffer
	const answer = `{"interceptions":[{"id":"req_kb1","status":"lost","started":"2026-11-23T03:12:45Z","ended":"2026-11-23T03:12:45.289Z"},
		{"id":"req_kb2","status":"completed","started":"2026-11-23T03:12:45Z","ended":"2026-11-23T03:12:46Z","attempt_count":1,"turn_count":1},
		{"id":"req_kb3","status":"failed","started":"2026-11-23T03:12:45Z","ended":"2026-11-23T03:12:46Z"}]}`
	if err := listRequests(&b, []byte(answer), func(string) string { return "" }); err != nil {
		t.Fatal(err)
	}
	const want = `STARTED (UTC)        ID       CALLER  CLIENT  MODEL  KEY  ENDED      TRIES  TOOK  INPUT  OUTPUT  COST USD
2026-11-23 03:12:45  req_kb1  -       -       -      -    lost           -     -      -       -    0.0000
2026-11-23 03:12:45  req_kb2  -       -       -      -    completed      1    1s      -       -    0.0000
2026-11-23 03:12:45  req_kb3  -       -       -      -    failed         0    1s      0       0    0.0000
`
	if diff := cmp.Diff(want, b.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
