package chat

import (
	"bytes"
	"slices"
	"strings"

	"keybridge/internal/dialect"
)

// mostNames bounds the members of one gathered: they are looked up one by one.
const mostNames = 256

// gathered is an object put together from its fragments, in which every string is what
// it was on the wire, escapes and all.
type gathered struct {
	names  []string
	pieces []*piece
}

// piece is a member. An upstream may send one as a text here and as a list there.
type piece struct {
	bits []bit
	list bool
	kept int // how much its bits are
}

// bit is a run of text, any other value, or an element of a list that is still coming.
type bit struct {
	raw    []byte
	text   bool
	object *gathered
}

// add takes in a member of a fragment: texts are joined, lists too, of all else the
// last is what counts. It returns how much more is kept, and is not through with a list
// that is too much.
func (g *gathered) add(name string, value []byte) (cost int) {
	p, cost := g.piece(name)
	more := 0
	switch {
	case string(value) == "null":
	case isText(value):
		more = p.join(value)
	case isArray(value):
		p.list = true
		for parts := dialect.PartsOf(value); cost+more <= dialect.MostKept; {
			_, v, ok := parts.Next()
			if !ok {
				break
			}
			more += p.element(v)
		}
	default:
		more = p.set(value)
	}
	p.kept += more
	return cost + more
}

// keep takes in a member that comes whole, and returns how much more is kept.
func (g *gathered) keep(name string, value []byte) (cost int) {
	p, cost := g.piece(name)
	more := 0
	if string(value) != "null" {
		more = p.set(value)
	}
	p.kept += more
	return cost + more
}

// piece is the member of this name, and what it costs if it is new: one of too many
// costs too much.
func (g *gathered) piece(name string) (p *piece, cost int) {
	if i := slices.Index(g.names, name); i >= 0 {
		return g.pieces[i], 0
	}
	p, cost = &piece{}, len(name)+dialect.KeptCost
	g.names, g.pieces = append(g.names, name), append(g.pieces, p)
	if len(g.names) > mostNames {
		cost += dialect.MostKept
	}
	return p, cost
}

// set puts a value in the place of what was there, and returns how much more that is,
// which may be less than nothing.
func (p *piece) set(value []byte) (more int) {
	p.bits, p.list = []bit{{raw: bytes.Clone(value)}}, false
	return len(value) - p.kept
}

// join puts a text behind what was there, and returns how much more that is.
func (p *piece) join(text []byte) (more int) {
	if n := len(p.bits); n > 0 && p.bits[n-1].text {
		b := &p.bits[n-1]
		b.raw = b.raw[:len(b.raw)-1]
		b.raw = append(b.raw, text[1:]...)
		return len(text) - len(`""`)
	}
	p.bits = append(p.bits, bit{raw: bytes.Clone(text), text: true})
	return len(text)
}

// element takes in an element of a list. Reasoning comes in pieces that are elements,
// too: they are joined to the block that they continue, which its signature ends. It
// returns how much more is kept.
func (p *piece) element(v []byte) (cost int) {
	kind := dialect.Text(dialect.Member(v, "type"))
	if kind != "thinking" && kind != "reasoning.text" && kind != "reasoning.summary" {
		p.bits = append(p.bits, bit{raw: bytes.Clone(v)})
		return len(v) + dialect.KeptCost
	}
	var g *gathered
	if n := len(p.bits); n > 0 && p.bits[n-1].object != nil {
		g = p.bits[n-1].object
	}
	if g == nil || dialect.Text(g.value("type")) != kind || dialect.Says(g.value("signature")) ||
		string(g.value("index")) != string(dialect.Member(v, "index")) {
		g, cost = &gathered{}, dialect.KeptCost
		p.bits = append(p.bits, bit{object: g})
	}
	for parts := dialect.PartsOf(v); cost <= dialect.MostKept; {
		name, value, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "text", "thinking", "summary":
			cost += g.add(string(name), value)
		default:
			cost += g.keep(string(name), value)
		}
	}
	return cost
}

// value is what a member has become, nil if there is none.
func (g *gathered) value(name string) []byte {
	if i := slices.Index(g.names, name); i >= 0 {
		return g.pieces[i].value()
	}
	return nil
}

func (p *piece) value() []byte {
	switch {
	case len(p.bits) == 0 && !p.list:
		return []byte("null")
	case len(p.bits) == 1 && !p.list:
		return p.bits[0].raw
	}
	var elements [][]byte
	for _, b := range p.bits {
		switch {
		case b.object != nil:
			elements = append(elements, b.object.whole())
		case !b.text:
			elements = append(elements, b.raw)
		case len(b.raw) > len(`""`):
			elements = append(elements, slices.Concat([]byte(`{"type":"text","text":`), b.raw, []byte{'}'}))
		}
	}
	return dialect.Array(elements...)
}

