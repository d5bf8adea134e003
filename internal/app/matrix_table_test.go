package app_test

import (
	"net/http"
	"time"

	"keybridge/internal/simulator"
)

// endpoint is a row of what a client can ask.
type endpoint struct {
	name, provider, method, path, body string

	opaque  bool // passed through unread: an answer is the client's from its head on
	creates bool // may not be sent twice when it is unclear whether it was received
}

var endpoints = []endpoint{
	{
		name: "chat blocking", provider: simulator.OpenAI, method: http.MethodPost, path: "/v1/chat/completions",
		body: `{"model":"gpt-5-mini","messages":[{"role":"user","content":"Which key serves me?"}]}`,
	},
	{
		name: "chat streaming", provider: simulator.OpenAI, method: http.MethodPost, path: "/v1/chat/completions",
		body: `{"model":"gpt-5-mini","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"Which key serves me?"}]}`,
	},
	{
		name: "responses blocking", provider: simulator.OpenAI, method: http.MethodPost, path: "/v1/responses",
		body: `{"model":"gpt-5-mini","input":"Which key serves me?"}`,
	},
	{
		name: "responses streaming", provider: simulator.OpenAI, method: http.MethodPost, path: "/v1/responses",
		body: `{"model":"gpt-5-mini","stream":true,"input":"Which key serves me?"}`,
	},
	{
		name: "messages blocking", provider: simulator.Anthropic, method: http.MethodPost, path: "/v1/messages",
		body: `{"model":"claude-haiku-4-5","max_tokens":100,"messages":[{"role":"user","content":"Which key serves me?"}]}`,
	},
	{
		name: "messages streaming", provider: simulator.Anthropic, method: http.MethodPost, path: "/v1/messages",
		body: `{"model":"claude-haiku-4-5","max_tokens":100,"stream":true,"messages":[{"role":"user","content":"Which key serves me?"}]}`,
	},
	{name: "opaque GET openai", provider: simulator.OpenAI, method: http.MethodGet, path: "/v1/models", opaque: true},
	{name: "opaque GET anthropic", provider: simulator.Anthropic, method: http.MethodGet, path: "/v1/models", opaque: true},
	{
		name: "opaque POST openai", provider: simulator.OpenAI, method: http.MethodPost, path: "/v1/embeddings", opaque: true,
		body: `{"model":"text-embedding-3-small","input":"Which key serves me?","dimensions":8}`,
	},
	{
		name: "opaque POST anthropic", provider: simulator.Anthropic, method: http.MethodPost, path: "/v1/messages/count_tokens", opaque: true,
		body: `{"model":"claude-haiku-4-5","messages":[{"role":"user","content":"Which key serves me?"}]}`,
	},
	{
		name: "opaque POST that creates", provider: simulator.OpenAI, method: http.MethodPost, path: "/v1/conversations", opaque: true, creates: true,
		body: `{"metadata":{"topic":"keys"}}`,
	},
}

// position says how many of the pool's keys are bad, from the first on.
type position struct {
	name      string
	keys, bad int
}

var positions = []position{
	{"first key bad", 3, 1},
	{"all but the last bad", 3, 2},
	{"all bad", 3, 3},
	{"one key only", 1, 1},
}

// step is what an answer makes of the call.
type step uint8

const (
	askAnother step = iota // this key cannot serve the request
	sendAgain              // the upstream failed: up to two more sends
	handOver               // nobody can help: the client gets the answer as it came
)

// mark is what an answer leaves behind.
type mark uint8

const (
	nothing  mark = iota
	cools         // the scope is out for this model until the wait is over
	suspends      // the scope is out as a whole until the wait is over
	condemns      // the scope is out until somebody revives it
	denies        // once another key has served the request: not for this model or endpoint
	suspects      // once another key has served the request: as cools, for the default minute
)

// effect is what key-pool.md says of an answer.
type effect struct {
	step   step
	mark   mark
	scope  string // whom it is about: organization, project, key
	reason string
	wait   time.Duration // until the key may be asked again
	// When no key is left: the gateway's status for an upstream that gave no
	// whole answer; 0: the upstream's answer is the client's.
	status int
}

// trouble is a row of what can be wrong with a key.
type trouble struct {
	name string
	// fault is the simulator's; none: the gateway's dial is refused.
	fault             simulator.Fault
	openAI, anthropic effect

	unclear bool          // no head came: whether the request was received is not known
	inBody  bool          // the head is good, the body is not
	takes   time.Duration // until the gateway knows
}

const (
	defaultCooldown   = time.Minute
	verifyBilling     = 6 * time.Hour // a date about money is verified this often
	firstEventTimeout = 5 * time.Second
)

