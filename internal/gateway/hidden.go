package gateway

import (
	"container/list"
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
	ids := known(what)
	item := &hiddenItem{caller: caller, what: what, used: now, size: len(what.Shown)}
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
	for _, id := range ids {
		if el := h.byID[hiddenID{caller, id}]; el != nil {
			h.drop(el)
		}
	}
	for i := range what.Steps {
		ids = append(ids, what.Steps[i].Said.Refs...) // not every provider makes them unique
	}
	el := h.order.PushFront(item)
	for _, id := range ids {
		if of := (hiddenID{caller, id}); id != "" && h.byID[of] != el {
			h.byID[of] = el
			item.ids = append(item.ids, id)
		}
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

// known are the ids by which the client goes on: no other exchange has them.
func known(what *dialect.Hidden) (ids []string) {
	last := what.Steps[len(what.Steps)-1].Said
	if what.Shown != "" {
		ids = append(ids, what.Shown, last.ID)
	}
	for i := range last.Others {
		ids = append(ids, last.Others[i].ID)
	}
	return ids
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
