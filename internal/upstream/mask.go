package upstream

import (
	"bytes"
	"cmp"
	"encoding/base64"
	"encoding/binary"
	"math/bits"
	"slices"
)

const (
	// pieceLen is the shortest piece of a secret that must not get out.
	pieceLen = 12
	// pieceLen64 is how many base64 characters such a piece decides alone, at
	// the worst alignment.
	pieceLen64 = 15
	// shortest is the length below which a "secret" is a placeholder (none,
	// dummy, ollama) that anyone can guess, and that stands in honest texts.
	shortest = 8
	gramLen  = 8
	stars    = "***"
)

// Masker replaces the secrets it was made for, and every piece of them of twelve
// characters or more, by ***: plain, JSON-escaped, URL-escaped (each up to three
// deep, in any mixture), and in base64 of either alphabet at any alignment. A
// secret of 8 to 11 characters is replaced as a whole, a shorter one not at all.
// It is safe for concurrent use.
type Masker struct {
	needles []needle
	grams   []gram // sorted
	filter  []uint64
	shift   int
}

// needle is one form of a secret; a match shorter than least is none.
type needle struct {
	text  []byte
	least int
}

// gram is a place in a needle. Of every piece of least characters it has at
// least one.
type gram struct {
	key    uint64
	needle int32
	at     int32
}

// NewMasker makes a Masker. Making one is dear and using it is cheap: keep one
// for each pool.
func NewMasker(secrets []string) *Masker {
	m := &Masker{}
	for _, s := range secrets {
		if len(s) >= shortest {
			m.needles = append(m.needles, needle{[]byte(s), min(len(s), pieceLen)})
			m.add64([]byte(s))
		}
	}
	for i, n := range m.needles {
		step := n.least - gramLen + 1
		for at := 0; at+gramLen <= len(n.text); at += step {
			m.grams = append(m.grams, gram{binary.LittleEndian.Uint64(n.text[at:]), int32(i), int32(at)})
		}
	}
	slices.SortFunc(m.grams, func(a, b gram) int { return cmp.Compare(a.key, b.key) })
	words := max(16, len(m.grams)/4) // 16 bits a gram
	width := bits.Len(uint(words-1)) + 6
	m.filter, m.shift = make([]uint64, 1<<(width-6)), 64-width
	for _, g := range m.grams {
		h := m.hash(g.key)
		m.filter[h>>6] |= 1 << (h & 63)
	}
	return m
}

// add64 adds what base64 makes of a secret at each alignment, without the outer
// characters that its neighbors share.
func (m *Masker) add64(secret []byte) {
	for pad := range 3 {
		padded := append(make([]byte, pad, pad+len(secret)), secret...)
		from, to := (8*pad+5)/6, 8*len(padded)/6
		std := []byte(base64.RawStdEncoding.EncodeToString(padded))[from:to]
		web := []byte(base64.RawURLEncoding.EncodeToString(padded))[from:to]
		least := len(std)
		if len(secret) >= pieceLen {
			least = pieceLen64
		}
		m.needles = append(m.needles, needle{std, least})
		if !bytes.Equal(std, web) {
			m.needles = append(m.needles, needle{web, least})
		}
	}
}

func (m *Masker) hash(key uint64) uint64 { return key * 0x9e3779b97f4a7c15 >> m.shift }

// Mask returns body without the secrets: body itself if there is none, and else
// a copy. JSON stays JSON.
func (m *Masker) Mask(body []byte) []byte {
	if len(m.grams) == 0 {
		return body
	}
	found := m.search(view{text: body}, depth, nil)
	if len(found) == 0 {
		return body
	}
	slices.SortFunc(found, func(a, b span) int { return cmp.Compare(a.from, b.from) })
	out := make([]byte, 0, len(body))
	done := 0
	for i := 0; i < len(found); {
		s := found[i]
		for i++; i < len(found) && found[i].from <= s.to; i++ {
			s.to = max(s.to, found[i].to)
		}
		s = wholeEscapes(body, s)
		s.from = max(s.from, done)
		out = append(append(out, body[done:s.from]...), stars...)
		done = s.to
	}
	return append(out, body[done:]...)
}

// values masks the values of a header: they are vs itself if there is no secret in
// them. The scratch is memory for the while.
func (m *Masker) values(vs []string, scratch *[]byte) (masked []string) {
	if m == nil || len(m.grams) == 0 {
		return vs
	}
	masked = vs
	for i, v := range vs {
		if len(v) < shortest {
			continue
		}
		*scratch = append((*scratch)[:0], v...)
		out := m.Mask(*scratch)
		if len(out) == len(v) && string(out) == v {
			continue
		}
		if &masked[0] == &vs[0] {
			masked = slices.Clone(vs)
		}
		masked[i] = string(out)
	}
	return masked
}

// wholeEscapes widens a span that begins or ends inside a JSON escape: a secret's
// n may be the n of \n, whose backslash must not stay alone.
func wholeEscapes(body []byte, s span) span {
	if at, _, ok := escapeAround(body, s.from); ok {
		s.from = at
	}
	if _, end, ok := escapeAround(body, s.to); ok {
		s.to = end
	}
	return s
}

// escapeAround finds the escape that begins before i and ends after it.
func escapeAround(body []byte, i int) (from, to int, ok bool) {
	for at := i - 1; at >= max(0, i-5); at-- {
		if body[at] != '\\' {
			continue
		}
		first := at // of a row of backslashes, every second one is an escaped one
		for first > 0 && body[first-1] == '\\' {
			first--
		}
		at -= (at - first) % 2
		size := 2
		if at+1 < len(body) && body[at+1] == 'u' {
			size = 6
		}
		return at, min(at+size, len(body)), at+size > i
	}
	return 0, 0, false
}

// search appends the spans of the body that hold secrets as v shows them, and as
// the views under it do.
func (m *Masker) search(v view, depth int, found []span) []span {
	for p := 0; p+gramLen <= len(v.text); p++ {
		key := binary.LittleEndian.Uint64(v.text[p:])
		if h := m.hash(key); m.filter[h>>6]&(1<<(h&63)) == 0 {
			continue
		}
		if from, to := m.match(v.text, p, key); from < to {
			found = append(found, v.span(from, to))
			// What is left of another match outside is either found there or
			// shorter than a piece.
			p = to - 1
		}
	}
	if depth == 0 {
		return found
	}
	for _, unescape := range []func(view) (view, bool){unescapeJSON, unescapeURL} {
		if under, ok := unescape(v); ok {
			found = m.search(under, depth-1, found)
		}
	}
	return found
}

// match returns the union of all matches that hold the gram at p.
func (m *Masker) match(text []byte, p int, key uint64) (from, to int) {
	i, ok := slices.BinarySearchFunc(m.grams, key, func(g gram, k uint64) int { return cmp.Compare(g.key, k) })
	if !ok {
		return 0, 0
	}
	from, to = p, p
	for ; i < len(m.grams) && m.grams[i].key == key; i++ {
		n, at := m.needles[m.grams[i].needle], int(m.grams[i].at)
		l, r := 0, gramLen
		for l < at && l < p && n.text[at-l-1] == text[p-l-1] {
			l++
		}
		for at+r < len(n.text) && p+r < len(text) && n.text[at+r] == text[p+r] {
			r++
		}
		if l+r >= n.least {
			from, to = min(from, p-l), max(to, p+r)
		}
	}
	return from, to
}
