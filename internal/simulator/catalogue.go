package simulator

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// listed is an error that one provider, or both, answer with.
type listed struct {
	name, about       string
	wait              time.Duration
	openAI, anthropic *failure // nil: not known of this provider
}

// catalogue is the rest of the errors the providers are known for, besides those
// of kinds; and, on OpenAI's side, those of others who speak OpenAI's API.
var catalogue = []listed{ //nolint:gochecknoglobals // a constant table
	// The key and whom it belongs to.
	{
		name: "invalid_authentication", about: "OpenAI 401: revoked, or of another organization than the headers name",
		openAI: &failure{status: 401, kind: invalidRequest, message: "Invalid Authentication"},
	},
	{
		name: "not_member", about: "OpenAI 401: the key's owner has left the organization",
		openAI: &failure{status: 401, kind: invalidRequest, message: "You must be a member of an organization to use the API"},
	},
	{
		name: "ip_not_authorized", about: "OpenAI 401: our address is not on the list of allowed ones",
		openAI: &failure{status: 401, kind: invalidRequest, code: "ip_not_authorized", message: "IP not authorized"},
	},
	{
		name: "token_expired", about: "401: the credential has expired",
		openAI:    &failure{status: 401, kind: invalidRequest, code: "token_expired", message: "Provided authentication token is expired."},
		anthropic: &failure{status: 401, kind: "authentication_error", message: "API key has expired"},
	},
	{
		name: "oauth_unsupported", about: "Anthropic 401: a token where only keys are taken",
		anthropic: &failure{status: 401, kind: "authentication_error", message: "OAuth authentication is currently not supported."},
	},
	{
		name: "key_auth_disabled", about: "Anthropic 400: the organization takes no keys",
		anthropic: &failure{status: 400, kind: invalidRequest, message: "Your organization has disabled API key authentication."},
	},
	{
		name: "claude_code_only", about: "Anthropic 400: a credential for Claude Code alone",
		anthropic: &failure{status: 400, kind: invalidRequest, message: "This credential is only authorized for use with Claude Code and cannot be used for other API requests."},
	},
	{
		name: "not_verified", about: "OpenAI 400: the organization must be verified for this model's streams",
		openAI: &failure{status: 400, kind: invalidRequest, code: "unsupported_value", param: "stream", message: "Your organization must be verified to stream this model."},
	},

	// Limits and money.
	{
		name: "rate_limit_tokens", about: "429 on tokens a minute, with Retry-After", wait: shortWait,
		openAI:    &failure{status: 429, kind: "tokens", code: "rate_limit_exceeded", message: "Rate limit reached for {model} in organization {org} on tokens per min (TPM): Limit 2000000, Used 2000000, Requested 1000. Please try again in {wait}." + seeLimits, wait: inSeconds},
		anthropic: &failure{status: 429, kind: "rate_limit_error", message: "This request would exceed your organization's rate limit of 400,000 output tokens per minute (org: {org}, model: {model}). For details, refer to: https://docs.claude.com/en/api/rate-limits.", wait: inSeconds},
	},
	{
		name: "rate_limit_day", about: "OpenAI 429 on requests a day, the wait only in the message", wait: 432 * time.Second,
		openAI: &failure{status: 429, kind: "requests", code: "rate_limit_exceeded", message: "Rate limit reached for {model} in organization {org} on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in {wait}." + seeLimits},
	},
	{
		name: "credit_exhausted", about: "OpenAI 429: prepaid credit used up",
		openAI: &failure{status: 429, kind: "insufficient_quota", code: "credit_balance_exhausted", message: "Your credit balance is exhausted."},
	},
	{
		name: "spend_limit", about: "OpenAI 429: the organization's budget is spent",
		openAI: &failure{status: 429, kind: "insufficient_quota", code: "organization_spend_limit_exceeded", message: "Your organization has reached its spend limit."},
	},
	{
		name: "usage_limit", about: "OpenAI 429: the organization's usage cap is reached",
		openAI: &failure{status: 429, kind: "insufficient_quota", code: "organization_usage_limit_exceeded", message: "Your organization has reached its usage limit."},
	},
	{
		name: "project_spend_limit", about: "OpenAI 429: the project's budget is spent; Anthropic 400: the workspace's, with the date", wait: dayWait,
		openAI:    &failure{status: 429, kind: "insufficient_quota", code: "project_spend_limit_exceeded", message: "Your project has reached its spend limit."},
		anthropic: &failure{status: 400, kind: invalidRequest, message: "You have reached your specified workspace API usage limits. You will regain access on {date} at 00:00 UTC."},
	},
	{
		name: "billing_not_active", about: "OpenAI 429: the account is not active",
		openAI: &failure{status: 429, kind: "billing_not_active", code: "billing_not_active", message: "Your account is not active, please check your billing details on our website."},
	},
	{
		name: "usage_not_included", about: "OpenAI 429: the subscription does not include this",
		openAI: &failure{status: 429, kind: "usage_not_included", message: "Your plan does not include Codex."},
	},
	{
		name: "resource_unavailable", about: "OpenAI 429: no capacity on the flex tier, not charged",
		openAI: &failure{status: 429, message: "Resource Unavailable"},
	},

	// The request.
	{
		name: "invalid_request", about: "400: a parameter is wrong",
		openAI:    &failure{status: 400, kind: invalidRequest, code: "unsupported_value", param: "service_tier", message: "Invalid service_tier argument"},
		anthropic: &failure{status: 400, kind: invalidRequest, message: "Unexpected value(s) `none-2020-01-01` for the `anthropic-beta` header."},
	},
	{
		name: "context_length", about: "400: the prompt is too long for the model",
		openAI:    &failure{status: 400, kind: invalidRequest, code: "context_length_exceeded", param: "input", message: "Your input exceeds the context window of this model. Please adjust your input and try again."},
		anthropic: &failure{status: 400, kind: invalidRequest, message: "prompt is too long: 205351 tokens > 200000 maximum"},
	},
	{
		name: "content_policy", about: "400: refused for safety",
		openAI:    &failure{status: 400, kind: invalidRequest, code: "invalid_prompt", message: "Invalid prompt: your prompt was flagged as potentially violating our usage policy."},
		anthropic: &failure{status: 400, kind: invalidRequest, message: "Output blocked by content filtering policy"},
	},
	{
		name: "foreign_reasoning", about: "400: reasoning of another organization",
		openAI:    &failure{status: 400, kind: invalidRequest, code: "invalid_encrypted_content", message: "The encrypted content gAAA... could not be verified."},
		anthropic: &failure{status: 400, kind: invalidRequest, message: "messages.1.content.0: Invalid `signature` in `thinking` block"},
	},
	{
		name: "foreign_state", about: "OpenAI 400: a response that another project stored",
		openAI: &failure{status: 400, kind: invalidRequest, code: "previous_response_not_found", param: "previous_response_id", message: "Previous response with id 'resp_0' not found."},
	},
	{
		name: "data_residency", about: "OpenAI 400: the wrong regional host",
		openAI: &failure{status: 400, kind: invalidRequest, code: "data_residency_mismatch", message: "This project must use its regional host."},
	},
	{
		name: "request_timeout", about: "OpenAI 408",
		openAI: &failure{status: 408, kind: "server_error", message: "Request timed out."},
	},
	{
		name: "conflict", about: "409",
		openAI:    &failure{status: 409, kind: invalidRequest, message: "Conflict"},
		anthropic: &failure{status: 409, kind: "conflict_error", message: "Conflict"},
	},
	{
		name: "body_too_large", about: "OpenAI 413 as a web page, Anthropic 413 request_too_large",
		openAI:    edge(413, "413 Request Entity Too Large"),
		anthropic: &failure{status: 413, kind: "request_too_large", message: "Request exceeds the maximum size"},
	},

	// The provider.
	{name: "bad_gateway", about: "502 as a web page", openAI: edge(502, "502 Bad Gateway"), anthropic: edge(502, "502 Bad Gateway")},
	{
		name: "gateway_timeout", about: "OpenAI 504 as a web page, Anthropic 504 timeout_error",
		openAI: edge(504, "504 Gateway Time-out"), anthropic: &failure{status: 504, kind: "timeout_error", message: "Request timed out"},
	},

	// Others who speak OpenAI's API.
	other("azure_unauthorized", 401, `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active subscription and use a correct regional API endpoint for your resource."}}`),
	other("azure_firewall", 403, `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`),
	other("azure_deployment", 404, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`),
	other("azure_content_filter", 400, `{"error":{"message":"The response was filtered due to the prompt triggering content management policy.","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true,"severity":"high"}}}}}`),
	other("azure_rate_limit", 429, `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current pricing tier. Please retry after 33 seconds."}}`, "Retry-After-Ms", "33000", "Retry-After", "33"),
	other("bedrock_expired_token", 403, `{"message":"The security token included in the request is expired"}`, "X-Amzn-Errortype", "ExpiredTokenException"),
	other("bedrock_access_denied", 403, `{"message":"You don't have access to the model with the specified model ID."}`, "X-Amzn-Errortype", "AccessDeniedException"),
	other("bedrock_validation", 400, `{"message":"Input is too long for requested model."}`, "X-Amzn-Errortype", "ValidationException"),
	other("bedrock_not_found", 404, `{"message":"Model use case details have not been submitted for this account."}`, "X-Amzn-Errortype", "ResourceNotFoundException"),
	other("bedrock_throttling", 429, `{"message":"Too many requests, please wait before trying again."}`, "X-Amzn-Errortype", "ThrottlingException"),
	other("bedrock_model_error", 424, `{"message":"The model returned an error."}`, "X-Amzn-Errortype", "ModelErrorException"),
	other("gemini_key_invalid", 400, `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}]`),
	other("gemini_location", 400, `[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]`),
	other("gemini_permission_denied", 403, `[{"error":{"code":403,"message":"The caller does not have permission","status":"PERMISSION_DENIED"}}]`),
	other("gemini_exhausted", 429, `[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"15s"}]}}]`),
	other("gemini_unavailable", 503, `[{"error":{"code":503,"message":"The model is overloaded. Please try again later.","status":"UNAVAILABLE"}}]`),
	other("openrouter_unauthorized", 401, `{"error":{"code":401,"message":"No auth credentials found"}}`),
	other("openrouter_credits", 402, `{"error":{"code":402,"message":"Insufficient credits","metadata":{"limit_source":"openrouter_credits"}}}`),
	other("openrouter_key_limit", 402, `{"error":{"code":402,"message":"Key limit exceeded","metadata":{"limit_source":"openrouter_key_limit"}}}`),
	other("openrouter_in_flight", 402, `{"error":{"code":402,"message":"Too much in flight","metadata":{"limit_source":"openrouter_in_flight_budget"}}}`, "Retry-After", "2"),
	other("openrouter_moderation", 403, `{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"..."}}}`),
	other("openrouter_no_provider", 503, `{"error":{"code":503,"message":"No available provider"}}`),
	other("copilot_quota", 402, `{"error":{"message":"You have no quota","code":"quota_exceeded"}}`, "Retry-After", "1209600"),
	other("copilot_rate_limited", 429, `{"error":{"message":"Sorry, you have exceeded your rate limit.","code":"rate_limited"}}`),
}

// edge is an answer from in front of the provider: a web page.
func edge(status int, text string) *failure {
	return &failure{
		status: status, raw: "<html>\r\n<head><title>" + text + "</title></head>\r\n<body>\r\n<center><h1>" + text + "</h1></center>\r\n</body>\r\n</html>\r\n",
		header: http.Header{"Content-Type": {"text/html"}},
	}
}

// other is an error of somebody else, in its own shape.
func other(name string, status int, body string, header ...string) listed {
	f := &failure{status: status, raw: body, header: http.Header{}}
	for i := 0; i < len(header); i += 2 {
		f.header.Set(header[i], header[i+1])
	}
	who, _, _ := strings.Cut(name, "_")
	return listed{name: name, about: strconv.Itoa(status) + " in the shape of " + who + ", for upstreams of the kind openai-compatible", openAI: f}
}

// withCatalogue adds the rows of the catalogue to the kinds of faults.
func withCatalogue(kinds map[string]kind) map[string]kind {
	for _, l := range catalogue {
		k := kind{act: answers, wait: l.wait, about: l.about}
		switch {
		case l.anthropic == nil:
			k.only = OpenAI
		case l.openAI == nil:
			k.only = Anthropic
		}
		for _, f := range []*failure{l.openAI, l.anthropic} {
			k.raw = k.raw || f != nil && f.raw != ""
		}
		kinds[l.name] = k
	}
	return kinds
}

// withRows adds a provider's rows of the catalogue to its failures.
func withRows(failures map[string]failure, row func(listed) *failure) map[string]failure {
	for _, l := range catalogue {
		if f := row(l); f != nil {
			failures[l.name] = *f
		}
	}
	return failures
}
