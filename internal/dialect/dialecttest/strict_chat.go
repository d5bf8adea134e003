package dialecttest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"keybridge/internal/wire"
)

// StrictChat reads an answer of the Chat Completions API, a stream or a body, as the
// strictest client would: one id, role, end and usage, tool calls counted from zero
// without a gap, and nothing behind what ends it.
func StrictChat(events []wire.Event) error {
	if len(events) == 1 && events[0].Name == "" && events[0].Data != nil && len(events[0].Data) >= len(events[0].Raw) {
		return strictCompletion(events[0].Data)
	}
	var s strictChat
	for i, e := range events {
		if err := s.event(e); err != nil {
			return fmt.Errorf("event %d, %s: %w", i, e.Raw, err)
		}
		if !e.Closed() {
			return fmt.Errorf("event %d, %q: it has no blank line", i, e.Raw)
		}
	}
	return s.end()
}

type strictChat struct {
	id       string
	created  json.Number
	choices  map[int]*strictChoice
	usages   int
	failed   bool
	finished bool // [DONE]
}

type strictChoice struct {
	role, finished bool
	calls          []strictCall
	reason         string
}

type strictCall struct {
	ID       string `json:"id"`
	Type     string `json:"type"`
	Index    *int   `json:"index"`
	Function struct {
		Name      string  `json:"name"`
		Arguments *string `json:"arguments"`
	} `json:"function"`
}

type strictDelta struct {
	Role      *string      `json:"role"`
	Content   *string      `json:"content"`
	ToolCalls []strictCall `json:"tool_calls"`
}

type strictChunk struct {
	ID      string      `json:"id"`
	Object  string      `json:"object"`
	Created json.Number `json:"created"`
	Choices *[]struct {
		Index   *int         `json:"index"`
		Delta   *strictDelta `json:"delta"`
		Message *strictDelta `json:"message"`
		Reason  *string      `json:"finish_reason"`
	} `json:"choices"`
	Usage json.RawMessage `json:"usage"`
	Error json.RawMessage `json:"error"`
}

func (s *strictChat) event(e wire.Event) error {
	switch {
	case len(e.Data) == 0:
		return nil
	case !bytes.Contains(e.Raw, e.Data):
		return errors.New("its data are not what is written")
	case e.Name != "":
		return errors.New("it has a name")
	case s.finished:
		return errors.New("it comes behind [DONE]")
	case string(e.Data) == "[DONE]":
		s.finished = true
		return nil
	case s.failed:
		return errors.New("it comes behind an error")
	}
	var c strictChunk
	if err := json.Unmarshal(e.Data, &c); err != nil {
		return err
	}
	if c.Error != nil {
		s.failed = true
		return nil
	}
	return s.chunk(&c)
}

func (s *strictChat) chunk(c *strictChunk) error {
	if s.id == "" {
		s.id, s.created, s.choices = c.ID, c.Created, map[int]*strictChoice{}
	}
	switch {
	case c.ID == "" || c.ID != s.id || c.Created != s.created:
		return fmt.Errorf("the answer is %s of %s", s.id, s.created)
	case c.Object != "chat.completion.chunk" || c.Choices == nil:
		return errors.New("it is no chunk")
	case s.usages > 0:
		return errors.New("it comes behind the usage")
	}
	if c.Usage != nil && string(c.Usage) != "null" {
		s.usages++
		return s.used(c)
	}
	for _, choice := range *c.Choices {
		if choice.Index == nil || choice.Delta == nil {
			return errors.New("a choice without its index or delta")
		}
		of := s.choices[*choice.Index]
		if of == nil {
			of = &strictChoice{}
			s.choices[*choice.Index] = of
		}
		if err := of.delta(choice.Delta, choice.Reason); err != nil {
			return err
		}
	}
	return nil
}

func (s *strictChat) used(c *strictChunk) error {
	switch {
	case len(*c.Choices) > 0:
		return errors.New("it has a usage beside choices")
	case s.open():
		return errors.New("the usage comes before the end")
	}
	return nil
}

func (c *strictChoice) delta(d *strictDelta, reason *string) error {
	switch {
	case c.finished:
		return errors.New("it comes behind the finish reason")
	case d.Role != nil && c.role:
		return errors.New("the role is there twice")
	case d.Role == nil && !c.role:
		return errors.New("it begins without the role")
	}
	c.role = true
	for i := range d.ToolCalls {
		if err := c.fragment(&d.ToolCalls[i]); err != nil {
			return err
		}
	}
	if reason == nil {
		return nil
	}
	c.finished, c.reason = true, *reason
	return reasoned(c.reason, c.calls)
}

// fragment takes in a piece of a call.
func (c *strictChoice) fragment(f *strictCall) error {
	switch {
	case f.Index == nil || *f.Index < 0 || *f.Index > len(c.calls):
		return fmt.Errorf("a call's index is not the next, %d", len(c.calls))
	case *f.Index < len(c.calls):
		if f.ID != "" || f.Type != "" || f.Function.Name != "" {
			return errors.New("a call begins twice")
		}
		return nil
	}
	c.calls = append(c.calls, *f)
	return whole(f)
}

// whole says whether a call can begin so.
func whole(f *strictCall) error {
	if f.ID == "" || f.Type != "function" || f.Function.Name == "" || f.Function.Arguments == nil {
		return errors.New("a call without its id, type, name or arguments")
	}
	return nil
}

// reasoned says whether an answer with these calls can end so.
func reasoned(reason string, calls []strictCall) error {
	ids := map[string]bool{}
	for i := range calls {
		if ids[calls[i].ID] {
			return errors.New("two calls have one id")
		}
		ids[calls[i].ID] = true
	}
	switch reason {
	case "tool_calls":
		if len(calls) == 0 {
			return errors.New("it promises calls, and there are none")
		}
	case "stop":
		if len(calls) > 0 {
			return errors.New("there are calls that it does not tell of")
		}
	case "length", "content_filter":
	default:
		return errors.New("no finish reason of the API's")
	}
	return nil
}

// open says that a choice has not finished, or that there is none.
func (s *strictChat) open() bool {
	for _, c := range s.choices {
		if !c.finished {
			return true
		}
	}
	return len(s.choices) == 0
}

func (s *strictChat) end() error {
	switch {
	case s.failed:
		return nil
	case s.open():
		return errors.New("the stream has no finish reason")
	case !s.finished:
		return errors.New("the stream has no [DONE]")
	}
	return nil
}

func strictCompletion(data []byte) error {
	var c strictChunk
	if err := json.Unmarshal(data, &c); err != nil {
		return err
	}
	switch {
	case c.Error != nil:
		return nil
	case c.ID == "" || c.Object != "chat.completion" || c.Choices == nil || len(*c.Choices) == 0:
		return errors.New("it is no completion")
	}
	for _, choice := range *c.Choices {
		if choice.Index == nil || choice.Reason == nil || choice.Message == nil {
			return errors.New("a choice without its index, finish reason or message")
		}
		if err := choice.Message.ends(*choice.Reason); err != nil {
			return err
		}
	}
	return nil
}

// ends says whether a whole message is one, and ends as it says.
func (d *strictDelta) ends(reason string) error {
	if d.Role == nil || *d.Role != "assistant" {
		return errors.New("a message without its role")
	}
	for i := range d.ToolCalls {
		if err := whole(&d.ToolCalls[i]); err != nil {
			return err
		}
	}
	return reasoned(reason, d.ToolCalls)
}
