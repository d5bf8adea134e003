package chaos

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"keybridge/internal/simulator"
)

// workers are the clients that ask at the same time.
const workers = 16

// outcome is what became of a request, as its client sees it.
type outcome string

const (
	whole     outcome = "whole"
	refused   outcome = "refused" // an error instead of an answer
	broken    outcome = "broken"  // an answer that ends too early, or in an error
	cancelled outcome = "cancelled"
	unreached outcome = "unreached" // nobody was listening
)

// note is what a client knows of one of its requests.
type note struct {
	kind     string // the API, and how it was asked
	caller   string
	session  string
	stream   bool
	byok     bool
	after    string // the answer that it goes on from, "" if none
	began    time.Time
	ended    time.Time
	outcome  outcome
	status   int
	answer   string // its id, as soon as the client has seen anything of it
	asked    string // the user's words, which no other conversation has
	exchange string // what the gateway calls it, if it says so
}

// request is what a client asks.
type request struct {
	api      *api
	provider string // the first part of the path; "" for the short form
	model    string
	asked    string
	items    []string
	previous string
	stream   bool
	usage    bool // of a Chat stream
	large    bool
	tools    bool
	caller   int
	byok     bool
	session  string
	after    string
	patience time.Duration // the client goes away after it; 0: it does not
	appetite int64         // bytes, after which the client goes away; 0: it does not
	paced    bool
}

// caller is somebody with a token.
type caller struct{ name, token string }

var callers = []caller{{"ann", "kb-ann-0123456789"}, {"bob", "kb-bob-9876543210"}}

// clients ask, and note what they were told.
type clients struct {
	base   string
	client *http.Client
	many   int
	begin  time.Time
	lasts  time.Duration // at least, to ask all

	mu      sync.Mutex
	taken   int
	numbers int
	notes   []note
	some    map[outcome]int
}

func newClients(base string, many int, lasts time.Duration) *clients {
	return &clients{
		base: base, many: many, begin: time.Now(), lasts: lasts, some: map[outcome]int{},
		client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: workers, DisableCompression: true}},
	}
}

// ticket lets a client ask once more, when it is time.
func (c *clients) ticket(ctx context.Context) bool {
	c.mu.Lock()
	n := c.taken
	c.taken++
	c.mu.Unlock()
	return n < c.many && until(ctx, c.begin.Add(c.lasts*time.Duration(n)/time.Duration(c.many)))
}

// until waits for a time, unless the context ends before.
func until(ctx context.Context, at time.Time) bool {
	wait := time.NewTimer(time.Until(at))
	defer wait.Stop()
	select {
	case <-wait.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// run asks until all was asked.
func (c *clients) run(ctx context.Context) {
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for c.ticket(ctx) {
				r := c.random()
				if s, ok := c.ask(ctx, r); ok && len(s.calls) > 0 && c.ticket(ctx) {
					c.ask(ctx, r.answering(s))
				}
			}
		})
	}
	all.Wait()
	c.client.CloseIdleConnections()
}

func one(in int) bool { return rand.IntN(in) == 0 }

func pick[T any](list []T) T { return list[rand.IntN(len(list))] }

// random is a request of any kind.
func (c *clients) random() *request {
	a := pick(apis)
	r := &request{
		api: a, model: pick(a.models), stream: one(2), large: one(8), caller: rand.IntN(len(callers)), byok: one(12), paced: one(4),
	}
	r.usage = r.stream && a.name == "chat" && one(2)
	if a.name != "messages" && one(3) {
		r.provider = "/" + metered
	}
	number := c.number()
	r.asked = "Say something about the number " + strconv.Itoa(number)
	switch rand.IntN(4) {
	case 0:
		r.asked += " simulate:thinking"
	case 1:
		r.asked += pick([]string{" simulate:tool", " simulate:tools"})
		r.tools, r.session = true, "trip-"+strconv.Itoa(number)
	}
	r.items = []string{a.prompt(r.asked)}
	switch rand.IntN(30) {
	case 0:
		r.patience = time.Duration(1 + rand.IntN(int(5*time.Millisecond)))
	case 1:
		r.appetite, r.paced = int64(1+rand.IntN(1500)), true
	}
	return r
}

