package responses

import (
	"bytes"
	"cmp"
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

const (
	maxOver   = 1024 // items that are known if they come again
	longestID = 256  // bytes; what is longer names nothing
	nowhere   = -1   // is no item's place
)

// items follows the output of one answer for what is told of it: the calls, and the
// reasoning if that is kept.
type items struct {
	gather   dialect.Gather
	searches int64
	seen     bool   // items have come: the end only repeats them
	over     []mark // items that are done, which may come twice
	open     []growing
}

// growing is an item of a stream, or a piece of one, that is not done.
type growing struct {
	id    string // of the item
	place int64
	part  part
	call  *dialect.Call    // of an item that is a call
	text  *dialect.Excerpt // of a piece of reasoning
}

// part says which piece of an item's reasoning it is; the zero value is the item itself.
type part struct {
	kind  byte // s: of the summary, t: of the text
	index int64
}

// mark is what an item is known by when it comes again.
type mark struct {
	kind, id, call string
	place          int64
}

// again says that the item is one that is done, or becomes one now.
func (s *items) again(it *item, place int64, done bool) bool {
	m := mark{kind: it.kind, id: it.id, call: it.call, place: place}
	if m.id == "" && m.call == "" || len(m.kind) > longestID {
		return false
	}
	if slices.Contains(s.over, m) {
		return true
	}
	if done && len(s.over) < maxOver {
		s.over = append(s.over, m)
	}
	return false
}

// all takes in the output of a whole answer. At a stream's end it is what is still open
// that is taken from it.
func (s *items) all(output []byte) {
	if s.seen && len(s.open) == 0 || len(output) == 0 || output[0] != '[' {
		return
	}
	repeats := s.seen
	for parts := dialect.PartsOf(output); ; {
		_, raw, ok := parts.Next()
		if !ok {
			return
		}
		s.seen = true
		if isMessage(raw) {
			continue
		}
		it := itemOf(raw)
		if call, texts := s.take(&it, nowhere); !repeats || call != nil || len(texts) > 0 {
			s.done(&it, call, texts)
		}
	}
}

// item takes in an item that begins or is done.
func (s *items) item(event []byte, done bool) {
	s.seen = true
	f := fieldsOf(event)
	if isMessage(f.item) {
		return
	}
	it, place := itemOf(f.item), dialect.Count(f.index)
	it.id, it.call = short(it.id), short(it.call)
	switch {
	case s.again(&it, place, done):
	case done:
		call, texts := s.take(&it, place)
		s.done(&it, call, texts)
	default:
		s.begin(&it, place)
	}
}

// short is an id that is not longer than any is.
func short(id string) string {
	if len(id) > longestID {
		return ""
	}
	return id
}

// take takes what has come of an item out of those that are open: what bears its id or,
// as not every upstream's ids stay the same, what is of its kind and in its place.
func (s *items) take(it *item, place int64) (call *dialect.Call, texts []growing) {
	named := it.id != "" && slices.ContainsFunc(s.open, func(g growing) bool { return g.id == it.id })
	s.open = slices.DeleteFunc(s.open, func(g growing) bool {
		switch {
		case named && g.id != it.id, !named && g.place != place, (g.call != nil) != it.calls():
			return false
		case g.call != nil:
			call = g.call
		default:
			texts = append(texts, g)
		}
		return true
	})
	return call, texts
}

// isMessage says that an item is the model's words, as most are.
func isMessage(raw []byte) bool {
	for parts := dialect.PartsOf(raw); ; {
		name, v, ok := parts.Next()
		if !ok || string(name) == "type" {
			return string(v) == `"message"`
		}
	}
}

func (s *items) begin(it *item, place int64) {
	if !it.calls() || it.id != "" && slices.ContainsFunc(s.open, func(g growing) bool { return g.id == it.id && g.place == place }) {
		return // it is none, or has begun
	}
	if call := s.gather.Call(); call != nil {
		it.tell(call)
		s.open = append(s.open, growing{id: it.id, place: place, call: call})
	}
}

// done takes in an item that is whole, in the place of what was seen of it before.
func (s *items) done(it *item, call *dialect.Call, texts []growing) {
	switch {
	case it.kind == "reasoning":
		if s.gather.Reasons() {
			s.reasoning(it.raw, texts)
		}
	case it.answer:
		if made := s.gather.Called(it.call); made != nil {
			made.Hosted = true // its result is here: the provider ran it
		}
	case it.calls():
		status := dialect.Word(dialect.Member(it.raw, "status"))
		if it.kind == "web_search_call" && status == "completed" && searches(it.raw) {
			s.searches++
		}
		if call == nil {
			call = s.gather.Call()
		}
		if call != nil {
			it.tell(call)
			call.Error = s.failure(it.raw, call.Hosted, status)
		}
	}
}

// searches says that what a call does on the web is charged as a search: opening a page, or
// looking into one, is not.
func searches(raw []byte) bool {
	action := dialect.Text(dialect.Member(dialect.Member(raw, "action"), "type"))
	return action == "" || action == "search"
}

// calls says that the item is a call, whoever runs it.
func (it *item) calls() bool {
	return strings.HasSuffix(it.kind, "_call") || it.kind == "mcp_approval_request"
}

// tell says what the item does of the call.
func (it *item) tell(call *dialect.Call) {
	call.ID, call.Name = "", strings.TrimSuffix(it.kind, "_call")
	var arguments []byte
	execution, own := "", ""
	for parts := dialect.PartsOf(it.raw); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "name":
			if word := dialect.Word(v); word != "" {
				call.Name = word
			}
		case "id":
			own = dialect.Word(v)
		case "call_id":
			call.ID = dialect.Word(v)
		case "execution":
			execution = dialect.Text(v)
		case "arguments", "input", "code", "action", "actions", "queries", "operation":
			arguments = v
		}
	}
	call.Hosted = execution == "server" || call.ID == ""
	call.ID = cmp.Or(call.ID, own)
	said := dialect.Excerpt{Limit: call.Arguments.Limit}
	if said.Value(arguments); said.Size > 0 { // what is whole need not repeat them
		call.Arguments = said
	}
}

