package config

import (
	"fmt"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
)

// Price is what an operator knows better than the shipped price list: US dollars as
// decimals, "" where nothing is written.
type Price struct {
	Provider string // a provider's name; "": every provider
	Model    string // a path.Match pattern, in whatever case

	// Per million tokens.
	Input, Output, CacheRead, CacheWrite, CacheWriteLong string

	Search string // per thousand
}

// An amount is a decimal that reads the same everywhere.
const (
	amountForm = `^(0|[1-9][0-9]{0,5})(\.[0-9]{1,%d})?$`
	mostAmount = 1_000_000

	// The last decimal place is a picodollar a token, or a search.
	perMillion  = 6
	perThousand = 9
)

// priceNames are the settings of an entry that are prices.
var priceNames = []string{"input", "output", "cache_read", "cache_write", "cache_write_long", "search"} //nolint:gochecknoglobals // a constant table

func (d *decoder) price(prices *[]Price) setting {
	return setting{schema: d.priceSettings(&Price{}).schema, read: func(n ast.Node, at string) {
		p := Price{}
		d.priceSettings(&p).read(n, at)
		if _, ok := n.(ast.MapNode); ok && !slices.ContainsFunc(priceNames, func(name string) bool { return d.written(at + "." + name) }) {
			d.report(at, "holds no price: write input, output or what else is known of %s", strings.Join(priceNames[2:], ", "))
		}
		*prices = append(*prices, p)
	}}
}

func (d *decoder) priceSettings(p *Price) setting {
	all := d.section(
		field{"model", "The models it is the price of, by the name that was asked for or that answered. * stands for any characters except /, ? for one, [a-c] for one of a set.", d.modelPattern(&p.Model).needed("model: a name or a pattern like gpt-*")},
		field{"provider", "The provider it is the price at; by default every provider.", d.text(&p.Provider)},
		field{"input", "Tokens of the request, per million. Default: as shipped.", d.amount(&p.Input, perMillion)},
		field{"output", "Tokens of the answer, reasoning included, per million. Default: as shipped.", d.amount(&p.Output, perMillion)},
		field{"cache_read", "Tokens read from the provider's cache, per million. Default: in the shipped proportion to input, or as input.", d.amount(&p.CacheRead, perMillion)},
		field{"cache_write", "Tokens written to it, per million. Default: in the shipped proportion to input, or as input.", d.amount(&p.CacheWrite, perMillion)},
		field{"cache_write_long", "Those that are to stay in it for an hour, per million. Default: in the shipped proportion to input, or as cache_write.", d.amount(&p.CacheWriteLong, perMillion)},
		field{"search", "Searches of the web, per thousand. Default: as shipped.", d.amount(&p.Search, perThousand)},
	)
	for _, name := range priceNames {
		all.schema.AnyOf = append(all.schema.AnyOf, &schema{Required: []string{name}})
	}
	return all
}

// amount is a number of US dollars with so many decimal places at most, kept by its digits:
// no binary fraction is exact.
func (d *decoder) amount(p *string, places int) setting {
	form := fmt.Sprintf(amountForm, places)
	zero, most := int64(0), int64(mostAmount)
	about := &schema{Title: "US dollars", Type: []string{"string", "number"}, Pattern: form, Minimum: &zero, Maximum: &most, Examples: []string{"3", "0.25"}}
	return setting{schema: about, read: func(n ast.Node, at string) {
		text := scalar(n)
		if !regexp.MustCompile(form).MatchString(text) {
			d.report(at, "is no amount of US dollars: write a decimal like 3 or 0.25, up to 999999 and with %d digits behind the point at most", places)
			return
		}
		*p = text
	}}
}

func (d *decoder) modelPattern(p *string) setting {
	about := &schema{Title: "Pattern of models", Type: "string", MinLength: 1, Examples: []string{"gpt-*"}}
	return setting{schema: about, read: func(n ast.Node, at string) {
		s, ok := d.str(n, at)
		if !ok {
			return
		}
		if _, err := path.Match(s, ""); err != nil || s == "" {
			d.report(at, "%q is no pattern: * stands for any letters except /, ? for one, [a-z] for one of a set (close the bracket)", s)
			return
		}
		*p = s
	}}
}

// checkPrices looks at the prices beside each other and beside the providers.
func (d *decoder) checkPrices(c *Config) {
	var names []string
	for _, p := range c.Providers {
		if p.Name != "" {
			names = append(names, p.Name)
		}
	}
	seen := map[[2]string]string{}
	for i, p := range c.Prices {
		at := place("prices", i)
		if d.written(at+".provider") && !d.reported(at+".provider") && !slices.Contains(names, p.Provider) {
			text := "is no provider's name: the providers are " + strings.Join(names, ", ")
			if len(names) == 0 {
				text = "is no provider's name: there are none"
			}
			if near := nearest(p.Provider, names); near != "" {
				text = strconv.Quote(p.Provider) + " " + text + "; did you mean " + strconv.Quote(near) + "?"
			}
			d.report(at+".provider", "%s", text)
		}
		of := [2]string{p.Provider, p.Model}
		if first, twice := seen[of]; twice && p.Model != "" {
			d.report(at, "is the price of the same models as %s (line %d): remove one of the two", first, d.line(first))
			continue
		}
		seen[of] = at
	}
}
