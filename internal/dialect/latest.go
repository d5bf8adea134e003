package dialect

import (
	"bytes"
	"slices"
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

// note takes in where a bracket opens, and how many are open there; without marks nothing.
func (m *marks) note(depth, at int) {
	if m != nil && depth == 1 {
		m.at[m.n%maxAnswers] = uint32(at) //nolint:gosec // a body is smaller
		m.n++
	}
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
	if len(p.latest) == 1 && p.after == "" && p.wholly() {
		return nil, "" // a first question
	}
	for _, at := range slices.Backward(p.latest) {
		all, said := appendAnswers(answers, p.turns[at:])
		if said || len(answers) >= maxAnswers {
			break
		}
		slices.Reverse(all[len(answers):])
		answers = all
	}
	answers = answers[:min(len(answers), maxAnswers)]
	slices.Reverse(answers)
	return answers, p.after
}

// wholly says that latest holds all of the conversation.
func (p *Peeked) wholly() bool {
	return len(p.latest) == 0 || int(p.latest[0]) == skipSpace(p.turns, 1)
}

// isAnswer says that items of this type answer a call.
func isAnswer(kind string) bool {
	return strings.HasSuffix(kind, "_output") || kind == "mcp_approval_response"
}

// appendAnswers reads a message or an item, no further than it must, and says whether
// the model said it.
func appendAnswers(answers []Answer, turn []byte) (all []Answer, said bool) {
	var r result
	for parts := PartsOf(turn); ; {
		name, ok := parts.name()
		if !ok {
			break
		}
		if string(name) == "content" {
			switch {
			case r.role == "user" && parts.begins('"'):
				return answers, false // words, as long as they are
			case parts.begins('['):
				answers = appendResults(answers, &parts)
				continue
			}
		}
		value, _ := parts.value()
		if r.member(name, value); r.said {
			return nil, true
		}
	}
	if r.Call != "" && (r.role == "tool" || isAnswer(r.kind)) {
		answers = append(answers, r.Answer)
	}
	return answers, false
}

// result is a message or an item that may answer a call.
type result struct {
	Answer
	role, kind string
	said       bool // by the model
}

func (r *result) member(name, value []byte) {
	switch string(name) {
	case "role":
		r.role = roleIn(value)
		r.said = r.role == "assistant"
	case "type":
		r.kind = Text(value)
		r.said = r.kind != "message" && !isAnswer(r.kind) // an item of the Responses API
	case "tool_call_id", "call_id", "approval_request_id":
		r.Call = callID(value)
	case "status":
		r.Failed = string(value) == `"failed"`
	case "approve":
		r.Failed = string(value) == "false"
	}
}

// appendResults reads the blocks of a message of the Messages API, and goes behind them.
func appendResults(answers []Answer, message *Parts) []Answer {
	blocks := message.inside()
	for {
		if _, ok := blocks.name(); !ok {
			break
		}
		if !blocks.begins('{') {
			_, _ = blocks.value()
			continue
		}
		var one Answer
		result := false
		parts := blocks.inside()
		for {
			name, value, ok := parts.Next()
			if !ok {
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
		blocks.leave(&parts)
		if result && one.Call != "" {
			answers = append(answers, one)
		}
	}
	message.leave(&blocks)
	return answers
}

// roleIn is whose message it is.
func roleIn(value []byte) string {
	switch string(value) { // most are one of these
	case `"user"`:
		return "user"
	case `"tool"`:
		return "tool"
	case `"assistant"`:
		return "assistant"
	}
	return text(value)
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
	if bytes.HasPrefix(p.turns, []byte{'"'}) {
		return prompt(p.turns, limit)
	}
	for _, at := range slices.Backward(p.latest) {
		if words := userWords(p.turns[at:]); words != nil {
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

// userWords is what begins with the content of a message of the user's that holds more
// than results of tools, nil of any other.
func userWords(turn []byte) (content []byte) {
	user, known := false, false
	for parts := PartsOf(turn); ; {
		name, ok := parts.name()
		switch {
		case !ok && user:
			return content
		case !ok, known && !user:
			return nil
		case string(name) == "content":
			if content = nil; parts.begins('"') {
				content = parts.rest
			} else if parts.begins('[') {
				content = wordsAmong(&parts)
				continue
			}
		}
		value, _ := parts.value()
		if string(name) == "role" {
			user, known = roleIn(value) == "user", true
		}
	}
}

// wordsAmong is what begins with the blocks, unless they are all results of tools; it
// goes behind them.
func wordsAmong(message *Parts) (content []byte) {
	all := message.rest
	blocks := message.inside()
	for {
		if _, ok := blocks.name(); !ok {
			break
		}
		if !blocks.begins('{') {
			_, _ = blocks.value()
			continue
		}
		parts := blocks.inside()
		result := false
		for {
			name, value, ok := parts.Next()
			if !ok {
				break
			}
			if string(name) == "type" {
				result = string(value) == `"tool_result"`
			}
		}
		if blocks.leave(&parts); !result {
			content = all
		}
	}
	message.leave(&blocks)
	return content
}

// prompt reads the words that content begins with.
func prompt(content []byte, limit int) (text string, size int) {
	x := Excerpt{Limit: limit}
	if len(content) > 0 && content[0] == '"' {
		if end := stringEnd(content, 0); end > 0 {
			x.Quoted(content[:end])
		}
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
				x.Raw([]byte{'\n'})
			}
			x.Quoted(Member(part, "text"))
			more = true
		}
	}
}
