package chat

import (
	"bytes"
	"cmp"
	"slices"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

// maxChoices bounds what is remembered of an answer; the API allows 128.
const maxChoices = 1024

type observer struct {
	turn              llm.Turn
	content           bool           // model output has been seen
	failed            bool           // an error has been seen: nothing after it completes the answer
	done              bool           // [DONE], or a whole JSON body
	seen              int            // how many choices have been seen
	open              int            // how many of them are not finished
	first, firstEnded bool           // choice 0 has been seen, is finished
	others            map[int64]bool // of the other choices seen: finished
	heard             heard          // what is told of the messages
	closed            bool           // the last event ended with its blank line
	usual             dialect.Sample // a chunk that was plain
}

// Event says what the event means to the gate and takes in what it tells.
func (o *observer) Event(e wire.Event) dialect.Kind {
	switch {
	case e.Chunk:
		// Beyond what can be watched: only a cut can be told from the end.
		o.done = true
		return dialect.Content
	case dialect.IsBody(e):
		return o.body(e.Data)
	}
	o.closed = e.Closed()
	switch {
	case e.Name == "error":
		o.failed = true
		return dialect.Failure
	case len(e.Data) == 0:
		return dialect.Preamble
	case bytes.HasPrefix(e.Data, []byte("[DONE]")):
		o.done = true
		return dialect.End
	case o.content && o.glance(e.Data):
		return dialect.Content
	}
	return o.chunk(e.Data)
}

// glance takes in a chunk of which not all has to be read, and reports whether it is one.
func (o *observer) glance(data []byte) bool {
	return o.usual.Like(data) || o.heard.goesOn(data) || o.plain(data)
}

// body reads a whole answer; one that is cut short is no End.
func (o *observer) body(data []byte) dialect.Kind {
	_, err := o.completion(data)
	switch {
	case o.failed:
		return dialect.Failure
	case err != nil:
		return dialect.Preamble
	}
	o.done = true
	return dialect.End
}

// chunk reads one chunk of a stream.
func (o *observer) chunk(data []byte) dialect.Kind {
	o.heard.brief = 0
	content, err := o.completion(data)
	if err == nil && !o.failed && !o.news(data) {
		o.heard.expect(data)
	}
	switch {
	case o.failed:
		return dialect.Failure
	case err != nil && !o.content:
		return dialect.Preamble
	case content || o.content:
		o.content = true
		return dialect.Content
	}
	return dialect.Preamble
}

// completion reads a completion or a chunk of one and reports whether it carries
// anything of the model's.
func (o *observer) completion(data []byte) (content bool, err error) {
	var choices []byte
	var used bool
	err = dialect.Walk(data, func(name, value []byte, _ int) error {
		switch string(name) {
		case "id":
			if o.turn.ID == "" {
				o.turn.ID = dialect.Text(value)
			}
		case "model":
			if o.turn.Model == "" {
				o.turn.Model = dialect.Text(value)
			}
		case "service_tier":
			if tier := tierOf(value); tier != "" {
				o.turn.Tier = tier
			}
		case "usage":
			used = o.used(value)
		case "error":
			o.failed = o.failed || dialect.Says(value)
		case "choices":
			choices = value
		}
		return nil
	})
	if err != nil {
		return false, err // a finish reason in a chunk that is cut short finishes nothing
	}
	return o.choose(choices, used), nil
}

// used takes in a usage, if it is one: an empty one says nothing, and does not take away
// what was said before.
func (o *observer) used(value []byte) bool {
	u, ok := dialect.OpenAIUsage(value, "prompt_tokens", "completion_tokens")
	if ok = ok && dialect.Says(value); ok {
		o.turn.Usage, o.turn.Reported = u, true
	}
	return ok
}

// choose reads the choices of one chunk. The usage may stand in one of them, if it does
// not stand beside them.
func (o *observer) choose(choices []byte, used bool) (content bool) {
	if len(choices) == 0 || choices[0] != '[' {
		return false
	}
	for parts := dialect.PartsOf(choices); ; {
		_, raw, ok := parts.Next()
		if !ok {
			return content
		}
		c := readChoice(raw)
		if !used {
			o.used(c.usage)
		}
		says := len(c.message) > 0 && o.heard.message(c.index, c.message)
		content = content || says || c.reason != ""
		o.saw(c.index, c.reason != "")
		if c.reason != "" && (c.index == 0 || o.turn.Stop == "") {
			o.turn.Stop = c.reason
		}
	}
}

// choice is what is read of one.
type choice struct {
	index          int64
	reason         string
	message, usage []byte
}

func readChoice(raw []byte) (c choice) {
	if raw[0] != '{' {
		return c
	}
	for parts := dialect.PartsOf(raw); ; {
		name, v, ok := parts.Next()
		if !ok {
			return c
		}
		switch string(name) {
		case "index":
			c.index = dialect.Count(v)
		case "finish_reason":
			c.reason = cmp.Or(word(v), c.reason)
		case "delta", "message":
			c.message = v
		case "usage": // Moonshot's, in the last chunk
			c.usage = v
		}
	}
}

// word is dialect.Text without an allocation for what is most often said.
func word(value []byte) string {
	switch string(value) {
	case `"stop"`:
		return "stop"
	case `"tool_calls"`:
		return "tool_calls"
	}
	return dialect.Text(value)
}

// tierOf is dialect.Word without an allocation for what is most often said.
func tierOf(value []byte) string {
	if string(value) == `"default"` {
		return "default"
	}
	return dialect.Word(value)
}

func (o *observer) saw(index int64, finished bool) {
	was, known := o.choice(index)
	if !known && o.seen >= maxChoices {
		return
	}
	if !known {
		o.seen++
		o.open++
	}
	if finished && !was {
		o.open--
	}
	switch {
	case index == 0:
		o.first, o.firstEnded = true, was || finished
		return
	case o.others == nil:
		o.others = make(map[int64]bool, 1)
	}
	o.others[index] = was || finished
}

// choice says whether a choice has been seen, and is finished.
func (o *observer) choice(index int64) (finished, known bool) {
	if index == 0 {
		return o.firstEnded, o.first
	}
	finished, known = o.others[index]
	return finished, known
}

// plain reports whether a chunk can hold nothing but more of the text of choice 0: no
// error, no usage, no end, no call, no other choice. It errs towards false. Inside a
// string of the model's the quotes of these names would be escaped.
func (o *observer) plain(data []byte) bool {
	if !o.first || o.heard.tells(data) || !only(data, `"index"`, "0,", "0}") || !bland(data) || o.news(data) {
		return false
	}
	o.usual.Take(data)
	return true
}

// news reports whether a chunk may tell whose answer it is, as long as that is not known.
// One with null tells nothing, nor does any that is like it; one that is like another
// with "" may.
func (o *observer) news(data []byte) bool {
	return o.turn.ID == "" && !only(data, `"id"`, "n") ||
		o.turn.Model == "" && !only(data, `"model"`, "n") ||
		o.turn.Tier == "" && !only(data, `"service_tier"`, "n")
}

// bland reports whether a chunk has no error, no usage and no end in it.
func bland(data []byte) bool {
	return only(data, `"finish_reason"`, "n") && only(data, `"usage"`, "n") && only(data, `"error"`, "n") && !spelled(data)
}

// spelled reports whether letters are written as escapes, with which a name would not be
// found.
func spelled(data []byte) bool {
	for {
		i := bytes.Index(data, []byte(`\u00`))
		if i < 0 {
			return false
		}
		if data = data[i+len(`\u00`):]; len(data) > 0 && '5' <= data[0] && data[0] <= '7' {
			return true
		}
	}
}

// only reports whether each value of the named member begins in one of these ways.
func only(data []byte, name string, begins ...string) bool {
	for {
		i := bytes.Index(data, []byte(name))
		if i < 0 {
			return true
		}
		data = bytes.TrimLeft(data[i+len(name):], " ")
		if len(data) == 0 || data[0] != ':' {
			return false
		}
		data = bytes.TrimLeft(data[1:], " ")
		if !slices.ContainsFunc(begins, func(b string) bool { return bytes.HasPrefix(data, []byte(b)) }) {
			return false
		}
	}
}

// Turn is what is known so far. An answer without [DONE] may end once each choice
// has its finish reason: some upstreams leave the marker out.
func (o *observer) Turn() llm.Turn {
	t := o.turn
	o.heard.gather.Tell(&t)
	t.Complete = !o.failed && (o.done || (o.seen > 0 && o.open == 0))
	return t
}

// Break is an error chunk.
func (o *observer) Break(f *fault.Error) wire.Event {
	return dialect.SSE("", dialect.OpenAIError(f), o.closed)
}
