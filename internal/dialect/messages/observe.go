package messages

import (
	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/llm"
	"keybridge/internal/wire"
)

type observer struct {
	turn   llm.Turn
	usage  usage
	blocks blocks
	closed bool // the last event ended with its blank line
	failed bool // an error has come: nothing completes the answer
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
		o.blocks.delta(e.Data)
		return dialect.Content
	case "ping":
		return dialect.Preamble
	case "message_start":
		o.member(e.Data, "message")
		return dialect.Preamble
	case "content_block_start":
		return o.blocks.start(e.Data)
	case "content_block_stop":
		o.blocks.stop(e.Data)
		return dialect.Content
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
		o.failed = true
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
			o.turn.Container = dialect.Text(dialect.Member(value, "id"))
		case "usage":
			o.usage.update(value)
		case "content":
			o.blocks.all(value)
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
	delta := dialect.Member(data, "delta")
	if stop := dialect.Text(dialect.Member(delta, "stop_reason")); stop != "" {
		o.turn.Stop = stop
	}
	if id := containerOf(delta); id != "" {
		o.turn.Container = id
	}
	o.usage.update(dialect.Member(data, "usage"))
}

// containerOf is the id of what the tools of a message, or of its end, ran in.
func containerOf(message []byte) string {
	return dialect.Text(dialect.Member(dialect.Member(message, "container"), "id"))
}

// Turn is what is known so far.
func (o *observer) Turn() llm.Turn {
	t := o.turn
	t.Complete = t.Complete && !o.failed
	t.Usage, t.Reported = o.usage.total(), o.usage.reported
	t.Tier, t.Searches, t.Iterations = o.usage.served(), o.usage.searches, o.usage.iterations
	o.blocks.gather.Tell(&t)
	return t
}

// Break is the API's error event.
func (o *observer) Break(f *fault.Error) wire.Event {
	return dialect.SSE("error", dialect.AnthropicError(f), o.closed)
}
