package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"keybridge/internal/auth"
	"keybridge/internal/config"
	"keybridge/internal/dialect/chat"
	"keybridge/internal/dialect/messages"
	"keybridge/internal/dialect/responses"
	"keybridge/internal/gateway"
	"keybridge/internal/metrics"
	"keybridge/internal/route"
	"keybridge/internal/upstream"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

const firstTrial = 30 * time.Second // of a rejected key that no free call tells about

// load reads the configuration from where this app has it.
func (a *App) load() (*config.Config, error) {
	c, err := a.configured()
	if err == nil {
		err = c.Override(a.o.ListenAddress, a.o.AdminAddress)
	}
	return c, err
}

func (a *App) configured() (*config.Config, error) {
	if a.o.ConfigPath != "" {
		return config.Load(a.o.ConfigPath, a.o.Env) //nolint:wrapcheck // its own words are best
	}
	return config.FromEnvironment(a.o.Env) //nolint:wrapcheck // its own words are best
}

// Reload reads the configuration again. With a bad one everything stays as it was.
func (a *App) Reload() error {
	a.reloading.Lock()
	defer a.reloading.Unlock()
	c, err := a.load()
	if err == nil && a.simulation != nil && len(c.Providers) == 0 {
		a.simulation.provide(c)
	}
	if err == nil {
		err = a.install(c)
	}
	if err != nil {
		a.metrics.Reloaded(false, time.Now())
		a.complain(err)
		return err
	}
	a.log.LogAttrs(context.Background(), slog.LevelInfo, "configuration reloaded", slog.Int("providers", len(c.Providers)))
	return nil
}

func (a *App) complain(err error) {
	ctx := context.Background() // a reload belongs to no request
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for _, p := range problems {
			a.log.LogAttrs(ctx, slog.LevelError, "configuration refused, the old one goes on", slog.String("problem", p.String()))
		}
		return
	}
	a.log.LogAttrs(ctx, slog.LevelError, "configuration refused, the old one goes on", slog.String("problem", err.Error()))
}

// install builds everything that can fail, carries the keys' health over, and swaps.
func (a *App) install(c *config.Config) error {
	if err := a.recordable(c.Record); err != nil {
		return err
	}
	next := &gateway.Snapshot{
		Limits: gateway.Limits{MaxBody: c.Limits.MaxBody, MaxUpload: c.Limits.MaxUpload},
		Stream: gateway.Stream{
			Hold: c.Stream.Hold, HoldBytes: int(c.Stream.HoldBytes), FirstEventTimeout: c.Stream.FirstEventTimeout,
			Ping: c.Stream.Ping, IdleTimeout: c.Stream.IdleTimeout,
		},
		AttemptsHeader: c.AttemptsHeader,
		Keep:           a.kept(c.Record),
	}
	next.Chat, next.Responses, next.Messages = chat.Dialect{Keep: next.Keep}, responses.Dialect{Keep: next.Keep}, messages.Dialect{Keep: next.Keep}
	var routes []route.Provider
	var infos []metrics.ProviderInfo
	for i := range c.Providers {
		p := &c.Providers[i]
		t, err := a.target(p)
		if err != nil {
			return err
		}
		next.Targets = append(next.Targets, t)
		routes = append(routes, route.Provider{Name: p.Name, Kind: p.Kind, Enabled: p.Enabled})
		status := "enabled"
		if !p.Enabled {
			status = "disabled"
		}
		infos = append(infos, metrics.ProviderInfo{Name: p.Name, Kind: string(p.Kind), Status: status})
	}
	next.Table = route.New(routes)
	next.Gate = auth.New(tokens(c.Tokens))
	prices, err := pricesOf(c.Prices)
	if err != nil {
		return err
	}
	next.Prices = prices

	// From here on nothing fails.
	if a.started == nil {
		a.started = c
	}
	a.warnFixed(a.started, c)
	a.level.Set(c.Log.Level)
	a.metrics.SetProviders(infos)
	a.offer(c, next)
	a.archive.reload(recording(c.Record), keeping(c.Record.Keep))
	a.swap(&state{config: c, snapshot: next})
	a.metrics.Reloaded(true, time.Now())
	return nil
}

