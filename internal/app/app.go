// Package app puts the rooms together: it reads the configuration, builds what
// requests need as one immutable snapshot, serves it, replaces it on reload, and
// takes everything down in the reverse order.
package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"keybridge/internal/admin"
	"keybridge/internal/config"
	"keybridge/internal/gateway"
	"keybridge/internal/ledger"
	"keybridge/internal/metrics"
	"keybridge/internal/simulator"
	"keybridge/internal/upstream"
	"keybridge/keypool"
)

// Options are what an App is made of. Only Env is required.
type Options struct {
	ConfigPath string // empty: the environment is the configuration
	Env        config.Env
	// ListenAddress and AdminAddress stand in the place of the configured ones,
	// whatever a reload finds. Empty: what is configured.
	ListenAddress, AdminAddress string
	Stdout                      io.Writer
	Stderr                      io.Writer
	Version                     string
	// Command is how this was called, for what the greeting says to paste. Empty: keybridge.
	Command string
	// Drain bounds how long running requests may go on after a stop. Zero: 25 s.
	Drain time.Duration
	// Listen and Dial replace the network of the listeners and of the upstreams.
	Listen func(network, address string) (net.Listener, error)
	Dial   func(ctx context.Context, network, address string) (net.Conn, error)
	// Ledger is told of every exchange besides the metrics and the access log.
	Ledger ledger.Listener
	// Tools are offered to conversations in the place of the configured ones. The app
	// does not close them. Nil: what is configured.
	Tools gateway.Tools
	// Simulator shapes the built-in simulator. Without keys it has three for each
	// provider.
	Simulator simulator.Options
	// Strategies are those of the simulated providers, by name. Without one: priority.
	Strategies map[string]keypool.Strategy
	// ProbeAfter is when a rejected key is first probed. Zero: as keypool has it.
	ProbeAfter time.Duration
}

const (
	defaultDrain  = 25 * time.Second
	lastWords     = 2 * time.Second // for what was cut off to say so
	headPatience  = 10 * time.Second
	idleKeepAlive = 2 * time.Minute
	maxHeader     = 1 << 20
)

// App is one running gateway.
type App struct {
	o          Options
	log        *slog.Logger
	access     slog.Handler // of the access log
	level      slog.LevelVar
	registry   *prometheus.Registry
	keyMetrics *keypool.Metrics
	metrics    *metrics.Metrics
	client     *upstream.Client
	tools      tools
	salt       []byte
	state      *stateFile     // nil: what is learned of the keys is not kept
	simulation *simulation    // nil: real providers
	archive    *archive       // nil: nothing is recorded
	started    *config.Config // with this; some of it goes on until the end

	reloading sync.Mutex
	current   atomic.Pointer[state]
	stopping  atomic.Bool
	served    chan error
	onStop    []func(context.Context)
	listeners map[string]net.Listener
}

// state is what a reload replaces.
type state struct {
	config   *config.Config
	snapshot *gateway.Snapshot
}

// New reads the configuration, takes the ports, and builds everything that can fail;
// nobody is served yet but by the built-in simulator, if it is needed.
func New(o Options) (*App, error) {
	a := &App{
		o: withDefaults(o), registry: prometheus.NewRegistry(), salt: make([]byte, 32),
		served: make(chan error, 2), listeners: map[string]net.Listener{},
	}
	rand.Read(a.salt)
	c, err := a.load()
	if err != nil {
		return nil, err
	}
	if err = a.listen(c); err != nil {
		return nil, err
	}
	lines := newLines(a.o.Stderr)
	a.stop(func(context.Context) { lines.close() })
	a.access = newHandler(lines, c.Log.Format, &a.level)
	a.log = slog.New(prompt{a.access, lines})
	a.level.Set(c.Log.Level)
	prefixed := prometheus.WrapRegistererWithPrefix("keybridge_", a.registry)
	a.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	a.metrics = metrics.New(prefixed)
	if a.keyMetrics, err = keypool.NewMetrics(prefixed, a.KeyPools); err != nil {
		return nil, fmt.Errorf("register the pools' metrics: %w", err)
	}
	a.client = upstream.NewClient(upstream.Options{DialContext: a.o.Dial})
	a.stop(func(context.Context) { a.client.CloseIdle() })
	a.stop(a.tools.close)
	metrics.RegisterServers(prefixed, a.serversNow)
	if len(c.Providers) == 0 && a.o.ConfigPath == "" {
		if err := a.simulate(c); err != nil {
			a.Stop(context.Background())
			return nil, err
		}
	} else {
		a.remember(c.DataDir, prefixed)
	}
	a.record(c, prefixed)
	if err := a.install(c); err != nil {
		a.Stop(context.Background())
		return nil, err
	}
	return a, nil
}

func withDefaults(o Options) Options {
	if o.Stdout == nil {
		o.Stdout = io.Discard
	}
	if o.Stderr == nil {
		o.Stderr = io.Discard
	}
	if o.Drain <= 0 {
		o.Drain = defaultDrain
	}
	if o.Listen == nil {
		o.Listen = net.Listen
	}
	return o
}

func newHandler(w io.Writer, f config.Format, level slog.Leveler) slog.Handler {
	opts := &slog.HandlerOptions{Level: level}
	if f == config.JSON {
		opts.ReplaceAttr = inSeconds
		return slog.NewJSONHandler(w, opts)
	}
	return &textHandler{slog.NewTextHandler(w, opts), w}
}

// inSeconds writes durations as metrics have them: JSON would have a bare number of nanoseconds.
func inSeconds(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.Float64Value(a.Value.Duration().Seconds())
	}
	return a
}