// failure is why a call that the provider ran has failed, "" if it has not. An MCP server's
// own words may quote the arguments.
func (s *items) failure(raw []byte, hosted bool, status string) string {
	if !hosted {
		return ""
	}
	switch why := dialect.Member(raw, "error"); {
	case len(why) > 0 && why[0] == '{':
		if kind := dialect.Word(dialect.Member(why, "type")); kind != "" {
			return kind
		}
		return "error"
	case dialect.Says(why) && s.gather.Quotes():
		return dialect.Word(why)
	case dialect.Says(why):
		return "error"
	}
	if status == "failed" || status == "incomplete" {
		return status
	}
	return ""
}

// argue takes in a piece of a call's arguments.
func (s *items) argue(event []byte) {
	d := deltaOf(event)
	if g := s.at(&d, part{}); g != nil {
		g.call.Arguments.Quoted(d.text)
	}
}

// at is what a piece belongs to: what bears its item's id, or else what is in its place,
// the later if there are two.
func (s *items) at(d *delta, p part) (found *growing) {
	for i := range s.open {
		switch g := &s.open[i]; {
		case g.part != p:
		case len(d.id) > 0 && g.id == string(d.id):
			return g
		case g.place == d.place:
			found = g
		}
	}
	return found
}

// delta is a piece of an item.
type delta struct {
	id            []byte // of the item
	place         int64
	summary, said int64 // which piece of the reasoning it belongs to
	text          []byte
}

func deltaOf(event []byte) (d delta) {
	if plain, ok := plainDelta(event); ok {
		return plain
	}
	for parts := dialect.PartsOf(event); ; {
		name, v, ok := parts.Next()
		if !ok {
			return d
		}
		switch string(name) {
		case "item_id":
			d.id = dialect.Spelled(v)
		case "output_index":
			d.place = dialect.Count(v)
		case "summary_index":
			d.summary = dialect.Count(v)
		case "content_index":
			d.said = dialect.Count(v)
		case "delta":
			d.text = v
		}
	}
}

// plainDelta reads a delta as it comes by the thousand: its members in their usual order,
// without space, and nothing behind them but what makes its length hard to guess.
func plainDelta(event []byte) (d delta, ok bool) {
	_, rest := headOf(event)
	if rest, ok = bytes.CutPrefix(rest, []byte(`,"item_id":"`)); !ok {
		return d, false
	}
	n := bytes.IndexByte(rest, '"')
	if n < 0 || bytes.IndexByte(rest[:n], '\\') >= 0 {
		return d, false
	}
	d.id = rest[:n]
	if rest, ok = bytes.CutPrefix(rest[n:], []byte(`","output_index":`)); !ok {
		return d, false
	}
	index, rest := digits(rest)
	if !bytes.HasPrefix(rest, []byte(`,"delta":"`)) {
		return d, false
	}
	rest = rest[len(`,`):]
	d.place, d.text = dialect.Count(index), dialect.Seek(rest, `"delta":`)
	rest = rest[len(`"delta":`)+len(d.text):]
	if pad, padded := bytes.CutPrefix(rest, []byte(`,"obfuscation":"`)); padded {
		rest = pad[max(0, bytes.IndexByte(pad, '"'))+1:]
	}
	return d, d.text != nil && string(rest) == "}"
}

// reason takes in a piece of reasoning.
func (s *items) reason(event []byte, summary bool) {
	d := deltaOf(event)
	p := part{'t', d.said}
	if summary {
		p = part{'s', d.summary}
	}
	g := s.at(&d, p)
	if g == nil {
		text := s.gather.Thought()
		if text == nil {
			return
		}
		s.open = append(s.open, growing{id: short(string(d.id)), place: d.place, part: p, text: text})
		g = &s.open[len(s.open)-1]
	}
	g.text.Quoted(d.text)
}

// reasoning takes in the pieces of a reasoning item, in the place of those that came
// before, unless it does not repeat them.
func (s *items) reasoning(raw []byte, came []growing) {
	s.pieces(dialect.Member(raw, "summary"), 's', came)
	s.pieces(dialect.Member(raw, "content"), 't', came)
}

// pieces takes in one kind of them.
func (s *items) pieces(list []byte, kind byte, came []growing) {
	for parts := dialect.PartsOf(list); ; {
		_, piece, ok := parts.Next()
		if !ok {
			return
		}
		text := dialect.Member(piece, "text")
		if len(text) <= len(`""`) || text[0] != '"' {
			continue
		}
		var x *dialect.Excerpt
		if i := slices.IndexFunc(came, func(g growing) bool { return g.part.kind == kind }); i >= 0 {
			x, came = came[i].text, came[i+1:]
			x.Reset()
		} else if x = s.gather.Thought(); x == nil {
			return
		}
		x.Quoted(text)
	}
}
