package upstream

import (
	"bytes"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// depth is how many layers of escapes are looked under.
const depth = 3

// span is a stretch of a body.
type span struct{ from, to int }

// view is a body with a layer of escapes, or several, taken off. origin says
// where each byte stands in the body; nil: at its own place.
type view struct {
	text   []byte
	origin []span
}

func (v view) span(from, to int) span {
	if v.origin == nil {
		return span{from, to}
	}
	return span{v.origin[from].from, v.origin[to-1].to}
}

// unescapeJSON takes off one layer of JSON string escapes.
func unescapeJSON(v view) (view, bool) { return v.unescape('\\', jsonEscape) }

// unescapeURL takes off one layer of percent escapes.
func unescapeURL(v view) (view, bool) { return v.unescape('%', urlEscape) }

// unescape replaces each escape that parse knows: parse appends what the escape
// at the start of its text stands for, and says how long it is, or 0.
func (v view) unescape(mark byte, parse func(out, text []byte) ([]byte, int)) (view, bool) {
	first := bytes.IndexByte(v.text, mark)
	if first < 0 {
		return view{}, false
	}
	out := view{text: make([]byte, 0, len(v.text)), origin: make([]span, 0, len(v.text))}
	changed := false
	for i := 0; i < len(v.text); {
		size := 0
		if v.text[i] == mark {
			out.text, size = parse(out.text, v.text[i:])
			changed = changed || size > 0
		}
		if size == 0 {
			out.text, size = append(out.text, v.text[i]), 1
		}
		for origin := v.span(i, i+size); len(out.origin) < len(out.text); {
			out.origin = append(out.origin, origin)
		}
		i += size
	}
	return out, changed
}

func urlEscape(out, text []byte) ([]byte, int) {
	if len(text) < 3 {
		return out, 0
	}
	c, err := strconv.ParseUint(string(text[1:3]), 16, 8)
	if err != nil {
		return out, 0
	}
	return append(out, byte(c)), 3
}

func jsonEscape(out, text []byte) ([]byte, int) {
	if len(text) < 2 {
		return out, 0
	}
	if i := bytes.IndexByte([]byte(`"\/bfnrt`), text[1]); i >= 0 {
		return append(out, "\"\\/\b\f\n\r\t"[i]), 2
	}
	r, ok := unicodeEscape(text)
	if !ok {
		return out, 0
	}
	if utf16.IsSurrogate(r) {
		if low, pair := unicodeEscape(text[6:]); pair {
			if full := utf16.DecodeRune(r, low); full != utf8.RuneError {
				return utf8.AppendRune(out, full), 12
			}
		}
	}
	return utf8.AppendRune(out, r), 6
}

func unicodeEscape(text []byte) (rune, bool) {
	if len(text) < 6 || text[0] != '\\' || text[1] != 'u' {
		return 0, false
	}
	c, err := strconv.ParseUint(string(text[2:6]), 16, 16)
	return rune(c), err == nil
}
