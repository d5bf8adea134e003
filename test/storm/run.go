// Package storm runs the real key pool through days of trouble, beside an oracle
// that knows what the providers really can do and beside simple ways of choosing
// keys, all in fake time and each from the same seed.
package storm

import (
	"net/http"
	"strconv"
	"sync"
	"time"

	"keybridge/test/storm/world"
)

// policy is a way of choosing keys. serve brings one call through, or says how it
// failed; it sends with call.send.
type policy interface {
	serve(c *call) outcome
	// holds says that the policy would not use the key for the model now.
	holds(key, model int) bool
}

// outcome is what the client is told.
type outcome struct {
	key        int // that served; the answer's body is still to come
	answer     world.Answer
	lease      interface{ end(world.Answer) } // nil: nothing to give back
	status     int                            // 200, or of the error
	retryAfter time.Duration
	final      bool // the client is asked not to retry
}

// run is one policy in one scenario.
type run struct {
	scenario *world.Scenario
	provider *world.Provider
	policy   policy
	epoch    time.Time
	running  sync.WaitGroup

	mu       sync.Mutex // of what follows; no two hold it at one instant, see clock
	result   result
	waiting  []*recovery // faults that are over, until their keys are used
	noticed  map[*world.Fault]bool
	record   bool // keep what follows, for a plot
	recorded []mark
	samples  []sample
}

// clock is one goroutine's time. Each wakes at instants of its own, of which there is
// one in a hundredth of a second, and never again at one that lies whole milliseconds
// after an earlier one of its own, where the pool's deadlines lie. So no two things
// happen at the same instant, and what happens has one order only.
type clock struct {
	run   *run
	own   time.Duration // its first instant in a hundredth
	slept int
	timer *time.Timer
}

const (
	grid   = 10 * time.Millisecond
	clocks = 8192 // at most
)

func (r *run) clock(n int) *clock {
	t := time.NewTimer(time.Hour)
	t.Stop() // one that has run out already may crash the race detector when it is received from (Go 1.26)
	return &clock{run: r, own: time.Duration(n + 1), timer: t}
}

// next is its next instant in each hundredth.
func (c *clock) next() time.Duration {
	c.slept++
	return (c.own + time.Duration(c.slept)*clocks) % grid
}

func (r *run) now() time.Duration { return time.Since(r.epoch) }

// sleep waits until the first own instant that is d or more away.
func (c *clock) sleep(d time.Duration) { c.until(c.run.now() + d) }

func (c *clock) until(at time.Duration) {
	now := c.run.now()
	at = max(at, now)
	own := at - at%grid + c.next()
	if own <= at {
		own += grid
	}
	c.timer.Reset(own - now)
	<-c.timer.C
}

// call is one request of a client on its way.
type call struct {
	run     *run
	clock   *clock
	session *world.Session
	request world.Request
	began   time.Duration // when the client sent it
}

// send sends the call with a key and waits for the head of the answer.
func (c *call) send(key int) world.Answer {
	c.clock.sleep(0) // it travels
	c.run.mu.Lock()
	a := c.arrive(key)
	c.run.mu.Unlock()
	c.clock.sleep(a.Head)
	return a
}

// arrive is the call's coming to the provider.
func (c *call) arrive(key int) world.Answer {
	r := c.run
	now := r.now()
	a := r.provider.Send(now, key, c.request)
	c.request.Try++
	r.result.sent(a)
	if a.Fault != nil {
		r.noticed[a.Fault] = true
	}
	if a.Status == http.StatusOK {
		r.result.waited += now - c.began
		r.used(now, key, c.request.Model)
	}
	if r.record {
		r.recorded = append(r.recorded, mark{now, key, a.Status, a.Fault})
	}
	return a
}

// play runs the whole scenario.
func (r *run) play() {
	r.epoch = time.Now()
	r.noticed = map[*world.Fault]bool{}
	for i := range r.scenario.Faults {
		if f := &r.scenario.Faults[i]; f.Recovers(r.scenario.Length) {
			r.running.Go(func() { r.watch(f, r.clock(clocks-2-i)) })
		}
	}
	done, sampled := make(chan struct{}), sync.WaitGroup{}
	if p, ok := r.policy.(*pooled); ok && r.record {
		sampled.Go(func() { r.sample(p, r.clock(clocks-1), done) })
	}
	start := r.clock(clocks - 2 - len(r.scenario.Faults))
	for i := range r.scenario.Sessions {
		s := &r.scenario.Sessions[i]
		start.until(s.Start)
		r.running.Go(func() { r.converse(i, s) })
	}
	r.running.Wait()
	close(done)
	sampled.Wait()
}

