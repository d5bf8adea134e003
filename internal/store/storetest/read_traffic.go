package storetest

import (
	"fmt"
	"math/rand/v2"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// Traffic makes up exchanges as a company's gateway sees them: callers with a client each,
// who hold sessions of an agent's many requests with one model, which now and then fail,
// are cancelled or need a second key. The same seed makes the same exchanges.
type Traffic struct {
	// Start is when the first one begins, Span how long they take together, Count how many
	// they are, which belong to so many Sessions of so many Callers.
	Start                    time.Time
	Span                     time.Duration
	Count, Sessions, Callers int

	random *rand.Rand
	made   int
	open   map[int]*ledger.Exchange // by session: the last one, if it asked for a tool
}

// NewTraffic is a month of a hundred sessions at a time.
func NewTraffic(seed uint64, count int) *Traffic {
	return &Traffic{
		Start: time.Date(2026, 9, 17, 0, 0, 0, 0, time.UTC), Span: 30 * 24 * time.Hour,
		Count: count, Sessions: 5000, Callers: 50,
		random: rand.New(rand.NewPCG(seed, 0)), //nolint:gosec // made up, not secret
		open:   map[int]*ledger.Exchange{},
	}
}

type offer struct {
	provider, model, answers string
	input, output            int64 // picodollars a token
}

//nolint:gochecknoglobals // a table
var (
	offers = []offer{
		{"anthropic", "claude-opus-4-1", "claude-opus-4-1-20250805", 15e6, 75e6},
		{"anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929", 3e6, 15e6},
		{"anthropic", "claude-haiku-4-5", "claude-haiku-4-5-20251001", 1e6, 5e6},
		{"openai", "gpt-5", "gpt-5-2025-08-07", 125e4, 10e6},
		{"openai", "gpt-5-mini", "gpt-5-mini-2025-08-07", 25e4, 2e6},
		{"openai", "gpt-4.1", "gpt-4.1-2025-04-14", 2e6, 8e6},
		{"openai", "o4-mini", "o4-mini-2025-04-16", 11e5, 44e5},
		{"openrouter", "qwen/qwen3-coder", "qwen/qwen3-coder", 3e5, 12e5},
		{"openrouter", "z-ai/glm-4.6", "z-ai/glm-4.6", 5e5, 2e6},
		{"openrouter", "deepseek/deepseek-chat-v3.1", "deepseek/deepseek-chat-v3.1", 2e5, 8e5},
		{"local", "gpt-oss-120b", "gpt-oss-120b", 0, 0},
		{"local", "llama-3.3-70b", "llama-3.3-70b", 0, 0},
	}
	clients = []struct{ name, version, signal string }{
		{"claude-code", "2.0.31", "header"}, {"codex", "0.57.0", "header"}, {"opencode", "1.0.12", "body"}, {"", "", ""},
	}
)

// Next makes the next exchange, or nil after the last.
func (t *Traffic) Next() *ledger.Exchange {
	if t.made == t.Count {
		return nil
	}
	at := t.Start.Add(time.Duration(float64(t.Span) * float64(t.made) / float64(t.Count))).Add(time.Duration(t.random.IntN(1000)) * time.Microsecond)
	together := min(100, t.Sessions)
	session := (t.Sessions-together)*t.made/t.Count + t.random.IntN(together)
	t.made++

	caller := session * 7919 % t.Callers
	client := clients[caller%len(clients)]
	o := offers[(session*31+caller)%len(offers)]
	e := &ledger.Exchange{
		ID: t.id(at), Start: at, Provider: o.provider, Route: "POST /v1/messages", Method: "POST", Bridged: true, Admitted: true,
		Stream: caller%5 != 0, Model: o.model, Client: client.name, Version: client.version, Signal: client.signal,
		Principal:  ledger.Principal{Name: fmt.Sprintf("caller-%02d", caller), Metadata: fmt.Sprintf(`{"team":"t%d"}`, caller%7), Credential: ledger.Pooled},
		HTTPStatus: 200, Status: ledger.Completed,
	}
	if client.name != "" {
		e.Session = fmt.Sprintf("%08x-session-%d", session*2654435761, session)
	}
	if last := t.open[session]; last != nil {
		e.Answers = []ledger.Answer{{Call: last.Turns[0].Calls[0].ID, Failed: t.random.IntN(20) == 0}}
		delete(t.open, session)
	}
	t.serve(e, &o, session)
	return e
}

// serve makes up what came of an exchange.
func (t *Traffic) serve(e *ledger.Exchange, o *offer, session int) {
	key := t.random.IntN(4)
	name := func(k int) string { return fmt.Sprintf("%s-%d", o.provider, k) }
	now := e.Start.Add(2 * time.Millisecond)
	attempt := func(status int, action, reason string) {
		took := time.Duration(200+t.random.IntN(1500)) * time.Millisecond
		e.Attempts = append(e.Attempts, ledger.Attempt{
			Waited: 2 * time.Millisecond, Key: name(key), Hint: "sk-…" + name(key), Sent: now, Duration: took, Status: status, Action: action, Reason: reason,
		})
		now = now.Add(took)
		key = (key + 1) % 4
	}
	dice := t.random.IntN(1000)
	if dice < 30 {
		attempt(429, "next_key", "rate_limited")
		e.Eventful = true
		e.Decisions = []ledger.Decision{{At: now, Key: e.Attempts[0].Key, What: "judged", Why: "rate_limited", Action: "next_key", Scope: "key", Until: now.Add(time.Minute)}}
	}
	if dice < 20 {
		attempt(529, "stop", "overloaded")
		e.Status, e.HTTPStatus, e.Class, e.Err, e.End = ledger.Failed, 529, "overloaded", ledger.TextError("every key is overloaded"), now
		return
	}
	attempt(200, "relay", "")
	e.FirstEvent = now
	e.End = now.Add(time.Duration(500+t.random.IntN(20_000)) * time.Millisecond)
	turn := llm.Turn{
		ID: "msg_" + e.ID[6:], Model: o.answers, Stop: "end_turn", Reported: true, Complete: true,
		Usage: llm.Usage{Input: int64(t.random.IntN(4000)), Output: int64(t.random.IntN(3000)), CacheRead: int64(t.random.IntN(90_000)), CacheWrite: int64(t.random.IntN(6000))},
	}
	turn.Usage.Reasoning = turn.Usage.Output / 3
	switch {
	case dice >= 985:
		e.Status, turn.Complete, turn.Stop = ledger.Cancelled, false, ""
	case t.random.IntN(10) < 4:
		turn.Stop = "tool_use"
		turn.Calls = []llm.ToolCall{{ID: "toolu_" + e.ID[6:], Name: "Bash", Size: 120}}
		t.open[session] = e
	}
	e.Turns = []llm.Turn{turn}
	c := ledger.Charge{Model: o.answers, Usage: turn.Usage, Version: "2026-09-01"}
	if o.output == 0 {
		c.Unpriced = turn.Usage.Total()
	}
	c.Picos = (turn.Usage.Input+turn.Usage.CacheRead/10+turn.Usage.CacheWrite*5/4)*o.input + turn.Usage.Output*o.output
	e.Charges = []ledger.Charge{c}
}

func (t *Traffic) id(at time.Time) string {
	return fmt.Sprintf("req_kb%012x%012x", at.UnixMilli(), t.random.Int64N(1<<48))
}
