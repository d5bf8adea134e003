// Package gateway serves the data path: one loop for bridged and passed-through,
// blocking and streaming requests. It reads the request, runs each of its turns
// over the provider's key pool, holds an answer back until it is sure of it, and
// relays the upstream's bytes.
package gateway

import (
	"context"
	"log/slog"
	"net/http"
	"time"

	"keybridge/internal/auth"
	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/route"
	"keybridge/internal/upstream"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// Snapshot is everything a request needs that a reload replaces. It is immutable;
// a request keeps the one it began with to its end.
type Snapshot struct {
	Gate    *auth.Gate
	Table   *route.Table
	Targets []*Target // by route.Match.Index
	Limits  Limits
	Stream  Stream
	// Tools may be nil: then every conversation has one turn.
	Tools Tools
	Loop  Loop
	// Prices may be nil: then nothing is charged.
	Prices Prices
	// Keep is what the record keeps of requests.
	Keep dialect.Keep
	// AttemptsHeader tells clients how often their request was sent upstream, and its id.
	AttemptsHeader bool
	// Dialects by API; Opaque ones by the family whose errors they use are derived.
	Chat, Responses, Messages dialect.Dialect
}

// KeyPools lists the pools in use: the only way to them.
func (s *Snapshot) KeyPools() []*keypool.Pool {
	var pools []*keypool.Pool
	for _, t := range s.Targets {
		if t.Enabled && t.Pool != nil {
			pools = append(pools, t.Pool)
		}
	}
	return pools
}

// Target is a provider with its pool, as requests meet it.
type Target struct {
	upstream.Target
	Enabled bool
	// Meter asks for the usage of streams whose client has not asked for it.
	Meter bool
	// Masker finds the pool's secrets in what the upstream says.
	Masker *upstream.Masker
}

// Limits bound what a client may send.
type Limits struct {
	MaxBody   int64 // kept in memory, so that another key can be tried
	MaxUpload int64 // streamed through once on routes made for it
}

// Stream holds the times of an answer on its way.
type Stream struct {
	Hold              time.Duration // how long the events before the first content are held back
	HoldBytes         int
	FirstEventTimeout time.Duration // from the send to the head (blocking) or first event (stream); 0: none
	Ping              time.Duration // silence after which a stream is kept alive; 0: never
	IdleTimeout       time.Duration // silence of the upstream after its head that breaks the answer; 0: never
}

// Tools offers central tools to callers. It is safe for concurrent use.
type Tools interface {
	// Of lists what the caller is offered now, always in the same order.
	Of(ledger.Principal) []llm.ToolDef
	// Call runs one call that the model made of a tool that Of has listed for the caller.
	// Whatever goes wrong is in the result, for the model to read, and in the use, which
	// lacks only its turn.
	Call(context.Context, ledger.Principal, llm.ToolCall) (llm.ToolResult, ledger.ToolUse)
}

// Prices tells what a turn costs that a provider of the family has answered. asked is
// the model that was asked for.
type Prices interface {
	Charge(family verdict.Family, provider, asked string, turn int, t *llm.Turn) []ledger.Charge
}

// Recorder is told of a bridged exchange before it goes upstream, once who asks for
// what is known. A fault refuses it. The exchange stays the gateway's.
type Recorder interface {
	Begin(*ledger.Exchange) *fault.Error
}

// Loop bounds the turns that central tools may cause.
type Loop struct {
	MaxTurns int           // turns of one exchange in which tools are run
	MaxCalls int           // calls that are run of one turn; the others are refused
	MaxTime  time.Duration // that all calls of one exchange may take together
}

// Options are what a Gateway is made of.
type Options struct {
	// Snapshot is called once per request.
	Snapshot func() *Snapshot
	Client   *upstream.Client
	Ledger   ledger.Listener
	// Recorder may be nil.
	Recorder Recorder
	Logger   *slog.Logger
}

// Gateway is the data path's http.Handler.
type Gateway struct {
	o      Options
	hidden hidden
}

// New makes a Gateway.
func New(o Options) *Gateway { return &Gateway{o: o} }

// ServeHTTP implements http.Handler.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := g.o.Snapshot()
	m, lost := s.Table.Match(r)
	x := newExchange(g, s, m, r, w)
	defer x.finish()
	who, denied := s.Gate.Identify(r)
	x.record.Principal = who
	switch {
	case denied != nil:
		x.refuse(denied)
	case lost != nil:
		x.refuse(lost)
	default:
		x.admit()
		x.serve()
	}
}

// dialectFor returns what reads the bytes of a match.
func (s *Snapshot) dialectFor(m *route.Match) dialect.Dialect {
	switch m.API {
	case route.Chat:
		return s.Chat
	case route.Responses:
		return s.Responses
	case route.Messages:
		return s.Messages
	case route.Opaque:
	}
	return dialect.Opaque(s.errorsOf(m))
}

func (s *Snapshot) errorsOf(m *route.Match) dialect.Dialect {
	if anthropic(m) {
		return s.Messages
	}
	return s.Chat
}

// pool is where the exchange's keys come from.
func (x *exchange) pool() (*keypool.Pool, *fault.Error) {
	t := x.target
	switch {
	case x.record.Principal.Credential == ledger.BYOK:
		return keypool.Borrowed(t.Name, x.record.Principal.Secret), nil
	case t.Pool == nil:
		return nil, fault.New(fault.Unauthorized,
			"The provider %s has no keys of its own here: send your own key where your client puts it, and the gateway token in X-Keybridge-Token.", t.Name)
	}
	return t.Pool, nil
}
