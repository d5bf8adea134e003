package price

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// Override is what the operator pays for some models. Prices are plain decimal numbers in
// US dollars, of a million tokens, of a thousand searches; "" leaves one out.
//
// What is left out follows the shipped list where it knows the model: input and output
// stay as they are there, caches, long requests and service tiers keep their proportion to
// what is given. Of a model that it does not know, a cache costs what input costs, an
// hour's what minutes' cost, and output without a price remains without one.
type Override struct {
	Provider string // as the configuration calls it; "": any
	// Model is a pattern as in path.Match of the name that answered, the one the list has for
	// it, or the one that was asked for, in whatever case; "" or "*": any.
	Model          string
	Input          string
	Output         string
	CacheRead      string
	CacheWrite     string
	CacheWriteLong string // kept for an hour
	Search         string
}

// override is one that was read; what it leaves out is unknown.
type override struct {
	provider, model string
	rates           rates
	search          int64
}

func readOverrides(all []Override) ([]override, error) {
	out := make([]override, 0, len(all))
	var problems []error
	for i := range all {
		o, err := all[i].read()
		if err != nil {
			problems = append(problems, fmt.Errorf("price %d (%q): %w", i+1, clip(all[i].Model), err))
		}
		out = append(out, o)
	}
	return out, errors.Join(problems...)
}

func (o *Override) read() (override, error) {
	out := override{provider: o.Provider, model: strings.ToLower(o.Model), rates: nothing(), search: unknown}
	var problems []error
	if _, err := path.Match(out.model, ""); err != nil {
		problems = append(problems, fmt.Errorf("model: %w", err))
	}
	given := false
	for _, f := range []struct {
		name, text string
		places     int
		to         *int64
	}{
		{"input", o.Input, perMillion, &out.rates.input},
		{"output", o.Output, perMillion, &out.rates.output},
		{"cache_read", o.CacheRead, perMillion, &out.rates.read},
		{"cache_write", o.CacheWrite, perMillion, &out.rates.write},
		{"cache_write_long", o.CacheWriteLong, perMillion, &out.rates.writeLong},
		{"search", o.Search, perThousand, &out.search},
	} {
		if f.text == "" {
			continue
		}
		given = true
		n, err := parse(f.text, f.places)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", f.name, err))
			continue
		}
		*f.to = n
	}
	if !given {
		problems = append(problems, errors.New("no price at all: give input and output at least"))
	}
	return out, errors.Join(problems...)
}

// override is the first that fits, or nil.
func (l *List) override(q query, id string) *override {
	for i := range l.overrides {
		o := &l.overrides[i]
		if o.provider != "" && o.provider != q.provider {
			continue
		}
		if o.model == "" || o.model == "*" || slices.ContainsFunc([]string{q.model, id, q.asked}, o.fits) {
			return o
		}
	}
	return nil
}

func (o *override) fits(name string) bool {
	ok, _ := path.Match(o.model, strings.ToLower(name)) // the pattern is known to be good
	return ok && name != ""
}

// over is what the model costs with the override.
func (o *override) over(listed []tariff) []tariff {
	if len(listed) == 0 {
		r := o.rates
		r.read = either(r.read, r.input)
		r.write = either(r.write, r.input)
		r.writeLong = either(r.writeLong, r.write)
		return []tariff{{span: span{search: o.search}, tiers: []tariffTier{{short: r}}}}
	}
	out := make([]tariff, len(listed))
	for i, t := range listed {
		was := t.short
		t.short = o.base(was)
		t.search = either(o.search, t.search)
		tiers := make([]tariffTier, len(t.tiers))
		for j, tt := range t.tiers {
			tiers[j] = tariffTier{tt.word, inProportion(tt.short, was, t.short), inProportion(tt.long, was, t.short)}
		}
		t.tiers = tiers
		out[i] = t
	}
	return out
}

// base is the standard price of a request that is not long.
func (o *override) base(was rates) rates {
	r := o.rates
	r.input = either(r.input, was.input)
	r.output = either(r.output, was.output)
	r.read = either(r.read, scale(was.read, was.input, r.input))
	r.write = either(r.write, scale(was.write, was.input, r.input))
	r.writeLong = either(r.writeLong, scale(was.writeLong, was.input, r.input))
	return r
}

func inProportion(r, was, is rates) rates {
	return rates{
		scale(r.input, was.input, is.input), scale(r.output, was.output, is.output), scale(r.read, was.read, is.read),
		scale(r.write, was.write, is.write), scale(r.writeLong, was.writeLong, is.writeLong),
	}
}

// scale is what costs price when something that cost was costs is.
func scale(price, was, is int64) int64 {
	switch {
	case price == was: // also where neither was known
		return is
	case price < 0:
		return unknown
	case was <= 0 || is < 0: // there is no proportion
		return is
	}
	return ratio{is, was}.of(price)
}

func either(n, otherwise int64) int64 {
	if n >= 0 {
		return n
	}
	return otherwise
}

// fingerprint is "" for none, else "+" and a short hash of them.
func fingerprint(overrides []Override) string {
	if len(overrides) == 0 {
		return ""
	}
	text, _ := json.Marshal(overrides) // texts only: it cannot fail
	hash := sha256.Sum256(text)
	return "+" + hex.EncodeToString(hash[:4])
}
