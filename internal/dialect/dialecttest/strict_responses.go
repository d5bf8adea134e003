package dialecttest

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"keybridge/internal/wire"

	"github.com/tidwall/gjson"
)

// StrictResponses says what of a stream of the Responses API no strict client would
// bear: it wants exactly one start and one end, contiguous numbers and indexes, the
// same ids throughout, and all that was opened closed.
func StrictResponses(events []wire.Event) error {
	c := responsesChecker{next: -1}
	for n, e := range events {
		if e.Data == nil {
			continue
		}
		if err := c.event(e); err != nil {
			return fmt.Errorf("event %d: %w: %s", n, err, e.Data)
		}
	}
	if !c.ended {
		return errors.New("the stream has no end")
	}
	return nil
}

type responsesChecker struct {
	id             string
	next           int64 // sequence number
	started, ended bool
	items          []*responsesItem
}

type responsesItem struct {
	id, kind       string
	done           bool
	parts, summary []bool // whether each is closed
}

func (c *responsesChecker) event(e wire.Event) error {
	v := gjson.ParseBytes(e.Data)
	kind := v.Get("type").Str
	switch n := v.Get("sequence_number"); {
	case !json.Valid(e.Data):
		return errors.New("no JSON")
	case kind != e.Name:
		return fmt.Errorf("the name %q is not the type", e.Name)
	case c.ended:
		return errors.New("after the end")
	case n.Type != gjson.Number || c.next >= 0 && n.Int() != c.next:
		return fmt.Errorf("the sequence number is %s, want %d", n.Raw, c.next)
	default:
		c.next = n.Int() + 1
	}
	if err := c.named(v.Get("response")); err != nil {
		return err
	}
	switch kind {
	case "response.created":
		if c.started {
			return errors.New("a second start")
		}
		c.started = true
		return nil
	case "error":
		c.ended = true
		return nil
	}
	if !c.started {
		return errors.New("before the start")
	}
	return c.inside(kind, v)
}

// named checks the id of the answer, where an event has one.
func (c *responsesChecker) named(response gjson.Result) error {
	id := response.Get("id").Str
	if c.id == "" {
		c.id = id
	}
	if response.IsObject() && (id != c.id || id == "") {
		return fmt.Errorf("the answer is %q, want %q", id, c.id)
	}
	return nil
}

func (c *responsesChecker) inside(kind string, v gjson.Result) error {
	switch kind {
	case "response.queued", "response.in_progress":
		if len(c.items) > 0 {
			return errors.New("an item has come before it")
		}
		return nil
	case "response.completed", "response.incomplete", "response.failed":
		c.ended = true
		return c.end(kind, v.Get("response"))
	case "response.output_item.added":
		if v.Get("output_index").Raw != strconv.Itoa(len(c.items)) {
			return fmt.Errorf("the index is %s, want %d", v.Get("output_index").Raw, len(c.items))
		}
		c.items = append(c.items, &responsesItem{id: v.Get("item.id").Str, kind: v.Get("item.type").Str})
		return nil
	}
	if !v.Get("output_index").Exists() {
		return nil // about no item
	}
	i := v.Get("output_index").Int()
	if i < 0 || i >= int64(len(c.items)) {
		return errors.New("of no item that was added")
	}
	it := c.items[i]
	if it.done {
		return errors.New("of an item that is done")
	}
	if kind == "response.output_item.done" {
		it.done = true
		return it.finish(v.Get("item"))
	}
	if v.Get("item_id").Str != it.id {
		return fmt.Errorf("the item at %d is %s", i, it.id)
	}
	return it.event(kind, v)
}

func (it *responsesItem) finish(v gjson.Result) error {
	if v.Get("id").Str != it.id || v.Get("type").Str != it.kind {
		return fmt.Errorf("another item than was added: %s %s", it.kind, it.id)
	}
	for _, closed := range append(it.parts, it.summary...) {
		if !closed {
			return errors.New("a part is open")
		}
	}
	return nil
}

func (it *responsesItem) event(kind string, v gjson.Result) error {
	parts, at := &it.parts, v.Get("content_index")
	if strings.Contains(kind, "reasoning_summary") {
		parts, at = &it.summary, v.Get("summary_index")
	}
	switch {
	case strings.HasSuffix(kind, "_part.added"):
		if at.Raw != strconv.Itoa(len(*parts)) {
			return fmt.Errorf("the part's index is %s, want %d", at.Raw, len(*parts))
		}
		*parts = append(*parts, false)
		return nil
	case !at.Exists():
		return nil
	}
	i := at.Int()
	if i < 0 || i >= int64(len(*parts)) || (*parts)[i] {
		return errors.New("of a part that is not open")
	}
	if strings.HasSuffix(kind, "_part.done") {
		(*parts)[i] = true
	}
	return nil
}

func (c *responsesChecker) end(kind string, r gjson.Result) error {
	output := r.Get("output").Array()
	if kind == "response.failed" {
		return nil
	}
	if len(output) != len(c.items) {
		return fmt.Errorf("%d items at the end, %d on the way", len(output), len(c.items))
	}
	for i, it := range c.items {
		if output[i].Get("id").Str != it.id || output[i].Get("type").Str != it.kind {
			return fmt.Errorf("the item at %d was %s %s", i, it.kind, it.id)
		}
		if !it.done && kind == "response.completed" {
			return fmt.Errorf("the item %s is not done", it.id)
		}
	}
	return nil
}
