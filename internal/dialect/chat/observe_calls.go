package chat

import (
	"bytes"
	"slices"

	"keybridge/internal/dialect"
)

// heard follows the messages of one answer for what is told of them: the calls, and the
// reasoning if that is kept.
type heard struct {
	gather   dialect.Gather
	calls    []calling
	thinking []thinking

	// Most chunks bring one string more of a call or of reasoning, and are like the one
	// before but for that.
	usual dialect.Sample // a chunk that brought last, like nothing once another has come
	brief int            // how many pieces the chunk has brought that is read
	last  brought
}

// brought is a string that a chunk has brought.
type brought struct {
	name  string           // of the member that it is, with quotes and colon
	value []byte           // in the chunk
	into  *dialect.Excerpt // where it went
}

// goesOn takes in a chunk that is like the last but for what it brings.
func (h *heard) goesOn(data []byte) bool {
	if !h.usual.Like(data) {
		return false
	}
	h.last.into.Quoted(dialect.Seek(data, h.last.name))
	return true
}

// bring takes in a piece of a call's arguments or of reasoning; alone says that nothing
// else that came with it matters.
func (h *heard) bring(p brought, alone bool) {
	p.into.Value(p.value)
	h.usual.Take(nil) // it was of what came last until now
	h.last = p
	if h.brief++; !alone {
		h.brief++
	}
}

// expect notes what a chunk was like that is read, if it brought one piece and nothing
// else that matters: no end, no usage, no error.
func (h *heard) expect(data []byte) {
	if h.brief != 1 || len(h.last.value) == 0 || !bland(data) {
		return
	}
	if found := dialect.Seek(data, h.last.name); len(found) > 0 && &found[0] == &h.last.value[0] {
		h.usual.Take(data)
	}
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
	if bytes.Contains(data, []byte(`_call`)) && (!only(data, `"tool_calls"`, "n", "[]") || !only(data, `"function_call"`, "n")) {
		return true
	}
	return h.gather.Reasons() && bytes.Contains(data, []byte(`"reasoning`)) &&
		(!only(data, `"reasoning_content"`, "n") || !only(data, `"reasoning"`, "n"))
}

// message takes in a message, or a part of one, and reports whether it holds anything of
// the model's.
func (h *heard) message(choice int64, message []byte) (says bool) {
	if message[0] != '{' && message[0] != '[' {
		return dialect.Says(message)
	}
	var reasoning brought
	places := 0 // where reasoning could stand
	for parts := dialect.PartsOf(message); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		if string(name) == "role" {
			continue
		}
		said := dialect.Says(v)
		says = says || said
		switch string(name) {
		case "tool_calls":
			h.list(choice, v)
		case "function_call":
			if said {
				h.fragment(choice, v, legacy)
			}
		case "reasoning_content", "reasoning":
			if v[0] == '"' {
				places++
				reasoning.take(name, v)
			}
		}
	}
	if h.gather.Reasons() && places > 0 {
		h.brief += places - 1
		h.reason(choice, reasoning)
	}
	return says
}

// take notes the first that says anything: some upstreams say it twice.
func (b *brought) take(name, value []byte) {
	if len(b.value) > len(`""`) {
		return
	}
	b.value, b.name = value, `"reasoning":`
	if string(name) == "reasoning_content" {
		b.name = `"reasoning_content":`
	}
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
	h.bring(brought{f.kind, f.arguments, &c.Arguments}, f.bare)
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
	kind      string // what the arguments are called
	bare      bool   // there is no place in it where a name or an id could stand
}

func fragmentOf(raw []byte) (f fragment) {
	f.bare = true
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
			f.bare = f.bare && v[0] != '"'
		case "name":
			f.named(v)
		case "arguments":
			f.arguments, f.kind = v, `"arguments":`
		case "function", "custom":
			f.inner(v)
		}
	}
}

func (f *fragment) named(v []byte) {
	f.name = dialect.Word(v)
	f.bare = f.bare && v[0] != '"'
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
			f.named(v)
		case "arguments":
			f.arguments, f.kind = v, `"arguments":`
		case "input":
			f.arguments, f.kind = v, `"input":`
		}
	}
}

// reason takes in a piece of the reasoning of a choice.
func (h *heard) reason(choice int64, p brought) {
	i := slices.IndexFunc(h.thinking, func(t thinking) bool { return t.choice == choice })
	if i < 0 {
		text := h.gather.Thought()
		if text == nil {
			return
		}
		i = len(h.thinking)
		h.thinking = append(h.thinking, thinking{choice, text})
	}
	p.into = h.thinking[i].text
	h.bring(p, true)
}
