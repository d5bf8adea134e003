package admin

import (
	"encoding/json"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
)

// The record as JSON. What is not known or does not apply is left out. Costs are exact:
// US dollars as a decimal, and picodollars.
type (
	interceptionView struct {
		ID            string          `json:"id"`
		Started       time.Time       `json:"started"`
		FirstEvent    time.Time       `json:"first_event,omitzero"`
		Ended         time.Time       `json:"ended,omitzero"`
		Status        ledger.Status   `json:"status"`
		HTTPStatus    int             `json:"http_status,omitempty"`
		Class         string          `json:"class,omitempty"`
		Caller        string          `json:"caller"`
		Metadata      json.RawMessage `json:"metadata,omitempty"`
		Client        string          `json:"client,omitempty"`
		Version       string          `json:"version,omitempty"`
		Session       string          `json:"session,omitempty"`
		Signal        string          `json:"signal,omitempty"`
		Thread        string          `json:"thread,omitempty"`
		Parent        string          `json:"parent,omitempty"`
		Provider      string          `json:"provider"`
		Route         string          `json:"route"`
		Method        string          `json:"method"`
		Stream        bool            `json:"stream"`
		Model         string          `json:"model"`
		ModelAsked    string          `json:"model_asked,omitempty"`
		ModelAnswered string          `json:"model_answered,omitempty"`
		Credential    string          `json:"credential,omitempty"`
		Key           string          `json:"key,omitempty"`
		Hint          string          `json:"hint,omitempty"`
		AttemptCount  int             `json:"attempt_count"`
		TurnCount     int             `json:"turn_count"`
		LoopTurns     int             `json:"loop_turns,omitempty"`
		Usage         usageView       `json:"usage"`
		Reported      bool            `json:"usage_reported"`
		costView
	}
	wholeView struct {
		interceptionView

		Error     string         `json:"error,omitempty"`
		Prompt    *textView      `json:"prompt,omitempty"`
		Attempts  []attemptView  `json:"attempts"`
		Turns     []turnView     `json:"turns"`
		Calls     []callView     `json:"tool_calls"`
		Thoughts  []thoughtView  `json:"reasoning,omitempty"`
		Decisions []decisionView `json:"decisions,omitempty"`
	}
	usageView struct {
		Input          int64 `json:"input"`
		CacheRead      int64 `json:"cache_read"`
		CacheWrite     int64 `json:"cache_write"`
		CacheWriteLong int64 `json:"cache_write_long"` // a part of cache_write
		Output         int64 `json:"output"`
		Reasoning      int64 `json:"reasoning"` // a part of output
	}
	costView struct {
		USD      string `json:"cost_usd"`
		Picos    int64  `json:"cost_picos"`
		Unpriced int64  `json:"unpriced_tokens"`
	}
	attemptView struct {
		Turn     int       `json:"turn"`
		Key      string    `json:"key"`
		Hint     string    `json:"hint,omitempty"`
		Sent     time.Time `json:"sent"`
		Waited   float64   `json:"waited_seconds"`
		Duration float64   `json:"duration_seconds"`
		Status   int       `json:"status,omitempty"`
		Action   string    `json:"action"`
		Reason   string    `json:"reason,omitempty"`
	}
	turnView struct {
		Message  string    `json:"message,omitempty"`
		Model    string    `json:"model,omitempty"`
		Stop     string    `json:"stop,omitempty"`
		Tier     string    `json:"tier,omitempty"`
		Complete bool      `json:"complete"`
		Usage    usageView `json:"usage"`
		Reported bool      `json:"usage_reported"`
		Searches int64     `json:"searches,omitempty"`
		costView
		PriceModel   string          `json:"price_model,omitempty"`
		PriceVersion string          `json:"price_version,omitempty"`
		Iterations   []iterationView `json:"iterations,omitempty"`
	}
	iterationView struct {
		Kind  string    `json:"kind"`
		Model string    `json:"model,omitempty"`
		Usage usageView `json:"usage"`
		costView
	}
	callView struct {
		Turn      int       `json:"turn"`
		ID        string    `json:"id,omitempty"`
		Kind      string    `json:"kind"`
		Server    string    `json:"server,omitempty"`
		Name      string    `json:"name"`
		Arguments string    `json:"arguments,omitempty"`
		Size      int       `json:"arguments_size"`
		Result    int       `json:"result_size,omitempty"`
		Outcome   string    `json:"outcome,omitempty"`
		Failed    bool      `json:"failed"`
		Error     string    `json:"error,omitempty"`
		Started   time.Time `json:"started,omitzero"`
		Duration  float64   `json:"duration_seconds,omitempty"`
	}
	textView struct {
		Text string `json:"text"`
		Size int    `json:"size"`
	}
	thoughtView struct {
		Turn int `json:"turn"`
		textView
	}
	decisionView struct {
		At     time.Time `json:"at"`
		What   string    `json:"what"`
		Key    string    `json:"key,omitempty"`
		Why    string    `json:"why,omitempty"`
		Action string    `json:"action,omitempty"`
		Scope  string    `json:"scope,omitempty"`
		Until  time.Time `json:"until,omitzero"`
		For    float64   `json:"for_seconds,omitempty"`
	}
	sumView struct {
		Requests   int64     `json:"requests"`
		Unreported int64     `json:"unreported"` // requests some of whose usage was not reported
		Usage      usageView `json:"usage"`
		costView
	}
	sessionView struct {
		Name    string    `json:"name"`
		Caller  string    `json:"caller"`
		Client  string    `json:"client,omitempty"`
		Started time.Time `json:"started"`
		Last    time.Time `json:"last"`
		sumView
		Threads []threadView `json:"threads,omitempty"`
	}
	threadView struct {
		ID      string    `json:"id"`
		Started time.Time `json:"started"`
		Last    time.Time `json:"last"`
		sumView
	}
	// forgottenView is how much a caller had left.
	forgottenView struct {
		Caller        string `json:"caller"`
		Interceptions int64  `json:"interceptions"`
		Sessions      int64  `json:"sessions"`
		Hours         int64  `json:"usage_rows"`
	}
)

