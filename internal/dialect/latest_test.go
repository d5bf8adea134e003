package dialect_test

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"keybridge/internal/dialect"

	"github.com/google/go-cmp/cmp"
)

func peek(t testing.TB, body string) dialect.Peeked {
	t.Helper()
	p, err := dialect.Peek([]byte(body))
	if err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	return p
}

func TestAnswers(t *testing.T) {
	t.Parallel()
	ok := func(ids ...string) (list []dialect.Answer) {
		for _, id := range ids {
			list = append(list, dialect.Answer{Call: id})
		}
		return list
	}
	tests := map[string]struct {
		body  string
		want  []dialect.Answer
		after string
	}{
		"a first question":    {body: `{"messages":[{"role":"user","content":"x"}]}`},
		"no conversation":     {body: `{"model":"m"}`},
		"an empty one":        {body: `{"messages":[]}`},
		"none at all":         {body: `{"messages":null,"input":7}`},
		"an object for one":   {body: `{"messages":{"a":{"role":"tool","tool_call_id":"x"}}}`},
		"words for an answer": {body: `{"messages":[{"role":"assistant","content":"a"},{"role":"user","content":"b"}]}`},
		"Messages": {
			body: `{"messages":[{"role":"user","content":"q"},
				{"role":"assistant","content":[{"type":"tool_use","id":"toolu_0","name":"n","input":{}}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_0","content":"old"}]},
				{"role":"assistant","content":[{"type":"tool_use","id":"toolu_1","name":"n","input":{"tool_use_id":"x"}},{"type":"tool_use","id":"toolu_2"}]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_1","content":[{"type":"tool_result","tool_use_id":"deep"}]},
					{"is_error" : true,"content":"\"is_error\":false","tool_use_id":"toolu_2","type":"tool_result"},{"type":"text","text":"and"},7,"x"]},
				{"role":"user","content":[{"type":"tool_result","tool_use_id":"toolu_3","is_error":false}]}]}`,
			want: []dialect.Answer{{Call: "toolu_1"}, {Call: "toolu_2", Failed: true}, {Call: "toolu_3"}},
		},
		"Messages, a system message between": {
			body: `{"messages":[{"content":[{"type":"tool_use","id":"t"}],"role":"assistant"},{"role":"system","content":"s"},` +
				`{"content":[{"type":"tool_result","tool_use_id":"t"}],"role":"user"}]}`,
			want: ok("t"),
		},
		"Chat": {
			body: `{"messages":[{"role":"user","content":"q"},{"role":"assistant","tool_calls":[{"id":"call_0"}]},{"role":"tool","tool_call_id":"call_0","content":"old"},
				{"role":"assistant","content":null,"tool_calls":[{"id":"call_1"},{"id":"call_2"}]},
				{"role":"tool","tool_call_id":"call_1","content":"x"},{"content":"y","tool_call_id":"call_2","role":"tool"},{"role":"user","content":"go on"}]}`,
			want: ok("call_1", "call_2"),
		},
		"Chat, a result of no call":  {body: `{"messages":[{"role":"assistant"},{"role":"tool","content":"x"},{"role":"function","name":"f","content":"y"}]}`},
		"Chat, an id that is a text": {body: `{"messages":[{"role":"assistant"},{"role":"tool","tool_call_id":"` + strings.Repeat("x", 300) + `"}]}`},
		"Responses": {
			body: `{"input":[{"role":"user","content":"q"},{"type":"reasoning","summary":[]},{"type":"function_call","call_id":"call_0","id":"fc_0"},
				{"type":"function_call_output","call_id":"call_0","output":"old"},{"type":"message","role":"assistant","content":[]},
				{"type":"function_call","call_id":"call_1"},{"type":"custom_tool_call","call_id":"call_2"},
				{"type":"function_call_output","call_id":"call_1","output":"x"},{"output":"y","call_id":"call_2","type":"custom_tool_call_output"},
				{"type":"apply_patch_call_output","call_id":"call_3","status":"failed"},{"type":"function_call_output","call_id":"call_4","status":"completed"}]}`,
			want: []dialect.Answer{{Call: "call_1"}, {Call: "call_2"}, {Call: "call_3", Failed: true}, {Call: "call_4"}},
		},
		"Responses, kept": {
			body:  `{"previous_response_id":"resp_1","input":[{"type":"function_call_output","call_id":"call_1","output":"x"},{"type":"message","role":"user","content":"y"}]}`,
			want:  ok("call_1"),
			after: "resp_1",
		},
		"Responses, words after an answer": {body: `{"input":"more","previous_response_id":"resp_1"}`, after: "resp_1"},
		"Responses, references": {
			body: `{"input":[{"type":"item_reference","id":"fc_1"},{"type":"function_call_output","call_id":"call_1","output":"x"}]}`,
			want: ok("call_1"),
		},
		"Responses, approvals": {
			body: `{"previous_response_id":"r","input":[{"type":"mcp_approval_response","approval_request_id":"mcpr_1","approve":true},` +
				`{"type":"mcp_approval_response","approval_request_id":"mcpr_2","approve":false}]}`,
			want:  []dialect.Answer{{Call: "mcpr_1"}, {Call: "mcpr_2", Failed: true}},
			after: "r",
		},
		"the later of two": {
			body: `{"messages":[{"role":"assistant"},{"role":"tool","tool_call_id":"a"}],"input":[{"type":"function_call","call_id":"b"},{"type":"function_call_output","call_id":"b"}]}`,
			want: ok("b"),
		},
		"the later of two, with nothing in it": {
			body: `{"messages":[{"role":"assistant","content":"longer than what follows"},{"role":"tool","tool_call_id":"a"}],"input":[{"role":"user","content":"x"}]}`,
		},
		"too many in one message": {
			body: `{"messages":[{"role":"assistant"},{"role":"user","content":[` + results(300) + `]}]}`,
			want: last(300, 128),
		},
		"escaped": {
			body: `{"messages":[{"role":"assist\u0061nt"},{"r\u006fle":"tool","tool_call_id":"c\u0061ll"}]}`,
			want: ok("call"),
		},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := peek(t, tt.body)
			got, after := p.Answers()
			if diff := cmp.Diff(tt.want, got); diff != "" || after != tt.after {
				t.Errorf("after %q, want %q; (-want +got):\n%s", after, tt.after, diff)
			}
		})
	}
}

