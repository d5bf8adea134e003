package auth

import (
	"testing"

	"keybridge/internal/ledger"
)

// What only resembles a token opens nothing, however much of it is right.
func TestNearlyAToken(t *testing.T) {
	gate := New([]Token{{Name: "alice", Secret: tokenA}})
	for name, credential := range map[string]string{
		"a longer one":    tokenA + "0",
		"one doubled":     tokenA + tokenA,
		"one in a list":   tokenA + "," + tokenB,
		"a shorter one":   tokenA[:len(tokenA)-1],
		"its end":         tokenA[1:],
		"its first half":  tokenA[:len(tokenA)/2],
		"the last is off": tokenA[:len(tokenA)-1] + "_",
	} {
		t.Run(name, func(t *testing.T) {
			for _, header := range [][]string{
				{"Authorization", "Bearer " + credential}, {"X-Api-Key", credential}, {"Api-Key", credential}, {TokenHeader, credential},
			} {
				if p, f := gate.Identify(request("127.0.0.1", header...)); f == nil || p != (ledger.Principal{}) {
					t.Errorf("%s: let in as %+v", header[0], p)
				}
			}
		})
	}
}
