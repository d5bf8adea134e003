package simulator_test

import (
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/simulator"
)

// TestErrorShapes holds an error inside a 200 to the shapes of its API, with the
// numbering going on.
func TestErrorShapes(t *testing.T) {
	g := overTCP(t, options())
	for _, tc := range []struct{ api, fault, whole, stream string }{
		{"chat", "error_first", `{"error":{"message":"M","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`, "\n\ndata: $whole"},
		{"chat", "error_after_content", `{"error":{"message":"M","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`, "\n\ndata: $whole"},
		{"messages", "error_first", `{"type":"error","error":{"type":"overloaded_error","message":"M"},"request_id":"R"}`, "event: error\ndata: $whole"},
		{"messages", "error_after_preamble", `{"type":"error","error":{"type":"overloaded_error","message":"M"},"request_id":"R"}`, "event: error\ndata: $whole"},
		{"responses", "error_first", `{"error":{"message":"M","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`, "event: error\ndata: {\"type\":\"error\",\"sequence_number\":0,\"error\":{\"message\":\"M\",\"type\":\"service_unavailable_error\",\"param\":null,\"code\":\"server_is_overloaded\"}}"},
		{"responses", "error_after_content", "", "event: error\ndata: {\"type\":\"error\",\"code\":\"server_is_overloaded\",\"message\":\"M\",\"param\":null,\"sequence_number\":6}"},
	} {
		t.Run(tc.api+"/"+tc.fault, func(t *testing.T) {
			a := apis[map[string]int{"chat": 0, "responses": 1, "messages": 2}[tc.api]]
			_ = g.Arm(simulator.Fault{Name: tc.fault, Times: 2})
			plain := func(r got) string {
				s := strings.NewReplacer(
					"The engine is currently overloaded, please try again later.", "M", `"Overloaded"`, `"M"`,
					`"`+r.header.Get("Request-Id")+`"`, `"R"`,
				)
				return s.Replace(string(r.body))
			}
			block := plain(g.must(asking{path: a.path, body: a.body("hello", "")}))
			if tc.whole != "" && gjson.Parse(block).Get("@ugly").Raw != tc.whole {
				t.Errorf("whole: %s\nwant   %s", block, tc.whole)
			}
			stream := plain(g.must(asking{path: a.path, body: a.body("hello", streaming)}))
			if want := strings.ReplaceAll(tc.stream, "$whole", tc.whole) + "\n\n"; !strings.HasSuffix("\n\n"+stream, want) {
				t.Errorf("stream ends: %s\nwant         %s", tail([]byte(stream)), want)
			}
		})
	}
	t.Run("response.failed", func(t *testing.T) {
		_ = g.Arm(simulator.Fault{Name: "error_after_preamble", Error: "rate_limit_message", Wait: 90 * time.Second, Times: 2})
		const want = `"status":"failed"`
		block := g.must(asking{path: apis[1].path, body: apis[1].body("hello", "")})
		stream := events(t, g.must(asking{path: apis[1].path, body: apis[1].body("hello", streaming)}).body)
		last := stream[len(stream)-1]
		for what, r := range map[string]gjson.Result{"whole": gjson.ParseBytes(block.body), "stream": last.data.Get("response")} {
			members(t, what, r, responseMembers)
			if r.Get("status").String() != "failed" || r.Get("error.code").String() != "rate_limit_exceeded" || !strings.Contains(r.Get("error.message").String(), "Please try again in 1m30s.") {
				t.Errorf("%s: %s, want %s", what, r.Get("error").Raw, want)
			}
		}
		if last.name != "response.failed" || last.data.Get("sequence_number").Int() != 4 || stream[0].name != "response.created" {
			t.Errorf("the last of %d events is %s %s", len(stream), last.name, last.data.Get("sequence_number").Raw)
		}
	})
}

