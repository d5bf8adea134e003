package dialect

import (
	"bytes"
	"encoding/json"

	"keybridge/internal/fault"
	"keybridge/internal/wire"
)

// words are an error's type and code in the OpenAI APIs; code "" is null there.
type words struct{ kind, code string }

var openAI = map[fault.Code]words{ //nolint:gochecknoglobals // a constant table
	fault.BadRequest:     {kind: "invalid_request_error"},
	fault.Unauthorized:   {kind: "invalid_request_error", code: "invalid_api_key"},
	fault.Forbidden:      {kind: "request_forbidden"},
	fault.NotFound:       {kind: "invalid_request_error"},
	fault.ModelNotFound:  {kind: "invalid_request_error", code: "model_not_found"},
	fault.TooLarge:       {kind: "invalid_request_error"},
	fault.Unsupported:    {kind: "invalid_request_error"},
	fault.Upgrade:        {kind: "invalid_request_error"},
	fault.RequestTimeout: {kind: "invalid_request_error"},
	fault.RateLimited:    {kind: "rate_limit_error", code: "rate_limit_exceeded"},
	fault.QuotaExhausted: {kind: "api_error", code: "server_error"},
	fault.AuthFailed:     {kind: "api_error", code: "server_error"},
	fault.Disabled:       {kind: "api_error", code: "server_error"},
	fault.Unavailable:    {kind: "api_error", code: "server_error"},
	fault.BadUpstream:    {kind: "api_error", code: "server_error"},
	fault.Timeout:        {kind: "api_error", code: "server_error"},
	fault.Internal:       {kind: "api_error", code: "server_error"},
}

var anthropic = map[fault.Code]string{ //nolint:gochecknoglobals // a constant table
	fault.BadRequest:     "invalid_request_error",
	fault.Unauthorized:   "authentication_error",
	fault.Forbidden:      "permission_error",
	fault.NotFound:       "not_found_error",
	fault.ModelNotFound:  "not_found_error",
	fault.TooLarge:       "request_too_large",
	fault.Unsupported:    "invalid_request_error",
	fault.Upgrade:        "invalid_request_error",
	fault.RequestTimeout: "timeout_error",
	fault.RateLimited:    "rate_limit_error",
	fault.QuotaExhausted: "api_error",
	fault.AuthFailed:     "api_error",
	fault.Disabled:       "api_error",
	fault.Unavailable:    "api_error",
	fault.BadUpstream:    "api_error",
	fault.Timeout:        "timeout_error",
	fault.Internal:       "api_error",
}

// OpenAIError is the error body of the OpenAI APIs.
func OpenAIError(f *fault.Error) []byte {
	type detail struct {
		Message string  `json:"message"`
		Type    string  `json:"type"`
		Param   *string `json:"param"`
		Code    *string `json:"code"`
	}
	w := openAIWords(f.Code)
	return marshal(struct {
		Error detail `json:"error"`
	}{detail{Message: f.Public, Type: w.kind, Code: w.orNull()}})
}

// ResponsesError is the data of the error event of the Responses API.
func ResponsesError(f *fault.Error, sequence int64) []byte {
	return marshal(struct {
		Type     string  `json:"type"`
		Code     *string `json:"code"`
		Message  string  `json:"message"`
		Param    *string `json:"param"`
		Sequence int64   `json:"sequence_number"`
	}{Type: "error", Code: openAIWords(f.Code).orNull(), Message: f.Public, Sequence: sequence})
}

// AnthropicError is the error body of the Anthropic API, and the data of its
// error event.
func AnthropicError(f *fault.Error) []byte {
	type detail struct {
		Type    string `json:"type"`
		Message string `json:"message"`
	}
	kind, ok := anthropic[f.Code]
	if !ok {
		kind = anthropic[fault.Internal]
	}
	return marshal(struct {
		Type      string `json:"type"`
		Error     detail `json:"error"`
		RequestID string `json:"request_id,omitempty"`
	}{Type: "error", Error: detail{Type: kind, Message: f.Public}, RequestID: f.RequestID})
}

func openAIWords(code fault.Code) words {
	if w, ok := openAI[code]; ok {
		return w
	}
	return openAI[fault.Internal]
}

func (w words) orNull() *string {
	if w.code == "" {
		return nil
	}
	return &w.code
}

// marshal writes <, > and & as they are: clients match the text of errors.
func marshal(v any) []byte {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		panic(err) // strings and numbers only: cannot fail
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// SSE makes a server-sent event of one line of data; name may be "". After an
// event that was not closed it closes that first, so that the two stay apart.
func SSE(name string, data []byte, closed bool) wire.Event {
	var raw []byte
	if !closed {
		raw = append(raw, "\n\n"...)
	}
	if name != "" {
		raw = append(append(append(raw, "event: "...), name...), '\n')
	}
	raw = append(append(raw, "data: "...), data...)
	from := len(raw) - len(data)
	to := len(raw)
	raw = append(raw, "\n\n"...)
	return wire.Event{Raw: raw, Name: name, Data: raw[from:to:to]}
}

// Comment is the server-sent comment that keeps the streams of the OpenAI APIs
// alive: clients skip it before they look at anything.
func Comment() wire.Event { return wire.Event{Raw: []byte(": keybridge\n\n")} }
