package dialect_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/dialect"
	"keybridge/internal/dialect/chat"
)

// belongs is what a body tells of the conversation and the state it belongs to.
type belongs struct {
	Session        string
	Signal         string
	Pins           []string
	Sealed, Unkept bool
	CacheLife      time.Duration
}

func TestPeekTellsWhatARequestBelongsTo(t *testing.T) {
	t.Parallel()
	const uuid = "1c2d3e4f-0000-4000-8000-123456789abc"
	tests := map[string]struct {
		body string
		want belongs
	}{
		"nothing":                {`{"model":"m","messages":[{"role":"user","content":"file_id"}]}`, belongs{}},
		"Claude Code, old form":  {`{"metadata":{"user_id":"user_0a1b_account_` + uuid + `_session_` + uuid + `"}}`, belongs{Session: uuid, Signal: "metadata.user_id"}},
		"Claude Code, new form":  {`{"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"` + uuid + `\"}"}}`, belongs{Session: uuid, Signal: "metadata.user_id"}},
		"a user without session": {`{"metadata":{"user_id":"user-7"}}`, belongs{}},
		"an object's user":       {`{"metadata":{"user_id":"{\"session_id\":7}"}}`, belongs{}},
		"metadata null":          {`{"metadata":null}`, belongs{}},
		"Codex":                  {`{"store":false,"include":["reasoning.encrypted_content"],"prompt_cache_key":"` + uuid + `"}`, belongs{Session: uuid, Signal: "prompt_cache_key", Unkept: true}},
		"an earlier answer":      {`{"previous_response_id":"resp_1","store":true}`, belongs{Signal: "previous_response_id", Pins: []string{"resp_1"}}},
		"none":                   {`{"previous_response_id":null,"conversation":null,"store":null}`, belongs{}},
		"a conversation":         {`{"conversation":"conv_1"}`, belongs{Session: "conv_1", Signal: "conversation", Pins: []string{"conv_1"}}},
		"a conversation's id":    {`{"conversation":{"id":"conv_2"}}`, belongs{Session: "conv_2", Signal: "conversation", Pins: []string{"conv_2"}}},
		"a session":              {`{"session_id":"s\u0031"}`, belongs{Session: "s1", Signal: "session_id"}},
		"user before all": {
			`{"session_id":"s","conversation":"conv_1","previous_response_id":"resp_1","prompt_cache_key":"k","metadata":{"user_id":"x_session_y"}}`,
			belongs{Session: "y", Signal: "metadata.user_id", Pins: []string{"resp_1", "conv_1"}},
		},
		"key before answer":           {`{"previous_response_id":"resp_1","prompt_cache_key":"k"}`, belongs{Session: "k", Signal: "prompt_cache_key", Pins: []string{"resp_1"}}},
		"answer before session":       {`{"session_id":"s","previous_response_id":"resp_1"}`, belongs{Signal: "previous_response_id", Pins: []string{"resp_1"}}},
		"conversation before session": {`{"session_id":"s","conversation":"conv_1"}`, belongs{Session: "conv_1", Signal: "conversation", Pins: []string{"conv_1"}}},
		"a batch's file":              {`{"input_file_id":"file-1","endpoint":"/v1/responses"}`, belongs{Pins: []string{"file-1"}}},
		"files in Responses": {
			`{"input":[{"role":"user","content":[{"type":"input_file","file_id":"file-1"},{"type":"input_image","file_id" : "file-2"}]}],
			 "tools":[{"type":"file_search","vector_store_ids":["vs_1" , "vs_2"]},{"type":"code_interpreter","container":{"type":"auto","file_ids":["file-3"]}},
			          {"type":"code_interpreter","container":"cntr_1"}],"previous_response_id":"resp_1"}`,
			belongs{Signal: "previous_response_id", Pins: []string{"resp_1", "file-1", "file-2", "vs_1", "vs_2", "file-3", "cntr_1"}},
		},
		"a file in chat": {`{"messages":[{"role":"user","content":[{"type":"file","file":{"file_id":"file-1"}}]}]}`, belongs{Pins: []string{"file-1"}}},
		"files in Messages": {
			`{"container":{"id":"container_1","skills":[{"type":"custom","skill_id":"skill_1"},{"type":"anthropic","skill_id":"pptx"}]},
			 "messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_1"}},{"type":"container_upload","file_id":"file_2"}]}]}`,
			belongs{Pins: []string{"skill_1", "container_1", "file_1", "file_2"}},
		},
		"a container":         {`{"container":"container_1"}`, belongs{Pins: []string{"container_1"}}},
		"a prompt of a file":  {`{"prompt":{"id":"pmpt_1","version":"2"}}`, belongs{Pins: []string{"pmpt_1"}}},
		"a prompt of words":   {`{"prompt":"file-system paintings"}`, belongs{}},
		"a tool's own names":  {`{"tools":[{"input_schema":{"properties":{"file_id":{"type":"string"},"container":{"type":"string"}}}}]}`, belongs{}},
		"a tool's own ids":    {`{"messages":[{"content":[{"type":"tool_use","input":{"file_id":"42"}},{"file_id":"43"}]}]}`, belongs{}},
		"a tool's arguments":  {`{"messages":[{"content":[{"type":"tool_use","input":{"a":[{"file_id":"file_1"}],"ttl":"1h"},"x":{}},{"file_id":"file_2"}]}]}`, belongs{Pins: []string{"file_2"}}},
		"a tool's examples":   {`{"tools":[{"input_examples":[{"file_id":"file_1"}],"y":1}],"x":{"file_id":"file_2"}}`, belongs{Pins: []string{"file_2"}}},
		"words":               {`{"messages":[{"content":"\"file_id\":\"file_1\" and \"encrypted_content\":\"x\""}]}`, belongs{}},
		"ids that are none":   {`{"x":{"file_id":7,"file_ids":["file-1",8,"file-2"],"vector_store_ids":"vs_1","container":null}}`, belongs{Pins: []string{"file-1"}}},
		"an id too long":      {`{"previous_response_id":"` + strings.Repeat("x", 257) + `"}`, belongs{}},
		"sealed reasoning":    {`{"input":[{"type":"reasoning","encrypted_content":"gAAA"}]}`, belongs{Sealed: true}},
		"no sealed reasoning": {`{"input":[{"type":"reasoning","encrypted_content":null},{"encrypted_content":""}]}`, belongs{}},
		"a cache of an hour":  {`{"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral","ttl":"1h"}}]}`, belongs{CacheLife: time.Hour}},
		"of five minutes":     {`{"system":[{"cache_control":{"type":"ephemeral","ttl":"5m"}}]}`, belongs{}},
		"of a day":            {`{"prompt_cache_retention":"24h"}`, belongs{CacheLife: 24 * time.Hour}},
		"of memory":           {`{"prompt_cache_retention":"in-memory"}`, belongs{}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, peek := range []func([]byte) (dialect.Peeked, error){dialect.Peek, dialect.Opaque(chat.New()).Peek} {
				p, err := peek([]byte(tt.body))
				got := belongs{p.Session, p.Signal.String(), p.Pins, p.Sealed, p.Unkept, p.CacheLife}
				if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
					t.Errorf("%v (-want +got):\n%s", err, diff)
				}
			}
		})
	}
}

