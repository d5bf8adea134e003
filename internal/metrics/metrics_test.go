package metrics

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/metrics/metricstest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func setup(names ...string) (*Metrics, *prometheus.Registry) {
	reg := prometheus.NewPedanticRegistry()
	m := New(prometheus.WrapRegistererWithPrefix("keybridge_", reg))
	m.SetProviders(providers(names...))
	return m, reg
}

func providers(names ...string) []ProviderInfo {
	var infos []ProviderInfo
	for _, name := range names {
		infos = append(infos, ProviderInfo{Name: name, Kind: "openai", Status: "enabled"})
	}
	return infos
}

// chat is a bridged exchange that took a second and began after 200 ms.
func chat(provider, model string) *ledger.Exchange {
	return &ledger.Exchange{
		Provider: provider, Route: "/v1/chat/completions", Method: "POST", Bridged: true, Model: model,
		Start: start, FirstEvent: start.Add(200 * time.Millisecond), End: start.Add(time.Second),
		HTTPStatus: 200, Status: ledger.Completed,
	}
}

func serve(m *Metrics, e *ledger.Exchange) {
	m.Started(e)
	for i := range e.Attempts {
		m.Attempted(e, &e.Attempts[i])
	}
	m.Finished(e)
}

func TestBridged(t *testing.T) {
	m, reg := setup("openai")
	e := chat("openai", "gpt-5-mini-2025-08-07")
	e.Turns = []llm.Turn{
		{Usage: llm.Usage{Input: 10, Output: 5, CacheRead: 100, CacheWrite: 3, Reasoning: 2}},
		{Usage: llm.Usage{Input: 1, Output: 1}},
	}
	serve(m, e)
	failed := chat("openai", "made-up")
	failed.Status, failed.FirstEvent, failed.End = ledger.Failed, time.Time{}, start.Add(20*time.Minute)
	serve(m, failed)
	gone := chat("openai", "gpt-5-mini")
	gone.Status = ledger.Cancelled
	serve(m, gone)

	metricstest.Compare(t, reg, `
		# TYPE keybridge_interceptions_total counter
		keybridge_interceptions_total{provider="openai",model="gpt-5-mini",route="/v1/chat/completions",status="completed"} 1
		keybridge_interceptions_total{provider="openai",model="gpt-5-mini",route="/v1/chat/completions",status="failed"} 0
		keybridge_interceptions_total{provider="openai",model="gpt-5-mini",route="/v1/chat/completions",status="cancelled"} 1
		keybridge_interceptions_total{provider="openai",model="other",route="/v1/chat/completions",status="completed"} 0
		keybridge_interceptions_total{provider="openai",model="other",route="/v1/chat/completions",status="failed"} 1
		keybridge_interceptions_total{provider="openai",model="other",route="/v1/chat/completions",status="cancelled"} 0
		# TYPE keybridge_interceptions_inflight gauge
		keybridge_interceptions_inflight{provider="openai",route="/v1/chat/completions"} 0
		# TYPE keybridge_tokens_total counter
		keybridge_tokens_total{provider="openai",model="gpt-5-mini",type="input"} 11
		keybridge_tokens_total{provider="openai",model="gpt-5-mini",type="output"} 6
		keybridge_tokens_total{provider="openai",model="gpt-5-mini",type="cache_read"} 100
		keybridge_tokens_total{provider="openai",model="gpt-5-mini",type="cache_write"} 3
		keybridge_tokens_total{provider="openai",model="gpt-5-mini",type="reasoning"} 2
		`, "keybridge_interceptions_total", "keybridge_interceptions_inflight", "keybridge_tokens_total")
	metricstest.Compare(t, reg, "# TYPE keybridge_time_to_first_event_seconds histogram\n"+durations("keybridge_time_to_first_event_seconds", "gpt-5-mini", 2, 0.4, 0.2)+
		durations("keybridge_time_to_first_event_seconds", "other", 0, 0, 0), "keybridge_time_to_first_event_seconds")
	metricstest.Compare(t, reg, "# TYPE keybridge_interceptions_duration_seconds histogram\n"+durations("keybridge_interceptions_duration_seconds", "gpt-5-mini", 2, 2, 1)+
		durations("keybridge_interceptions_duration_seconds", "other", 1, 1200, 1200), "keybridge_interceptions_duration_seconds")
	metricstest.Absent(t, reg, "keybridge_passthrough_total")
}

