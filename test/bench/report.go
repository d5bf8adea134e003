package main

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"
)

// figure is one line of the table: what each round of each proxy came to.
type figure struct {
	name   string
	values map[string][]float64 // by column
	// base is what the judged values are compared with, round by round; nil: those
	// of the floor with the body read first. judged is their column; "": Keybridge's.
	base   []float64
	judged string
	// most is the target: of the ratio, or of the value itself; 0: none.
	most     float64
	absolute bool
}

type section struct {
	title   string
	columns []string
	figures []figure
}

// page is the whole table.
type page struct {
	rounds   int
	columns  []string
	sections []section
	tallies  map[string]tally
}

// losses says which proxies did not answer every call.
func (p *page) losses() []string {
	var all []string
	for _, c := range p.columns {
		if t := p.tallies[c]; t.lost > 0 {
			all = append(all, fmt.Sprintf("%s did not answer %d of %d calls in full.", c, t.lost, t.calls))
		}
	}
	return all
}

// quantile is of durations, in microseconds.
func quantile(all []time.Duration, q float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)].Nanoseconds()) / 1e3
}

func median(all []float64) float64 {
	sorted := slices.Sorted(slices.Values(all))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// ratios are the rounds' own: what disturbs a round disturbs both of its halves.
func (f *figure) ratios() []float64 {
	base := f.base
	if base == nil {
		base = f.values[floorRead]
	}
	var out []float64
	for i, v := range f.values[cmp.Or(f.judged, keybridge)] {
		if i < len(base) && base[i] > 0 {
			out = append(out, v/base[i])
		}
	}
	return out
}

// target says what is aimed at and whether it is met; empty without a target.
func (f *figure) target() (text string, met bool) {
	if f.most == 0 {
		return "", true
	}
	got := f.values[cmp.Or(f.judged, keybridge)]
	if !f.absolute {
		got = f.ratios()
	}
	if len(got) == 0 {
		return "not measured", false
	}
	met = median(got) <= f.most
	text = "≤ " + strconv.FormatFloat(f.most, 'g', -1, 64)
	if f.absolute {
		text += " itself"
	}
	if met {
		return text + ", met", true
	}
	return text + ", missed", false
}

// spread is the median with its range.
func spread(all []float64) string {
	if len(all) == 0 {
		return "–"
	}
	return fmt.Sprintf("%s (%s–%s)", short(median(all)), short(slices.Min(all)), short(slices.Max(all)))
}

// short has three digits that count.
func short(v float64) string {
	switch a := max(v, -v); {
	case a >= 100:
		return strconv.FormatFloat(v, 'f', 0, 64)
	case a >= 10:
		return strconv.FormatFloat(v, 'f', 1, 64)
	case a >= 1:
		return strconv.FormatFloat(v, 'f', 2, 64)
	}
	return strconv.FormatFloat(v, 'f', 3, 64)
}

func (f *figure) cells(columns []string) []string {
	out := []string{f.name}
	for _, c := range columns {
		out = append(out, spread(f.values[c]))
	}
	target, _ := f.target()
	return append(out, spread(f.ratios()), target)
}

const ratioHead = "ratio"

// text prints sections for a terminal.
func (p *page) text(out io.Writer, sections []section) {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range sections {
		_, _ = fmt.Fprintln(w, "\t"+strings.Join(s.columns, "\t")+"\t"+ratioHead+"\ttarget")
		for i := range s.figures {
			_, _ = fmt.Fprintln(w, "  "+strings.Join(s.figures[i].cells(s.columns), "\t"))
		}
	}
	_, _ = fmt.Fprintln(w)
	_ = w.Flush() // nothing can be done about a closed terminal
}

// summary counts the targets.
func (p *page) summary(out io.Writer) {
	all, missed := 0, []string{}
	for _, s := range p.sections {
		for i := range s.figures {
			if text, met := s.figures[i].target(); text != "" {
				all++
				if !met {
					missed = append(missed, s.title+": "+s.figures[i].name)
				}
			}
		}
	}
	_, _ = fmt.Fprintf(out, "%d of %d targets met\n", all-len(missed), all)
	for _, m := range missed {
		_, _ = fmt.Fprintln(out, "missed:", m)
	}
	for _, l := range p.losses() {
		_, _ = fmt.Fprintln(out, l)
	}
}

// markdown is the table of the page.
func (p *page) markdown() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%d cores, %s, %s/%s; %d rounds, interleaved. Medians, ranges in brackets.\n",
		runtime.NumCPU(), strings.Replace(runtime.Version(), "go", "Go ", 1), runtime.GOOS, runtime.GOARCH, p.rounds)
	for _, s := range p.sections {
		fmt.Fprintf(&b, "\n### %s\n\n| | %s | %s | target |\n|%s\n", strings.ToUpper(s.title[:1])+s.title[1:],
			strings.Join(s.columns, " | "), ratioHead, strings.Repeat(" --- |", len(s.columns)+3))
		for i := range s.figures {
			fmt.Fprintf(&b, "| %s |\n", strings.Join(s.figures[i].cells(s.columns), " | "))
		}
	}
	for _, l := range p.losses() {
		b.WriteString("\n" + l + "\n")
	}
	return b.Bytes()
}

const (
	beginMark = "<!-- bench: begin -->\n"
	endMark   = "<!-- bench: end -->\n"
)

// write puts the table between the marks of a page.
func (p *page) write(path string) error {
	old, err := os.ReadFile(path) //nolint:gosec // the page it was told to write
	if err != nil {
		return err
	}
	page, err := between(old, p.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return os.WriteFile(path, page, 0o644) //nolint:gosec // a page of the documentation
}

func between(page, table []byte) ([]byte, error) {
	before, rest, ok := bytes.Cut(page, []byte(beginMark))
	_, after, closed := bytes.Cut(rest, []byte(endMark))
	if !ok || !closed {
		return nil, errors.New("the marks of the table are missing")
	}
	return slices.Concat(before, []byte(beginMark), table, []byte(endMark), after), nil
}
