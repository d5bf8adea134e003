package dialect_test

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/fault"
)

func TestPeek(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body string
		want dialect.Peeked
		says string // a part of the error's public half
	}{
		"both":                 {body: `{"model":"m","stream":true}`, want: dialect.Peeked{Model: "m", Stream: true}},
		"neither":              {body: ` { } `},
		"stream null":          {body: "{\"stream\":null,\r\n\t\"model\":\"m\"}\n", want: dialect.Peeked{Model: "m"}},
		"stream false":         {body: `{"stream":false}`},
		"nested ones are not":  {body: `{"a":{"model":"x","stream":true},"b":[{"model":1},{"model":2}]}`},
		"escaped name":         {body: `{"mo\u0064el":"m","\u0073tr\u0065am":true}`, want: dialect.Peeked{Model: "m", Stream: true}},
		"escaped value":        {body: `{"model":"a\/b\u00e9\"c"}`, want: dialect.Peeked{Model: `a/bé"c`}},
		"brackets in strings":  {body: `{"a":"}]{[","b":["\"}","\\"],"model":"m"}`, want: dialect.Peeked{Model: "m"}},
		"long strings":         {body: `{"a":"` + strings.Repeat(`\"\\`, 1000) + `","model":"m"}`, want: dialect.Peeked{Model: "m"}},
		"numbers":              {body: `{"a":[1,2.5e-3,[` + strings.Repeat("1234567, ", 50) + `0]],"b":-1.0E+5,"model":"m"}`, want: dialect.Peeked{Model: "m"}},
		"bytes like brackets":  {body: `{"a":[true ,  null,_Yy` + "\x7f" + `],"model":"m"}`, want: dialect.Peeked{Model: "m"}},
		"deepest":              {body: `{"a":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`},
		"doubled model":        {body: `{"model":"m","model":"m"}`, says: `request body, byte 21: "model" stands twice`},
		"doubled by an escape": {body: `{"model":"m","m\u006fdel":"n"}`, says: `"model" stands twice`},
		"doubled stream":       {body: `{"stream":true,"stream":true}`, says: `"stream" stands twice`},
		"empty model":          {body: `{"model":""}`, says: `byte 9: "model" is empty`},
		"model a number":       {body: `{"model":1}`, says: `"model" must be a string`},
		"model null":           {body: `{"model":null}`, says: `"model" must be a string`},
		"model with a NUL":     {body: `{"model":"a\u0000"}`, says: "control character"},
		"model not UTF-8":      {body: "{\"model\":\"a\xff\"}", says: "not UTF-8"},
		"model badly escaped":  {body: `{"model":"\q"}`, says: "invalid escape"},
		"stream a string":      {body: `{"stream":"true"}`, says: `"stream" must be true or false`},
		"stream a number":      {body: `{"stream":1}`, says: `"stream" must be true or false`},
		"empty":                {body: "", says: "the body is empty: send a JSON object"},
		"space":                {body: " \n", says: "the body is empty"},
		"array":                {body: `[{"model":"m"}]`, says: "byte 0: the body is not a JSON object"},
		"not JSON":             {body: `model=m`, says: "byte 0: the body is not a JSON object"},
		"open object":          {body: `{"model":"m"`, says: "byte 12: the JSON object is not closed: send the whole body"},
		"open after a comma":   {body: `{"model":"m",`, says: "byte 13: the JSON object is not closed"},
		"open string":          {body: `{"a":"x\"}`, says: "byte 5: the string opened here is not closed"},
		"open name":            {body: `{"a`, says: "byte 1: the string opened here is not closed"},
		"open nested string":   {body: `{"a":["x]}`, says: "byte 6: the string opened here is not closed"},
		"open array":           {body: `{"a":[1,2}`, says: `byte 9: '}' closes a bracket of the other kind`},
		"open nested":          {body: `{"a":{"b":[1]`, says: `byte 5: the '{' opened here is not closed`},
		"crossed deep":         {body: `{"a":` + strings.Repeat(`[{"b":`, 100) + "}", says: ""},
		"crossed":              {body: `{"a":{"b":[}]}`, says: "closes a bracket of the other kind"},
		"too deep":             {body: `{"a":` + strings.Repeat("[", 10_001) + strings.Repeat("]", 10_001) + `}`, says: "nested more than 10000 deep"},
		"text behind":          {body: `{"model":"m"} {`, says: `byte 14: '{' follows the JSON object`},
		"no colon":             {body: `{"a" 1}`, says: "byte 5: a colon is missing"},
		"no value":             {body: `{"a":,"b":1}`, says: `byte 5: a value is expected, not ','`},
		"no value at the end":  {body: `{"a": `, says: "byte 6: a value is missing"},
		"no name":              {body: `{1:2}`, says: `byte 1: a member's name in quotes is expected, not '1'`},
		"comma at the end":     {body: `{"a":1,}`, says: `a member's name in quotes is expected, not '}'`},
		"no comma":             {body: `{"a":1 "b":2}`, says: `byte 7: a comma or the object's end is missing before '"'`},
	}
	// Its innermost bracket closes rightly; the ones around it are left open.
	tests["crossed deep"] = struct {
		body string
		want dialect.Peeked
		says string
	}{body: tests["crossed deep"].body, says: "is not closed"}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := dialect.Peek([]byte(tt.body))
			if tt.says == "" {
				if err != nil || got.Model != tt.want.Model || got.Stream != tt.want.Stream {
					t.Fatalf("%+v, %v, want %+v", got, err, tt.want)
				}
				return
			}
			var f *fault.Error
			if !errors.As(err, &f) || f.Code != fault.BadRequest || !strings.Contains(f.Public, tt.says) {
				t.Fatalf("error %v, want a bad request that says %q", err, tt.says)
			}
			if !reflect.DeepEqual(got, dialect.Peeked{}) {
				t.Errorf("a refused body still tells %+v", got)
			}
		})
	}
}