// TestWaits reads each form of a stated wait, and that no other form states it too.
func TestWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := inMemory(t, options())
		time.Sleep(500 * time.Millisecond) // off the whole second, to see what is rounded
		now := time.Now()
		const wait = 90500 * time.Millisecond
		up := now.Add(wait).Add(500 * time.Millisecond).UTC()
		type row struct{ ms, after, reset, message string }
		for name, want := range map[string]struct{ openai, anthropic row }{
			"rate_limit":                      {row{"", "91", "2m30.5s", "again in 1m30.5s."}, row{"", "91", up.Add(time.Minute).Format(time.RFC3339), ""}},
			"rate_limit_retry_after_ms":       {row{"90500", "", "", ""}, row{"90500", "", "", ""}},
			"rate_limit_retry_after":          {row{"", "91", "", ""}, row{"", "91", "", ""}},
			"rate_limit_retry_after_fraction": {row{"", "90.5", "", ""}, row{"", "90.5", "", ""}},
			"rate_limit_retry_after_date":     {row{"", up.Format(http.TimeFormat), "", ""}, row{"", up.Format(http.TimeFormat), "", ""}},
			"rate_limit_reset_header":         {row{"", "", "1m30.5s", ""}, row{"", "", up.Format(time.RFC3339), ""}},
			"rate_limit_message":              {row{"", "", "", "again in 1m30.5s."}, row{"", "", "", "again in 1m30.5s."}},
			"rate_limit_bare":                 {row{}, row{}},
			"slow_down":                       {row{"", "91", "", ""}, row{"", "91", "", ""}},
			"rate_limit_date":                 {row{"", "", "", strconv.FormatInt(up.Unix(), 10)}, row{"", "", "", "on 2000-01-02 at 00:00 UTC."}},
			"quota":                           {row{}, row{"", "", "", "on 2000-01-02 at 00:00 UTC."}},
		} {
			for i, path := range []string{apis[0].path, apis[2].path} {
				_ = g.Arm(simulator.Fault{Name: name, Wait: wait, Times: 1})
				r := g.ask(asking{path: path, body: apis[i*2].body("x", "")})
				w, used, reset := want.openai, "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests"
				if i == 1 {
					w, used, reset = want.anthropic, "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset"
				}
				got := row{r.header.Get("Retry-After-Ms"), r.header.Get("Retry-After"), r.header.Get(reset), w.message}
				if w.reset != "" && r.header.Get(used) != "0" {
					t.Errorf("%s: %s is %q", name, used, r.header.Get(used))
				}
				body := string(r.body)
				if !strings.Contains(body, w.message) || w.message == "" && (strings.Contains(body, "again in") || strings.Contains(body, "regain")) {
					t.Errorf("%s: %s, want %q", name, body, w.message)
				}
				if got != w {
					t.Errorf("%s at %s: %q, want %q", name, path, got, w)
				}
			}
		}
	})
}

// TestSlow measures the pace, in a bubble, to the nanosecond.
func TestSlow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := inMemory(t, options(simulator.Fault{Name: "slow", Wait: 3 * time.Second, Key: "k0"}))
		for _, tc := range []struct {
			a     asking
			pause int
		}{
			{asking{path: apis[0].path, body: apis[0].body("x", "")}, 4 * 3},
			{asking{path: apis[0].path, body: apis[0].body("x", streaming)}, 7 * 3},
			{asking{path: apis[0].path, body: apis[0].body("x", streaming), key: 1}, 0},
			{asking{path: apis[0].path, body: apis[0].body("x", streaming), key: 1, header: http.Header{"X-Simulator-Pace": {"2s"}}}, 7 * 2},
		} {
			start := time.Now()
			g.must(tc.a)
			if took := time.Since(start); took != time.Duration(tc.pause)*time.Second {
				t.Errorf("%+v took %v", tc.a, took)
			}
		}
	})
}

// TestCloseEndsStalls needs no client that goes away.
func TestCloseEndsStalls(t *testing.T) {
	for _, name := range []string{"stall", "stall_body", "stall_error_body"} {
		synctest.Test(t, func(t *testing.T) {
			g := inMemory(t, options(simulator.Fault{Name: name}))
			done := make(chan string)
			go func() { done <- g.sees(asking{path: apis[0].path, body: apis[0].body("x", "")}, nil) }()
			synctest.Wait()
			g.Close()
			if got := <-done; !strings.HasSuffix(got, "closed") && !strings.HasSuffix(got, "cut") {
				t.Errorf("%s: %s", name, got)
			}
		})
	}
}
