package storm

import (
	_ "embed"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
)

// kind is what a contestant is in the comparison.
type kind uint8

const (
	ideal   kind = iota // a provider that never fails
	knowing             // the oracle
	ours                // the pool
	theirs              // a control
)

// row is one contestant with what it came to in each storm.
type row struct {
	name    string
	kind    kind
	results []result
}

// line is something that is compared. Less is better, but for lines that say more.
type line struct {
	name  string
	unit  string
	of    func(*result) float64
	more  bool
	print func(float64) string
}

func lines() []line {
	decimals := func(n int) func(float64) string {
		return func(f float64) string { return fmt.Sprintf("%.*f", n, f) }
	}
	seconds := func(f float64) string { return time.Duration(f * float64(time.Second)).Round(time.Second).String() }
	return []line{
		{"failed", "of 1 000 requests of clients", func(r *result) float64 { return 1000 * float64(r.failed) / float64(r.requests) }, false, decimals(2)},
		{"lost", "of 1 000 turns", func(r *result) float64 { return 1000 * float64(r.lost) / float64(r.turns) }, false, decimals(2)},
		{"wasted", "of 1 000 calls upstream", func(r *result) float64 { return 1000 * float64(r.waste()) / float64(r.attempts) }, false, decimals(2)},
		{"median until used", "", func(r *result) float64 { return quantile(r.used, 0.5) }, false, seconds},
		{"worst until free", "", func(r *result) float64 { return quantile(r.held, 1) }, false, seconds},
		{"cache reads", "% of prompt tokens", func(r *result) float64 { return 100 * float64(r.read) / float64(r.prompt) }, true, decimals(2)},
		{"cost", "of the least possible", func(r *result) float64 { return float64(r.cost) / float64(r.least) }, false, decimals(3)},
		{"added wait", "ms a request", func(r *result) float64 { return float64(r.waited.Microseconds()) / 1000 / float64(r.turns) }, false, decimals(1)},
	}
}

// quantile of durations, in seconds; 0 if there is none.
func quantile(d []time.Duration, q float64) float64 {
	if len(d) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(d))
	return s[int(q*float64(len(s)-1))].Seconds()
}

// better says that the first is better than the second.
func (l *line) better(a, b float64) bool { return a != b && a > b == l.more }

// over reduces a line to the mean over the storms and to the worst of them.
func (l *line) over(r *row) (mean, worst float64, seed int) {
	for i := range r.results {
		v := l.of(&r.results[i])
		mean += v / float64(len(r.results))
		if i == 0 || l.better(worst, v) {
			worst, seed = v, i
		}
	}
	return mean, worst, seed
}

//go:embed intro.md
var intro string

// page is the whole report with what it needs to be understood, and the picture of a
// storm beside it.
func page(first int, rows []row, picture, caption string) string {
	var b strings.Builder
	b.WriteString(intro)
	b.WriteString("## What came out\n\n")
	b.WriteString(report(first, rows))
	b.WriteString("\n## The bounds\n\nIn every storm: at most 1 request of 1 000 more fails than with the oracle, less than 10 calls of 1 000 are wasted, and cache reads are at least 95 % of the ideal's;\nno control is better on failures, wasted calls or cost, in the mean or in the worst storm.\n\n")
	broken := breaches(first, rows)
	if len(broken) == 0 {
		b.WriteString("All of them hold.\n")
	}
	for _, s := range broken {
		fmt.Fprintf(&b, "- broken: %s\n", s)
	}
	if s := concede(rows); s != "" {
		fmt.Fprintf(&b, "\nWhere controls are better, in the mean:\n\n%s\nWhoever asks rejected keys again and again is the first to learn that one is good: it pays for that with the calls that the last table above shows,\nsome two hundred to three hundred of 1 000.\n", s)
	}
	fmt.Fprintf(&b, "\n## One storm\n\n![%s](%s)\n", caption, picture)
	return b.String()
}

// report tells what the storms came to, as Markdown.
func report(first int, rows []row) string {
	var b strings.Builder
	w := func(format string, args ...any) { fmt.Fprintf(&b, format, args...) }
	n := len(rows[0].results)
	w("The mean of %d storms; in brackets the worst of them and its seed:\n\n|  |", n)
	all := lines()
	for _, l := range all {
		w(" %s |", strings.TrimSuffix(l.name+", "+l.unit, ", "))
	}
	w("\n|---%s|\n", strings.Repeat("|---", len(all)))
	for i := range rows {
		r := &rows[i]
		w("| %s |", r.name)
		for _, l := range all {
			if r.kind == ideal && l.name != "cache reads" && l.name != "cost" {
				w("  |")
				continue
			}
			mean, worst, seed := l.over(r)
			w(" %s (%s, %d) |", l.print(mean), l.print(worst), first+seed)
		}
		w("\n")
	}
	ratios(&b, rows, all)
	wasted(&b, rows)
	return b.String()
}

// ratios prints each line as a ratio to the oracle's, of the means.
func ratios(b *strings.Builder, rows []row, all []line) {
	knows := slices.IndexFunc(rows, func(r row) bool { return r.kind == knowing })
	fmt.Fprint(b, "\nThe same means as ratios to the oracle's, cache reads also to the ideal's:\n\n|  |")
	for _, l := range all {
		fmt.Fprintf(b, " %s |", l.name)
	}
	fmt.Fprintf(b, " cache reads to ideal |\n|---%s|\n", strings.Repeat("|---", len(all)+1))
	for i := range rows {
		r := &rows[i]
		if r.kind == ideal || r.kind == knowing {
			continue
		}
		fmt.Fprintf(b, "| %s |", r.name)
		for _, l := range all {
			mine, _, _ := l.over(r)
			best, _, _ := l.over(&rows[knows])
			if best == 0 {
				fmt.Fprint(b, " – |")
				continue
			}
			fmt.Fprintf(b, " %.3g |", mine/best)
		}
		fmt.Fprintf(b, " %.4f |\n", leastShare(rows, r))
	}
}

