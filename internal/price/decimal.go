package price

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strconv"
	"strings"
)

// How many decimal places turn a price into picodollars: of a token, where it is
// quoted in dollars per million tokens, and of a search, per thousand.
const (
	perMillion  = 6
	perThousand = 9
)

// unknown is the price nobody has told.
const unknown = -1

// parse reads a plain decimal number exactly, as an integer of so many decimal places.
func parse(s string, places int) (int64, error) {
	whole, part, point := strings.Cut(s, ".")
	if !digits(whole) || point && !digits(part) {
		return 0, fmt.Errorf("%q is not a plain decimal number of dollars such as 2.50", clip(s))
	}
	part = strings.TrimRight(part, "0")
	if len(part) > places {
		return 0, fmt.Errorf("%q is finer than a picodollar a piece: at most %d decimal places", clip(s), places)
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", places-len(part)), 10, 64)
	if err != nil {
		return 0, fmt.Errorf("%q is more than can be counted", clip(s))
	}
	return n, nil
}

// format is parse backwards.
func format(n int64, places int) string {
	if n < 0 {
		return ""
	}
	s := strconv.FormatInt(n, 10)
	if len(s) <= places {
		s = strings.Repeat("0", places+1-len(s)) + s
	}
	whole, part := s[:len(s)-places], strings.TrimRight(s[len(s)-places:], "0")
	if part == "" {
		return whole
	}
	return whole + "." + part
}

// digits says whether s is one or more of them.
func digits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// clip keeps what is quoted short.
func clip(s string) string {
	if len(s) > 40 {
		return s[:40] + "…"
	}
	return s
}

// ratio is a factor of prices.
type ratio struct{ num, den int64 }

// parseRatio reads "1/2", or "2".
func parseRatio(s string) (ratio, error) {
	a, b, fraction := strings.Cut(s, "/")
	if !fraction {
		b = "1"
	}
	num, err1 := strconv.ParseInt(a, 10, 64)
	den, err2 := strconv.ParseInt(b, 10, 64)
	if errors.Join(err1, err2) != nil || num < 0 || den <= 0 {
		return ratio{}, fmt.Errorf("%q is no ratio such as 1/2", clip(s))
	}
	return ratio{num, den}, nil
}

// of is the price times the ratio, rounded to a whole picodollar, a half upwards.
func (r ratio) of(price int64) int64 {
	if price < 0 {
		return unknown
	}
	hi, lo := bits.Mul64(uint64(price), uint64(r.num)) //nolint:gosec // neither is negative
	lo, carry := bits.Add64(lo, uint64(r.den)/2, 0)    //nolint:gosec // it is positive
	hi += carry
	if hi >= uint64(r.den) { //nolint:gosec // it is positive
		return math.MaxInt64
	}
	q, _ := bits.Div64(hi, lo, uint64(r.den)) //nolint:gosec // it is positive
	return int64(min(q, math.MaxInt64))
}

// sum adds up what tokens cost: in 128 bits, so that it is exact until it is read, and
// then stops at the most an int64 holds rather than wrapping round.
type sum struct{ hi, lo uint64 }

// add takes neither a negative number nor a negative price.
func (s *sum) add(n, price int64) {
	hi, lo := bits.Mul64(uint64(n), uint64(price)) //nolint:gosec // neither is negative
	var carry uint64
	s.lo, carry = bits.Add64(s.lo, lo, 0)
	s.hi += hi + carry // at most a few products of 63 bits: far from full
}

func (s *sum) picos() int64 {
	if s.hi > 0 || s.lo > math.MaxInt64 {
		return math.MaxInt64
	}
	return int64(s.lo)
}

// plus adds counts, and stops at the most.
func plus(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
