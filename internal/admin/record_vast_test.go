package admin

import (
	"math"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/ledger"
)

// A total that no number can say is as much as one can say.
func TestUsageIsVast(t *testing.T) {
	const each, picos = 922, 9_999_999_999_999_999
	dear := func(e *ledger.Exchange) { e.Charges[0].Picos = picos }
	var list []*ledger.Exchange
	for i := range each {
		at := time.Duration(i) * time.Millisecond
		list = append(list, asked(at, "ann", "s", dear), asked(at+10*time.Second, "bob", "s", dear))
	}
	a := newArchive(t, list...)
	var got struct {
		Rows  []sumView
		Total sumView
	}
	a.into("/usage?by=caller", &got)
	if got.Total.Requests != 2*each || got.Total.Picos != math.MaxInt64 || got.Total.USD != "9223372.036854775807" {
		t.Errorf("%+v", got.Total)
	}
	for _, row := range got.Rows {
		if d := cmp.Diff([]int64{each, each * picos}, []int64{row.Requests, row.Picos}); d != "" {
			t.Error(d)
		}
	}
}
