package chat

import (
	"slices"

	"keybridge/internal/dialect"
)

// heard follows the messages of one answer for what is told of them: the calls, and the
// reasoning if that is kept.
type heard struct {
	gather   dialect.Gather
	calls    []calling
	thinking []thinking
}

// calling is a call, by where its fragments say they belong.
type calling struct {
	choice int64
	index  int64 // among the choice's calls
	place  place
	call   *dialect.Call
}

// place is how a call is known among those of its choice.
type place uint8

const (
	counted   place = iota // by its index
	uncounted              // it has none
	legacy                 // it is the function_call of old
)

// thinking is the reasoning of a choice.
type thinking struct {
	choice int64
	text   *dialect.Excerpt
}

// tells says that a chunk holds something of the calls, or of reasoning that is kept. It
// errs towards true.
func (h *heard) tells(data []byte) bool {
	return !only(data, `"tool_calls"`, "n", "[]") || !only(data, `"function_call"`, "n") ||
		h.gather.Reasons() && (!only(data, `"reasoning_content"`, "n") || !only(data, `"reasoning"`, "n"))
}

// message takes in a message, or a part of one, and reports whether it holds anything of
// the model's.
func (h *heard) message(choice int64, message []byte) (says bool) {
	if message[0] != '{' && message[0] != '[' {
		return dialect.Says(message)
	}
	var reasoning []byte
	for parts := dialect.PartsOf(message); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		if string(name) == "role" || !dialect.Says(v) {
			continue
		}
		says = true
		switch string(name) {
		case "tool_calls":
			h.list(choice, v)
		case "function_call":
			h.fragment(choice, v, legacy)
		case "reasoning_content":
			reasoning = v
		case "reasoning":
			if reasoning == nil { // some upstreams say it twice
				reasoning = v
			}
		}
	}
	if reasoning != nil && h.gather.Reasons() {
		h.reason(choice, reasoning)
	}
	return says
}

func (h *heard) list(choice int64, list []byte) {
	if list[0] != '[' {
		return
	}
	for parts := dialect.PartsOf(list); ; {
		_, f, ok := parts.Next()
		if !ok {
			return
		}
		if f[0] == '{' {
			h.fragment(choice, f, counted)
		}
	}
}

// fragment takes in a call, or a piece of one.
func (h *heard) fragment(choice int64, raw []byte, at place) {
	f := fragmentOf(raw)
	if at == counted && !f.indexed {
		at = uncounted
	}
	c := h.called(choice, at, &f)
	if c == nil {
		if c = h.gather.Call(); c == nil {
			return
		}
		h.calls = append(h.calls, calling{choice: choice, index: f.index, place: at, call: c})
	}
	if c.ID == "" {
		c.ID = f.id
	}
	if c.Name == "" {
		c.Name = f.name
	}
	c.Arguments.Value(f.arguments)
}

// called is the call that a fragment goes on with, nil if it begins one. Some upstreams
// send each call whole, without an index or all with the same.
func (h *heard) called(choice int64, at place, f *fragment) *dialect.Call {
	for _, c := range slices.Backward(h.calls) {
		if c.choice != choice || c.place == legacy != (at == legacy) || at == counted && (c.place != counted || c.index != f.index) {
			continue
		}
		switch known := c.call.ID; {
		case at == legacy, f.name == "", f.id != "" && f.id == known:
			return c.call
		case at == counted && (f.id == "" || known == ""):
			return c.call
		}
		return nil
	}
	return nil
}

// fragment is what is in one.
type fragment struct {
	index     int64
	indexed   bool
	id, name  string
	arguments []byte
}

func fragmentOf(raw []byte) (f fragment) {
	for parts := dialect.PartsOf(raw); ; {
		name, v, ok := parts.Next()
		if !ok {
			return f
		}
		switch string(name) {
		case "index":
			f.index, f.indexed = dialect.Count(v), dialect.IsNumber(v)
		case "id":
			f.id = dialect.Word(v)
		case "name":
			f.name = dialect.Word(v)
		case "arguments":
			f.arguments = v
		case "function", "custom":
			f.inner(v)
		}
	}
}

// inner reads what a fragment says of the function.
func (f *fragment) inner(function []byte) {
	for parts := dialect.PartsOf(function); ; {
		name, v, ok := parts.Next()
		if !ok {
			return
		}
		switch string(name) {
		case "name":
			f.name = dialect.Word(v)
		case "arguments", "input":
			f.arguments = v
		}
	}
}

// reason takes in a piece of the reasoning of a choice.
func (h *heard) reason(choice int64, piece []byte) {
	i := slices.IndexFunc(h.thinking, func(t thinking) bool { return t.choice == choice })
	if i < 0 {
		text := h.gather.Thought()
		if text == nil {
			return
		}
		i = len(h.thinking)
		h.thinking = append(h.thinking, thinking{choice, text})
	}
	h.thinking[i].text.Quoted(piece)
}
