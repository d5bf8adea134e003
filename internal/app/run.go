package app

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// Run serves until the context ends or a server fails, and returns when everything
// is down. SIGHUP reloads the configuration.
func Run(ctx context.Context, o Options) error {
	// What an upstream sends unasked on an idle connection, a key it has seen in it
	// perhaps, net/http prints on the standard logger. It cannot be given another.
	log.SetOutput(io.Discard)
	a, err := New(o)
	if err != nil {
		return err
	}
	defer tend().stop()
	// The drain's context is not the signal's: that one has ended.
	defer a.Stop(context.WithoutCancel(ctx))
	if err := a.Start(); err != nil {
		return err
	}
	hangup := make(chan os.Signal, 1)
	signal.Notify(hangup, syscall.SIGHUP)
	defer signal.Stop(hangup)
	for {
		select {
		case <-hangup:
			_ = a.Reload() // reported by itself; the old configuration goes on
		case err := <-a.served:
			return err
		case <-ctx.Done():
			return a.linger(ctx)
		}
	}
}

// linger serves on for a while, if that is configured: whoever balances the load sees by
// /readyz that no more is to come. Another signal ends it.
func (a *App) linger(ctx context.Context) error {
	delay := a.current.Load().config.StopDelay
	a.stopping.Store(true)
	a.log.LogAttrs(ctx, slog.LevelInfo, "stopping", slog.Duration("delay", delay), slog.Duration("drain", a.o.Drain))
	if delay == 0 {
		return nil
	}
	enough := make(chan os.Signal, 1)
	signal.Notify(enough, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(enough)
	select {
	case <-time.After(delay):
		return nil
	case <-enough:
		return nil
	case err := <-a.served:
		return err
	}
}