func TestPeekNotesABoundedNumberOfIDs(t *testing.T) {
	t.Parallel()
	var list []string
	for i := range 100 {
		list = append(list, fmt.Sprintf(`{"file_id":"file-%d"}`, i))
	}
	p, err := dialect.Peek([]byte(`{"input":[` + strings.Join(list, ",") + `],"previous_response_id":"resp_1"}`))
	if err != nil || len(p.Pins) != 16 || p.Pins[0] != "resp_1" || p.Pins[1] != "file-0" {
		t.Errorf("%v, %v, want 16 and the answer first", p.Pins, err)
	}
}

func TestPeekEstimatesThePrompt(t *testing.T) {
	t.Parallel()
	base64 := strings.Repeat("iVBORw0KGgo+/AAA", 10_000)
	for name, tt := range map[string]struct {
		body     string
		min, max int64
	}{
		"words":           {`{"input":"` + strings.Repeat("word ", 1000) + `"}`, 1200, 1300},
		"words in parts":  {`{"input":[{"content":[{"text":"` + strings.Repeat("word ", 1000) + `"}]}]}`, 1200, 1300},
		"other alphabets": {`{"input":"` + strings.Repeat("语", 1000) + `"}`, 700, 800},
		"a picture":       {`{"messages":[{"content":[{"image_url":{"url":"data:image/png;base64,` + base64 + `"}}]}]}`, 1500, 1600},
		"a document":      {`{"messages":[{"content":[{"source":{"data":"` + base64 + `"}}]}]}`, 1500, 1600},
		"as the input":    {`{"input":"` + base64 + `"}`, 1500, 1600},
		"next to none":    {`{}`, 0, 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if p, err := dialect.Peek([]byte(tt.body)); err != nil || p.Tokens < tt.min || p.Tokens > tt.max {
				t.Errorf("%d tokens, %v, want %d to %d", p.Tokens, err, tt.min, tt.max)
			}
		})
	}
}

