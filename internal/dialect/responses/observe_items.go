package responses

import (
	"cmp"
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

// maxOpen bounds the items of a stream that are followed at once.
const maxOpen = 1024

// items follows the output of one answer for what is told of it: the calls, and the
// reasoning if that is kept.
type items struct {
	gather   dialect.Gather
	searches int64
	seen     bool // items have come one by one: the end only repeats them
	open     []growing
}

// growing is an item of a stream, or a piece of one, that is not done.
type growing struct {
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

// all takes in the output of a whole answer.
func (s *items) all(output []byte) {
	if s.seen || len(output) == 0 || output[0] != '[' {
		return
	}
	for parts := dialect.PartsOf(output); ; {
		_, raw, ok := parts.Next()
		if !ok {
			return
		}
		if !isMessage(raw) {
			s.done(raw, nil, nil)
		}
	}
}

// item takes in an item that begins or is done.
func (s *items) item(event []byte, done bool) {
	s.seen = true
	var raw []byte
	var place int64
	for parts := dialect.PartsOf(event); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "output_index":
			place = dialect.Count(v)
		case "item":
			raw = v
		}
	}
	switch {
	case isMessage(raw):
		return
	case !done:
		s.begin(raw, place)
		return
	}
	var call *dialect.Call
	var texts []*dialect.Excerpt
	s.open = slices.DeleteFunc(s.open, func(g growing) bool {
		if g.place != place {
			return false
		}
		if g.call != nil {
			call = g.call
		}
		if g.text != nil {
			texts = append(texts, g.text)
		}
		return true
	})
	s.done(raw, call, texts)
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

func (s *items) begin(raw []byte, place int64) {
	it := itemOf(raw)
	if it.calls() && len(s.open) < maxOpen {
		if call := s.gather.Call(); call != nil {
			it.tell(call)
			s.open = append(s.open, growing{place: place, call: call})
		}
	}
}

// done takes in an item that is whole, in the place of what was seen of it before.
func (s *items) done(raw []byte, call *dialect.Call, texts []*dialect.Excerpt) {
	switch it := itemOf(raw); {
	case it.kind == "reasoning":
		if s.gather.Reasons() {
			s.reasoning(raw, texts)
		}
	case it.answer:
		if made := s.gather.Called(it.call); made != nil {
			made.Hosted = true // its result is here: the provider ran it
		}
	case it.calls():
		status := dialect.Word(dialect.Member(raw, "status"))
		if it.kind == "web_search_call" && status == "completed" && searches(raw) {
			s.searches++
		}
		if call == nil {
			call = s.gather.Call()
		}
		if call != nil {
			it.tell(call)
			call.Error = s.failure(raw, call.Hosted, status)
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
	call.Arguments.Reset()
	call.Arguments.Value(arguments)
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
	if len(s.open) == 1 && s.open[0].call != nil { // as ever
		s.open[0].call.Arguments.Quoted(dialect.Seek(event, `"delta":`))
		return
	}
	d := deltaOf(event)
	for i := range s.open {
		if g := &s.open[i]; g.place == d.place && g.call != nil {
			g.call.Arguments.Quoted(d.text)
			return
		}
	}
}

// delta is a piece of an item.
type delta struct {
	place int64
	part  part
	text  []byte
}

func deltaOf(event []byte) (d delta) {
	for parts := dialect.PartsOf(event); ; {
		name, v, ok := parts.Next()
		if !ok {
			return d
		}
		switch string(name) {
		case "output_index":
			d.place = dialect.Count(v)
		case "summary_index":
			d.part = part{'s', dialect.Count(v)}
		case "content_index":
			d.part = part{'t', dialect.Count(v)}
		case "delta":
			d.text = v
		}
	}
}

// reason takes in a piece of reasoning.
func (s *items) reason(event []byte) {
	d := deltaOf(event)
	i := slices.IndexFunc(s.open, func(g growing) bool { return g.place == d.place && g.part == d.part && g.text != nil })
	if i < 0 {
		if len(s.open) == maxOpen {
			return
		}
		text := s.gather.Thought()
		if text == nil {
			return
		}
		i = len(s.open)
		s.open = append(s.open, growing{place: d.place, part: d.part, text: text})
	}
	s.open[i].text.Quoted(d.text)
}

// reasoning takes in the pieces of a reasoning item, in the place of those that came
// before, unless it does not repeat them.
func (s *items) reasoning(raw []byte, texts []*dialect.Excerpt) {
	for _, name := range []string{"summary", "content"} {
		for parts := dialect.PartsOf(dialect.Member(raw, name)); ; {
			_, piece, ok := parts.Next()
			if !ok {
				break
			}
			text := dialect.Member(piece, "text")
			if len(text) <= len(`""`) || text[0] != '"' {
				continue
			}
			var x *dialect.Excerpt
			if len(texts) > 0 {
				x, texts = texts[0], texts[1:]
				x.Reset()
			} else if x = s.gather.Thought(); x == nil {
				return
			}
			x.Quoted(text)
		}
	}
}
