package simulator

import (
	"bytes"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

// What a prompt may ask of the model.
const (
	askTool     = "simulate:tool"  // call the first tool offered; simulate:tool=NAME that one
	askTools    = "simulate:tools" // call every tool offered
	askThinking = "simulate:thinking"
)

// prompt is a request in the terms of the model.
type prompt struct {
	text   string // the last thing the user, or a tool, said
	tool   bool   // it was a tool
	tools  []tool
	limit  int64 // output tokens; 0: none
	input  int64 // tokens
	cached bool  // the request asks for caching
}

type tool struct {
	name   string
	schema gjson.Result
}

type toolCall struct{ id, name, args string }

// answer is what the model says; exactly one of text and calls is set.
type answer struct {
	text      string
	calls     []toolCall
	thinking  string
	cut       bool // at the limit
	input     int64
	read      int64 // part of input
	written   int64 // part of input
	output    int64
	reasoning int64 // part of output
}

func (a answer) spent() spent { return spent{a.input, a.output, a.read} }

// tokens is the usual estimate.
func tokens(size int) int64 { return int64(size+3) / 4 }

// answer makes up the model's answer; prefix is how call ids begin.
func (c *call) answer(p prompt, callID func(label string) string) answer {
	a := answer{input: p.input}
	if !p.tool {
		for _, t := range chosen(p) {
			a.calls = append(a.calls, toolCall{callID("call " + strconv.Itoa(len(a.calls))), t.name, string(compact(sample(t.schema, p.text, 0)))})
		}
		if strings.Contains(p.text, askThinking) {
			a.thinking = stretched("The prompt asks for a thought, so here is one about "+c.model+".", c.chunks())
			a.reasoning = tokens(len(a.thinking))
		}
	}
	a.output = a.reasoning
	for _, t := range a.calls {
		a.output += tokens(len(t.name) + len(t.args))
	}
	if len(a.calls) == 0 {
		a.text, a.cut = c.text(p)
		a.output += tokens(len(a.text))
	}
	return a
}

func (c *call) text(p prompt) (text string, cut bool) {
	const longest = 120
	words := []rune(strings.Join(strings.Fields(p.text), " "))
	if len(words) > longest {
		words = append(words[:longest], '…')
	}
	said := "You said"
	if p.tool {
		said = "The tool said"
	}
	text = stretched(fmt.Sprintf("%s: %s (simulated %s)", said, string(words), c.model), c.chunks())
	if most := int(min(p.limit, 1<<20)) * 4; most > 0 && len(text) > most {
		return strings.ToValidUTF8(text[:most], ""), true
	}
	return text, false
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

var namedTool = regexp.MustCompile(regexp.QuoteMeta(askTool) + `=([A-Za-z0-9_.-]+)`)

func chosen(p prompt) []tool {
	switch named := namedTool.FindStringSubmatch(p.text); {
	case len(p.tools) == 0 || !strings.Contains(p.text, askTool):
		return nil
	case named != nil:
		if i := slices.IndexFunc(p.tools, func(t tool) bool { return t.name == named[1] }); i >= 0 {
			return p.tools[i : i+1]
		}
		return nil
	case strings.Contains(p.text, askTools):
		return p.tools
	}
	return p.tools[:1]
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
		if inner := p.Get("content"); inner.Exists() { // a tool's result
			return lastText(inner)
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
