package simulator_test

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
	"keybridge/keypool/verdict"
)

func limited(ls ...simulator.Limit) simulator.Options {
	o := options()
	o.Limits = ls
	return o
}

// rates are headers of an answer, in the order asked.
func rates(h http.Header, names ...string) string {
	var out []string
	for _, n := range names {
		out = append(out, h.Get(n))
	}
	return strings.Join(out, " ")
}

var (
	openAIRates    = []string{"X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", "Retry-After"}
	anthropicRates = []string{"Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset", "Retry-After"}
)

// TestRequestLimit empties a bucket of three a minute, waits as told, and fills it.
func TestRequestLimit(t *testing.T) {
	for i, names := range map[int][]string{0: openAIRates, 2: anthropicRates} {
		synctest.Test(t, func(t *testing.T) {
			g := inMemory(t, limited(simulator.Limit{Requests: 3}))
			ask := asking{path: apis[i].path, body: apis[i].body("x", "")}
			begin := time.Now()
			full := func(after time.Duration) string {
				if i == 0 {
					return after.String()
				}
				return begin.Add(after).UTC().Format(time.RFC3339)
			}
			for n := range 3 {
				want := fmt.Sprintf("3 %d %s ", 2-n, full(time.Duration(n+1)*20*time.Second))
				if got := rates(g.must(ask).header, names...); got != want {
					t.Errorf("%q, want %q", got, want)
				}
			}
			r := g.ask(ask)
			if got, want := rates(r.header, names...), fmt.Sprintf("3 0 %s 20", full(time.Minute)); r.status != 429 || got != want {
				t.Errorf("%d %q, want %q", r.status, got, want)
			}
			want := "Rate limit reached for gpt-4o in organization org-a on requests per min (RPM): Limit 3, Used 3, Requested 1. Please try again in 20s. Visit https://platform.openai.com/account/rate-limits to learn more."
			if i == 2 {
				want = "This request would exceed your organization's rate limit of 3 requests per minute (org: " + r.header.Get("Anthropic-Organization-Id") + ", model: claude-haiku-4-5). For details, refer to: https://docs.claude.com/en/api/rate-limits."
			}
			if diff := cmp.Diff(want, r.get("error.message").String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			family := verdict.OpenAI
			if i == 2 {
				family = verdict.Anthropic
			}
			if v := verdict.Classify(family, verdict.Answer{Status: r.status, Header: r.header, Body: r.body, Now: begin}); v.Reason != verdict.RateLimited || !v.Until.Equal(begin.Add(20*time.Second)) {
				t.Errorf("judged as %+v", v)
			}
			time.Sleep(20*time.Second - time.Millisecond)
			if r := g.ask(ask); r.status != 429 {
				t.Errorf("a millisecond too early: %d", r.status)
			}
			time.Sleep(time.Millisecond)
			g.must(ask)
			time.Sleep(time.Hour)
			if got := rates(g.must(ask).header, names[:2]...); got != "3 2" {
				t.Errorf("after an hour %q", got)
			}
		})
	}
}

// TestTokenLimit takes OpenAI's tokens at the door and Anthropic's as they were used.
func TestTokenLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := inMemory(t, limited(simulator.Limit{Tokens: 60_000, OutputTokens: 6000}))
		chat := func(most int) asking {
			return asking{path: apis[0].path, body: apis[0].body("x", fmt.Sprintf(`,"max_tokens":%d`, most))}
		}
		names := []string{"X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens"}
		if got := rates(g.must(chat(45_000)).header, names...); got != "60000 15000 45s" {
			t.Errorf("%q", got)
		}
		r := g.ask(chat(20_000))
		if r.status != 429 || r.get("error.type").String() != "tokens" || r.header.Get("Retry-After") != "5" ||
			!strings.Contains(string(r.body), "on tokens per min (TPM): Limit 60000, Used 45000, Requested 20000. Please try again in 5s.") {
			t.Errorf("%d %v %s", r.status, r.header, r.body)
		}
		if r = g.ask(chat(60_001)); r.status != 429 || r.header.Get("Retry-After") != "" || !strings.Contains(string(r.body), "Request too large for gpt-4o in organization org-a on tokens per min (TPM): Limit 60000, Requested 60001.") {
			t.Errorf("%d %s", r.status, r.body)
		}
		time.Sleep(5 * time.Second)
		g.must(chat(20_000))

		// Streams of 2300 output tokens or so: the third overdraws, the fourth waits.
		long := asking{path: apis[2].path, body: apis[2].body("x", streaming), header: http.Header{"X-Simulator-Chunks": {"9000"}}}
		for range 3 {
			if g.ask(long).status == 429 {
				t.Fatal("overdrawn too early")
			}
			if got := outputLeft(g.must(asking{path: apis[2].path, body: apis[2].body("x", ""), key: 1})); got != "6000" {
				t.Errorf("another organization pays: %s left", got)
			}
		}
		r = g.ask(long)
		if r.status != 429 || r.header.Get("Retry-After") == "" || !strings.Contains(string(r.body), "rate limit of 6,000 output tokens per minute") || r.header.Get("Anthropic-Ratelimit-Output-Tokens-Remaining") != "0" {
			t.Errorf("%d %v %s", r.status, r.header, r.body)
		}
		if left := r.header.Get("Anthropic-Ratelimit-Tokens-Remaining"); left != "0" || r.header.Get("Anthropic-Ratelimit-Tokens-Limit") != "6000" {
			t.Errorf("the tightest limit is told as %s", left)
		}
	})
}

