package price

import (
	_ "embed" // the price list
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

//go:embed prices.json
var shipped []byte

// rates are prices of a token in picodollars.
type rates struct{ input, output, read, write, writeLong int64 }

// nothing is known.
func nothing() rates { return rates{unknown, unknown, unknown, unknown, unknown} }

// each makes a price of every price.
func (r rates) each(f func(int64) int64) rates {
	return rates{f(r.input), f(r.output), f(r.read), f(r.write), f(r.writeLong)}
}

// span is what a model costs at some times.
type span struct {
	from       int64 // Unix seconds; 0: since ever
	start, end int64 // seconds of the day in UTC; the same: all day
	weekdays   bool  // not on Saturday and Sunday, in UTC too
	short      rates
	above      int64 // input tokens from which on the whole request costs long; 0: never
	long       rates
	search     int64
}

// holds says whether the span is about a time.
func (s *span) holds(at int64) bool {
	const long = 24 * 60 * 60
	day := at % long
	switch {
	case at < s.from, s.weekdays && (at/long+3)%7 >= 5: // time began on a Thursday
		return false
	case s.start < s.end:
		return s.start <= day && day < s.end
	case s.start > s.end: // over midnight
		return s.start <= day || day < s.end
	}
	return true
}

// tier is what a service tier does to a price: it multiplies it, or has its own.
type tier struct {
	word   string
	factor ratio
	set    *rates
}

type model struct {
	id    string
	names []string
	spans []span // of those that hold the last counts
	tiers []tier
}

// vendor is somebody who serves models, and at what prices.
type vendor struct {
	id     string
	maker  bool // of models that it alone prices, whoever hands them on
	tiers  []tier
	models []*model
	byName map[string]*model
}

// book is the shipped list, read.
type book struct {
	date    string
	vendors []*vendor
	named   map[string]*vendor // by what operators call them
	makers  map[string]bool    // of what Bedrock serves: the word before the first dot
}

// The file as it is written; prices are dollars per million tokens, per thousand searches.
type (
	figures struct {
		Input     string `json:"input"`
		Output    string `json:"output"`
		Read      string `json:"cache_read"`
		Write     string `json:"cache_write"`
		WriteLong string `json:"cache_write_long"`
	}
	spanFile struct {
		figures

		Search string   `json:"search"`
		Above  int64    `json:"above"`
		Long   *figures `json:"long"`
		From   string   `json:"from"`
		Hours  string   `json:"hours"`

		Weekdays bool `json:"weekdays"`
	}
	modelFile struct {
		spanFile

		ID    string              `json:"id"`
		Names []string            `json:"names"`
		Then  []spanFile          `json:"then"`
		Tiers map[string]tierFile `json:"tiers"`
	}
	vendorFile struct {
		ID     string              `json:"id"`
		Names  []string            `json:"names"`
		Maker  bool                `json:"maker"`
		Tiers  map[string]tierFile `json:"tiers"`
		Models []modelFile         `json:"models"`
	}
	bookFile struct {
		Date    string       `json:"date"`
		Vendors []vendorFile `json:"vendors"`
	}
)

// tierFile is a ratio, or prices.
type tierFile struct {
	Factor string
	Set    *figures
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *tierFile) UnmarshalJSON(b []byte) error {
	if b[0] == '"' {
		return json.Unmarshal(b, &t.Factor)
	}
	return json.Unmarshal(b, &t.Set)
}

func readBook(data []byte) (*book, error) {
	var file bookFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("the price list: %w", err)
	}
	b := &book{date: file.Date, named: map[string]*vendor{}, makers: map[string]bool{}}
	for i := range file.Vendors {
		v, err := readVendor(&file.Vendors[i])
		if err != nil {
			return nil, fmt.Errorf("the price list: %s: %w", file.Vendors[i].ID, err)
		}
		b.vendors = append(b.vendors, v)
		for _, name := range append(file.Vendors[i].Names, v.id) {
			b.named[name] = v
		}
	}
	if aws := b.named[bedrock]; aws != nil {
		for name := range aws.byName {
			maker, _, ok := strings.Cut(strings.TrimPrefix(name, global), ".")
			if ok && strings.Trim(maker, "abcdefghijklmnopqrstuvwxyz") == "" { // not the gpt-5 of gpt-5.6
				b.makers[maker] = true
			}
		}
	}
	return b, nil
}

