package price

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What a list leaves out.
func TestGapsInAList(t *testing.T) {
	const base = `"input":"10","output":"20","cache_read":"1","cache_write":"12","cache_write_long":"15"`
	tests := []struct {
		name, model string
		overrides   []Override
		want        Model // without the names
	}{
		{
			"no price of a cache", `"input":"10","output":"20"`, nil,
			Model{Prices: Prices{"10", "20", "10", "10", "10"}, Tiers: []Tier{{"flex", Prices{"5", "10", "5", "5", "5"}, nil}}},
		},
		{
			"no price of an hour's cache, where minutes cost extra", `"input":"10","output":"20","cache_write":"12"`, nil,
			Model{Prices: Prices{"10", "20", "10", "12", ""}, Tiers: []Tier{{"flex", Prices{"5", "10", "5", "6", ""}, nil}}},
		},
		{
			"a tier's own, without caches that have a price", base + `,"tiers":{"fast":{"input":"30","output":"60"}}`, nil,
			Model{Prices: Prices{"10", "20", "1", "12", "15"}, Tiers: []Tier{{"fast", Prices{"30", "60", "", "", ""}, nil}, {"flex", Prices{"5", "10", "0.5", "6", "7.5"}, nil}}},
		},
		{
			"a tier's own, where an hour costs extra", `"input":"10","output":"20","cache_write_long":"15","tiers":{"fast":{"input":"30","output":"60"}}`, nil,
			Model{Prices: Prices{"10", "20", "10", "10", "15"}, Tiers: []Tier{{"fast", Prices{"30", "60", "30", "30", ""}, nil}, {"flex", Prices{"5", "10", "5", "5", "7.5"}, nil}}},
		},
		{
			"the model's tier before the vendor's", `"input":"10","output":"20","tiers":{"flex":"1/4"}`, nil,
			Model{Prices: Prices{"10", "20", "10", "10", "10"}, Tiers: []Tier{{"flex", Prices{"2.5", "5", "2.5", "2.5", "2.5"}, nil}}},
		},
		{
			"long requests: what stays is not repeated", base + `,"above":9,"long":{"input":"20"}`, nil,
			Model{
				Prices: Prices{"10", "20", "1", "12", "15"}, Above: 9, Long: &Prices{"20", "20", "1", "12", "15"},
				Tiers: []Tier{{"flex", Prices{"5", "10", "0.5", "6", "7.5"}, &Prices{"10", "10", "0.5", "6", "7.5"}}},
			},
		},
		{
			"nothing to be in proportion to", `"input":"0","output":"20","cache_write":"3"`,
			[]Override{{Model: "m", Input: "2"}},
			Model{Prices: Prices{"2", "20", "2", "2", ""}, Tiers: []Tier{{"flex", Prices{"2", "10", "2", "1", ""}, nil}}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			b, err := readBook([]byte(`{"vendors":[{"id":"v","tiers":{"flex":"1/2"},"models":[{"id":"m",` + tt.model + `}]}]}`))
			if err != nil {
				t.Fatal(err)
			}
			overrides, err := readOverrides(tt.overrides)
			if err != nil {
				t.Fatal(err)
			}
			tt.want.Vendor, tt.want.ID = "v", "m"
			if diff := cmp.Diff([]Model{tt.want}, (&List{book: b, overrides: overrides}).Models()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A list that would charge something wrong is not read.
func TestWrongLists(t *testing.T) {
	const good = `"id":"m","input":"1","output":"2"`
	tests := []struct{ model, wrong string }{
		{good, ""},
		{good + `,"above":9,"long":{"input":"2","output":"3"}`, ""},
		{good + `,"then":[{"from":"2027-01-01","input":"1","output":"2"}]`, ""},
		{`"id":"m","input":"1"`, "no price of input and output"},
		{`"id":"m","input":"1","output":"x"`, "plain decimal"},
		{`"id":"m","input":"1","output":"0.0000001"`, "finer than a picodollar"},
		{good + `,"search":"-1"`, "plain decimal"},
		{good + `,"above":9`, "above without long"},
		{good + `,"long":{"input":"1"}`, "long without above"},
		{good + `,"above":9,"long":{"input":"1x"}`, "plain decimal"},
		{good + `,"names":["m"]`, "two models are called m"},
		{good + `,"from":"2027-01-01"`, "holds always"},
		{good + `,"hours":"01:00-02:00"`, "holds always"},
		{good + `,"weekdays":true`, "holds always"},
		{good + `,"then":[{"from":"2027-13-01","input":"1","output":"2"}]`, "month out of range"},
		{good + `,"then":[{"hours":"night","input":"1","output":"2"}]`, `hours "night"`},
		{good + `,"then":[{"from":"2027-01-01","input":"1"}]`, "no price of input and output"},
		{good + `,"tiers":{"flex":"half"}`, "tier flex"},
		{good + `,"tiers":{"flex":{"input":"half"}}`, "tier flex"},
		{good + `,"tiers":{"flex":7}`, "cannot unmarshal"},
		{good + `,"tiers":{"flex":{"input":"1"}},"then":[{"from":"2027-01-01","input":"1","output":"2"}]`, "changes its own with time"},
	}
	for _, tt := range tests {
		_, err := readBook([]byte(`{"date":"2026-01-01","vendors":[{"id":"v","models":[{` + tt.model + `}]}]}`))
		switch {
		case tt.wrong == "" && err != nil:
			t.Errorf("%s: %v", tt.model, err)
		case tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)):
			t.Errorf("%s: %v, want an error with %q", tt.model, err, tt.wrong)
		}
	}
	if _, err := readBook([]byte(`{"vendors":[{"id":"v","tiers":{"flex":"1/0"}}]}`)); err == nil || !strings.Contains(err.Error(), "v: tier flex") {
		t.Errorf("a vendor's tier: %v", err)
	}
	if _, err := readBook([]byte(`[]`)); err == nil {
		t.Error("a list that is none was read")
	}
}