// leastShare is the cache-read share of the worst storm, as a part of the ideal's
// in the same storm.
func leastShare(rows []row, r *row) float64 {
	least := 1.0
	for i := range r.results {
		share := func(x *result) float64 { return float64(x.read) / float64(x.prompt) }
		least = min(least, share(&r.results[i])/share(&rows[0].results[i]))
	}
	return least
}

// wasted prints what the wasted calls met.
func wasted(b *strings.Builder, rows []row) {
	kinds := map[string]bool{}
	for _, r := range rows {
		for _, x := range r.results {
			for k := range x.wasted {
				kinds[k] = true
			}
		}
	}
	sorted := slices.Sorted(maps.Keys(kinds))
	fmt.Fprintf(b, "\nWhat the wasted calls met, of 1 000 calls upstream:\n\n|  | %s |\n|---%s|\n", strings.Join(sorted, " | "), strings.Repeat("|---", len(sorted)))
	for i := range rows {
		r := &rows[i]
		if r.kind == ideal {
			continue
		}
		fmt.Fprintf(b, "| %s |", r.name)
		for _, k := range sorted {
			part := line{of: func(x *result) float64 { return 1000 * float64(x.wasted[k]) / float64(x.attempts) }}
			mean, _, _ := part.over(r)
			fmt.Fprintf(b, " %.2f |", mean)
		}
		fmt.Fprint(b, "\n")
	}
}

// bounds are what a strategy of the pool must keep in every storm.
const (
	mostFailed = 1.0  // of 1 000 requests, more than the oracle's
	mostWasted = 10.0 // of 1 000 calls upstream
	leastReads = 0.95 // of the ideal's
)

// breaches lists where the pool is out of bounds, or a control better than it on
// failures, wasted calls or cost.
func breaches(first int, rows []row) (all []string) {
	by := map[string]line{}
	for _, l := range lines() {
		by[l.name] = l
	}
	knows := rows[slices.IndexFunc(rows, func(r row) bool { return r.kind == knowing })]
	complain := func(format string, args ...any) { all = append(all, fmt.Sprintf(format, args...)) }
	for i := range rows {
		r := &rows[i]
		if r.kind != ours {
			continue
		}
		for n := range r.results {
			x := &r.results[n]
			for _, name := range []string{"failed", "lost"} {
				l := by[name]
				if more := l.of(x) - l.of(&knows.results[n]); more > mostFailed {
					complain("%s, seed %d: %s %s more %s than with the oracle", r.name, first+n, name, l.print(more), l.unit)
				}
			}
			if l := by["wasted"]; l.of(x) > mostWasted {
				complain("%s, seed %d: wasted %s %s", r.name, first+n, l.print(l.of(x)), l.unit)
			}
			ideal, reads := by["cache reads"].of(&rows[0].results[n]), by["cache reads"].of(x)
			if reads < leastReads*ideal {
				complain("%s, seed %d: cache reads are %.2f %% of the ideal's", r.name, first+n, 100*reads/ideal)
			}
		}
		for _, name := range []string{"failed", "lost", "wasted", "cost"} {
			for _, c := range better(by[name], rows, r) {
				complain("%s: %s", r.name, c)
			}
		}
	}
	return all
}

// better says which controls are better than a strategy on a line, in the mean or
// in their worst storm.
func better(l line, rows []row, r *row) (all []string) {
	mine, worst, _ := l.over(r)
	for i := range rows {
		c := &rows[i]
		if c.kind != theirs {
			continue
		}
		mean, last, _ := l.over(c)
		if l.better(mean, mine) {
			all = append(all, fmt.Sprintf("%s is better on %q: %s against %s", c.name, l.name, l.print(mean), l.print(mine)))
		} else if l.better(last, worst) {
			all = append(all, fmt.Sprintf("%s is better on %q in the worst storm: %s against %s", c.name, l.name, l.print(last), l.print(worst)))
		}
	}
	return all
}

// concede tells on which lines controls are better than strategies, and by how much.
func concede(rows []row) string {
	var b strings.Builder
	for _, l := range lines() {
		var controls, pool []string
		for i := range rows {
			r := &rows[i]
			mean, _, _ := l.over(r)
			said := r.name + " " + l.print(mean)
			switch {
			case r.kind == theirs && slices.ContainsFunc(rows, func(o row) bool { return o.kind == ours && beats(&l, r, &o) }):
				controls = append(controls, said)
			case r.kind == ours && slices.ContainsFunc(rows, func(o row) bool { return o.kind == theirs && beats(&l, &o, r) }):
				pool = append(pool, said)
			}
		}
		if controls != nil {
			fmt.Fprintf(&b, "- %s: %s against %s\n", strings.TrimSuffix(l.name+", "+l.unit, ", "), strings.Join(controls, "; "), strings.Join(pool, "; "))
		}
	}
	return b.String()
}

// beats says that one is better than the other in the mean.
func beats(l *line, r, other *row) bool {
	a, _, _ := l.over(r)
	b, _, _ := l.over(other)
	return l.better(a, b)
}
