package metrics

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/metrics/metricstest"
	"keybridge/internal/record"
	"keybridge/internal/store"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var _ record.Observer = (*Record)(nil)

var costNames = []string{"keybridge_cost_usd_total", "keybridge_unpriced_tokens_total", "keybridge_usage_unreported_total"}

func TestCosts(t *testing.T) {
	m, reg := setup("anthropic", "openai")
	e := chat("anthropic", "claude-opus-5-20260401")
	e.Turns = []llm.Turn{{Complete: true, Reported: true}, {Complete: true, Reported: true}}
	e.Charges = []ledger.Charge{
		{Model: "claude-opus-5", Picos: 1_250_000_000_000},
		{Turn: 1, Model: "claude-haiku-4-5", Picos: 500},
		{Turn: 1, Model: "made-up", Unpriced: 42},
	}
	serve(m, e)
	serve(m, e)
	unknown := chat("openai", "acme-large")
	unknown.Charges = []ledger.Charge{{Unpriced: 1000}, {Picos: -5, Unpriced: -7}} // a counter panics when it is made to go back
	serve(m, unknown)
	byok := chat("openai", "gpt-4o") // nobody is charged
	byok.Principal.Credential = ledger.BYOK
	byok.Turns = []llm.Turn{{Complete: true, Reported: true, Usage: llm.Usage{Input: 1}}}
	serve(m, byok)
	gone := chat("removed", "gpt-5")
	gone.Charges = e.Charges
	serve(m, gone)

	metricstest.Compare(t, reg, `
		# TYPE keybridge_cost_usd_total counter
		keybridge_cost_usd_total{provider="anthropic",model="claude-opus-5"} 2.500000001
		keybridge_cost_usd_total{provider="openai",model="other"} 0
		# TYPE keybridge_unpriced_tokens_total counter
		keybridge_unpriced_tokens_total{provider="anthropic",model="claude-opus-5"} 84
		keybridge_unpriced_tokens_total{provider="openai",model="other"} 1000
		# TYPE keybridge_usage_unreported_total counter
		keybridge_usage_unreported_total{provider="anthropic",model="claude-opus-5"} 0
		keybridge_usage_unreported_total{provider="openai",model="other"} 0
		`, costNames...)
	m.SetProviders(providers("openai"))
	m.SetProviders(providers("openai", "anthropic"))
	metricstest.Compare(t, reg, `
		# TYPE keybridge_cost_usd_total counter
		keybridge_cost_usd_total{provider="openai",model="other"} 0
		# TYPE keybridge_unpriced_tokens_total counter
		keybridge_unpriced_tokens_total{provider="openai",model="other"} 1000
		# TYPE keybridge_usage_unreported_total counter
		keybridge_usage_unreported_total{provider="openai",model="other"} 0
		`, costNames...)
}

func TestUnreported(t *testing.T) {
	m, reg := setup("openai")
	for _, tt := range []struct {
		model  string
		status int
		turns  []llm.Turn
	}{
		{"gpt-5", 200, []llm.Turn{{Complete: true}}},
		{"gpt-5", 200, []llm.Turn{{Complete: true, Reported: true}, {Complete: true}, {Complete: true}}},
		{"gpt-4o", 200, []llm.Turn{{}}},                               // cut off
		{"gpt-4o", 200, []llm.Turn{{Complete: true, Reported: true}}}, // as it should be
		{"gpt-4o", 400, []llm.Turn{{Complete: true}}},                 // an error costs nothing
	} {
		e := chat("openai", tt.model)
		e.HTTPStatus, e.Turns = tt.status, tt.turns
		serve(m, e)
	}
	metricstest.Compare(t, reg, `
		# TYPE keybridge_usage_unreported_total counter
		keybridge_usage_unreported_total{provider="openai",model="gpt-5"} 3
		`, "keybridge_usage_unreported_total")
}

