package verdict

import (
	"net/http"
	"regexp"
	"slices"
)

// The tables. The first row that matches decides, so narrow rows stand before wide
// ones. Two rules keep a caller from harming a key with text that a provider
// echoes: a message condemns only by how it begins, and nothing above 499 marks.

// openAI judges api.openai.com and the backend of ChatGPT subscriptions.
var openAI = slices.Concat(openAIRows, transientRows, generalRows) //nolint:gochecknoglobals // constants

// anthropic judges api.anthropic.com.
var anthropic = slices.Concat(anthropicRows, generalRows) //nolint:gochecknoglobals // constants

// compatible judges whatever else speaks OpenAI's API: Azure, Bedrock, Gemini,
// OpenRouter, Copilot and self-hosted servers.
var compatible = slices.Concat(compatibleRows, openAIRows, compatibleWideRows, transientRows, generalRows) //nolint:gochecknoglobals // constants

//nolint:gochecknoglobals // constants
var openAIRows = []row{
	// The key, its project, its organization.
	{on: on(401, 403), says: says(`\binsufficient permissions for this operation\b|\bmissing scopes\b`), then: deny(Scope{Level: Key, Endpoint: true})},
	{on: on(401), names: names("account_deactivated"), then: condemn(Organization, Unauthorized)},
	{on: on(400, 403), names: names("account_deactivated"), then: condemn(Organization, Forbidden)},
	{on: on(401), names: names("ip_not_authorized"), then: condemn(Project, Unauthorized)},
	{on: on(401), says: says(`\bIP (address )?(is )?not authorized\b`), then: condemn(Project, Unauthorized)},
	{on: on(400), names: names("invalid_api_key", "token_invalidated", "token_expired"), then: condemn(Key, Unauthorized)},
	{on: on(403), names: names("invalid_api_key", "token_invalidated", "token_expired"), then: condemn(Key, Forbidden)},
	{on: on(403), names: names("unsupported_country_region_territory", "request_forbidden"), then: stop(Egress)},
	{on: on(403), says: keyRefused, then: condemn(Key, Forbidden)},
	{on: on(403), says: accountRefused, then: condemn(Organization, Forbidden)},

	// The model, and state that lives with another key. State cannot be told apart
	// by whose it is, so other projects are asked and nothing is remembered.
	{on: on(400, 403, 404), names: names("model_not_found"), then: deny(Scope{Level: Project, Model: true})},
	{on: on(400, 403, 404), says: says(`^your organization must be verified\b`), then: deny(Scope{Level: Organization, Model: true})},
	{on: on(403), says: says(`^project \S+ does not have access to model\b`), then: deny(Scope{Level: Project, Model: true})},
	{on: on(404), says: says(`^the model .* does not exist\b`), then: deny(Scope{Level: Project, Model: true})},
	{on: on(400, 404), names: names("previous_response_not_found"), then: pass(Project, ModelAccess)},
	{on: on(400, 404), says: says(`\bwith id '[^']*' not found\b`), then: pass(Project, ModelAccess)},
	{on: on(404), says: says(`^no such \w+ object:|^no \w+ found with id '`), then: pass(Project, ModelAccess)},
	{on: on(400), names: names("invalid_encrypted_content"), then: pass(Organization, ModelAccess)},

	// Limits and money.
	{on: on(429), says: says(`^request too large\b`), then: pass(Organization, TooLarge)},
	{on: on(400, 402, 403, 429), names: names("project_spend_limit_exceeded"), then: quota(Project)},
	{on: on(400, 402, 403, 429), names: names("insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded",
		"organization_usage_limit_exceeded", "billing_hard_limit_reached", "billing_not_active", "usage_limit_reached",
		"usage_not_included"), then: quota(Organization)},
	{on: on(429), says: says(`^resource unavailable\b`), then: Broken()}, // flex tier: no capacity, no charge
	{on: on(429), project: true, then: cool(Scope{Level: Project, Model: true})},
}

