package keypool

import (
	"context"
	"log/slog"
	"time"

	"keybridge/keypool/verdict"
)

const tellEvery = 10 * time.Second

// event is a change of state to be logged once the lock is released.
type event struct {
	member *member
	state  State
	reason verdict.Reason
	until  time.Time
	via    string
	status int
	// contradicts is how the provider contradicts the key's configuration: no change of state.
	contradicts []slog.Attr
}

func (p *Pool) report(events []event) {
	p.notify()
	ctx := context.Background() // a state change belongs to no request
	for _, e := range events {
		if e.contradicts != nil {
			p.log.LogAttrs(ctx, slog.LevelWarn, "scope contradicts the configuration", append([]slog.Attr{slog.String("key", e.member.id)}, e.contradicts...)...)
			continue
		}
		attrs := []slog.Attr{slog.String("key", e.member.id), slog.String("hint", e.member.hint), slog.String("state", string(e.state))}
		if e.via != "" {
			p.log.LogAttrs(ctx, slog.LevelInfo, "key recovered", append(attrs, slog.String("via", e.via))...)
			continue
		}
		attrs = append(attrs, slog.String("reason", string(e.reason)), slog.Int("status", e.status))
		level := slog.LevelWarn
		if e.state == Temporary {
			level = slog.LevelInfo
			attrs = append(attrs, slog.Time("until", e.until))
		}
		p.log.LogAttrs(ctx, level, "key out", attrs...)
	}
}

// tell limits the log of exhaustions to one line in ten seconds.
func (b *book) tell(now time.Time) bool {
	if now.Sub(b.told) < tellEvery {
		return false
	}
	b.told = now
	return true
}