func (g *gathered) whole() []byte {
	var o object
	for i, name := range g.names {
		o.put(name, g.pieces[i].value())
	}
	return o.whole()
}

// object writes one.
type object struct{ b bytes.Buffer }

func (o *object) put(name string, value []byte) {
	separator := byte(',')
	if o.b.Len() == 0 {
		separator = '{'
	}
	o.b.WriteByte(separator)
	o.b.Write(dialect.Quote(name))
	o.b.WriteByte(':')
	o.b.Write(value)
}

func (o *object) whole() []byte {
	if o.b.Len() == 0 {
		return []byte(`{}`)
	}
	return append(o.b.Bytes(), '}')
}

// call is a call of a tool, as far as it has come.
type call struct {
	index  []byte // as the upstream counts them; nil: it does not
	shown  []byte // as the client sees it; nil: it has not yet
	id     string
	rawID  []byte
	name   string
	rawFn  []byte // the name
	args   []byte // the quoted text, as it comes
	custom bool   // takes a text instead of arguments
	known  bool   // whose it is
	mine   bool   // it is the gateway's
	rest   gathered
	fn     gathered
}

// add takes in a fragment, and returns how much more is kept. Of one that is too much it
// still looks for the name, which says whose it is.
func (c *call) add(fragment []byte) (cost int) {
	before := c.size()
	for parts := dialect.PartsOf(fragment); ; {
		name, v, ok := parts.Next()
		if !ok {
			return cost + c.size() - before
		}
		switch string(name) {
		case "index":
		case "id":
			if c.id == "" {
				c.id, c.rawID = dialect.Text(v), bytes.Clone(v)
			}
		case "function", "custom":
			c.custom = c.custom || string(name) == "custom" && isObject(v)
			cost = c.function(v, cost)
		default:
			if cost <= dialect.MostKept {
				cost += c.rest.keep(string(name), v)
			}
		}
	}
}

// size is how much is kept of the call itself.
func (c *call) size() int {
	return len(c.id) + len(c.rawID) + len(c.name) + len(c.rawFn) + len(c.args)
}

// function takes in what a fragment says of it, and returns cost with how much more is
// kept of its members.
func (c *call) function(v []byte, cost int) int {
	for parts := dialect.PartsOf(v); ; {
		name, value, ok := parts.Next()
		if !ok {
			return cost
		}
		switch string(name) {
		case "name":
			if c.name == "" {
				c.name, c.rawFn = dialect.Text(value), bytes.Clone(value)
			}
		case "arguments", "input":
			switch {
			case isObject(value): // from upstreams that do not quote it
				c.args = dialect.Quote(string(value))
			case !isText(value):
			case c.args == nil:
				c.args = bytes.Clone(value)
			default:
				c.args = append(c.args[:len(c.args)-1], value[1:]...)
			}
		default:
			if cost <= dialect.MostKept {
				cost += c.fn.keep(string(name), value)
			}
		}
	}
}

// whole is the call as the next request repeats it.
func (c *call) whole() []byte {
	kind, what, args := "function", "arguments", c.args
	if c.custom {
		kind, what = "custom", "input"
	}
	if args == nil || c.mine && len(args) == len(`""`) {
		args = []byte(`"{}"`)
	}
	var o, fn object
	o.put("id", quotedOr(c.rawID, c.id))
	if known := c.rest.value("type"); isText(known) {
		o.put("type", known)
	} else {
		o.put("type", dialect.Quote(kind))
	}
	fn.put("name", quotedOr(c.rawFn, c.name))
	fn.put(what, args)
	c.fn.into(&fn)
	o.put(kind, fn.whole())
	c.rest.into(&o)
	return o.whole()
}

func (g *gathered) into(o *object) {
	for i, name := range g.names {
		if name != "type" {
			o.put(name, g.pieces[i].value())
		}
	}
}

// quotedOr is the text as it was on the wire, if it was one.
func quotedOr(raw []byte, text string) []byte {
	if isText(raw) && len(raw) > len(`""`) {
		return raw
	}
	return dialect.Quote(text)
}

// cut says that a model was not through when it stopped for this reason.
func cut(reason string) bool {
	switch strings.ToLower(reason) {
	case "", "length", "model_length", "max_tokens", "content_filter", "refusal", "error", "insufficient_system_resource":
		return true
	}
	return false
}
