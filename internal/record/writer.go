package record

import (
	"context"
	"errors"
	"fmt"
	"time"

	"keybridge/internal/ledger"
)

const (
	pieceItems  = 512     // exchanges that are written at once, at most
	pieceWeight = 8 << 20 // bytes that they take, about, at most
	writeTime   = 5 * time.Second
	overTime    = time.Second // that a Sink may be late, before it counts as hanging
	firstRest   = 200 * time.Millisecond
	mostRest    = 5 * time.Second
	adoptEvery  = time.Minute // other gateways that share the folder may have ended
)

var errHangs = errors.New("the store does not come back from a write")

// writer hands exchanges from the queue to the Sink. It belongs to one goroutine; only a
// call of the Sink has another, so that a Sink that hangs holds up nothing else.
type writer struct {
	r     *Recorder
	sink  Sink
	spool *spool // nil: none
	notes notes

	ctx    context.Context //nolint:containedctx // of all writes: Close ends them
	cancel context.CancelFunc

	spare   []item  // the queue's next slice
	pending []item  // in memory, younger than what is spooled
	head    []item  // read from the spool, not dealt with
	flight  *flight // the write under way; nil: none
	limit   int     // of exchanges in the next one
	proven  bool    // the Sink has answered
	refused int     // exchanges that were set aside since the last that was not
	rest    time.Duration
	resting bool

	tick, again, overdue, adopt *time.Timer
	ticking                     bool
	interval                    time.Duration // of tick
}

// flight is a write under way.
type flight struct {
	items   []item
	ended   int
	weight  int64
	since   time.Time
	late    bool // not the first try, or not at once
	read    bool // it comes from the spool
	spilled bool // it comes from memory, and the spool has it since
	hung    bool
	landed  chan error
}

func newWriter(r *Recorder, o Options) *writer {
	w := &writer{r: r, sink: o.Sink, limit: pieceItems, tick: stopped(), again: stopped(), overdue: stopped(), adopt: stopped()}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.notes = newNotes(o.Logger, o.Spool)
	if o.Spool != "" {
		w.spool = &spool{dir: o.Spool, strange: map[string]bool{}, damaged: w.damaged, unread: w.notes.unread, unfit: w.unfit}
	}
	return w
}

func stopped() *time.Timer {
	t := time.NewTimer(time.Hour)
	t.Stop()
	return t
}

func (w *writer) run() {
	defer close(w.r.done)
	w.takeOver()
	for {
		w.next()
		select {
		case <-w.r.wake:
			w.woken()
		case <-w.tick.C:
			w.ticking = false
			w.collect()
		case err := <-w.landing():
			w.settle(err)
		case <-w.overdue.C:
			w.hangs()
		case <-w.again.C:
			w.resting = false
		case <-w.adopt.C:
			w.takeOver()
		case ctx := <-w.r.closing:
			w.finish(ctx)
			return
		}
	}
}

// takeOver adds to the spool what processes that are no more have left there.
func (w *writer) takeOver() {
	if w.spool != nil {
		w.spool.adopt()
		w.count()
		w.adopt.Reset(adoptEvery)
	}
}

func (w *writer) landing() chan error {
	if w.flight == nil {
		return nil
	}
	return w.flight.landed
}

// woken sees to it that the queue is looked at in time.
func (w *writer) woken() {
	w.r.mu.Lock()
	hurry := w.r.hurry || len(w.r.queue) >= pieceItems
	w.r.hurry = false
	w.r.mu.Unlock()
	if hurry {
		w.collect()
		return
	}
	w.arm()
}

// arm has collect called after the flush interval.
func (w *writer) arm() {
	if flush := w.r.settings.Load().flush; !w.ticking || flush != w.interval {
		w.ticking, w.interval = true, flush
		w.tick.Reset(flush)
	}
}

// collect takes what is in the queue. What has waited for longer than the flush interval,
// or would have to, goes to the spool: a crash must not take it.
func (w *writer) collect() {
	waited := len(w.pending) > 0 || w.flight.unsafe() && time.Since(w.flight.since) >= w.interval
	w.gather()
	w.notes.full(int(w.r.full.Load()))
	if waited || w.notes.troubled() || w.spool != nil && !w.spool.empty() {
		w.spill()
	}
	if len(w.pending) > 0 || w.flight != nil {
		w.arm()
	}
}

// unsafe says that what is being written would be lost with the process.
func (f *flight) unsafe() bool { return f != nil && !f.read && !f.spilled && len(f.items) > 0 }

