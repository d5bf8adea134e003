package simulator

import (
	"fmt"
	"regexp"

	"github.com/tidwall/gjson"
)

// What the APIs take for tools.
const (
	mostOpenAITools   = 128
	longestOpenAIName = 64
)

var (
	anthropicToolName = regexp.MustCompile(`^[a-zA-Z0-9_-]{1,128}$`)
	openAIToolName    = regexp.MustCompile(`^[a-zA-Z0-9_-]+$`)
)

// messagesTools refuses tools that Anthropic refuses; those that it runs itself are
// not looked at.
func messagesTools(tools []gjson.Result) *failure {
	names := map[string]bool{}
	for i, t := range tools {
		name, schema := t.Get("name").String(), t.Get("input_schema")
		if names[name] {
			return refused("tools: Tool names must be unique.")
		}
		names[name] = true
		switch {
		case !schema.Exists():
		case !anthropicToolName.MatchString(name):
			return refused("tools.%d.custom.name: String should match pattern '%s'", i, anthropicToolName)
		case !schema.Get("type").Exists():
			return refused("tools.%d.custom.input_schema.type: Field required", i)
		case schema.Get("type").String() != "object":
			return refused("tools.%d.custom.input_schema.type: Input should be 'object'", i)
		}
	}
	return nil
}

// functions refuses tools that OpenAI refuses; inside is where a function stands in one.
func functions(tools []gjson.Result, inside string) *failure {
	if n := len(tools); n > mostOpenAITools {
		return wrong("tools", "array_above_max_length",
			"Invalid 'tools': array too long. Expected an array with maximum length %d, but got an array with length %d instead.", mostOpenAITools, n)
	}
	for i, t := range tools {
		if t.Get("type").String() != "function" {
			continue
		}
		param, name := fmt.Sprintf("tools[%d].%sname", i, inside), t.Get(inside+"name").String()
		switch {
		case name == "":
			f := missing(param)
			return &f
		case !openAIToolName.MatchString(name):
			return wrong(param, "invalid_value", "Invalid '%s': string does not match pattern. Expected a string that matches the pattern '%s'.", param, openAIToolName)
		case len(name) > longestOpenAIName:
			return wrong(param, "string_above_max_length",
				"Invalid '%s': string too long. Expected a string with maximum length %d, but got a string with length %d instead.", param, longestOpenAIName, len(name))
		}
	}
	return nil
}
