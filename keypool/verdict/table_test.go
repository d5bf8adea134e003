package verdict

import (
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

var now = time.Date(2026, 11, 20, 12, 0, 0, 0, time.UTC)

// line is an answer as a provider gives it and what it means. Verdict.Status is
// filled in from status.
type line struct {
	name   string
	family Family
	status int
	header http.Header
	body   string
	want   Verdict
}

func head(pairs ...string) http.Header {
	h := http.Header{}
	for i := 0; i < len(pairs); i += 2 {
		h.Set(pairs[i], pairs[i+1])
	}
	return h
}

func cooled(v Verdict, wait time.Duration) Verdict {
	v.Mark, v.Until = Cool, now.Add(wait)
	return v
}

// dated is refused with a date that has come already.
func dated(v Verdict) Verdict {
	v.Mark, v.Until = Cool, time.Time{}
	return v
}

var (
	orgModel     = Scope{Level: Organization, Model: true}
	projectModel = Scope{Level: Project, Model: true}
	keyModel     = Scope{Level: Key, Model: true}
	keyEndpoint  = Scope{Level: Key, Endpoint: true}
	suspicion    = Verdict{Action: NextKey, Mark: Suspect, Scope: keyModel, Reason: Forbidden}
	midnight     = time.Date(2026, 12, 1, 0, 0, 0, 0, time.UTC).Sub(now)
)

// openAILines are §2.1 and §2.2, line by line.
var openAILines = []line{
	{"wrong key", OpenAI, 401, nil, `{"error":{"message":"Incorrect API key provided: sk-abc***xyz. You can find your API key at https://platform.openai.com/account/api-keys.","type":"invalid_request_error","param":null,"code":"invalid_api_key"}}`, condemn(Key, Unauthorized)},
	{"invalid authentication", OpenAI, 401, nil, `{"error":{"message":"Invalid Authentication","type":"invalid_request_error","param":null,"code":null}}`, condemn(Key, Unauthorized)},
	{"no member", OpenAI, 401, nil, `{"error":{"message":"You must be a member of an organization to use the API","type":"invalid_request_error","param":null,"code":null}}`, condemn(Key, Unauthorized)},
	{"deactivated", OpenAI, 401, nil, `{"error":{"message":"The OpenAI account associated with this API key has been deactivated.","type":"invalid_request_error","param":null,"code":"account_deactivated"}}`, condemn(Organization, Unauthorized)},
	{"deactivated, forbidden", OpenAI, 403, nil, `{"error":{"message":"Deactivated.","type":"invalid_request_error","code":"account_deactivated"}}`, condemn(Organization, Forbidden)},
	{"missing scopes", OpenAI, 401, nil, `{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: api.responses.write. Check that you have the correct role.","type":"invalid_request_error","param":null,"code":null}}`, deny(keyEndpoint)},
	{"missing scopes, 403", OpenAI, 403, nil, `{"error":{"message":"You have insufficient permissions for this operation. Missing scopes: model.read","type":"invalid_request_error","code":"missing_scope"}}`, deny(keyEndpoint)},
	{"ip list, text", OpenAI, 401, nil, `{"error":{"message":"IP not authorized","type":"invalid_request_error","code":null}}`, condemn(Project, Unauthorized)},
	{"ip list, code", OpenAI, 401, nil, `{"error":{"message":"Not from here.","type":"invalid_request_error","code":"ip_not_authorized"}}`, condemn(Project, Unauthorized)},
	{"country", OpenAI, 403, nil, `{"error":{"code":"unsupported_country_region_territory","message":"Country, region, or territory not supported","param":null,"type":"request_forbidden"}}`, stop(Egress)},
	{"no access to model", OpenAI, 403, nil, "{\"error\":{\"message\":\"Project `proj_abc` does not have access to model `gpt-5`\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}", deny(projectModel)},
	{"no access to model, no code", OpenAI, 403, nil, "{\"error\":{\"message\":\"Project `proj_abc` does not have access to model `gpt-5`\",\"type\":\"invalid_request_error\",\"code\":null}}", deny(projectModel)},
	{"no such model", OpenAI, 404, nil, "{\"error\":{\"message\":\"The model `gpt-9` does not exist or you do not have access to it.\",\"type\":\"invalid_request_error\",\"param\":null,\"code\":\"model_not_found\"}}", deny(projectModel)},
	{"no such model, no code", OpenAI, 404, nil, "{\"error\":{\"message\":\"The model `gpt-9` does not exist.\",\"type\":\"invalid_request_error\",\"code\":null}}", deny(projectModel)},
	{"no such model, 400", OpenAI, 400, nil, "{\"error\":{\"message\":\"The requested model 'gpt-9' does not exist.\",\"type\":\"invalid_request_error\",\"param\":\"model\",\"code\":\"model_not_found\"}}", deny(projectModel)},
	{"unverified", OpenAI, 400, nil, `{"error":{"message":"Your organization must be verified to stream this model. Please go to: https://platform.openai.com/settings/organization/general","type":"invalid_request_error","param":"stream","code":"unsupported_value"}}`, deny(orgModel)},
	{"requests per minute", OpenAI, 429, nil, `{"error":{"message":"Rate limit reached for gpt-4o-2024-08-06 in organization org-abc on requests per day (RPD): Limit 200, Used 200, Requested 1. Please try again in 7m12s. Visit https://platform.openai.com/account/rate-limits to learn more.","type":"requests","param":null,"code":"rate_limit_exceeded"}}`, cooled(cool(orgModel), 432*time.Second)},
	{"tokens per minute", OpenAI, 429, head("Retry-After", "3"), `{"error":{"message":"Rate limit reached for gpt-4o in organization org-abc on tokens per min (TPM): Limit 30000, Used 29000, Requested 2000. Please try again in 2s.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, cooled(cool(orgModel), 3*time.Second)},
	{"the project's tokens", OpenAI, 429, head("X-Ratelimit-Remaining-Tokens", "1000", "X-Ratelimit-Remaining-Project-Tokens", "0", "X-Ratelimit-Reset-Project-Tokens", "41.724s"), `{"error":{"message":"Rate limit reached","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, cooled(cool(projectModel), 41724*time.Millisecond)},
	{"the project's and the organization's", OpenAI, 429, head("X-Ratelimit-Remaining-Tokens", "0", "X-Ratelimit-Remaining-Project-Tokens", "0"), `{"error":{"message":"Rate limit reached","type":"tokens","code":"rate_limit_exceeded"}}`, cool(orgModel)},
	{"request too large", OpenAI, 429, head("Retry-After", "1"), `{"error":{"message":"Request too large for gpt-4o in organization org-abc on tokens per min (TPM): Limit 30000, Requested 31538. The input or output tokens must be reduced in order to run successfully.","type":"tokens","param":null,"code":"rate_limit_exceeded"}}`, pass(Organization, TooLarge)},
	{"slow down", OpenAI, 429, nil, `{"error":{"message":"Slow Down","type":"rate_limit_error","param":null,"code":"slow_down"}}`, cool(orgModel)},
	{"slow down, older", OpenAI, 503, head("Retry-After", "5"), `{"error":{"message":"Slow Down","type":"server_error","param":null,"code":"slow_down"}}`, Broken()},
	{"quota", OpenAI, 429, head("X-Ratelimit-Remaining-Requests", "0", "X-Ratelimit-Reset-Requests", "1s"), `{"error":{"message":"You exceeded your current quota, please check your plan and billing details.","type":"insufficient_quota","param":null,"code":"insufficient_quota"}}`, quota(Organization)},
	{"credit", OpenAI, 429, nil, `{"error":{"message":"Out of credit.","type":"insufficient_quota","param":null,"code":"credit_balance_exhausted"}}`, quota(Organization)},
	{"spend limit", OpenAI, 429, nil, `{"error":{"message":"Budget reached.","type":"insufficient_quota","param":null,"code":"organization_spend_limit_exceeded"}}`, quota(Organization)},
	{"usage limit", OpenAI, 429, nil, `{"error":{"message":"Cap reached.","type":"insufficient_quota","param":null,"code":"organization_usage_limit_exceeded"}}`, quota(Organization)},
	{"project spend limit", OpenAI, 429, nil, `{"error":{"message":"Budget reached.","type":"insufficient_quota","param":null,"code":"project_spend_limit_exceeded"}}`, quota(Project)},
	{"hard limit", OpenAI, 400, nil, `{"error":{"message":"Billing hard limit has been reached","type":"invalid_request_error","param":null,"code":"billing_hard_limit_reached"}}`, quota(Organization)},
	{"not active", OpenAI, 429, nil, `{"error":{"message":"Your account is not active, please check your billing details on our website.","type":"billing_not_active","param":null,"code":"billing_not_active"}}`, quota(Organization)},
	{"flex without capacity", OpenAI, 429, nil, `{"error":{"message":"Resource Unavailable","type":null,"code":null}}`, Broken()},
	{"context", OpenAI, 400, nil, `{"error":{"message":"Your input exceeds the context window of this model. Please adjust your input and try again.","type":"invalid_request_error","param":"input","code":"context_length_exceeded"}}`, stop(Request)},
	{"safety", OpenAI, 400, nil, `{"error":{"message":"Invalid prompt: your prompt was flagged.","type":"invalid_request_error","param":null,"code":"invalid_prompt"}}`, stop(Request)},
	{"image policy", OpenAI, 400, nil, `{"error":{"message":"Your request was rejected.","type":"invalid_request_error","param":null,"code":"content_policy_violation"}}`, stop(Request)},
	{"foreign reasoning", OpenAI, 400, nil, `{"error":{"message":"The encrypted content gAAA... could not be verified.","type":"invalid_request_error","param":null,"code":"invalid_encrypted_content"}}`, pass(Organization, ModelAccess)},
	{"foreign response", OpenAI, 400, nil, `{"error":{"message":"Previous response with id 'resp_1' not found.","type":"invalid_request_error","param":"previous_response_id","code":"previous_response_not_found"}}`, pass(Project, ModelAccess)},
	{"foreign file", OpenAI, 404, nil, `{"error":{"message":"No such File object: file-1","type":"invalid_request_error","param":"id","code":null}}`, pass(Project, ModelAccess)},
	{"foreign batch", OpenAI, 404, nil, `{"error":{"message":"No batch found with id 'batch_1'.","type":"invalid_request_error","param":null,"code":null}}`, pass(Project, ModelAccess)},
	{"foreign item", OpenAI, 404, nil, `{"error":{"message":"Item with id 'rs_1' not found.","type":"invalid_request_error","param":"input","code":null}}`, pass(Project, ModelAccess)},
	{"wrong region", OpenAI, 400, nil, `{"error":{"message":"Use the regional host.","type":"invalid_request_error","param":null,"code":"data_residency_mismatch"}}`, stop(Request)},
	{"validation", OpenAI, 400, nil, `{"error":{"message":"Invalid service_tier argument","type":"invalid_request_error","param":"service_tier","code":"unsupported_value"}}`, stop(Request)},
	{"echoed threat", OpenAI, 400, nil, `{"error":{"message":"Invalid value: 'This organization has been disabled. Your credit balance is too low'","type":"invalid_request_error","param":"x","code":null}}`, stop(Request)},
	{"timeout", OpenAI, 408, nil, ``, Broken()},
	{"lock", OpenAI, 409, nil, `{"error":{"message":"Conflict","type":"invalid_request_error","code":null}}`, Broken()},
	{"large body", OpenAI, 413, nil, `<html><h1>413 Request Entity Too Large</h1></html>`, stop(Request)},
	{"server error", OpenAI, 500, nil, `{"error":{"message":"The server had an error while processing your request","type":"server_error","param":null,"code":null}}`, Broken()},
	{"edge", OpenAI, 502, nil, `<html><center>cloudflare</center></html>`, Broken()},
	{"gateway timeout", OpenAI, 504, nil, ``, Broken()},
	{"overloaded", OpenAI, 503, nil, `{"error":{"message":"The engine is currently overloaded, please try again later","type":"service_unavailable_error","param":null,"code":"server_is_overloaded"}}`, Broken()},

	{"codex: signed out", OpenAI, 401, nil, `{"error":{"message":"Your authentication token has been invalidated. Please try signing in again.","type":"invalid_request_error","code":"token_invalidated"},"status":401}`, condemn(Key, Unauthorized)},
	{"codex: expired", OpenAI, 401, nil, `{"error":{"message":"Expired.","code":"token_expired"},"status":401}`, condemn(Key, Unauthorized)},
	{"codex: usage limit", OpenAI, 429, nil, `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached","plan_type":"plus","resets_at":1795183200,"resets_in_seconds":3600}}`, cooled(quota(Organization), time.Unix(1795183200, 0).Sub(now))},
	{"codex: usage limit, no end", OpenAI, 429, nil, `{"error":{"type":"usage_limit_reached","message":"The usage limit has been reached"}}`, quota(Organization)},
	{"codex: not included", OpenAI, 429, nil, `{"error":{"type":"usage_not_included","message":"Your plan does not include Codex."}}`, quota(Organization)},

	{"bad key as 400", OpenAI, 400, nil, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`, condemn(Key, Unauthorized)},
	{"bad key as 403", OpenAI, 403, nil, `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`, condemn(Key, Forbidden)},
	{"revoked", OpenAI, 403, nil, `{"error":{"message":"Your API key has been revoked.","type":"invalid_request_error","code":null}}`, condemn(Key, Forbidden)},
	{"account disabled", OpenAI, 403, nil, `{"error":{"message":"Your account has been disabled.","type":"invalid_request_error","code":null}}`, condemn(Organization, Forbidden)},
	{"unknown 403", OpenAI, 403, nil, `{"error":{"message":"No.","type":"invalid_request_error","code":null}}`, suspicion},
	{"a proxy's 403", OpenAI, 403, nil, `<html>Your account has been disabled.</html>`, suspicion},
	{"a proxy's words", OpenAI, 403, nil, `Your account has been disabled.`, suspicion},
	{"unknown 404", OpenAI, 404, nil, `{"error":{"message":"Invalid URL (POST /v1/foo)","type":"invalid_request_error","param":null,"code":null}}`, stop(Request)},
	{"bare 401", OpenAI, 401, nil, ``, condemn(Key, Unauthorized)},
	{"bare 402", OpenAI, 402, nil, ``, quota(Organization)},
	{"bare 429", OpenAI, 429, nil, ``, cool(orgModel)},
	{"unknown 4xx", OpenAI, 451, nil, ``, stop(Request)},
	{"unknown 5xx", OpenAI, 599, nil, ``, Broken()},
	{"redirect", OpenAI, 307, nil, ``, stop(Request)},
	{"no status", OpenAI, 0, nil, ``, Broken()},
}

// anthropicLines are §2.3, line by line.
var anthropicLines = []line{
	{"bad key", Anthropic, 401, nil, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_1"}`, condemn(Key, Unauthorized)},
	{"bad key as 400", Anthropic, 400, nil, `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"},"request_id":"req_1"}`, condemn(Key, Unauthorized)},
	{"oauth here", Anthropic, 401, nil, `{"type":"error","error":{"type":"authentication_error","message":"OAuth authentication is currently not supported."}}`, deny(keyEndpoint)},
	{"revoked", Anthropic, 403, nil, `{"type":"error","error":{"type":"permission_error","message":"OAuth token has been revoked. Please obtain a new token."}}`, condemn(Key, Forbidden)},
	{"account disabled", Anthropic, 403, nil, `{"type":"error","error":{"type":"permission_error","message":"Your account has been disabled."}}`, condemn(Organization, Forbidden)},
	{"resource", Anthropic, 403, nil, `{"type":"error","error":{"type":"permission_error","message":"Your API key does not have permission to use the specified resource"}}`, deny(Scope{Level: Key, Model: true, Endpoint: true})},
	{"edge", Anthropic, 403, nil, `{"error":{"type":"forbidden","message":"Request not allowed"}}`, stop(Egress)},
	{"organization disabled", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"This organization has been disabled."}}`, condemn(Organization, Forbidden)},
	{"keys disabled", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"Your organization has disabled API key authentication."}}`, condemn(Organization, Forbidden)},
	{"credit", Anthropic, 400, head("X-Should-Retry", "false"), `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits."},"request_id":"req_1"}`, quota(Organization)},
	{"usage limits", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}`, cooled(quota(Organization), midnight)},
	{"usage limits, no date", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits."}}`, quota(Organization)},
	{"usage limits, far date", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2027-12-01 at 00:00 UTC."}}`, quota(Organization)},
	{"usage limits, past date", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified API usage limits. You will regain access on 2026-11-01 at 00:00 UTC."}}`, dated(quota(Organization))},
	{"workspace usage limits", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"You have reached your specified workspace API usage limits. You will regain access on 2026-12-01 at 00:00 UTC."}}`, cooled(quota(Project), midnight)},
	{"payment", Anthropic, 402, nil, `{"type":"error","error":{"type":"billing_error","message":"Payment required"}}`, quota(Organization)},
	{"payment, own gateway", Anthropic, 429, head("X-Should-Retry", "false"), `{"type":"error","error":{"type":"billing_error","message":"Spend limit reached"}}`, quota(Organization)},
	{"spend limit", Anthropic, 429, nil, `{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your spend limit. You will regain access on 2026-12-01 at 00:00 UTC.","details":{"error_code":"enforced_spend_limit_reached"}}}`, cooled(quota(Organization), midnight)},
	{"rate limit", Anthropic, 429, head("Retry-After", "17"), `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit of 30,000 input tokens per minute (org: abc, model: claude-opus-4-20250514)."}}`, cooled(cool(orgModel), 17*time.Second)},
	{"rate limit, reset header", Anthropic, 429, head("Anthropic-Ratelimit-Input-Tokens-Remaining", "0", "Anthropic-Ratelimit-Input-Tokens-Reset", "2026-11-20T12:00:30Z"), `{"type":"error","error":{"type":"rate_limit_error","message":"Too many."}}`, cooled(cool(orgModel), 30*time.Second)},
	{"workspace limit", Anthropic, 429, head("Retry-After", "60"), `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your workspace's rate limit."}}`, cooled(cool(projectModel), time.Minute)},
	{"acceleration", Anthropic, 429, head("Retry-After", "5"), `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's maximum usage increase rate."}}`, cooled(cool(orgModel), 5*time.Second)},
	{"subscription window", Anthropic, 429, head("Anthropic-Ratelimit-Unified-Status", "rejected", "Anthropic-Ratelimit-Unified-Reset", "1795183200"), `{"type":"error","error":{"type":"rate_limit_error","message":"Error"}}`, cooled(cool(orgModel), time.Unix(1795183200, 0).Sub(now))},
	{"extra usage", Anthropic, 429, nil, `{"type":"error","error":{"type":"rate_limit_error","message":"Extra usage is required for long context requests."}}`, pass(Organization, TooLarge)},
	{"throttle without headers", Anthropic, 429, nil, `{"type":"error","error":{"type":"rate_limit_error","message":"Error"}}`, cool(orgModel)},
	{"claude code only", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"This credential is only authorized for use with Claude Code and cannot be used for other API requests."}}`, pass(Key, ModelAccess)},
	{"no such model", Anthropic, 404, nil, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-9"}}`, deny(orgModel)},
	{"no such id", Anthropic, 404, nil, `{"type":"error","error":{"type":"not_found_error","message":"Not found"}}`, pass(Organization, ModelAccess)},
	{"a proxy's 404", Anthropic, 404, nil, `404 page not found`, stop(Request)},
	{"prompt too long", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"prompt is too long: 205351 tokens > 200000 maximum"}}`, stop(Request)},
	{"filtered", Anthropic, 400, nil, `{"type":"error","error":{"type":"invalid_request_error","message":"Output blocked by content filtering policy"}}`, stop(Request)},
	{"signature", Anthropic, 400, nil, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"messages.1.content.0: Invalid `signature` in `thinking` block\"}}", stop(Request)},
	{"beta", Anthropic, 400, nil, "{\"type\":\"error\",\"error\":{\"type\":\"invalid_request_error\",\"message\":\"Unexpected value(s) `x` for the `anthropic-beta` header\"}}", stop(Request)},
	{"too large", Anthropic, 413, nil, `{"type":"error","error":{"type":"request_too_large","message":"Request exceeds the maximum size"}}`, stop(Request)},
	{"conflict", Anthropic, 409, nil, `{"type":"error","error":{"type":"conflict_error","message":"Conflict"}}`, stop(Request)},
	{"server error", Anthropic, 500, nil, `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`, Broken()},
	{"timeout", Anthropic, 504, nil, `{"type":"error","error":{"type":"timeout_error","message":"Timeout"}}`, Broken()},
	{"overloaded", Anthropic, 529, nil, `{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}`, Broken()},
	{"a proxy's 403", Anthropic, 403, nil, `<html>denied</html>`, suspicion},
	{"forbidden for another reason", Anthropic, 403, nil, `{"error":{"type":"forbidden","message":"Other"}}`, suspicion},
	{"bare 402", Anthropic, 402, nil, ``, quota(Organization)},
}

// compatibleLines are §2.4, line by line.
var compatibleLines = []line{
	{"azure: bad key", Compatible, 401, nil, `{"error":{"code":"401","message":"Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key."}}`, condemn(Key, Unauthorized)},
	{"azure: network", Compatible, 403, nil, `{"error":{"code":"403","message":"Access denied due to Virtual Network/Firewall rules."}}`, stop(Egress)},
	{"azure: blocked", Compatible, 403, nil, `{"error":{"code":"403","message":"Your resource has been temporarily blocked because we detected behavior that may violate our content policy."}}`, condemn(Organization, Forbidden)},
	{"azure: deployment", Compatible, 404, nil, `{"error":{"code":"DeploymentNotFound","message":"The API deployment for this resource does not exist."}}`, deny(keyModel)},
	{"azure: filter", Compatible, 400, nil, `{"error":{"message":"The response was filtered","type":null,"param":"prompt","code":"content_filter","status":400,"innererror":{"code":"ResponsibleAIPolicyViolation","content_filter_result":{"hate":{"filtered":true}}}}}`, stop(Request)},
	{"azure: rate limit", Compatible, 429, head("Retry-After-Ms", "33500", "Retry-After", "34"), `{"error":{"code":"429","message":"Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your current pricing tier. Please retry after 33 seconds."}}`, cooled(cool(orgModel), 33500*time.Millisecond)},
	{"azure: timeout", Compatible, 408, nil, `{"error":{"code":"Timeout","message":"The operation was timeout."}}`, Broken()},
	{"bedrock: signature", Compatible, 403, head("X-Amzn-Errortype", "InvalidSignatureException:http://internal.amazon.com/coral/"), `{"message":"The request signature we calculated does not match"}`, condemn(Key, Forbidden)},
	{"bedrock: model", Compatible, 403, head("X-Amzn-Errortype", "AccessDeniedException"), `{"message":"You don't have access to the model with the specified model ID."}`, deny(keyModel)},
	{"bedrock: denied", Compatible, 403, nil, `{"__type":"com.amazon.coral.service#AccessDeniedException","Message":"Denied by policy"}`, condemn(Key, Forbidden)},
	{"bedrock: validation", Compatible, 400, head("X-Amzn-Errortype", "ValidationException"), `{"message":"Input is too long for requested model."}`, stop(Request)},
	{"bedrock: no resource", Compatible, 404, head("X-Amzn-Errortype", "ResourceNotFoundException"), `{"message":"Use case details have not been submitted for this account."}`, deny(orgModel)},
	{"bedrock: form", Compatible, 404, nil, `{"code":"FTUFormNotFilled","message":"Fill in the form"}`, deny(orgModel)},
	{"bedrock: throttled", Compatible, 429, head("X-Amzn-Errortype", "ThrottlingException"), `{"message":"Too many requests"}`, cool(orgModel)},
	{"bedrock: not ready", Compatible, 429, head("X-Amzn-Errortype", "ModelNotReadyException"), `{"message":"The model is not ready"}`, cool(orgModel)},
	{"bedrock: model error", Compatible, 424, head("X-Amzn-Errortype", "ModelErrorException"), `{"message":"failed"}`, Broken()},
	{"mantle: no access", Compatible, 403, nil, `{"error":{"message":"You do not have access to this model","type":"permission_denied"}}`, deny(keyModel)},
	{"mantle: not served", Compatible, 400, nil, `{"error":{"message":"The model is not served here","type":"invalid_request_error"}}`, stop(Request)},
	{"gemini: bad key", Compatible, 400, nil, `[{"error":{"code":400,"message":"API key not valid. Please pass a valid API key.","status":"INVALID_ARGUMENT","details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo","reason":"API_KEY_INVALID","domain":"googleapis.com"}]}}]`, condemn(Key, Unauthorized)},
	{"gemini: bad argument", Compatible, 400, nil, `[{"error":{"code":400,"message":"Bad","status":"INVALID_ARGUMENT"}}]`, stop(Request)},
	{"gemini: country", Compatible, 400, nil, `[{"error":{"code":400,"message":"User location is not supported for the API use.","status":"FAILED_PRECONDITION"}}]`, stop(Egress)},
	{"gemini: permission", Compatible, 403, nil, `{"error":{"code":403,"message":"Consumer 'api_key:x' has been suspended.","status":"PERMISSION_DENIED"}}`, condemn(Key, Forbidden)},
	{"gemini: rate limit", Compatible, 429, nil, `[{"error":{"code":429,"message":"You exceeded your current quota, please check your plan and billing details.","status":"RESOURCE_EXHAUSTED","details":[{"@type":"type.googleapis.com/google.rpc.QuotaFailure","violations":[{"quotaMetric":"m","quotaId":"GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]},{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"15s"}]}}]`, cooled(cool(projectModel), 15*time.Second)},
	{"gemini: daily limit", Compatible, 429, nil, `{"error":{"code":429,"message":"Quota","status":"RESOURCE_EXHAUSTED","details":[{"violations":[{"quotaId":"GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]},{"retryDelay":"15s"}]}}`, cooled(cool(projectModel), 20*time.Hour)},
	{"gemini: no model", Compatible, 404, nil, `[{"error":{"code":404,"message":"models/gemini-9 is not found for API version v1main, or is not supported for generateContent.","status":"NOT_FOUND"}}]`, deny(keyModel)},
	{"gemini: overloaded", Compatible, 503, nil, `[{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}]`, Broken()},
	{"openrouter: bad key", Compatible, 401, nil, `{"error":{"code":401,"message":"No auth credentials found"}}`, condemn(Key, Unauthorized)},
	{"openrouter: credits", Compatible, 402, nil, `{"error":{"code":402,"message":"Insufficient credits","metadata":{"limit_source":"openrouter_credits"}}}`, quota(Organization)},
	{"openrouter: key limit", Compatible, 402, nil, `{"error":{"code":402,"message":"Key limit exceeded","metadata":{"limit_source":"openrouter_key_limit"}}}`, quota(Key)},
	{"openrouter: in flight", Compatible, 402, head("Retry-After", "2"), `{"error":{"code":402,"message":"Too much in flight","metadata":{"limit_source":"openrouter_in_flight_budget"}}}`, cooled(cool(Scope{Level: Organization}), 2*time.Second)},
	{"openrouter: moderation", Compatible, 403, nil, `{"error":{"code":403,"message":"Your chosen model requires moderation and your input was flagged","metadata":{"reasons":["violence"],"flagged_input":"..."}}}`, stop(Request)},
	{"openrouter: timeout", Compatible, 408, nil, `{"error":{"code":408,"message":"Timed out"}}`, Broken()},
	{"openrouter: limit", Compatible, 429, nil, `{"error":{"code":429,"message":"Rate limited"}}`, cool(orgModel)},
	{"openrouter: model down", Compatible, 502, nil, `{"error":{"code":502,"message":"Provider returned error","metadata":{"provider_name":"x"}}}`, Broken()},
	{"openrouter: no provider", Compatible, 503, nil, `{"error":{"code":503,"message":"No available provider"}}`, Broken()},
	{"copilot: quota", Compatible, 402, head("Retry-After", "1209600"), `{"error":{"message":"You have no quota","code":"quota_exceeded"}}`, cooled(quota(Organization), 14*24*time.Hour)},
	{"copilot: quota as 429", Compatible, 429, nil, `{"error":{"message":"You have no quota","code":"quota_exceeded"}}`, quota(Organization)},
	{"copilot: rate", Compatible, 429, nil, `{"error":{"message":"Slow down","code":"rate_limited"}}`, cool(orgModel)},
	{"copilot: large", Compatible, 413, nil, `failed to parse request`, stop(Request)},
}

func lines() []line {
	all := append([]line{}, openAILines...)
	for _, l := range openAILines { // compatible upstreams speak OpenAI's errors, too
		l.family = Compatible
		all = append(all, l)
	}
	return append(append(all, anthropicLines...), compatibleLines...)
}

func TestClassify(t *testing.T) {
	t.Parallel()
	for _, l := range lines() {
		t.Run(string(l.family)+"/"+l.name, func(t *testing.T) {
			t.Parallel()
			l.want.Status = l.status
			got := Classify(l.family, Answer{Status: l.status, Header: l.header, Body: []byte(l.body), Now: now})
			if diff := cmp.Diff(l.want, got); diff != "" {
				t.Errorf("verdict on %d %s (-want +got):\n%s", l.status, l.body, diff)
			}
			p, found := read([]byte(l.body))
			if !found || StatusOf(p) != l.status {
				return
			}
			got = Classify(l.family, Answer{Status: 200, Header: l.header, Body: []byte(l.body), Now: now})
			if diff := cmp.Diff(l.want, got); diff != "" {
				t.Errorf("verdict on the same inside a 200 (-want +got):\n%s", diff)
			}
		})
	}
}

// A row that no line reaches is dead, or hidden behind a wider one.
func TestEveryRowIsReached(t *testing.T) {
	t.Parallel()
	reached := map[*row]bool{}
	for _, l := range lines() {
		p, _ := read([]byte(l.body))
		if p.Code == "" {
			p.Code = bareCode(l.header.Get("X-Amzn-Errortype"))
		}
		reached[find(l.family, l.status, &p, l.header)] = true
	}
	for family, table := range map[Family][]row{OpenAI: openAI, Anthropic: anthropic, Compatible: compatible} {
		for i := range table {
			if !reached[&table[i]] {
				t.Errorf("%s: row %d is not reached: %+v", family, i, table[i])
			}
		}
	}
}

func TestUnknownFamilyIsCompatible(t *testing.T) {
	t.Parallel()
	a := Answer{Status: 424, Now: now}
	if diff := cmp.Diff(Classify(Compatible, a), Classify("other", a)); diff != "" {
		t.Error(diff)
	}
}