// converse plays one session. What a turn asked is part of the next one's prompt,
// answered or not.
func (r *run) converse(i int, s *world.Session) {
	client, wire := r.clock(2*i), r.clock(2*i+1)
	last := time.Duration(-1)
	var prefix int64
	for n, t := range s.Turns {
		client.sleep(t.Think)
		c := &call{run: r, clock: wire, session: s}
		c.request = world.Request{Session: i, Turn: n, Model: s.Model, Prompt: t.Prompt, Output: t.Output}
		o, sent := r.insist(c, client)
		if o.status != http.StatusOK {
			continue
		}
		m := &r.scenario.Models[s.Model]
		r.mu.Lock()
		cached := int64(0)
		if last >= 0 && sent-last <= m.CacheLife {
			cached = prefix
		}
		r.result.served(t, o.answer, cached, m)
		r.mu.Unlock()
		last, prefix = sent, t.Prompt
		wire.sleep(o.answer.Stream)
		r.mu.Lock()
		r.provider.End(r.now(), o.key, c.request)
		r.mu.Unlock()
		if o.lease != nil {
			o.lease.end(o.answer)
		}
	}
	r.mu.Lock()
	r.provider.Forget(i)
	r.mu.Unlock()
}

const clientRetries = 2 // as the official SDKs

// insist sends a turn as an SDK does: once, and up to twice more.
func (r *run) insist(c *call, client *clock) (o outcome, sent time.Duration) {
	r.mu.Lock()
	r.result.turns++
	r.mu.Unlock()
	for try := 0; ; try++ {
		client.sleep(0)
		c.began = r.now()
		o = r.policy.serve(c)
		r.mu.Lock()
		r.result.requests++
		if o.status == http.StatusOK {
			r.mu.Unlock()
			return o, r.now() - o.answer.Head
		}
		r.result.failed++
		again := !o.final && try < clientRetries && retryable(o.status)
		if !again {
			r.result.lost++
		}
		r.mu.Unlock()
		if !again {
			return o, 0
		}
		wait := o.retryAfter
		if wait <= 0 || wait > time.Minute {
			wait = 500 * time.Millisecond << try
			wait -= time.Duration(float64(wait) * 0.25 * world.Dice(r.scenario.Seed, uint64(c.request.Session), uint64(c.request.Turn), uint64(try))) //nolint:gosec // not negative
		}
		client.sleep(wait)
	}
}

func retryable(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusConflict || status == http.StatusTooManyRequests || status >= 500
}

// passOn is the outcome of a call that is answered as the upstream did.
func passOn(a world.Answer) outcome {
	o := outcome{answer: a, status: a.Status}
	if n, err := strconv.Atoi(a.Header.Get("Retry-After")); err == nil {
		o.retryAfter = time.Duration(n) * time.Second
	}
	return o
}

// limited is the outcome of a call for which a key is back after a wait, as the gateway
// tells it.
func limited(wait time.Duration) outcome {
	after := seconds(wait)
	return outcome{status: http.StatusTooManyRequests, retryAfter: after, final: after > time.Minute}
}

// seconds rounds up, as a Retry-After is.
func seconds(d time.Duration) time.Duration { return (d + time.Second - 1).Truncate(time.Second) }

// mark is one call in the record of a run.
type mark struct {
	at     time.Duration
	key    int
	status int
	fault  *world.Fault
}

// recovery is a fault that is over, of which it is not yet known that the policy
// knows.
type recovery struct {
	fault *world.Fault
	since time.Duration
}

const patience = 2 * time.Hour // how long a recovered key is watched

// watch waits for the end of a fault and sees how long its keys are kept out.
func (r *run) watch(f *world.Fault, c *clock) {
	c.until(f.End)
	r.mu.Lock()
	if !r.noticed[f] && r.notes() {
		r.mu.Unlock()
		return
	}
	w := &recovery{f, r.now()}
	r.waiting = append(r.waiting, w)
	r.mu.Unlock()
	held := r.now() - w.since
	for !r.free(f) {
		if held > patience {
			held = patience
			break
		}
		c.sleep(time.Second)
		held = r.now() - w.since
	}
	r.mu.Lock()
	r.result.held = append(r.result.held, held)
	r.mu.Unlock()
}

// free says that the policy would use one of the keys that the fault had taken.
func (r *run) free(f *world.Fault) bool {
	for i := range r.scenario.Keys {
		k := &r.scenario.Keys[i]
		model := max(f.Model, 0)
		if f.Covers(f.Start, k, i, model) && !r.policy.holds(i, model) {
			return true
		}
	}
	return false
}

// notes says that the policy learns of faults by meeting them.
func (r *run) notes() bool {
	_, knows := r.policy.(*oracle)
	return !knows
}

// used ends the watches that a good answer of a key ends.
func (r *run) used(now time.Duration, key, model int) {
	kept := r.waiting[:0]
	for _, w := range r.waiting {
		if w.fault.Covers(w.fault.Start, &r.scenario.Keys[key], key, model) {
			r.result.used = append(r.result.used, now-w.since)
			continue
		}
		kept = append(kept, w)
	}
	r.waiting = kept
}
