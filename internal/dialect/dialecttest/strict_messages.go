package dialecttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// StrictMessages says what of an answer of the Messages API, a stream or a body, no
// strict client would bear: it wants exactly one start and one end, blocks in order
// without a gap, deltas of their kind in open ones only, every event named as its
// data, and an end that promises calls only where there are some. A stream may end
// with an error instead.
func StrictMessages(events []wire.Event) error {
	if len(events) == 1 && dialect.IsBody(events[0]) {
		return strictMessage(events[0].Data)
	}
	var s strictMessages
	for i, e := range events {
		if err := s.event(e); err != nil {
			return fmt.Errorf("event %d, %q: %w", i, e.Raw, err)
		}
	}
	if !s.ended {
		return errors.New("no end")
	}
	return nil
}

func strictMessage(body []byte) error {
	m := gjson.ParseBytes(body)
	switch calls := m.Get(`content.#(type=="tool_use")`).Exists(); {
	case !json.Valid(body) || m.Get("type").Str != "message" || m.Get("id").Str == "" || m.Get("role").Str != "assistant":
		return errors.New("no message")
	case !m.Get("content").IsArray() || !m.Get("usage").IsObject() || m.Get("stop_reason").Str == "":
		return errors.New("no content, usage or stop reason")
	case m.Get("stop_reason").Str == "tool_use" && !calls:
		return errors.New("it promises calls and has none")
	}
	return nil
}

type strictMessages struct {
	begun, stopped, ended bool
	blocks                []string // types
	open                  []bool
	calls                 bool
}

func (s *strictMessages) event(e wire.Event) error {
	data := gjson.ParseBytes(e.Data)
	kind := data.Get("type").Str
	switch {
	case !e.Closed():
		return errors.New("it has no blank line")
	case e.Data == nil || e.Name == "ping":
		return nil
	case !json.Valid(e.Data) || kind != e.Name:
		return errors.New("its data is not JSON of its type")
	case s.ended:
		return errors.New("it follows the end")
	case kind == "error":
		s.ended = true
		return nil
	case kind == "message_start":
		again := s.begun
		s.begun = true
		if m := data.Get("message"); again || m.Get("id").Str == "" || len(m.Get("content").Array()) > 0 {
			return errors.New("not one empty message is begun")
		}
		return nil
	case !s.begun:
		return errors.New("nothing has begun")
	}
	return s.inside(kind, data)
}

func (s *strictMessages) inside(kind string, data gjson.Result) error {
	switch kind {
	case "content_block_start":
		block := data.Get("content_block.type").Str
		if data.Get("index").Raw != strconv.Itoa(len(s.blocks)) || block == "" || s.stopped {
			return errors.New("not the next block")
		}
		s.blocks, s.open = append(s.blocks, block), append(s.open, true)
		s.calls = s.calls || block == "tool_use"
	case "content_block_delta", "content_block_stop":
		return s.block(kind, data)
	case "message_delta":
		return s.stop(data)
	case "message_stop":
		s.ended = true
		if !s.stopped {
			return errors.New("no stop reason was told")
		}
	}
	return nil
}

func (s *strictMessages) block(kind string, data gjson.Result) error {
	i := int(data.Get("index").Int())
	if !data.Get("index").Exists() || i < 0 || i >= len(s.open) || !s.open[i] {
		return errors.New("no such block is open")
	}
	if kind == "content_block_stop" {
		s.open[i] = false
		return nil
	}
	of := map[string][]string{
		"text_delta": {"text"}, "citations_delta": {"text"}, "thinking_delta": {"thinking"}, "signature_delta": {"thinking"},
		"input_json_delta": {"tool_use", "server_tool_use", "mcp_tool_use"}, "compaction_delta": {"compaction"},
	}
	if kinds, known := of[data.Get("delta.type").Str]; known && !slices.Contains(kinds, s.blocks[i]) {
		return errors.New("a delta of another kind than its block")
	}
	return nil
}

func (s *strictMessages) stop(data gjson.Result) error {
	s.stopped = true
	switch {
	case slices.Contains(s.open, true):
		return errors.New("a block is open")
	case !data.Get("usage").IsObject():
		return errors.New("no usage")
	case data.Get("delta.stop_reason").Str == "tool_use" && !s.calls:
		return errors.New("it promises calls and there are none")
	}
	return nil
}
