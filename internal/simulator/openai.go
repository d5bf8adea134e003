package simulator

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

const (
	invalidRequest = "invalid_request_error"
	requestLimit   = 10_000
	tokenLimit     = 2_000_000
)

var knownOpenAI = regexp.MustCompile(`^(gpt-\d|gpt-oss-|chatgpt-|codex-|o\d|text-embedding-|omni-moderation-|ft:)`)

// openAI is the provider as it speaks to the world.
func openAI() api {
	return api{
		name: OpenAI, failures: openAIFailures, routes: openAIRoutes(), noKey: openAINoKey(), tooLong: openAITooLong(),
		secret: openAISecret, header: openAIHeader, limits: openAILimits, errorBody: openAIErrorBody, check: openAICheck,
		noRoute: openAINoRoute, waitHeader: openAIWaitHeader, own: openAIOwn,
	}
}

func openAISecret(h http.Header) string { return bearer(h) }

func bearer(h http.Header) string {
	scheme, token, _ := strings.Cut(h.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return strings.TrimSpace(token)
}

func openAIHeader(c *call) http.Header {
	h := http.Header{}
	h.Set("X-Request-Id", "req_"+c.ids.hex("request", 32))
	h.Set("Openai-Version", "2020-10-01")
	h.Set("Openai-Processing-Ms", c.took())
	if c.key != nil {
		h.Set("Openai-Organization", c.key.Organization)
		h.Set("Openai-Project", c.key.Project)
	}
	return h
}

// limits are the rate headers of an answer that was let through, or refused by a
// limit. The token limit of a key is its project's.
func openAILimits(c *call, h http.Header) {
	for _, g := range c.gauges() {
		name := "Requests"
		switch {
		case g.resource == outputTokens:
			continue
		case g.resource == inputTokens && g.perKey:
			name = "Project-Tokens"
		case g.resource == inputTokens:
			name = "Tokens"
		}
		openAIBucket(h, name, g.limit, g.limit-g.left, g.full.Round(time.Millisecond))
	}
}

func openAIBucket(h http.Header, name string, limit, used int64, full time.Duration) {
	h.Set("X-Ratelimit-Limit-"+name, strconv.FormatInt(limit, 10))
	h.Set("X-Ratelimit-Remaining-"+name, strconv.FormatInt(max(0, limit-used), 10))
	h.Set("X-Ratelimit-Reset-"+name, full.String())
}

func openAIWaitHeader(form string, wait time.Duration, now time.Time, h http.Header) {
	if retryAfter(form, wait, now, h) && form != inUsual {
		return
	}
	switch form {
	case inUsual: // the bucket is full later than the next request may come
		openAIBucket(h, "Requests", requestLimit, requestLimit, wait+time.Minute)
		openAIBucket(h, "Tokens", tokenLimit, tokenLimit/2, 30*time.Second)
	case inReset:
		openAIBucket(h, "Requests", requestLimit, requestLimit, wait)
		openAIBucket(h, "Tokens", tokenLimit, tokenLimit/2, wait+time.Hour)
	}
}

func openAIError(f failure) object {
	var param, code any
	if f.param != "" {
		param = f.param
	}
	if f.code != "" {
		code = f.code
	}
	inner := object{{"message", f.message}, {"type", f.kind}}
	if f.plan {
		inner = inner.with(
			member{"plan_type", "plus"}, member{"resets_at", f.until.Unix()},
			member{"resets_in_seconds", seconds(f.stated)},
		)
	} else {
		inner = inner.with(member{"param", param}, member{"code", code})
	}
	return object{{"error", inner}}
}

func openAIErrorBody(c *call, f failure) []byte { return c.print(openAIError(f)) }

func openAICheck(c *call) *failure {
	if c.r.Method == http.MethodPost && strings.HasPrefix(c.r.Header.Get("Content-Type"), "application/json") &&
		len(c.body) > 0 && !wellFormed(c.body) {
		return &failure{
			status: http.StatusBadRequest, kind: invalidRequest,
			message: "We could not parse the JSON body of your request. (HINT: This likely means you aren't using your HTTP library correctly. The OpenAI API expects a JSON payload, but what was sent was not valid JSON.)",
		}
	}
	return nil
}

func openAINoKey() failure {
	return failure{
		status: http.StatusUnauthorized, kind: invalidRequest,
		message: "You didn't provide an API key. You need to provide your API key in an Authorization header using Bearer auth (i.e. Authorization: Bearer YOUR_KEY).",
	}
}

func openAINoRoute(c *call, methods []string) failure {
	if len(methods) > 0 {
		return failure{
			status: http.StatusMethodNotAllowed, kind: invalidRequest,
			message: "Not allowed to " + c.r.Method + " on " + c.path + ". (HINT: use " + strings.Join(methods, " or ") + ")",
		}
	}
	return failure{status: http.StatusNotFound, kind: invalidRequest, message: "Invalid URL (" + c.r.Method + " " + c.path + ")"}
}

func openAITooLong() failure {
	return failure{status: http.StatusRequestEntityTooLarge, kind: invalidRequest, message: "The request body is too large."}
}

func openAIOwn(i ids) (organization, project string) {
	return "org-" + i.alnum("organization", 24), "proj_" + i.alnum("project", 24)
}

func openAIRoutes() []route {
	return []route{
		{http.MethodPost, "/v1/chat/completions", chatCompletion},
		{http.MethodPost, "/v1/responses", createResponse},
		{http.MethodPost, "/v1/responses/input_tokens", countResponse},
		{http.MethodGet, "/v1/responses/{id}", showOpenAI("response")},
		{http.MethodDelete, "/v1/responses/{id}", deleteOpenAI("response", "response")},
		{http.MethodPost, "/v1/responses/{id}/cancel", cancelResponse},
		{http.MethodGet, "/v1/responses/{id}/input_items", inputItems},
		{http.MethodGet, "/v1/models", openAIModels},
		{http.MethodGet, "/v1/models/{id}", openAIModelInfo},
		{http.MethodPost, "/v1/embeddings", embeddings},
		{http.MethodPost, "/v1/moderations", moderations},
		{http.MethodPost, "/v1/files", uploadOpenAI},
		{http.MethodGet, "/v1/files", listOpenAI("file")},
		{http.MethodGet, "/v1/files/{id}", showOpenAI("file")},
		{http.MethodDelete, "/v1/files/{id}", deleteOpenAI("file", "file")},
		{http.MethodGet, "/v1/files/{id}/content", fileContent},
		{http.MethodPost, "/v1/batches", createBatch},
		{http.MethodGet, "/v1/batches", listOpenAI("batch")},
		{http.MethodGet, "/v1/batches/{id}", showOpenAI("batch")},
		{http.MethodPost, "/v1/batches/{id}/cancel", cancelBatch},
		{http.MethodPost, "/v1/conversations", createConversation},
		{http.MethodGet, "/v1/conversations/{id}", showOpenAI("conversation")},
		{http.MethodDelete, "/v1/conversations/{id}", deleteOpenAI("conversation", "conversation.deleted")},
		{http.MethodGet, "/v1/conversations/{id}/items", conversationItems},
		{http.MethodPost, "/v1/conversations/{id}/items", addConversationItems},
	}
}

// openAIModel refuses a request without a model, or with one that is unknown.
func openAIModel(c *call) *failure {
	switch {
	case c.model == "":
		return &failure{status: http.StatusBadRequest, kind: invalidRequest, message: "you must provide a model parameter"}
	case !knownOpenAI.MatchString(c.model):
		f := c.failure("model_not_found")
		return &f
	}
	return nil
}

const rateMessage = "Rate limit reached for {model} in organization {org} on requests per min (RPM): Limit 10000, Used 10000, Requested 1."

// seeLimits ends most of OpenAI's messages about limits.
const seeLimits = " Visit https://platform.openai.com/account/rate-limits to learn more."

func openAIRate(form, message string) failure {
	return failure{status: http.StatusTooManyRequests, kind: "requests", code: "rate_limit_exceeded", message: message + seeLimits, wait: form}
}

var openAIFailures = withRows(map[string]failure{ //nolint:gochecknoglobals // the table of OpenAI's errors, never written
	"rate_limit":                      openAIRate(inUsual, rateMessage+" Please try again in {wait}."),
	"rate_limit_retry_after_ms":       openAIRate(inMillis, rateMessage),
	"rate_limit_retry_after":          openAIRate(inSeconds, rateMessage),
	"rate_limit_retry_after_fraction": openAIRate(inFraction, rateMessage),
	"rate_limit_retry_after_date":     openAIRate(inDate, rateMessage),
	"rate_limit_reset_header":         openAIRate(inReset, rateMessage),
	"rate_limit_message":              openAIRate("", rateMessage+" Please try again in {wait}."),
	"rate_limit_bare":                 openAIRate("", rateMessage),
	"rate_limit_date":                 {status: 429, kind: "usage_limit_reached", message: "The usage limit has been reached", plan: true},
	"slow_down":                       {status: 429, kind: "rate_limit_error", code: "slow_down", message: "Slow Down", wait: inSeconds},
	"too_large":                       {status: 429, kind: "tokens", code: "rate_limit_exceeded", message: "Request too large for {model} in organization {org} on tokens per min (TPM): Limit 30000, Requested 31538. The input or output tokens must be reduced in order to run successfully." + seeLimits},
	"invalid_key":                     {status: 401, kind: invalidRequest, code: "invalid_api_key", message: "Incorrect API key provided: {key}. You can find your API key at https://platform.openai.com/account/api-keys."},
	"account_deactivated":             {status: 401, kind: invalidRequest, code: "account_deactivated", message: "The OpenAI account associated with this API key has been deactivated. If you feel this is an error, contact us through our help center at help.openai.com."},
	"missing_scopes":                  {status: 401, kind: invalidRequest, message: "You have insufficient permissions for this operation. Missing scopes: api.{scope}.write. Check that you have the correct role in your organization (Reader, Writer, Owner) and project (Member, Owner), and if you're using a restricted API key, that it has the necessary scopes."},
	"revoked":                         {status: 401, kind: invalidRequest, code: "token_invalidated", message: "Your authentication token has been invalidated. Please try signing in again."},
	"forbidden_region":                {status: 403, kind: "request_forbidden", code: "unsupported_country_region_territory", message: "Country, region, or territory not supported"},
	"forbidden_model":                 {status: 403, kind: invalidRequest, code: "model_not_found", message: "Project `{project}` does not have access to model `{model}`"},
	"forbidden_unknown":               {status: 403, kind: "request_declined", code: "request_declined", message: "This request was declined."},
	"quota":                           {status: 429, kind: "insufficient_quota", code: "insufficient_quota", message: "You exceeded your current quota, please check your plan and billing details. For more information on this error, read the docs: https://platform.openai.com/docs/guides/error-codes/api-errors."},
	"credit":                          {status: 400, kind: invalidRequest, code: "billing_hard_limit_reached", message: "Billing hard limit has been reached"},
	"billing":                         {status: 402, kind: "billing_not_active", code: "billing_not_active", message: "Your account is not active, please check your billing details on our website."},
	"model_not_found":                 {status: 404, kind: invalidRequest, code: "model_not_found", message: "The model `{model}` does not exist or you do not have access to it."},
	"server_error":                    {status: 500, kind: "server_error", message: "The server had an error while processing your request. Sorry about that!"},
	"overloaded":                      {status: 503, kind: "service_unavailable_error", code: "server_is_overloaded", message: "The engine is currently overloaded, please try again later."},
	"echo_key":                        {status: 400, kind: invalidRequest, message: "Unexpected credential: {secrets}", echo: true},
}, func(l listed) *failure { return l.openAI })
