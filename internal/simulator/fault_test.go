package simulator_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/simulator"
)

// statuses are the faults that answer with a failure: status type/code; empty: the
// provider does not know it.
var statuses = map[string]struct{ openai, anthropic string }{
	"rate_limit":                      {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_retry_after_ms":       {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_retry_after":          {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_retry_after_fraction": {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_retry_after_date":     {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_reset_header":         {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_message":              {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_bare":                 {"429 requests/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_date":                 {"429 usage_limit_reached/", "429 rate_limit_error/enforced_spend_limit_reached"},
	"slow_down":                       {"429 rate_limit_error/slow_down", "429 rate_limit_error/"},
	"too_large":                       {"429 tokens/rate_limit_exceeded", "429 rate_limit_error/"},
	"invalid_key":                     {"401 invalid_request_error/invalid_api_key", "401 authentication_error/"},
	"account_deactivated":             {"401 invalid_request_error/account_deactivated", "400 invalid_request_error/"},
	"missing_scopes":                  {"401 invalid_request_error/", "403 permission_error/"},
	"revoked":                         {"401 invalid_request_error/token_invalidated", "403 permission_error/"},
	"forbidden_region":                {"403 request_forbidden/unsupported_country_region_territory", "403 forbidden/"},
	"forbidden_model":                 {"403 invalid_request_error/model_not_found", "403 permission_error/"},
	"forbidden_unknown":               {"403 request_declined/request_declined", "403 policy_error/"},
	"quota":                           {"429 insufficient_quota/insufficient_quota", "400 invalid_request_error/"},
	"credit":                          {"400 invalid_request_error/billing_hard_limit_reached", "400 invalid_request_error/"},
	"billing":                         {"402 billing_not_active/billing_not_active", "402 billing_error/"},
	"model_not_found":                 {"404 invalid_request_error/model_not_found", "404 not_found_error/"},
	"server_error":                    {"500 server_error/", "500 api_error/"},
	"overloaded":                      {"503 service_unavailable_error/server_is_overloaded", "529 overloaded_error/"},
	"echo_key":                        {"400 invalid_request_error/", "400 invalid_request_error/"},
	"invalid_authentication":          {"401 invalid_request_error/", ""},
	"not_member":                      {"401 invalid_request_error/", ""},
	"ip_not_authorized":               {"401 invalid_request_error/ip_not_authorized", ""},
	"token_expired":                   {"401 invalid_request_error/token_expired", "401 authentication_error/"},
	"oauth_unsupported":               {"", "401 authentication_error/"},
	"key_auth_disabled":               {"", "400 invalid_request_error/"},
	"claude_code_only":                {"", "400 invalid_request_error/"},
	"not_verified":                    {"400 invalid_request_error/unsupported_value", ""},
	"rate_limit_tokens":               {"429 tokens/rate_limit_exceeded", "429 rate_limit_error/"},
	"rate_limit_day":                  {"429 requests/rate_limit_exceeded", ""},
	"credit_exhausted":                {"429 insufficient_quota/credit_balance_exhausted", ""},
	"spend_limit":                     {"429 insufficient_quota/organization_spend_limit_exceeded", ""},
	"usage_limit":                     {"429 insufficient_quota/organization_usage_limit_exceeded", ""},
	"project_spend_limit":             {"429 insufficient_quota/project_spend_limit_exceeded", "400 invalid_request_error/"},
	"billing_not_active":              {"429 billing_not_active/billing_not_active", ""},
	"usage_not_included":              {"429 usage_not_included/", ""},
	"resource_unavailable":            {"429 /", ""},
	"invalid_request":                 {"400 invalid_request_error/unsupported_value", "400 invalid_request_error/"},
	"context_length":                  {"400 invalid_request_error/context_length_exceeded", "400 invalid_request_error/"},
	"content_policy":                  {"400 invalid_request_error/invalid_prompt", "400 invalid_request_error/"},
	"foreign_reasoning":               {"400 invalid_request_error/invalid_encrypted_content", "400 invalid_request_error/"},
	"foreign_state":                   {"400 invalid_request_error/previous_response_not_found", ""},
	"data_residency":                  {"400 invalid_request_error/data_residency_mismatch", ""},
	"request_timeout":                 {"408 server_error/", ""},
	"conflict":                        {"409 invalid_request_error/", "409 conflict_error/"},
	"body_too_large":                  {"413 /", "413 request_too_large/"},
	"bad_gateway":                     {"502 /", "502 /"},
	"gateway_timeout":                 {"504 /", "504 timeout_error/"},
	"azure_unauthorized":              {"401 /401", ""},
	"azure_firewall":                  {"403 /403", ""},
	"azure_deployment":                {"404 /DeploymentNotFound", ""},
	"azure_content_filter":            {"400 /content_filter", ""},
	"azure_rate_limit":                {"429 /429", ""},
	"bedrock_expired_token":           {"403 /", ""},
	"bedrock_access_denied":           {"403 /", ""},
	"bedrock_validation":              {"400 /", ""},
	"bedrock_not_found":               {"404 /", ""},
	"bedrock_throttling":              {"429 /", ""},
	"bedrock_model_error":             {"424 /", ""},
	"gemini_key_invalid":              {"400 /", ""},
	"gemini_location":                 {"400 /", ""},
	"gemini_permission_denied":        {"403 /", ""},
	"gemini_exhausted":                {"429 /", ""},
	"gemini_unavailable":              {"503 /", ""},
	"openrouter_unauthorized":         {"401 /401", ""},
	"openrouter_credits":              {"402 /402", ""},
	"openrouter_key_limit":            {"402 /402", ""},
	"openrouter_in_flight":            {"402 /402", ""},
	"openrouter_moderation":           {"403 /403", ""},
	"openrouter_no_provider":          {"503 /503", ""},
	"copilot_quota":                   {"402 /quota_exceeded", ""},
	"copilot_rate_limited":            {"429 /rate_limited", ""},
}

// others are the faults that break connections and bodies: what a client sees of
// a stream with four content events, and of a whole body.
var others = map[string]struct{ stream, whole string }{
	"refuse":               {"closed", "closed"},
	"reset":                {"reset", "reset"},
	"stall":                {"silence", "silence"},
	"truncate":             {"200 0 cut", "200 cut"},
	"cut_after_content":    {"200 2 cut", "200 cut"},
	"error_first":          {"200 0 error", "200 error"},
	"error_after_preamble": {"200 0 error", "200 error"},
	"error_after_content":  {"200 2 error", "200 error"},
	"stall_body":           {"200 0 silence", "200 silence"},
	"stall_error_body":     {"429 silence", "429 silence"},
	"slow":                 {"200 4 end", "200 end"},
	"garbage":              {"200 garbage", "200 garbage"},
	"no_done":              {"200 4 end", "200 end"},
	"gzip":                 {"200 4 end", "200 end"},
}

// sees tells what a client sees of an answer.
func (g *rig) sees(a asking, content func(event) bool) string {
	g.t.Helper()
	resp, err := g.send(a)
	if err != nil {
		return broke(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	status := strconv.Itoa(resp.StatusCode)
	switch {
	case resp.StatusCode != http.StatusOK && err != nil:
		return status + " " + broke(err)
	case resp.StatusCode != http.StatusOK:
		e := gjson.GetBytes(body, "error")
		code := e.Get("code").String() + e.Get("details.error_code").String()
		return fmt.Sprintf("%s %s/%s", status, e.Get("type").String(), code)
	case resp.Header.Get("Content-Encoding") == "gzip":
		z, zerr := gzip.NewReader(bytes.NewReader(body))
		if zerr != nil {
			g.t.Fatal(zerr)
		}
		if body, zerr = io.ReadAll(z); zerr != nil {
			g.t.Fatal(zerr)
		}
	}
	switch {
	case bytes.HasPrefix(body, []byte("<!DOCTYPE html>")):
		return status + " garbage"
	case strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream"):
		return status + " " + told(g.t, body, err, content)
	case err != nil:
		return status + " " + broke(err)
	case resp.Header.Get("Content-Type") == "application/json" && !gjson.ValidBytes(body):
		return status + " not JSON"
	case gjson.GetBytes(body, "error.message").Exists():
		return status + " error"
	}
	return status + " end"
}

// told counts the content events of a stream and names its end.
func told(t *testing.T, body []byte, err error, content func(event) bool) string {
	t.Helper()
	n, end := 0, broke(err)
	for _, e := range events(t, body) {
		switch {
		case e.name == "error" || e.name == "response.failed" || e.data.Get("error").Exists():
			end = "error"
		case content(e):
			n++
		case e.name == "message_stop" || e.name == "response.completed" || e.data.Get("choices.0.finish_reason").String() == "stop":
			end = "end"
		}
	}
	return fmt.Sprintf("%d %s", n, end)
}

// places are all the shapes of a request: the three APIs, both ways, and the
// opaque ones.
func places() (out []struct {
	api
	asking
	stream bool
},
) {
	for _, a := range apis {
		for _, stream := range []bool{false, true} {
			body := a.body("hello", "")
			if stream {
				body = a.body("hello", streaming)
			}
			out = append(out, struct {
				api
				asking
				stream bool
			}{a, asking{path: a.path, body: body}, stream})
		}
	}
	for _, o := range []asking{
		{path: "/openai/v1/models", method: http.MethodGet},
		{path: "/anthropic/v1/models", method: http.MethodGet},
		{path: "/openai/v1/embeddings", body: `{"model":"text-embedding-3-small","input":"x"}`},
		{path: "/anthropic/v1/messages/count_tokens", body: `{"model":"claude-opus-5","messages":[{"role":"user","content":"x"}]}`},
	} {
		out = append(out, struct {
			api
			asking
			stream bool
		}{api{name: o.path}, o, false})
	}
	return out
}

// everyFault asks every place under every fault, and once more when it is spent.
func everyFault(t *testing.T, g *rig, patience time.Duration) {
	for name := range simulator.Names() {
		for _, p := range places() {
			row, answers := statuses[name]
			want := row.openai
			switch other, ok := others[name]; {
			case answers && strings.HasPrefix(p.asking.path, "/anthropic"):
				want = row.anthropic
			case answers:
			case !ok:
				t.Fatalf("the fault %s has no row here", name)
			case p.stream:
				want = other.stream
			default:
				want = other.whole
			}
			if want == "" {
				continue
			}
			if err := g.Arm(simulator.Fault{Name: name, Key: "k0", Times: 1, Wait: 20 * time.Millisecond}); err != nil {
				t.Fatal(err)
			}
			g.ResetLog()
			a := p.asking
			if strings.Contains(want, "silence") {
				a.patience = patience
			}
			if got := g.sees(a, p.content); got != want && (name != "refuse" || got != "reset") {
				t.Errorf("%s at %s, stream %v: %q, want %q", name, p.name, p.stream, got, want)
			}
			a.patience = 0
			healthy := "200 end"
			if p.stream {
				healthy = "200 4 end"
			}
			if got := g.sees(a, p.content); got != healthy {
				t.Errorf("after %s at %s: %q", name, p.name, got)
			}
			log := g.Log()
			status, _ := strconv.Atoi(want[:3]) // 0: no head
			if len(log) != 2 || log[0].Fault != name || log[0].Status != status || log[1].Fault != "" || log[0].KeyName != "k0" {
				t.Errorf("%s at %s: the log has %+v", name, p.name, log)
			}
		}
	}
}

func TestFaultsOverTCP(t *testing.T) {
	everyFault(t, overTCP(t, options()), 100*time.Millisecond)
}

func TestFaultsInABubble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		everyFault(t, inMemory(t, options()), time.Hour)
	})
}

// TestFaultFits holds each filter, the count and the order.
func TestFaultFits(t *testing.T) {
	chat := asking{path: apis[0].path, body: apis[0].body("x", "")}
	other := asking{path: apis[0].path, body: apis[0].body("x", ""), key: 1}
	model := asking{path: apis[0].path, body: strings.ReplaceAll(apis[0].body("x", ""), "gpt-4o", "o3")}
	messages := asking{path: apis[2].path, body: apis[2].body("x", "")}
	list := asking{path: "/openai/v1/models", method: http.MethodGet}
	one := asking{path: "/openai/v1/models/gpt-4o", method: http.MethodGet}
	for _, tc := range []struct {
		name   string
		faults []simulator.Fault
		asked  []asking
		want   string
	}{
		{"any", []simulator.Fault{{Name: "server_error"}}, []asking{chat, other, list}, "500 500 500"},
		{"key", []simulator.Fault{{Name: "server_error", Key: "k1"}}, []asking{chat, other}, "200 500"},
		{"provider", []simulator.Fault{{Name: "server_error", Provider: simulator.Anthropic, Key: "k0"}}, []asking{chat, messages}, "200 500"},
		{"model", []simulator.Fault{{Name: "server_error", Model: "gpt-4o"}}, []asking{chat, model, list, one}, "500 200 200 500"},
		{"models", []simulator.Fault{{Name: "server_error", Model: "gpt-*"}}, []asking{chat, model}, "500 200"},
		{"endpoint", []simulator.Fault{{Name: "server_error", Endpoint: "chat/completions"}}, []asking{chat, messages, list}, "500 200 200"},
		{"endpoint as a path", []simulator.Fault{{Name: "server_error", Endpoint: "/v1/models*"}}, []asking{chat, list, one}, "200 500 500"},
		{"times", []simulator.Fault{{Name: "server_error", Times: 2}}, []asking{chat, chat, chat}, "500 500 200"},
		{"script", []simulator.Fault{{Name: "server_error", Times: 1}, {Name: "billing", Times: 1}, {Name: "quota", Key: "k1"}}, []asking{chat, other, chat, other}, "500 402 200 429"},
		{"refuse by model", []simulator.Fault{{Name: "refuse", Model: "o3"}, {Name: "billing"}}, []asking{chat, list}, "402 402"},
		{"refuse in its turn", []simulator.Fault{{Name: "billing", Model: "o3", Times: 1}, {Name: "refuse", Key: "k1"}}, []asking{model, chat}, "402 200"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			g := overTCP(t, options(tc.faults...))
			var got []string
			for _, a := range tc.asked {
				got = append(got, strconv.Itoa(g.ask(a).status))
			}
			if s := strings.Join(got, " "); s != tc.want {
				t.Errorf("%s, want %s", s, tc.want)
			}
		})
	}
}

func TestFaultIsRefused(t *testing.T) {
	for _, tc := range []struct {
		fault simulator.Fault
		want  string
	}{
		{simulator.Fault{Name: "ratelimit"}, `no fault is called "ratelimit": one of account_deactivated, azure_content_filter,`},
		{simulator.Fault{}, `no fault is called ""`},
		{simulator.Fault{Name: "error_first", Error: "reset"}, "is no failure with a status"},
		{simulator.Fault{Name: "quota", Error: "billing"}, "quota takes no error"},
		{simulator.Fault{Name: "quota", Provider: "mistral"}, `use "openai" or "anthropic"`},
		{simulator.Fault{Name: "quota", Times: -1}, "not negative"},
		{simulator.Fault{Name: "oauth_unsupported", Provider: simulator.OpenAI}, "only anthropic answers oauth_unsupported"},
		{simulator.Fault{Name: "error_first", Error: "not_member"}, "only openai answers not_member: set the provider"},
		{simulator.Fault{Name: "error_first", Error: "bad_gateway"}, "has a body of its own"},
	} {
		if err := simulator.New(options()).Arm(tc.fault); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%+v: %v, want %s", tc.fault, err, tc.want)
		}
	}
}
