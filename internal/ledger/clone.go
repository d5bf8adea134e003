package ledger

import (
	"encoding/json"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"keybridge/internal/llm"
)

const (
	mostName   = 512     // bytes of a text that names something
	mostReason = 4 << 10 // bytes of why something failed
)

// TextError is what is left of an error in a copy of an Exchange: what it said.
type TextError string

// Error implements error.
func (e TextError) Error() string { return string(e) }

// room is a copy with room for what most exchanges have one of.
type room struct {
	Exchange

	attempts [1]Attempt
	turns    [1]llm.Turn
	charges  [1]Charge
}

// Clone is a copy for the record, which shares no memory with e that anybody changes.
// Times are UTC and as far apart as the monotonic clock said, texts that name something
// are bounded, errors are TextErrors, and the caller's own secret is left out. So are the
// decisions of an exchange about which they tell nothing.
func (e *Exchange) Clone() *Exchange {
	var c *Exchange
	if len(e.Attempts) == 0 && len(e.Turns) == 0 && len(e.Charges) == 0 {
		c = new(Exchange)
		*c = *e
	} else {
		r := &room{Exchange: *e}
		c = &r.Exchange
		c.Attempts = append(r.attempts[:0], e.Attempts...)
		c.Turns = append(r.turns[:0], e.Turns...)
		c.Charges = append(r.charges[:0], e.Charges...)
	}
	c.Principal.Secret, c.Principal.Header = "", ""
	for _, name := range []*string{&c.ID, &c.Provider, &c.Route, &c.Method, &c.Model, &c.Client, &c.Version, &c.Session, &c.Signal, &c.After} {
		*name = bounded(*name, mostName)
	}
	c.Start, c.FirstEvent, c.End = since(e.Start, e.Start), since(e.Start, e.FirstEvent), since(e.Start, e.End)
	c.Err = textOf(e.Err)
	c.Answers = slices.Clone(e.Answers)
	for i := range c.Answers {
		c.Answers[i].Call = bounded(c.Answers[i].Call, mostName)
	}
	for i := range c.Attempts {
		c.Attempts[i].Sent = since(e.Start, c.Attempts[i].Sent)
	}
	for i := range c.Turns {
		own(&c.Turns[i])
	}
	for i := range c.Charges {
		c.Charges[i].Kind, c.Charges[i].Model = bounded(c.Charges[i].Kind, mostName), bounded(c.Charges[i].Model, mostName)
	}
	c.Tools = slices.Clone(e.Tools)
	for i := range c.Tools {
		u := &c.Tools[i]
		u.Call, u.Tool, u.Start, u.Err = bounded(u.Call, mostName), bounded(u.Tool, mostName), since(e.Start, u.Start), textOf(u.Err)
	}
	c.Decisions = nil
	if e.Eventful || e.Status != Completed {
		c.Decisions = slices.Clone(e.Decisions)
	}
	for i := range c.Decisions {
		d := &c.Decisions[i]
		d.At, d.Until = since(e.Start, d.At), since(e.Start, d.Until)
	}
	return c
}

// own makes what a copied turn refers to its own.
func own(t *llm.Turn) {
	for _, name := range []*string{&t.ID, &t.Container, &t.Model, &t.Stop, &t.Tier} {
		*name = bounded(*name, mostName)
	}
	t.Calls = slices.Clone(t.Calls)
	for i := range t.Calls {
		c := &t.Calls[i]
		c.ID, c.Name, c.Error = bounded(c.ID, mostName), bounded(c.Name, mostName), bounded(c.Error, mostName)
		c.Arguments = slices.Clone(c.Arguments)
	}
	t.Iterations = slices.Clone(t.Iterations)
	for i := range t.Iterations {
		n := &t.Iterations[i]
		n.Kind, n.Model = bounded(n.Kind, mostName), bounded(n.Model, mostName)
	}
	t.Thoughts = slices.Clone(t.Thoughts)
}

// since is t in UTC, as far from start as the monotonic clock said: the wall clock may
// have been set in between.
func since(start, t time.Time) time.Time {
	switch {
	case t.IsZero():
		return time.Time{}
	case start.IsZero():
		return t.Round(0).UTC()
	}
	return start.Round(0).Add(t.Sub(start)).UTC()
}

// bounded cuts a text that a client or an upstream chose, between two characters.
func bounded(s string, most int) string {
	if len(s) <= most {
		return s
	}
	for most > 0 && !utf8.RuneStart(s[most]) {
		most--
	}
	return strings.Clone(s[:most]) // the whole may be large
}

func textOf(err error) error {
	if err == nil {
		return nil
	}
	return TextError(bounded(err.Error(), mostReason))
}

type (
	bareExchange Exchange
	bareToolUse  ToolUse
)

// MarshalJSON implements json.Marshaler. Errors are written as their texts.
func (e *Exchange) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		*bareExchange

		Err string `json:",omitempty"`
	}{(*bareExchange)(e), said(e.Err)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (e *Exchange) UnmarshalJSON(data []byte) error {
	into := struct {
		*bareExchange

		Err string
	}{bareExchange: (*bareExchange)(e)}
	err := json.Unmarshal(data, &into)
	e.Err = heard(into.Err)
	return err
}

// MarshalJSON implements json.Marshaler. The error is written as its text.
func (u *ToolUse) MarshalJSON() ([]byte, error) {
	return json.Marshal(struct {
		*bareToolUse

		Err string `json:",omitempty"`
	}{(*bareToolUse)(u), said(u.Err)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (u *ToolUse) UnmarshalJSON(data []byte) error {
	into := struct {
		*bareToolUse

		Err string
	}{bareToolUse: (*bareToolUse)(u)}
	err := json.Unmarshal(data, &into)
	u.Err = heard(into.Err)
	return err
}

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func heard(text string) error {
	if text == "" {
		return nil
	}
	return TextError(text)
}
