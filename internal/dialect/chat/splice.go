package chat

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// Splice returns what stands before the client of one exchange.
func (Dialect) Splice(mine func(name string) bool) dialect.Splicer { return &splicer{mine: mine} }

type splicer struct {
	mine func(name string) bool
	out  []wire.Event

	turns       int    // that are over
	hides       bool   // a call of the gateway's has been hidden
	id, created []byte // of the first turn
	role        bool   // the client knows whose message it is
	next        int64  // index of the client's next call
	made        int    // ids made up for calls that came without
	prior       []byte // the usage of the turns that are over
	usage       *wire.Event
	front       gathered // what the client is to see of earlier turns, of a blocking answer
	now         turn
}

// turn is the one under way.
type turn struct {
	id     string
	said   gathered // but for the calls
	calls  []*call
	named  map[string]*call // by the upstream's index
	open   int              // calls of which it is not known whose they are
	waits  []waiting
	usage  []byte
	finish string

	kept   int  // how much of it, in bytes
	queued int  // how much waits besides, and is remembered of the chunk that is read
	passed bool // the client has seen the end of the turn
	late   bool // a call came after that
	failed bool
	raw    []byte // the message of a blocking answer
	body   *wire.Event
	end    *wire.Event // the chunk with the finish reason, held back
	done   *wire.Event // [DONE], held back
}

// waiting is a chunk with a call in it whose name is still to come.
type waiting struct {
	event wire.Event
	chunk chunk
}

// altered says that the answer is not the upstream's as it is.
func (s *splicer) altered() bool { return s.hides || s.turns > 0 }

// Event returns what the client sees of an event.
func (s *splicer) Event(e wire.Event) []wire.Event {
	clear(s.out) // what was held may have been large
	s.out = s.out[:0]
	switch {
	case e.Chunk: // too large to be looked at
		s.now.failed = true
		s.pass(e)
	case dialect.IsBody(e):
		s.body(e)
		s.bound()
	case e.Name == "error":
		s.release()
		s.now.failed = true
		s.pass(e)
	case len(e.Data) == 0:
		s.pass(e)
	case bytes.HasPrefix(e.Data, []byte("[DONE]")):
		s.release()
		if s.altered() {
			s.now.done = held(e)
			break
		}
		s.pass(e)
	default:
		s.chunk(e)
		s.bound()
	}
	return s.out
}

// bound forgets a turn of which too much is kept.
func (s *splicer) bound() {
	if t := &s.now; t.full() {
		s.release()
		t.forget()
	}
}

func (t *turn) forget() {
	t.failed, t.kept = true, 0
	t.said, t.calls, t.named = gathered{}, nil, nil
}

// pass shows an event. One that lacks its blank line is given one if more may follow.
func (s *splicer) pass(e wire.Event) {
	if s.altered() && !e.Closed() && !dialect.IsBody(e) && !e.Chunk {
		e.Raw = slices.Concat(e.Raw, []byte("\n\n"))
	}
	s.out = append(s.out, e)
}

func held(e wire.Event) *wire.Event {
	e = e.Clone()
	return &e
}

// chunk takes in one of a stream's.
func (s *splicer) chunk(e wire.Event) {
	t := &s.now
	if t.failed || !dialect.Whole(e.Data) {
		s.pass(e)
		return
	}
	c := s.read(e.Data)
	if c.failed {
		full := t.full() // also by what is released
		s.release()
		t.failed = true
		s.pass(s.edited(e, &c, all))
		if full {
			t.forget()
		}
		return
	}
	if c.finish != "" {
		t.finish = c.finish
		s.settle()
	}
	switch {
	case len(c.calls) > 0 && t.open > 0:
		t.waits = append(t.waits, waiting{event: e.Clone(), chunk: c})
		t.queued += len(e.Raw) + dialect.KeptCost
		return
	case t.open == 0:
		s.release()
	}
	s.show(e, &c)
}

// show gives the client its part of a chunk.
func (s *splicer) show(e wire.Event, c *chunk) {
	s.place(c)
	if s.altered() {
		s.showPart(e, c)
	} else {
		s.now.passed = s.now.passed || c.finish != ""
		s.pass(e)
	}
	s.role = s.role || c.role
}

