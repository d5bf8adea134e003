package chat

import (
	"bytes"
	"slices"
	"strings"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

// Recall puts the hidden steps of earlier exchanges before and into the assistant's
// messages that the client has made of them. It knows them by the client's calls, which
// must all be there, unchanged. What the client itself says stays as it is.
func (Dialect) Recall(body []byte, find func(id string) *dialect.Hidden) ([]byte, error) {
	list := dialect.Member(unpadded(body), "messages")
	if !isArray(list) {
		return body, nil
	}
	r := recaller{find: find, messages: turnsOf(list), called: map[named]bool{}, done: map[*dialect.Hidden]bool{}}
	for i := range r.messages {
		for _, c := range r.messages[i].calls {
			r.called[named{c.ID, c.Name}] = true
		}
	}
	for i := range slices.Backward(r.messages) { // an id that stands twice means the later call
		r.recall(i)
	}
	next := 0
	edited := rework(list, func(_, message []byte) []byte {
		m := &r.messages[next]
		next++
		if m.with != nil {
			return m.with
		}
		return message
	})
	if len(edited) == len(list) && &edited[0] == &list[0] {
		return body, nil
	}
	return dialect.Replace(body, list, edited), nil
}

// recaller goes over the messages of a request.
type recaller struct {
	find     func(id string) *dialect.Hidden
	messages []message
	called   map[named]bool           // the calls in the request
	done     map[*dialect.Hidden]bool // what is put back
}

// named is what tells calls apart: an id alone may be another's.
type named struct{ id, name string }

// message is what Recall has to know of one, and what is to become of it.
type message struct {
	raw   []byte
	role  string
	calls []llm.ToolCall
	with  []byte // takes its place
}

func turnsOf(list []byte) (messages []message) {
	for parts := dialect.PartsOf(list); ; {
		_, v, ok := parts.Next()
		if !ok {
			return messages
		}
		m := message{raw: v, role: dialect.Text(dialect.Member(v, "role"))}
		if m.role == "assistant" {
			for _, c := range callsOf(v) {
				m.calls = append(m.calls, callOf(c))
			}
		}
		messages = append(messages, m)
	}
}

// callsOf are the calls in a message.
func callsOf(message []byte) (calls [][]byte) {
	for parts := dialect.PartsOf(dialect.Member(message, "tool_calls")); ; {
		_, c, ok := parts.Next()
		if !ok {
			return calls
		}
		calls = append(calls, c)
	}
}

// callOf reads a call in a message.
func callOf(c []byte) llm.ToolCall {
	arguments := dialect.Member(dialect.Member(c, "function"), "arguments")
	if arguments == nil {
		arguments = dialect.Member(dialect.Member(c, "custom"), "input")
	}
	return llm.ToolCall{ID: dialect.Text(dialect.Member(c, "id")), Name: toolName(c), Arguments: []byte(dialect.Text(arguments))}
}

// recall looks whether the calls of an exchange of which something is hidden begin with
// message i, and puts that back.
func (r *recaller) recall(i int) {
	if len(r.messages[i].calls) == 0 {
		return
	}
	h := r.find(r.messages[i].calls[0].ID)
	if h == nil || len(h.Steps) == 0 || r.done[h] || r.there(h) || !r.repeats(i, h.Steps[len(h.Steps)-1].Said.Others) {
		return
	}
	r.done[h] = true
	r.messages[i].with = woven(r.messages[i].raw, h.Steps)
}

// there says that what is hidden is not: its calls are in the request.
func (r *recaller) there(h *dialect.Hidden) bool {
	for i := range h.Steps {
		for _, c := range h.Steps[i].Said.Mine {
			if r.called[named{c.ID, c.Name}] {
				return true
			}
		}
	}
	return false
}

// repeats says that the messages from i on make these calls and no others. A client may
// have made several of the one answer, each with some of the calls and their results
// behind it.
func (r *recaller) repeats(i int, calls []llm.ToolCall) bool {
	missing := map[string]*llm.ToolCall{}
	for k := range calls {
		missing[calls[k].ID] = &calls[k]
	}
	for ; len(missing) > 0; i++ {
		if i == len(r.messages) || len(r.messages[i].calls) == 0 && r.messages[i].role != "tool" {
			return false
		}
		for _, c := range r.messages[i].calls {
			said := missing[c.ID]
			if said == nil || !dialect.SameCall(said, c.Name, c.Arguments) {
				return false
			}
			delete(missing, c.ID)
		}
	}
	return true
}

// woven is the client's message with what it has not seen: the turns before in front of
// it, the gateway's calls of the last turn in it, their results behind it.
func woven(own []byte, steps []dialect.Step) []byte {
	earlier, last := steps[:len(steps)-1], &steps[len(steps)-1]
	var before strings.Builder
	for i := range earlier {
		before.WriteString(dialect.Text(dialect.Member(earlier[i].Said.Raw, "content")))
	}
	// It has what all turns say, unless it says something else.
	final, content := dialect.Member(last.Said.Raw, "content"), dialect.Member(own, "content")
	whole := before.Len() > 0 && strings.TrimSpace(dialect.Text(content)) == strings.TrimSpace(before.String()+dialect.Text(final))
	if whole && final == nil {
		final = []byte("null")
	}
	if whole {
		own = dialect.SetMember(own, "content", final)
	}
	var messages [][]byte
	for i := range earlier {
		message := earlier[i].Said.Raw
		if !whole && dialect.Says(dialect.Member(message, "content")) {
			message = dialect.SetMember(message, "content", []byte("null"))
		}
		messages = append(append(messages, message), answers(&earlier[i])...)
	}
	messages = append(append(messages, withCalls(own, last)), answers(last)...)
	return bytes.Join(messages, []byte{','})
}

// withCalls is the client's message with the gateway's calls among its own, and with the
// thoughts before them, which some upstreams ask for and many clients leave out.
func withCalls(own []byte, s *dialect.Step) []byte {
	mine, theirs := map[string]bool{}, map[string][]byte{}
	for _, c := range s.Said.Mine {
		mine[c.ID] = true
	}
	for _, c := range callsOf(own) {
		theirs[dialect.Text(dialect.Member(c, "id"))] = c
	}
	var calls [][]byte
	for _, c := range callsOf(s.Said.Raw) {
		switch id := dialect.Text(dialect.Member(c, "id")); {
		case mine[id]:
			calls = append(calls, c)
		case theirs[id] != nil:
			calls = append(calls, theirs[id])
		}
	}
	if len(mine) > 0 {
		own = dialect.SetMember(own, "tool_calls", dialect.Array(calls...))
	}
	for parts := dialect.PartsOf(s.Said.Raw); ; {
		name, v, ok := parts.Next()
		if !ok {
			return own
		}
		if bytes.HasPrefix(name, []byte("reasoning")) && dialect.Says(v) && dialect.Member(own, string(name)) == nil {
			own = dialect.SetMember(own, string(name), v)
		}
	}
}
