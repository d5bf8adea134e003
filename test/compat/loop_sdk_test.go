package compat_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/packages/param"
	"github.com/openai/openai-go/v3/responses"
	"github.com/openai/openai-go/v3/shared"
)

// The ways in which an answer ends, in all APIs.
const (
	endWhole = "whole"
	endCalls = "calls" // of the client's tools
	endShort = "short" // the output limit
)

// reply is what a client got of one answer.
type reply struct {
	ID, End  string
	Text     string
	Calls    []made
	Thoughts int
	In, Out  int64
}

// made is a call of a tool.
type made struct{ ID, Name, Args string }

// dialogue is a conversation of a client's with a tool of its own.
type dialogue interface {
	says(text string)
	// returns answers calls with a text.
	returns(calls []made, text string)
	// ask sends what there is, and keeps what was answered.
	ask(ctx context.Context, c client) (reply, error)
}

// way is one of holding a conversation.
type way struct {
	name   string
	model  string
	stream bool
	begin  func() dialogue
}

func ways() (all []way) {
	for _, stream := range []bool{false, true} {
		how := map[bool]string{false: ", blocking", true: ", streaming"}[stream]
		all = append(all,
			way{"chat" + how, "gpt-4o-mini", stream, func() dialogue { return newChatTalk(stream) }},
			way{"responses" + how, "gpt-5-mini", stream, func() dialogue { return newResponsesTalk(stream, "") }},
			way{"responses, not stored" + how, "gpt-5-mini", stream, func() dialogue { return newResponsesTalk(stream, "unkept") }},
			way{"responses, previous" + how, "gpt-5-mini", stream, func() dialogue { return newResponsesTalk(stream, "previous") }},
			way{"messages" + how, "claude-haiku-4-5", stream, func() dialogue { return newMessagesTalk(stream) }},
		)
	}
	return all
}

type chatTalk struct {
	p      openai.ChatCompletionNewParams
	stream bool
}

func newChatTalk(stream bool) *chatTalk {
	t := &chatTalk{stream: stream, p: openai.ChatCompletionNewParams{Model: "gpt-4o-mini"}}
	t.p.Tools = []openai.ChatCompletionToolUnionParam{
		openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: toolName, Parameters: toolSchema}),
	}
	if stream {
		t.p.StreamOptions.IncludeUsage = openai.Bool(true)
	}
	return t
}

func (t *chatTalk) says(text string) { t.p.Messages = append(t.p.Messages, openai.UserMessage(text)) }

func (t *chatTalk) returns(calls []made, text string) {
	for _, c := range calls {
		t.p.Messages = append(t.p.Messages, openai.ToolMessage(text, c.ID))
	}
}

func (t *chatTalk) ask(ctx context.Context, c client) (r reply, err error) {
	got := &openai.ChatCompletion{}
	if t.stream {
		got, err = chatLoopStream(ctx, c, t.p)
	} else if got, err = chatTurn(ctx, c, t.p); err != nil {
		return r, err
	}
	if len(got.Choices) != 1 {
		return r, errors.Join(err, fmt.Errorf("%w: %d choices", errShort, len(got.Choices)))
	}
	m := got.Choices[0].Message
	r = reply{ID: got.ID, Text: m.Content, In: got.Usage.PromptTokens, Out: got.Usage.CompletionTokens}
	r.Thoughts = int(got.Usage.CompletionTokensDetails.ReasoningTokens)
	if r.In+r.Out != got.Usage.TotalTokens {
		return r, fmt.Errorf("usage does not add up: %s", got.Usage.RawJSON())
	}
	r.End = map[string]string{"stop": endWhole, "tool_calls": endCalls, "length": endShort}[got.Choices[0].FinishReason]
	for _, c := range m.ToolCalls {
		r.Calls = append(r.Calls, made{c.ID, c.Function.Name, c.Function.Arguments})
	}
	t.p.Messages = append(t.p.Messages, m.ToParam())
	return r, err
}

