package verdict

import (
	"net/http"
	"testing"
	"time"
)

const day = 24 * time.Hour

// Waits in every form, and what comes first of several. A wait of zero: none was
// stated, or none to be believed.
func TestWaits(t *testing.T) {
	t.Parallel()
	says := func(message string) string { return `{"error":{"message":"` + message + `"}}` }
	tests := []struct {
		name   string
		header http.Header
		body   string
		want   time.Duration
	}{
		{"nothing", nil, "", 0},

		{"milliseconds", head("Retry-After-Ms", "1500"), "", 1500 * time.Millisecond},
		{"milliseconds before seconds", head("Retry-After-Ms", "1500", "Retry-After", "9"), "", 1500 * time.Millisecond},
		{"seconds", head("Retry-After", "30"), "", 30 * time.Second},
		{"fractions", head("Retry-After", " 0.25 "), "", 250 * time.Millisecond},
		{"http date", head("Retry-After", "Fri, 20 Nov 2026 12:01:30 GMT"), "", 90 * time.Second},
		{"past date", head("Retry-After", "Fri, 20 Nov 2026 11:00:00 GMT"), "", time.Second},
		{"zero", head("Retry-After", "0"), "", time.Second},
		{"two weeks", head("Retry-After", "1209600"), "", 14 * day},
		{"35 days", head("Retry-After", "3024000"), "", 35 * day},
		{"over 35 days", head("Retry-After", "3024001"), says("try again in 5s"), 0},
		{"far date", head("Retry-After", "Fri, 31 Dec 9999 23:59:59 GMT"), "", 0},
		{"negative", head("Retry-After", "-1"), says("try again in 5s"), 5 * time.Second},
		{"not a number", head("Retry-After", "NaN"), says("try again in 5s"), 5 * time.Second},
		{"infinite", head("Retry-After", "Inf"), says("try again in 5s"), 5 * time.Second},
		{"overflow", head("Retry-After", "1e300"), says("try again in 5s"), 5 * time.Second},
		{"words", head("Retry-After", "soon"), says("try again in 5s"), 5 * time.Second},
		{"bad milliseconds", head("Retry-After-Ms", "-1", "Retry-After", "9"), "", 9 * time.Second},

		{"bucket", head("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "6m0s"), says("try again in 5s"), 6 * time.Minute},
		{"bucket, short", head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "20ms"), "", 20 * time.Millisecond},
		{"bucket, plain seconds", head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "41.5"), "", 41500 * time.Millisecond},
		{"bucket, zero", head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "0s"), "", time.Second},
		{"bucket not used up", head("X-Ratelimit-Remaining-Tokens", "17", "X-Ratelimit-Reset-Tokens", "6m0s"), "", 0},
		{"bucket unknown", head("X-Ratelimit-Remaining-Tokens", "-1", "X-Ratelimit-Reset-Tokens", "6m0s"), "", 0},
		{"bucket without reset", head("X-Ratelimit-Remaining-Tokens", "0"), says("try again in 5s"), 5 * time.Second},
		{"bucket, negative", head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "-1"), says("try again in 5s"), 5 * time.Second},
		{"bucket, negative duration", head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "-1s"), says("try again in 5s"), 5 * time.Second},
		{"the used up one of two", head("X-Ratelimit-Remaining-Requests", "9", "X-Ratelimit-Reset-Requests", "6m0s", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "8.64s"), "", 8640 * time.Millisecond},
		{"the later of two", head("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m0s"), "", time.Minute},
		{"one of two implausible", head("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "1s", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "9999h"), "", 0},
		{"header before bucket", head("Retry-After", "2", "X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m0s"), "", 2 * time.Second},
		{"anthropic bucket", head("Anthropic-Ratelimit-Requests-Remaining", "0", "Anthropic-Ratelimit-Requests-Reset", "2026-11-20T12:00:10.5Z"), "", 10500 * time.Millisecond},
		{"anthropic bucket, offset", head("Anthropic-Ratelimit-Tokens-Remaining", "0", "Anthropic-Ratelimit-Tokens-Reset", "2026-11-20T13:00:10+01:00"), "", 10 * time.Second},
		{"anthropic bucket not used up", head("Anthropic-Ratelimit-Requests-Remaining", "1", "Anthropic-Ratelimit-Requests-Reset", "2026-11-20T12:00:10Z"), "", 0},
		{"anthropic bucket, nonsense", head("Anthropic-Ratelimit-Requests-Remaining", "0", "Anthropic-Ratelimit-Requests-Reset", "soon"), "", 0},
		{"anthropic fast mode", head("Anthropic-Fast-Input-Tokens-Remaining", "0", "Anthropic-Fast-Input-Tokens-Reset", "2026-11-20T12:00:10Z"), "", 10 * time.Second},
		{"anthropic priority tier", head("Anthropic-Priority-Input-Tokens-Remaining", "0", "Anthropic-Priority-Input-Tokens-Reset", "2026-11-20T12:00:10Z"), "", 0},
		{"subscription", head("Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-Reset", "1795176060"), "", time.Minute},
		{"subscription allowed", head("Anthropic-Ratelimit-Unified-Status", "allowed_warning", "Anthropic-Ratelimit-Unified-Reset", "1795176060"), "", 0},
		{"codex window", head("X-Codex-Primary-Used-Percent", "100", "X-Codex-Primary-Reset-At", "1795176060", "X-Codex-Secondary-Used-Percent", "12.5", "X-Codex-Secondary-Reset-At", "1795183200"), "", time.Minute},
		{"codex window, nonsense", head("X-Codex-Primary-Used-Percent", "100", "X-Codex-Primary-Reset-At", "-1"), "", 0},

		{"codex end", nil, `{"error":{"resets_at":1795176060,"resets_in_seconds":9}}`, time.Minute},
		{"codex wait", nil, `{"error":{"resets_at":null,"resets_in_seconds":9}}`, 9 * time.Second},
		{"codex nonsense", nil, `{"error":{"resets_at":-5,"resets_in_seconds":-9,"message":"try again in 5s"}}`, 5 * time.Second},
		{"google delay", nil, `{"error":{"details":[{"retryDelay":"15.5s"}]}}`, 15500 * time.Millisecond},
		{"google delay, zero", nil, `{"error":{"details":[{"retryDelay":"0s"}]}}`, time.Second},
		{"google delay, negative", nil, `{"error":{"message":"Please retry in 7s.","details":[{"retryDelay":"-1s"}]}}`, 7 * time.Second},

		{"minutes and seconds", nil, says("Please try again in 7m12s. Visit us."), 432 * time.Second},
		{"hours", nil, says("Please try again in 1h2m3.5s."), time.Hour + 2*time.Minute + 3500*time.Millisecond},
		{"short", nil, says("Please try again in 20ms."), 20 * time.Millisecond},
		{"fraction", nil, says("Please try again in 8.64s."), 8640 * time.Millisecond},
		{"words of seconds", nil, says("Please retry after 33 seconds."), 33 * time.Second},
		{"words of minutes", nil, says("Try again in 2 minutes, 30 seconds or later"), 150 * time.Second},
		{"days", nil, says("try again in 6 days 23 hours"), 7*day - time.Hour},
		{"gemini's words", nil, says("Please retry in 15.25s."), 15250 * time.Millisecond},
		{"text", nil, "Too many requests, retry after 10 seconds", 10 * time.Second},
		{"zero in words", nil, says("try again in 0s"), time.Second},
		{"unknown unit", nil, says("try again in 5 fortnights"), 0},
		{"no unit", nil, says("try again in 5"), 0},
		{"overflow in words", nil, says("try again in 99999999999999999999999 hours"), 0},
		{"too long in words", nil, says("try again in 36 days"), 0},

		{"regain", nil, says("You will regain access on 2026-12-01 at 00:00 UTC."), 10*day + 12*time.Hour},
		{"date only", nil, says("Blocked until 2026-11-21."), 12 * time.Hour},
		{"iso", nil, says("Your limit resets at 2026-11-20T12:30:00Z"), 30 * time.Minute},
		{"iso, offset", nil, says("Your limit resets at 2026-11-20T13:30:00.500+01:00"), 30*time.Minute + 500*time.Millisecond},
		{"past", nil, says("You will regain access on 2026-11-01 at 00:00 UTC."), time.Second},
		{"far", nil, says("You will regain access on 2027-06-01 at 00:00 UTC."), 0},
		{"no such day", nil, says("You will regain access on 2026-13-41 at 00:00 UTC."), 0},
		{"a model's date", nil, says("Rate limit reached for gpt-4o-2024-08-06 in organization org-x"), 0},
		{"wait before date", nil, says("try again in 5s, on 2026-12-01"), 5 * time.Second},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var want time.Time
			if tt.want != 0 {
				want = now.Add(tt.want)
			}
			for _, family := range []Family{OpenAI, Anthropic, Compatible} {
				v := Classify(family, Answer{Status: 429, Header: tt.header, Body: []byte(tt.body), Now: now})
				if v.Mark != Cool || !v.Until.Equal(want) {
					t.Errorf("%s: %v until %v, want until %v", family, v.Mark, v.Until, want)
				}
			}
		})
	}
}

