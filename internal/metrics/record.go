package metrics

import (
	"time"

	"keybridge/internal/ledger"

	"github.com/prometheus/client_golang/prometheus"
)

// flushSeconds are the buckets of a write of the record.
var flushSeconds = []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10} //nolint:gochecknoglobals // a constant table

// What is known of the words that the recorder counts by, so that they are there from
// the beginning.
var (
	recordOutcomes = [...]string{"written", "late", "rejected", "refused", dropped} //nolint:gochecknoglobals // a constant table
	dropReasons    = [...]string{"full", "stopped", "damaged"}                      //nolint:gochecknoglobals // a constant table

	failures = [...]string{ //nolint:gochecknoglobals // a constant table
		"full", "read_only", "corrupt", "locked", "unreachable", "denied", "newer", "content", "panic", "timeout", "closed", "other",
	}
)

const dropped = "dropped"

// Record are the metrics of the record, an observer of its recorder.
type Record struct {
	exchanges *prometheus.CounterVec
	drops     *prometheus.CounterVec
	errors    *prometheus.CounterVec
	waits     prometheus.Counter
	flush     prometheus.Histogram
}

// RegisterRecord registers the metrics of the record. waiting is called at each scrape,
// and says how many exchanges are not written yet: in memory, and in the spool.
func RegisterRecord(reg prometheus.Registerer, waiting func() (queued, spooled int)) *Record {
	r := &Record{
		exchanges: counter("record_exchanges_total", "Exchanges that the record has dealt with: written at once or late, rejected by the store for their "+
			"content, refused because they could not be recorded, or dropped.", "outcome"),
		drops:  counter("record_drops_total", "Exchanges that are lost to the record, by the reason.", "reason"),
		errors: counter("record_write_errors_total", "Writes of the record that have failed, by the kind of the error.", "kind"),
		waits: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "record_waits_total", Help: "Exchanges that had to wait at their end for room among those that are to be recorded.",
		}),
		flush: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "record_flush_seconds", Help: "Time that writes of the record took, those that failed too.", Buckets: flushSeconds,
		}),
	}
	for _, outcome := range recordOutcomes {
		r.exchanges.WithLabelValues(outcome)
	}
	for _, reason := range dropReasons {
		r.drops.WithLabelValues(reason)
	}
	for _, failure := range failures {
		r.errors.WithLabelValues(failure)
	}
	reg.MustRegister(
		r.exchanges, r.drops, r.errors, r.waits, r.flush,
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "record_queue_depth", Help: "Exchanges that have ended and wait in memory to be recorded.",
		}, func() float64 {
			n, _ := waiting()
			return float64(n)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "record_spooled", Help: "Exchanges that have ended and wait on the disk to be recorded.",
		}, func() float64 {
			_, n := waiting()
			return float64(n)
		}),
	)
	return r
}

// Recorded counts exchanges that are dealt with.
func (r *Record) Recorded(outcome string, n int) {
	r.exchanges.WithLabelValues(outcome).Add(float64(n))
}

// Dropped counts exchanges that are lost.
func (r *Record) Dropped(reason string, n int) {
	r.drops.WithLabelValues(reason).Add(float64(n))
	r.exchanges.WithLabelValues(dropped).Add(float64(n))
}

// Wrote counts a write; failure is "" or the kind of its error.
func (r *Record) Wrote(took time.Duration, failure string) {
	r.flush.Observe(took.Seconds())
	if failure != "" {
		r.errors.WithLabelValues(failure).Inc()
	}
}

// Waited counts an exchange that had to wait.
func (r *Record) Waited() { r.waits.Inc() }

// costs holds the bound series of what a model's answers cost.
type costs struct{ dollars, unpriced, unreported prometheus.Counter }

// charged counts what an exchange costs, and what of that is not known.
func (m *Metrics) charged(e *ledger.Exchange, model string) {
	unreported := 0
	for i := range e.Turns {
		if t := &e.Turns[i]; t.Complete && !t.Reported && e.HTTPStatus < 300 {
			unreported++
		}
	}
	if unreported == 0 && len(e.Charges) == 0 {
		return
	}
	series, ok := bound(m, e.Provider, model, costSeries, (*Metrics).bindCosts)
	if !ok {
		return
	}
	series.unreported.Add(float64(unreported))
	for i := range e.Charges {
		c := &e.Charges[i]
		series.dollars.Add(float64(max(c.Picos, 0)) / 1e12)
		series.unpriced.Add(float64(max(c.Unpriced, 0)))
	}
}

func costSeries(p *provider) map[string]*costs { return p.costs }

func (m *Metrics) bindCosts(name, model string) *costs {
	return &costs{m.dollars.WithLabelValues(name, model), m.unpriced.WithLabelValues(name, model), m.unreported.WithLabelValues(name, model)}
}
