package dialect

import (
	"bytes"
	"strconv"

	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// TypeOf is what a server-sent event says it is: its name, or, from upstreams that leave
// the name out or write what it then is by default, the type member of its data.
func TypeOf(e wire.Event) string {
	if e.Name != "" && e.Name != "message" {
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
func Text(value []byte) string { return string(Spelled(value)) }

// Spelled is Text, without a copy of what has no escapes.
func Spelled(value []byte) []byte {
	switch {
	case len(value) < 2 || value[0] != '"':
		return nil
	case bytes.IndexByte(value, '\\') < 0:
		return value[1 : len(value)-1]
	}
	return []byte(gjson.ParseBytes(value).Str)
}

// Says reports whether a member of an answer states something: it is there and
// not null, false, 0 or empty. Providers send "error":null in good answers.
func Says(value []byte) bool {
	if len(value) == 0 {
		return false
	}
	switch value[0] {
	case 'n', 'f':
		return false
	case 't':
		return true
	case '"':
		return len(value) > len(`""`)
	case '{', '[':
		parts := PartsOf(value)
		_, _, says := parts.Next()
		return says
	}
	n, _ := strconv.ParseFloat(string(value), 64)
	return n != 0
}

// IsNumber reports whether a value is one.
func IsNumber(value []byte) bool {
	return len(value) > 0 && (value[0] == '-' || '0' <= value[0] && value[0] <= '9')
}

// Count reads a number of tokens, 0 where there is none. It is bounded so that
// sums of what an upstream makes up cannot overflow.
func Count(value []byte) int64 {
	const most = 1 << 40
	if !IsNumber(value) {
		return 0
	}
	var n int64
	for _, c := range value {
		if c < '0' || c > '9' {
			f, _ := strconv.ParseFloat(string(value), 64)
			return int64(max(0, min(f, most)))
		}
		n = min(10*n+int64(c-'0'), most)
	}
	return n
}

// beside adds the reasoning that stands beside the output, as only the total shows (xAI,
// Gemini). What of the input is in the total alone, because it was cached, is none.
func beside(u *llm.Usage, total int64) {
	if more := total - u.Input - u.Output; more > 0 && u.CacheRead <= u.Input {
		u.Output += more
		u.Reasoning = max(u.Reasoning, more)
	}
}

// OpenAIUsage reads a usage object of the OpenAI APIs; input and output are the
// names of its two totals. It is false of anything but an object.
func OpenAIUsage(value []byte, input, output string) (u llm.Usage, ok bool) {
	if len(value) == 0 || value[0] != '{' {
		return u, false
	}
	const details = "_details"
	var total, cached int64
	var wholes int // of which it has
	for parts := PartsOf(value); ; {
		name, v, more := parts.Next()
		if !more {
			break
		}
		whole, part := bytes.CutSuffix(name, []byte(details))
		switch {
		case string(name) == input:
			u.Input = Count(v)
			wholes |= 1
		case string(name) == output:
			u.Output = Count(v)
			wholes |= 2
		case part && string(whole) == input:
			u.CacheRead, u.CacheWrite = Count(Member(v, "cached_tokens")), Count(Member(v, "cache_write_tokens"))
		case part && string(whole) == output:
			u.Reasoning = Count(Member(v, "reasoning_tokens"))
		case string(name) == "total_tokens":
			total = Count(v)
		case string(name) == "cached_tokens", string(name) == "prompt_cache_hit_tokens": // Moonshot, DeepSeek
			cached = max(cached, Count(v))
		}
	}
	if u.CacheRead == 0 {
		u.CacheRead = cached
	}
	if wholes == 1|2 {
		beside(&u, total)
	}
	u.Input = max(0, u.Input-u.CacheRead-u.CacheWrite)
	u.Reasoning = min(u.Output, u.Reasoning)
	return u, true
}
