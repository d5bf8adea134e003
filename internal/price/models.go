package price

import "time"

// Prices are dollars per million tokens as exact decimal numbers; "" is not known.
type Prices struct {
	Input          string `json:"input"`
	Output         string `json:"output"`
	CacheRead      string `json:"cache_read"`
	CacheWrite     string `json:"cache_write"`
	CacheWriteLong string `json:"cache_write_long"`
}

// Tier is a service tier with prices of its own.
type Tier struct {
	Name string `json:"name"`
	Prices
	Long *Prices `json:"long,omitempty"`
}

// Model is what the list says of a model now.
type Model struct {
	Vendor string   `json:"vendor"`
	ID     string   `json:"id"`
	Names  []string `json:"names,omitempty"` // it goes by these too
	Prices
	Search string  `json:"search,omitempty"` // dollars per thousand
	Above  int64   `json:"above,omitempty"`  // with more input tokens the whole request costs Long
	Long   *Prices `json:"long,omitempty"`
	Tiers  []Tier  `json:"tiers,omitempty"`
}

// Models is the whole list in its order, with those overrides that name no provider.
func (l *List) Models() []Model {
	var out []Model
	at := time.Now().Unix()
	for _, v := range l.book.vendors {
		for _, m := range v.models {
			e := &entry{tariffs: m.tariffs(v)}
			if o := l.override(query{model: m.id}, m.id); o != nil {
				e.tariffs = o.over(e.tariffs)
			}
			if now := e.tariff(at); now != nil {
				out = append(out, now.model(v.id, m))
			}
		}
	}
	return out
}

func (t *tariff) model(vendor string, m *model) Model {
	row := Model{
		Vendor: vendor, ID: m.id, Names: m.names, Prices: t.tiers[0].short.prices(),
		Search: format(t.search, perThousand), Above: t.above, Long: t.longPrices(&t.tiers[0]),
	}
	for i := range t.tiers[1:] {
		tt := &t.tiers[i+1]
		row.Tiers = append(row.Tiers, Tier{tt.word, tt.short.prices(), t.longPrices(tt)})
	}
	return row
}

func (t *tariff) longPrices(of *tariffTier) *Prices {
	if t.above == 0 || of.long.input < 0 {
		return nil
	}
	p := of.long.prices()
	return &p
}

func (r rates) prices() Prices {
	return Prices{
		format(r.input, perMillion), format(r.output, perMillion), format(r.read, perMillion),
		format(r.write, perMillion), format(r.writeLong, perMillion),
	}
}
