package dialect

import (
	"bytes"
	"strings"
)

// maxAnswers bounds what is told of the calls that a request answers.
const maxAnswers = 128

// Answer is a result that a request brings of a call that the model made.
type Answer struct {
	Call   string // the call's id
	Failed bool   // the client says that the tool failed, or was not allowed
}

// marks are where the last elements of a conversation begin: a ring.
type marks struct {
	at [maxAnswers]uint32 // from the begin of the array
	n  int                // how many there were
}

func (m *marks) add(at int) {
	m.at[m.n%maxAnswers] = uint32(at) //nolint:gosec // a body is smaller
	m.n++
}

// list is all that is remembered, in order.
func (m *marks) list() []uint32 {
	switch {
	case m.n == 0:
		return nil
	case m.n <= maxAnswers:
		return append([]uint32(nil), m.at[:m.n]...)
	}
	first := m.n % maxAnswers
	return append(append(make([]uint32, 0, maxAnswers), m.at[first:]...), m.at[:first]...)
}

// Answers lists the results that the request brings behind what the model said last, of
// more than 128 the last ones, and the id of the provider's answer that it goes on
// from. Call it while the body that was peeked into is unchanged.
func (p *Peeked) Answers() (answers []Answer, after string) {
	behind := len(p.latest)
	for behind > 0 && !saidByModel(p.turns[p.latest[behind-1]:]) {
		behind--
	}
	if behind == 0 && p.after == "" && p.wholly() {
		return nil, "" // the model has said nothing yet: there is nothing to answer
	}
	for _, at := range p.latest[behind:] {
		answers = appendAnswers(answers, p.turns[at:])
	}
	return answers[max(0, len(answers)-maxAnswers):], p.after
}

// wholly says that latest holds all of the conversation.
func (p *Peeked) wholly() bool {
	return len(p.latest) == 0 || int(p.latest[0]) == skipSpace(p.turns, 1)
}

// saidByModel tells what the model said from what the client did. It reads no further
// than it must: the content may be long.
func saidByModel(turn []byte) bool {
	for parts := PartsOf(turn); ; {
		name, ok := parts.name()
		if !ok {
			return false
		}
		value, _ := parts.value()
		switch string(name) {
		case "role":
			return string(value) == `"assistant"` || Text(value) == "assistant"
		case "type": // of an item of the Responses API
			if kind := Text(value); kind != "message" {
				return !isAnswer(kind)
			}
		}
	}
}

// isAnswer says that items of this type answer a call.
func isAnswer(kind string) bool {
	return strings.HasSuffix(kind, "_output") || kind == "mcp_approval_response"
}

// appendAnswers reads a message or an item that is not the model's.
func appendAnswers(answers []Answer, turn []byte) []Answer {
	var one Answer
	var role, kind string
	for parts := PartsOf(turn); ; {
		name, ok := parts.name()
		if !ok {
			break
		}
		if role == "user" && string(name) == "content" && parts.begins('"') {
			return answers // the user's words, as long as they are
		}
		value, _ := parts.value()
		switch string(name) {
		case "role":
			role = Text(value)
		case "type":
			kind = Text(value)
		case "tool_call_id", "call_id", "approval_request_id":
			one.Call = callID(value)
		case "status":
			one.Failed = string(value) == `"failed"`
		case "approve":
			one.Failed = string(value) == "false"
		case "content":
			if len(value) > 0 && value[0] == '[' {
				answers = appendResults(answers, value)
			}
		}
	}
	if one.Call != "" && (role == "tool" || isAnswer(kind)) {
		answers = append(answers, one)
	}
	return answers
}

// appendResults reads the blocks of a message of the Messages API.
func appendResults(answers []Answer, content []byte) []Answer {
	for blocks := PartsOf(content); ; {
		_, block, ok := blocks.Next()
		if !ok {
			return answers
		}
		var one Answer
		result := false
		for parts := PartsOf(block); ; {
			name, value, more := parts.Next()
			if !more {
				break
			}
			switch string(name) {
			case "type":
				result = string(value) == `"tool_result"`
			case "tool_use_id":
				one.Call = callID(value)
			case "is_error":
				one.Failed = string(value) == "true"
			}
		}
		if result && one.Call != "" {
			answers = append(answers, one)
		}
	}
}

// callID is the id of a call, "" if it is none.
func callID(value []byte) string {
	if len(value) > maxIDLen {
		return ""
	}
	return Text(value)
}

// Prompt is what the user said last: the text of the last message of the user's that is
// not only results of tools, its parts on lines of their own. It is cut to limit bytes,
// in whole characters; size is that of all of it. Call it while the body that was peeked
// into is unchanged.
func (p *Peeked) Prompt(limit int) (text string, size int) {
	var x Excerpt
	if bytes.HasPrefix(p.turns, []byte{'"'}) {
		x.Quoted(p.turns, limit)
		return x.Text(), x.Size
	}
	for i := len(p.latest) - 1; i >= 0; i-- {
		if words := userWords(p.turns[p.latest[i]:]); words != nil {
			return prompt(words, limit)
		}
	}
	if p.wholly() {
		return "", 0
	}
	var last []byte
	for parts := PartsOf(p.turns[:p.latest[0]]); ; {
		_, turn, ok := parts.Next()
		if !ok {
			return prompt(last, limit)
		}
		if words := userWords(turn); words != nil {
			last = words
		}
	}
}

// userWords is the content of a message of the user's that holds more than results of
// tools, nil of any other.
func userWords(turn []byte) []byte {
	var content []byte
	user := false
	for parts := PartsOf(turn); ; {
		name, ok := parts.name()
		if !ok {
			break
		}
		value, _ := parts.value()
		switch string(name) {
		case "role":
			if user = Text(value) == "user"; !user {
				return nil
			}
		case "content":
			content = value
		}
	}
	switch {
	case !user || len(content) == 0:
		return nil
	case content[0] == '"':
		return content
	}
	for parts := PartsOf(content); content[0] == '['; {
		_, part, ok := parts.Next()
		if !ok {
			break
		}
		if string(Member(part, "type")) != `"tool_result"` {
			return content
		}
	}
	return nil
}

// prompt reads the words of a message.
func prompt(content []byte, limit int) (text string, size int) {
	var x Excerpt
	if len(content) > 0 && content[0] == '"' {
		x.Quoted(content, limit)
		return x.Text(), x.Size
	}
	for parts, more := PartsOf(content), false; ; {
		_, part, ok := parts.Next()
		if !ok {
			return x.Text(), x.Size
		}
		switch Text(Member(part, "type")) {
		case "text", "input_text":
			if more {
				x.Raw([]byte{'\n'}, limit)
			}
			x.Quoted(Member(part, "text"), limit)
			more = true
		}
	}
}