// number is another one each time.
func (c *clients) number() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.numbers++
	return c.numbers
}

// answering is the request that brings the results of what the model called.
func (r *request) answering(s said) *request {
	next := *r
	next.after, next.patience, next.appetite = s.id, 0, 0
	if r.api.name == "responses" && one(2) {
		next.previous, next.items = s.id, r.api.results(s.calls)
		return &next
	}
	next.items = append(append(append([]string{}, r.items...), r.api.called(s.calls)...), r.api.results(s.calls)...)
	return &next
}

// ask sends a request, as often as nobody listens, and notes what became of it; ok: the
// client has the whole answer.
func (c *clients) ask(ctx context.Context, r *request) (s said, ok bool) {
	for {
		n := note{caller: callers[r.caller].name, session: r.session, stream: r.stream, byok: r.byok, after: r.after, asked: r.asked, kind: r.kind()}
		n.began = time.Now()
		s = c.send(ctx, r, &n)
		n.ended = time.Now()
		c.mu.Lock()
		c.notes = append(c.notes, n)
		c.some[n.outcome]++
		c.mu.Unlock()
		if n.outcome != unreached || !until(ctx, n.ended.Add(50*time.Millisecond)) {
			return s, n.outcome == whole
		}
	}
}

func (r *request) kind() string {
	switch {
	case !r.stream:
		return r.api.name + " blocking"
	case r.api.name == "chat" && !r.usage && r.provider != "":
		return "chat stream, metered"
	case r.usage:
		return "chat stream, with usage"
	}
	return r.api.name + " stream"
}

func (c *clients) send(ctx context.Context, r *request, n *note) (s said) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if r.patience > 0 {
		defer time.AfterFunc(r.patience, cancel).Stop()
	}
	resp, err := c.client.Do(c.request(ctx, r))
	if err != nil {
		n.outcome = gone(ctx, err)
		return s
	}
	defer resp.Body.Close()
	n.status = resp.StatusCode
	if id := resp.Header.Get("X-Request-Id"); strings.HasPrefix(id, "req_kb") {
		n.exchange = id
	}
	var body strings.Builder
	if r.appetite > 0 {
		if _, err = io.CopyN(&body, resp.Body, r.appetite); err == nil {
			cancel()
		}
	}
	_, err = io.Copy(&body, resp.Body)
	s = r.api.understand(r.stream && n.status == http.StatusOK, body.String())
	if s.spoke { // else it may have been shown instead of an answer, when all keys had failed
		n.answer = s.id
	}
	switch {
	case err != nil && !errors.Is(err, io.EOF):
		n.outcome = gone(ctx, err)
	case n.status != http.StatusOK:
		n.outcome = refused
	case s.failed || !s.ended:
		n.outcome = broken
	default:
		n.outcome, n.answer = whole, s.id
	}
	return s
}

// gone says why a request came to nothing.
func gone(ctx context.Context, err error) outcome {
	switch {
	case ctx.Err() != nil:
		return cancelled
	case errors.Is(err, syscall.ECONNREFUSED):
		return unreached
	}
	return broken
}

func (c *clients) request(ctx context.Context, r *request) *http.Request {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+r.provider+r.api.path, strings.NewReader(r.api.body(r)))
	if err != nil {
		panic(err)
	}
	h := req.Header
	h.Set("Content-Type", "application/json")
	place, scheme, provider := "Authorization", "Bearer ", simulator.OpenAI
	if r.api.name == "messages" {
		place, scheme, provider = "X-Api-Key", "", simulator.Anthropic
		h.Set("Anthropic-Version", "2023-06-01")
	}
	if token := callers[r.caller].token; r.byok {
		h.Set("X-Keybridge-Token", token)
		h.Set(place, scheme+ownKey(provider).Secret)
	} else {
		h.Set(place, scheme+token)
	}
	if r.session != "" {
		h.Set("X-Keybridge-Session", r.session)
	}
	if r.paced {
		h.Set("X-Simulator-Chunks", strconv.Itoa(1+rand.IntN(12)))
		h.Set("X-Simulator-Pace", "2ms")
	}
	return req
}
