package verdict

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func header(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func TestScopes(t *testing.T) {
	openai := header("openai-organization", "org-a", "openai-project", "proj_b")
	anthropic := header("anthropic-organization-id", "0b2c-org", "anthropic-workspace-id", "wrkspc_1")
	for _, tt := range []struct {
		name                  string
		family                Family
		header                http.Header
		organization, project Told
	}{
		{"openai", OpenAI, openai, Told{"org-a", "Openai-Organization"}, Told{"proj_b", "Openai-Project"}},
		{"anthropic", Anthropic, anthropic, Told{"0b2c-org", "Anthropic-Organization-Id"}, Told{"wrkspc_1", "Anthropic-Workspace-Id"}},
		{"compatible with openai", Compatible, openai, Told{"org-a", "Openai-Organization"}, Told{"proj_b", "Openai-Project"}},
		{"compatible with anthropic", Compatible, anthropic, Told{"0b2c-org", "Anthropic-Organization-Id"}, Told{"wrkspc_1", "Anthropic-Workspace-Id"}},
		{"another family's", OpenAI, anthropic, Told{}, Told{}},
		{"another family's", Anthropic, openai, Told{}, Told{}},
		{"only one", Anthropic, header("anthropic-organization-id", "x"), Told{"x", "Anthropic-Organization-Id"}, Told{}},
		{"nothing", OpenAI, http.Header{}, Told{}, Told{}},
		{"no header", OpenAI, nil, Told{}, Told{}},
		{"empty", OpenAI, http.Header{"Openai-Organization": {""}, "Openai-Project": {}}, Told{}, Told{}},
		{"too long", OpenAI, header("openai-organization", strings.Repeat("x", 129), "openai-project", strings.Repeat("x", 128)), Told{}, Told{strings.Repeat("x", 128), "Openai-Project"}},
		{"not printable", OpenAI, header("openai-organization", "a\x00b", "openai-project", "a b"), Told{}, Told{}},
		{"not ASCII", OpenAI, header("openai-organization", "örg"), Told{}, Told{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o, p := Scopes(tt.family, tt.header)
			if diff := cmp.Diff([]Told{tt.organization, tt.project}, []Told{o, p}); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLimits(t *testing.T) {
	came := time.Date(2026, 11, 23, 12, 0, 0, 500_000_000, time.UTC)
	in := came.Add
	rate := func(limit, remaining, reset string) http.Header {
		return header("x-ratelimit-limit-requests", limit, "x-ratelimit-remaining-requests", remaining, "x-ratelimit-reset-requests", reset)
	}
	claude := func(limit, remaining, reset string) http.Header {
		return header("anthropic-ratelimit-requests-limit", limit, "anthropic-ratelimit-requests-remaining", remaining, "anthropic-ratelimit-requests-reset", reset)
	}
	for _, tt := range []struct {
		name   string
		family Family
		header http.Header
		want   Report
	}{
		{"openai, all", OpenAI, header(
			"x-ratelimit-limit-requests", "500", "x-ratelimit-remaining-requests", "499", "x-ratelimit-reset-requests", "120ms",
			"x-ratelimit-limit-tokens", "30000", "x-ratelimit-remaining-tokens", "8000", "x-ratelimit-reset-tokens", "6m0s",
			"x-ratelimit-limit-project-tokens", "20000", "x-ratelimit-remaining-project-tokens", "0", "x-ratelimit-reset-project-tokens", "8.64s",
		), Report{
			Requests: {500, 499, in(120 * time.Millisecond)}, Tokens: {30000, 8000, in(6 * time.Minute)},
			ProjectTokens: {20000, 0, in(8640 * time.Millisecond)},
		}},
		{"anthropic, all", Anthropic, header(
			"anthropic-ratelimit-requests-limit", "50", "anthropic-ratelimit-requests-remaining", "49", "anthropic-ratelimit-requests-reset", "2026-11-23T12:00:01Z",
			"anthropic-ratelimit-tokens-limit", "40000", "anthropic-ratelimit-tokens-remaining", "40000", "anthropic-ratelimit-tokens-reset", "2026-11-23T12:00:00Z",
			"anthropic-ratelimit-input-tokens-limit", "30000", "anthropic-ratelimit-input-tokens-remaining", "1000", "anthropic-ratelimit-input-tokens-reset", "2026-11-23T12:00:58.25Z",
			"anthropic-ratelimit-output-tokens-limit", "10000", "anthropic-ratelimit-output-tokens-remaining", "0", "anthropic-ratelimit-output-tokens-reset", "2026-11-23T13:01:00+01:00",
		), Report{
			Requests: {50, 49, in(1500 * time.Millisecond)}, Tokens: {40000, 40000, in(500 * time.Millisecond)},
			InputTokens: {30000, 1000, in(57750 * time.Millisecond)}, OutputTokens: {10000, 0, in(60500 * time.Millisecond)},
		}},
		{"a compatible upstream's own", Compatible, claude("5", "1", "2026-11-23T12:00:02.5Z"), Report{Requests: {5, 1, in(2 * time.Second)}}},
		{"plain seconds, as Azure", Compatible, rate("10", "3", "41"), Report{Requests: {10, 3, in(41 * time.Second)}}},
		{"hours", OpenAI, rate("10", "3", "2h"), Report{Requests: {10, 3, in(2 * time.Hour)}}},
		{"full", OpenAI, rate("10", "10", "0s"), Report{Requests: {10, 10, came}}},
		{"used up", OpenAI, rate("10", "0", "1s"), Report{Requests: {10, 0, in(time.Second)}}},
		{"no reset", OpenAI, rate("10", "3", ""), Report{Requests: {10, 3, time.Time{}}}},
		{"a reset that is no time", OpenAI, rate("10", "3", "soon"), Report{Requests: {10, 3, time.Time{}}}},
		{"a negative reset", OpenAI, rate("10", "3", "-1"), Report{Requests: {10, 3, time.Time{}}}},
		{"a negative duration", OpenAI, rate("10", "3", "-1s"), Report{Requests: {10, 3, time.Time{}}}},
		{"a reset in 18 years", OpenAI, rate("10", "3", "157680h"), Report{Requests: {10, 3, time.Time{}}}},
		{"a reset beyond all numbers", OpenAI, rate("10", "3", "1e300"), Report{Requests: {10, 3, time.Time{}}}},
		{"a reset that is not a number", OpenAI, rate("10", "3", "NaN"), Report{Requests: {10, 3, time.Time{}}}},
		{"a date in a year", Anthropic, claude("10", "3", "2027-11-23T12:00:00Z"), Report{Requests: {10, 3, time.Time{}}}},
		{"a wait for a date", Anthropic, claude("10", "3", "12s"), Report{Requests: {10, 3, time.Time{}}}},
		{"-1 of -1, as Azure", OpenAI, rate("-1", "-1", "0"), Report{}},
		{"0 of 0, as Azure", OpenAI, rate("0", "0", "0"), Report{}},
		{"less than nothing left", OpenAI, rate("10", "-1", "1s"), Report{}},
		{"more left than there is", OpenAI, rate("10", "11", "1s"), Report{}},
		{"a limit that is no number", OpenAI, rate("many", "3", "1s"), Report{}},
		{"a fraction", OpenAI, rate("10", "3.5", "1s"), Report{}},
		{"no remaining", OpenAI, rate("10", "", "1s"), Report{}},
		{"no limit", OpenAI, rate("", "3", "1s"), Report{}},
		{"beyond 64 bits", OpenAI, rate("99999999999999999999", "3", "1s"), Report{}},
		{"another family's", OpenAI, claude("10", "3", "2026-11-23T12:00:02Z"), Report{}},
		{"another family's", Anthropic, rate("10", "3", "1s"), Report{}},
		{"nothing", Compatible, nil, Report{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, ok := Limits(tt.family, tt.header, came)
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
			if want := tt.want != (Report{}); ok != want {
				t.Errorf("ok is %v", ok)
			}
		})
	}
	if n := testing.AllocsPerRun(100, func() { Limits(OpenAI, rateHeader, came) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

var rateHeader = header("x-ratelimit-limit-requests", "500", "x-ratelimit-remaining-requests", "499", "x-ratelimit-reset-requests", "120ms")

// Whatever a header says, what comes out can be calculated with.
func FuzzLimits(f *testing.F) {
	f.Add("10", "3", "1s")
	f.Add("-1", "0", "2026-11-23T12:00:02Z")
	f.Add("9223372036854775807", "9223372036854775807", "1e18")
	f.Fuzz(func(t *testing.T, limit, remaining, reset string) {
		came := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
		h := http.Header{
			"X-Ratelimit-Limit-Tokens": {limit}, "X-Ratelimit-Remaining-Tokens": {remaining}, "X-Ratelimit-Reset-Tokens": {reset},
			"Anthropic-Ratelimit-Requests-Limit": {limit}, "Anthropic-Ratelimit-Requests-Remaining": {remaining}, "Anthropic-Ratelimit-Requests-Reset": {reset},
		}
		for _, family := range []Family{OpenAI, Anthropic, Compatible} {
			r, ok := Limits(family, h, came)
			for _, l := range r {
				if l.Max < 0 || l.Remaining < 0 || l.Remaining > l.Max || l.Max > 0 && !ok {
					t.Errorf("%s: %+v", family, l)
				}
				if !l.Full.IsZero() && l.Full.Sub(came) > maxWait {
					t.Errorf("%s: full on %v", family, l.Full)
				}
			}
		}
	})
}

// Resets are dates by the provider's clock. Where ours is another, the answer's own Date
// tells.
func TestResetsByAnotherClock(t *testing.T) {
	theirs := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	date := theirs.Format(http.TimeFormat)
	const full = 30500 * time.Millisecond
	for name, tt := range map[string]struct {
		ahead time.Duration // of theirs, our clock
		date  string
		want  time.Duration // until the limit is full
	}{
		"alike":              {0, date, full},
		"a while on the way": {1500 * time.Millisecond, date, full - 1500*time.Millisecond},
		"ours is fast":       {5 * time.Minute, date, full},
		"ours is slow":       {-5 * time.Minute, date, full},
		"no date":            {time.Minute, "", full - time.Minute},
		"no sane date":       {time.Minute, "yesterday", full - time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			came := theirs.Add(tt.ahead)
			report, _ := Limits(Anthropic, header("date", tt.date, "anthropic-ratelimit-requests-limit", "50",
				"anthropic-ratelimit-requests-remaining", "10", "anthropic-ratelimit-requests-reset", theirs.Add(full).Format(time.RFC3339Nano)), came)
			if got := report[Requests].Full.Sub(came); got != tt.want {
				t.Errorf("full in %v, want %v", got, tt.want)
			}
		})
	}
}