// What nothing names is named by how it begins: all turns of a conversation alike,
// others not.
func TestOpening(t *testing.T) {
	t.Parallel()
	opening := func(body string) (string, bool) {
		p, err := dialect.Peek([]byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return p.Opening()
	}
	for name, turns := range map[string][]string{
		"chat": {
			`{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"}]}`,
			`{"model":"m","messages":[{"role":"system","content":"be kind"},{"role":"user","content":"hi"},{"role":"assistant","content":"hello"},{"role":"user","content":"and"}]}`,
			`{"messages": [ {"content":"be kind","role":"system"} , {"content":"hi","role":"user"} ,{"role":"assistant","tool_calls":[{}]},{"role":"tool","content":"1"}],"model":"m","temperature":1}`,
		},
		"messages": {
			`{"model":"m","system":[{"type":"text","text":"be kind"}],"messages":[{"role":"user","content":[{"type":"text","text":"hi","cache_control":{"type":"ephemeral"}}]}]}`,
			`{"model":"m","system":[{"type":"text","text":"be kind","cache_control":{}}],"messages":[{"role":"user","content":[{"type":"text","text":"hi"}]},{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}`,
		},
		"responses": {
			`{"model":"m","instructions":"be kind","input":[{"role":"developer","content":"x"},{"type":"message","role":"user","content":"hi"}]}`,
			`{"model":"m","instructions":"be kind","input":[{"role":"developer","content":"x"},{"type":"message","role":"user","content":"hi"},{"type":"function_call","name":"f"}]}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			first, begins := opening(turns[0])
			if first == "" || !begins {
				t.Errorf("the first turn is %q, begins %v", first, begins)
			}
			for _, turn := range turns[1:] {
				if got, begins := opening(turn); got != first || begins {
					t.Errorf("a later turn is %q, begins %v, want %q: %s", got, begins, first, turn)
				}
			}
			for _, other := range []string{strings.Replace(turns[0], `"hi"`, `"ho"`, 1), strings.Replace(turns[0], "be kind", "be rude", 1), strings.Replace(turns[0], `"m"`, `"n"`, 1)} {
				if got, _ := opening(other); got == first || got == "" {
					t.Errorf("another conversation is %q: %s", got, other)
				}
			}
		})
	}
	for body, begun := range map[string]bool{
		`{"model":"m","input":"hi"}`: true, `{"model":"m"}`: false, `{"messages":[]}`: false, `{"messages":7}`: false, `{"input":null}`: false,
		`{"messages":[{"role":"system","content":"x"}]}`: false, `{"input":[{"type":"reasoning"},{"role":"user"}]}`: false, `{"input":[1,2]}`: false, `{"input":{"role":"user"}}`: false,
		`{"messages":[{"role":"user","content":"a"},{"role":"user","content":"b"}]}`: true,
	} {
		if name, begins := opening(body); (name != "") != begun || begins != begun {
			t.Errorf("%s: %q, begins %v", body, name, begins)
		}
	}
	p, err := dialect.Opaque(chat.New()).Peek([]byte(`{"model":"m","input":"hi"}`))
	if name, begins := p.Opening(); err != nil || name != "" || begins {
		t.Errorf("a request that is no conversation is %q, begins %v, %v", name, begins, err)
	}
}

func TestPeekDoesNotAllocate(t *testing.T) {
	body := request()
	if n := testing.AllocsPerRun(20, func() {
		if _, err := dialect.Peek(body); err != nil {
			t.Fatal(err)
		}
	}); n > 2 { // the model's name, and where the last turns begin
		t.Errorf("%v allocations", n)
	}
}
