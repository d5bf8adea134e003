package gateway

import (
	"net/http"

	"keybridge/internal/dialect"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// signal is one way in which clients say which conversation a request belongs to.
type signal struct {
	word   string         // the header's name; with body, what the trail calls it
	body   dialect.Signal // instead of a header
	header string         // in its canonical form
}

// signals are the ways, the most specific first. Codex's x-client-request-id is not
// among them: where it names a conversation at all, thread-id does so too.
//
//nolint:gochecknoglobals // a constant table
var signals = func() []signal {
	table := []signal{
		{word: "x-keybridge-session"},
		{word: "x-claude-code-session-id"},
		{body: dialect.SignalUser},
		{word: "session-id"},
		{word: "session_id"}, // Codex, by its age
		{word: "thread-id"},
		{word: "conversation_id"}, // the same
		{word: "x-opencode-session"},
		{word: "x-session-id"},
		{word: "x-session-affinity"},
		{word: "x-parent-session-id"}, // opencode
		{body: dialect.SignalCacheKey},
		{body: dialect.SignalResponse},
		{body: dialect.SignalConversation},
		{body: dialect.SignalSession},
	}
	for i := range table {
		if s := &table[i]; s.body != dialect.NoSignal {
			s.word = s.body.String()
		} else {
			s.header = http.CanonicalHeaderKey(s.word)
		}
	}
	return table
}()

// opening is the signal of a conversation that nothing names but how it begins.
const opening = "opening"

// want is what the request needs of a key: the model, the caches of its session,
// what the provider keeps for it.
func (x *exchange) want(pool *keypool.Pool, p *dialect.Peeked) keypool.Want {
	w := keypool.Want{
		Model: p.Model, Endpoint: x.match.Route, Caller: x.record.Principal.Name,
		Pins: p.Pins, CacheLife: p.CacheLife, Tokens: p.Tokens, Tally: &x.tally, Trail: &x.trail,
		Sealed: p.Sealed && !anthropic(&x.match), // Anthropic's search results are sealed for nobody
	}
	if x.match.ID != "" {
		w.Pins = append([]string{x.match.ID}, p.Pins...)
	}
	w.Session, w.Signal = nameOf(x.r.Header, p)
	if w.Signal == "" && x.match.Bridged() && pool.KeepsSessions() {
		if w.Session, w.Begins = p.Opening(); w.Session != "" {
			w.Signal = opening
		}
	}
	return w
}

// nameOf is what the client calls the conversation, and the signal that says so.
func nameOf(h http.Header, p *dialect.Peeked) (session, word string) {
	for i := range signals {
		s := &signals[i]
		if s.body != dialect.NoSignal {
			if s.body == p.Signal {
				return p.Session, s.word
			}
			continue
		}
		if v := h[s.header]; len(v) > 0 && v[0] != "" {
			return v[0], s.word
		}
	}
	return "", ""
}

// used is what a turn used of its key.
func (x *exchange) used(f *flow) keypool.Usage {
	u := f.observer.Turn().Usage
	used := keypool.Usage{
		InputTokens: u.Input + u.CacheRead + u.CacheWrite, OutputTokens: u.Output,
		CachedTokens: u.CacheRead + u.CacheWrite, CacheReadTokens: u.CacheRead,
	}
	const leastCached = 1024 // tokens, from which OpenAI caches a prompt, whether it says so or not
	if x.target.Kind == verdict.OpenAI && used.InputTokens >= leastCached {
		used.CachedTokens = used.InputTokens
	}
	return used
}