func rateLimited(wait time.Duration) effect {
	return effect{mark: cools, scope: "organization", reason: "rate_limited", wait: wait}
}

func condemned(scope, reason string) effect {
	return effect{mark: condemns, scope: scope, reason: reason}
}

func denied(scope string) effect {
	return effect{mark: denies, scope: scope, reason: "model_access"}
}

var (
	spent         = condemned("organization", "quota_exhausted")
	spentTill     = effect{mark: suspends, scope: "organization", reason: "quota_exhausted", wait: verifyBilling}
	suspected     = effect{mark: suspects, scope: "key", reason: "forbidden", wait: defaultCooldown}
	unmoved       = effect{step: handOver}
	larger        = effect{mark: nothing, scope: "organization", reason: "too_large"}
	overloaded    = effect{step: sendAgain, reason: "upstream_error"}
	broken        = effect{step: sendAgain, reason: "upstream_error", status: http.StatusBadGateway}
	late          = effect{step: sendAgain, reason: "timeout", status: http.StatusGatewayTimeout}
	badKey        = condemned("key", "unauthorized")
	inHalfAMin    = rateLimited(30 * time.Second)
	inOneAndAHalf = rateLimited(1500 * time.Millisecond)
)

var troubles = []trouble{
	same("429 usual", "rate_limit", inHalfAMin),
	same("429 retry-after-ms", "rate_limit_retry_after_ms", inOneAndAHalf),
	same("429 retry-after seconds", "rate_limit_retry_after", inHalfAMin),
	same("429 retry-after fraction", "rate_limit_retry_after_fraction", inOneAndAHalf),
	same("429 retry-after date", "rate_limit_retry_after_date", inHalfAMin),
	same("429 reset header", "rate_limit_reset_header", inHalfAMin),
	same("429 message", "rate_limit_message", inHalfAMin),
	same("429 stated date", "rate_limit_date", spentTill),
	same("429 bare", "rate_limit_bare", rateLimited(defaultCooldown)),
	same("429 slow down", "slow_down", inHalfAMin),
	same("429 too large", "too_large", larger),
	{name: "429 body stalls", fault: named("stall_error_body"), openAI: inHalfAMin, anthropic: inHalfAMin, takes: 2 * time.Second},
	same("401", "invalid_key", badKey),
	differ("account deactivated", "account_deactivated", condemned("organization", "unauthorized"), condemned("organization", "forbidden")),
	differ("403 revoked", "revoked", badKey, condemned("key", "forbidden")),
	same("403 scopes", "missing_scopes", denied("key")),
	same("403 region", "forbidden_region", unmoved),
	differ("403 model", "forbidden_model", denied("project"), denied("key")),
	same("403 unknown", "forbidden_unknown", suspected),
	differ("quota", "quota", spent, spentTill),
	same("credit 400", "credit", spent),
	same("402", "billing", spent),
	differ("404 model", "model_not_found", denied("project"), denied("organization")),
	same("500", "server_error", overloaded),
	same("529", "overloaded", overloaded),
	{name: "connect refused", openAI: broken, anthropic: broken},
	{name: "closed before the head", fault: named("refuse"), openAI: broken, anthropic: broken, unclear: true},
	{name: "reset before the head", fault: named("reset"), openAI: broken, anthropic: broken, unclear: true},
	{name: "stall", fault: named("stall"), openAI: late, anthropic: late, unclear: true, takes: firstEventTimeout},
	{name: "truncated body", fault: named("truncate"), openAI: broken, anthropic: broken, inBody: true},
	within("error first", "error_first", "", overloaded, overloaded),
	within("error first, bad key", "error_first", "invalid_key", badKey, badKey),
	within("error first, quota", "error_first", "quota", spent, spentTill),
	within("error after the preamble", "error_after_preamble", "", overloaded, overloaded),
	within("error after the preamble, rate limit", "error_after_preamble", "rate_limit_message", inHalfAMin, inHalfAMin),
	within("error after the preamble, credit", "error_after_preamble", "credit", spent, spent),
}

func named(fault string) simulator.Fault { return simulator.Fault{Name: fault} }

// same is an error status that means the same at both providers.
func same(name, fault string, e effect) trouble { return differ(name, fault, e, e) }

func differ(name, fault string, openAI, anthropic effect) trouble {
	return trouble{name: name, fault: named(fault), openAI: openAI, anthropic: anthropic}
}

// within is an error inside a 200.
func within(name, fault, told string, openAI, anthropic effect) trouble {
	return trouble{name: name, fault: simulator.Fault{Name: fault, Error: told}, openAI: openAI, anthropic: anthropic, inBody: true}
}
