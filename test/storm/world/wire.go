package world

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// header is what every answer of the provider bears: whose the key is, and what is
// left of the limits.
func (p *Provider) header(now time.Duration, key, model int) http.Header {
	k := &p.scenario.Keys[key]
	o := &p.scenario.Orgs[k.Org]
	l := &p.limits[k.Org][model]
	h := make(http.Header, 12)
	if p.scenario.Family == OpenAI {
		h["Openai-Organization"] = []string{o.Name}
		h["Openai-Project"] = []string{k.Workspace}
		full := func(b *bucket) string {
			return (b.reaches(b.limit) - now).Round(time.Millisecond).String()
		}
		h["X-Ratelimit-Limit-Requests"] = []string{whole(l.requests.limit)}
		h["X-Ratelimit-Remaining-Requests"] = []string{whole(l.requests.level)}
		h["X-Ratelimit-Reset-Requests"] = []string{full(&l.requests)}
		h["X-Ratelimit-Limit-Tokens"] = []string{whole(l.input.limit)}
		h["X-Ratelimit-Remaining-Tokens"] = []string{whole(l.input.level)}
		h["X-Ratelimit-Reset-Tokens"] = []string{full(&l.input)}
		return h
	}
	h["Anthropic-Organization-Id"] = []string{o.Name}
	h["Anthropic-Workspace-Id"] = []string{k.Workspace}
	add := func(name string, b *bucket, step float64) {
		h["Anthropic-Ratelimit-"+name+"-Limit"] = []string{whole(b.limit)}
		h["Anthropic-Ratelimit-"+name+"-Remaining"] = []string{whole(math.Floor(b.level/step) * step)}
		full := p.epoch.Add(b.reaches(b.limit) + time.Second - 1).Truncate(time.Second)
		h["Anthropic-Ratelimit-"+name+"-Reset"] = []string{full.Format(time.RFC3339)}
	}
	add("Requests", &l.requests, 1)
	add("Input-Tokens", &l.input, 1000)
	add("Output-Tokens", &l.output, 1000)
	return h
}

func whole(f float64) string { return strconv.FormatInt(int64(max(0, f)), 10) }

// limited is the refusal of a call that a limit does not allow.
func (p *Provider) limited(now time.Duration, key int, r Request, short string) Answer {
	k := &p.scenario.Keys[key]
	l := &p.limits[k.Org][r.Model]
	n := p.need(p.cached(now, k.cache, r), r)
	wait := min(max(l.suffice(n)-now, time.Millisecond), time.Minute)
	a := Answer{Status: http.StatusTooManyRequests, Header: p.header(now, key, r.Model), Short: short}
	if p.scenario.Family == OpenAI {
		kind := "tokens per min (TPM)"
		if short == "requests" {
			kind = "requests per min (RPM)"
		}
		message := fmt.Sprintf("Rate limit reached for %s in organization %s on %s: Limit %.0f, Used %.0f, Requested %.0f. Please try again in %s. Visit https://platform.openai.com/account/rate-limits to learn more.",
			p.scenario.Models[r.Model].Name, p.scenario.Orgs[k.Org].Name, kind, l.input.limit, l.input.limit-l.input.level, n.input, wait.Round(time.Millisecond))
		a.Body = openAIError(message, strings.Fields(kind)[0], "rate_limit_exceeded")
		return a
	}
	a.Header.Set("Retry-After", ceil(wait))
	a.Body = anthropicError("rate_limit_error", fmt.Sprintf("This request would exceed your organization's rate limit of %.0f %s per minute (org: %s, model: %s).",
		l.input.limit, short, p.scenario.Orgs[k.Org].Name, p.scenario.Models[r.Model].Name))
	return a
}

// refuse is the refusal that a fault gives.
func (p *Provider) refuse(now time.Duration, key int, r Request, f *Fault) Answer {
	k := &p.scenario.Keys[key]
	p.of(now, k.Org, r.Model)
	a := Answer{Fault: f, Header: p.header(now, key, r.Model)}
	if p.scenario.Family == OpenAI {
		p.openAI(&a, key, r)
	} else {
		p.anthropic(&a, r)
	}
	switch f.Trouble {
	case Bogus, TooShort:
		a.Header.Set("Retry-After", ceil(f.Says))
	case Rejected: // nobody knows whose key it was
		a.Header = http.Header{}
	case Forbidden, NoCredit, SpendDate, Unstated, NoModel, Neighbour, Overload, Blips:
	}
	return a
}