func TestOpaque(t *testing.T) {
	t.Parallel()
	d := dialect.Opaque(chat.New())
	for body, model := range map[string]string{
		`{"model":"m","stream":7,"input":[]}`: "m",
		`{"model":"m","model":"m"}`:           "",
		`{"model":"m","model":1}`:             "",
		`{"model":1,"mod\u0065l":"m"}`:        "",
		`{"model":""}`:                        "",
		`{"model":1}`:                         "",
		`{"model":"m"`:                        "",
		`{"model":"m"} {"model":"n"}`:         "",
		`[{"model":"m"}]`:                     "",
		"":                                    "",
		"--x\r\nContent-Disposition: form-data\r\n\r\n--x": "",
	} {
		got, err := d.Peek([]byte(body))
		if err != nil || got.Model != model || got.Stream {
			t.Errorf("%q: %+v, %v, want model %q", body, got, err, model)
		}
	}
	f := fault.New(fault.NotFound, "no such path")
	if got, want := string(d.Error(f)), string(chat.New().Error(f)); got != want {
		t.Errorf("error %s, want the family's %s", got, want)
	}
	o := d.Observe()
	if !o.Turn().Complete || o.Event(d.Ping()) != dialect.Content {
		t.Error("an opaque answer is content and may end anywhere")
	}
	if len(d.Ping().Raw) != 0 || len(o.Break(f).Raw) != 0 {
		t.Error("something is put into opaque bytes")
	}
}

func TestErrorWords(t *testing.T) {
	t.Parallel()
	tests := map[fault.Code]struct{ openAI, anthropic string }{
		fault.BadRequest:     {`"type":"invalid_request_error","param":null,"code":null`, "invalid_request_error"},
		fault.Unauthorized:   {`"type":"invalid_request_error","param":null,"code":"invalid_api_key"`, "authentication_error"},
		fault.ModelNotFound:  {`"type":"invalid_request_error","param":null,"code":"model_not_found"`, "not_found_error"},
		fault.TooLarge:       {`"type":"invalid_request_error","param":null,"code":null`, "request_too_large"},
		fault.RateLimited:    {`"type":"rate_limit_error","param":null,"code":"rate_limit_exceeded"`, "rate_limit_error"},
		fault.QuotaExhausted: {`"type":"api_error","param":null,"code":"server_error"`, "api_error"},
		fault.AuthFailed:     {`"type":"api_error","param":null,"code":"server_error"`, "api_error"},
		fault.Timeout:        {`"type":"api_error","param":null,"code":"server_error"`, "timeout_error"},
		"unheard-of":         {`"type":"api_error","param":null,"code":"server_error"`, "api_error"},
	}
	for code, want := range tests {
		f := &fault.Error{Code: code, Public: "x"}
		if got, want := string(dialect.OpenAIError(f)), `{"error":{"message":"x",`+want.openAI+`}}`; got != want {
			t.Errorf("%s: %s, want %s", code, got, want)
		}
		if got, want := string(dialect.AnthropicError(f)), `{"type":"error","error":{"type":"`+want.anthropic+`","message":"x"}}`; got != want {
			t.Errorf("%s: %s, want %s", code, got, want)
		}
	}
}

