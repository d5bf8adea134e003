package app

import (
	"io"
	"log/slog"
	"strconv"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"
)

// textHandler is slog's, with a shorter way for the access log, which is most of
// what is logged: the same bytes for a third of the time.
type textHandler struct {
	slog.Handler
	to io.Writer
}

var texts = sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }} //nolint:gochecknoglobals // a pool

// line writes a record without a place in the code. Keys must need no quotes.
func (h *textHandler) line(at time.Time, level slog.Level, message string, attrs []slog.Attr) {
	room := texts.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put in
	b := (*room)[:0]
	if !at.IsZero() {
		b = append(appendMillis(append(b, "time="...), at), ' ')
	}
	b = append(append(b, "level="...), level.String()...)
	b = appendText(append(b, " msg="...), message)
	for i := range attrs {
		b = append(append(append(b, ' '), attrs[i].Key...), '=')
		b = appendValue(b, attrs[i].Value)
	}
	b = append(b, '\n')
	_, _ = h.to.Write(b) // there is nowhere to complain
	*room = b
	texts.Put(room)
}

// appendMillis has always three digits behind the second.
func appendMillis(b []byte, t time.Time) []byte {
	n := len(b) + len("2006-01-02T15:04:05.000")
	// RFC3339Nano drops zeros at the end, so there is a fourth digit that is none.
	b = t.Truncate(time.Millisecond).Add(time.Millisecond/10).AppendFormat(b, time.RFC3339Nano)
	return append(b[:n], b[n+1:]...)
}

func appendValue(b []byte, v slog.Value) []byte {
	switch v.Kind() { //nolint:exhaustive // of the others the access log has none
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10)
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool())
	case slog.KindDuration:
		return append(b, v.Duration().String()...)
	}
	return appendText(b, v.String())
}

func appendText(b []byte, s string) []byte {
	if needsQuotes(s) {
		return strconv.AppendQuote(b, s)
	}
	return append(b, s...)
}

func needsQuotes(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case c <= ' ', c == '"', c == '=':
			return true
		case c >= utf8.RuneSelf:
			return needsQuotesBeyondASCII(s[i:])
		}
	}
	return s == ""
}

func needsQuotesBeyondASCII(s string) bool {
	for _, r := range s {
		switch {
		case r == utf8.RuneError, unicode.IsSpace(r), r == '"', r == '=':
			return true
		case r >= utf8.RuneSelf && !unicode.IsPrint(r), r < ' ':
			return true
		}
	}
	return false
}
