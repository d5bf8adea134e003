// Package record hands what the ledger tells of bridged exchanges to a Sink, without
// holding up a request: finished exchanges are copied into a bounded queue, and one
// writer hands them on in batches. What the Sink does not take is kept in a spool, a
// few files on the disk, until it does.
package record

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"keybridge/internal/fault"
	"keybridge/internal/ledger"
)

// Sink keeps exchanges for good. Writing an exchange that it has already changes
// nothing, and one that has only begun never takes the place of one that has ended: what
// was written may come again, and late.
type Sink interface {
	// Write keeps all of these or none. Without any it says whether it could. It returns
	// soon after the context has ended, is never called twice at once, and must not
	// change what it is given. Its error may be a Refusal.
	Write(ctx context.Context, begun, ended []*ledger.Exchange) error
}

// Refusal is a Sink's error that tells more of itself. Any other is taken for the Sink's
// state, which passes.
type Refusal interface {
	error
	// Word is what the error is counted as, one of a closed set.
	Word() string
	// Rejected says that some exchange's content is at fault: it will never be kept. The
	// recorder finds out which, and sets it aside.
	Rejected() bool
}

// Observer counts. Its methods are called from the writer and, when the queue is full,
// from the goroutines of requests.
type Observer interface {
	// Recorded tells of exchanges that are dealt with: written, late (written after the
	// Sink had not taken them at once), rejected or refused.
	Recorded(outcome string, n int)
	// Dropped tells of exchanges that are lost: full, stopped or damaged.
	Dropped(reason string, n int)
	// Wrote tells of a call of the Sink; failure is "" or what its error is counted as.
	Wrote(took time.Duration, failure string)
	// Waited tells of an exchange that had to wait for room in the queue.
	Waited()
}

// The outcomes of exchanges and the reasons why one is lost, as an Observer is told.
const (
	Written  = "written"
	Late     = "late"
	Rejected = "rejected" // the Sink will never take it
	Refused  = "refused"  // not served, because it could not be recorded

	Full    = "full"    // no room in the queue
	Stopped = "stopped" // the recorder was closed, and nothing took it
	Damaged = "damaged" // the spool does not hold it as it was written
)

// WhenFull says what is done with an exchange that ends while the queue is full.
type WhenFull string

// What is done with an exchange that ends while the queue is full.
const (
	Block WhenFull = "block" // its goroutine waits a while; then it is dropped
	Drop  WhenFull = "drop"  // it is dropped
)

// Options are what a Recorder is made of. Zero values stand for the defaults.
type Options struct {
	Sink     Sink
	Flush    time.Duration // how long an exchange waits for others to be written with it: 200 ms
	MaxBytes int64         // of the queue in memory: 64 MiB
	WhenFull WhenFull      // Block
	BlockFor time.Duration // 1 s
	// Strict refuses to begin an exchange while none could be recorded.
	Strict bool
	// Spool is the folder for what the Sink does not take: files called record-*. Several
	// gateways may share it. "": memory must do.
	Spool    string
	MaxSpool int64 // of what is spooled: 1 GiB; negative: nothing is spooled any more
	Logger   *slog.Logger
	Observer Observer
	Instance string // names this process in every exchange
}

// settings are the Options that may change.
type settings struct {
	flush, blockFor    time.Duration
	maxBytes, maxSpool int64
	drop, strict       bool
}

func (o *Options) settings() *settings {
	return &settings{
		flush: cmp.Or(o.Flush, 200*time.Millisecond), blockFor: cmp.Or(o.BlockFor, time.Second),
		maxBytes: cmp.Or(o.MaxBytes, 64<<20), maxSpool: cmp.Or(o.MaxSpool, 1<<30),
		drop: o.WhenFull == Drop, strict: o.Strict,
	}
}

// Recorder is a ledger.Listener. All methods may be called from any goroutine.
type Recorder struct {
	settings atomic.Pointer[settings]
	observer Observer
	instance string
	aside    aside
	wake     chan struct{}        // there is something to do
	closing  chan context.Context // holds one
	done     chan struct{}        // the writer has ended
	lost     int                  // when it had

	mu     sync.Mutex
	queue  []item
	bytes  int64         // in memory: of the queue and of what the writer holds
	hurry  bool          // somebody waits for room
	room   chan struct{} // closed when there is room again; nil: nobody waits
	closed bool
	health error
	since  time.Time // of the health

	waiting atomic.Int64 // ended exchanges in memory
	spooled atomic.Int64 // ended exchanges in the spool
	full    atomic.Int64 // exchanges that found no room
}

// item is an exchange on its way.
type item struct {
	e      *ledger.Exchange
	weight int64
	ended  bool
	at     mark // where the spool has it, if it was read from there
}

var errStarting = errors.New("the store has not been asked yet")

// New starts a Recorder. It takes over what earlier processes have left in the spool.
func New(o Options) *Recorder {
	r := &Recorder{
		observer: o.Observer, instance: o.Instance, aside: aside{o.Spool}, health: errStarting, since: time.Now(),
		wake: make(chan struct{}, 1), closing: make(chan context.Context, 1), done: make(chan struct{}),
	}
	if r.observer == nil {
		r.observer = nobody{}
	}
	r.settings.Store(o.settings())
	w := newWriter(r, o)
	go w.run()
	return r
}

// Reload takes over those options that may change while it runs: all but the Sink, the
// Spool, the Logger, the Observer and the Instance.
func (r *Recorder) Reload(o Options) {
	r.settings.Store(o.settings())
	r.nudge()
}

