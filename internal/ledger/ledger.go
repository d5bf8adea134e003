// Package ledger is the one account of what happened: an Exchange is filled while
// a request is served and handed, finished, to every listener. Metrics, the access
// log and the record are views of the same value.
package ledger

import (
	"time"

	"keybridge/internal/llm"
)

// Principal is who is calling.
type Principal struct {
	Name string // the token's name; "" for an open loopback gateway
	// Metadata is what the operator has written about the token: a JSON object of texts,
	// or "".
	Metadata string
	// Credential says whose key goes upstream.
	Credential Credential
	// Secret is the caller's own provider credential (BYOK). It is never logged.
	Secret string `json:"-"`
	// Header is the header a BYOK secret came in, in its canonical form, so that it
	// goes upstream in the same one; "" for a pooled exchange.
	Header string
}

// Credential is the kind of key an exchange goes upstream with.
type Credential string

// The kinds of credential.
const (
	Pooled Credential = "pooled"
	BYOK   Credential = "byok"
)

// Status is how an exchange ended.
type Status string

// The endings.
const (
	Completed Status = "completed" // the client has the whole answer
	Failed    Status = "failed"    // the client was shown an error, the upstream's or ours
	Cancelled Status = "cancelled" // the client went away
)

// Only the record knows these: of what has begun and has not ended.
const (
	Open Status = "open" // it is being served
	Lost Status = "lost" // the process that served it ended before it did
)

// Exchange is one client request with everything that served it. Until Finish it
// belongs to the goroutine that serves the request.
type Exchange struct {
	ID        string
	Start     time.Time
	Principal Principal
	// Instance is the process that serves it; the recorder sets it in its copies.
	Instance string

	Provider string
	Route    string // the pattern, never the path
	Method   string
	Bridged  bool // a dialect reads it (an interception); otherwise passthrough
	Stream   bool
	Model    string // as asked; chosen by the client, so never a label as it is
	Quiet    bool   // a client's habit, refused as it expects: nothing to read about in the log
	Admitted bool   // the caller was let in, and asked for something there is

	// Client is the program that called, and Version its own; "" if it does not say.
	Client, Version string
	// Session is what the client calls the conversation, Signal where it says so; "" if
	// it does not.
	Session, Signal string
	// Answers are the model's calls whose results the request brings, and After the answer
	// that it goes on from by the provider's id: what makes a thread of exchanges.
	Answers []Answer
	After   string
	// Prompt is the user's last words, as much as is kept of them, PromptSize their length
	// in bytes. They are kept only if the operator wants them.
	Prompt     string
	PromptSize int

	Attempts []Attempt
	Turns    []llm.Turn
	Charges  []Charge // what the turns cost; none if nobody is charged
	// Tools are the calls of the gateway's own tools, in the order in which they ended;
	// Loop is how many turns the tool loop made, 0 if no tools were offered.
	Tools []ToolUse
	Loop  int
	// Decisions are why it went the way it did, in order. Eventful says that they
	// tell more than one key which served at once; Undecided, how many found no room.
	Decisions []Decision
	Eventful  bool
	Undecided int

	FirstEvent time.Time // the commit; zero if there was none
	End        time.Time
	HTTPStatus int // as sent to the client; 0 if none was
	Status     Status
	Err        error // why it failed, for the log; nil when completed
	// Class is why it failed in a word of a closed set: a fault's code, or what verdict an
	// upstream's error is; "" if it did not.
	Class string
}

// Answer is a result that the client brings of a call that the model made.
type Answer struct {
	Call   string // the call's id
	Failed bool   // the client says that the tool failed
}

// Charge is what a turn, or a part of one, costs.
type Charge struct {
	Turn  int    // of the exchange, from 0
	Kind  string // of the part, in the provider's word; "" if the turn is one part
	Model string // by whose price
	Usage llm.Usage
	// Picos are picodollars: a millionth of a millionth of a US dollar. Unpriced is how
	// many tokens no price is known for.
	Picos    int64
	Unpriced int64
	Version  string // of the price list
}

// Attempt is one send with one key.
type Attempt struct {
	Turn     int           // of the exchange, from 0
	Waited   time.Duration // since the attempt before, or the beginning: for a key, or between tries
	Key      string        // the operator's name of the key
	Hint     string        // the masked secret: for logs and records only
	Sent     time.Time
	Duration time.Duration // until the verdict
	Status   int           // HTTP status of the upstream; 0 if it gave none
	Action   string        // the verdict's action
	Reason   string        // the verdict's reason, "" for success
}

// ToolUse is one call of a tool of the gateway's own.
type ToolUse struct {
	Call     string // the model's id of the call
	Server   string // the operator's name of the server
	Tool     string // as the server calls it
	Turn     int    // of the exchange, from 0
	Start    time.Time
	Duration time.Duration
	Outcome  ToolOutcome
	Size     int   // of the result, in bytes, as the server sent it
	Err      error // why it failed, for the log; nil if it did not
}

// ToolOutcome is how a call of a tool ended: one of a closed set.
type ToolOutcome string

// The outcomes of tool calls.
const (
	ToolOK          ToolOutcome = "ok"
	ToolFailed      ToolOutcome = "tool_error"  // the tool itself says so
	ToolRefused     ToolOutcome = "refused"     // not made: beyond a limit, or its arguments are no JSON object
	ToolTimeout     ToolOutcome = "timeout"     // of the call, or of the exchange's tools in all
	ToolUnavailable ToolOutcome = "unavailable" // the server cannot be reached, or broke off
	ToolInvalid     ToolOutcome = "invalid"     // the server's answer is not MCP, or the server refused the call
	ToolCancelled   ToolOutcome = "cancelled"   // the client went away
)

// ToldError is why a call of a tool failed, as its server told it: it may quote the
// arguments.
type ToldError string

// Error implements error.
func (e ToldError) Error() string { return string(e) }

// Decision is one choice that was made about an exchange: a key passed over, handed
// out or judged, a wait, a session kept or moved, an end. Its words are of closed sets.
type Decision struct {
	At     time.Time
	Key    string        // the operator's name of the key; "" if it is about no single one
	What   string        // what was decided
	Why    string        // "" if there is nothing to say
	Action string        // of a verdict
	Scope  string        // of a verdict: whom it is about
	Until  time.Time     // how long what it says holds; zero: unknown, or it does not end by itself
	For    time.Duration // how long it took
}

// Usage sums what the turns reported.
func (e *Exchange) Usage() llm.Usage {
	var u llm.Usage
	for i := range e.Turns {
		u = u.Add(e.Turns[i].Usage)
	}
	return u
}

// Listener is told of every exchange: at its start, at each attempt's verdict and
// at its end. It must not keep the exchange after Finished, nor change it.
type Listener interface {
	Started(*Exchange)
	Attempted(*Exchange, *Attempt)
	Finished(*Exchange)
}

// Fanout tells several listeners in order.
type Fanout []Listener

// Started implements Listener.
func (f Fanout) Started(e *Exchange) {
	for _, l := range f {
		l.Started(e)
	}
}

// Attempted implements Listener.
func (f Fanout) Attempted(e *Exchange, a *Attempt) {
	for _, l := range f {
		l.Attempted(e, a)
	}
}

// Finished implements Listener.
func (f Fanout) Finished(e *Exchange) {
	for _, l := range f {
		l.Finished(e)
	}
}
