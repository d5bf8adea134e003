package gateway

import (
	"container/list"
	"slices"
	"sync"
	"time"

	"keybridge/internal/dialect"
)

const (
	hiddenFor   = time.Hour // since it was last asked for
	mostHidden  = 4096      // exchanges
	hiddenBytes = 64 << 20
)

// hidden keeps what clients have not seen of exchanges they will go on with, by the
// caller and the ids that they know. It is bounded: the oldest go first.
type hidden struct {
	mu    sync.Mutex
	byID  map[hiddenID]*list.Element
	order list.List // of *hiddenItem, the one asked for last in front
	size  int
	calls map[string]int // exchanges kept of each caller
}

type hiddenID struct{ caller, id string }

type hiddenItem struct {
	caller string
	ids    []string
	what   *dialect.Hidden
	size   int
	used   time.Time
}

// knows says that anything is kept for the caller.
func (h *hidden) knows(caller string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.calls[caller] > 0
}

// keep remembers what is hidden under the calls that the client will answer and, if it
// may go on from that, the id of the answer that it was shown.
func (h *hidden) keep(caller string, what *dialect.Hidden, now time.Time) {
	last := what.Steps[len(what.Steps)-1].Said
	item := &hiddenItem{caller: caller, what: what, used: now}
	if what.Shown != "" {
		item.name(what.Shown)
		item.name(last.ID)
	}
	for i := range last.Others {
		item.name(last.Others[i].ID)
	}
	for i := range what.Steps {
		item.size += what.Steps[i].Size()
	}
	if item.size > hiddenBytes {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.byID == nil {
		h.byID, h.calls = map[hiddenID]*list.Element{}, map[string]int{}
	}
	for _, id := range item.ids {
		if el := h.byID[hiddenID{caller, id}]; el != nil {
			h.drop(el)
		}
	}
	for i := range what.Steps {
		for _, id := range what.Steps[i].Said.Refs { // not every provider makes them unique
			item.name(id)
		}
	}
	el := h.order.PushFront(item)
	for _, id := range item.ids {
		h.byID[hiddenID{caller, id}] = el
	}
	h.size += item.size
	h.calls[caller]++
	for back := h.order.Back(); back != nil; back = h.order.Back() {
		oldest, _ := back.Value.(*hiddenItem)
		if h.size <= hiddenBytes && h.order.Len() <= mostHidden && now.Sub(oldest.used) <= hiddenFor {
			return
		}
		h.drop(back)
	}
}

// find returns what is hidden of what the caller knows by the id; nil: nothing.
func (h *hidden) find(caller, id string, now time.Time) *dialect.Hidden {
	h.mu.Lock()
	defer h.mu.Unlock()
	el := h.byID[hiddenID{caller, id}]
	if el == nil {
		return nil
	}
	item, _ := el.Value.(*hiddenItem)
	if now.Sub(item.used) > hiddenFor {
		h.drop(el)
		return nil
	}
	item.used = now
	h.order.MoveToFront(el)
	return item.what
}

// name makes the item known by an id.
func (i *hiddenItem) name(id string) {
	if id != "" && !slices.Contains(i.ids, id) {
		i.ids = append(i.ids, id)
	}
}

func (h *hidden) drop(el *list.Element) {
	item, _ := h.order.Remove(el).(*hiddenItem)
	h.size -= item.size
	for _, id := range item.ids {
		if h.byID[hiddenID{item.caller, id}] == el {
			delete(h.byID, hiddenID{item.caller, id})
		}
	}
	if h.calls[item.caller]--; h.calls[item.caller] == 0 {
		delete(h.calls, item.caller)
	}
}
