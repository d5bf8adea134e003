package verdict

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// Errors inside a 200, in the shapes that only streams have.
func TestClassifyInStream(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		family Family
		body   string
		want   Verdict
		status int
	}{
		{"anthropic: overloaded", Anthropic, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, Broken(), 529},
		{"anthropic: api error", Anthropic, `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`, Broken(), 500},
		{"anthropic: timeout", Anthropic, `{"type":"error","error":{"type":"timeout_error","message":"Timeout"}}`, Broken(), 504},
		{"anthropic: rate limit", Anthropic, `{"type":"error","error":{"type":"rate_limit_error","message":"Error"}}`, cool(orgModel), 429},
		{"anthropic: key", Anthropic, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`, condemn(Key, Unauthorized), 401},
		{"anthropic: permission", Anthropic, `{"type":"error","error":{"type":"permission_error","message":"OAuth token has been revoked."}}`, condemn(Key, Forbidden), 403},
		{"anthropic: billing", Anthropic, `{"type":"error","error":{"type":"billing_error","message":"Pay"}}`, quota(Organization), 402},
		{"anthropic: credit", Anthropic, `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`, quota(Organization), 400},
		{"anthropic: model", Anthropic, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}`, deny(orgModel), 404},
		{"anthropic: filtered", Anthropic, `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}`, stop(Request), 400},
		{"anthropic: large", Anthropic, `{"type":"error","error":{"type":"request_too_large","message":"Too large"}}`, stop(Request), 413},
		{"anthropic: unknown", Anthropic, `{"type":"error","error":{"type":"new_error","message":"?"}}`, Broken(), 500},

		{"chat: rate limit", OpenAI, `{"error":{"message":"Rate limit reached. Please try again in 20ms.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, cooled(cool(orgModel), 20*time.Millisecond), 429},
		{"chat: type only", OpenAI, `{"error":{"message":"Rate limit reached","type":"requests","param":null,"code":null}}`, cool(orgModel), 429},
		{"chat: server error", OpenAI, `{"error":{"message":"The server had an error","type":"server_error","param":null,"code":null}}`, Broken(), 500},
		{"chat: quota", OpenAI, `{"error":{"message":"Quota","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, quota(Organization), 429},
		{"chat: key", OpenAI, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`, condemn(Key, Unauthorized), 401},
		{"responses, flat: rate limit", OpenAI, `{"type":"error","code":"rate_limit_exceeded","message":"Rate limit reached","param":null,"sequence_number":1}`, cool(orgModel), 429},
		{"responses, flat: too large", OpenAI, `{"type":"error","code":"rate_limit_exceeded","message":"Request too large for gpt-5","param":null,"sequence_number":1}`, pass(Organization, TooLarge), 429},
		{"responses, nested: overloaded", OpenAI, `{"type":"error","sequence_number":2,"error":{"type":"service_unavailable_error","code":"server_is_overloaded","message":"m","param":null}}`, Broken(), 503},
		{"responses, nested: context", OpenAI, `{"type":"error","sequence_number":2,"error":{"type":"invalid_request_error","code":"context_length_exceeded","message":"m","param":"input"}}`, stop(Request), 400},
		{"responses, failed: server error", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":{"code":"server_error","message":"m"}}}`, Broken(), 500},
		{"responses, failed: rate limit", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":{"code":"rate_limit_exceeded","message":"Please try again in 1.5s."}}}`, cooled(cool(orgModel), 1500*time.Millisecond), 429},
		{"responses, failed: model", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":{"code":"model_not_found","message":"m"}}}`, deny(projectModel), 404},
		{"responses, failed: prompt", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":{"code":"invalid_prompt","message":"m"}}}`, stop(Request), 400},
		{"responses, failed: image", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":{"code":"image_too_large","message":"m"}}}`, stop(Request), 400},
		{"responses, failed: store", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":{"code":"vector_store_timeout","message":"m"}}}`, Broken(), 500},
		{"responses, failed: no word", OpenAI, `{"type":"response.failed","response":{"status":"failed","error":null}}`, Broken(), 500},
		{"responses, blocking", OpenAI, `{"object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"m"}}`, cool(orgModel), 429},
		{"slow down", OpenAI, `{"type":"error","code":"slow_down","message":"Slow Down"}`, Broken(), 503},
		{"slow down, as a limit", OpenAI, `{"type":"error","error":{"type":"rate_limit_error","code":"slow_down","message":"Slow Down"}}`, cool(orgModel), 429},
		{"codex", OpenAI, `{"type":"error","status":429,"error":{"type":"usage_limit_reached","message":"m","resets_in_seconds":60}}`, cooled(quota(Organization), time.Minute), 429},
		{"openrouter: late", Compatible, `{"id":"g","object":"chat.completion.chunk","error":{"code":429,"message":"Rate limited"},"choices":[{"finish_reason":"error"}]}`, cool(orgModel), 429},
		{"openrouter: odd code", Compatible, `{"error":{"code":200,"message":"?"}}`, Broken(), 500},
		{"text", Compatible, `upstream connect error`, Broken(), 500},
		{"cut off", Compatible, `{"id":"c","choices":[{"mess`, Broken(), 500},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			tt.want.Status = tt.status
			got := Classify(tt.family, Answer{Status: http.StatusOK, Body: []byte(tt.body), Now: now})
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("verdict on %s (-want +got):\n%s", tt.body, diff)
			}
		})
	}
}

func TestClassifySuccess(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		status int
		body   string
	}{
		{"no body", 200, ``},
		{"created", 201, ``},
		{"no content", 204, ``},
		{"blank", 200, "\n"},
		{"good response", 200, `{"object":"response","status":"completed","error":null}`},
		{"good message", 200, `{"type":"message","stop_reason":"refusal","content":[]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			h := head("X-Ratelimit-Remaining-Requests", "0", "Retry-After", "9", "X-Amzn-Errortype", "ThrottlingException")
			got := Classify(OpenAI, Answer{Status: tt.status, Header: h, Body: []byte(tt.body), Now: now})
			if diff := cmp.Diff(Success(), got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// No table may mark a key for what is the upstream's trouble, and every way to
// another key must say why.
func TestTableRules(t *testing.T) {
	t.Parallel()
	for family, table := range map[Family][]row{OpenAI: openAI, Anthropic: anthropic, Compatible: compatible} {
		for i, r := range table {
			if (r.then.Action == NextKey) != (r.then.Reason != None && r.then.Action != Resend) {
				t.Errorf("%s: row %d: action %v with reason %q", family, i, r.then.Action, r.then.Reason)
			}
			if r.then.Mark != NoMark && r.then.Action != NextKey {
				t.Errorf("%s: row %d: a mark without a move to another key", family, i)
			}
			last := i == len(table)-1
			if len(r.on) == 0 != last {
				t.Errorf("%s: row %d: only the last row is for any status", family, i)
			}
			for _, status := range r.on {
				if r.then.Mark != NoMark && (status < 400 || status > 499) {
					t.Errorf("%s: row %d: a mark for status %d", family, i, status)
				}
			}
		}
	}
	for name, status := range statuses {
		if status < 400 || status > 599 {
			t.Errorf("%s stands for %d", name, status)
		}
	}
}

func FuzzClassify(f *testing.F) {
	families := []Family{OpenAI, Anthropic, Compatible, ""}
	for i, l := range lines() {
		f.Add(uint8(i), l.status, l.header.Get("Retry-After"), "Tokens", l.header.Get("X-Ratelimit-Reset-Tokens"), []byte(l.body))
	}
	f.Add(uint8(1), 429, "-1", "Requests", "2562047h47m16.854775807s", []byte(`{"error":{"message":"try again in 99999999999999999999d until 9999-12-31"}}`))
	f.Add(uint8(2), 200, "Fri, 31 Dec 9999 23:59:59 GMT", "", "NaN", []byte(`{"error":{"code":429,"details":[{"retryDelay":"-5s"}],"resets_at":1e308}}`))
	f.Fuzz(func(t *testing.T, family uint8, status int, after, limit, reset string, body []byte) {
		h := head("Retry-After", after, "X-Ratelimit-Remaining-"+limit, "0", "X-Ratelimit-Reset-"+limit, reset,
			"X-Codex-A-Used-Percent", "100", "X-Codex-A-Reset-At", reset, "Anthropic-Ratelimit-Tokens-Remaining", "0", "Anthropic-Ratelimit-Tokens-Reset", reset)
		v := Classify(families[family%4], Answer{Status: status, Header: h, Body: body, Now: now})
		if !v.Until.IsZero() && (v.Until.Before(now) || v.Until.After(now.Add(maxWait))) {
			t.Errorf("until %v", v.Until)
		}
		if !v.Until.IsZero() && v.Mark != Cool {
			t.Errorf("an end without a cooldown: %+v", v)
		}
		if (v.Action == NextKey) != (v.Reason != None && v.Action != Resend) || v.Mark != NoMark && v.Action != NextKey {
			t.Errorf("no reason or no move: %+v", v)
		}
		if status >= 500 && v.Mark != NoMark {
			t.Errorf("a mark for %d: %+v", status, v)
		}
		if status/100 == 2 && len(body) == 0 && v != Success() {
			t.Errorf("a good answer judged %+v", v)
		}
	})
}

func BenchmarkClassifySuccess(b *testing.B) {
	a := Answer{Status: http.StatusOK, Header: head("Retry-After", "1"), Now: now}
	b.ReportAllocs()
	for b.Loop() {
		Classify(Compatible, a)
	}
}

func BenchmarkClassifyRateLimit(b *testing.B) {
	l := openAILines[16]
	a := Answer{Status: l.status, Body: []byte(l.body), Now: now}
	b.ReportAllocs()
	for b.Loop() {
		Classify(Compatible, a)
	}
}