// chatLoopStream holds the chunks to their order besides.
func chatLoopStream(ctx context.Context, c client, p openai.ChatCompletionNewParams) (*openai.ChatCompletion, error) {
	s := c.openai().Chat.Completions.NewStreaming(ctx, p)
	defer s.Close()
	var all openai.ChatCompletionAccumulator
	roles, ends, usages, index := 0, 0, 0, int64(-1)
	for s.Next() {
		chunk := s.Current()
		if !all.AddChunk(chunk) {
			return &all.ChatCompletion, fmt.Errorf("%w: a chunk does not fit the others: %s", errShort, chunk.RawJSON())
		}
		if chunk.JSON.Usage.Valid() {
			usages++
		}
		for _, choice := range chunk.Choices {
			if choice.Delta.Role != "" {
				roles++
			}
			if choice.FinishReason != "" {
				ends++
			}
			for _, call := range choice.Delta.ToolCalls {
				if call.ID != "" {
					index++
				}
				if call.Index != index {
					return &all.ChatCompletion, fmt.Errorf("%w: call %d has the index %d", errShort, index, call.Index)
				}
			}
		}
	}
	if err := s.Err(); err != nil {
		return &all.ChatCompletion, err
	}
	if roles != 1 || ends != 1 || usages != 1 {
		return &all.ChatCompletion, fmt.Errorf("%w: %d beginnings, %d ends, %d usages", errShort, roles, ends, usages)
	}
	return &all.ChatCompletion, nil
}

type responsesTalk struct {
	p      responses.ResponseNewParams
	stream bool
	kept   string // "": the client repeats everything; previous, unkept
	items  responses.ResponseInputParam
}

func newResponsesTalk(stream bool, kept string) *responsesTalk {
	t := &responsesTalk{stream: stream, kept: kept, p: responses.ResponseNewParams{Model: "gpt-5-mini"}}
	t.p.Tools = []responses.ToolUnionParam{responses.ToolParamOfFunction(toolName, toolSchema, true)}
	t.p.Reasoning = shared.ReasoningParam{Effort: "low", Summary: "auto"}
	if kept == "unkept" {
		t.p.Store = openai.Bool(false)
		t.p.Include = []responses.ResponseIncludable{"reasoning.encrypted_content"}
	}
	return t
}

func (t *responsesTalk) says(text string) {
	t.items = append(t.items, responses.ResponseInputItemParamOfMessage(text, responses.EasyInputMessageRoleUser))
}

func (t *responsesTalk) returns(calls []made, text string) {
	for _, c := range calls {
		item := responses.ResponseInputItemParamOfFunctionCallOutput(text)
		item.OfFunctionCallOutput.CallID = openai.String(c.ID)
		t.items = append(t.items, item)
	}
}

func (t *responsesTalk) ask(ctx context.Context, c client) (r reply, err error) {
	t.p.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: t.items}
	var got *responses.Response
	if t.stream {
		if got, r.Text, err = responsesLoopStream(ctx, c, t.p); err != nil {
			return r, err
		}
	} else if got, err = responsesTurn(ctx, c, t.p); err != nil {
		return r, err
	}
	r = reply{ID: got.ID, Text: got.OutputText(), In: got.Usage.InputTokens, Out: got.Usage.OutputTokens}
	if r.In+r.Out != got.Usage.TotalTokens {
		return r, fmt.Errorf("usage does not add up: %s", got.Usage.RawJSON())
	}
	if t.kept == "previous" {
		t.p.PreviousResponseID, t.items = openai.String(got.ID), nil
	}
	r.End = map[responses.ResponseStatus]string{"completed": endWhole, "incomplete": endShort}[got.Status]
	ids := map[string]bool{}
	for _, item := range got.Output {
		if ids[item.ID] {
			return r, fmt.Errorf("%w: two items %s", errShort, item.ID)
		}
		ids[item.ID] = true
		switch item.Type {
		case "function_call":
			r.Calls = append(r.Calls, made{item.CallID, item.Name, item.AsFunctionCall().Arguments})
			r.End = endCalls
		case "reasoning":
			r.Thoughts++
		}
		if t.kept != "previous" {
			t.items = append(t.items, param.Override[responses.ResponseInputItemUnionParam](json.RawMessage(item.RawJSON())))
		}
	}
	return r, nil
}

