package chat_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"

	"github.com/google/go-cmp/cmp"
)

// alike checks that what is told of the chunks is what reading each of them tells. Each
// is read if it has a usage, be it one that is none. Of the tier, which is read wherever
// it stands, the last is told: that may be one that no shortcut looks at.
func alike(t *testing.T, chunks [][]byte) {
	t.Helper()
	all := dialect.Keep{Arguments: true, Reasoning: true, Limit: 99}
	compared, read := observing(all).Observe(), observing(all).Observe()
	for _, data := range chunks {
		compared.Event(event(string(data)))
		if dialect.Says(data) && data[0] == '{' {
			data = append([]byte(`{"usage":false,`), data[1:]...)
		}
		read.Event(event(string(data)))
	}
	want, got := read.Turn(), compared.Turn()
	if got.Tier = want.Tier; !reflect.DeepEqual(want, got) {
		t.Errorf("%s (-read +compared):\n%s", bytes.Join(chunks, []byte{'\n'}), cmp.Diff(want, got))
	}
}

// Chunks that are like others are not read but compared: what is told of them must be
// what reading each of them tells.
func FuzzAlike(f *testing.F) {
	all, err := filepath.Glob("testdata/*/*.sse")
	if err != nil || len(all) == 0 {
		f.Fatalf("no fixtures: %v", err)
	}
	for _, file := range all {
		body, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(body)
	}
	chunk := func(delta, rest string) string {
		return `data: {"choices":[{"index":0,"delta":` + delta + `,"finish_reason":null` + rest + "\n\n"
	}
	call := func(id, arguments, rest string) string {
		return chunk(`{"tool_calls":[{"index":0,"id":"`+id+`","function":{"arguments":"`+arguments+`"}}]}`, rest)
	}
	const open = `data: {"choices":[{"index":0,"delta":{"tool_calls":[{"index":0,"function":{"name":"a","arguments":""}}]}}]}` + "\n\n"
	piece := func(fragment string) string { return chunk(`{"tool_calls":[`+fragment+`]}`, `}]}`) }
	more := func(arguments string) string {
		return piece(`{"index":0,"function":{"arguments":"` + arguments + `"}}`)
	}
	for _, stream := range []string{
		open + chunk(`{"reasoning_content":"a","reasoning":""}`, `}]}`) + chunk(`{"reasoning_content":"","reasoning":"b"}`, `}]}`),
		open + chunk(`{"reasoning_content":"a","tool_calls":[{"index":0,"function":{"arguments":"x"}}]}`, `}]}`) +
			chunk(`{"reasoning_content":"b","tool_calls":[{"index":0,"function":{"arguments":"y"}}]}`, `}]}`),
		open + call("", "{", `}]}`) + call("call_9", "}", `}]}`),
		open + more("{") + piece(`{"index":0,"id":"call_9"}`) + more("}"),
		open + more("{") + piece(`{"index":1,"id":"call_9","function":{"name":"b","arguments":"["}}`) + more("}"),
		open + more("{}") + piece(`{"index":0,"id":"call_9","function":{"name":"b","arguments":""}},{"index":0,"function":{"arguments":"["}}`) + more("]"),
		open + chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}`, `}],"error":""}`) +
			chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`, `}],"error":"busy"}`),
		open + strings.ReplaceAll(chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"{"}}]}`, `}]}`), "null", `"length"`) +
			strings.ReplaceAll(chunk(`{"tool_calls":[{"index":0,"function":{"arguments":"}"}}]}`, `}]}`), "null", `"stop"`),
	} {
		f.Add([]byte(stream))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var chunks [][]byte
		r := wire.NewReader(wire.SSE, bytes.NewReader(body))
		for {
			e, err := r.Next()
			if err != nil {
				break
			}
			if len(e.Data) == 0 || e.Chunk {
				continue
			}
			if e.Data[0] == '{' && !json.Valid(e.Data) {
				t.Skip("no chunk")
			}
			chunks = append(chunks, bytes.Clone(e.Data))
		}
		alike(t, chunks)
	})
}

// dice makes up chunks.
type dice struct{ *rand.Rand }

func (d dice) of(all ...string) string { return all[d.IntN(len(all))] }

// object has the members in any order, without those that are empty.
func (d dice) object(members ...string) string {
	var some []string
	for _, m := range members {
		if m != "" {
			some = append(some, m)
		}
	}
	d.Shuffle(len(some), func(i, j int) { some[i], some[j] = some[j], some[i] })
	return "{" + strings.Join(some, ",") + "}"
}

// list is one most often, or two.
func (d dice) list(one func() string) string {
	if d.IntN(5) > 0 {
		return "[" + one() + "]"
	}
	return "[" + one() + "," + one() + "]"
}

func (d dice) fragment() string {
	fn := d.object(d.of("", "", "", `"name":"f"`, `"name":"g"`, `"name":""`, `"name":null`, `"name":{"arguments":"no"}`),
		d.of("", `"arguments":"x"`, `"arguments":"y\"z"`, `"arguments":"{"`, `"arguments":""`, `"arguments":null`),
		d.of("", "", "", `"arguments":"again"`, `"input":"in"`))
	return d.object(d.of("", `"index":0`, `"index":0`, `"index":0`, `"index":1`, `"index":2`, `"index":null`),
		d.of("", "", "", `"id":"a"`, `"id":"b"`, `"id":""`, `"id":null`),
		d.of("", `"function":`+fn, `"function":`+fn, `"function":`+fn, `"custom":`+fn, `"function":null`),
		d.of("", "", `"arguments":"bare"`, `"type":"function"`, `"type":"f\u006f"`))
}

func (d dice) delta() string {
	calls := d.of("", `"tool_calls":null`, `"tool_calls":[]`)
	if d.IntN(3) > 0 {
		calls = `"tool_calls":` + d.list(d.fragment)
	}
	return d.object(calls, d.of("", "", `"reasoning_content":"r"`, `"reasoning_content":""`, `"reasoning_content":null`),
		d.of("", "", `"reasoning":"s"`, `"reasoning":""`), d.of("", `"content":"c"`, `"content":""`, `"content":null`),
		d.of("", "", "", "", `"function_call":{"name":"l","arguments":"q"}`, `"function_call":{"arguments":"w"}`, `"function_call":null`),
		d.of("", `"role":"assistant"`, `"role":""`))
}

func (d dice) choice() string {
	return d.object(d.of("", `"index":0`, `"index":0`, `"index":0`, `"index":0`, `"index":1`, `"index":0.7e1`),
		d.of(`"delta":`, `"delta":`, `"message":`)+d.delta(), d.of("", "", `"finish_reason":null`, `"finish_reason":""`, `"finish_reason":"stop"`))
}

func (d dice) chunk() string {
	return d.object(d.of("", `"id":"c"`, `"id":""`), d.of("", `"model":"m"`, `"model":""`),
		d.of("", "", "", `"error":null`, `"error":""`, `"usage":null`, `"usage":{}`, `"usage":{"prompt_tokens":1}`), `"choices":`+d.list(d.choice))
}

// stream repeats chunks with other texts, and with names in escapes.
func (d dice) stream() (chunks [][]byte) {
	for range 2 + d.IntN(6) {
		c := d.chunk()
		for range 1 + d.IntN(3) {
			chunks = append(chunks, []byte(c))
			c = strings.ReplaceAll(c, d.of(`"x"`, `"r"`, `"c"`, `""`, `"a"`, `"q"`), d.of(`"long one"`, `""`, `"w\n"`))
		}
		if d.IntN(4) == 0 {
			chunks = append(chunks, []byte(strings.ReplaceAll(c, "_", `\u005f`)))
		}
		if d.IntN(3) == 0 {
			chunks = append(chunks, chunks[d.IntN(len(chunks))])
		}
	}
	return chunks
}

func TestRandomAlike(t *testing.T) {
	t.Parallel()
	for seed := range uint64(2000) {
		chunks := [][]byte{[]byte(`{"choices":[{"index":0,"delta":{"content":"x"}}]}`)}
		if alike(t, append(chunks, dice{rand.New(rand.NewPCG(seed, 7))}.stream()...)); t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
