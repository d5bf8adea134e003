package app

import (
	"context"
	"log/slog"

	"keybridge/internal/ledger"
)

// accessLog writes a line for every exchange, and at debug level one for every
// attempt. It names keys by id and hint, requests by pattern; nothing a client or
// an upstream said is in it but the model's name.
type accessLog struct{ log *slog.Logger }

// Started implements ledger.Listener.
func (accessLog) Started(*ledger.Exchange) {}

// Attempted implements ledger.Listener.
func (l accessLog) Attempted(e *ledger.Exchange, a *ledger.Attempt) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, slog.LevelDebug) {
		return
	}
	l.log.LogAttrs(ctx, slog.LevelDebug, "attempt",
		slog.String("id", e.ID), slog.String("provider", e.Provider), slog.String("key", a.Key), slog.String("hint", a.Hint),
		slog.Int("status", a.Status), slog.String("action", a.Action), slog.String("reason", a.Reason), slog.Duration("duration", a.Duration))
}

// Finished implements ledger.Listener.
func (l accessLog) Finished(e *ledger.Exchange) {
	ctx := context.Background()
	if !l.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs, slog.String("id", e.ID), slog.String("status", string(e.Status)), slog.Int("code", e.HTTPStatus),
		slog.String("provider", e.Provider), slog.String("method", e.Method), slog.String("route", e.Route),
		slog.String("model", clip(e.Model)), slog.Bool("stream", e.Stream),
		slog.String("caller", e.Principal.Name), slog.String("credential", string(e.Principal.Credential)),
		slog.Int("attempts", len(e.Attempts)), slog.Duration("duration", e.End.Sub(e.Start)))
	if n := len(e.Attempts); n > 0 {
		attrs = append(attrs, slog.String("key", e.Attempts[n-1].Key), slog.String("hint", e.Attempts[n-1].Hint))
	}
	if u := e.Usage(); u.Total() > 0 {
		attrs = append(attrs, slog.Int64("input_tokens", u.Input+u.CacheRead+u.CacheWrite), slog.Int64("output_tokens", u.Output))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	l.log.LogAttrs(ctx, slog.LevelInfo, "exchange", attrs...)
}

// clip bounds what a client can write into a log line.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most]
	}
	return s
}
