package record

import (
	"context"
	"log/slog"
	"time"

	"keybridge/internal/ledger"
)

// ours is the context of lines that belong to no request.
var ours = context.Background() //nolint:gochecknoglobals // a constant

// notes tells of trouble in the log: once when it begins, and once when it is over. Only
// the writer uses it.
type notes struct {
	log *slog.Logger
	dir string

	since   time.Time // when the trouble with the Sink began; zero: there is none
	late    int       // exchanges that were written late since
	spoiled bool      // the spool takes nothing
	told    time.Time // of an exchange that was set aside
	untold  int       // others since
	missed  int       // exchanges that found no room, as was told
	missing time.Time // when it was
}

func newNotes(log *slog.Logger, dir string) notes {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return notes{log: log, dir: dir}
}

// troubled says that the Sink has failed, and not taken all that waited since.
func (n *notes) troubled() bool { return !n.since.IsZero() }

func (n *notes) fails(err error, spooled bool) {
	if n.troubled() {
		return
	}
	n.since, n.late = time.Now(), 0
	const message = "requests cannot be recorded: what there is to record waits until they can"
	if !spooled {
		n.log.LogAttrs(ours, slog.LevelWarn, message, slog.String("because", err.Error()), slog.String("where", "in memory"),
			slog.String("do", "repair the store before this process ends"))
		return
	}
	n.log.LogAttrs(ours, slog.LevelWarn, message, slog.String("because", err.Error()), slog.String("where", n.dir),
		slog.String("do", "repair the store; nothing is lost while the folder takes more (record.spool)"))
}

// works notes that the Sink has taken something; done says that nothing is left over.
func (n *notes) works(late bool, ended int, done bool) {
	if late {
		n.late += ended
	}
	if n.troubled() && done {
		n.log.LogAttrs(ours, slog.LevelInfo, "requests are recorded again", slog.Int("late", n.late), slog.Duration("after", time.Since(n.since).Round(time.Millisecond)))
		n.since, n.late = time.Time{}, 0
	}
}

// spool notes how a write into the spool went.
func (n *notes) spool(err error) {
	switch {
	case err != nil && !n.spoiled:
		n.log.LogAttrs(ours, slog.LevelWarn, "nothing more can be kept for the record on the disk: it waits in memory, as much as has room",
			slog.String("folder", n.dir), slog.String("because", err.Error()), slog.String("do", "repair the store, make room, or raise record.spool"))
	case err == nil && n.spoiled:
		n.log.LogAttrs(ours, slog.LevelInfo, "what there is to record is kept on the disk again", slog.String("folder", n.dir))
	}
	n.spoiled = err != nil
}

// full tells of exchanges that found no room; so many in all have not.
func (n *notes) full(count int) {
	const often = time.Minute
	if count == n.missed || time.Since(n.missing) < often {
		return
	}
	n.log.LogAttrs(ours, slog.LevelWarn, "requests are not recorded: no more of them can wait to be",
		slog.Int("lost", count-n.missed), slog.String("do", "repair the store, or raise record.queue"))
	n.missed, n.missing = count, time.Now()
}

// rejected tells of an exchange that was set aside; kept is why it is not even in the
// file for that.
func (n *notes) rejected(e *ledger.Exchange, why, kept error) {
	const often = 10 * time.Second
	if time.Since(n.told) < often {
		n.untold++
		return
	}
	attrs := []slog.Attr{slog.String("id", e.ID), slog.String("because", why.Error())}
	if kept == nil {
		attrs = append(attrs, slog.String("file", aside{n.dir}.path(time.Now())))
	} else {
		attrs = append(attrs, slog.String("lost", kept.Error()))
	}
	if n.untold > 0 {
		attrs = append(attrs, slog.Int("others", n.untold))
	}
	n.told, n.untold = time.Now(), 0
	n.log.LogAttrs(ours, slog.LevelError, "the store will never take this request's record: it is set aside", attrs...)
}

func (n *notes) damaged(path string, lines int) {
	n.log.LogAttrs(ours, slog.LevelWarn, "a file of what waits for the record is damaged: what is whole of it is recorded", slog.String("file", path), slog.Int("left_out", lines))
}

func (n *notes) unread(path string, why error) {
	n.log.LogAttrs(ours, slog.LevelError, "a file of what waits for the record cannot be read: it is left out", slog.String("file", path), slog.String("because", why.Error()))
}

func (n *notes) lost(count int) {
	n.log.LogAttrs(ours, slog.LevelError, "requests are not recorded: neither the store nor the disk took them before the end", slog.Int("lost", count))
}

// nobody counts nothing.
type nobody struct{}

func (nobody) Recorded(string, int)        {}
func (nobody) Dropped(string, int)         {}
func (nobody) Wrote(time.Duration, string) {}
func (nobody) Waited()                     {}