// FuzzPeek holds the pass against encoding/json: it admits each object that is
// valid, and what it tells of one is what decoding tells.
func FuzzPeek(f *testing.F) {
	for _, s := range []string{
		`{"model":"m","stream":true}`, `{"mo\u0064el":"a\"b","x":[{},[1,2,"]"]]}`, `{"a":1,"stream":null} `, `{}`, `[`, `{"a":"\\"}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var object map[string]json.RawMessage
		valid := json.Unmarshal(body, &object) == nil && object != nil
		if valid && !dialect.Whole(body) {
			t.Fatalf("a valid object is not whole: %q", body)
		}
		got, err := dialect.Peek(body)
		if _, opaqueErr := dialect.Opaque(chat.New()).Peek(body); opaqueErr != nil {
			t.Fatal(opaqueErr)
		}
		if err != nil || !valid {
			return
		}
		var want dialect.Peeked
		for name, to := range map[string]any{"model": &want.Model, "stream": &want.Stream} {
			if raw, ok := object[name]; ok && json.Unmarshal(raw, to) != nil {
				t.Fatalf("%s is %s, yet the body passes", name, raw)
			}
		}
		if got.Model != want.Model || got.Stream != want.Stream {
			t.Fatalf("%+v, want %+v: %q", got, want, body)
		}
	})
}

// request is about 500 KB as agents send them: tools, then code in messages.
func request() []byte {
	type object = map[string]any
	var tools, messages []any
	for range 40 {
		tools = append(tools, object{"name": "read_file", "description": strings.Repeat("Reads a \"file\".\n", 60), "input_schema": object{
			"type": "object", "properties": object{"path": object{"type": "string"}, "lines": object{"type": "array", "items": object{"type": "integer"}}},
		}})
	}
	for range 110 {
		messages = append(messages, object{"role": "user", "content": []any{
			object{"type": "text", "text": strings.Repeat("\tif err := f(\"x\"); err != nil {\n\t\treturn fmt.Errorf(\"f: %w\", err)\n\t}\n", 50)},
		}})
	}
	body, err := json.Marshal(object{"max_tokens": 8192, "messages": messages, "tools": tools, "model": "m", "stream": true})
	if err != nil {
		panic(err)
	}
	return body
}

func BenchmarkPeek(b *testing.B) {
	for name, body := range map[string][]byte{
		"agent":   request(),
		"prose":   []byte(`{"model":"m","input":"` + strings.Repeat("It was the best of times, it was the worst of times. ", 9500) + `"}`),
		"numbers": []byte(`{"model":"m","input":[` + strings.Repeat("12345, ", 71_000) + `0]}`),
		"quotes":  []byte(`{"model":"m","input":"` + strings.Repeat(`\"`, 250_000) + `"}`),
	} {
		b.Run(name, func(b *testing.B) {
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				if p, err := dialect.Peek(body); err != nil || p.Model != "m" {
					b.Fatal(p, err)
				}
			}
		})
	}
}

// The scan for the end of a string looks at several bytes at a time: each length,
// with escapes at each place, must end where the byte by byte one does.
func TestEndsOfStrings(t *testing.T) {
	t.Parallel()
	for n := range 200 {
		for _, escape := range []string{`\"`, `\\`, `\\\"`, `\n`, `\\\\`} {
			text := strings.Repeat("x", n) + escape + strings.Repeat("y", (n*7)%90)
			for _, body := range []string{
				`{"a":"` + text + `","model":"m"}`,
				`{"a":"` + text + text + `","model":"m"}`,
				`{"a":["` + text + `"],"model":"m"}`,
			} {
				if p, err := dialect.Peek([]byte(body)); err != nil || p.Model != "m" {
					t.Fatalf("%s: %+v, %v", body, p, err)
				}
				for _, cut := range []string{body[:6+len(text)], body[:6+n+len(escape)]} {
					if _, err := dialect.Peek([]byte(cut)); err == nil {
						t.Fatalf("%s: no error", cut)
					}
				}
			}
		}
	}
}
