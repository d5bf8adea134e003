package compat_test

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/anthropics/anthropic-sdk-go"
	"github.com/openai/openai-go/v3"
	"github.com/openai/openai-go/v3/responses"
)

// A trip is a conversation of two calls: the model calls the client's tool, and
// says something about what the tool answered.
const (
	toolAsked    = "simulate:tool What is the weather in Oslo?"
	toolName     = "weather"
	toolAnswered = "17 degrees"
)

// run is the client's tool.
type run func(name, arguments string) (answer string)

type trip struct {
	name  string
	model string
	ask   func(ctx context.Context, c client, tool run) (string, error)
}

var trips = []trip{
	{"chat, blocking", "gpt-4o-mini", chatTrip(chatTurn)},
	{"chat, streaming", "gpt-4o-mini", chatTrip(chatTurnStream)},
	{"responses, blocking", "gpt-4o-mini", responsesTrip(responsesTurn)},
	{"responses, streaming", "gpt-4o-mini", responsesTrip(responsesTurnStream)},
	{"messages, blocking", "claude-haiku-4-5", messagesTrip(messagesTurn)},
	{"messages, streaming", "claude-haiku-4-5", messagesTrip(messagesTurnStream)},
}

var (
	toolProperties = map[string]any{"city": map[string]any{"type": "string"}}
	toolSchema     = map[string]any{"type": "object", "properties": toolProperties, "required": []string{"city"}, "additionalProperties": false}
)

// toolCity is the one argument of the tool.
func toolCity(arguments string) (string, error) {
	var a struct{ City string }
	err := json.Unmarshal([]byte(arguments), &a)
	return a.City, err
}

type chatAsk func(ctx context.Context, c client, p openai.ChatCompletionNewParams) (*openai.ChatCompletion, error)

func chatTurn(ctx context.Context, c client, p openai.ChatCompletionNewParams) (*openai.ChatCompletion, error) {
	return c.openai().Chat.Completions.New(ctx, p)
}

func chatTurnStream(ctx context.Context, c client, p openai.ChatCompletionNewParams) (*openai.ChatCompletion, error) {
	s := c.openai().Chat.Completions.NewStreaming(ctx, p)
	defer s.Close()
	var all openai.ChatCompletionAccumulator
	for s.Next() {
		if !all.AddChunk(s.Current()) {
			return nil, fmt.Errorf("%w: a chunk does not fit the others", errShort)
		}
	}
	return &all.ChatCompletion, s.Err()
}

func chatTrip(ask chatAsk) func(context.Context, client, run) (string, error) {
	return func(ctx context.Context, c client, tool run) (string, error) {
		p := chatParams()
		p.Messages = []openai.ChatCompletionMessageParamUnion{openai.UserMessage(toolAsked)}
		p.Tools = []openai.ChatCompletionToolUnionParam{
			openai.ChatCompletionFunctionTool(openai.FunctionDefinitionParam{Name: toolName, Parameters: toolSchema}),
		}
		got, err := ask(ctx, c, p)
		if err != nil {
			return "", err
		}
		if len(got.Choices) != 1 || got.Choices[0].FinishReason != "tool_calls" || len(got.Choices[0].Message.ToolCalls) != 1 {
			return "", fmt.Errorf("%w: one call of a tool is missing: %+v", errShort, got.Choices)
		}
		call := got.Choices[0].Message.ToolCalls[0]
		answer := tool(call.Function.Name, call.Function.Arguments)
		p.Messages = append(p.Messages, got.Choices[0].Message.ToParam(), openai.ToolMessage(answer, call.ID))
		if got, err = ask(ctx, c, p); err != nil {
			return "", err
		}
		if len(got.Choices) != 1 || got.Choices[0].FinishReason != "stop" {
			return "", errShort
		}
		return got.Choices[0].Message.Content, nil
	}
}

type responsesAsk func(ctx context.Context, c client, p responses.ResponseNewParams) (*responses.Response, error)

