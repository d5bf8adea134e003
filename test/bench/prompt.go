package main

import (
	"encoding/json"
	"fmt"
	"strings"
)

const gatewayToken = "bench-gateway-token-0123456789"

type (
	message struct {
		Role    string     `json:"role"`
		Content string     `json:"content"`
		Calls   []toolCall `json:"tool_calls,omitempty"`
		CallID  string     `json:"tool_call_id,omitempty"`
	}
	toolCall struct {
		ID       string   `json:"id"`
		Type     string   `json:"type"`
		Function function `json:"function"`
	}
	function struct {
		Name        string         `json:"name"`
		Description string         `json:"description,omitempty"`
		Arguments   string         `json:"arguments,omitempty"`
		Parameters  map[string]any `json:"parameters,omitempty"`
	}
	tool struct {
		Type     string   `json:"type"`
		Function function `json:"function"`
	}
)

const sourceCode = "func (s *Store) Load(ctx context.Context, id string) (*Row, error) {\n" +
	"\trow := s.db.QueryRow(ctx, \"SELECT id, name, body FROM rows WHERE id = $1\", id)\n" +
	"\tif err := row.Scan(&r.ID, &r.Name, &r.Body); err != nil {\n\t\treturn nil, fmt.Errorf(\"load %q: %w\", id, err)\n\t}\n" +
	"\treturn r, nil // größer → später\n}\n"

// prompt is a chat request of size bytes, 1000 or more, in the shape that a coding
// agent's grows into: a system text, tools, and turn after turn a tool call with
// arguments in escaped JSON and a tool result full of source code.
func prompt(size int, stream bool) []byte {
	parameters := map[string]any{"type": "object", "properties": map[string]any{"path": map[string]any{"type": "string"}}}
	head := marshal(map[string]any{
		"model": "gpt-5-mini", "stream": stream, "max_completion_tokens": 4096,
		"tools": []tool{{"function", function{Name: "edit", Description: "Edits a file.", Parameters: parameters}}},
	})
	body := make([]byte, 0, size)
	body = append(append(body, head[:len(head)-1]...), `,"messages":[`...)
	body = append(body, marshal(message{Role: "system", Content: "You are a coding agent.\nUse the tools; answer in \"Markdown\"."})...)
	const ending = `,{"role":"user","content":"Now make the tests pass, and say what you changed.%s"}]}`
	for i := 0; ; i++ {
		id := fmt.Sprintf("call_%024d", i)
		arguments := fmt.Sprintf(`{"path":"internal/store/file%d.go","old":"\tif err != nil {\n","new":"\tif err != nil && \"x\" != s {\n"}`, i)
		turn := marshal([]message{
			{Role: "assistant", Calls: []toolCall{{ID: id, Type: "function", Function: function{Name: "edit", Arguments: arguments}}}},
			{Role: "tool", CallID: id, Content: strings.Repeat(sourceCode, 1+i%9)},
		})
		left := size - len(body) - len(ending) + len("%s")
		if len(turn)-1 > left {
			return fmt.Appendf(body, ending, strings.Repeat(".", left))
		}
		body = append(append(body, ','), turn[1:len(turn)-1]...)
	}
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // plain data
	}
	return b
}

// request is a whole request as an SDK sends it. Every proxy gets the same bytes.
func request(path string, body []byte) []byte {
	return append(fmt.Appendf(nil, "POST /%s HTTP/1.1\r\n"+strings.Join([]string{
		"Host: 127.0.0.1",
		"Accept: application/json",
		"Accept-Encoding: gzip, deflate",
		"Authorization: Bearer " + gatewayToken,
		"Content-Length: %d",
		"Content-Type: application/json",
		"User-Agent: OpenAI/Python 1.99.0",
		"X-Stainless-Arch: x64",
		"X-Stainless-Async: false",
		"X-Stainless-Lang: python",
		"X-Stainless-Os: Linux",
		"X-Stainless-Package-Version: 1.99.0",
		"X-Stainless-Retry-Count: 0",
		"X-Stainless-Runtime: CPython",
		"X-Stainless-Runtime-Version: 3.12.0",
	}, "\r\n")+"\r\n\r\n", path, len(body)), body...)
}

// chat is a request of a kind with a prompt of about size bytes.
func chat(kind string, size int) []byte {
	return request(kind+"/v1/chat/completions", prompt(size, kind == streamPath || kind == pacedPath || kind == idlePath))
}
