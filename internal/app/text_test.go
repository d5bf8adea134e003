package app

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"keybridge/internal/config"
)

// FuzzTextLine compares the short way with slog's own.
func FuzzTextLine(f *testing.F) {
	f.Add("exchange", "gpt-5-mini", int64(0), int64(1234567), true)
	f.Add("two words", "a=b", int64(1_700_000_000_120_000_000), int64(-1), false)
	f.Add("", "", int64(1_700_000_000_999_999_999), int64(90*time.Minute), false)
	f.Add(`"`, "back\\slash", int64(-62135596800), int64(1), true)
	f.Add("é", "日本\u00a0語", int64(1), int64(1), true)
	f.Add("\xff", "\x7f", int64(1), int64(1), true)
	f.Add("\u2028é\n", "é\t", int64(1), int64(1), true)
	f.Fuzz(func(t *testing.T, message, text string, nanos, number int64, flag bool) {
		at := time.Unix(0, nanos).UTC()
		if number%2 == 0 {
			at = at.In(time.FixedZone("", int(number%50000)))
		}
		if nanos == 0 {
			at = time.Time{}
		}
		attrs := []slog.Attr{
			slog.String("text", text), slog.Int64("number", number), slog.Bool("flag", flag), slog.Duration("duration", time.Duration(number)),
		}
		for _, level := range []slog.Level{slog.LevelDebug, slog.LevelInfo, slog.LevelInfo + 1} {
			var got, want bytes.Buffer
			h := newHandler(&got, config.Text, slog.LevelDebug)
			accessLog{h}.line(at, level, message, attrs)
			r := slog.NewRecord(at, level, message, 0)
			r.AddAttrs(attrs...)
			if err := slog.NewTextHandler(&want, nil).Handle(context.Background(), r); err != nil {
				t.Fatal(err)
			}
			if got.String() != want.String() {
				t.Errorf("got  %swant %s", got.String(), want.String())
			}
		}
	})
}

// TestTextHandlerKeepsAttributes: only what has none of its own takes the short way.
func TestTextHandlerKeepsAttributes(t *testing.T) {
	var b bytes.Buffer
	h := newHandler(&b, config.Text, slog.LevelInfo).WithAttrs([]slog.Attr{slog.String("a", "b")}).WithGroup("g")
	accessLog{h}.line(time.Time{}, slog.LevelInfo, "m", []slog.Attr{slog.Int("n", 1)})
	if want := "level=INFO msg=m a=b g.n=1\n"; b.String() != want {
		t.Errorf("got %q, want %q", b.String(), want)
	}
}

func TestAccessLogCostsNoAllocation(t *testing.T) {
	log := accessLog{newHandler(io.Discard, config.Text, slog.LevelInfo)}
	attrs := []slog.Attr{slog.String("id", "req_kb1"), slog.Int("attempts", 1)}
	at := time.Now()
	if n := testing.AllocsPerRun(100, func() { log.line(at, slog.LevelInfo, "exchange", attrs) }); n > 0 {
		t.Errorf("%v allocations, want none", n)
	}
}
