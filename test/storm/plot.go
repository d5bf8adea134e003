package storm

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"keybridge/keypool"
	"keybridge/test/storm/world"
)

// sample is what the pool held of its keys at one moment.
type sample struct {
	at     time.Duration
	states []string // by key: valid, model, temporary, permanent
}

// sample looks at the pool every so often, until the sessions are over.
func (r *run) sample(p *pooled, c *clock, done <-chan struct{}) {
	for at := time.Duration(0); ; at += sampleEvery {
		c.until(at)
		select {
		case <-done:
			return
		default:
		}
		s := sample{at: at}
		for _, k := range p.pool.Status().Keys {
			state := string(k.State)
			if k.State == keypool.Temporary && k.Models != nil {
				state = "model"
			}
			s.states = append(s.states, state)
		}
		r.samples = append(r.samples, s)
	}
}

const (
	sampleEvery = 20 * time.Second
	plotWidth   = 1440.0
	plotLeft    = 96.0
	plotTop     = 96.0
	rowHeight   = 62.0
	barEvery    = 5 * time.Minute
	barHeight   = 26.0
)

// colours of the plot, by what they stand for.
var palette = []struct{ name, colour, says string }{ //nolint:gochecknoglobals // a constant table
	{"valid", "#d8eedd", "the pool uses the key"},
	{"model", "#fbe6b4", "it cools for one model"},
	{"temporary", "#f0b23e", "it cools"},
	{"permanent", "#dd6b62", "it was rejected"},
	{"out", "#4a4f57", "truly out"},
	{"outmodel", "#a4a9b1", "truly out for one model"},
	{"neighbour", "#c9b8dd", "neighbours use up its limits"},
	{"served", "#3d6fa5", "calls served, of five minutes"},
	{"limited", "#b35c00", "a call refused with 429"},
	{"refused", "#a3000f", "a call refused otherwise"},
	{"broken", "#7a2fb5", "a call that the upstream failed"},
}