func results(n int) string {
	var list []string
	for i := range n {
		list = append(list, `{"type":"tool_result","tool_use_id":"t`+strconv.Itoa(i)+`"}`)
	}
	return strings.Join(list, ",")
}

func last(n, most int) (list []dialect.Answer) {
	for i := n - most; i < n; i++ {
		list = append(list, dialect.Answer{Call: "t" + strconv.Itoa(i)})
	}
	return list
}

// However long the conversation, what is last in it is found, and no more than is allowed.
func TestAnswersOfLongConversations(t *testing.T) {
	t.Parallel()
	for _, before := range []int{0, 1, 100, 127, 128, 129, 1000} {
		for _, answers := range []int{0, 1, 126, 127, 128, 129, 300} {
			var list []string
			for i := range before {
				list = append(list, fmt.Sprintf(`{"role":"tool","tool_call_id":"old%d"},{"role":"user","content":"u%d"}`, i, i))
			}
			list = append(list, `{"role":"assistant","content":[{"a":[{}]}]}`)
			var want []dialect.Answer
			for i := range answers {
				list = append(list, fmt.Sprintf(`{"role":"tool","tool_call_id":"new%d","content":[{"type":"text","text":"]}"}]}`, i))
				if i >= answers-128 {
					want = append(want, dialect.Answer{Call: fmt.Sprintf("new%d", i)})
				}
			}
			p := peek(t, `{"messages" : [ `+strings.Join(list, " , ")+` ]}`)
			got, _ := p.Answers()
			if len(got) > 0 || len(want) > 0 {
				if diff := cmp.Diff(want, got); diff != "" {
					t.Fatalf("%d before, %d answers (-want +got):\n%s", before, answers, diff)
				}
			}
			prompt, size := p.Prompt(100)
			if wanted := "u" + strconv.Itoa(before-1); before > 0 && (prompt != wanted || size != len(wanted)) || before == 0 && size != 0 {
				t.Fatalf("%d before, %d answers: prompt %q of %d bytes, want %q", before, answers, prompt, size, wanted)
			}
		}
	}
}