// durations writes a histogram of n observations of the same length.
func durations(name, model string, n int, sum, each float64) string {
	var b strings.Builder
	at := fmt.Sprintf(`provider="openai",model="%s",route="/v1/chat/completions"`, model)
	for _, bound := range []float64{0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60, 120, 300, 600, 900} {
		count := 0
		if each <= bound {
			count = n
		}
		fmt.Fprintf(&b, "%s_bucket{%s,le=\"%v\"} %d\n", name, at, bound, count)
	}
	fmt.Fprintf(&b, "%s_bucket{%s,le=\"+Inf\"} %d\n%s_sum{%s} %v\n%s_count{%s} %d\n", name, at, n, name, at, sum, name, at, n)
	return b.String()
}

func TestPassthrough(t *testing.T) {
	m, reg := setup("openai")
	for _, tt := range []struct {
		method string
		status int
	}{{"GET", 200}, {"GET", 204}, {"POST", 301}, {"DELETE", 404}, {"POST", 503}, {"POST", 0}, {"BREW", 999}} {
		serve(m, &ledger.Exchange{Provider: "openai", Route: "/v1/files", Method: tt.method, HTTPStatus: tt.status, Status: ledger.Completed})
	}
	serve(m, &ledger.Exchange{Provider: "openai", Method: "GET", HTTPStatus: 404, Status: ledger.Failed}) // no route has it
	metricstest.Compare(t, reg, `
		# TYPE keybridge_passthrough_total counter
		keybridge_passthrough_total{provider="openai",route="other",method="GET",class="4xx"} 1
		keybridge_passthrough_total{provider="openai",route="/v1/files",method="GET",class="2xx"} 2
		keybridge_passthrough_total{provider="openai",route="/v1/files",method="POST",class="3xx"} 1
		keybridge_passthrough_total{provider="openai",route="/v1/files",method="DELETE",class="4xx"} 1
		keybridge_passthrough_total{provider="openai",route="/v1/files",method="POST",class="5xx"} 1
		keybridge_passthrough_total{provider="openai",route="/v1/files",method="POST",class="none"} 1
		keybridge_passthrough_total{provider="openai",route="/v1/files",method="other",class="none"} 1
		`, "keybridge_passthrough_total")
	metricstest.Absent(t, reg, "keybridge_interceptions_total", "keybridge_interceptions_inflight", "keybridge_tokens_total")
}

func TestAttempts(t *testing.T) {
	m, reg := setup("openai")
	e := chat("openai", "gpt-5")
	e.Attempts = []ledger.Attempt{
		{Status: 200},
		{Status: 200, Reason: "upstream_error"},
		{Status: 307, Reason: ""},
		{Status: 429, Reason: "rate_limited"},
		{Status: 529, Reason: "upstream_error"},
		{Reason: "timeout"},
		{Reason: "upstream_error"},
		{Status: 777, Reason: "upstream_error"},
		{},
	}
	serve(m, e)
	metricstest.Compare(t, reg, `
		# TYPE keybridge_upstream_attempts_total counter
		keybridge_upstream_attempts_total{provider="openai",class="2xx"} 2
		keybridge_upstream_attempts_total{provider="openai",class="3xx"} 1
		keybridge_upstream_attempts_total{provider="openai",class="4xx"} 1
		keybridge_upstream_attempts_total{provider="openai",class="5xx"} 1
		keybridge_upstream_attempts_total{provider="openai",class="timeout"} 1
		keybridge_upstream_attempts_total{provider="openai",class="error"} 2
		keybridge_upstream_attempts_total{provider="openai",class="cancelled"} 1
		`, "keybridge_upstream_attempts_total")
}

