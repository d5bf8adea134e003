package store_test

import (
	"math"
	"math/big"
	"strings"
	"testing"

	"keybridge/internal/store"
)

func TestUSD(t *testing.T) {
	for picos, want := range map[int64]string{
		0: "0.00", 1: "0.000000000001", 10_000_000_000: "0.01", 1_500_000_000_000: "1.50", -1_234_560_000_000: "-1.23456",
		999_999_999_999: "0.999999999999", 12_000_000_000_000_000: "12000.00", math.MaxInt64: "9223372.036854775807", math.MinInt64: "-9223372.036854775808",
	} {
		if got := store.USD(picos); got != want {
			t.Errorf("%d: %s, want %s", picos, got, want)
		}
	}
}

// What it writes is the number itself.
func FuzzUSD(f *testing.F) {
	f.Add(int64(123_400_000_000))
	f.Fuzz(func(t *testing.T, picos int64) {
		text := store.USD(picos)
		got, ok := new(big.Rat).SetString(text)
		if !ok || got.Cmp(big.NewRat(picos, 1_000_000_000_000)) != 0 {
			t.Errorf("%d: %s", picos, text)
		}
		if _, decimals, _ := strings.Cut(text, "."); len(decimals) < 2 || len(decimals) > 2 && strings.HasSuffix(decimals, "0") {
			t.Errorf("%d: %s", picos, text)
		}
	})
}
