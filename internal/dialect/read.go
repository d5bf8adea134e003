package dialect

import (
	"bytes"

	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// TypeOf is what a server-sent event says it is: its name, or, from upstreams
// that leave the name out, the type member of its data.
func TypeOf(e wire.Event) string {
	if e.Name != "" {
		return e.Name
	}
	if rest, ok := bytes.CutPrefix(e.Data, []byte(`{"type":"`)); ok {
		if name, _, closed := bytes.Cut(rest, []byte{'"'}); closed {
			return string(name)
		}
	}
	return gjson.GetBytes(e.Data, "type").Str
}

// IsBody reports whether the event is a whole JSON answer, not one of a stream.
func IsBody(e wire.Event) bool {
	return e.Name == "" && e.Data != nil && len(e.Data) >= len(e.Raw)
}

// Text reads a JSON string, "" from any other value.
func Text(value []byte) string { return gjson.ParseBytes(value).Str }

// Says reports whether a member of an answer states something: it is there and
// not null, false, 0 or empty. Providers send "error":null in good answers.
func Says(v gjson.Result) bool {
	switch v.Type {
	case gjson.Null, gjson.False:
		return false
	case gjson.Number:
		return v.Num != 0
	case gjson.String:
		return v.Str != ""
	case gjson.JSON:
		says := false
		v.ForEach(func(_, _ gjson.Result) bool {
			says = true
			return false
		})
		return says
	case gjson.True:
	}
	return true
}

// Count reads a number of tokens, 0 where there is none. It is bounded so that
// sums of what an upstream makes up cannot overflow.
func Count(v gjson.Result) int64 {
	if v.Type != gjson.Number || v.Num < 0 {
		return 0
	}
	return int64(min(v.Num, 1<<40))
}

// OpenAIUsage reads a usage object of the OpenAI APIs; input and output are the
// names of its two totals.
func OpenAIUsage(u gjson.Result, input, output string) llm.Usage {
	details := u.Get(input + "_details")
	read := Count(details.Get("cached_tokens"))
	write := Count(details.Get("cache_write_tokens"))
	out := Count(u.Get(output))
	return llm.Usage{
		Input:      max(0, Count(u.Get(input))-read-write),
		Output:     out,
		CacheRead:  read,
		CacheWrite: write,
		Reasoning:  min(out, Count(u.Get(output+"_details.reasoning_tokens"))),
	}
}
