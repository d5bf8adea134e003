package app

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"keybridge/internal/config"
	"keybridge/internal/secret"
	"keybridge/internal/simulator"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// simulation is the built-in simulator with the keys it accepts, for a gateway
// that was given none.
type simulation struct {
	simulator *simulator.Simulator
	keys      []simulator.Key
	base      string
	strategy  map[string]keypool.Strategy
}

const simulatedKeys = 3 // per provider

// simulate starts the simulator on a port of its own and configures it as both
// providers.
func (a *App) simulate(c *config.Config) error {
	o := a.o.Simulator
	if len(o.Keys) == 0 {
		o.Keys = simulator.Keys(simulatedKeys)
	}
	s := &simulation{keys: o.Keys, simulator: simulator.New(o), strategy: a.o.Strategies}
	ln, err := a.o.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return fmt.Errorf("start the built-in simulator: %w", err)
	}
	s.base = "http://" + ln.Addr().String()
	srv := &http.Server{Handler: s.simulator, ReadHeaderTimeout: headPatience}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := srv.Serve(ln); !errors.Is(err, http.ErrServerClosed) {
			a.served <- fmt.Errorf("the built-in simulator: %w", err)
		}
	}()
	a.stop(func(context.Context) {
		s.simulator.Close()
		_ = srv.Close() // nobody is served by now
		<-done
	})
	a.simulation = s
	s.provide(c)
	return nil
}

// provide puts the simulated providers into a configuration that has none.
func (s *simulation) provide(c *config.Config) {
	for _, p := range []struct {
		name, path string
		kind       verdict.Family
	}{{simulator.OpenAI, "/openai/v1", verdict.OpenAI}, {simulator.Anthropic, "/anthropic", verdict.Anthropic}} {
		base, err := url.Parse(s.base + p.path)
		if err != nil {
			panic(err) // our own listener's address
		}
		provider := config.Provider{Name: p.name, Kind: p.kind, Enabled: true, BaseURL: base, Strategy: config.Strategy(cmp.Or(s.strategy[p.name], keypool.Priority)), Affinity: config.AffinityAuto, Probe: config.ProbeAuto}
		for _, k := range s.keys {
			if k.Provider == p.name {
				provider.Keys = append(provider.Keys, config.Key{ID: k.Name, Secret: secret.New(k.Secret), Source: "simulator", Weight: 1})
			}
		}
		c.Providers = append(c.Providers, provider)
	}
}
