package dialect_test

import (
	"testing"

	"keybridge/internal/dialect"
)

// A character may come in two pieces, each with an escaped half of it.
func TestExcerptOfHalves(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		pieces []string
		want   string
	}{
		{[]string{`"a\ud83d"`, `"\ude00b"`}, "a😀b"},
		{[]string{`"\ud83d"`, `""`, `null`, `"\ude00"`}, "😀"},
		{[]string{`"\ud83d"`, `"\ude00\ud83d"`, `"\ude00"`}, "😀😀"},
		{[]string{`"\ud83d\ude00"`, `"\ude00"`}, "😀\uFFFD"},
		{[]string{`"\ud83d"`}, "\uFFFD"},
		{[]string{`"\ud83d"`, `"\ud83d"`, `"\ude00"`}, "\uFFFD😀"},
		{[]string{`"\ud83d"`, `"\u0061"`, `"\ude00"`}, "\uFFFDa\uFFFD"},
		{[]string{`"\ud83d"`, `"a"`, `"\ude00"`}, "\uFFFDa\uFFFD"},
		{[]string{`"\ud83d"`, `"\n"`, `"\ude00"`}, "\uFFFD\n\uFFFD"},
		{[]string{`"\ud83d"`, `[]`, `"\ude00"`}, "\uFFFD[]\uFFFD"},
		{[]string{`"\ud83d\\"`, `"\ude00"`}, "\uFFFD\\\uFFFD"},
		{[]string{`"\ufffd"`, `"\ude00"`}, "\uFFFD\uFFFD"},
	} {
		for limit := range len(c.want) + 2 {
			x := dialect.Excerpt{Limit: limit}
			told, was := [][]byte{}, []string{}
			for _, piece := range c.pieces {
				x.Value([]byte(piece))
				told, was = append(told, x.Bytes()), append(was, x.Text())
			}
			want := ""
			for i := range c.want + "x" { // of each character
				if i <= limit {
					want = c.want[:i]
				}
			}
			if got := x.Text(); got != want || x.Size != len(c.want) {
				t.Errorf("%s: %q of %d with limit %d, want %q of %d", c.pieces, got, x.Size, limit, want, len(c.want))
			}
			for i := range told {
				if string(told[i]) != was[i] {
					t.Errorf("%s: what was told as %q is now %q", c.pieces, was[i], told[i])
				}
			}
		}
	}
}
