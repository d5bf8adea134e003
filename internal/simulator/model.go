package simulator

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// prompt is a request in the terms of the model.
type prompt struct {
	talk
	tools  []tool
	single bool  // one call in a turn
	limit  int64 // output tokens; 0: none
	input  int64 // tokens
	cached bool  // the request asks for caching
}

type tool struct {
	name   string
	schema gjson.Result
}

type toolCall struct{ id, name, args string }

// answer is what the model says: a text, or calls, or a text before calls.
type answer struct {
	text      string
	calls     []toolCall
	thinking  string
	cut       bool // at the limit: the text, or, if there is one, the last call
	input     int64
	read      int64 // part of input
	written   int64 // part of input
	output    int64
	reasoning int64 // part of output
}

func (a answer) spent() spent { return spent{a.input, a.output, a.read, a.written, a.reasoning} }

// tokens is the usual estimate.
func tokens(size int) int64 { return int64(size+3) / 4 }

// answer makes up the model's answer; prefix is how call ids begin.
func (c *call) answer(p prompt, callID func(label string) string) answer {
	a, k := answer{input: p.input}, asksOf(p.text)
	turn := ""
	if p.turns > 0 {
		turn = fmt.Sprintf(" This is turn %d.", p.turns+1)
	}
	if k.thinks {
		a.thinking = stretched("The prompt asks for a thought, so here is one about "+c.model+"."+turn, c.chunks())
		a.reasoning = tokens(len(a.thinking))
	}
	for _, t := range k.chosen(p) {
		a.calls = append(a.calls, toolCall{callID("call " + strconv.Itoa(len(a.calls))), t.name, string(compact(sample(t.schema, p.text, 0)))})
	}
	a.output = a.reasoning
	switch {
	case len(a.calls) == 0:
		a.text, a.cut = c.text(p)
	case k.speaks:
		a.text = stretched("First I say that I call a tool."+turn, c.chunks())
	}
	a.damage(k, p.turns)
	a.output += tokens(len(a.text))
	for _, t := range a.calls {
		a.output += tokens(len(t.name) + len(t.args))
	}
	return a
}

// damage does to the calls what the prompt asks for.
func (a *answer) damage(k asks, turn int) {
	if len(a.calls) == 0 {
		return
	}
	if k.spoils {
		for i := range a.calls {
			a.calls[i].args = strings.TrimSuffix(a.calls[i].args, "}") + ", oops"
		}
	}
	if last := &a.calls[len(a.calls)-1]; k.cuts && turn == k.turns-1 {
		last.args, a.cut = strings.ToValidUTF8(last.args[:len(last.args)/2], ""), true
	}
}

func (c *call) text(p prompt) (text string, cut bool) {
	said := "You said: " + quoted(p.text)
	if p.turns > 0 {
		said = "The tool said: " + quoted(p.results...)
	}
	text = stretched(fmt.Sprintf("%s (simulated %s)", said, c.model), c.chunks())
	if most := int(min(p.limit, 1<<20)) * 4; most > 0 && len(text) > most {
		return strings.ToValidUTF8(text[:most], ""), true
	}
	return text, false
}

// quoted repeats texts, as much of them as fits.
func quoted(texts ...string) string {
	const most, longest = 8, 120
	var out []string
	for _, t := range texts[:min(most, len(texts))] {
		words := []rune(strings.Join(strings.Fields(t), " "))
		if len(words) > longest {
			words = append(words[:longest], '…')
		}
		out = append(out, string(words))
	}
	return strings.Join(out, " | ")
}

// stretched repeats a text until it can be cut into n pieces.
func stretched(s string, n int) string {
	runes := len([]rune(s))
	if runes >= n {
		return s
	}
	return strings.Repeat(s+" ", n/runes+1)
}

// pieces cuts a text between runes into n pieces, fewer if it is shorter.
func pieces(s string, n int) []string {
	runes := []rune(s)
	n = max(1, min(n, len(runes)))
	out := make([]string, n)
	for i := range n {
		out[i] = string(runes[len(runes)*i/n : len(runes)*(i+1)/n])
	}
	return out
}

// sample is a value that the schema admits: the required members, and strings
// that repeat the prompt.
func sample(schema gjson.Result, text string, depth int) any {
	const deepest = 8
	if first := schema.Get("enum.0"); first.Exists() {
		return first.Value()
	}
	kind := schema.Get("type")
	if kind.IsArray() {
		kind = kind.Get("0")
	}
	switch kind.String() {
	case "string":
		return text
	case "integer", "number":
		return max(1, schema.Get("minimum").Int())
	case "boolean":
		return true
	case "null":
		return nil
	case "array":
		if schema.Get("minItems").Int() > 0 && depth < deepest {
			return list{sample(schema.Get("items"), text, depth+1)}
		}
		return list{}
	}
	o := object{}
	properties := schema.Get("properties").Map()
	for _, name := range schema.Get("required").Array() {
		if depth < deepest {
			o = append(o, member{name.String(), sample(properties[name.String()], text, depth+1)})
		}
	}
	return o
}

// lastText is the last text of a message's content.
func lastText(content gjson.Result) string {
	if !content.IsArray() {
		return content.String()
	}
	parts := content.Array()
	for _, p := range slices.Backward(parts) {
		if t := p.Get("text"); t.Type == gjson.String {
			return t.String()
		}
	}
	return ""
}

// openAITools reads both of OpenAI's forms: {"function":{…}} and flat.
func openAITools(c *call) (out []tool) {
	if c.get("tool_choice").String() == "none" {
		return nil
	}
	for _, t := range c.get("tools").Array() {
		f := t
		if nested := t.Get("function"); nested.Exists() {
			f = nested
		}
		if t.Get("type").String() == "function" && f.Get("name").String() != "" {
			out = append(out, tool{f.Get("name").String(), f.Get("parameters")})
		}
	}
	return out
}

// openAICache is OpenAI's own caching: from 1024 tokens, in steps of 128; the
// families from GPT-5.6 on count what was written too.
func (a *answer) openAICache(model string) {
	const least, step = 1024, 128
	if a.input < least {
		return
	}
	a.read = a.input / 2 / step * step
	if writesCache(model) {
		a.written = a.input / 4 / step * step
	}
}

func writesCache(model string) bool {
	minor, ok := strings.CutPrefix(model, "gpt-5.")
	n, err := strconv.Atoi(strings.SplitN(minor, "-", 2)[0])
	return ok && err == nil && n >= 6
}

func hasCacheControl(body []byte) bool { return bytes.Contains(body, []byte(`"cache_control"`)) }