// views shows a list, also one without anything.
func views[T, V any](list []T, view func(*T) V) []V {
	out := make([]V, len(list))
	for i := range list {
		out[i] = view(&list[i])
	}
	return out
}

func viewCost(picos, unpriced int64) costView { return costView{store.USD(picos), picos, unpriced} }

func viewUsage(u llm.Usage) usageView {
	return usageView{u.Input, u.CacheRead, u.CacheWrite, u.CacheWriteLong, u.Output, u.Reasoning}
}

func viewSum(s *store.Sum) sumView {
	return sumView{s.Requests, s.Unreported, viewUsage(s.Usage), viewCost(s.Picos, s.Unpriced)}
}

func viewInterception(n *store.Interception) interceptionView {
	v := interceptionView{
		ID: n.ID, Started: n.Started, FirstEvent: n.FirstEvent, Ended: n.Ended, Status: n.Status, HTTPStatus: n.HTTPStatus, Class: n.Class,
		Caller: n.Caller, Client: n.Client, Version: n.Version, Session: n.Session, Signal: n.Signal, Thread: n.Thread, Parent: n.Parent,
		Provider: n.Provider, Route: n.Route, Method: n.Method, Stream: n.Stream,
		Model: n.Model, ModelAsked: n.ModelAsked, ModelAnswered: n.ModelAnswers, Credential: string(n.Credential), Key: n.Key, Hint: n.Hint,
		AttemptCount: n.AttemptCount, TurnCount: n.TurnCount, LoopTurns: n.Loop,
		Usage: viewUsage(n.Usage), Reported: n.Reported, costView: viewCost(n.Picos, n.Unpriced),
	}
	if json.Valid([]byte(n.Metadata)) {
		v.Metadata = json.RawMessage(n.Metadata)
	}
	return v
}

func viewWhole(w *store.Whole) wholeView {
	v := wholeView{
		interceptionView: viewInterception(&w.Interception), Error: w.Error,
		Attempts: make([]attemptView, len(w.Attempts)), Turns: make([]turnView, len(w.Turns)), Calls: make([]callView, len(w.Calls)),
		Thoughts: make([]thoughtView, len(w.Thoughts)), Decisions: make([]decisionView, len(w.Decisions)),
	}
	if w.Prompt != nil {
		v.Prompt = &textView{w.Prompt.Text, w.Prompt.Size}
	}
	for i, a := range w.Attempts {
		v.Attempts[i] = attemptView{a.Turn, a.Key, a.Hint, a.Sent, a.Waited.Seconds(), a.Duration.Seconds(), a.Status, a.Action, a.Reason}
	}
	for i := range w.Turns {
		v.Turns[i] = viewTurn(&w.Turns[i])
	}
	for i, c := range w.Calls {
		v.Calls[i] = callView{
			Turn: c.Turn, ID: c.ID, Kind: c.Kind, Server: c.Server, Name: c.Name, Arguments: c.Arguments, Size: c.Size, Result: c.Result,
			Outcome: c.Outcome, Failed: c.Failed, Error: c.Error, Started: c.Started, Duration: c.Duration.Seconds(),
		}
	}
	for i, t := range w.Thoughts {
		v.Thoughts[i] = thoughtView{t.Turn, textView{t.Text.Text, t.Size}}
	}
	for i, d := range w.Decisions {
		v.Decisions[i] = decisionView{d.At, d.What, d.Key, d.Why, d.Action, d.Scope, d.Until, d.For.Seconds()}
	}
	return v
}

func viewTurn(t *store.Turn) turnView {
	v := turnView{
		Message: t.Message, Model: t.Model, Stop: t.Stop, Tier: t.Tier, Complete: t.Complete, Usage: viewUsage(t.Usage), Reported: t.Reported,
		Searches: t.Searches, costView: viewCost(t.Picos, t.Unpriced), PriceModel: t.PriceModel, PriceVersion: t.PriceVersion,
	}
	for _, n := range t.Iterations {
		v.Iterations = append(v.Iterations, iterationView{n.Kind, n.Model, viewUsage(n.Usage), viewCost(n.Picos, n.Unpriced)})
	}
	return v
}

func viewSession(s *store.Session) sessionView {
	v := sessionView{Name: s.Name, Caller: s.Caller, Client: s.Client, Started: s.Started, Last: s.Last, sumView: viewSum(&s.Sum)}
	for i := range s.Threads {
		t := &s.Threads[i]
		v.Threads = append(v.Threads, threadView{t.ID, t.Started, t.Last, viewSum(&t.Sum)})
	}
	return v
}
