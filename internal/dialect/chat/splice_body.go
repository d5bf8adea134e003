package chat

import (
	"bytes"
	"slices"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// body takes in a blocking answer. It is held back if it may not be all of the
// client's.
func (s *splicer) body(e wire.Event) {
	t := &s.now
	if t.failed || !dialect.Whole(e.Data) {
		t.failed = true
		s.pass(e)
		return
	}
	c := s.read(e.Data)
	if c.failed {
		t.failed = true
		s.pass(s.edited(e, &c, all))
		return
	}
	t.finish = c.finish
	t.raw = bytes.Clone(messageOf(e.Data))
	s.settle()
	if !s.altered() {
		s.pass(e)
		return
	}
	s.place(&c)
	e = s.edited(e, &c, all)
	t.body = held(e)
}

// messageOf is the message of the first choice, an empty object if there is none.
func messageOf(data []byte) []byte {
	for parts := dialect.PartsOf(dialect.Member(unpadded(data), "choices")); ; {
		_, choice, ok := parts.Next()
		if !ok {
			return []byte("{}")
		}
		if message := dialect.Member(choice, "message"); first(choice) && isObject(message) {
			return message
		}
	}
}

// repeatedBody is the message as it came, but for what the API would not take back.
func (t *turn) repeatedBody() []byte {
	next, audio := 0, t.said.value("audio")
	message := rework(t.raw, func(name, v []byte) []byte {
		switch {
		case string(name) == "audio" && isObject(v):
			v, audio = audio, nil // once
			return v
		case string(name) != "tool_calls" || !isArray(v):
			return v
		}
		return rework(v, func(_, f []byte) []byte {
			if next >= len(t.calls) || !isObject(f) {
				return f
			}
			c := t.calls[next]
			next++
			if c.mine && (c.rawID == nil || c.rawID[0] != '"' || len(c.rawID) == len(`""`) || len(c.args) <= len(`""`)) {
				return c.whole()
			}
			return f
		})
	})
	if absent(dialect.Member(message, "role")) {
		message = dialect.SetMember(message, "role", []byte(`"assistant"`))
	}
	return message
}

// endBody keeps what is visible of a turn, and shows all of it behind the last.
func (s *splicer) endBody(last bool) {
	t := &s.now
	shown := messageOf(t.body.Data)
	for parts := dialect.PartsOf(shown); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		if merged(name) {
			s.front.add(string(name), v)
		}
	}
	if !last {
		return
	}
	data := unpadded(t.body.Data)
	edited := rework(data, func(name, v []byte) []byte {
		if string(name) != "choices" {
			return v
		}
		return rework(s.ending(v), func(_, choice []byte) []byte {
			if !first(choice) {
				return choice
			}
			return rework(choice, func(name, v []byte) []byte {
				if string(name) == "message" && isObject(v) && s.turns > 0 {
					return s.mergedMessage(v)
				}
				return v
			})
		})
	})
	if total := dialect.SumUsage(s.prior, t.usage); total != nil && s.turns > 0 {
		edited = dialect.SetMember(edited, "usage", total)
	}
	s.pass(dialect.WithData(*t.body, edited))
}

// merged says that a member of a message goes on from turn to turn.
func merged(name []byte) bool {
	switch string(name) {
	case "role", "tool_calls", "function_call", "audio":
		return false
	}
	return true
}

// mergedMessage is the last turn's with what earlier ones have said in front.
func (s *splicer) mergedMessage(message []byte) []byte {
	there := map[string]bool{}
	message = rework(message, func(name, v []byte) []byte {
		switch {
		case !merged(name):
			return v
		case there[string(name)]: // again
			return nil
		}
		there[string(name)] = true
		return s.front.value(string(name))
	})
	var others object
	for i, name := range s.front.names {
		if !there[name] {
			others.put(name, s.front.pieces[i].value())
		}
	}
	switch {
	case others.b.Len() == 0:
		return message
	case !dialect.Says(message):
		return others.whole()
	}
	return slices.Concat(message[:len(message)-1], []byte{','}, others.whole()[1:])
}
