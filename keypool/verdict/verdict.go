// Package verdict judges what an AI provider answered: is the key bad, and for how
// long, or is it the request, or the provider itself? The judgement is data, one
// table per provider family, used for HTTP answers and for the errors inside a
// 200 alike.
package verdict

import (
	"net/http"
	"time"
)

// Action is what a failover loop does next.
type Action uint8

// The actions.
const (
	Relay   Action = iota // a good answer: give it to the client
	NextKey               // this key cannot serve the request: ask one outside the verdict's scope
	Resend                // not the key's fault and perhaps passing: send again, a bounded number of times
	Stop                  // no key can help: give the answer to the client unchanged
)

// String returns the action's word.
func (a Action) String() string {
	switch a {
	case Relay:
		return "relay"
	case NextKey:
		return "next_key"
	case Resend:
		return "resend"
	case Stop:
		return "stop"
	}
	return "unknown"
}

// Mark is what a pool remembers of an answer.
type Mark uint8

// The marks.
const (
	NoMark  Mark = iota // nothing
	Cool                // out until a deadline
	Condemn             // out until a probe, a trial or the operator revives it
	Deny                // a routing fact: this scope may not use the model or the endpoint
	Suspect             // a refusal we do not know: cooled only if another key then serves the same request
)

// Reason is the closed set of words for metrics and logs.
type Reason string

// The reasons. The first four change a key's state.
const (
	None           Reason = ""
	RateLimited    Reason = "rate_limited"
	Unauthorized   Reason = "unauthorized"
	Forbidden      Reason = "forbidden"
	QuotaExhausted Reason = "quota_exhausted"
	ModelAccess    Reason = "model_access"
	TooLarge       Reason = "too_large"
	UpstreamError  Reason = "upstream_error"
	Timeout        Reason = "timeout"
)

// Level is whom an answer is about.
type Level uint8

// The levels.
const (
	Request Level = iota // what this request asks
	Key
	Project
	Organization
	Egress // our own address or region
	Upstream
)

// String returns the level's word.
func (l Level) String() string {
	switch l {
	case Request:
		return "request"
	case Key:
		return "key"
	case Project:
		return "project"
	case Organization:
		return "organization"
	case Egress:
		return "egress"
	case Upstream:
		return "upstream"
	}
	return "unknown"
}

// Scope is whom an answer is about, as a whole or for one model or endpoint.
type Scope struct {
	Level    Level
	Model    bool // only for the model that was asked
	Endpoint bool // only for the endpoint that was asked
}

// Verdict is what one upstream answer says.
type Verdict struct {
	Action Action
	Mark   Mark
	Scope  Scope
	Reason Reason
	Until  time.Time // the stated end of a cooldown; zero: none was stated
	// Billing says that the cooldown is about money, which is verified less often.
	Billing bool
	Sent    time.Time // when the attempt was sent; the failover loop fills it in
	Status  int       // HTTP status of the answer, for the log; Classify fills it in
}

// Family selects the verdict table of a provider.
type Family string

// The families.
const (
	OpenAI     Family = "openai"
	Anthropic  Family = "anthropic"
	Compatible Family = "openai-compatible"
)

// KeyHeader is the header, in its canonical form, in which a provider of the family
// wants its key: as a bearer token if it is Authorization.
func (f Family) KeyHeader() string {
	if f == Anthropic {
		return "X-Api-Key"
	}
	return "Authorization"
}

// Answer is what a verdict is made from.
type Answer struct {
	Status int         // HTTP status; for an error inside a stream the status of the 200 that carries it
	Header http.Header // the answer's header
	Body   []byte      // an error body (at most 64 KiB of it), or the data of the in-stream error event
	Now    time.Time   // when the head arrived: relative waits count from here
}

// Success is the verdict on a good answer.
func Success() Verdict { return Verdict{Action: Relay} }

// Broken is the verdict on an upstream that gave no answer, or broke off before
// the commit: not the key's fault.
func Broken() Verdict {
	return Verdict{Action: Resend, Scope: Scope{Level: Upstream}, Reason: UpstreamError}
}

// Late is the verdict on an upstream that gave no head, or no first event, in time.
func Late() Verdict {
	return Verdict{Action: Resend, Scope: Scope{Level: Upstream}, Reason: Timeout}
}