func tokens(configured []config.Token) (out []auth.Token) {
	for _, t := range configured {
		metadata := ""
		if len(t.Metadata) > 0 {
			text, err := json.Marshal(t.Metadata) // its names in their order: the same text at every start
			if err != nil {
				panic(err) // they are texts
			}
			metadata = string(text)
		}
		out = append(out, auth.Token{Name: t.Name, Metadata: metadata, Secret: t.Secret.Reveal()})
	}
	return out
}

// swap puts the next state in force, after it has carried the health of the keys over
// to the pools of the same providers.
func (a *App) swap(next *state) {
	before := a.pools()
	if a.state != nil {
		defer a.state.follow(before)()
	}
	for _, t := range next.snapshot.Targets {
		if t.Pool == nil {
			continue
		}
		t.Pool.Adopt(before[t.Name])
		if a.state != nil {
			a.state.restore(t.Pool, before[t.Name])
		}
	}
	a.current.Store(next)
}

// pools are those of all providers by name, also of disabled ones.
func (a *App) pools() map[string]*keypool.Pool {
	all := map[string]*keypool.Pool{}
	if s := a.current.Load(); s != nil {
		for _, t := range s.snapshot.Targets {
			if t.Pool != nil {
				all[t.Name] = t.Pool
			}
		}
	}
	return all
}

// warnFixed tells of what a reload cannot change.
func (a *App) warnFixed(old, next *config.Config) {
	for _, s := range []struct{ setting, was, is string }{
		{"listen", old.Listen, next.Listen},
		{"admin", old.Admin, next.Admin},
		{"data_dir", old.DataDir, next.DataDir},
		{"log.format", string(old.Log.Format), string(next.Log.Format)},
		{"store", old.Store.Source, next.Store.Source},
	} {
		if s.was != s.is || s.setting == "store" && !old.Store.URL.Equal(next.Store.URL) {
			a.log.LogAttrs(context.Background(), slog.LevelWarn, "setting changes at a restart only",
				slog.String("setting", s.setting), slog.String("running", s.was), slog.String("configured", s.is))
		}
	}
}

// target builds a provider as requests meet it.
func (a *App) target(p *config.Provider) (*gateway.Target, error) {
	t := &gateway.Target{
		Target:  upstream.Target{Name: p.Name, Kind: p.Kind, Base: p.BaseURL},
		Enabled: p.Enabled, Meter: p.Meter,
	}
	if len(p.Keys) == 0 {
		t.Masker = upstream.NewMasker(nil)
		return t, nil
	}
	o := keypool.Options{
		Provider: p.Name, Family: p.Kind, Host: p.BaseURL.Host, Strategy: keypool.Strategy(p.Strategy), MaxWait: p.MaxWait,
		Affinity: keypool.Affinity(p.Affinity), Salt: a.salt, ProbeAfter: a.o.ProbeAfter, Metrics: a.keyMetrics, Logger: a.log,
	}
	if a.state != nil {
		o.Changed = a.state.changes
	}
	for _, k := range p.Keys {
		o.Keys = append(o.Keys, keypool.Key{
			ID: k.ID, Secret: k.Secret.Reveal(), Organization: k.Organization, Project: k.Project, Models: k.Models, Weight: k.Weight,
		})
	}
	switch {
	case p.Probe == config.ProbeOff:
	case p.Kind == verdict.Compatible:
		o.TrialAfter = firstTrial
	default:
		o.Prober = upstream.NewProber(a.client, t.Target)
	}
	pool, err := keypool.New(o)
	if err != nil {
		return nil, fmt.Errorf("provider %s: %w", p.Name, err)
	}
	t.Pool, t.Masker = pool, upstream.NewMasker(pool.Secrets())
	return t, nil
}
