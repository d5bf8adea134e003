package metrics

import "github.com/prometheus/client_golang/prometheus"

var (
	providerInfo = prometheus.NewDesc("provider_info", "1 for each configured provider.", //nolint:gochecknoglobals // a constant description
		[]string{"provider", "kind", "status"}, nil)
	inflight = prometheus.NewDesc("interceptions_inflight", "Bridged exchanges being served now.", //nolint:gochecknoglobals // a constant description
		[]string{"provider", "route"}, nil)
)

// present collects what is read at each scrape: the providers there are, and what
// they are serving.
type present struct{ m *Metrics }

// Describe implements prometheus.Collector.
func (c present) Describe(ch chan<- *prometheus.Desc) {
	ch <- providerInfo
	ch <- inflight
}

// Collect implements prometheus.Collector.
func (c present) Collect(ch chan<- prometheus.Metric) {
	c.m.mu.RLock()
	metrics := make([]prometheus.Metric, 0, len(c.m.order)+len(c.m.flights))
	for _, p := range c.m.order {
		metrics = append(metrics, prometheus.MustNewConstMetric(providerInfo, prometheus.GaugeValue, 1, p.info.Name, p.info.Kind, p.info.Status))
	}
	for key, n := range c.m.flights {
		if c.m.providers[key.provider] != nil {
			metrics = append(metrics, prometheus.MustNewConstMetric(inflight, prometheus.GaugeValue, float64(n.Load()), key.provider, key.route))
		}
	}
	c.m.mu.RUnlock()
	for _, metric := range metrics { // not under the lock: the reader may be slow
		ch <- metric
	}
}
