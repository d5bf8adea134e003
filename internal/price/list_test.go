package price

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// The shipped list says where it comes from, and under which licence.
func TestShippedListNamesItsSources(t *testing.T) {
	var file struct {
		Date, License string
		Sources       []string
	}
	if err := json.Unmarshal(shipped, &file); err != nil {
		t.Fatal(err)
	}
	if _, err := time.Parse(time.DateOnly, file.Date); err != nil {
		t.Error(err)
	}
	if !strings.Contains(file.License, "MIT License") || !strings.Contains(file.License, "Copyright (c)") {
		t.Errorf("licence %q", file.License)
	}
	for _, want := range []string{"genai-prices", "openai.com", "claude.com"} {
		if !slices.ContainsFunc(file.Sources, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("no source %s in %q", want, file.Sources)
		}
	}
	// The list was made from what lies beside the script.
	text, err := os.ReadFile("refresh/extra.json")
	if err != nil {
		t.Fatal(err)
	}
	var extra struct {
		Models map[string]map[string]struct{ Input, Output string }
	}
	if err := json.Unmarshal(text, &extra); err != nil {
		t.Fatal(err)
	}
	b := list(t).book
	for vendor, models := range extra.Models {
		for id, m := range models {
			got := b.named[vendor].byName[id]
			if got == nil || m.Input != "" && m.Input != format(got.spans[0].short.input, perMillion) {
				t.Errorf("%s of %s is not listed as refresh/extra.json says: run refresh/refresh.mjs", id, vendor)
			}
		}
	}
}

// Nothing in the list is absurd: a slip of a digit or of a column shows here.
func TestShippedListIsSane(t *testing.T) {
	b := list(t).book
	total := 0
	for _, v := range b.vendors {
		if b.vendor(v.id) != v || len(v.models) == 0 {
			t.Errorf("%s: %d models", v.id, len(v.models))
		}
		for _, m := range v.models {
			total++
			if _, found := b.find(query{verdict.Compatible, v.id, "", m.id}); found != m {
				t.Errorf("%s of %s is found as %+v", m.id, v.id, found)
			}
			for _, tf := range m.tariffs(v) {
				for i, r := range []rates{tf.short, tf.long} {
					// Up to 600 dollars a million, for o1-pro; a cache never costs more than
					// three times the input to write, nor more than the input to read.
					if r.input < 0 || r.input > 150_000_000 || r.output > 600_000_000 || r.read > r.input || r.write > 3*r.input || r.writeLong > 2*r.input ||
						r.writeLong >= 0 && r.writeLong < r.write {
						t.Errorf("%s of %s: %+v", m.id, v.id, r)
					}
					if i == 1 && tf.above > 0 && (r.input < tf.short.input || r.input > 5*tf.short.input || r.output > 5*tf.short.output) {
						t.Errorf("%s of %s: long requests cost %+v instead of %+v", m.id, v.id, r, tf.short)
					}
				}
				if tf.search > 50*usd/1000 {
					t.Errorf("%s of %s: a search costs %d", m.id, v.id, tf.search)
				}
				for _, tt := range tf.tiers {
					if tt.short.input > 3*tf.short.input || tt.short.output > 3*tf.short.output {
						t.Errorf("%s of %s in %s: %+v", m.id, v.id, tt.word, tt.short)
					}
				}
			}
		}
	}
	if total < 1000 {
		t.Errorf("%d models", total)
	}
}

func TestModels(t *testing.T) {
	find := func(all []Model, vendor, id string) Model {
		for _, m := range all {
			if m.Vendor == vendor && m.ID == id {
				return m
			}
		}
		t.Fatalf("%s of %s is not listed", id, vendor)
		return Model{}
	}
	all := list(t).Models()
	want := Model{
		Vendor: "anthropic", ID: "claude-sonnet-4-5", Names: []string{"claude-sonnet-4.5"},
		Prices: Prices{"3", "15", "0.3", "3.75", "6"}, Search: "10",
		Above: 200_000, Long: &Prices{"6", "22.5", "0.6", "7.5", "12"},
		Tiers: []Tier{{"batch", Prices{"1.5", "7.5", "0.15", "1.875", "3"}, &Prices{"3", "11.25", "0.3", "3.75", "6"}}},
	}
	if diff := cmp.Diff(want, find(all, "anthropic", "claude-sonnet-4-5")); diff != "" {
		t.Error(diff)
	}
	want = Model{
		Vendor: "openai", ID: "gpt-5.5", Names: find(all, "openai", "gpt-5.5").Names,
		Prices: Prices{"5", "30", "0.5", "5", "5"}, Search: "10",
		Above: 271_999, Long: &Prices{"10", "45", "1", "10", "10"},
		Tiers: []Tier{
			{"priority", Prices{"12.5", "75", "1.25", "12.5", "12.5"}, nil},
			{"batch", Prices{"2.5", "15", "0.25", "2.5", "2.5"}, &Prices{"5", "22.5", "0.5", "5", "5"}},
			{"flex", Prices{"2.5", "15", "0.25", "2.5", "2.5"}, &Prices{"5", "22.5", "0.5", "5", "5"}},
		},
	}
	if diff := cmp.Diff(want, find(all, "openai", "gpt-5.5")); diff != "" {
		t.Error(diff)
	}

	mine := list(t, Override{Provider: "elsewhere", Input: "7", Output: "7"}, Override{Model: "gpt-5.5*", Input: "4"}).Models()
	if len(mine) != len(all) {
		t.Errorf("%d models, %d with overrides", len(all), len(mine))
	}
	if got := find(mine, "openai", "gpt-5.5"); got.Input != "4" || got.Output != "30" || got.CacheRead != "0.4" || got.Long.Input != "8" {
		t.Errorf("with the override: %+v", got)
	}
	if got := find(mine, "openai", "gpt-5"); got.Input != "1.25" {
		t.Errorf("without: %+v", got)
	}
}
