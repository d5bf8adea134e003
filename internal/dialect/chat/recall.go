package chat

import (
	"bytes"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// Recall puts the hidden steps of earlier exchanges in the place of the assistant's
// messages that the client has made of them. It knows them by the ids of the client's
// calls, which must all be there: what is replaced calls them all.
func (Dialect) Recall(body []byte, find func(id string) *dialect.Hidden) ([]byte, error) {
	list := dialect.Member(unpadded(body), "messages")
	if !isArray(list) {
		return body, nil
	}
	messages := turnsOf(list)
	called := map[string]bool{}
	for i := range messages {
		for _, id := range messages[i].calls {
			called[id] = true
		}
	}
	for i := 0; i < len(messages); {
		i = recallAt(messages, i, called, find)
	}
	next := 0
	edited := rework(list, func(_, message []byte) []byte {
		m := &messages[next]
		next++
		switch {
		case m.gone:
			return nil
		case m.with != nil:
			return m.with
		}
		return message
	})
	if len(edited) == len(list) && &edited[0] == &list[0] {
		return body, nil
	}
	return dialect.Replace(body, list, edited), nil
}

// message is what Recall has to know of one, and what is to become of it.
type message struct {
	role  string
	calls []string // the ids of the calls in it
	with  []byte   // takes its place
	gone  bool
}

func turnsOf(list []byte) (messages []message) {
	for parts := dialect.PartsOf(list); ; {
		_, v, ok := parts.Next()
		if !ok {
			return messages
		}
		m := message{role: dialect.Text(dialect.Member(v, "role"))}
		if m.role == "assistant" {
			for calls := dialect.PartsOf(dialect.Member(v, "tool_calls")); ; {
				_, c, more := calls.Next()
				if !more {
					break
				}
				m.calls = append(m.calls, dialect.Text(dialect.Member(c, "id")))
			}
		}
		messages = append(messages, m)
	}
}

// recallAt looks whether an exchange of which something is hidden begins with message
// i, marks what takes its place and returns where to go on.
func recallAt(messages []message, i int, called map[string]bool, find func(id string) *dialect.Hidden) (next int) {
	if len(messages[i].calls) == 0 {
		return i + 1
	}
	h := find(messages[i].calls[0])
	if h == nil || len(h.Steps) == 0 || there(h, called) {
		return i + 1
	}
	end := extent(messages, i, h.Steps[len(h.Steps)-1].Said.Others)
	if end < 0 {
		return i + 1
	}
	for k := i + 1; k < end; k++ {
		messages[k].gone = len(messages[k].calls) > 0
	}
	var whole [][]byte
	for j := range h.Steps {
		whole = append(whole, exchanged(&h.Steps[j])...)
	}
	messages[i].with = bytes.Join(whole, []byte{','})
	return end
}

// there says that what is hidden is not: its calls are in the request.
func there(h *dialect.Hidden, called map[string]bool) bool {
	for i := range h.Steps {
		for j := range h.Steps[i].Said.Mine {
			if called[h.Steps[i].Said.Mine[j].ID] {
				return true
			}
		}
	}
	return false
}

// extent is where the messages end, from i on, that make these calls and no others, or
// -1. A client may have made several of the one answer, each with some of the calls and
// their results behind it.
func extent(messages []message, i int, calls []llm.ToolCall) (end int) {
	missing := map[string]bool{}
	for k := range calls {
		missing[calls[k].ID] = true
	}
	for end = i; len(missing) > 0; end++ {
		if end == len(messages) || len(messages[end].calls) == 0 && messages[end].role != "tool" {
			return -1
		}
		for _, id := range messages[end].calls {
			if !missing[id] {
				return -1
			}
			delete(missing, id)
		}
	}
	return end
}
