package app

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	linesPatience = 100 * time.Millisecond
	mostLines     = 16 << 10
)

// lines holds what is logged back for a moment, so that a line of the access log
// costs no write of its own.
type lines struct {
	to    io.Writer
	timer *time.Timer

	mu     sync.Mutex
	held   []byte
	closed bool
}

func newLines(w io.Writer) *lines {
	l := &lines{to: w}
	l.timer = time.AfterFunc(linesPatience, l.flush)
	return l
}

// Write implements io.Writer.
func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.held = append(l.held, p...)
	switch {
	case len(l.held) > mostLines || l.closed:
		l.send()
	case len(l.held) == len(p):
		l.timer.Reset(linesPatience)
	}
	return len(p), nil
}

func (l *lines) flush() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.send()
}

func (l *lines) send() {
	if len(l.held) > 0 {
		_, _ = l.to.Write(l.held) // there is nowhere to complain
		l.held = l.held[:0]
	}
}

// close writes what is held, and from now on everything at once.
func (l *lines) close() {
	l.timer.Stop()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closed = true
	l.send()
}

// prompt is the handler of everything but the access log: nothing waits behind it.
type prompt struct {
	slog.Handler
	lines *lines
}

// Handle implements slog.Handler.
func (p prompt) Handle(ctx context.Context, r slog.Record) error {
	defer p.lines.flush()
	return p.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (p prompt) WithAttrs(attrs []slog.Attr) slog.Handler {
	return prompt{p.Handler.WithAttrs(attrs), p.lines}
}

// WithGroup implements slog.Handler.
func (p prompt) WithGroup(name string) slog.Handler {
	return prompt{p.Handler.WithGroup(name), p.lines}
}