// plot draws one storm: a row for each key, time to the right.
func plot(r *run, title string) string {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	height := plotTop + rowHeight*float64(len(r.scenario.Keys)) + 96
	w(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %.0f %.0f" font-family="system-ui, sans-serif" font-size="12">`+"\n", plotLeft+plotWidth+20, height)
	w("<style>")
	for _, c := range palette {
		w(".%s{fill:%s;stroke:%s;stroke-width:0}", c.name, c.colour, c.colour)
	}
	w(".grid{stroke:#00000018}.tick{stroke-width:1.2}.dim{fill:#5b616a}</style>\n")
	w(`<rect width="100%%" height="100%%" fill="#fff"/>` + "\n")
	w(`<text x="%.0f" y="26" font-size="17" font-weight="600">%s</text>`+"\n", plotLeft, title)
	w(`<text x="%.0f" y="46" class="dim">A row is a key. Its band is what the pool holds of it; the line below the band is the truth, which the pool cannot see; the bars are calls served, the ticks calls that were not.</text>`+"\n", plotLeft)
	plotHours(w, r, height)
	most := 1
	bars := map[[2]int]int{}
	for _, m := range r.recorded {
		if m.status == http.StatusOK {
			at := [2]int{m.key, int(m.at / barEvery)}
			bars[at]++
			most = max(most, bars[at])
		}
	}
	for i := range r.scenario.Keys {
		plotKey(w, r, i, func(bin int) float64 { return barHeight * float64(bars[[2]int{i, bin}]) / float64(most) })
	}
	plotTicks(w, r)
	plotLegend(w, height-34)
	w("</svg>\n")
	return b.String()
}

type writef func(format string, args ...any)

func (r *run) x(t time.Duration) float64 {
	t = max(0, min(t, r.scenario.Length))
	return plotLeft + plotWidth*t.Seconds()/r.scenario.Length.Seconds()
}

func plotHours(w writef, r *run, height float64) {
	step := time.Hour
	if r.scenario.Length <= 4*time.Hour {
		step = 15 * time.Minute
	}
	for t := time.Duration(0); t <= r.scenario.Length; t += step {
		w(`<line x1="%.1f" x2="%.1f" y1="%.0f" y2="%.0f" class="grid"/>`, r.x(t), r.x(t), plotTop-14, height-74)
		w(`<text x="%.1f" y="%.0f" text-anchor="middle" class="dim">%d:%02d</text>`+"\n", r.x(t), plotTop-20, int(t.Hours()), int(t.Minutes())%60)
	}
	for _, f := range r.scenario.Faults {
		if f.Trouble == world.Overload {
			w(`<rect x="%.1f" y="%.0f" width="%.1f" height="%.0f" class="broken" opacity=".35"><title>%s</title></rect>`+"\n",
				r.x(f.Start), plotTop-14, max(1.5, r.x(f.End)-r.x(f.Start)), height-74-plotTop+14, said(&f))
		}
	}
}

// said tells of a fault to those who point at it.
func said(f *world.Fault) string {
	clock := func(t time.Duration) string {
		t = t.Round(time.Second)
		return fmt.Sprintf("%02d:%02d:%02d", int(t.Hours()), int(t.Minutes())%60, int(t.Seconds())%60)
	}
	s := fmt.Sprintf("%s, %s to %s", f.Trouble, clock(max(0, f.Start)), clock(f.End))
	if f.Part > 0 {
		s += fmt.Sprintf(", %.0f %%", 100*f.Part)
	}
	if f.Says > 0 {
		s += ", says " + f.Says.Round(time.Second).String()
	}
	return s
}

func plotKey(w writef, r *run, i int, bar func(bin int) float64) {
	k := r.scenario.Keys[i]
	top := plotTop + rowHeight*float64(i)
	w(`<text x="8" y="%.0f" font-weight="600">%s</text><text x="8" y="%.0f" class="dim">%s</text>`+"\n", top+24, k.ID, top+40, r.scenario.Orgs[k.Org].Name)
	for n := 0; n < len(r.samples); {
		from := r.samples[n]
		for n < len(r.samples) && r.samples[n].states[i] == from.states[i] {
			n++
		}
		until := r.scenario.Length
		if n < len(r.samples) {
			until = r.samples[n].at
		}
		w(`<rect x="%.1f" y="%.1f" width="%.1f" height="40" class="%s"/>`+"\n", r.x(from.at), top+4, r.x(until)-r.x(from.at), from.states[i])
	}
	for n := range r.scenario.Faults {
		f := &r.scenario.Faults[n]
		class := "out"
		switch {
		case f.Trouble == world.Overload || f.Trouble == world.Blips || !f.Covers(f.Start, &k, i, max(f.Model, 0)):
			continue
		case f.Trouble == world.Neighbour:
			class = "neighbour"
		case f.Model >= 0:
			class = "outmodel"
		}
		w(`<rect x="%.1f" y="%.1f" width="%.1f" height="6" class="%s"><title>%s</title></rect>`+"\n", r.x(f.Start), top+47, max(1.5, r.x(f.End)-r.x(f.Start)), class, said(f))
	}
	width := plotWidth * barEvery.Seconds() / r.scenario.Length.Seconds()
	for bin := range int(r.scenario.Length / barEvery) {
		if h := bar(bin); h > 0 {
			w(`<rect x="%.1f" y="%.1f" width="%.2f" height="%.1f" class="served"/>`+"\n", r.x(time.Duration(bin)*barEvery)+width*0.1, top+44-h, width*0.8, h)
		}
	}
}

// plotTicks draws the calls that were not served, those of one kind and key in one
// path, at most one a pixel.
func plotTicks(w writef, r *run) {
	ticks := make([]map[string]*tick, len(r.scenario.Keys))
	for i := range ticks {
		ticks[i] = map[string]*tick{"limited": {}, "refused": {}, "broken": {}}
	}
	for _, m := range r.recorded {
		class := "refused"
		switch {
		case m.status == http.StatusOK:
			continue
		case m.status == http.StatusTooManyRequests:
			class = "limited"
		case m.status >= http.StatusInternalServerError:
			class = "broken"
		}
		t := ticks[m.key][class]
		if x := int(r.x(m.at)); x != t.last {
			t.last = x
			fmt.Fprintf(&t.path, "M%d %.0fv12", x, plotTop+rowHeight*float64(m.key)+4)
		}
	}
	for i := range ticks {
		for _, class := range []string{"limited", "refused", "broken"} {
			if p := ticks[i][class].path.String(); p != "" {
				w(`<path d="%s" class="tick %s"/>`+"\n", p, class)
			}
		}
	}
}

// tick is the path of the ticks of one kind.
type tick struct {
	path strings.Builder
	last int
}

func plotLegend(w writef, y float64) {
	x := plotLeft
	for n, c := range palette {
		if n == 7 {
			x, y = plotLeft, y+20
		}
		w(`<rect x="%.0f" y="%.0f" width="14" height="12" class="%s"/><text x="%.0f" y="%.0f">%s</text>`+"\n", x, y-10, c.name, x+20, y, c.says)
		x += 40 + 6.6*float64(len(c.says))
	}
}