// KeyPools lists the pools in use.
func (a *App) KeyPools() []*keypool.Pool {
	if s := a.current.Load(); s != nil {
		return s.snapshot.KeyPools()
	}
	return nil
}

// Gatherer reads the metrics.
func (a *App) Gatherer() prometheus.Gatherer { return a.registry }

// Simulator is the built-in simulator, nil when real providers are configured.
func (a *App) Simulator() *simulator.Simulator {
	if a.simulation == nil {
		return nil
	}
	return a.simulation.simulator
}

// stop has f called when the app stops, before everything registered earlier.
func (a *App) stop(f func(context.Context)) { a.onStop = append(a.onStop, f) }

// Start listens and serves.
func (a *App) Start() error {
	c := a.current.Load().config
	probing, cancel := context.WithCancel(context.Background())
	var background sync.WaitGroup
	background.Go(func() { keypool.RunProbes(probing, a.KeyPools) })
	a.stop(func(context.Context) { cancel(); background.Wait() })
	if a.state != nil {
		writing, done := context.WithCancel(context.Background())
		var writer sync.WaitGroup
		writer.Go(func() { a.state.run(writing) })
		a.stop(func(context.Context) { done(); writer.Wait() })
		a.state.changes(true)
	}

	a.serve("admin", a.adminHandler())
	a.archive.settle()
	a.serve("listen", a.gateway())
	a.greet(c)
	return nil
}

// gateway is the data path with all who are told of what happens on it.
func (a *App) gateway() *gateway.Gateway {
	o := gateway.Options{
		Snapshot: func() *gateway.Snapshot { return a.current.Load().snapshot },
		Client:   a.client, Logger: a.log,
	}
	listeners := ledger.Fanout{a.metrics, accessLog{a.access}}
	if a.archive != nil {
		o.Recorder = a.archive.recorder
		listeners = append(listeners, a.archive.recorder)
	}
	if a.o.Ledger != nil {
		listeners = append(listeners, a.o.Ledger)
	}
	o.Ledger = listeners
	return gateway.New(o)
}

// listen takes both ports, before anything else is touched: of a gateway that was
// started twice by mistake the second has nothing else to say.
func (a *App) listen(c *config.Config) error {
	for _, of := range []struct{ setting, address string }{{"admin", c.Admin}, {"listen", c.Listen}} {
		ln, err := a.o.Listen("tcp", of.address)
		if err != nil {
			a.Stop(context.Background())
			if e, ok := errors.AsType[*os.SyscallError](err); ok {
				err = e.Err // the address is said already
			}
			return fmt.Errorf("%s: cannot listen on %s: %w: end what uses the port, or set another address (--%s, or %s in the configuration)",
				of.setting, of.address, err, of.setting, of.setting)
		}
		a.listeners[of.setting] = ln
		a.stop(func(context.Context) { _ = ln.Close() }) // its server may have done so
	}
	return nil
}

// serve runs one HTTP server. It drains when the app stops: no new connections,
// then the bound, then the cut, which streams still tell their clients of.
func (a *App) serve(setting string, h http.Handler) {
	ln := a.listeners[setting]
	base, cut := context.WithCancelCause(context.Background())
	srv := &http.Server{
		Handler: h, BaseContext: func(net.Listener) context.Context { return base },
		ReadHeaderTimeout: headPatience, IdleTimeout: idleKeepAlive, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(a.log.Handler(), slog.LevelDebug),
	}
	if g, ok := h.(*gateway.Gateway); ok {
		ln = g.Attach(srv, ln)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			a.served <- fmt.Errorf("%s: %w", setting, err)
		}
	})
	a.stop(func(ctx context.Context) {
		if srv.Shutdown(ctx) != nil {
			cut(gateway.ErrStopping)
			last, cancel := context.WithTimeout(context.Background(), lastWords)
			_ = srv.Shutdown(last) // whoever is still there is closed next
			cancel()
		}
		_ = srv.Close() // nothing is left that could be lost
		cut(gateway.ErrStopping)
		serving.Wait()
	})
}

func (a *App) adminHandler() http.Handler {
	mounts := map[string]http.Handler{}
	if a.simulation != nil {
		mounts["/simulator"] = a.simulation.simulator.Admin()
	}
	o := admin.Options{
		Token:    func() string { return a.current.Load().config.AdminToken.Reveal() },
		Gatherer: a.registry, Ready: a.ready, Reload: a.Reload, Pools: a.KeyPools, Tools: a.toolsOf, Keep: a.state.keep, Mounts: mounts, Log: a.log,
	}
	if a.archive != nil {
		o.Record = a.archive.readable
	}
	return admin.New(o)
}

func (a *App) ready() error {
	if a.stopping.Load() {
		return errors.New("the gateway is stopping")
	}
	if a.current.Load().config.Record.Strict && a.archive.recorder.Health() != nil {
		return errors.New("nothing can be recorded, and record.strict refuses what is not: the log says why")
	}
	return nil
}

// Address is where a listener listens: "listen" or "admin".
func (a *App) Address(setting string) string {
	if ln := a.listeners[setting]; ln != nil {
		return ln.Addr().String()
	}
	return ""
}

// Stop takes everything down in the reverse order. Running requests may go on
// until the drain's bound or the context's end.
func (a *App) Stop(ctx context.Context) {
	a.stopping.Store(true)
	ctx, cancel := context.WithTimeout(ctx, a.o.Drain)
	defer cancel()
	for len(a.onStop) > 0 {
		last := len(a.onStop) - 1
		f := a.onStop[last]
		a.onStop = a.onStop[:last]
		f(ctx)
	}
}