// Out of credit is over when the provider says so, not when a rate limit's bucket
// is full again.
func TestBillingWaits(t *testing.T) {
	t.Parallel()
	const body = `{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"You exceeded your current quota"}}`
	const past = -1 // a date that promises nothing: cooled as if none were stated
	tests := []struct {
		name   string
		header http.Header
		want   time.Duration // 0: none, which condemns
	}{
		{"bucket", head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Reset-Tokens", "1m0s"), 0},
		{"anthropic bucket", head("Anthropic-Ratelimit-Tokens-Remaining", "0", "Anthropic-Ratelimit-Tokens-Reset", "2026-11-20T12:00:10Z"), 0},
		{"codex window", head("X-Codex-Secondary-Used-Percent", "100", "X-Codex-Secondary-Reset-At", "1795183200"), 2 * time.Hour},
		{"retry-after", head("Retry-After", "3600"), time.Hour},
		{"implausible", head("Retry-After", "3110400"), 0},
		{"zero", head("Retry-After", "0"), past},
		{"past", head("Retry-After", "Fri, 20 Nov 2026 11:00:00 GMT"), past},
		{"about to come", head("Retry-After", "0.8"), past},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			v := Classify(OpenAI, Answer{Status: 429, Header: tt.header, Body: []byte(body), Now: now})
			switch {
			case v.Reason != QuotaExhausted || !v.Billing:
				t.Errorf("not about money: %+v", v)
			case tt.want == 0 && (v.Mark != Condemn || !v.Until.IsZero()):
				t.Errorf("not condemned: %+v", v)
			case tt.want == past && (v.Mark != Cool || !v.Until.IsZero()):
				t.Errorf("not cooled for the default time: %+v", v)
			case tt.want > 0 && (v.Mark != Cool || !v.Until.Equal(now.Add(tt.want))):
				t.Errorf("not cooled for %v: %+v", tt.want, v)
			}
		})
	}
}

func TestPacificMidnight(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ now, want time.Time }{
		{time.Date(2026, 1, 10, 7, 59, 0, 0, time.UTC), time.Date(2026, 1, 10, 8, 0, 0, 0, time.UTC)},
		{time.Date(2026, 1, 10, 8, 0, 0, 0, time.UTC), time.Date(2026, 1, 11, 8, 0, 0, 0, time.UTC)},
		{time.Date(2026, 12, 31, 12, 0, 0, 0, time.UTC), time.Date(2027, 1, 1, 8, 0, 0, 0, time.UTC)},
	} {
		if got := pacificMidnight(tt.now); !got.Equal(tt.want) {
			t.Errorf("after %v: %v, want %v", tt.now, got.UTC(), tt.want)
		}
	}
}
