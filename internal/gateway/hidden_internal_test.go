package gateway

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

func mixed(shown, call string, size int) *dialect.Hidden {
	return &dialect.Hidden{Shown: shown, Steps: []dialect.Step{{Said: dialect.Said{ID: shown, Raw: make([]byte, size), Others: []llm.ToolCall{{ID: call}}}}}}
}

func TestHiddenIsBounded(t *testing.T) {
	var h hidden
	now := time.Now()
	for i := range mostHidden + 10 {
		h.keep("a", mixed(fmt.Sprint("m", i), fmt.Sprint("c", i), 10), now)
	}
	if n := h.order.Len(); n != mostHidden {
		t.Errorf("%d are kept, want %d", n, mostHidden)
	}
	if h.find("a", "c9", now) != nil || h.find("a", "m9", now) != nil {
		t.Error("the oldest is still there")
	}
	if h.find("a", "c10", now) == nil || h.find("a", "m10", now) == nil {
		t.Error("one of the newest is gone")
	}
	h.keep("b", mixed("big", "big", hiddenBytes-2000), now)
	if h.size > hiddenBytes || h.find("b", "big", now) == nil || !h.knows("a") {
		t.Errorf("%d bytes are kept, %d exchanges", h.size, h.order.Len())
	}
	h.keep("b", mixed("bigger", "bigger", hiddenBytes+1), now)
	if h.find("b", "bigger", now) != nil {
		t.Error("one beyond all bounds is kept")
	}
}

// An upstream makes up ids and calls as it likes: they count, as what it says does.
func TestHiddenCountsAllOfIt(t *testing.T) {
	const large = 1 << 20
	long := strings.Repeat("x", large)
	for name, what := range map[string]dialect.Hidden{
		"the id it is shown": {Shown: long, Steps: make([]dialect.Step, 1)},
		"many steps":         {Steps: make([]dialect.Step, large/dialect.KeptCost)},
		"the answer's id":    {Steps: []dialect.Step{{Said: dialect.Said{ID: long}}}},
		"a container":        {Steps: []dialect.Step{{Said: dialect.Said{Container: long}}}},
		"an id of its parts": {Steps: []dialect.Step{{Said: dialect.Said{Refs: []string{long}}}}},
		"many of them":       {Steps: []dialect.Step{{Said: dialect.Said{Refs: make([]string, large/dialect.KeptCost)}}}},
		"a call's id":        {Steps: []dialect.Step{{Said: dialect.Said{Others: []llm.ToolCall{{ID: long}}}}}},
		"a call's name":      {Steps: []dialect.Step{{Said: dialect.Said{Mine: []llm.ToolCall{{Name: long}}}}}},
		"its arguments":      {Steps: []dialect.Step{{Said: dialect.Said{Mine: []llm.ToolCall{{Arguments: []byte(long)}}}}}},
		"many calls":         {Steps: []dialect.Step{{Said: dialect.Said{Others: make([]llm.ToolCall, large/dialect.KeptCost)}}}},
		"many parts":         {Steps: []dialect.Step{{Results: []llm.ToolResult{{Parts: make([]llm.Part, large/dialect.KeptCost)}}}}},
	} {
		var h hidden
		if h.keep("a", &what, time.Now()); h.size < large {
			t.Errorf("%s: %d bytes", name, h.size)
		}
	}
}

func TestHiddenIsKnownOnceByEachID(t *testing.T) {
	var h hidden
	what := mixed("m", "c", 1)
	what.Steps[0].Said.Others = append(what.Steps[0].Said.Others, llm.ToolCall{ID: "c"}, llm.ToolCall{ID: "m"}, llm.ToolCall{})
	what.Steps[0].Said.Refs = []string{"c", "r", "r", ""}
	h.keep("a", what, time.Now())
	item, _ := h.order.Front().Value.(*hiddenItem)
	if !slices.Equal(item.ids, []string{"m", "c", "r"}) {
		t.Errorf("it is known by %q", item.ids)
	}
}

func TestHiddenIsOfItsCaller(t *testing.T) {
	var h hidden
	now := time.Now()
	h.keep("a", mixed("m", "c", 1), now)
	h.keep("b", mixed("m", "c", 2), now)
	if got := h.find("a", "c", now); got == nil || len(got.Steps[0].Said.Raw) != 1 {
		t.Errorf("a finds %v", got)
	}
	if h.find("c", "c", now) != nil || h.knows("c") {
		t.Error("somebody else finds it")
	}
	h.keep("a", mixed("m", "c", 3), now) // the same once more
	if got := h.find("a", "c", now); len(got.Steps[0].Said.Raw) != 3 || h.calls["a"] != 1 {
		t.Errorf("a finds %v of %d", got, h.calls["a"])
	}
	if h.find("a", "c", now.Add(hiddenFor+1)) != nil || h.knows("a") {
		t.Error("it outlives its time")
	}
	h.find("b", "c", now.Add(hiddenFor+1))
	if h.size != 0 || len(h.byID) != 0 || len(h.calls) != 0 {
		t.Errorf("something is left: %d bytes, %d ids, %d callers", h.size, len(h.byID), len(h.calls))
	}
}

func TestHiddenIsKnownByItsParts(t *testing.T) {
	var h hidden
	now := time.Now()
	for _, call := range []string{"c1", "c2"} {
		what := mixed("m"+call, call, 1)
		what.Steps[0].Said.Refs = []string{"rs_" + call, "msg_0"}
		h.keep("a", what, now)
	}
	first, second := h.find("a", "c1", now), h.find("a", "c2", now)
	if first == nil || second == nil || h.find("a", "rs_c1", now) != first || h.find("a", "rs_c2", now) != second {
		t.Error("one is not known by what is its alone")
	}
	if h.find("a", "msg_0", now) != second {
		t.Error("what both have is not the later one's")
	}
}
