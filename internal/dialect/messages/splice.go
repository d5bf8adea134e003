package messages

import (
	"bytes"
	"encoding/json"
	"slices"
	"strconv"
	"strings"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// Splice returns what stands before the client of one exchange; see dialect.Tooler.
func (Dialect) Splice(mine func(name string) bool) dialect.Splicer { return &splicer{mine: mine} }

// splicer makes one answer of several turns, or several bodies.
type splicer struct {
	mine func(name string) bool
	out  []wire.Event

	edited bool // something was hidden: what the client sees is no longer what comes
	failed bool // the upstream has ended the answer with an error
	lost   bool // what comes cannot be understood, and goes by as it is

	id    []byte   // of the first turn's message, as JSON
	shown int      // how many blocks the client has seen begin
	spent []byte   // the usage of the turns that are over
	seen  [][]byte // the blocks of those turns that the client is to see, if answers are whole
	turn  turn
}

// turn is one message of the upstream's.
type turn struct {
	id        string
	container string
	stop      string
	usage     []byte // as far as reported
	blocks    []*block
	open      map[string]*block // by the index that the upstream calls them by
	theirs    bool              // it calls tools of the client's
	ended     bool
	kept      int // how much of it, in bytes

	deltas []report   // message_delta events that are held back
	last   wire.Event // message_stop or the body, held back
}

// report is a message_delta and the turn's usage with it.
type report struct {
	event wire.Event
	usage []byte
}

// Event edits what one event brings; see dialect.Splicer.
func (s *splicer) Event(e wire.Event) []wire.Event {
	s.out = s.out[:0]
	s.lost = s.lost || e.Chunk
	switch {
	case s.lost:
		s.pass(e)
	case dialect.IsBody(e):
		s.body(e)
	case len(e.Data) == 0 && e.Name != "error":
		s.pass(e)
	default:
		s.event(e)
		s.bound()
	}
	return s.out
}

// bound forgets a turn of which too much is kept.
func (s *splicer) bound() {
	t := &s.turn
	if t.kept <= dialect.MostKept {
		return
	}
	for _, d := range t.deltas {
		s.pass(d.event)
	}
	if t.last.Raw != nil {
		s.pass(t.last)
	}
	s.lost, s.turn = true, turn{id: t.id, container: t.container}
}

// pass gives an event to the client. Once anything was edited others follow, so that
// even the last of its turn must be closed.
func (s *splicer) pass(e wire.Event) {
	if s.edited && !s.lost && !dialect.IsBody(e) && !e.Closed() {
		e.Raw = slices.Concat(e.Raw, []byte("\n\n"))
	}
	s.out = append(s.out, e)
}

func (s *splicer) event(e wire.Event) {
	switch kind := dialect.TypeOf(e); kind {
	case "message_start":
		s.begin(dialect.Member(e.Data, "message"))
		if !s.edited {
			s.pass(e)
		}
	case "content_block_start":
		s.open(e)
	case "message_delta":
		s.delta(e)
	case "message_stop":
		s.turn.ended = dialect.Whole(e.Data)
		if s.edited {
			s.turn.last = e.Clone()
		} else {
			s.pass(e)
		}
	case "error":
		s.failed = true
		s.pass(e)
	case "ping":
		s.pass(e)
	default:
		s.within(e, kind)
	}
}

// begin takes in the message at its start, or the whole of it.
func (s *splicer) begin(message []byte) {
	id := dialect.Member(message, "id")
	s.turn.id = dialect.Text(id)
	if s.id == nil && s.turn.id != "" {
		s.id = slices.Clone(id)
	}
	s.note(message)
	s.turn.report(dialect.Member(message, "usage"))
}

// note takes in what a message says of its end.
func (s *splicer) note(message []byte) {
	if stop := dialect.Text(dialect.Member(message, "stop_reason")); stop != "" {
		s.turn.stop = stop
	}
	if id := containerOf(message); id != "" {
		s.turn.container = id
	}
}

// What is kept of usage is bounded: a report that goes beyond it is not taken in.
const (
	mostUsage   = 64 << 10 // bytes
	mostMembers = 256
)

// report takes in the fields that a usage has: each replaces what was reported before.
func (t *turn) report(usage []byte) {
	if len(usage) == 0 || usage[0] != '{' {
		return
	}
	if all := updated(t.usage, usage); len(all) <= mostUsage {
		t.usage = all
	}
}

// updated is a usage with what a later report says in the place of what it says itself,
// unless that is null; as it was if there is too much.
func updated(usage, report []byte) []byte {
	var names []string
	values := map[string][]byte{}
	for _, from := range [][]byte{usage, report} {
		for parts := dialect.PartsOf(from); ; {
			name, v, ok := parts.Next()
			if !ok {
				break
			}
			switch known := values[string(name)]; {
			case known == nil && len(names) == mostMembers:
				return usage
			case known == nil:
				names = append(names, string(name))
			case string(v) == "null":
				continue
			}
			values[string(name)] = v
		}
	}
	members := make([][]byte, len(names))
	for i, name := range names {
		members[i] = member(name, values[name])
	}
	return object(members)
}

func member(name string, value []byte) []byte {
	return slices.Concat(dialect.Quote(name), []byte{':'}, value)
}

func object(members [][]byte) []byte {
	return slices.Concat([]byte{'{'}, bytes.Join(members, []byte{','}), []byte{'}'})
}

func (s *splicer) open(e wire.Event) {
	b := s.newBlock(dialect.Member(e.Data, "content_block"))
	index := dialect.Member(e.Data, "index")
	if was := s.turn.open[string(index)]; was != nil && was.again(b) {
		if !s.edited { // else the client has seen it begin, or is not to
			s.pass(e)
		}
		return
	}
	s.turn.blocks = append(s.turn.blocks, b)
	s.turn.kept += len(b.raw) + len(index) + dialect.KeptCost
	if s.turn.open == nil {
		s.turn.open = map[string]*block{}
	}
	s.turn.open[string(index)] = b
	if b.mine {
		s.edited = true
		return
	}
	s.turn.theirs = s.turn.theirs || b.kind == "tool_use"
	b.index = s.shown
	if !s.edited {
		b.index = int(ordinal(index))
	}
	s.shown = max(s.shown, b.index+1)
	s.renumber(e, index, b)
}

// within is for what belongs to an open block.
func (s *splicer) within(e wire.Event, kind string) {
	index := dialect.Member(e.Data, "index")
	b := s.turn.open[string(index)]
	switch {
	case index != nil && b != nil:
		switch kind {
		case "content_block_delta":
			s.turn.kept += b.grow(dialect.Member(e.Data, "delta"))
		case "content_block_stop":
			b.closed = true
		}
		if !b.mine {
			s.renumber(e, index, b)
		}
	case !s.edited || !strings.HasPrefix(kind, "content_block"):
		s.pass(e)
	}
}

// renumber gives the client an event of a block, by the number that it knows it by.
func (s *splicer) renumber(e wire.Event, index []byte, b *block) {
	if s.edited && index != nil && string(index) != strconv.Itoa(b.index) {
		e = dialect.WithData(e, dialect.Replace(e.Data, index, strconv.AppendInt(nil, int64(b.index), 10)))
	}
	s.pass(e)
}

func (s *splicer) delta(e wire.Event) {
	s.note(dialect.Member(e.Data, "delta"))
	s.turn.report(dialect.Member(e.Data, "usage"))
	if !s.edited {
		s.pass(e)
		return
	}
	// Each is shown with the usage of its time, and that of the turns before.
	s.turn.kept += len(e.Raw) + len(s.turn.usage) + len(s.spent) + dialect.KeptCost
	s.turn.deltas = append(s.turn.deltas, report{e.Clone(), s.turn.usage})
}

// body takes in a whole answer.
func (s *splicer) body(e wire.Event) {
	content := dialect.Member(e.Data, "content")
	if !dialect.Whole(e.Data) || len(content) == 0 || content[0] != '[' {
		s.lost = true
		s.pass(e)
		return
	}
	s.begin(e.Data)
	s.turn.ended = true
	for parts := dialect.PartsOf(content); ; {
		_, raw, ok := parts.Next()
		if !ok {
			break
		}
		b := s.newBlock(raw)
		b.closed = true
		s.turn.blocks = append(s.turn.blocks, b)
		s.edited = s.edited || b.mine
		s.turn.theirs = s.turn.theirs || b.kind == "tool_use" && !b.mine
	}
	if s.edited {
		s.turn.last = e.Clone()
	} else {
		s.pass(e)
	}
}

// Said is what the model has said in the turn; see dialect.Splicer.
func (s *splicer) Said() dialect.Said {
	t := &s.turn
	said := tell(t.blocks)
	said.ID, said.Container = t.id, t.container
	said.Cut = !t.ended || s.failed || s.lost || slices.ContainsFunc(t.blocks, func(b *block) bool { return !b.closed })
	// What is no JSON can be repeated to nobody.
	said.Cut = said.Cut || len(said.Mine) > 0 && !json.Valid(said.Raw)
	switch t.stop {
	case "max_tokens", "model_context_window_exceeded", "refusal", "pause_turn":
		said.Cut = true
	}
	// What it needs is read as in the request that will hold it.
	if p, err := dialect.Peek(slices.Concat([]byte(`{"content":`), said.Raw, []byte{'}'})); err == nil {
		said.Bound, said.Sealed = t.container != "" || len(p.Pins) > 0, p.Sealed
	}
	return said
}
