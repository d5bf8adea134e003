package chat

import (
	"bytes"
	"strconv"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// chunk is what is in one.
type chunk struct {
	calls  []*call // those that its fragments belong to, in order; nil for what is none
	says   bool    // anything but the role and calls
	role   bool
	usage  bool
	chosen bool // there are choices in it
	twice  bool // a member stands in it again
	finish string
	failed bool
}

// visible says that the client is to see something of what the model says here.
func (c *chunk) visible() bool {
	for _, call := range c.calls {
		if call == nil || !call.mine {
			return true
		}
	}
	return c.says
}

// take notes the value of a member: the last, if there are several.
func (c *chunk) take(to *[]byte, value []byte) { c.twice, *to = c.twice || *to != nil, value }

// read takes in a chunk, or a whole answer.
func (s *splicer) read(data []byte) (c chunk) {
	var id, created, usage, choices []byte
	for parts := dialect.PartsOf(unpadded(data)); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "id":
			c.take(&id, v)
		case "created":
			c.take(&created, v)
		case "usage":
			c.take(&usage, v)
		case "error":
			c.failed = c.failed || dialect.Says(v)
		case "choices":
			c.take(&choices, v)
		}
	}
	s.identify(id, created)
	if c.usage = isObject(usage); summed(usage) && dialect.Says(usage) {
		s.now.usage = bytes.Clone(usage)
	}
	if !c.failed && isArray(choices) {
		s.choose(&c, choices)
		c.failed = s.now.full()
	}
	return c
}

// What goes into chunk after chunk of later turns must not be large.
const (
	longestHead = 512     // an id, and when it was made
	mostUsage   = 8 << 10 // some ten times what is usual
)

// summed says that a value is a usage that is added to those of other turns.
func summed(usage []byte) bool { return isObject(usage) && len(usage) <= mostUsage }

// identify notes whose chunk it is.
func (s *splicer) identify(id, created []byte) {
	text := dialect.Text(id)
	if text == "" {
		return
	}
	if s.now.id == "" {
		s.now.id = text
	}
	if s.id == nil && len(id)+len(created) <= longestHead {
		s.id, s.created = bytes.Clone(id), bytes.Clone(created)
	}
}

func (s *splicer) choose(c *chunk, choices []byte) {
	for parts := dialect.PartsOf(choices); ; {
		_, choice, ok := parts.Next()
		if !ok {
			return
		}
		c.chosen = true
		if first(choice) {
			s.choice(c, choice)
		} else {
			c.says = true // whatever it is, it passes
		}
	}
}

// first says that this is the choice in which there may be calls of the gateway's:
// requests for several carry no tools.
func first(choice []byte) bool { return dialect.Count(dialect.Member(choice, "index")) == 0 }

func (s *splicer) choice(c *chunk, choice []byte) {
	for parts := dialect.PartsOf(choice); ; {
		name, v, ok := parts.Next()
		if !ok {
			return
		}
		switch string(name) {
		case "finish_reason":
			if reason := dialect.Text(v); reason != "" {
				c.finish = reason
			}
		case "delta", "message":
			s.delta(c, v)
		}
	}
}

func (s *splicer) delta(c *chunk, delta []byte) {
	t := &s.now
	for parts := dialect.PartsOf(delta); !t.full(); {
		name, v, ok := parts.Next()
		if !ok {
			return
		}
		switch string(name) {
		case "role":
			c.role = true
		case "tool_calls":
			for fragments := dialect.PartsOf(v); isArray(v) && !t.full(); {
				_, f, more := fragments.Next()
				if !more {
					break
				}
				c.calls = append(c.calls, s.fragment(f))
				t.queued += fragmentCost
			}
		case "audio":
			c.says = c.says || dialect.Says(v)
			t.audio(v)
		default:
			c.says = c.says || dialect.Says(v)
			t.kept += t.said.add(string(name), v)
		}
	}
}

// fragmentCost is what a chunk remembers of a fragment, until it is shown.
const fragmentCost = 64 // bytes, about

// full says that too much is kept of the turn to go on with it.
func (t *turn) full() bool { return t.kept+t.queued > dialect.MostKept }

// audio notes what was spoken: it is repeated by its id alone.
func (t *turn) audio(v []byte) {
	if id := dialect.Member(v, "id"); dialect.Says(id) {
		var o object
		o.put("id", id)
		t.kept += t.said.keep("audio", o.whole())
	}
}

