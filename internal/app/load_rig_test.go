package app_test

import (
	"bytes"
	"io"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"

	"github.com/prometheus/client_golang/prometheus"

	"keybridge/internal/app"
)

// loadLog collects what many goroutines write.
type loadLog struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *loadLog) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *loadLog) bytes() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return bytes.Clone(l.b.Bytes())
}

// loadConfig writes a configuration file under the listeners that every load test
// has.
func loadConfig(t *testing.T, path, text string) {
	t.Helper()
	text = "listen: 127.0.0.1:0\nadmin: 127.0.0.1:0\n" + text
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Error(err)
	}
}

// loadStart starts a gateway; it is stopped with the test unless it has been.
func loadStart(t *testing.T, o app.Options) *app.App {
	t.Helper()
	o.Env = noEnv
	return launch(t, o)
}

// loadFamilies gathers the whole registry by name.
func loadFamilies(t *testing.T, g prometheus.Gatherer) map[string]*dto.MetricFamily {
	t.Helper()
	all, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	byName := make(map[string]*dto.MetricFamily, len(all))
	for _, f := range all {
		byName[f.GetName()] = f
	}
	return byName
}

// loadSeries counts the series of each family.
func loadSeries(t *testing.T, g prometheus.Gatherer) map[string]int {
	t.Helper()
	n := map[string]int{}
	for name, f := range loadFamilies(t, g) {
		n[name] = len(f.GetMetric())
	}
	return n
}

func loadTotal(n map[string]int) int {
	total := 0
	for v := range maps.Values(n) {
		total += v
	}
	return total
}

// loadValues sums a family by the values of the labels, in their order, joined by
// a slash.
func loadValues(f *dto.MetricFamily, labels ...string) map[string]float64 {
	sums := map[string]float64{}
	for _, m := range f.GetMetric() {
		at := make([]string, len(labels))
		for _, l := range m.GetLabel() {
			if i := slices.Index(labels, l.GetName()); i >= 0 {
				at[i] = l.GetValue()
			}
		}
		sums[strings.Join(at, "/")] += m.GetCounter().GetValue() + m.GetGauge().GetValue()
	}
	return sums
}

// loadPoll asks until the condition holds or the time is over, and returns the last
// answer.
func loadPoll(limit time.Duration, holds func() bool) bool {
	end := time.NewTimer(limit)
	defer end.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		if holds() {
			return true
		}
		select {
		case <-tick.C:
		case <-end.C:
			return holds()
		}
	}
}

// loadRead closes the body after it was read as far as it goes.
func loadRead(resp *http.Response) ([]byte, error) {
	defer resp.Body.Close()
	return io.ReadAll(resp.Body)
}