// gather empties the queue.
func (w *writer) gather() {
	w.r.mu.Lock()
	items := w.r.queue
	w.r.queue = w.spare[:0]
	w.r.mu.Unlock()
	w.pending = append(w.pending, w.unended(items)...)
	clear(items)
	w.spare = items
	if cap(items) > 4*pieceItems {
		w.spare = nil
	}
}

// unended leaves out the beginnings of what ends in the same batch.
func (w *writer) unended(items []item) []item {
	ends := make(map[string]struct{}, len(items))
	for _, it := range items {
		if it.ended {
			ends[it.e.ID] = struct{}{}
		}
	}
	kept, weight := make([]item, 0, len(ends)), int64(0)
	for _, it := range items {
		if _, ended := ends[it.e.ID]; ended && !it.ended {
			weight += it.weight
			continue
		}
		kept = append(kept, it)
	}
	if weight > 0 {
		w.r.release(weight, 0)
	}
	return kept
}

// spools says that there is a spool, and that it may be used.
func (w *writer) spools() bool { return w.spool != nil && w.r.settings.Load().maxSpool >= 0 }

// spill puts what is in memory into the spool, as much as it takes.
func (w *writer) spill() {
	if !w.spools() {
		return
	}
	if f := w.flight; f.unsafe() {
		// It was begun because the spool was empty, so this is the beginning of a file.
		end, err := w.add(f.items)
		if err != nil {
			return
		}
		f.spilled, f.items[len(f.items)-1].at = true, end
	}
	for len(w.pending) > 0 {
		piece := w.pending[:min(pieceItems, len(w.pending))]
		if _, err := w.add(piece); err != nil {
			return
		}
		w.release(piece)
		w.pending = w.pending[len(piece):]
	}
	w.pending = nil
}

func (w *writer) add(items []item) (mark, error) {
	end, err := w.spool.add(items, w.r.settings.Load().maxSpool)
	w.notes.spool(err)
	w.count()
	return end, err
}

func (w *writer) release(items []item) {
	weight, ended := sum(items)
	w.r.release(weight, ended)
}

func sum(items []item) (weight int64, ended int) {
	for _, it := range items {
		weight += it.weight
		if it.ended {
			ended++
		}
	}
	return weight, ended
}

// count publishes what is in the spool.
func (w *writer) count() { w.r.spooled.Store(int64(w.spool.ended)) }

// next begins a write, if there is anything to write and nothing against it.
func (w *writer) next() {
	if w.flight != nil || w.resting {
		return
	}
	f := &flight{landed: make(chan error, 1), since: time.Now(), late: w.notes.troubled()}
	if f.items = w.piece(); len(f.items) > 0 {
		f.read = f.items[0].at.seg != nil
	} else if w.proven && !w.notes.troubled() {
		return
	}
	f.late = f.late || f.read
	f.weight, f.ended = sum(f.items)
	w.flight = f
	w.overdue.Reset(writeTime + overTime)
	w.arm()
	begun, ended := split(f.items)
	go func() { f.landed <- w.write(begun, ended) }()
}

// piece is what to write next: the oldest, and not too much of it.
func (w *writer) piece() []item {
	if w.spool != nil && len(w.head) == 0 && !w.spool.empty() {
		w.head = w.spool.next(pieceItems, pieceWeight)
		w.count()
	}
	if len(w.head) > 0 {
		return w.head[:min(w.limit, len(w.head))]
	}
	n, weight := 0, int64(0)
	for n < min(w.limit, len(w.pending)) && weight < pieceWeight {
		weight += w.pending[n].weight
		n++
	}
	piece := w.pending[:n:n]
	w.pending = w.pending[n:]
	return piece
}

func split(items []item) (begun, ended []*ledger.Exchange) {
	for _, it := range items {
		if it.ended {
			ended = append(ended, it.e)
		} else {
			begun = append(begun, it.e)
		}
	}
	return begun, ended
}

// write calls the Sink. What makes it panic is taken for the fault of what it was given.
func (w *writer) write(begun, ended []*ledger.Exchange) (err error) {
	ctx, cancel := context.WithTimeout(w.ctx, writeTime)
	defer cancel()
	defer func() {
		if p := recover(); p != nil {
			err = panicError{p}
		}
	}()
	return w.sink.Write(ctx, begun, ended)
}

// panicError is a panic of the Sink, a Refusal.
type panicError struct{ value any }

func (e panicError) Error() string  { return fmt.Sprintf("panic: %v", e.value) }
func (e panicError) Word() string   { return "panic" }
func (e panicError) Rejected() bool { return true }
