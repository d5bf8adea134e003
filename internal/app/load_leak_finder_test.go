package app_test

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
)

// finder finds pieces of secrets, whatever they are wrapped in.
type finder struct {
	pieces map[[leakPiece]byte]string // whose piece it is
	first  [1 << 16]bool              // the two bytes that a piece begins with
}

func newFinder(secrets []string) *finder {
	f := &finder{pieces: map[[leakPiece]byte]string{}}
	for _, s := range secrets {
		for i := 0; i+leakPiece <= len(s); i++ {
			f.pieces[[leakPiece]byte([]byte(s[i:i+leakPiece]))] = s
			f.first[int(s[i])<<8|int(s[i+1])] = true
		}
	}
	return f
}

// leakDepth is how many layers of escapes are looked under.
const leakDepth = 3

// find returns a secret of which the text shows a piece, but for those of the
// caller's own; "" if there is none.
func (f *finder) find(text []byte, own ...string) string { return f.under(text, leakDepth, own) }

func (f *finder) under(text []byte, depth int, own []string) string {
	if s := f.plain(text, own); s != "" || depth == 0 {
		return s
	}
	for _, strip := range []func([]byte) []byte{withoutJSON, withoutPercent} {
		if under := strip(text); under != nil {
			if s := f.under(under, depth-1, own); s != "" {
				return s
			}
		}
	}
	for i := 0; i < len(text); {
		from := i
		for i < len(text) && base64Digit[text[i]] {
			i++
		}
		if i-from >= leakPiece {
			if s := f.base64(text[from:i], own); s != "" {
				return s
			}
		}
		i++
	}
	return ""
}

// withoutJSON takes one layer of JSON's escapes off; nil: there is none.
func withoutJSON(text []byte) []byte {
	if bytes.IndexByte(text, '\\') < 0 {
		return nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch {
		case text[i] != '\\' || i+1 == len(text):
			out = append(out, text[i])
		case text[i+1] == 'u' && i+5 < len(text):
			c, err := strconv.ParseUint(string(text[i+2:i+6]), 16, 8)
			if err != nil {
				out = append(out, text[i])
				continue
			}
			out, i = append(out, byte(c)), i+5
		default:
			out, i = append(out, text[i+1]), i+1
		}
	}
	return out
}

// withoutPercent takes one layer of URL escapes off; nil: there is none.
func withoutPercent(text []byte) []byte {
	if bytes.IndexByte(text, '%') < 0 {
		return nil
	}
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] == '%' && i+2 < len(text) {
			if c, err := strconv.ParseUint(string(text[i+1:i+3]), 16, 8); err == nil {
				out, i = append(out, byte(c)), i+2
				continue
			}
		}
		out = append(out, text[i])
	}
	return out
}

var base64Digit = func() (set [256]bool) {
	for _, c := range []byte(alnum + "+/-_") {
		set[c] = true
	}
	return set
}()

// base64 decodes the run from each of its places in a group of four.
func (f *finder) base64(run []byte, own []string) string {
	run = bytes.ReplaceAll(bytes.ReplaceAll(run, []byte("-"), []byte("+")), []byte("_"), []byte("/"))
	for at := range 4 {
		part := run[at:]
		if len(part)%4 == 1 {
			part = part[:len(part)-1]
		}
		decoded, _ := base64.RawStdEncoding.AppendDecode(nil, part) // of these digits and this length, it is well-formed
		if s := f.plain(decoded, own); s != "" {
			return s
		}
	}
	return ""
}

func (f *finder) plain(text []byte, own []string) string {
	for i := 0; i+leakPiece <= len(text); i++ {
		if !f.first[int(text[i])<<8|int(text[i+1])] {
			continue
		}
		if s, ok := f.pieces[[leakPiece]byte(text[i:])]; ok && !slices.ContainsFunc(own, func(o string) bool {
			return strings.Contains(o, string(text[i:i+leakPiece]))
		}) {
			return s
		}
	}
	return ""
}
