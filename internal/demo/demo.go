// Package demo shows the gateway at work: mixed traffic through the real gateway
// while the keys behind it fail and heal on a script. It compares every answer
// with what an untroubled provider says, reads the simulator's own log, and fails
// where a client would have noticed anything.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"keybridge/internal/app"
	"keybridge/internal/simulator"
	"keybridge/keypool"
)

const (
	keysEach   = 4 // per provider
	rate       = 60
	atOnce     = 48
	logSize    = 200_000
	leastHits  = 5   // of every class of faults
	mostOver   = 100 // one call of so many may be refused because a limit is used up
	probeAfter = time.Second
	pace       = 3 * time.Millisecond // between the events of a stream
	patience   = 10 * time.Second     // for one request, and for the last keys to come back
	headWait   = 10 * time.Second
	drain      = 5 * time.Second
)

// Shortest is the least Options.Length, and the usual one: probes run once a
// second, and a rejected key is to meet some that fail before it heals.
const Shortest = 20 * time.Second

// Options shape a run.
type Options struct {
	Length time.Duration // of the traffic; zero: 20 s
	Seed   uint64        // of the traffic
	// WithoutFailover lets each request bring one of the same keys itself, in turn:
	// one attempt and no pool.
	WithoutFailover bool
	Stdout          io.Writer
	Terminal        bool // Stdout redraws
	Colour          bool
	// Listen and Dial replace the network.
	Listen func(network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
}

// FailedError is what did not hold, in words for its reader.
type FailedError []string

// Error implements error.
func (f FailedError) Error() string { return "the demo failed: " + strings.Join(f, "; ") }

// show is one run.
type show struct {
	o         Options
	app       *app.App
	sim       *simulator.Simulator
	keys      []simulator.Key
	client    *http.Client
	base      string // of the gateway
	admin     string
	reference string // of the untroubled provider
	begin     time.Time
	turns     map[string]chan struct{} // of the agents, by their models
	tally     tally
	watch     *watch
	scene     *scene
	missed    []string // that there was nothing to see of
}

// Run runs the demo. Its error is FailedError if something did not hold.
func Run(ctx context.Context, o Options) error {
	if o.Length == 0 {
		o.Length = Shortest
	}
	if o.Length < Shortest {
		return fmt.Errorf("the demo needs %d seconds or more, for the probes of rejected keys", Shortest/time.Second)
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	if o.Dial == nil {
		o.Dial = (&net.Dialer{}).DialContext
	}
	s := &show{o: o, keys: cast(), turns: map[string]chan struct{}{}}
	for _, model := range agents {
		s.turns[model] = make(chan struct{}, 1)
	}
	s.begin = time.Now()
	s.watch = newWatch(s.begin)
	stop, err := s.open()
	if stop != nil {
		defer stop()
	}
	if err != nil {
		return err
	}
	return s.run(ctx)
}

// bare is the environment of a gateway without a key, a token, a file or a record.
func bare(name string) (string, bool) {
	if name == "KEYBRIDGE_STORE" {
		return "none", true
	}
	return "", false
}

// open starts the gateway with its troubled provider, and the untroubled one.
func (s *show) open() (stop func(), err error) {
	played := simulator.Options{Keys: s.keys, Deterministic: true, LogSize: logSize}
	troubled := played
	troubled.Pace, troubled.Limits = pace, limits(s.o.Length)
	s.app, err = app.New(app.Options{
		Env:           bare,
		ListenAddress: "127.0.0.1:0", AdminAddress: "127.0.0.1:0",
		Listen: s.o.Listen, Dial: s.o.Dial, Drain: drain, Simulator: troubled, ProbeAfter: probeAfter,
		Strategies: map[string]keypool.Strategy{simulator.OpenAI: keypool.Headroom}, Stderr: s.watch,
	})
	if err != nil {
		return nil, err
	}
	end := func() { s.app.Stop(context.Background()) }
	if err = s.app.Start(); err != nil {
		end()
		return nil, err
	}
	ln, err := s.o.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		end()
		return nil, fmt.Errorf("start the untroubled provider: %w", err)
	}
	srv := &http.Server{Handler: simulator.New(played), ReadHeaderTimeout: headWait}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) }) // a failure shows as failed comparisons
	tr := &http.Transport{DialContext: s.o.Dial, MaxIdleConnsPerHost: atOnce}
	s.client = &http.Client{Transport: tr, Timeout: patience}
	s.sim = s.app.Simulator()
	s.base, s.admin = "http://"+s.app.Address("listen"), "http://"+s.app.Address("admin")
	s.reference = "http://" + ln.Addr().String()
	leave, err := s.set()
	if err != nil {
		leave = func() {}
	}
	return func() {
		leave()
		tr.CloseIdleConnections()
		_ = srv.Close() // nobody is served by now
		serving.Wait()
		end()
	}, err
}

// run is the show: script, traffic and picture side by side, then the account.
func (s *show) run(ctx context.Context) error {
	acting, cancel := context.WithCancel(ctx)
	defer cancel()
	var stage sync.WaitGroup
	stage.Go(func() { s.play(acting) })
	stage.Go(func() { s.draw(acting) })
	s.traffic(ctx)
	s.await(ctx)
	cancel()
	stage.Wait()
	if ctx.Err() != nil {
		return errors.New("the demo was interrupted")
	}
	return s.account(context.WithoutCancel(ctx))
}