func TestPrompt(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		body  string
		limit int
		want  string
		size  int
	}{
		"none":                {`{"model":"m"}`, 9, "", 0},
		"nobody's":            {`{"messages":[]}`, 9, "", 0},
		"the model's only":    {`{"messages":[{"role":"assistant","content":"x"}]}`, 9, "", 0},
		"a text":              {`{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"},{"role":"user","content":"c"},{"role":"system","content":"d"}]}`, 9, "c", 1},
		"parts":               {`{"messages":[{"content":[{"type":"text","text":"a\n"},{"type":"image","source":{"type":"text","text":"no"}},{"text":"b","type":"text"}],"role":"user"}]}`, 9, "a\n\nb", 4},
		"results behind":      {`{"messages":[{"role":"user","content":"ask"},{"role":"assistant"},{"role":"user","content":[{"type":"tool_result","tool_use_id":"t","content":[{"type":"text","text":"no"}]}]}]}`, 9, "ask", 3},
		"results beside":      {`{"messages":[{"role":"user","content":"ask"},{"role":"user","content":[{"type":"tool_result","content":"no"},{"type":"text","text":"now"}]}]}`, 9, "now", 3},
		"a picture":           {`{"messages":[{"role":"user","content":"ask"},{"role":"user","content":[{"type":"image"}]}]}`, 9, "", 0},
		"Responses, a text":   {`{"input":"tell \"me\""}`, 99, `tell "me"`, 9},
		"Responses, an item":  {`{"input":[{"role":"user","content":[{"type":"input_text","text":"a"},{"type":"input_image"},{"type":"input_text","text":"b"}]},{"type":"function_call_output","call_id":"c","output":"no"}]}`, 9, "a\nb", 3},
		"cut":                 {`{"input":"abcdef"}`, 3, "abc", 6},
		"cut at nothing":      {`{"input":"abcdef"}`, 0, "", 6},
		"cut below nothing":   {`{"input":"abcdef"}`, -1, "", 6},
		"cut in a character":  {`{"input":"aé"}`, 2, "a", 3},
		"cut behind one":      {`{"input":"aéx"}`, 3, "aé", 4},
		"cut in a long one":   {`{"input":"a😀"}`, 4, "a", 5},
		"cut in an escape":    {`{"input":"a\ud83d\ude00"}`, 4, "a", 5},
		"escapes":             {`{"input":"\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00"}`, 99, "\"\\/\b\f\n\r\té😀", 14},
		"half a pair":         {`{"input":"\ud83dx\ude00\u12"}`, 99, "\ufffdx\ufffd\ufffd12", 12},
		"an escape of no use": {`{"input":"\q\é"}`, 99, "qé", 3},
		"not UTF-8":           {"{\"input\":\"a\xffb\"}", 99, "a?b", 3},
		"cut behind no UTF-8": {"{\"input\":\"a\xffbcd\"}", 3, "a?b", 5},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := peek(t, tt.body)
			if got, size := p.Prompt(tt.limit); got != tt.want || size != tt.size {
				t.Errorf("%q of %d, want %q of %d", got, size, tt.want, tt.size)
			}
		})
	}
}

// What is told of the end of a conversation is bounded, whatever the body is, and what
// the text of a prompt is, encoding/json would say, too.
func FuzzLatest(f *testing.F) {
	f.Add([]byte(`{"input":"a\ud83d\ude00\n\u00e9"}`), 3)
	f.Add([]byte(`{"messages":[{"role":"user","content":[{"type":"text","text":"x"}]},{"role":"tool","tool_call_id":"y"}]}`), 99)
	f.Add([]byte(`{"messages":[{"role":"assistant"},[{"type":1}],{"role":"user","content":[{"type":"tool_result","tool_use_id":"t"}]}]}`), 0)
	f.Fuzz(func(t *testing.T, body []byte, limit int) {
		p, err := dialect.Peek(body)
		if err != nil {
			t.Skip()
		}
		if answers, _ := p.Answers(); len(answers) > 128 {
			t.Fatalf("%d answers", len(answers))
		}
		text, size := p.Prompt(limit)
		if len(text) > max(0, limit) || !utf8.ValidString(text) {
			t.Fatalf("%q of %d with limit %d", text, size, limit)
		}
		var object map[string]json.RawMessage
		var want string
		if json.Unmarshal(body, &object) != nil || len(object) != 1 || json.Unmarshal(object["input"], &want) != nil || !utf8.Valid(body) {
			return
		}
		if whole, size := p.Prompt(len(body)); object["input"][0] == '"' && (whole != want || size != len(want)) {
			t.Fatalf("%q of %d, want %q of %d", whole, size, want, len(want))
		}
	})
}

// history is about 500 KB as an agent sends it late in its work.
func history() []byte {
	type object = map[string]any
	messages := []any{object{"role": "user", "content": "do it"}}
	code := strings.Repeat("\tif err := f(\"x\"); err != nil {\n\t\treturn err\n\t}\n", 60)
	for i := range 120 {
		id := fmt.Sprintf("toolu_%d", i)
		messages = append(messages,
			object{"role": "assistant", "content": []any{object{"type": "tool_use", "id": id, "name": "read", "input": object{"path": "x.go"}}}},
			object{"role": "user", "content": []any{object{"type": "tool_result", "tool_use_id": id, "content": code}}})
	}
	body, err := json.Marshal(object{"model": "m", "messages": messages, "stream": true})
	if err != nil {
		panic(err)
	}
	return body
}

func BenchmarkLatest(b *testing.B) {
	body := history()
	p := peek(b, string(body))
	b.Run("Peek", func(b *testing.B) {
		b.SetBytes(int64(len(body)))
		b.ReportAllocs()
		for b.Loop() {
			if _, err := dialect.Peek(body); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Answers", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if a, _ := p.Answers(); len(a) != 1 {
				b.Fatal(a)
			}
		}
	})
	b.Run("Prompt", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if s, _ := p.Prompt(4096); s != "do it" {
				b.Fatal(s)
			}
		}
	})
}
