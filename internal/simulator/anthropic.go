package simulator

import (
	"net/http"
	"regexp"
	"strconv"
	"time"
)

var knownAnthropic = regexp.MustCompile(`^claude-(\d|instant-|(opus|sonnet|haiku)-\d)`)

// anthropic is the provider as it speaks to the world.
func anthropic() api {
	return api{
		name: Anthropic, failures: anthropicFailures, routes: anthropicRoutes(), noKey: anthropicNoKey(), tooLong: anthropicTooLong(),
		secret: anthropicSecret, header: anthropicHeader, limits: anthropicLimits, errorBody: anthropicErrorBody, check: anthropicCheck,
		noRoute: anthropicNoRoute, waitHeader: anthropicWaitHeader, own: anthropicOwn,
	}
}

func anthropicSecret(h http.Header) string {
	if k := h.Get("X-Api-Key"); k != "" {
		return k
	}
	return bearer(h)
}

func (c *call) requestID() string { return "req_011C" + c.ids.alnum("request", 20) }

func anthropicHeader(c *call) http.Header {
	h := http.Header{}
	h.Set("Request-Id", c.requestID())
	if c.key != nil {
		h.Set("Anthropic-Organization-Id", c.key.Organization)
		h.Set("Anthropic-Workspace-Id", c.key.Project)
	}
	return h
}

// limits are the rate headers of an answer that was let through, or refused by a
// limit. Tokens are those of the tightest token limit; of tokens the thousands are told.
func anthropicLimits(c *call, h http.Header) {
	var tightest *gauge
	gauges := c.gauges()
	for i := range gauges {
		g := &gauges[i]
		full := c.start.Add(g.full)
		if g.resource == requests {
			anthropicBucket(h, "Requests", g.limit, g.limit-g.left, full)
			continue
		}
		g.left = (g.left + 500) / 1000 * 1000
		if tightest == nil || g.left < tightest.left {
			tightest = g
			anthropicBucket(h, "Tokens", g.limit, g.limit-g.left, full)
		}
		name := "Input-Tokens"
		if g.resource == outputTokens {
			name = "Output-Tokens"
		}
		anthropicBucket(h, name, g.limit, g.limit-g.left, full)
	}
}

func anthropicBucket(h http.Header, name string, limit, used int64, full time.Time) {
	h.Set("Anthropic-Ratelimit-"+name+"-Limit", strconv.FormatInt(limit, 10))
	h.Set("Anthropic-Ratelimit-"+name+"-Remaining", strconv.FormatInt(max(0, limit-used), 10))
	h.Set("Anthropic-Ratelimit-"+name+"-Reset", ceilTime(full, time.Second).UTC().Format(time.RFC3339))
}

func anthropicWaitHeader(form string, wait time.Duration, now time.Time, h http.Header) {
	if retryAfter(form, wait, now, h) && form != inUsual {
		return
	}
	switch form {
	case inUsual: // the bucket is full later than the next request may come
		anthropicBucket(h, "Requests", requestLimit, requestLimit/2, now)
		anthropicBucket(h, "Input-Tokens", tokenLimit, tokenLimit, now.Add(wait+time.Minute))
	case inReset:
		anthropicBucket(h, "Requests", requestLimit, requestLimit/2, now.Add(wait+time.Hour))
		anthropicBucket(h, "Input-Tokens", tokenLimit, tokenLimit, now.Add(wait))
	}
}

func anthropicErrorBody(c *call, f failure) []byte {
	if f.edge {
		return compact(object{{"error", object{{"type", f.kind}, {"message", f.message}}}})
	}
	inner := object{{"type", f.kind}, {"message", f.message}}
	if f.code != "" {
		inner = inner.with(member{"details", object{{"error_code", f.code}}})
	}
	return compact(object{{"type", "error"}, {"error", inner}, {"request_id", c.requestID()}})
}

func anthropicCheck(c *call) *failure {
	var f failure
	switch {
	case c.r.Header.Get("Anthropic-Version") == "":
		f = anthropicInvalid("anthropic-version: header is required")
	case c.r.Method == http.MethodPost && c.path != "/v1/files" && len(c.body) > 0 && !wellFormed(c.body):
		f = anthropicInvalid("The request body is not valid JSON.")
	default:
		return nil
	}
	return &f
}

func anthropicInvalid(message string) failure {
	return failure{status: http.StatusBadRequest, kind: invalidRequest, message: message}
}

func fieldRequired(name string) failure { return anthropicInvalid(name + ": Field required") }

func anthropicMissing(what string) failure {
	return failure{status: http.StatusNotFound, kind: "not_found_error", message: what + " not found"}
}

func anthropicNoKey() failure {
	return failure{status: http.StatusUnauthorized, kind: "authentication_error", message: "x-api-key header is required"}
}