// Prune removes the files of what the Sink has rejected, of days that had ended by a time,
// and of what could not be read since before it.
func (r *Recorder) Prune(until time.Time) error {
	if r.aside.dir == "" {
		return nil
	}
	return r.aside.prune(until)
}

// recorded says whether the record is about such exchanges.
func recorded(e *ledger.Exchange) bool { return e.Bridged && e.Admitted }

// Begin notes that an exchange has begun, so that a crash leaves a trace of it. A fault
// says that it must not go on, because it could not be recorded. It never waits.
func (r *Recorder) Begin(e *ledger.Exchange) *fault.Error {
	if !recorded(e) {
		return nil
	}
	c := e.Clone()
	c.Status, c.Instance = ledger.Open, r.instance
	it := item{e: c, weight: weigh(c)}
	s := r.settings.Load()
	r.mu.Lock()
	full := r.isFull(it.weight, s) || r.closed
	health := r.health
	if s.strict && (full || health != nil) {
		r.mu.Unlock()
		return refusal(health)
	}
	if !full {
		r.push(it)
		return nil
	}
	r.mu.Unlock()
	return nil
}

func refusal(health error) *fault.Error {
	why := "its store takes nothing at the moment"
	if health == nil {
		why, health = "too much waits to be recorded already", errors.New("the queue is full")
	}
	return fault.Wrap(fault.Unrecorded, health,
		"This gateway serves only what it can record, and cannot record now: "+why+". Try again later, or contact your administrator.")
}

// Started implements ledger.Listener.
func (r *Recorder) Started(*ledger.Exchange) {}

// Attempted implements ledger.Listener.
func (r *Recorder) Attempted(*ledger.Exchange, *ledger.Attempt) {}

// Finished implements ledger.Listener. It waits only while the queue is full, if the
// options say so.
func (r *Recorder) Finished(e *ledger.Exchange) {
	if !recorded(e) {
		return
	}
	if f, ok := errors.AsType[*fault.Error](e.Err); ok && f.Code == fault.Unrecorded {
		r.observer.Recorded(Refused, 1)
		return
	}
	c := e.Clone()
	c.Instance = r.instance
	it := item{e: c, weight: weigh(c), ended: true}
	r.mu.Lock()
	if r.closed || r.isFull(it.weight, r.settings.Load()) {
		if reason := r.await(it.weight); reason != "" {
			r.mu.Unlock()
			if reason == Full {
				r.full.Add(1)
			}
			r.observer.Dropped(reason, 1)
			return
		}
	}
	r.waiting.Add(1)
	r.push(it)
}

// isFull says that there is no room for so much more. Whatever is alone has room.
func (r *Recorder) isFull(weight int64, s *settings) bool {
	return r.bytes > 0 && r.bytes+weight > s.maxBytes
}

// push appends to the queue, and wakes the writer if that makes a difference. It unlocks.
func (r *Recorder) push(it item) {
	r.queue = append(r.queue, it)
	r.bytes += it.weight
	n := len(r.queue)
	r.mu.Unlock()
	if n == 1 || n == pieceItems {
		r.nudge()
	}
}

func (r *Recorder) nudge() {
	select {
	case r.wake <- struct{}{}:
	default: // it will look
	}
}

// await waits for room, or says why there is none. It is called, and returns, with the
// lock held.
func (r *Recorder) await(weight int64) (reason string) {
	var timer *time.Timer
	for {
		s := r.settings.Load()
		if r.closed || !r.isFull(weight, s) {
			break
		}
		if timer == nil {
			if s.drop {
				return Full
			}
			left := s.blockFor
			if r.health != nil { // whoever waits for a store that is away is late, and lost all the same
				left -= time.Since(r.since)
			}
			if left <= 0 {
				return Full
			}
			r.observer.Waited()
			timer = time.NewTimer(left)
			defer timer.Stop()
		}
		if r.room == nil {
			r.room = make(chan struct{})
		}
		room := r.room
		r.hurry = true
		r.mu.Unlock()
		r.nudge()
		late := false
		select {
		case <-room:
		case <-timer.C:
			late = true
		}
		r.mu.Lock()
		if late {
			return Full
		}
	}
	if r.closed {
		return Stopped
	}
	return ""
}

// release gives back room in memory.
func (r *Recorder) release(weight int64, ended int) {
	r.waiting.Add(-int64(ended))
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bytes -= weight
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
}

// Health says why nothing can be recorded at the moment: the Sink has not taken what it
// was given last. It is nil if all is well.
func (r *Recorder) Health() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.health
}

func (r *Recorder) setHealth(err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if (err == nil) != (r.health == nil) {
		r.since = time.Now()
	}
	r.health = err
}

// Waiting is how many exchanges have ended and are not written: in memory, and in the
// spool.
func (r *Recorder) Waiting() (queued, spooled int) {
	return int(r.waiting.Load()), int(r.spooled.Load())
}

// Close hands what is left to the Sink, or else to the spool; if that fails too, it keeps
// trying until the context ends, and then says how much is lost. What ends later is lost.
func (r *Recorder) Close(ctx context.Context) error {
	r.mu.Lock()
	first := !r.closed
	r.closed = true
	if r.room != nil {
		close(r.room)
		r.room = nil
	}
	r.mu.Unlock()
	if first {
		r.closing <- ctx
	}
	select {
	case <-r.done:
		return lostError(r.lost)
	case <-ctx.Done():
	}
	select { // to count what is lost takes a moment
	case <-r.done:
		return lostError(r.lost)
	case <-time.After(overTime):
		return context.Cause(ctx) // the disk holds the writer up
	}
}