func TestRecord(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	queued, spooled := 0, 0
	r := RegisterRecord(prometheus.WrapRegistererWithPrefix("keybridge_", reg), func() (int, int) { return queued, spooled })
	plain := []string{"keybridge_record_exchanges_total", "keybridge_record_drops_total", "keybridge_record_waits_total", "keybridge_record_queue_depth", "keybridge_record_spooled"}
	metricstest.Compare(t, reg, `
		# TYPE keybridge_record_exchanges_total counter
		keybridge_record_exchanges_total{outcome="written"} 0
		keybridge_record_exchanges_total{outcome="late"} 0
		keybridge_record_exchanges_total{outcome="rejected"} 0
		keybridge_record_exchanges_total{outcome="refused"} 0
		keybridge_record_exchanges_total{outcome="dropped"} 0
		# TYPE keybridge_record_drops_total counter
		keybridge_record_drops_total{reason="full"} 0
		keybridge_record_drops_total{reason="stopped"} 0
		keybridge_record_drops_total{reason="damaged"} 0
		# TYPE keybridge_record_waits_total counter
		keybridge_record_waits_total 0
		# TYPE keybridge_record_queue_depth gauge
		keybridge_record_queue_depth 0
		# TYPE keybridge_record_spooled gauge
		keybridge_record_spooled 0
		`, plain...)
	const errors = "keybridge_record_write_errors_total"
	failed := func(full, timeout int) string {
		lines := []string{"# TYPE " + errors + " counter"}
		for _, kind := range []store.Kind{
			store.ReadOnly, store.Corrupt, store.Locked, store.Unreachable, store.Denied, store.Newer, store.Content, store.Panic, store.Closed, store.Other,
		} {
			lines = append(lines, fmt.Sprintf("%s{kind=%q} 0", errors, kind))
		}
		lines = append(lines, fmt.Sprintf("%s{kind=%q} %d\n%s{kind=%q} %d\n", errors, store.Full, full, errors, store.Timeout, timeout))
		return strings.Join(lines, "\n")
	}
	metricstest.Compare(t, reg, failed(0, 0), errors)

	r.Recorded(record.Written, 500)
	r.Recorded(record.Written, 12)
	r.Recorded(record.Late, 3)
	r.Recorded(record.Rejected, 1)
	r.Recorded(record.Refused, 2)
	r.Dropped(record.Full, 4)
	r.Dropped(record.Stopped, 5)
	r.Dropped(record.Damaged, 6)
	r.Waited()
	r.Wrote(3*time.Millisecond, "")
	r.Wrote(5*time.Second, "timeout")
	r.Wrote(time.Second, "full")
	r.Wrote(time.Second, "full")
	queued, spooled = 7, 70_000
	metricstest.Compare(t, reg, `
		# TYPE keybridge_record_exchanges_total counter
		keybridge_record_exchanges_total{outcome="written"} 512
		keybridge_record_exchanges_total{outcome="late"} 3
		keybridge_record_exchanges_total{outcome="rejected"} 1
		keybridge_record_exchanges_total{outcome="refused"} 2
		keybridge_record_exchanges_total{outcome="dropped"} 15
		# TYPE keybridge_record_drops_total counter
		keybridge_record_drops_total{reason="full"} 4
		keybridge_record_drops_total{reason="stopped"} 5
		keybridge_record_drops_total{reason="damaged"} 6
		# TYPE keybridge_record_waits_total counter
		keybridge_record_waits_total 1
		# TYPE keybridge_record_queue_depth gauge
		keybridge_record_queue_depth 7
		# TYPE keybridge_record_spooled gauge
		keybridge_record_spooled 70000
		`, plain...)
	metricstest.Compare(t, reg, failed(2, 1), errors)
	const flush = "keybridge_record_flush_seconds"
	metricstest.Compare(t, reg, "# TYPE "+flush+" histogram\n"+
		buckets(flush, "", []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10}, 0.003, 5, 1, 1), flush)
}

// Costs that are counted while providers come and go are neither lost nor bring one back.
func TestCostsConcurrent(t *testing.T) {
	m, reg := setup("a", "b")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range 500 {
				e := chat([]string{"a", "b"}[i%2], "gpt-5")
				e.Charges = []ledger.Charge{{Picos: 1e12}}
				serve(m, e)
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			m.SetProviders(providers("a"))
			m.SetProviders(providers("a", "b"))
		}
		m.SetProviders(providers("a"))
	})
	wg.Wait()
	if got := testutil.ToFloat64(m.dollars.WithLabelValues("a", "gpt-5")); got != 1000 {
		t.Errorf("a kept provider's answers cost %v of 1000 dollars", got)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if strings.Contains(f.String(), `value:"b"`) {
			t.Errorf("a series of the removed provider is left: %s", f)
		}
	}
}