//nolint:gochecknoglobals // constants
var anthropicRows = []row{
	// The key, its organization.
	{on: on(401), says: says(`^OAuth authentication is currently not supported\b`), then: deny(Scope{Level: Key, Endpoint: true})},
	{on: on(400), names: names("authentication_error"), then: condemn(Key, Unauthorized)},
	{on: on(400, 403), says: says(`^(this|your) organi[sz]ation (has been|is) disabled\b`), then: condemn(Organization, Forbidden)},
	{on: on(400, 403), says: says(`^(this|your) organi[sz]ation has disabled API[- ]key\b|^API[- ]key authentication (has been|is) disabled\b`), then: condemn(Organization, Forbidden)},
	{on: on(400, 403), says: says(`^this credential is only authorized for use with Claude Code\b`), then: pass(Key, ModelAccess)}, // good for Claude Code: remember nothing
	{on: on(403), names: names("forbidden"), says: says(`^request not allowed\b`), then: stop(Egress)},
	{on: on(403), says: keyRefused, then: condemn(Key, Forbidden)},
	{on: on(403), says: accountRefused, then: condemn(Organization, Forbidden)},

	// Money.
	{on: on(400, 402, 403, 429), names: names("billing_error", "enforced_spend_limit_reached"), then: quota(Organization)},
	{on: on(400, 402, 403, 429), says: says(`^your credit balance is too low\b`), then: quota(Organization)},
	{on: on(400, 402, 403, 429), says: says(`^you have reached your specified workspace API usage limits\b`), then: quota(Project)},
	{on: on(400, 402, 403, 429), says: says(`^you have reached your specified API usage limits\b`), then: quota(Organization)},

	// The resource: a model on an endpoint, or an id that lives in another workspace.
	{on: on(403), names: names("permission_error"), then: deny(Scope{Level: Key, Model: true, Endpoint: true})},
	{on: on(404), says: says(`^model:`), then: deny(Scope{Level: Organization, Model: true})},
	{on: on(404), names: names("not_found_error"), then: pass(Organization, ModelAccess)},

	// Limits.
	{on: on(429), says: says(`\bextra usage is required\b`), then: pass(Organization, TooLarge)},
	{on: on(429), says: says(`\bworkspace\b`), then: cool(Scope{Level: Project, Model: true})},
}

//nolint:gochecknoglobals // constants
var compatibleRows = []row{
	// OpenRouter.
	{on: on(403), because: true, then: stop(Request)},
	{on: on(402), names: names("openrouter_key_limit"), then: quota(Key)},
	{on: on(402), names: names("openrouter_in_flight_budget"), then: cool(Scope{Level: Organization})},
	// Copilot.
	{on: on(429), names: names("quota_exceeded"), then: quota(Organization)},
	// Azure.
	{on: on(403), says: says(`^access denied due to virtual network/firewall rules\b|^public access is disabled\b`), then: stop(Egress)},
	{on: on(403), says: says(`^your resource has been temporarily blocked\b`), then: condemn(Organization, Forbidden)},
	{on: on(404), names: names("DeploymentNotFound"), then: deny(Scope{Level: Key, Model: true})},
	// Bedrock.
	{on: on(403), names: names("UnrecognizedClient", "UnrecognizedClientException", "ExpiredToken", "ExpiredTokenException",
		"InvalidSignature", "InvalidSignatureException"), then: condemn(Key, Forbidden)},
	{on: on(404), names: names("ResourceNotFoundException", "FTUFormNotFilled"), then: deny(Scope{Level: Organization, Model: true})},
	{on: on(424), then: Broken()},
	// Gemini.
	{on: on(400), names: names("API_KEY_INVALID"), then: condemn(Key, Unauthorized)},
	{on: on(400), names: names("FAILED_PRECONDITION"), then: stop(Egress)},
	{on: on(429), names: names("RESOURCE_EXHAUSTED"), then: cool(Scope{Level: Project, Model: true})},
}

// compatibleWideRows stand behind OpenAI's own, which are narrower.
//
//nolint:gochecknoglobals // constants
var compatibleWideRows = []row{
	{on: on(403), says: says(`\baccess\b.*\bmodel\b|\bmodel\b.*\b(access|permi(ssion|tted)|allowed|authorized|available|enabled)\b`), then: deny(Scope{Level: Key, Model: true})},
	{on: on(403), names: names("AccessDenied", "AccessDeniedException", "PERMISSION_DENIED"), then: condemn(Key, Forbidden)},
	{on: on(404), says: says(`\bmodels?\b.*\b(not found|does not exist|not supported|no access)\b`), then: deny(Scope{Level: Key, Model: true})},
}

// transientRows are 4xx answers that OpenAI and its like give for passing trouble.
// Anthropic's conflict is the request's own.
//
//nolint:gochecknoglobals // constants
var transientRows = []row{
	{on: on(408, 409), then: Broken()},
}

