package messages

import (
	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

type observer struct {
	turn   llm.Turn
	usage  usage
	closed bool // the last event ended with its blank line
}

// Event says what the event means to the gate and takes in what it tells.
func (o *observer) Event(e wire.Event) dialect.Kind {
	switch {
	case e.Chunk:
		// Beyond what can be watched: only a cut can be told from the end.
		o.turn.Complete = true
		return dialect.Content
	case dialect.IsBody(e):
		return o.body(e.Data)
	}
	o.closed = e.Closed()
	if len(e.Data) == 0 && e.Name != "error" {
		return dialect.Preamble
	}
	switch dialect.TypeOf(e) {
	case "content_block_delta":
		return dialect.Content
	case "ping":
		return dialect.Preamble
	case "message_start":
		o.member(e.Data, "message")
		return dialect.Preamble
	case "content_block_start":
		return blockStart(e.Data)
	case "message_delta":
		o.delta(e.Data)
		return dialect.Content
	case "message_stop":
		if !dialect.Whole(e.Data) {
			return dialect.Preamble
		}
		o.turn.Complete = true
		return dialect.End
	case "error":
		return dialect.Failure
	}
	return dialect.Content
}

// body reads a whole answer; one that is cut short is no End.
func (o *observer) body(data []byte) dialect.Kind {
	failed, err := o.message(data)
	switch {
	case failed:
		return dialect.Failure
	case err != nil:
		return dialect.Preamble
	}
	o.turn.Complete = true
	return dialect.End
}

// member reads the message in the named member of an event.
func (o *observer) member(data []byte, name string) {
	// What can be read of a malformed event is read.
	_ = dialect.Walk(data, func(n, value []byte, _ int) error {
		if string(n) == name {
			_, err := o.message(value)
			return err
		}
		return nil
	})
}

// message reads a Message object, whole or as message_start has it, and reports
// whether it is an error in a message's place.
func (o *observer) message(data []byte) (failed bool, err error) {
	err = dialect.Walk(data, func(name, value []byte, _ int) error {
		switch string(name) {
		case "id":
			o.turn.ID = dialect.Text(value)
		case "model":
			o.turn.Model = dialect.Text(value)
		case "stop_reason":
			o.turn.Stop = dialect.Text(value)
		case "container":
			o.turn.Container = gjson.GetBytes(value, "id").Str
		case "usage":
			o.usage.update(value)
		case "type":
			failed = failed || dialect.Text(value) == "error"
		case "error":
			failed = failed || dialect.Says(value)
		}
		return nil
	})
	return failed, err
}

func (o *observer) delta(data []byte) {
	if stop := gjson.GetBytes(data, "delta.stop_reason").Str; stop != "" {
		o.turn.Stop = stop
	}
	if id := gjson.GetBytes(data, "delta.container.id").Str; id != "" {
		o.turn.Container = id
	}
	o.usage.update([]byte(gjson.GetBytes(data, "usage").Raw))
}

// blockStart tells the start of a block that is still empty from one that has
// its whole content at once, such as redacted thinking or a server tool's result.
func blockStart(data []byte) dialect.Kind {
	block := gjson.GetBytes(data, "content_block")
	var content gjson.Result
	switch block.Get("type").Str {
	case "text":
		content = block.Get("text")
	case "thinking":
		content = block.Get("thinking")
	case "tool_use", "server_tool_use":
		content = block.Get("input")
	default:
		return dialect.Content
	}
	if dialect.Says([]byte(content.Raw)) {
		return dialect.Content
	}
	return dialect.Preamble
}

// Turn is what is known so far.
func (o *observer) Turn() llm.Turn {
	t := o.turn
	t.Usage, t.Reported = o.usage.total(), o.usage.reported
	return t
}

// Break is the API's error event.
func (o *observer) Break(f *fault.Error) wire.Event {
	return dialect.SSE("error", dialect.AnthropicError(f), o.closed)
}

// usage follows the reports of one answer: each replaces the fields it has.
type usage struct {
	reported   bool
	last       llm.Usage
	iterations llm.Usage
	iterated   bool
}

func (u *usage) update(report []byte) {
	if len(report) == 0 || report[0] != '{' {
		return
	}
	u.reported = true
	list := replace(&u.last, report)
	if len(list) == 0 || list[0] != '[' || !dialect.Says(list) {
		return
	}
	u.iterated, u.iterations = true, llm.Usage{}
	for parts := dialect.PartsOf(list); ; {
		_, entry, ok := parts.Next()
		if !ok {
			return
		}
		var one llm.Usage
		replace(&one, entry)
		u.iterations = u.iterations.Add(one)
	}
}

// total is the sum over the iterations where the provider reports them: that is
// what it bills, and the totals beside them leave some out.
func (u *usage) total() llm.Usage {
	t := u.last
	if u.iterated {
		t = u.iterations
		t.Reasoning = max(t.Reasoning, u.last.Reasoning)
	}
	t.Reasoning = min(t.Reasoning, t.Output)
	return t
}

// replace takes in the fields that a report has, and returns its iterations.
func replace(u *llm.Usage, report []byte) (iterations []byte) {
	if len(report) == 0 || report[0] != '{' {
		return nil
	}
	var written []byte // to the cache, by how long it keeps it
	total := false
	for parts := dialect.PartsOf(report); ; {
		name, v, ok := parts.Next()
		if !ok {
			break
		}
		switch string(name) {
		case "input_tokens":
			set(&u.Input, v)
		case "output_tokens":
			set(&u.Output, v)
		case "cache_read_input_tokens":
			set(&u.CacheRead, v)
		case "cache_creation_input_tokens":
			total = set(&u.CacheWrite, v)
		case "cache_creation":
			written = v
		case "output_tokens_details":
			set(&u.Reasoning, dialect.Member(v, "thinking_tokens"))
		case "iterations":
			iterations = v
		}
	}
	if !total && len(written) > 0 && written[0] == '{' {
		u.CacheWrite = dialect.Count(dialect.Member(written, "ephemeral_5m_input_tokens")) +
			dialect.Count(dialect.Member(written, "ephemeral_1h_input_tokens"))
	}
	return iterations
}

func set(field *int64, value []byte) bool {
	if !dialect.IsNumber(value) {
		return false
	}
	*field = dialect.Count(value)
	return true
}
