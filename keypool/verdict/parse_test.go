package verdict

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name, body string
		want       Problem
		found      bool
	}{
		{"nothing", "", Problem{}, false},
		{"blank", " \n", Problem{}, false},
		{"openai", `{"error":{"message":"m","type":"t","param":"p","code":"c"}}`, Problem{Type: "t", Code: "c", Message: "m", Param: "p"}, true},
		{"openai, nulls", `{"error":{"message":"m","type":"t","param":null,"code":null}}`, Problem{Type: "t", Message: "m"}, true},
		{"codex", `{"error":{"type":"usage_limit_reached","message":"m","resets_at":1795183200,"resets_in_seconds":12.5},"status":429}`, Problem{Type: "usage_limit_reached", Message: "m", HTTP: 429, ResetsAt: "1795183200", ResetsIn: "12.5"}, true},
		{"anthropic", `{"type":"error","error":{"type":"rate_limit_error","message":"m","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_1"}`, Problem{Type: "rate_limit_error", Message: "m", ErrorCode: "enforced_spend_limit_reached"}, true},
		{"anthropic, null details", `{"type":"error","error":{"details":null,"type":"overloaded_error","message":"m"}}`, Problem{Type: "overloaded_error", Message: "m"}, true},
		{"anthropic edge", `{"error":{"type":"forbidden","message":"Request not allowed"}}`, Problem{Type: "forbidden", Message: "Request not allowed"}, true},
		{"azure", `{"error":{"code":"429","message":"m","innererror":{"code":"x","message":"y"}}}`, Problem{Code: "429", Message: "m", HTTP: 429}, true},
		{"bedrock", `{"message":"m"}`, Problem{Message: "m"}, true},
		{"bedrock, namespace", `{"__type":"a.b#ThrottlingException:http://x/","Message":"m"}`, Problem{Code: "ThrottlingException", Message: "m"}, true},
		{"gemini", `[{"error":{"code":429,"message":"m","status":"RESOURCE_EXHAUSTED","details":[{"reason":"r1"},7,{"retryDelay":"15s"},{"violations":[{"quotaId":"q1"},{"quotaId":"q2","x":[]}]},{"reason":"r2"}]}}]`, Problem{Code: "429", Message: "m", Status: "RESOURCE_EXHAUSTED", HTTP: 429, Reasons: []string{"r1", "r2"}, Quotas: []string{"q1", "q2"}, RetryDelay: "15s"}, true},
		{"openrouter", `{"error":{"code":402,"message":"m","metadata":{"a":{"b":1},"limit_source":"s"}}}`, Problem{Code: "402", Message: "m", HTTP: 402, LimitSource: "s", Explained: true}, true},
		{"openrouter, empty metadata", `{"error":{"code":403,"message":"m","metadata":{}}}`, Problem{Code: "403", Message: "m", HTTP: 403}, true},
		{"responses, flat", `{"type":"error","code":"server_error","message":"m","param":null,"sequence_number":3}`, Problem{Code: "server_error", Message: "m"}, true},
		{"responses, nested", `{"type":"error","sequence_number":2,"error":{"type":"service_unavailable_error","code":"server_is_overloaded","message":"m","param":null}}`, Problem{Type: "service_unavailable_error", Code: "server_is_overloaded", Message: "m"}, true},
		{"responses, failed", `{"type":"response.failed","response":{"id":"resp_1","instructions":[{"error":"no"}],"status":"failed","error":{"code":"server_error","message":"m"},"tools":[{}]}}`, Problem{Code: "server_error", Message: "m"}, true},
		{"responses, failed without a word", `{"type":"response.failed","response":{"status":"failed","error":null}}`, Problem{}, true},
		{"responses, blocking", `{"id":"resp_1","object":"response","status":"failed","error":{"code":"rate_limit_exceeded","message":"m"},"output":[]}`, Problem{Code: "rate_limit_exceeded", Message: "m"}, true},
		{"responses, good", `{"id":"resp_1","object":"response","status":"completed","error":null,"output":[]}`, Problem{}, false},
		{"chat, good", `{"id":"c","object":"chat.completion","choices":[{"message":{"content":"the error"}}]}`, Problem{}, false},
		{"message_start", `{"type":"message_start","message":{"id":"m"}}`, Problem{Type: "message_start"}, false},
		{"vllm", `{"object":"error","message":"m","type":"NotFoundError","param":null,"code":404}`, Problem{Type: "NotFoundError", Code: "404", Message: "m", HTTP: 404}, true},
		{"error is a string", `{"error":"boom","code":401}`, Problem{Message: "boom", Code: "401", HTTP: 401}, true},
		{"error is a number", `{"error":503}`, Problem{Code: "503", HTTP: 503}, true},
		{"error is true", `{"error":true,"message":"m"}`, Problem{Message: "m"}, true},
		{"error is false", `{"error":false,"data":1}`, Problem{}, false},
		{"error is a list", `{"error":[{"message":"x"}],"message":"m"}`, Problem{Message: "m"}, true},
		{"error is empty", `{"error":{}}`, Problem{}, true},
		{"response is no object", `{"response":[1,{"error":"x"}],"message":"m"}`, Problem{Message: "m"}, true},
		{"detail", `{"detail":"Unauthorized"}`, Problem{Message: "Unauthorized"}, true},
		{"wrong kinds", `{"error":{"message":{"a":1},"type":[2],"code":true,"param":{},"details":"x","metadata":3}}`, Problem{}, true},
		{"the first counts", `{"error":{"message":"a","message":"b"}}`, Problem{Message: "a"}, true},
		{"a string", `"boom"`, Problem{Message: "boom"}, true},
		{"strings", `["boom"]`, Problem{Message: "boom"}, true},
		{"numbers", `[1]`, Problem{}, false},
		{"byte order mark", "\ufeff{\"error\":{\"message\":\"m\"}}", Problem{Message: "m"}, true},
		{"text", "\r\n upstream connect error \n", Problem{Message: "upstream connect error", Text: true}, true},
		{"invalid text", "a\xffb", Problem{Message: "a\ufffdb", Text: true}, true},
		{"html", `<!doctype html><title>Your account has been disabled</title>`, Problem{Text: true}, true},
		{"raw line break", "{\"error\":{\"type\":\"t\",\"message\":\"one\ntwo\"}}", Problem{Type: "t", Message: "one"}, true},
		{"invalid utf-8", "{\"error\":{\"message\":\"a\xffb\",\"code\":\"c\"}}", Problem{Message: "a\ufffdb", Code: "c"}, true},
		{"cut in the message", `{"error":{"code":"c","type":"t","message":"Rate limit rea`, Problem{Code: "c", Type: "t", Message: "Rate limit rea"}, true},
		{"cut in an escape", `{"error":{"message":"smile \ud83d\u`, Problem{Message: "smile \ufffd"}, true},
		{"cut behind a backslash", `{"error":{"message":"a\`, Problem{Message: "a"}, true},
		{"cut in the code", `{"error":{"type":"t","code":"insuff`, Problem{Type: "t"}, true},
		{"cut in a number", `{"error":{"message":"m","resets_at":1795`, Problem{Message: "m"}, true},
		{"cut in a string", `{"error":"model not fo`, Problem{Message: "model not fo"}, true},
		{"cut in an object", `{"error":{"message":{"text":"no`, Problem{}, true},
		{"cut in a key", `{"error":{"message":"m","typ`, Problem{Message: "m"}, true},
		{"cut in null", `{"error":{"message":"m","code":nu`, Problem{Message: "m"}, true},
		{"cut good answer", `{"id":"c","choices":[`, Problem{}, true},
		{"broken", `{oops}`, Problem{}, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, found := read([]byte(tt.body))
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("Parse(%s) (-want +got):\n%s", tt.body, diff)
			}
			if found != tt.found {
				t.Errorf("an error: %v, want %v", found, tt.found)
			}
		})
	}
}

