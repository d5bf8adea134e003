package price

import (
	"math"
	"math/big"
	"strings"
	"testing"
)

func TestParse(t *testing.T) {
	tests := []struct {
		text   string
		places int
		want   int64
		wrong  string // part of the error
	}{
		{"0", 6, 0, ""},
		{"2.50", 6, 2_500_000, ""},
		{"0.003625", 6, 3625, ""},
		{"0.000001", 6, 1, ""},
		{"0.0000010", 6, 1, ""},
		{"007", 6, 7_000_000, ""},
		{"1.25", 9, 1_250_000_000, ""},
		{"9223372036854.775807", 6, math.MaxInt64, ""},
		{"9223372036854.775808", 6, 0, "more than can be counted"},
		{"99999999999999999999999999", 6, 0, "more than can be counted"},
		{"0.0000001", 6, 0, "at most 6 decimal places"},
		{"0.0000000001", 9, 0, "at most 9 decimal places"},
		{"", 6, 0, "plain decimal"},
		{".5", 6, 0, "plain decimal"},
		{"5.", 6, 0, "plain decimal"},
		{"-1", 6, 0, "plain decimal"},
		{"+1", 6, 0, "plain decimal"},
		{"1e3", 6, 0, "plain decimal"},
		{"1_000", 6, 0, "plain decimal"},
		{"1,5", 6, 0, "plain decimal"},
		{"$1", 6, 0, "plain decimal"},
		{" 1", 6, 0, "plain decimal"},
		{"1.2.3", 6, 0, "plain decimal"},
		{"٣", 6, 0, "plain decimal"},
		{"NaN", 6, 0, "plain decimal"},
		{strings.Repeat("x", 1000), 6, 0, "x…"},
	}
	for _, tt := range tests {
		got, err := parse(tt.text, tt.places)
		switch {
		case tt.wrong == "" && (err != nil || got != tt.want):
			t.Errorf("%q: %d, %v; want %d", tt.text, got, err, tt.want)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong) || len(err.Error()) > 200):
			t.Errorf("%q: %v, want an error with %q", tt.text, err, tt.wrong)
		}
	}
}

// What is accepted is exactly the number that was written, and reads back.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"0", "2.5", "0.000001", "9223372036854.775807", "1e9", "-1", "00.10", ".", "1.0000000"} {
		f.Add(s, 6)
	}
	f.Fuzz(func(t *testing.T, s string, places int) {
		places = 6 + places&3
		n, err := parse(s, places)
		if err != nil {
			return
		}
		exact, ok := new(big.Rat).SetString(s)
		if !ok {
			t.Fatalf("%q was accepted", s)
		}
		exact.Mul(exact, new(big.Rat).SetInt(new(big.Int).Exp(big.NewInt(10), big.NewInt(int64(places)), nil)))
		if exact.Cmp(new(big.Rat).SetInt64(n)) != 0 {
			t.Fatalf("%q is %d", s, n)
		}
		again, err := parse(format(n, places), places)
		if err != nil || again != n {
			t.Fatalf("%q, written %q, reads %d, %v", s, format(n, places), again, err)
		}
	})
}

func TestFormat(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1: "0.000001", 2_500_000: "2.5", 10_000_000: "10", math.MaxInt64: "9223372036854.775807", unknown: ""} {
		if got := format(n, perMillion); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}

func TestRatio(t *testing.T) {
	tests := []struct {
		text        string
		price, want int64
	}{
		{"1/2", 5_000_000, 2_500_000},
		{"1/2", 1, 1}, // a half goes up
		{"1/3", 1, 0},
		{"2/3", 1, 1},
		{"1/3", 10, 3},
		{"2", 7, 14},
		{"0", 7, 0},
		{"1", math.MaxInt64, math.MaxInt64},
		{"3/2", math.MaxInt64, math.MaxInt64},
		{"9223372036854775807", math.MaxInt64, math.MaxInt64},
		{"9223372036854775807/9223372036854775807", math.MaxInt64, math.MaxInt64},
		{"1/2", unknown, unknown},
	}
	for _, tt := range tests {
		r, err := parseRatio(tt.text)
		if err != nil {
			t.Fatal(err)
		}
		if got := r.of(tt.price); got != tt.want {
			t.Errorf("%s of %d: %d, want %d", tt.text, tt.price, got, tt.want)
		}
	}
	for _, bad := range []string{"", "x", "1/0", "-1", "1/-2", "1/2/3", "0.5", "1/"} {
		if _, err := parseRatio(bad); err == nil {
			t.Errorf("%q is a ratio", bad)
		}
	}
}

// FuzzSum holds the arithmetic against the one that never overflows.
func FuzzSum(f *testing.F) {
	f.Add(int64(1), int64(2), int64(3), int64(4), int64(5))
	f.Add(int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(math.MaxInt64), int64(1))
	f.Fuzz(func(t *testing.T, a, b, c, d, e int64) {
		for _, p := range []*int64{&a, &b, &c, &d, &e} {
			*p = max(*p, -(*p + 1), 0)
		}
		var s sum
		s.add(a, b)
		s.add(c, d)
		s.add(e, e)
		exact := new(big.Int)
		for _, p := range [][2]int64{{a, b}, {c, d}, {e, e}} {
			exact.Add(exact, new(big.Int).Mul(big.NewInt(p[0]), big.NewInt(p[1])))
		}
		want := int64(math.MaxInt64)
		if exact.IsInt64() {
			want = exact.Int64()
		}
		if got := s.picos(); got != want {
			t.Errorf("%d, want %d", got, want)
		}
		if b > 0 {
			q := new(big.Int).Mul(big.NewInt(a), big.NewInt(c))
			q.Add(q, big.NewInt(b/2)).Quo(q, big.NewInt(b))
			want = math.MaxInt64
			if q.IsInt64() {
				want = q.Int64()
			}
			if got := (ratio{c, b}).of(a); got != want {
				t.Errorf("%d·%d/%d: %d, want %d", a, c, b, got, want)
			}
		}
	})
}