// showPart shows what a chunk says, and holds back that the turn is over.
func (s *splicer) showPart(e wire.Event, c *chunk) {
	t := &s.now
	visible := c.visible() || c.role && !s.role
	switch {
	case c.finish != "" && visible:
		s.pass(s.edited(e, c, before))
		t.end = held(s.edited(e, c, behind))
	case c.finish != "":
		t.end = held(s.edited(e, c, all))
	case visible:
		s.pass(s.edited(e, c, all))
	case c.usage && (!c.chosen || t.end != nil):
		s.usage = held(s.edited(e, c, all))
	case len(c.calls) > 0, c.role && !c.usage: // there is nothing left of it
	default:
		s.pass(s.edited(e, c, all))
	}
}

// settle says of every call whose it is: the client's, if its name has not come.
func (s *splicer) settle() {
	if s.now.open == 0 {
		return
	}
	for _, c := range s.now.calls {
		c.known = true
	}
	s.now.open = 0
}

// release shows what had to wait.
func (s *splicer) release() {
	s.settle()
	waits := s.now.waits
	s.now.waits, s.now.queued = nil, 0
	for i := range waits {
		s.show(waits[i].event, &waits[i].chunk)
	}
}

// Said is what the model has said in this turn.
func (s *splicer) Said() dialect.Said {
	t := &s.now
	said := dialect.Said{ID: t.id, Cut: t.failed || t.late || cut(t.finish)}
	for _, c := range t.calls {
		if c.mine && c.id == "" {
			c.id = "call_kb_" + strconv.Itoa(s.made)
			s.made++
		}
		call := llm.ToolCall{ID: c.id, Name: c.name, Arguments: []byte(dialect.Text(c.args))}
		if c.mine {
			said.Mine = append(said.Mine, call)
		} else {
			said.Others = append(said.Others, call)
		}
	}
	said.Raw = t.repeated()
	// What is no JSON can be repeated to nobody.
	said.Cut = said.Cut || len(said.Mine) > 0 && !json.Valid(said.Raw)
	return said
}

// repeated is the message as the next request repeats it.
func (t *turn) repeated() []byte {
	if t.raw != nil {
		return t.repeatedBody()
	}
	var o object
	o.put("role", []byte(`"assistant"`))
	if t.said.value("content") == nil {
		o.put("content", []byte("null"))
	}
	for i, name := range t.said.names {
		if v := t.said.pieces[i].value(); name == "content" || string(v) != "null" {
			o.put(name, v)
		}
	}
	if len(t.calls) > 0 {
		var calls [][]byte
		for _, c := range t.calls {
			calls = append(calls, c.whole())
		}
		o.put("tool_calls", dialect.Array(calls...))
	}
	return o.whole()
}

// End ends the turn, and the answer if it was the last.
func (s *splicer) End(last bool) []wire.Event {
	s.out = s.out[:0]
	s.release()
	t := &s.now
	switch {
	case t.body != nil:
		s.endBody(last)
	case last:
		s.endStream()
	}
	if total := dialect.SumUsage(s.prior, t.usage); len(total) <= mostUsage {
		s.prior = bytes.Clone(total)
	}
	s.turns++
	s.now = turn{}
	return s.out
}

// endStream shows what was held back: how the turn ended, what all of them used.
func (s *splicer) endStream() {
	t := &s.now
	total := dialect.SumUsage(s.prior, t.usage)
	for _, e := range []*wire.Event{t.end, s.usage} {
		if e == nil || t.failed || e == t.end && t.passed {
			continue
		}
		s.pass(dialect.WithData(*e, rework(unpadded(e.Data), func(name, v []byte) []byte {
			switch {
			case string(name) == "usage" && summed(v) && total != nil:
				return total
			case string(name) == "choices":
				return s.ending(v)
			}
			return v
		})))
	}
	if t.done != nil {
		s.pass(*t.done)
	}
}

// ending corrects why the choices have finished: a call that the client has not seen
// is no reason.
func (s *splicer) ending(choices []byte) []byte {
	if !s.hides || slices.ContainsFunc(s.now.calls, func(c *call) bool { return !c.mine }) {
		return choices
	}
	return rework(choices, func(_, choice []byte) []byte {
		return rework(choice, func(name, v []byte) []byte {
			if string(name) == "finish_reason" && calls(dialect.Text(v)) {
				return []byte(`"stop"`)
			}
			return v
		})
	})
}

func calls(reason string) bool { return reason == "tool_calls" || reason == "function_call" }