// generalRows end every table.
//
//nolint:gochecknoglobals // constants
var generalRows = []row{
	{on: on(401), then: condemn(Key, Unauthorized)},
	{on: on(402), then: quota(Organization)},
	{on: on(403), then: Verdict{Action: NextKey, Mark: Suspect, Scope: Scope{Level: Key, Model: true}, Reason: Forbidden}},
	{on: on(429), then: cool(Scope{Level: Organization, Model: true})},
	{on: on(1, 3, 4), then: stop(Request)},
	{then: Broken()},
}

var (
	//nolint:gochecknoglobals // constants
	keyRefused = says(`^(your |this |the )?(OAuth |API |access |authentication |bearer )?(key|token) (has been|is|was) (revoked|disabled|deactivated)\b`)
	//nolint:gochecknoglobals // constants
	accountRefused = says(`^(your |this |the )?(account|organi[sz]ation) (has been|is|was) (revoked|disabled|deactivated)\b`)
)

// statuses are those that errors inside a 200 stand for, by lower-case code and type.
//
//nolint:gochecknoglobals // constants
var statuses = statusesOf(map[int][]string{
	http.StatusBadRequest: {
		"invalid_request_error", "context_length_exceeded", "invalid_prompt", "invalid_encrypted_content", "previous_response_not_found",
		"cyber_policy", "bio_policy", "content_filter", "content_policy_violation", "image_content_policy_violation",
		"data_residency_mismatch", "billing_hard_limit_reached", "unsupported_parameter", "unsupported_value",
		"invalid_image", "invalid_image_format", "invalid_base64_image", "invalid_image_url", "invalid_image_mode", "image_too_large",
		"image_too_small", "image_parse_error", "image_file_too_large", "unsupported_image_media_type", "empty_image_file",
		"failed_to_download_image", "image_file_not_found",
	},
	http.StatusUnauthorized:          {"authentication_error", "invalid_api_key", "account_deactivated", "ip_not_authorized", "token_invalidated", "token_expired"},
	http.StatusPaymentRequired:       {"billing_error"},
	http.StatusForbidden:             {"permission_error", "forbidden", "request_forbidden", "unsupported_country_region_territory"},
	http.StatusNotFound:              {"not_found_error", "model_not_found", "deploymentnotfound"},
	http.StatusConflict:              {"conflict_error"},
	http.StatusRequestEntityTooLarge: {"request_too_large"},
	http.StatusTooManyRequests: {
		"rate_limit_error", "rate_limit_exceeded", "rate_limited", "requests", "tokens", "enforced_spend_limit_reached",
		"insufficient_quota", "credit_balance_exhausted", "organization_spend_limit_exceeded", "organization_usage_limit_exceeded",
		"project_spend_limit_exceeded", "billing_not_active", "usage_limit_reached", "usage_not_included", "quota_exceeded",
	},
	http.StatusInternalServerError: {"api_error", "server_error"},
	http.StatusServiceUnavailable:  {"service_unavailable_error", "server_is_overloaded", "slow_down"},
	http.StatusGatewayTimeout:      {"timeout_error"},
	529:                            {"overloaded_error"},
})

func statusesOf(byStatus map[int][]string) map[string]int {
	m := map[string]int{}
	for status, list := range byStatus {
		for _, name := range list {
			m[name] = status
		}
	}
	return m
}

func on(statuses ...int) []int           { return statuses }
func names(names ...string) []string     { return names }
func says(pattern string) *regexp.Regexp { return regexp.MustCompile(`(?is)` + pattern) }

func stop(l Level) Verdict { return Verdict{Action: Stop, Scope: Scope{Level: l}} }

// pass asks another key and remembers nothing.
func pass(l Level, r Reason) Verdict {
	return Verdict{Action: NextKey, Scope: Scope{Level: l}, Reason: r}
}

func condemn(l Level, r Reason) Verdict {
	return Verdict{Action: NextKey, Mark: Condemn, Scope: Scope{Level: l}, Reason: r}
}

// quota is a cooldown instead if the answer says when access comes back.
func quota(l Level) Verdict {
	return Verdict{Action: NextKey, Mark: Condemn, Scope: Scope{Level: l}, Reason: QuotaExhausted, Billing: true}
}

func cool(s Scope) Verdict {
	return Verdict{Action: NextKey, Mark: Cool, Scope: s, Reason: RateLimited}
}

func deny(s Scope) Verdict {
	return Verdict{Action: NextKey, Mark: Deny, Scope: s, Reason: ModelAccess}
}
