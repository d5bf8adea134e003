package mcp

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
)

// pace holds the times that tests shorten. Zero stands for the product's own.
type pace struct {
	retry   time.Duration // before a dead server is tried again, at first
	settled time.Duration // that a session lives before its end counts as news
	gap     time.Duration // between two refreshes that the server asks for
	refresh time.Duration // between refreshes that nobody asks for
	closing time.Duration // for a server to say goodbye
}

func (p pace) withDefaults() pace {
	p.retry = cmp.Or(p.retry, time.Second)
	p.settled = cmp.Or(p.settled, 10*time.Second)
	p.gap = cmp.Or(p.gap, time.Second)
	p.refresh = cmp.Or(p.refresh, 10*time.Minute)
	p.closing = cmp.Or(p.closing, time.Second)
	return p
}

const longestRetry = time.Minute

var (
	errStopped = errors.New("it is not in the configuration any more")
	errRenew   = errors.New("the session is due to be renewed")
)

// server keeps a session with one server, as long as any room has it.
type server struct {
	o      Server
	log    *slog.Logger
	client *sdk.Implementation
	pace   pace
	slots  chan struct{} // one for each call under way
	pokes  chan struct{} // asks for a refresh
	hurry  chan struct{} // asks for another try at once
	dial   func(ctx context.Context, network, address string) (net.Conn, error)
	// secrets takes credentials out of what models are told, private all that the
	// server was given out of what operators are told.
	secrets, private *strings.Replacer

	catalogue atomic.Pointer[catalogue] // the last there was
	progress  atomic.Int64              // the last progress token
	old       bool                      // it is spoken to as before server/discover; run's own
	stop      context.CancelFunc        // ends run
	begun     func() (life context.Context, kill context.CancelFunc)
	abort     context.CancelFunc // kills all that was begun
	tasks     sync.WaitGroup
	calls     sync.WaitGroup

	mu      sync.Mutex
	rooms   int // that have it
	closed  bool
	session *session
	reason  error // why it is down; nil: it is up
	since   time.Time
	told    bool          // something of its health has been logged
	moved   chan struct{} // closed when any of these changes
}

// open makes a server and begins to connect to it. It counts as up with a catalogue
// that is lent until it has its own: calls wait for its session.
func open(o Server, options *Options, lent *catalogue) *server {
	ctx, stop := context.WithCancel(context.Background())
	lives, abort := context.WithCancel(context.Background())
	s := &server{
		o:       o,
		log:     options.Logger.With(slog.String("server", o.Name)),
		client:  &sdk.Implementation{Name: "keybridge", Version: options.Version},
		pace:    options.pace.withDefaults(),
		dial:    options.DialContext,
		slots:   make(chan struct{}, o.MaxConcurrent),
		pokes:   make(chan struct{}, 1),
		hurry:   make(chan struct{}, 1),
		secrets: mask(o.Public, o.Headers, o.Env),
		private: mask(nil, o.Headers, o.Env),
		stop:    stop,
		begun:   func() (context.Context, context.CancelFunc) { return context.WithCancel(lives) },
		abort:   abort,
		rooms:   1,
		reason:  errors.New("it has not been reached yet"),
		since:   time.Now(),
		moved:   make(chan struct{}),
	}
	if lent != nil {
		s.catalogue.Store(lent)
		s.reason = nil
	}
	s.tasks.Go(func() { s.run(ctx) })
	return s
}

func (s *server) serves(who ledger.Principal) bool {
	return len(s.o.Tokens) == 0 || slices.Contains(s.o.Tokens, who.Name)
}

func (s *server) retain() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.rooms == 0 {
		return false
	}
	s.rooms++
	return true
}

// release says whether nobody has the server any more.
func (s *server) release() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.rooms--
	return s.rooms == 0
}

// close ends the server. Calls under way and goodbyes may take until ctx ends.
func (s *server) close(ctx context.Context) {
	s.mu.Lock()
	s.closed, s.reason = true, errStopped
	s.change()
	s.mu.Unlock()
	defer context.AfterFunc(ctx, s.abort)()
	s.calls.Wait()
	s.stop()
	s.tasks.Wait()
	s.abort()
}

// poke asks for a refresh soon, if there is a session.
func (s *server) poke() { signal(s.pokes) }

// revive asks for a refresh soon, or for a session if there is none.
func (s *server) revive() {
	signal(s.pokes)
	signal(s.hurry)
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// change wakes those who wait for s to change. The lock is held.
func (s *server) change() {
	close(s.moved)
	s.moved = make(chan struct{})
}

func (s *server) isUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reason == nil
}

func (s *server) status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	st := Status{Name: s.o.Name, Up: s.reason == nil, Since: s.since}
	if s.reason != nil {
		st.Reason = s.explain(s.reason)
		return st
	}
	if c := s.catalogue.Load(); c != nil {
		st.Tools = len(c.tools)
	}
	if s.session != nil {
		st.Protocol = s.session.protocol()
	}
	return st
}

