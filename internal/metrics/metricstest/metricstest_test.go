package metricstest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// recorder is a testing.TB that notes failures instead of failing.
type recorder struct {
	testing.TB
	said []string
}

func (r *recorder) Helper() {}
func (r *recorder) Errorf(format string, a ...any) {
	r.said = append(r.said, fmt.Sprintf(format, a...))
}

func (r *recorder) Fatal(a ...any)                 { r.said = append(r.said, fmt.Sprint(a...)); panic(r) }
func (r *recorder) Fatalf(format string, a ...any) { r.Fatal(fmt.Sprintf(format, a...)) }

func said(f func(t testing.TB)) (text string) {
	r := &recorder{}
	defer func() {
		if p := recover(); p != nil && p != any(r) {
			panic(p)
		}
		text = strings.Join(r.said, "\n")
	}()
	f(r)
	return ""
}

func TestCompare(t *testing.T) {
	reg := prometheus.NewRegistry()
	c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "c_total", Help: "c"}, []string{"a", "b"})
	h := prometheus.NewHistogram(prometheus.HistogramOpts{Name: "h_seconds", Help: "h", Buckets: []float64{0.5, 1}})
	empty := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "empty_total", Help: "e"}, []string{"a"})
	reg.MustRegister(c, h, empty)
	c.WithLabelValues("1", "x\"y").Add(2)
	c.WithLabelValues("2", "z").Inc()
	h.Observe(0.7)

	const wantC = `
		# TYPE c_total counter
		c_total{b="z",a="2"} 1
		c_total{b="x\"y",a="1"} 2`
	const wantH = `
		# TYPE h_seconds histogram
		h_seconds_bucket{le="0.5"} 0
		h_seconds_bucket{le="1"} 1
		h_seconds_bucket{le="+Inf"} 1
		h_seconds_sum 0.7
		h_seconds_count 1`
	tests := []struct {
		name  string
		want  string
		names []string
		says  string // "" passes
	}{
		{name: "equal", want: wantC + wantH, names: []string{"c_total", "h_seconds"}},
		{name: "another value", want: strings.Replace(wantC, `"} 2`, `"} 3`, 1), names: []string{"c_total"}, says: "-want +got"},
		{name: "labels exchanged", want: strings.Replace(wantC, `b="z",a="2"`, `a="z",b="2"`, 1), names: []string{"c_total"}, says: "-want +got"},
		{name: "a series too few", want: strings.Replace(wantC, `c_total{b="z",a="2"} 1`, "", 1), names: []string{"c_total"}, says: "-want +got"},
		{name: "a series too many", want: wantC + "\nc_total{b=\"n\",a=\"3\"} 0", names: []string{"c_total"}, says: "-want +got"},
		{name: "another type", want: strings.Replace(wantC, "counter", "gauge", 1), names: []string{"c_total"}, says: "-want +got"},
		{name: "another bucket", want: strings.Replace(wantH, `{le="0.5"} 0`, `{le="0.5"} 1`, 1), names: []string{"h_seconds"}, says: "-want +got"},
		{name: "another sum", want: strings.Replace(wantH, `0.7`, `0.8`, 1), names: []string{"h_seconds"}, says: "-want +got"},
		{name: "not wanted", want: wantC, names: []string{"c_total", "h_seconds"}, says: "no series of h_seconds"},
		{name: "absent on both sides", want: wantC, names: []string{"c_total", "nothing_total"}, says: "no series of nothing_total"},
		{name: "not named", want: wantC + wantH, names: []string{"c_total"}, says: "h_seconds, which is not among the names"},
		{name: "nothing named", want: wantC, says: "no family"},
		{name: "no text", want: "c_total{", names: []string{"c_total"}, says: "the wanted text"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := said(func(t testing.TB) { Compare(t, reg, tt.want, tt.names...) })
			if (got == "") != (tt.says == "") || !strings.Contains(got, tt.says) {
				t.Errorf("said %q, want %q", got, tt.says)
			}
		})
	}
	if got := said(func(t testing.TB) { Absent(t, reg, "empty_total", "nothing_total") }); got != "" {
		t.Errorf("Absent said %q of families without series", got)
	}
	if got := said(func(t testing.TB) { Absent(t, reg, "c_total") }); !strings.Contains(got, "want none") {
		t.Errorf("Absent said %q of a family with series", got)
	}
}
