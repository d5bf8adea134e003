package messages

import (
	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// End ends a turn, or the answer; see dialect.Splicer.
func (s *splicer) End(last bool) []wire.Event {
	s.out = s.out[:0]
	t := &s.turn
	switch {
	case !last:
		s.seen = append(s.seen, t.visible()...)
		s.spent = dialect.SumUsage(s.spent, t.usage)
		s.turn, s.edited = turn{}, true
	case !s.edited || s.failed || s.lost || !t.ended: // it has ended already, or not well
	case dialect.IsBody(t.last):
		s.pass(dialect.WithData(t.last, s.merged()))
	default:
		s.stop()
	}
	return s.out
}

// visible are the blocks that the client is to see of a whole answer.
func (t *turn) visible() (blocks [][]byte) {
	if !dialect.IsBody(t.last) {
		return nil // it has seen them
	}
	for _, b := range t.blocks {
		if !b.mine {
			blocks = append(blocks, b.raw)
		}
	}
	return blocks
}

// stop gives the client the events that end the last turn.
func (s *splicer) stop() {
	if len(s.turn.deltas) == 0 { // the upstream has left it out
		data := []byte(`{"type":"message_delta","delta":{"stop_reason":"tool_use","stop_sequence":null},"usage":{}}`)
		s.turn.deltas = []report{{dialect.SSE("message_delta", data, true), s.turn.usage}}
		s.spent = dialect.SumUsage([]byte("{}"), s.spent)
	}
	for _, d := range s.turn.deltas {
		data := s.honest(d.event.Data, dialect.Member(d.event.Data, "delta"))
		if s.spent != nil {
			usage := totals(dialect.Member(data, "usage"), dialect.SumUsage(s.spent, d.usage))
			data = dialect.SetMember(data, "usage", usage)
		}
		s.pass(dialect.WithData(d.event, data))
	}
	s.pass(s.turn.last)
}

// honest takes back a promise of calls of which the client sees none. message is data
// or the part of it with the reason.
func (s *splicer) honest(data, message []byte) []byte {
	reason := dialect.Member(message, "stop_reason")
	if s.turn.theirs || dialect.Text(reason) != "tool_use" {
		return data
	}
	return dialect.Replace(data, reason, []byte(`"end_turn"`))
}

// totals is a report of the sum: of the fields that the upstream's has, and all else
// that is counted. The client has seen only the first turn's, in message_start.
func totals(report, sum []byte) []byte {
	reported := dialect.Members(report)
	var members [][]byte
	for parts := dialect.PartsOf(sum); ; {
		name, v, ok := parts.Next()
		if !ok {
			return object(members)
		}
		if dialect.IsNumber(v) || v[0] == '{' || v[0] == '[' || reported[string(name)] != nil {
			members = append(members, member(string(name), v))
		}
	}
}

// merged is the last turn's body with what all turns have said and used.
func (s *splicer) merged() []byte {
	t := &s.turn
	data := s.honest(t.last.Data, t.last.Data)
	data = dialect.SetMember(data, "content", dialect.Array(append(s.seen, t.visible()...)...))
	if s.id != nil {
		data = dialect.SetMember(data, "id", s.id)
	}
	if s.spent != nil {
		data = dialect.SetMember(data, "usage", dialect.SumUsage(s.spent, t.usage))
	}
	return data
}