// run keeps a session until ctx ends.
func (s *server) run(ctx context.Context) {
	defer func() {
		if x := s.session; x != nil { // it was to be renewed; nobody else sets it
			s.leave(x)
		}
	}()
	var fails int
	for ctx.Err() == nil {
		began := time.Now()
		lived, err := s.live(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case errors.Is(err, errRenew):
			fails = 0
			continue
		case lived && time.Since(began) >= s.pace.settled:
			fails = 0
		}
		// A session over HTTP may end at any time: that is worth a word only if no other
		// begins. Nobody sees a program end but by this line.
		if fails++; lived && fails == 1 {
			if s.o.URL == "" {
				s.log.Warn("MCP server has ended its session: its program is started anew, and calls wait for that", slog.String("reason", s.explain(err)))
			}
			continue
		}
		s.fell(err)
		s.rest(ctx, fails)
	}
}

// rest waits before the next try, longer each time, or until somebody asks.
func (s *server) rest(ctx context.Context, fails int) {
	d := min(s.pace.retry<<min(fails-1, 10), longestRetry)
	wait := time.NewTimer(d/2 + rand.N(d/2+1)) //nolint:gosec // jitter
	defer wait.Stop()
	select {
	case <-ctx.Done():
	case <-wait.C:
	case <-s.hurry:
	}
}

// live has one session: it says whether there was one, and why there is none any more.
func (s *server) live(ctx context.Context) (lived bool, _ error) {
	x, err := s.connect(ctx)
	if err != nil {
		return false, err
	}
	c, err := s.list(ctx, x)
	if err != nil {
		s.tasks.Go(func() { x.close(s.pace.closing) })
		return false, err
	}
	s.rose(x, c)
	err = s.attend(ctx, x, c)
	if errors.Is(err, errRenew) { // calls go on in the old session until there is a new one
		return true, err
	}
	s.leave(x)
	return true, err
}

// attend refreshes the catalogue as long as the session lives.
func (s *server) attend(ctx context.Context, x *session, c *catalogue) error {
	last := time.Now()
	due := time.NewTimer(s.pace.again(x, c))
	defer due.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-x.over:
			return x.err
		case <-s.pokes:
			due.Reset(max(0, s.pace.gap-time.Since(last)))
			continue
		case <-due.C:
		}
		if x.stale(s.pace.settled) {
			return errRenew
		}
		var err error
		if c, err = s.list(ctx, x); err != nil {
			return err
		}
		last = time.Now()
		s.rose(x, c)
		next := s.pace.again(x, c)
		if x.deaf() { // it does not hear of changes any more: another session would
			next = min(next, s.pace.settled-time.Since(x.began))
		}
		due.Reset(next)
	}
}

// again is when the catalogue is to be asked for again. Where nothing else tells
// that the server has died, that does.
func (p pace) again(x *session, c *catalogue) time.Duration {
	if x.alone() {
		return min(p.next(c), p.refresh/10)
	}
	return p.next(c)
}

// next is how long a catalogue is good for.
func (p pace) next(c *catalogue) time.Duration {
	if c.ttl <= 0 {
		return p.refresh
	}
	return min(max(c.ttl, p.refresh/20), 6*p.refresh)
}

// rose makes a session and its catalogue those that are used.
func (s *server) rose(x *session, c *catalogue) {
	before := s.catalogue.Load()
	if before == nil || !before.equal(c) {
		s.catalogue.Store(c)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.session; old != x {
		s.session = x
		if old != nil {
			s.tasks.Go(func() { old.close(s.pace.closing) })
		}
	}
	if s.closed {
		return
	}
	was := s.reason
	s.reason = nil
	s.change()
	if was != nil {
		s.told, s.since = true, time.Now()
		s.log.Info("MCP server is up", slog.Int("tools", len(c.tools)), slog.String("protocol", x.protocol()))
	}
}

// leave ends a session that is not used any more.
func (s *server) leave(x *session) {
	s.mu.Lock()
	if s.session == x {
		s.session = nil
		s.change()
	}
	s.mu.Unlock()
	s.tasks.Go(func() { x.close(s.pace.closing) })
}

// fell marks the server as down.
func (s *server) fell(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return
	}
	news := s.reason == nil || !s.told
	if s.reason == nil {
		s.since = time.Now()
	}
	s.reason, s.told = err, true
	if x := s.session; x != nil { // it was to be renewed
		s.session = nil
		s.tasks.Go(func() { x.close(s.pace.closing) })
	}
	s.change()
	if news {
		s.log.Warn("MCP server is down: its tools are not offered until it is back", slog.String("reason", s.explain(err)))
	}
}

// take returns the session for a call, and waits for one if it is just being replaced.
func (s *server) take(ctx context.Context) (*session, error) {
	for {
		s.mu.Lock()
		x, reason, moved := s.session, s.reason, s.moved
		if reason == nil && x != nil && !x.ended() {
			x.calls.Add(1)
			s.mu.Unlock()
			return x, nil
		}
		s.mu.Unlock()
		if reason != nil {
			return nil, reason
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-moved:
		}
	}
}
