package config_test

import (
	"testing"
	"time"

	"keybridge/internal/config"
)

func TestDays(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	tests := []struct {
		text    string
		want    time.Duration
		refused bool
	}{
		{text: "90d", want: 90 * day},
		{text: "1d12h30m", want: 36*time.Hour + 30*time.Minute},
		{text: "0.5d", want: 12 * time.Hour},
		{text: ".25d", want: 6 * time.Hour},
		{text: "+1.d", want: day},
		{text: "12h1d", want: 36 * time.Hour},
		{text: "0d", want: 0},
		{text: "106751d", want: 106751 * day},
		{text: "106752d", refused: true},                  // longer than a duration can be
		{text: "106751d24h", refused: true},               // in sum
		{text: "99999999999999999999999d", refused: true}, // as a number
		{text: "-1d", refused: true},
		{text: "1D", refused: true},
		{text: "d", refused: true},
		{text: "1 d", refused: true},
		{text: "1d-1h", refused: true},
	}
	for _, tt := range tests {
		c, err := config.Parse("k.yaml", []byte("providers: [{name: a, kind: openai}]\nrecord: {keep: {usage: \""+tt.text+"\"}}\n"), environment)
		if (err != nil) != tt.refused || err == nil && c.Record.Keep.Usage != tt.want {
			t.Errorf("%s: %v, want %v", tt.text, err, tt.want)
		}
	}
}