func (p *Provider) anthropic(a *Answer, r Request) {
	model := p.scenario.Models[r.Model].Name
	switch a.Fault.Trouble {
	case Rejected:
		a.Status, a.Body = 401, anthropicError("authentication_error", "invalid x-api-key")
	case Forbidden:
		a.Status, a.Body = 403, anthropicError("forbidden_error", "Access is under review.")
	case NoCredit:
		a.Status, a.Body = 400, anthropicError("invalid_request_error", "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing to upgrade or purchase credits.")
	case SpendDate:
		a.Status = 429
		a.Body = fmt.Appendf(nil, `{"type":"error","error":{"type":"rate_limit_error","message":"You have reached your API usage limits. You will regain access on %s UTC.","details":{"error_code":"enforced_spend_limit_reached"}},"request_id":"req_storm"}`,
			p.epoch.Add(a.Fault.End).Format("2006-01-02 at 15:04"))
	case NoModel:
		a.Status, a.Body = 404, anthropicError("not_found_error", "model: "+model)
	case Overload:
		a.Status, a.Body = 529, anthropicError("overloaded_error", "Overloaded")
	case Blips:
		a.Status, a.Body = 500, anthropicError("api_error", "Internal server error")
	case Bogus, TooShort, Unstated, Neighbour:
		a.Status, a.Body = 429, anthropicError("rate_limit_error", "This request would exceed your organization's maximum usage increase rate. Please scale up more gradually.")
	}
}

func (p *Provider) openAI(a *Answer, key int, r Request) {
	k := &p.scenario.Keys[key]
	model := p.scenario.Models[r.Model].Name
	switch a.Fault.Trouble {
	case Rejected:
		a.Status, a.Body = 401, openAIError("Incorrect API key provided: sk-storm***. You can find your API key at https://platform.openai.com/account/api-keys.", "invalid_request_error", "invalid_api_key")
	case Forbidden:
		a.Status, a.Body = 403, openAIError("Access is under review.", "invalid_request_error", "")
	case NoCredit:
		a.Status, a.Body = 429, openAIError("You exceeded your current quota, please check your plan and billing details.", "insufficient_quota", "insufficient_quota")
	case SpendDate:
		a.Status, a.Body = 429, openAIError("Your organization has reached its spend limit. You will regain access on "+p.epoch.Add(a.Fault.End).Format("2006-01-02 at 15:04")+" UTC.", "insufficient_quota", "organization_spend_limit_exceeded")
	case NoModel:
		a.Status, a.Body = 404, openAIError("The model `"+model+"` does not exist or you do not have access to it.", "invalid_request_error", "model_not_found")
	case Overload:
		a.Status, a.Body = 503, openAIError("The engine is currently overloaded, please try again later", "service_unavailable_error", "server_is_overloaded")
	case Blips:
		a.Status, a.Body = 500, openAIError("The server had an error while processing your request. Sorry about that!", "server_error", "")
	case Bogus, TooShort, Unstated, Neighbour:
		a.Status, a.Body = 429, openAIError("Rate limit reached for "+model+" in organization "+p.scenario.Orgs[k.Org].Name+" on requests per min (RPM).", "requests", "rate_limit_exceeded")
	}
}

func anthropicError(kind, message string) []byte {
	return fmt.Appendf(nil, `{"type":"error","error":{"type":%q,"message":%q},"request_id":"req_storm"}`, kind, message)
}

func openAIError(message, kind, code string) []byte {
	if code == "" {
		return fmt.Appendf(nil, `{"error":{"message":%q,"type":%q,"param":null,"code":null}}`, message, kind)
	}
	return fmt.Appendf(nil, `{"error":{"message":%q,"type":%q,"param":null,"code":%q}}`, message, kind, code)
}

func ceil(d time.Duration) string {
	return strconv.FormatInt(int64((d+time.Second-1)/time.Second), 10)
}
