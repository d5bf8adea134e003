package compat_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/anthropics/anthropic-sdk-go"
	anthropicoption "github.com/anthropics/anthropic-sdk-go/option"
	"github.com/openai/openai-go/v3"
	openaioption "github.com/openai/openai-go/v3/option"
	"github.com/openai/openai-go/v3/responses"
)

// errShort is what must never be: an answer that stops, and no error.
var errShort = errors.New("the answer ended early and the SDK took it for whole")

// call asks for one answer through an SDK, and returns what came of it.
type call struct {
	name   string
	api    string // openai or anthropic
	model  string
	stream bool
	ask    func(ctx context.Context, c client) (string, error)
}

var calls = []call{
	{"chat, blocking", "openai", "gpt-4o-mini", false, chat},
	{"chat, streaming", "openai", "gpt-4o-mini", true, chatStream},
	{"responses, blocking", "openai", "gpt-4o-mini", false, respond},
	{"responses, streaming", "openai", "gpt-4o-mini", true, respondStream},
	{"messages, blocking", "anthropic", "claude-haiku-4-5", false, message},
	{"messages, streaming", "anthropic", "claude-haiku-4-5", true, messageStream},
}

// client is how an SDK calls.
type client struct {
	gateway, key string
	retries      bool          // the SDK's own, as they are by default
	sent         *atomic.Int64 // counts requests, repeated ones too; nil: nobody asks
}

func (c client) openai() *openai.Client {
	o := []openaioption.RequestOption{openaioption.WithBaseURL(c.gateway + "/v1"), openaioption.WithAPIKey(c.key), openaioption.WithMiddleware(c.count)}
	if !c.retries {
		o = append(o, openaioption.WithMaxRetries(0))
	}
	sdk := openai.NewClient(o...)
	return &sdk
}

func (c client) anthropic() *anthropic.Client {
	o := []anthropicoption.RequestOption{anthropicoption.WithBaseURL(c.gateway), anthropicoption.WithAPIKey(c.key), anthropicoption.WithMiddleware(c.count)}
	if !c.retries {
		o = append(o, anthropicoption.WithMaxRetries(0))
	}
	sdk := anthropic.NewClient(o...)
	return &sdk
}

func (c client) count(r *http.Request, next func(*http.Request) (*http.Response, error)) (*http.Response, error) {
	if c.sent != nil {
		c.sent.Add(1)
	}
	return next(r)
}

func chatParams() openai.ChatCompletionNewParams {
	return openai.ChatCompletionNewParams{Model: "gpt-4o-mini", Messages: []openai.ChatCompletionMessageParamUnion{openai.UserMessage("Hi")}}
}

func chat(ctx context.Context, c client) (string, error) {
	got, err := c.openai().Chat.Completions.New(ctx, chatParams())
	if err != nil {
		return "", err
	}
	if len(got.Choices) == 0 || got.Choices[0].FinishReason != "stop" {
		return "", errShort
	}
	return got.Choices[0].Message.Content, nil
}

func chatStream(ctx context.Context, c client) (string, error) {
	s := c.openai().Chat.Completions.NewStreaming(ctx, chatParams())
	defer s.Close()
	var b strings.Builder
	finished := false
	for s.Next() {
		for _, choice := range s.Current().Choices {
			b.WriteString(choice.Delta.Content)
			finished = finished || choice.FinishReason != ""
		}
	}
	return b.String(), ended(s.Err(), finished)
}

func responseParams() responses.ResponseNewParams {
	return responses.ResponseNewParams{Model: "gpt-4o-mini", Input: responses.ResponseNewParamsInputUnion{OfString: openai.String("Hi")}}
}

func respond(ctx context.Context, c client) (string, error) {
	got, err := c.openai().Responses.New(ctx, responseParams())
	if err != nil {
		return "", err
	}
	if got.Status != "completed" {
		return got.OutputText(), errShort
	}
	return got.OutputText(), nil
}

// respondStream takes an error event for the error it is: the SDK hands it on as
// an event.
func respondStream(ctx context.Context, c client) (string, error) {
	s := c.openai().Responses.NewStreaming(ctx, responseParams())
	defer s.Close()
	var b strings.Builder
	finished, next := false, int64(0)
	for s.Next() {
		e := s.Current()
		if e.SequenceNumber != next {
			return b.String(), fmt.Errorf("%w: event %d is numbered %d", errShort, next, e.SequenceNumber)
		}
		next++
		switch e.Type {
		case "response.output_text.delta":
			b.WriteString(e.Delta)
		case "response.completed":
			finished = true
		case "error":
			return b.String(), errors.New("error event " + e.Code + ": " + e.Message)
		}
	}
	return b.String(), ended(s.Err(), finished)
}

func messageParams() anthropic.MessageNewParams {
	return anthropic.MessageNewParams{
		Model: "claude-haiku-4-5", MaxTokens: 64,
		Messages: []anthropic.MessageParam{anthropic.NewUserMessage(anthropic.NewTextBlock("Hi"))},
	}
}

func message(ctx context.Context, c client) (string, error) {
	got, err := c.anthropic().Messages.New(ctx, messageParams())
	if err != nil {
		return "", err
	}
	if len(got.Content) == 0 || got.StopReason != "end_turn" {
		return "", errShort
	}
	return got.Content[0].Text, nil
}

func messageStream(ctx context.Context, c client) (string, error) {
	s := c.anthropic().Messages.NewStreaming(ctx, messageParams())
	defer s.Close()
	var b strings.Builder
	finished := false
	for s.Next() {
		switch e := s.Current().AsAny().(type) {
		case anthropic.ContentBlockDeltaEvent:
			b.WriteString(e.Delta.Text)
		case anthropic.MessageStopEvent:
			finished = true
		}
	}
	return b.String(), ended(s.Err(), finished)
}

func ended(err error, finished bool) error {
	if err == nil && !finished {
		return errShort
	}
	return err
}

// failure is what an SDK's typed error says.
type failure struct {
	Status     int
	Type, Code string
	RetryAfter string
}

// typed reads the SDK's own error; any other fails the test.
func typed(t *testing.T, err error) failure {
	t.Helper()
	if o, ok := errors.AsType[*openai.Error](err); ok {
		return failure{o.StatusCode, o.Type, o.Code, o.Response.Header.Get("Retry-After")}
	}
	if a, ok := errors.AsType[*anthropic.Error](err); ok {
		return failure{a.StatusCode, string(a.Type()), "", a.Response.Header.Get("Retry-After")}
	}
	t.Fatalf("err = %v (%T), want the SDK's typed error", err, err)
	return failure{}
}
