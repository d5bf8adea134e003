package app

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"keybridge/internal/config"
	"keybridge/internal/dialect"
	"keybridge/internal/metrics"
	"keybridge/internal/price"
	"keybridge/internal/record"
	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/sqlite"
)

// record opens the record, or says why there is none. It does not fail: a store that is
// not there may come.
func (a *App) record(c *config.Config, reg prometheus.Registerer) {
	target, spool, dir := c.Store, c.DataDir, ""
	if a.simulation != nil {
		spool = "" // nothing is to be left behind
		if target.Kind == config.Unplaced {
			var err error
			if dir, err = os.MkdirTemp("", "keybridge-"); err != nil {
				a.unrecorded("no temporary folder can be made: "+err.Error(), "make the folder for temporary files writable, or set KEYBRIDGE_STORE")
				return
			}
			target = config.Store{Kind: config.SQLite, Path: filepath.Join(dir, "keybridge.db")}
		}
	}
	o := store.Options{Instance: instance()}
	k := &archive{log: a.log, dir: dir, place: target.Path}
	switch target.Kind {
	case config.SQLite:
		k.open = func(ctx context.Context) (*store.Store, error) {
			return sqlite.Open(ctx, target.Path, sqlite.Options{Options: o, Logger: a.log})
		}
	case config.Postgres:
		k.place = target.Source
		k.open = func(ctx context.Context) (*store.Store, error) { return postgres.Open(ctx, target.URL.Reveal(), o) }
	case config.Unplaced:
		a.unrecorded("no data_dir is known", "set store, data_dir or HOME; store: none if nothing is to be recorded")
		return
	case config.NoStore:
		return
	}
	settings := recording(c.Record)
	settings.Spool, settings.Logger, settings.Instance = spool, a.log, o.Instance
	settings.Observer = metrics.RegisterRecord(reg, func() (queued, spooled int) { return k.recorder.Waiting() })
	k.run(settings, keeping(c.Record.Keep))
	a.archive = k
	a.stop(k.close)
}

func (a *App) unrecorded(why, do string) {
	a.log.LogAttrs(context.Background(), slog.LevelWarn, "nothing is recorded", slog.String("because", why), slog.String("do", do))
}

// instance names this process among those that write to one store.
func instance() string {
	name, err := os.Hostname()
	if err != nil {
		name = "keybridge"
	}
	b := make([]byte, 4)
	rand.Read(b)
	return name + "-" + hex.EncodeToString(b)
}

// recording is how the recorder is to work; what a reload cannot change is left out.
func recording(r config.Record) record.Options {
	o := record.Options{Flush: r.Flush, MaxBytes: r.Queue, WhenFull: record.WhenFull(r.WhenFull), Strict: r.Strict, MaxSpool: r.Spool}
	if r.Spool == 0 {
		o.MaxSpool = -1 // what an earlier process has left is recorded all the same
	}
	return o
}

func keeping(k config.Keep) *store.Keep { return (*store.Keep)(&k) }

// kept is what of conversations the record is to have.
func (a *App) kept(r config.Record) dialect.Keep {
	if a.archive == nil {
		return dialect.Keep{}
	}
	return dialect.Keep{Prompt: r.Prompts, Arguments: r.Arguments, Reasoning: r.Reasoning, Limit: int(r.MaxText)}
}

// recordable refuses a configuration that promises what this process cannot hold: the
// store is one of what a reload does not change.
func (a *App) recordable(r config.Record) error {
	if r.Strict && a.archive == nil {
		return errors.New("record.strict: refuses what is not recorded, and this process records nothing: restart it with a store, or remove strict")
	}
	return nil
}

// pricesOf is the shipped price list under the operator's own prices.
func pricesOf(configured []config.Price) (*price.List, error) {
	var overrides []price.Override
	for _, p := range configured {
		overrides = append(overrides, price.Override(p))
	}
	list, err := price.New(overrides)
	if err != nil {
		return nil, fmt.Errorf("prices: %w", err)
	}
	return list, nil
}

// recorded says in a line what is recorded and where.
func (a *App) recorded(r config.Record) string {
	if a.archive == nil {
		return "nothing is recorded"
	}
	var said []string
	for _, part := range []struct {
		name string
		on   bool
	}{{"prompts", r.Prompts}, {"arguments of tool calls", r.Arguments}, {"reasoning", r.Reasoning}} {
		if part.on {
			said = append(said, part.name)
		}
	}
	what := "tokens and costs, nothing that was said"
	if len(said) > 0 {
		what = "tokens and costs, " + strings.Join(said, ", ")
	}
	where := "in " + a.archive.place
	if a.archive.dir != "" {
		where += " until the gateway stops"
	}
	return what + ", " + where
}