func TestHostileUsage(t *testing.T) {
	m, reg := setup("openai")
	e := chat("openai", "gpt-5")
	e.Turns = []llm.Turn{{Usage: llm.Usage{Input: -5, Output: 7}}}
	serve(m, e) // a counter panics when it is made to go back
	metricstest.Compare(t, reg, `
		# TYPE keybridge_tokens_total counter
		keybridge_tokens_total{provider="openai",model="gpt-5",type="input"} 0
		keybridge_tokens_total{provider="openai",model="gpt-5",type="output"} 7
		keybridge_tokens_total{provider="openai",model="gpt-5",type="cache_read"} 0
		keybridge_tokens_total{provider="openai",model="gpt-5",type="cache_write"} 0
		keybridge_tokens_total{provider="openai",model="gpt-5",type="reasoning"} 0
		`, "keybridge_tokens_total")
}

func TestReload(t *testing.T) {
	m, reg := setup()
	names := []string{"keybridge_config_last_reload_successful", "keybridge_config_last_reload_success_timestamp_seconds"}
	want := func(ok int, at string) string {
		return fmt.Sprintf("# TYPE %s gauge\n%s %d\n# TYPE %s gauge\n%s %s\n", names[0], names[0], ok, names[1], names[1], at)
	}
	metricstest.Compare(t, reg, want(0, "0"), names...)
	m.Reloaded(true, time.UnixMilli(1_790_000_000_500))
	metricstest.Compare(t, reg, want(1, "1790000000.5"), names...)
	m.Reloaded(false, time.UnixMilli(1_800_000_000_000))
	metricstest.Compare(t, reg, want(0, "1790000000.5"), names...)
}

func TestProvidersComeAndGo(t *testing.T) {
	m, reg := setup("kept", "gone")
	pass := &ledger.Exchange{Provider: "gone", Route: "/v1/models", Method: "GET", HTTPStatus: 200}
	bridged := chat("gone", "gpt-5")
	bridged.Turns = []llm.Turn{{Usage: llm.Usage{Input: 1}}}
	late := chat("gone", "gpt-4o")
	late.Turns, late.Attempts = bridged.Turns, []ledger.Attempt{{Status: 200}}
	serve(m, pass)
	serve(m, bridged)
	serve(m, chat("kept", "gpt-5"))
	m.Started(late)

	m.SetProviders([]ProviderInfo{{Name: "new", Kind: "anthropic", Status: "enabled"}, {Name: "kept", Kind: "openai", Status: "disabled"}})
	check := func() {
		t.Helper()
		families, err := reg.Gather()
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range families {
			if strings.Contains(f.String(), `value:"gone"`) {
				t.Errorf("a series of the removed provider is left: %s", f)
			}
		}
		metricstest.Compare(t, reg, `
			# TYPE keybridge_provider_info gauge
			keybridge_provider_info{provider="kept",kind="openai",status="disabled"} 1
			keybridge_provider_info{provider="new",kind="anthropic",status="enabled"} 1
			# TYPE keybridge_interceptions_total counter
			keybridge_interceptions_total{provider="kept",model="gpt-5",route="/v1/chat/completions",status="completed"} 1
			keybridge_interceptions_total{provider="kept",model="gpt-5",route="/v1/chat/completions",status="failed"} 0
			keybridge_interceptions_total{provider="kept",model="gpt-5",route="/v1/chat/completions",status="cancelled"} 0
			# TYPE keybridge_interceptions_inflight gauge
			keybridge_interceptions_inflight{provider="kept",route="/v1/chat/completions"} 0
			`, "keybridge_provider_info", "keybridge_interceptions_total", "keybridge_interceptions_inflight")
	}
	check()
	serve(m, bridged)
	serve(m, pass)
	m.Attempted(late, &late.Attempts[0])
	check()

	// A provider of the same name comes back while the old exchange still runs.
	m.SetProviders(providers("gone"))
	metricstest.Absent(t, reg, "keybridge_interceptions_total", "keybridge_tokens_total", "keybridge_passthrough_total")
	metricstest.Compare(t, reg, `
		# TYPE keybridge_interceptions_inflight gauge
		keybridge_interceptions_inflight{provider="gone",route="/v1/chat/completions"} 1
		`, "keybridge_interceptions_inflight")
	m.Finished(late)
	metricstest.Compare(t, reg, `
		# TYPE keybridge_interceptions_inflight gauge
		keybridge_interceptions_inflight{provider="gone",route="/v1/chat/completions"} 0
		`, "keybridge_interceptions_inflight")
}

