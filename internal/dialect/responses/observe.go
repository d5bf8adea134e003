package responses

import (
	"bytes"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

type observer struct {
	turn   llm.Turn
	items  items
	next   int64 // the sequence number of the event to come
	closed bool  // the last event ended with its blank line
	failed bool  // an error has been seen: nothing after it completes the answer
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
	if n, ok := sequence(e.Data); ok {
		o.next = n
	}
	o.next++
	kind := o.event(e)
	switch kind {
	case dialect.Failure:
		o.failed = true
	case dialect.End:
		o.turn.Complete = !o.failed
	case dialect.Preamble, dialect.Content:
	}
	return kind
}

func (o *observer) event(e wire.Event) dialect.Kind {
	switch kind := dialect.TypeOf(e); kind {
	case "response.output_text.delta":
		return dialect.Content
	case "response.created":
		_, _ = o.member(e.Data, false) // what can be read of a malformed event is read
		return dialect.Preamble
	case "response.output_item.added":
		o.items.item(e.Data, false)
		return dialect.Preamble
	case "response.output_item.done":
		o.items.item(e.Data, true)
		return dialect.Content
	case "response.function_call_arguments.delta", "response.custom_tool_call_input.delta", "response.mcp_call_arguments.delta",
		"response.code_interpreter_call_code.delta":
		o.items.argue(e.Data)
		return dialect.Content
	case "response.reasoning_summary_text.delta", "response.reasoning_text.delta":
		if o.items.gather.Reasons() {
			o.items.reason(e.Data, kind == "response.reasoning_summary_text.delta")
		}
		return dialect.Content
	case "response.queued", "response.in_progress", "response.content_part.added", "response.reasoning_summary_part.added",
		"keepalive", "response.keep_alive", "codex.rate_limits":
		return dialect.Preamble
	case "response.completed", "response.incomplete":
		if failed, err := o.member(e.Data, true); err != nil {
			return dialect.Preamble
		} else if failed {
			return dialect.Failure
		}
		return dialect.End
	case "response.failed":
		_, _ = o.member(e.Data, true) // what can be read of a malformed event is read
		return dialect.Failure
	case "error":
		return dialect.Failure
	}
	if bytes.HasPrefix(e.Data, []byte("[DONE]")) {
		return dialect.Preamble // of other APIs: some upstreams add it here
	}
	return dialect.Content
}

// body reads a whole answer; one that is cut short is no End.
func (o *observer) body(data []byte) dialect.Kind {
	failed, err := o.response(data, true)
	switch {
	case failed:
		return dialect.Failure
	case err != nil:
		return dialect.Preamble
	}
	o.turn.Complete = true
	return dialect.End
}

// member reads the Response object that lifecycle events carry.
func (o *observer) member(data []byte, ends bool) (failed bool, err error) {
	err = dialect.Walk(data, func(name, value []byte, _ int) (err error) {
		if string(name) == "response" {
			failed, err = o.response(value, ends)
		}
		return err
	})
	return failed, err
}

// response reads a Response object and reports whether it failed, or is an error
// in a response's place. What one has said, and why it stopped, is told by what ends it.
func (o *observer) response(data []byte, ends bool) (failed bool, err error) {
	var status, reason string
	var output []byte
	err = dialect.Walk(data, func(name, value []byte, _ int) error {
		switch string(name) {
		case "id":
			o.turn.ID = dialect.Text(value)
		case "model":
			o.turn.Model = dialect.Text(value)
		case "status":
			status = dialect.Text(value)
		case "incomplete_details":
			reason = gjson.GetBytes(value, "reason").Str
		case "service_tier":
			o.turn.Tier = dialect.Word(value)
		case "output":
			output = value
		case "usage":
			if u, ok := dialect.OpenAIUsage(value, "input_tokens", "output_tokens"); ok {
				o.turn.Usage, o.turn.Reported = u, true
			}
		case "type":
			failed = failed || dialect.Text(value) == "error"
		case "error":
			failed = failed || dialect.Says(value)
		}
		return nil
	})
	if ends {
		o.items.all(output)
		o.stopped(status, reason)
	}
	return failed || status == "failed", err
}

// stopped notes why an answer ended, if it did.
func (o *observer) stopped(status, reason string) {
	switch {
	case reason != "" && status != "failed":
		o.turn.Stop = reason
	case status != "" && status != "queued" && status != "in_progress":
		o.turn.Stop = status
	}
}

// Turn is what is known so far.
func (o *observer) Turn() llm.Turn {
	t := o.turn
	t.Searches = o.items.searches
	o.items.gather.Tell(&t)
	return t
}

// Break is the API's error event, numbered after the last event seen.
func (o *observer) Break(f *fault.Error) wire.Event {
	return dialect.SSE("error", dialect.ResponsesError(f, o.next), o.closed)
}

// sequence is an event's number. Nearly every event has it right behind its type. Of any
// other its own members are read: what a client has sent stands deeper in it, by any name.
func sequence(data []byte) (int64, bool) {
	number, _ := headOf(data)
	if number == nil {
		number = fieldsOf(data).number
	}
	return dialect.Count(number), dialect.IsNumber(number)
}

// headOf returns the number of an event that begins with its type and its number, without
// space, and what follows them; of any other nil.
func headOf(data []byte) (number, rest []byte) {
	rest, ok := bytes.CutPrefix(data, []byte(`{"type":"`))
	if !ok {
		return nil, nil
	}
	rest, ok = bytes.CutPrefix(rest[max(0, bytes.IndexByte(rest, '"')):], []byte(`","sequence_number":`))
	if !ok {
		return nil, nil
	}
	return digits(rest)
}

// digits cuts a whole number off what begins with a member's value; nil if none is there.
func digits(b []byte) (number, rest []byte) {
	n := 0
	for n < len(b) && '0' <= b[n] && b[n] <= '9' {
		n++
	}
	if n == 0 || n == len(b) || b[n] != ',' && b[n] != '}' {
		return nil, nil
	}
	return b[:n], b[n:]
}
