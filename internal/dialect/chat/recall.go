package chat

import (
	"bytes"

	"keybridge/internal/dialect"
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
// i, marks what takes its place and returns where to go on. A client may have made
// several messages of the one answer, each with some of the calls.
func recallAt(messages []message, i int, called map[string]bool, find func(id string) *dialect.Hidden) (next int) {
	if len(messages[i].calls) == 0 {
		return i + 1
	}
	h := find(messages[i].calls[0])
	if h == nil || len(h.Steps) == 0 {
		return i + 1
	}
	missing := map[string]bool{}
	for j := range h.Steps {
		for k := range h.Steps[j].Said.Mine {
			if called[h.Steps[j].Said.Mine[k].ID] {
				return i + 1 // put back already
			}
		}
	}
	last := &h.Steps[len(h.Steps)-1].Said
	for k := range last.Others {
		missing[last.Others[k].ID] = true
	}
	end := i
	for len(missing) > 0 && end < len(messages) {
		m := &messages[end]
		if len(m.calls) == 0 && (m.role != "tool" || end == i) {
			break
		}
		for _, id := range m.calls {
			if !missing[id] {
				return i + 1
			}
			delete(missing, id)
		}
		end++
	}
	if len(missing) > 0 {
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
