package app

import (
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
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
			a.log.LogAttrs(ctx, slog.LevelInfo, "stopping", slog.Duration("drain", a.o.Drain))
			return nil
		}
	}
}
