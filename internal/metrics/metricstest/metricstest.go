// Package metricstest compares whole metric families with what they should be.
package metricstest

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Compare fails the test unless the named families are, series for series, what
// want says in the text format. The order of series and labels does not matter, nor
// do HELP lines. Each name must have a series in want (see Absent), and want must
// hold no other families.
func Compare(t testing.TB, g prometheus.Gatherer, want string, names ...string) {
	t.Helper()
	if len(names) == 0 {
		t.Fatal("metricstest: no family to compare is named")
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(unindent(want)))
	if err != nil {
		t.Fatalf("metricstest: the wanted text: %v", err)
	}
	for _, name := range names {
		if len(parsed[name].GetMetric()) == 0 {
			t.Errorf("metricstest: the wanted text has no series of %s: use Absent to say that there are none", name)
		}
	}
	for name := range parsed {
		if !slices.Contains(names, name) {
			t.Errorf("metricstest: the wanted text has %s, which is not among the names to compare", name)
		}
	}
	got := gather(t, g)
	for _, name := range names {
		if diff := cmp.Diff(lines(parsed[name]), lines(got[name])); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}

// Absent fails the test if a named family has any series.
func Absent(t testing.TB, g prometheus.Gatherer, names ...string) {
	t.Helper()
	got := gather(t, g)
	for _, name := range names {
		if series := lines(got[name]); len(series) > 0 {
			t.Errorf("%s has series, want none:\n%s", name, strings.Join(series, "\n"))
		}
	}
}

func gather(t testing.TB, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := g.Gather()
	if err != nil {
		t.Fatalf("metricstest: gather: %v", err)
	}
	byName := make(map[string]*dto.MetricFamily, len(all))
	for _, family := range all {
		byName[family.GetName()] = family
	}
	return byName
}

// unindent lets the wanted text stand indented in a test.
func unindent(text string) string {
	rows := strings.Split(text, "\n")
	for i, row := range rows {
		rows[i] = strings.TrimSpace(row)
	}
	return strings.Join(rows, "\n") + "\n"
}

// lines writes a family as sorted lines, its type first. A type that the wanted
// text leaves out is taken for untyped and so does not match.
func lines(family *dto.MetricFamily) []string {
	if len(family.GetMetric()) == 0 {
		return nil
	}
	var out []string
	for _, metric := range family.GetMetric() {
		name := family.GetName()
		for _, v := range values(metric) {
			out = append(out, fmt.Sprintf("%s%s%s %v", name, v.suffix, labels(metric.GetLabel(), v.extra...), v.value))
		}
	}
	slices.Sort(out)
	return append([]string{"# TYPE " + family.GetName() + " " + strings.ToLower(family.GetType().String())}, out...)
}

type value struct {
	suffix string
	extra  []string // a label of the line's own: name, value
	value  float64
}

func values(m *dto.Metric) []value {
	switch {
	case m.GetCounter() != nil:
		return []value{{value: m.GetCounter().GetValue()}}
	case m.GetGauge() != nil:
		return []value{{value: m.GetGauge().GetValue()}}
	case m.GetUntyped() != nil:
		return []value{{value: m.GetUntyped().GetValue()}}
	case m.GetHistogram() != nil:
		h := m.GetHistogram()
		out := []value{{suffix: "_sum", value: h.GetSampleSum()}, {suffix: "_count", value: float64(h.GetSampleCount())}}
		hasInf := false
		for _, b := range h.GetBucket() {
			hasInf = hasInf || math.IsInf(b.GetUpperBound(), 1)
			out = append(out, bucket(b.GetUpperBound(), b.GetCumulativeCount()))
		}
		if !hasInf { // written by every encoder, kept by no gatherer
			out = append(out, bucket(math.Inf(1), h.GetSampleCount()))
		}
		return out
	}
	return []value{{suffix: " of a kind this package does not compare", value: math.NaN()}}
}

func bucket(bound float64, count uint64) value {
	return value{suffix: "_bucket", extra: []string{"le", fmt.Sprint(bound)}, value: float64(count)}
}

func labels(pairs []*dto.LabelPair, extra ...string) string {
	var out []string
	for _, pair := range pairs {
		out = append(out, fmt.Sprintf("%s=%q", pair.GetName(), pair.GetValue()))
	}
	if len(extra) == 2 {
		out = append(out, fmt.Sprintf("%s=%q", extra[0], extra[1]))
	}
	if len(out) == 0 {
		return ""
	}
	slices.Sort(out)
	return "{" + strings.Join(out, ",") + "}"
}