// fragment takes in a piece of a call and returns the call, nil for what is none.
func (s *splicer) fragment(f []byte) *call {
	if !isObject(f) {
		return nil
	}
	t := &s.now
	index := dialect.Member(f, "index")
	if absent(index) {
		index = nil
	}
	c := t.called(f, index)
	if c == nil {
		c = &call{index: bytes.Clone(index)}
		t.calls = append(t.calls, c)
		t.kept += 2*len(index) + dialect.KeptCost // it is looked up by it
		t.open++
		if t.named == nil {
			t.named = map[string]*call{}
		}
		if index != nil {
			t.named[string(index)] = c
		}
	}
	t.kept += c.add(f)
	if !c.known && c.name != "" {
		c.known = true
		t.open--
		if c.mine = !c.custom && s.mine(c.name); c.mine {
			s.hides = true
			t.late = t.late || t.passed
		}
	}
	return c
}

// called is the call that a fragment goes on with, nil if it begins one. Some
// upstreams send each call whole, without an index or all with the same.
func (t *turn) called(f, index []byte) (c *call) {
	if index != nil {
		c = t.named[string(index)]
	} else if n := len(t.calls); n > 0 {
		c = t.calls[n-1]
	}
	if c == nil {
		return nil
	}
	id, name := dialect.Text(dialect.Member(f, "id")), toolName(f)
	switch {
	case name == "", id != "" && id == c.id:
		return c
	case index != nil && (id == "" || c.id == ""):
		return c
	}
	return nil
}

// place numbers the client's calls of a chunk.
func (s *splicer) place(c *chunk) {
	for _, call := range c.calls {
		if call == nil || call.mine || call.shown != nil || call.index == nil {
			continue
		}
		if !s.altered() {
			call.shown, s.next = call.index, max(s.next, dialect.Count(call.index)+1)
			continue
		}
		call.shown = strconv.AppendInt(nil, s.next, 10)
		s.next++
	}
}

// share is which part of a chunk is to be seen.
type share uint8

const (
	all    share = iota
	before       // what the model says
	behind       // that it has finished
)

// edited is the event with what the client may see of it.
func (s *splicer) edited(e wire.Event, c *chunk, which share) wire.Event {
	data := unpadded(e.Data)
	once := data
	if c.twice {
		once = lasts(data)
	}
	next := 0
	edited := rework(once, func(name, v []byte) []byte {
		switch string(name) {
		case "id":
			if s.turns > 0 && s.id != nil {
				return s.id
			}
		case "created":
			if s.turns > 0 && len(s.created) > 0 {
				return s.created
			}
		case "usage":
			return s.editUsage(v, which)
		case "choices":
			return rework(v, func(_, choice []byte) []byte {
				if !first(choice) {
					return choice
				}
				return s.editChoice(choice, c, which, &next)
			})
		}
		return v
	})
	if len(edited) == len(data) && &edited[0] == &data[0] {
		return e
	}
	return dialect.WithData(e, edited)
}

func (s *splicer) editUsage(usage []byte, which share) []byte {
	switch {
	case which == before && isObject(usage):
		return []byte("null")
	case summed(usage):
		return dialect.SumUsage(s.prior, usage)
	}
	return usage
}

func (s *splicer) editChoice(choice []byte, c *chunk, which share, next *int) []byte {
	return rework(choice, func(name, v []byte) []byte {
		switch string(name) {
		case "delta", "message":
			if which == behind {
				return []byte("{}")
			}
			return s.editDelta(v, c, next)
		case "logprobs":
			if which == behind {
				return []byte("null")
			}
		case "finish_reason":
			if which == before {
				return []byte("null")
			}
		}
		return v
	})
}

func (s *splicer) editDelta(delta []byte, c *chunk, next *int) []byte {
	return rework(delta, func(name, v []byte) []byte {
		switch {
		case string(name) == "role" && s.turns > 0 && s.role:
			return nil
		case string(name) == "tool_calls" && isArray(v):
			return s.editCalls(v, c, next)
		}
		return v
	})
}

// editCalls leaves the gateway's calls out, and those that were not read, because too much
// is kept: they may be the gateway's. It is nil if there are no others.
func (s *splicer) editCalls(list []byte, c *chunk, next *int) []byte {
	kept, all := 0, 0
	edited := rework(list, func(_, f []byte) []byte {
		if all++; *next >= len(c.calls) {
			if isObject(f) {
				return nil
			}
			return f
		}
		call := c.calls[*next]
		*next++
		if call != nil && call.mine {
			return nil
		}
		kept++
		if call == nil || call.shown == nil {
			return f
		}
		return rework(f, func(name, v []byte) []byte {
			if string(name) == "index" && !bytes.Equal(v, call.shown) {
				return call.shown
			}
			return v
		})
	})
	if kept == 0 && all > 0 {
		return nil
	}
	return edited
}
