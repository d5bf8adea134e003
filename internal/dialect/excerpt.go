package dialect

import (
	"bytes"
	"slices"
	"strconv"
	"strings"
	"unicode/utf16"
	"unicode/utf8"
)

// Excerpt takes in a text that comes in pieces, counts it and keeps its beginning.
type Excerpt struct {
	Limit int // of what is kept, in bytes
	Size  int // of all of it, in bytes

	kept []byte
	half rune // what it ends with, if that may be the first half of a character whose other one is in the next piece
}

// Quoted adds what a JSON string says; any other value adds nothing.
func (x *Excerpt) Quoted(value []byte) {
	if len(value) <= len(`""`) || value[0] != '"' {
		return
	}
	rest := value[1 : len(value)-1]
	if x.half != 0 {
		rest = x.join(rest)
	}
	for {
		i := bytes.IndexByte(rest, '\\')
		if i < 0 {
			x.Raw(rest)
			return
		}
		if len(x.kept) >= x.Limit && i+1 < len(rest) && rest[i+1] != 'u' { // it only counts
			_, n := utf8.DecodeRune(rest[i+1:])
			x.Size += i + n
			rest = rest[i+1+n:]
			continue
		}
		x.Raw(rest[:i])
		var char [utf8.UTFMax]byte
		r, n := unescape(rest[i:])
		x.Raw(char[:utf8.EncodeRune(char[:], r)])
		if i+n == len(rest) && r == utf8.RuneError {
			x.half, _ = hex(rest[i:])
			return
		}
		rest = rest[i+n:]
	}
}

// join puts a character that two pieces have halves of in the place of its first one, if
// rest begins with the other, and returns what follows.
func (x *Excerpt) join(rest []byte) []byte {
	second, _ := hex(rest)
	r := utf16.DecodeRune(x.half, second)
	x.half = 0
	if r == utf8.RuneError {
		return rest
	}
	const half = len(string(utf8.RuneError))
	if len(x.kept) == x.Size {
		x.kept = x.kept[:x.Size-half]
	}
	x.Size -= half
	x.Raw(utf8.AppendRune(nil, r))
	return rest[len(`\u0000`):]
}

// Raw adds text as it stands.
func (x *Excerpt) Raw(text []byte) {
	if room := x.Limit - len(x.kept); room > 0 {
		x.kept = append(x.kept, text[:min(room, len(text))]...)
	}
	x.Size += len(text)
	x.half = 0
}

// Value adds what a JSON value says, if it is a string, and its bytes, if it is an object
// or an array; null, numbers and truth values add nothing.
func (x *Excerpt) Value(value []byte) {
	if len(value) == 0 {
		return
	}
	switch value[0] {
	case '"':
		x.Quoted(value)
	case '{', '[':
		x.Raw(value)
	}
}

// Reset forgets what was added, for a text that comes again.
func (x *Excerpt) Reset() { x.Size, x.kept, x.half = 0, nil, 0 }

// Text is what is kept, in whole characters.
func (x *Excerpt) Text() string { return string(x.Bytes()) }

// Bytes is Text, without a copy where what is kept does not change any more.
func (x *Excerpt) Bytes() []byte {
	kept := x.kept
	if x.half != 0 {
		kept = bytes.Clone(kept)
	}
	if len(kept) < x.Size {
		kept = whole(kept)
	}
	if utf8.Valid(kept) {
		return slices.Clip(kept)
	}
	return bytes.ToValidUTF8(kept, []byte("?")) // which makes nothing longer
}

// whole is text without the character at its end that was cut in two.
func whole(text []byte) []byte {
	for i := len(text) - 1; i >= 0 && i >= len(text)-utf8.UTFMax; i-- {
		if utf8.RuneStart(text[i]) {
			if !utf8.FullRune(text[i:]) {
				return text[:i]
			}
			break
		}
	}
	return text
}

// unescape reads the escape sequence at the beginning of s and returns how long it is.
// Of one that is none it returns what stands behind the backslash.
func unescape(s []byte) (r rune, n int) {
	if len(s) < len(`\n`) {
		return utf8.RuneError, len(s)
	}
	if i := strings.IndexByte(`"\/bfnrt`, s[1]); i >= 0 {
		return rune("\"\\/\b\f\n\r\t"[i]), len(`\n`)
	}
	if s[1] != 'u' {
		r, n = utf8.DecodeRune(s[1:])
		return r, 1 + n
	}
	const long = len(`\u0000`)
	r, ok := hex(s)
	if !ok {
		return utf8.RuneError, len(`\u`)
	}
	if !utf16.IsSurrogate(r) {
		return r, long
	}
	if second, ok := hex(s[long:]); ok {
		if pair := utf16.DecodeRune(r, second); pair != utf8.RuneError {
			return pair, 2 * long
		}
	}
	return utf8.RuneError, long
}

// hex reads the number of a \u escape.
func hex(s []byte) (rune, bool) {
	const long = len(`\u0000`)
	if len(s) < long || s[0] != '\\' || s[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(s[2:long]), 16, 16)
	return rune(n), err == nil
}