func outputLeft(r got) string { return r.header.Get("Anthropic-Ratelimit-Output-Tokens-Remaining") }

// TestCacheReadsAreFree holds input tokens to what counts.
func TestCacheReadsAreFree(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := inMemory(t, limited(simulator.Limit{Tokens: 1_000_000}))
		left := func(marked bool) string {
			text := strings.Repeat("word ", 80_000)
			body := `{"model":"claude-haiku-4-5","max_tokens":10,"messages":[{"role":"user","content":[{"type":"text","text":"` + text + `"`
			if marked {
				body += `,"cache_control":{"type":"ephemeral"}`
			}
			r := g.must(asking{path: apis[2].path, body: body + "}]}]}"})
			time.Sleep(time.Hour)
			return r.header.Get("Anthropic-Ratelimit-Input-Tokens-Remaining")
		}
		if got := left(false) + " " + left(true); got != "900000 950000" {
			t.Errorf("%s, want what is read from the cache to be free", got)
		}
	})
}

// TestLimitFits holds who shares a bucket.
func TestLimitFits(t *testing.T) {
	shared := []simulator.Key{
		{Provider: simulator.OpenAI, Name: "k0", Secret: keys[0].Secret, Organization: "org-a"},
		{Provider: simulator.OpenAI, Name: "k1", Secret: keys[1].Secret, Organization: "org-a"},
	}
	model := func(name string, key int) asking {
		return asking{path: apis[0].path, body: strings.ReplaceAll(apis[0].body("x", ""), "gpt-4o", name), key: key}
	}
	chat, other := model("gpt-4o", 0), model("gpt-4o", 1)
	count := asking{path: "/openai/v1/responses/input_tokens", body: `{"model":"gpt-4o","input":"x"}`}
	list := asking{path: "/openai/v1/models", method: http.MethodGet}
	for _, tc := range []struct {
		name  string
		limit simulator.Limit
		asked []asking
		want  string
	}{
		{"the organization", simulator.Limit{Requests: 1}, []asking{chat, other}, "200 429"},
		{"the key", simulator.Limit{Requests: 1, Per: simulator.PerKey}, []asking{chat, other, chat, other}, "200 200 429 429"},
		{"each model", simulator.Limit{Requests: 1}, []asking{chat, model("o3", 0), model("o3", 0)}, "200 200 429"},
		{"a family", simulator.Limit{Requests: 1, Model: "gpt-*"}, []asking{chat, model("gpt-5", 0), model("o3", 0), model("o3", 0)}, "200 429 200 200"},
		{"one key", simulator.Limit{Requests: 1, Key: "k1"}, []asking{chat, chat, other, other}, "200 200 200 429"},
		{"another organization", simulator.Limit{Requests: 1, Organization: "org-b"}, []asking{chat, chat}, "200 200"},
		{"another provider", simulator.Limit{Requests: 1, Provider: simulator.Anthropic}, []asking{chat, chat}, "200 200"},
		{"what asks no model", simulator.Limit{Requests: 1}, []asking{count, list, count, list, chat, chat}, "200 200 200 200 200 429"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				g := inMemory(t, simulator.Options{Keys: shared, Limits: []simulator.Limit{tc.limit}})
				var got []string
				for _, a := range tc.asked {
					got = append(got, strconv.Itoa(g.ask(a).status))
				}
				if s := strings.Join(got, " "); s != tc.want {
					t.Errorf("%s, want %s", s, tc.want)
				}
			})
		})
	}
	synctest.Test(t, func(t *testing.T) { // a key's tokens are its project's
		g := inMemory(t, limited(simulator.Limit{Tokens: 100_000}, simulator.Limit{Tokens: 1000, Per: simulator.PerKey}))
		over := asking{path: apis[0].path, body: apis[0].body("x", `,"max_tokens":600`)}
		g.must(over)
		time.Sleep(6 * time.Second) // 500 left of the project's
		r := g.ask(over)
		if got := rates(r.header, "X-Ratelimit-Limit-Project-Tokens", "X-Ratelimit-Remaining-Project-Tokens", "X-Ratelimit-Limit-Tokens", "Retry-After"); r.status != 429 || got != "1000 500 100000 6" {
			t.Errorf("%d %q", r.status, got)
		}
	})
}

// Without limits the headers tell of some, and nobody is refused.
func TestNoLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := inMemory(t, options())
		over := asking{path: apis[0].path, body: apis[0].body("x", `,"max_tokens":1500000`)}
		for _, want := range []string{"500000", "0", "0"} {
			if got := g.must(over).header.Get("X-Ratelimit-Remaining-Tokens"); got != want {
				t.Errorf("%s left, want %s", got, want)
			}
		}
	})
	for want, l := range map[string]simulator.Limit{
		"limits nothing":          {},
		`provider "x"`:            {Provider: "x", Requests: 1},
		`per "model"`:             {Per: "model", Requests: 1},
		"tokens are not negative": {Tokens: -1},
	} {
		if err := limited(l).Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v: %v", l, err)
		}
	}
}