// responsesLoopStream holds the events to their order besides.
func responsesLoopStream(ctx context.Context, c client, p responses.ResponseNewParams) (last *responses.Response, text string, err error) {
	s := c.openai().Responses.NewStreaming(ctx, p)
	defer s.Close()
	var said strings.Builder
	id, next, items, added := "", int64(0), []string(nil), int64(0)
	for s.Next() {
		e := s.Current()
		if e.SequenceNumber != next {
			return nil, said.String(), fmt.Errorf("%w: event %d is numbered %d", errShort, next, e.SequenceNumber)
		}
		if last != nil {
			return nil, said.String(), fmt.Errorf("%w: %s after the end", errShort, e.Type)
		}
		next++
		switch e.Type {
		case "response.created":
			id = e.Response.ID
		case "response.output_item.added":
			if e.OutputIndex != added {
				return nil, said.String(), fmt.Errorf("%w: item %d has the index %d", errShort, added, e.OutputIndex)
			}
			added++
		case "response.output_item.done":
			items = append(items, e.Item.ID)
		case "response.output_text.delta":
			said.WriteString(e.Delta)
		case "response.completed", "response.incomplete":
			last = &e.Response
		case "error", "response.failed":
			return nil, said.String(), errors.New("error event " + e.Code + ": " + e.Message)
		}
	}
	if err := ended(s.Err(), last != nil); err != nil {
		return nil, said.String(), err
	}
	if last.ID != id || last.OutputText() != said.String() || len(last.Output) != len(items) {
		return nil, said.String(), fmt.Errorf("%w: the end is of %s and says %q in %d items, the events are of %s and say %q in %d",
			errShort, last.ID, last.OutputText(), len(last.Output), id, said.String(), len(items))
	}
	for i := range items {
		if last.Output[i].ID != items[i] {
			return nil, said.String(), fmt.Errorf("%w: item %d is %s, and was %s", errShort, i, last.Output[i].ID, items[i])
		}
	}
	return last, said.String(), nil
}

type messagesTalk struct {
	p      anthropic.MessageNewParams
	stream bool
}

func newMessagesTalk(stream bool) *messagesTalk {
	t := &messagesTalk{stream: stream, p: anthropic.MessageNewParams{
		Model: "claude-haiku-4-5", MaxTokens: 4096, Thinking: anthropic.ThinkingConfigParamOfEnabled(1024),
	}}
	t.p.Tools = []anthropic.ToolUnionParam{
		anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{Properties: toolProperties, Required: []string{"city"}}, toolName),
	}
	return t
}

func (t *messagesTalk) says(text string) {
	t.p.Messages = append(t.p.Messages, anthropic.NewUserMessage(anthropic.NewTextBlock(text)))
}

func (t *messagesTalk) returns(calls []made, text string) {
	var results []anthropic.ContentBlockParamUnion
	for _, c := range calls {
		results = append(results, anthropic.NewToolResultBlock(c.ID, text, false))
	}
	t.p.Messages = append(t.p.Messages, anthropic.NewUserMessage(results...))
}

func (t *messagesTalk) ask(ctx context.Context, c client) (r reply, err error) {
	got := &anthropic.Message{}
	if t.stream {
		got, err = messagesLoopStream(ctx, c, t.p)
	} else if got, err = messagesTurn(ctx, c, t.p); err != nil {
		return r, err
	}
	u := got.Usage
	r = reply{ID: got.ID, In: u.InputTokens + u.CacheReadInputTokens + u.CacheCreationInputTokens, Out: u.OutputTokens}
	r.End = map[anthropic.StopReason]string{"end_turn": endWhole, "tool_use": endCalls, "max_tokens": endShort}[got.StopReason]
	for _, b := range got.Content {
		r.Text += b.Text
		switch b.Type {
		case "tool_use":
			r.Calls = append(r.Calls, made{b.ID, b.Name, string(b.Input)})
		case "thinking":
			r.Thoughts++
		}
	}
	if err == nil {
		t.p.Messages = append(t.p.Messages, got.ToParam())
	}
	return r, err
}

// messagesLoopStream holds the events to their order besides.
func messagesLoopStream(ctx context.Context, c client, p anthropic.MessageNewParams) (*anthropic.Message, error) {
	s := c.anthropic().Messages.NewStreaming(ctx, p)
	defer s.Close()
	var all anthropic.Message
	starts, stops, open, next := 0, 0, int64(-1), int64(0)
	for s.Next() {
		e := s.Current()
		if err := all.Accumulate(e); err != nil {
			return &all, err
		}
		wrong := stops > 0 || (starts == 0) != (e.Type == "message_start")
		switch e.Type {
		case "message_start":
			starts++
		case "content_block_start":
			wrong = wrong || open >= 0 || e.Index != next
			open = e.Index
		case "content_block_delta":
			wrong = wrong || e.Index != open
		case "content_block_stop":
			wrong = wrong || e.Index != open
			open, next = -1, next+1
		case "message_stop":
			stops++
		}
		if wrong {
			return &all, fmt.Errorf("%w: %s stands where it must not", errShort, e.RawJSON())
		}
	}
	return &all, ended(s.Err(), stops == 1)
}
