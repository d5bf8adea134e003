package responses

import (
	"bytes"
	"slices"
	"strconv"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

// Splice returns what stands before a client; see dialect.Splicer.
func (Dialect) Splice(mine func(name string) bool) dialect.Splicer {
	return &splicer{mine: mine, closed: true, turn: newTurn()}
}

type splicer struct {
	mine func(name string) bool
	out  []wire.Event
	turn *turn

	form   form
	edited bool   // what the client has seen is not what the upstream has sent
	closed bool   // the last event shown ended with its blank line
	id     []byte // of the answer, as the first turn has it
	number int64  // of the next event
	index  int64  // of the next item

	seen  [][]byte // items of earlier turns that the client has seen
	usage []byte   // of the earlier turns
}

// form is how an answer comes: all turns come in that of the first.
type form uint8

const (
	unknown form = iota
	stream
	document
)

// Event edits one event; see dialect.Splicer.
func (s *splicer) Event(e wire.Event) []wire.Event {
	s.out = s.out[:0]
	switch {
	case e.Chunk, s.turn.gone:
		s.turn.gone = true
		s.out = append(s.out, e)
		return s.out
	case len(e.Data) == 0 && e.Name == "":
		if s.form == document {
			return nil
		}
		return s.pass(e)
	}
	f := stream
	if dialect.IsBody(e) {
		f = document
	}
	if s.form == unknown {
		s.form = f
	}
	switch {
	case f != s.form:
		return nil // nothing that the client could read: the turn does not end
	case f == document:
		return s.body(e)
	}
	shown := s.event(e)
	s.turn.bound()
	return shown
}

// event edits an event of a stream.
func (s *splicer) event(e wire.Event) []wire.Event {
	t := s.turn
	kind := dialect.TypeOf(e)
	switch {
	case t.held != nil:
		return s.after(e, kind)
	case lifecycle(kind):
		return s.begin(e)
	case terminal(kind):
		return s.end(e, kind)
	case kind == "response.output_item.added", kind == "response.output_item.done":
		f := fieldsOf(e.Data)
		if s.hide(f, kind == "response.output_item.done") {
			s.edited = true
			return nil
		}
		if i, ok := f.place(); ok && !s.edited {
			s.index = max(s.index, i+1)
			t.shown[i] = i
		}
		return s.show(e, f)
	case !s.edited:
		return s.verbatim(e)
	}
	f := fieldsOf(e.Data)
	if t.hides(f) {
		return nil
	}
	return s.show(e, f)
}

// after takes an event that follows the end that is held back. An error is the end then.
func (s *splicer) after(e wire.Event, kind string) []wire.Event {
	t := s.turn
	switch {
	case kind == "error":
		t.held, t.tail, t.status = nil, nil, "failed"
		return s.show(e, fieldsOf(e.Data))
	case !lifecycle(kind) && !terminal(kind) && t.kept+len(e.Raw) <= dialect.MostKept: // nothing of use follows the end
		t.tail = append(t.tail, e.Clone())
		t.kept += len(e.Raw) + dialect.KeptCost
	}
	return nil
}

func lifecycle(kind string) bool {
	return kind == "response.created" || kind == "response.queued" || kind == "response.in_progress"
}

func terminal(kind string) bool {
	return kind == "response.completed" || kind == "response.incomplete" || kind == "response.failed"
}

// begin takes the events that begin a turn. The client sees those of the first.
func (s *splicer) begin(e wire.Event) []wire.Event {
	f := fieldsOf(e.Data)
	s.name(dialect.Member(f.response, "id"))
	if s.turn.later {
		return nil
	}
	return s.show(e, f)
}

// name notes the id of the turn's answer.
func (s *splicer) name(id []byte) {
	if dialect.Text(id) == "" {
		return
	}
	s.turn.id = dialect.Text(id)
	if s.id == nil {
		s.id = bytes.Clone(id)
	}
}

// hide notes an item, and says whether the client must not see it.
func (s *splicer) hide(f fields, done bool) bool {
	t := s.turn
	if f.item == nil {
		return t.hides(f)
	}
	t.kept += dialect.KeptCost
	if done {
		t.items = append(t.items, bytes.Clone(f.item))
		t.kept += len(f.item)
	}
	hide := s.own(f.item)
	i, ok := f.place()
	if ok {
		t.places[i] = hide
	}
	if id := dialect.Text(dialect.Member(f.item, "id")); id != "" {
		t.ids[id] = hide
		t.kept += len(id)
	}
	return hide
}

// own says that an item is a call of the gateway's.
func (s *splicer) own(item []byte) bool {
	return dialect.Text(dialect.Member(item, "type")) == "function_call" && s.mine(dialect.Text(dialect.Member(item, "name")))
}

// end takes the event that ends a turn. It is held back if another turn may follow,
// or one has gone before.
func (s *splicer) end(e wire.Event, kind string) []wire.Event {
	f := fieldsOf(e.Data)
	if f.response == nil || !dialect.Whole(e.Data) { // it ends nothing
		return s.show(e, f)
	}
	t := s.turn
	t.take(f.response)
	s.name(dialect.Member(f.response, "id"))
	if kind == "response.incomplete" && t.status == "completed" {
		t.status = "incomplete"
	}
	if kind == "response.failed" {
		t.status = "failed"
	}
	if slices.ContainsFunc(t.said(), s.own) {
		s.edited = true
	}
	switch {
	case !s.edited:
		return s.verbatim(e)
	case kind == "response.failed":
		return s.finish(e)
	}
	held := e.Clone()
	t.held = &held
	return nil
}

// finish shows the end of the answer with what all turns have said and used.
func (s *splicer) finish(e wire.Event) []wire.Event {
	response := fieldsOf(e.Data).response
	edited := s.merge(response)
	if s.id != nil {
		edited = dialect.SetMember(edited, "id", s.id)
	}
	e = dialect.WithData(e, dialect.Replace(e.Data, response, edited))
	return s.show(e, fieldsOf(e.Data))
}

// merge puts what the client has seen of the turns before into a response, and takes
// out what it has not seen of this one.
func (s *splicer) merge(response []byte) []byte {
	items := slices.Clone(s.seen)
	for _, it := range s.turn.said() {
		if !s.own(it) {
			items = append(items, it)
		}
	}
	if len(s.seen) > 0 || len(elements(dialect.Member(response, "output"))) != len(items) {
		response = dialect.SetMember(response, "output", dialect.Array(items...))
	}
	if s.usage != nil {
		response = dialect.SetMember(response, "usage", dialect.SumUsage(s.usage, dialect.Member(response, "usage")))
	}
	return response
}

// body takes a whole answer.
func (s *splicer) body(e wire.Event) []wire.Event {
	_, response := split(e.Data)
	t := s.turn
	if !dialect.Whole(response) {
		t.gone = true
		return s.pass(e)
	}
	t.take(response)
	s.name(dialect.Member(response, "id"))
	own := slices.ContainsFunc(t.said(), s.own)
	if t.status == "failed" || !own && !t.later {
		return s.pass(e)
	}
	held := e.Clone()
	t.held = &held
	return nil
}

// End ends a turn; see dialect.Splicer.
func (s *splicer) End(last bool) []wire.Event {
	s.out = s.out[:0]
	t := s.turn
	if last {
		return s.last()
	}
	for _, it := range t.said() {
		if !s.own(it) {
			s.seen = append(s.seen, it)
		}
	}
	s.usage = dialect.SumUsage(s.usage, t.usage)
	s.edited = true
	s.turn = newTurn()
	s.turn.later = true
	return nil
}

// last shows what was held back of the answer's end.
func (s *splicer) last() []wire.Event {
	t := s.turn
	if t.held == nil {
		return nil
	}
	held, tail := *t.held, t.tail
	t.held, t.tail = nil, nil
	if s.form == document {
		space, response := split(held.Data)
		return s.pass(dialect.WithData(held, slices.Concat(space, s.merge(response))))
	}
	s.finish(held)
	for _, e := range tail {
		s.show(e, fieldsOf(e.Data))
	}
	return s.out
}

// verbatim shows an event as it came.
func (s *splicer) verbatim(e wire.Event) []wire.Event {
	if n, ok := sequence(e.Data); ok {
		s.number = n + 1
	}
	return s.pass(e)
}

// show shows an event. Once one was hidden those that follow are numbered anew.
func (s *splicer) show(e wire.Event, f fields) []wire.Event {
	if !s.edited {
		return s.verbatim(e)
	}
	var edits []edit
	put := func(old, with []byte) {
		at := cap(e.Data) - cap(old)
		edits = append(edits, edit{at, at + len(old), with})
	}
	if dialect.IsNumber(f.number) {
		put(f.number, strconv.AppendInt(nil, s.number, 10))
		s.number++
	}
	if i, ok := f.place(); ok {
		put(f.index, strconv.AppendInt(nil, s.shown(i), 10))
	}
	if id := dialect.Member(f.response, "id"); id != nil && s.id != nil {
		put(id, s.id)
	}
	if len(edits) == 0 {
		return s.pass(e)
	}
	return s.pass(dialect.WithData(e, apply(e.Data, edits)))
}

// shown is where the client sees the item that the upstream has at a place.
func (s *splicer) shown(place int64) int64 {
	i, ok := s.turn.shown[place]
	if !ok {
		i = s.index
		s.turn.shown[place] = i
		s.turn.kept += dialect.KeptCost
		s.index++
	}
	return i
}

// pass shows an event, apart from one that was not closed.
func (s *splicer) pass(e wire.Event) []wire.Event {
	if s.form != document {
		if !s.closed {
			e.Raw = append([]byte("\n\n"), e.Raw...)
		}
		s.closed = e.Closed()
	}
	s.out = append(s.out, e)
	return s.out
}