func anthropicNoRoute(_ *call, methods []string) failure {
	if len(methods) > 0 {
		return failure{status: http.StatusMethodNotAllowed, kind: invalidRequest, message: "Method Not Allowed"}
	}
	return failure{status: http.StatusNotFound, kind: "not_found_error", message: "Not Found"}
}

func anthropicTooLong() failure {
	return failure{status: http.StatusRequestEntityTooLarge, kind: "request_too_large", message: "Request exceeds the maximum size"}
}

func anthropicOwn(i ids) (organization, project string) {
	return i.uuid("organization"), "wrkspc_01" + i.alnum("workspace", 22)
}

func anthropicRoutes() []route {
	return []route{
		{http.MethodPost, "/v1/messages", createMessage},
		{http.MethodPost, "/v1/messages/count_tokens", countTokens},
		{http.MethodPost, "/v1/messages/batches", messageBatch},
		{http.MethodGet, "/v1/messages/batches", listAnthropic("message_batch")},
		{http.MethodGet, "/v1/messages/batches/{id}", showAnthropic("message_batch")},
		{http.MethodPost, "/v1/messages/batches/{id}/cancel", cancelMessageBatch},
		{http.MethodGet, "/v1/models", anthropicModels},
		{http.MethodGet, "/v1/models/{id}", anthropicModelInfo},
		{http.MethodPost, "/v1/files", uploadAnthropic},
		{http.MethodGet, "/v1/files", listAnthropic("file")},
		{http.MethodGet, "/v1/files/{id}", showAnthropic("file")},
		{http.MethodDelete, "/v1/files/{id}", deleteAnthropic("file", "file_deleted")},
		{http.MethodGet, "/v1/files/{id}/content", fileContent},
	}
}

const anthropicRateMessage = "This request would exceed your organization's rate limit of 2,000,000 input tokens per minute (org: {org}, model: {model}). For details, refer to: https://docs.claude.com/en/api/rate-limits."

func anthropicRate(form, message string) failure {
	return failure{status: http.StatusTooManyRequests, kind: "rate_limit_error", message: message, wait: form}
}

const noPermission = "Your API key does not have permission to use the specified resource."

var anthropicFailures = withRows(map[string]failure{ //nolint:gochecknoglobals // the table of Anthropic's errors, never written
	"rate_limit":                      anthropicRate(inUsual, anthropicRateMessage),
	"rate_limit_retry_after_ms":       anthropicRate(inMillis, anthropicRateMessage),
	"rate_limit_retry_after":          anthropicRate(inSeconds, anthropicRateMessage),
	"rate_limit_retry_after_fraction": anthropicRate(inFraction, anthropicRateMessage),
	"rate_limit_retry_after_date":     anthropicRate(inDate, anthropicRateMessage),
	"rate_limit_reset_header":         anthropicRate(inReset, anthropicRateMessage),
	"rate_limit_message":              anthropicRate("", anthropicRateMessage+" Please try again in {wait}."),
	"rate_limit_bare":                 anthropicRate("", anthropicRateMessage),
	"rate_limit_date":                 {status: 429, kind: "rate_limit_error", code: "enforced_spend_limit_reached", message: "You have reached your enforced spend limit. You will regain access on {date} at 00:00 UTC."},
	"slow_down":                       anthropicRate(inSeconds, "This request would exceed the rate at which your organization's usage may increase (org: {org}, model: {model}). Please scale up your usage more gradually."),
	"too_large":                       {status: 429, kind: "rate_limit_error", message: "Extra usage is required for long context requests."},
	"invalid_key":                     {status: 401, kind: "authentication_error", message: "invalid x-api-key"},
	"account_deactivated":             {status: 400, kind: invalidRequest, message: "This organization has been disabled."},
	"missing_scopes":                  {status: 403, kind: "permission_error", message: noPermission},
	"revoked":                         {status: 403, kind: "permission_error", message: "OAuth token has been revoked. Please obtain a new token."},
	"forbidden_region":                {status: 403, kind: "forbidden", message: "Request not allowed", edge: true},
	"forbidden_model":                 {status: 403, kind: "permission_error", message: noPermission},
	"forbidden_unknown":               {status: 403, kind: "policy_error", message: "This request was declined."},
	"quota":                           {status: 400, kind: invalidRequest, message: "You have reached your specified API usage limits. You will regain access on {date} at 00:00 UTC."},
	"credit":                          {status: 400, kind: invalidRequest, message: "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."},
	"billing":                         {status: 402, kind: "billing_error", message: "There is a problem with the payment for this organization."},
	"model_not_found":                 {status: 404, kind: "not_found_error", message: "model: {model}"},
	"server_error":                    {status: 500, kind: "api_error", message: "Internal server error"},
	"overloaded":                      {status: 529, kind: "overloaded_error", message: "Overloaded"},
	"echo_key":                        {status: 400, kind: invalidRequest, message: "Unexpected credential: {secrets}", echo: true},
}, func(l listed) *failure { return l.anthropic })
