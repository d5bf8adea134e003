package app

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"keybridge/internal/ledger"
)

// accessLog writes a line for every exchange, and at debug level one for every
// attempt. It names keys by id and hint, requests by pattern; nothing a client or
// an upstream said is in it but the model's name.
type accessLog struct{ slog.Handler }

// attrsPool saves an allocation a line; a line has 18 at most.
var attrsPool = sync.Pool{New: func() any { return new([18]slog.Attr) }} //nolint:gochecknoglobals // a pool

// line writes a line. It is a record without a place in the code, which nobody
// sees, and with its attributes in one group without a name, which needs no copy.
func (l accessLog) line(at time.Time, level slog.Level, message string, attrs []slog.Attr) {
	if h, ok := l.Handler.(*textHandler); ok {
		h.line(at, level, message, attrs)
		return
	}
	r := slog.NewRecord(at, level, message, 0)
	r.AddAttrs(slog.Attr{Value: slog.GroupValue(attrs...)})
	_ = l.Handle(context.Background(), r) // there is nowhere to complain
}

// Started implements ledger.Listener.
func (accessLog) Started(*ledger.Exchange) {}

// Attempted implements ledger.Listener.
func (l accessLog) Attempted(e *ledger.Exchange, a *ledger.Attempt) {
	if !l.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	l.line(a.Sent.Add(a.Duration), slog.LevelDebug, "attempt", []slog.Attr{
		slog.String("id", e.ID), slog.String("provider", e.Provider), slog.String("key", a.Key), slog.String("hint", a.Hint),
		slog.Int("status", a.Status), slog.String("action", a.Action), slog.String("reason", a.Reason), slog.Duration("duration", readable(a.Duration)),
	})
}

// Finished implements ledger.Listener. What does not apply is left out.
func (l accessLog) Finished(e *ledger.Exchange) {
	level := slog.LevelInfo
	if e.Quiet {
		level = slog.LevelDebug
	}
	if !l.Enabled(context.Background(), level) {
		return
	}
	array := attrsPool.Get().(*[18]slog.Attr) //nolint:forcetypeassert // nothing else is put in
	defer attrsPool.Put(array)
	attrs := array[:0]
	text := func(name, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(name, value))
		}
	}
	attrs = append(attrs, slog.String("id", e.ID), slog.String("status", string(e.Status)))
	if e.HTTPStatus != 0 { // a client may leave before it has any
		attrs = append(attrs, slog.Int("code", e.HTTPStatus))
	}
	text("provider", e.Provider)
	attrs = append(attrs, slog.String("method", e.Method))
	text("route", e.Route)
	text("model", clip(e.Model))
	if e.Bridged {
		attrs = append(attrs, slog.Bool("stream", e.Stream))
	}
	text("caller", e.Principal.Name)
	text("credential", string(e.Principal.Credential))
	attrs = append(attrs, slog.Int("attempts", len(e.Attempts)))
	if len(e.Tools) > 0 {
		attrs = append(attrs, slog.Int("tools", len(e.Tools)))
	}
	attrs = append(attrs, slog.Duration("duration", readable(e.End.Sub(e.Start))))
	if n := len(e.Attempts); n > 0 {
		attrs = append(attrs, slog.String("key", e.Attempts[n-1].Key), slog.String("hint", e.Attempts[n-1].Hint))
	}
	if u := e.Usage(); u.Total() > 0 {
		attrs = append(attrs, slog.Int64("input_tokens", u.Input+u.CacheRead+u.CacheWrite), slog.Int64("output_tokens", u.Output))
	}
	if e.Err != nil {
		attrs = append(attrs, slog.String("error", e.Err.Error()))
	}
	l.line(e.End, level, "exchange", attrs)
	l.tools(e)
	if e.Eventful && l.Enabled(context.Background(), slog.LevelDebug) {
		l.decisions(e)
	}
}

// tools tells of the calls of central tools that have failed.
func (l accessLog) tools(e *ledger.Exchange) {
	if len(e.Tools) == 0 || !l.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	for i := range e.Tools {
		u := &e.Tools[i]
		if u.Outcome == ledger.ToolOK {
			continue
		}
		attrs := []slog.Attr{
			slog.String("id", e.ID), slog.String("server", u.Server), slog.String("tool", clip(u.Tool)), slog.Int("turn", u.Turn),
			slog.String("outcome", string(u.Outcome)), slog.Duration("duration", readable(u.Duration)),
		}
		if u.Err != nil {
			attrs = append(attrs, slog.String("error", u.Err.Error()))
		}
		l.line(u.Start.Add(u.Duration), slog.LevelDebug, "tool call failed", attrs)
	}
}

// decisions tells how an exchange came to its end that took more than its first key.
func (l accessLog) decisions(e *ledger.Exchange) {
	told := make([]string, 0, len(e.Decisions))
	for i := range e.Decisions {
		d := &e.Decisions[i]
		words := make([]string, 0, 8)
		for _, word := range []string{d.What, d.Key, d.Action, d.Why} {
			if word != "" {
				words = append(words, word)
			}
		}
		if d.Scope != "" {
			words = append(words, "of "+d.Scope)
		}
		if d.For > 0 {
			words = append(words, "for "+readable(d.For).String())
		}
		if !d.Until.IsZero() {
			words = append(words, "until "+d.Until.UTC().Format(time.RFC3339))
		}
		told = append(told, strings.Join(words, " "))
	}
	attrs := []slog.Attr{slog.String("id", e.ID), slog.String("provider", e.Provider), slog.String("decisions", strings.Join(told, "; "))}
	if e.Undecided > 0 {
		attrs = append(attrs, slog.Int("left_out", e.Undecided))
	}
	l.line(e.End, slog.LevelDebug, "decisions", attrs)
}

// readable drops the digits of a duration that say nothing.
func readable(d time.Duration) time.Duration {
	if d >= time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Microsecond)
}

// clip bounds what a client can write into a log line.
func clip(s string) string {
	const most = 100
	if len(s) > most {
		return s[:most]
	}
	return s
}