func responsesTurn(ctx context.Context, c client, p responses.ResponseNewParams) (*responses.Response, error) {
	return c.openai().Responses.New(ctx, p)
}

func responsesTurnStream(ctx context.Context, c client, p responses.ResponseNewParams) (*responses.Response, error) {
	s := c.openai().Responses.NewStreaming(ctx, p)
	defer s.Close()
	var whole *responses.Response
	for s.Next() {
		if e := s.Current(); e.Type == "response.completed" {
			whole = &e.Response
		}
	}
	return whole, ended(s.Err(), whole != nil)
}

func responsesTrip(ask responsesAsk) func(context.Context, client, run) (string, error) {
	return func(ctx context.Context, c client, tool run) (string, error) {
		p := responseParams()
		p.Tools = []responses.ToolUnionParam{responses.ToolParamOfFunction(toolName, toolSchema, true)}
		p.Input = responses.ResponseNewParamsInputUnion{OfInputItemList: responses.ResponseInputParam{
			responses.ResponseInputItemParamOfMessage(toolAsked, responses.EasyInputMessageRoleUser),
		}}
		got, err := ask(ctx, c, p)
		if err != nil {
			return "", err
		}
		if got.Status != "completed" || len(got.Output) != 1 || got.Output[0].Type != "function_call" {
			return "", fmt.Errorf("%w: one call of a tool is missing: %+v", errShort, got.Output)
		}
		call := got.Output[0].AsFunctionCall()
		answer := responses.ResponseInputItemParamOfFunctionCallOutput(tool(call.Name, call.Arguments))
		answer.OfFunctionCallOutput.CallID = openai.String(call.CallID)
		p.Input.OfInputItemList = append(p.Input.OfInputItemList, responses.ResponseInputItemParamOfFunctionCall(call.Arguments, call.CallID, call.Name),
			answer)
		if got, err = ask(ctx, c, p); err != nil {
			return "", err
		}
		if got.Status != "completed" {
			return "", errShort
		}
		return got.OutputText(), nil
	}
}

type messagesAsk func(ctx context.Context, c client, p anthropic.MessageNewParams) (*anthropic.Message, error)

func messagesTurn(ctx context.Context, c client, p anthropic.MessageNewParams) (*anthropic.Message, error) {
	return c.anthropic().Messages.New(ctx, p)
}

func messagesTurnStream(ctx context.Context, c client, p anthropic.MessageNewParams) (*anthropic.Message, error) {
	s := c.anthropic().Messages.NewStreaming(ctx, p)
	defer s.Close()
	var all anthropic.Message
	for s.Next() {
		if err := all.Accumulate(s.Current()); err != nil {
			return nil, err
		}
	}
	return &all, s.Err()
}

func messagesTrip(ask messagesAsk) func(context.Context, client, run) (string, error) {
	return func(ctx context.Context, c client, tool run) (string, error) {
		p := messageParams()
		p.Messages = []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock(toolAsked))}
		p.Tools = []anthropic.ToolUnionParam{
			anthropic.ToolUnionParamOfTool(anthropic.ToolInputSchemaParam{Properties: toolProperties, Required: []string{"city"}}, toolName),
		}
		got, err := ask(ctx, c, p)
		if err != nil {
			return "", err
		}
		if got.StopReason != "tool_use" || len(got.Content) != 1 || got.Content[0].Type != "tool_use" {
			return "", fmt.Errorf("%w: one call of a tool is missing: %+v", errShort, got.Content)
		}
		call := got.Content[0].AsToolUse()
		answer := tool(call.Name, string(call.Input))
		p.Messages = append(p.Messages, got.ToParam(), anthropic.NewUserMessage(anthropic.NewToolResultBlock(call.ID, answer, false)))
		if got, err = ask(ctx, c, p); err != nil {
			return "", err
		}
		if got.StopReason != "end_turn" || len(got.Content) != 1 {
			return "", errShort
		}
		return got.Content[0].Text, nil
	}
}