// Counting, scraping and reloading at once leaves no count behind and brings no
// removed provider back.
func TestConcurrent(t *testing.T) {
	m, reg := setup("a", "b")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			for i := range 500 {
				e := chat([]string{"a", "b"}[i%2], []string{"gpt-5", "gpt-4o", "x"}[(i+w)%3])
				e.Turns = []llm.Turn{{Usage: llm.Usage{Input: 1}}}
				e.Attempts = []ledger.Attempt{{Status: 200}}
				serve(m, e)
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			m.SetProviders(providers("a"))
			if _, err := reg.Gather(); err != nil {
				t.Error(err)
			}
			m.SetProviders(providers("a", "b"))
		}
		m.SetProviders(providers("a"))
	})
	wg.Wait()
	total := 0.0
	for _, model := range []string{"gpt-5", "gpt-4o", other} {
		total += testutil.ToFloat64(m.interceptions.WithLabelValues("a", model, "/v1/chat/completions", "completed"))
	}
	if total != 1000 {
		t.Errorf("a kept provider counts %v of 1000 exchanges", total)
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
	metricstest.Compare(t, reg, `
		# TYPE keybridge_interceptions_inflight gauge
		keybridge_interceptions_inflight{provider="a",route="/v1/chat/completions"} 0
		`, "keybridge_interceptions_inflight")
}

func TestModelsAreClosed(t *testing.T) {
	m, reg := setup("openai")
	r := rand.New(rand.NewPCG(1, 2))
	series := 0
	for i := range 20_000 {
		model := fmt.Sprintf("%s-%x", []string{"model", "gpt-9x", "llm/acme", "claude", ""}[i%5], r.Uint64())
		serve(m, chat("openai", model))
		if i == 10 {
			series = testutil.CollectAndCount(m.interceptions)
		}
	}
	if n := testutil.CollectAndCount(m.interceptions); n != series || n != 3 {
		t.Errorf("%d series after random models, %d at first, want the 3 of %q", n, series, other)
	}
	if n, err := testutil.GatherAndCount(reg); err != nil || n > 20 {
		t.Errorf("%d series in all, %v", n, err)
	}
}

func TestLint(t *testing.T) {
	m, reg := setup("openai")
	e := chat("openai", "gpt-5")
	e.Turns, e.Charges = []llm.Turn{{Usage: llm.Usage{Input: 1}}}, []ledger.Charge{{Picos: 1}}
	serve(m, e)
	serve(m, &ledger.Exchange{Provider: "openai", Route: "/v1/models", Method: "GET", HTTPStatus: 200})
	m.Reloaded(true, start)
	m.SetServers([]string{"tickets"})
	RegisterServers(prometheus.WrapRegistererWithPrefix("keybridge_", reg), func() []Server { return []Server{{Name: "tickets"}} })
	RegisterRecord(prometheus.WrapRegistererWithPrefix("keybridge_", reg), func() (int, int) { return 0, 0 }).Wrote(time.Second, "full")
	problems, err := testutil.GatherAndLint(reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	if len(families) != 25 {
		t.Errorf("%d families were linted, want all 25", len(families))
	}
}

func TestSteadyStateDoesNotAllocate(t *testing.T) {
	m, _ := setup("openai")
	e := chat("openai", "gpt-4o-mini-2024-07-18")
	e.Turns = []llm.Turn{{Usage: llm.Usage{Input: 1, Output: 1}}}
	e.Attempts, e.Charges = []ledger.Attempt{{Status: 200}}, []ledger.Charge{{Picos: 1}}
	m.SetServers([]string{"tickets"})
	e.Tools, e.Loop = []ledger.ToolUse{{Server: "tickets", Outcome: ledger.ToolOK}}, 2
	serve(m, e)
	if n := testing.AllocsPerRun(200, func() { serve(m, e) }); n != 0 {
		t.Errorf("%v allocations per exchange", n)
	}
}