// Wherever a body is cut, what stands before the cut is read, and nothing else.
func TestParseCut(t *testing.T) {
	t.Parallel()
	for _, l := range lines() {
		whole := Parse([]byte(l.body))
		if whole.Text {
			continue
		}
		for n := range len(l.body) {
			cut := Parse([]byte(l.body[:n]))
			for _, f := range []struct{ key, whole, cut string }{
				{"type", whole.Type, cut.Type},
				{"code", whole.Code, cut.Code},
				{"message", whole.Message, cut.Message},
				{"error_code", whole.ErrorCode, cut.ErrorCode},
			} {
				partial := f.key == "message" && strings.HasPrefix(f.whole, strings.TrimRight(f.cut, "\ufffd"))
				if f.cut != "" && f.cut != f.whole && !partial {
					t.Fatalf("cut at %d of %s: read %q of %q", n, l.body, f.cut, f.whole)
				}
				member := `"` + f.key + `":"` + f.whole + `"`
				if i := strings.Index(l.body, member); i >= 0 && i+len(member) <= n && f.cut != f.whole {
					t.Fatalf("cut at %d of %s: lost %s", n, l.body, member)
				}
			}
		}
	}
}

func TestParseBounds(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", maxBody)
	tests := []struct {
		name, body string
		want       func(Problem) bool
	}{
		{"long message", `{"error":{"type":"t","message":"` + long + `","code":"c"}}`, func(p Problem) bool {
			return p.Type == "t" && p.Code == "" && strings.HasPrefix(p.Message, "xxx") && len(p.Message) < maxBody
		}},
		{"long text", long, func(p Problem) bool { return p.Text && len(p.Message) == maxText }},
		{"long runes", strings.Repeat("é", maxText), func(p Problem) bool { return utf8.ValidString(p.Message) }},
		{"arrays", strings.Repeat("[", maxBody), func(p Problem) bool { return cmp.Equal(p, Problem{}) }},
		{"objects", `{"error":{"code":"c","x":` + strings.Repeat(`{"a":`, maxBody/5), func(p Problem) bool { return p.Code == "c" }},
		{"deep but whole", `{"error":{"x":` + strings.Repeat(`[`, 20000) + strings.Repeat(`]`, 20000) + `,"code":"c"}}`, func(p Problem) bool { return p.Code == "c" }},
		{"closers", `{"error":{"code":"c"` + strings.Repeat("}", 1000), func(p Problem) bool { return p.Code == "c" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if p := Parse([]byte(tt.body)); !tt.want(p) {
				t.Errorf("Parse gave %.200v", p)
			}
		})
	}
}
