package main

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestNumbersForPeople(t *testing.T) {
	t.Parallel()
	for n, want := range map[int64]string{
		0: "0", 7: "7", 999: "999", 1000: "1,000", 12345: "12,345", 1234567: "1,234,567", -1234: "-1,234", math.MaxInt64: "9,223,372,036,854,775,807",
	} {
		if got := grouped(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for picos, want := range map[int64]string{
		0: "0.0000", 1: "<0.0001", 49_999_999: "<0.0001", 50_000_000: "0.0001", 149_999_999: "0.0001", 1_234_560_000_000: "1.2346",
		999_999_960_000_000: "1,000.0000", 1_234_567_890_123_456_789: "1,234,567.8901",
		math.MaxInt64 - 1: "9,223,372.0369", math.MaxInt64: ">9,223,372.0368",
	} {
		if got := dollars(picos); got != want {
			t.Errorf("%d: %s, want %s", picos, got, want)
		}
	}
	for n, want := range map[int64]string{0: "0 requests", 1: "1 request", 1000: "1,000 requests"} {
		if got := counted(n, "request"); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
	for d, want := range map[time.Duration]string{
		0: "0s", 1500 * time.Nanosecond: "2µs", 1234 * time.Microsecond: "1ms", 999 * time.Millisecond: "999ms", 12345 * time.Millisecond: "12.35s",
		61 * time.Second: "1m1s", 26 * time.Hour: "1d2h",
	} {
		if got := brief(d); got != want {
			t.Errorf("%s: %s, want %s", d, got, want)
		}
	}
}

// A table that is too wide loses what nobody needs whole, but not all of it.
func TestNarrowTable(t *testing.T) {
	t.Parallel()
	for most, want := range map[int]string{
		0:  "A       LONG                  Z\nneeded  äbcdefghijklmnopqrst  9\n",
		31: "A       LONG                  Z\nneeded  äbcdefghijklmnopqrst  9\n",
		30: "A       LONG                 Z\nneeded  äbcdefghijklmnopqr…  9\n",
		5:  "A       LONG          Z\nneeded  äbcdefghijk…  9\n",
	} {
		narrow := table{most: most}
		narrow.text("A")
		narrow.cut("LONG")
		narrow.numbers("Z")
		narrow.row("needed", "äbcdefghijklmnopqrst", "9")
		var b bytes.Buffer
		narrow.write(&b)
		if diff := cmp.Diff(want, b.String()); diff != "" {
			t.Errorf("%d wide (-want +got):\n%s", most, diff)
		}
	}
}

func TestUsageTable(t *testing.T) {
	t.Parallel()
	if got := (&chosen{From: new("7d"), Key: new("no key"), Caller: new("nobody")}).filters(); got != " of --caller=nobody --key='no key'" {
		t.Errorf("filters: %q", got)
	}
	tests := []struct{ name, answer, want string }{
		{"nothing", `{"by":[],"per":"all","rows":[],"total":{}}`, "nothing was recorded at any time\n"},
		{"nothing since", `{"rows":[],"from":"2026-11-01T00:00:00Z","to":"2026-12-01T00:00:00Z"}`, "nothing was recorded from 2026-11-01 00:00 UTC until 2026-12-01 00:00 UTC\n"},
		{
			"total only", `{"by":[],"per":"all","to":"2026-12-01T00:00:00Z","rows":[{"requests":3}],"total":{"requests":3,"usage":{"input":1234567,"cache_read":1,"cache_write":2,"output":3,"reasoning":4},"cost_picos":5000000000000}}`,
			`       REQUESTS      INPUT  CACHE READ  CACHE WRITE  OUTPUT  REASONING  COST USD
TOTAL         3  1,234,567           1            2       3          4    5.0000

before 2026-12-01 00:00 UTC
`,
		},
		{
			"groups", `{"by":["caller","model"],"per":"hour","from":"2026-11-23T08:00:00+01:00","rows":[
				{"at":"2026-11-23T09:00:00Z","by":{"caller":"äöü","model":"gpt-5"},"requests":12,"usage":{"input":1000,"output":20},"searches":2,"cost_picos":1230000000000},
				{"at":"2026-11-23T09:00:00Z","by":{"caller":"","model":"\u001b[31mred\nline\u202e"},"requests":1,"usage":{"input":5},"cost_picos":1,"unpriced_tokens":5}],
				"total":{"requests":13,"usage":{"input":1005,"output":20},"searches":2,"cost_picos":1230000000001,"unpriced_tokens":5}}`,
			`HOUR              CALLER  MODEL           REQUESTS  INPUT  CACHE READ  CACHE WRITE  OUTPUT  REASONING  SEARCHES  COST USD  UNPRICED
2026-11-23 09:00  äöü     gpt-5                 12  1,000           0            0      20          0         2    1.2300         0
2026-11-23 09:00  -        [31mred line          1      5           0            0       0          0         0   <0.0001         5
TOTAL                                           13  1,005           0            0      20          0         2    1.2300         5

from 2026-11-23 07:00 UTC until now
UNPRICED are tokens that no price is known for: they are not in the cost, see prices in the configuration
`,
		},
		{
			"unreported", `{"by":["caller"],"per":"all","rows":[{"by":{"caller":"ann"},"requests":3,"unreported":2},{"by":{"caller":"bob"},"requests":1}],"total":{"requests":4,"unreported":2}}`,
			`CALLER  REQUESTS  INPUT  CACHE READ  CACHE WRITE  OUTPUT  REASONING  COST USD  UNREPORTED
ann            3      0           0            0       0          0    0.0000           2
bob            1      0           0            0       0          0    0.0000           0
TOTAL          4      0           0            0       0          0    0.0000           2

at any time
UNREPORTED are requests some of whose tokens no provider has reported: those are not counted. With meter: true chat streams report theirs
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var u shownUsage
			if err := json.Unmarshal([]byte(tt.answer), &u); err != nil {
				t.Fatal(err)
			}
			var b bytes.Buffer
			u.print(&b, (&chosen{To: new("1h")}).filters())
			if diff := cmp.Diff(strings.TrimLeft(tt.want, "\n"), b.String()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}