func readVendor(f *vendorFile) (*vendor, error) {
	v := &vendor{id: f.ID, maker: f.Maker, byName: make(map[string]*model, 2*len(f.Models))}
	var err error
	if v.tiers, err = readTiers(f.Tiers, &figures{}); err != nil {
		return nil, err
	}
	for i := range f.Models {
		m, err := readModel(&f.Models[i])
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.Models[i].ID, err)
		}
		v.models = append(v.models, m)
		for _, name := range append([]string{m.id}, m.names...) {
			if v.byName[name] != nil {
				return nil, fmt.Errorf("two models are called %s", name)
			}
			v.byName[name] = m
		}
	}
	return v, nil
}

func readModel(f *modelFile) (*model, error) {
	m := &model{id: f.ID, names: f.Names}
	if f.From != "" || f.Hours != "" || f.Weekdays {
		return nil, errors.New("the first price holds always: what changes it comes then")
	}
	for _, s := range append([]spanFile{f.spanFile}, f.Then...) {
		read, err := readSpan(&s)
		if err != nil {
			return nil, err
		}
		m.spans = append(m.spans, read)
	}
	var err error
	if m.tiers, err = readTiers(f.Tiers, &f.figures); err != nil {
		return nil, err
	}
	for _, t := range m.tiers {
		if t.set != nil && len(m.spans) > 1 {
			return nil, fmt.Errorf("tier %s has prices of its own, and the model changes its own with time", t.word)
		}
	}
	return m, nil
}

func readSpan(f *spanFile) (span, error) {
	s := span{above: f.Above, search: unknown, weekdays: f.Weekdays}
	var err error
	if s.short, err = f.rates(&figures{}); err != nil {
		return s, err
	}
	if s.short.input < 0 || s.short.output < 0 {
		return s, errors.New("no price of input and output")
	}
	if f.Search != "" {
		if s.search, err = parse(f.Search, perThousand); err != nil {
			return s, err
		}
	}
	if (f.Above > 0) != (f.Long != nil) {
		return s, errors.New("above without long, or long without above")
	}
	if f.Long != nil {
		long := f.Long.or(&f.figures) // what does not change is not repeated
		if s.long, err = long.rates(&figures{}); err != nil {
			return s, err
		}
	}
	if f.From != "" {
		from, err := time.Parse(time.DateOnly, f.From)
		if err != nil {
			return s, err
		}
		s.from = from.Unix()
	}
	if f.Hours != "" {
		var a, b, c, d int64
		if _, err := fmt.Sscanf(f.Hours, "%d:%d-%d:%d", &a, &b, &c, &d); err != nil {
			return s, fmt.Errorf("hours %q: %w", f.Hours, err)
		}
		s.start, s.end = a*3600+b*60, c*3600+d*60
	}
	return s, nil
}

// rates reads the figures. A cache without a price costs what input costs: that is how
// those charge who give no discount. It has no known price, though, where base has one:
// then it is known to differ, and so has an hour's where minutes cost extra.
func (f *figures) rates(base *figures) (rates, error) {
	var failed error
	one := func(s string, fallback int64) int64 {
		if s == "" {
			return fallback
		}
		n, err := parse(s, perMillion)
		if err != nil {
			failed = err
		}
		return n
	}
	otherwise := func(base string, fallback int64) int64 {
		if base != "" {
			return unknown
		}
		return fallback
	}
	var r rates
	r.input = one(f.Input, unknown)
	r.output = one(f.Output, unknown)
	r.read = one(f.Read, otherwise(base.Read, r.input))
	r.write = one(f.Write, otherwise(base.Write, r.input))
	r.writeLong = one(f.WriteLong, otherwise(base.WriteLong+f.Write, r.write))
	return r, failed
}

// or fills the gaps.
func (f *figures) or(g *figures) *figures {
	pick := func(a, b string) string {
		if a != "" {
			return a
		}
		return b
	}
	return &figures{
		pick(f.Input, g.Input), pick(f.Output, g.Output), pick(f.Read, g.Read),
		pick(f.Write, g.Write), pick(f.WriteLong, g.WriteLong),
	}
}

func readTiers(files map[string]tierFile, base *figures) ([]tier, error) {
	var out []tier
	for _, word := range slices.Sorted(maps.Keys(files)) {
		t := tier{word: word}
		var err error
		if f := files[word]; f.Set != nil {
			var set rates
			set, err = f.Set.rates(base)
			t.set = &set
		} else {
			t.factor, err = parseRatio(f.Factor)
		}
		if err != nil {
			return nil, fmt.Errorf("tier %s: %w", word, err)
		}
		out = append(out, t)
	}
	return out, nil
}
