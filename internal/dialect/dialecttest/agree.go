package dialecttest

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
	"github.com/tidwall/gjson"
)

// FuzzBodies compares what is learned of whole answers with what a plain reading of
// them says, of all that is JSON and names nothing twice.
func FuzzBodies(f *testing.F, d dialect.Dialect, plain func(body []byte) llm.Turn) {
	f.Helper()
	for _, file := range files(f) {
		body := read(f, filepath.Base(file))
		f.Add(body)
		for line := range bytes.Lines(body) {
			if data, ok := bytes.CutPrefix(line, []byte("data: ")); ok {
				f.Add(bytes.TrimSpace(data))
			}
		}
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if !dialect.Whole(body) || !unambiguous(body) {
			t.Skip()
		}
		o := d.Observe()
		if o.Event(wire.Event{Raw: body, Data: body}) != dialect.End {
			t.Skip()
		}
		want, got := plain(body), o.Turn()
		want.Complete = true
		got.Calls, got.Thoughts = nil, nil // there is no plain reading of pieces
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s (-plain +observed):\n%s", body, diff)
		}
	})
}

// unambiguous says that body is JSON, and that no object in it has two members of a name.
func unambiguous(body []byte) bool {
	return json.Valid(body) && single(json.NewDecoder(bytes.NewReader(body)))
}

func single(d *json.Decoder) bool {
	var open []map[string]bool // nil: an array
	name := false              // the next token is one
	for {
		t, err := d.Token()
		if err != nil {
			return true
		}
		switch v := t.(type) {
		case json.Delim:
			switch v {
			case '{':
				open = append(open, map[string]bool{})
			case '[':
				open = append(open, nil)
			default:
				open = open[:len(open)-1]
			}
			name = len(open) > 0 && open[len(open)-1] != nil
			continue
		case string:
			if name {
				names := open[len(open)-1]
				if names[v] {
					return false
				}
				names[v], name = true, false
				continue
			}
		}
		name = len(open) > 0 && open[len(open)-1] != nil
	}
}

// Count is the plain reading of a number of tokens.
func Count(v gjson.Result) int64 {
	if v.Type != gjson.Number || v.Num < 0 {
		return 0
	}
	return int64(min(v.Num, 1<<40))
}

// Word is the plain reading of a name.
func Word(v gjson.Result) string {
	if len(v.Raw) > 256 {
		return dialect.Word([]byte(v.Raw))
	}
	return v.Str
}

// OpenAIUsage is the plain reading of a usage object.
func OpenAIUsage(u gjson.Result, input, output string) llm.Usage {
	in, out := Count(u.Get(input)), Count(u.Get(output))
	read := Count(u.Get(input + "_details.cached_tokens"))
	if read == 0 {
		read = max(Count(u.Get("cached_tokens")), Count(u.Get("prompt_cache_hit_tokens")))
	}
	write := Count(u.Get(input + "_details.cache_write_tokens"))
	beside := int64(0)
	if u.Get(input).Exists() && u.Get(output).Exists() && read <= in {
		beside = max(0, Count(u.Get("total_tokens"))-in-out)
	}
	return llm.Usage{
		Input: max(0, in-read-write), Output: out + beside, CacheRead: read, CacheWrite: write,
		Reasoning: min(out+beside, max(beside, Count(u.Get(output+"_details.reasoning_tokens")))),
	}
}
