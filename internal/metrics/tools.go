package metrics

import (
	"slices"

	"keybridge/internal/ledger"

	"github.com/prometheus/client_golang/prometheus"
)

// turns are the buckets of a tool loop's turns.
var turns = []float64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 100} //nolint:gochecknoglobals // a constant table

var outcomes = [...]ledger.ToolOutcome{ //nolint:gochecknoglobals // a constant table
	ledger.ToolOK, ledger.ToolFailed, ledger.ToolRefused, ledger.ToolTimeout, ledger.ToolUnavailable, ledger.ToolInvalid, ledger.ToolCancelled,
}

// tools are the metrics of the central tools.
type tools struct {
	calls    *prometheus.CounterVec
	duration *prometheus.HistogramVec
	loops    prometheus.Histogram

	servers map[string]*server // under Metrics.mu
}

// server holds the bound series of one MCP server.
type server struct {
	byOutcome [len(outcomes)]prometheus.Counter
	duration  prometheus.Observer
}

func newTools(reg prometheus.Registerer) tools {
	t := tools{
		calls: counter("injected_tool_invocations_total", "Calls of central tools that models made, by the server and how they ended.", "server", "outcome"),
		duration: histogram("injected_tool_duration_seconds", "Time that the calls of central tools took, those left out that were refused before.",
			"server"),
		loops: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "tool_loop_turns", Help: "Turns of the exchanges to which central tools were offered. 1: the model called none.", Buckets: turns,
		}),
	}
	reg.MustRegister(t.calls, t.duration, t.loops)
	return t
}

// SetServers names the MCP servers there are from now on. Calls of others, and those
// of no server, are not counted. The series of a kept server go on; those of a removed
// one are gone from the next scrape.
func (m *Metrics) SetServers(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	before := m.tools.servers
	m.tools.servers = make(map[string]*server, len(names))
	for _, name := range names {
		s := before[name]
		if s == nil {
			s = &server{duration: m.tools.duration.WithLabelValues(name)}
			for i, outcome := range outcomes {
				s.byOutcome[i] = m.tools.calls.WithLabelValues(name, string(outcome))
			}
		}
		m.tools.servers[name] = s
	}
	for name := range before {
		if m.tools.servers[name] == nil {
			gone := prometheus.Labels{"server": name}
			m.tools.calls.DeletePartialMatch(gone)
			m.tools.duration.DeletePartialMatch(gone)
		}
	}
}

// looped counts what an exchange had to do with central tools.
func (m *Metrics) looped(e *ledger.Exchange) {
	if e.Loop > 0 {
		m.tools.loops.Observe(float64(e.Loop))
	}
	for i := range e.Tools {
		use := &e.Tools[i]
		m.mu.RLock()
		s := m.tools.servers[use.Server]
		m.mu.RUnlock()
		outcome := slices.Index(outcomes[:], use.Outcome)
		if s == nil || outcome < 0 {
			continue
		}
		s.byOutcome[outcome].Inc()
		if use.Outcome != ledger.ToolRefused {
			s.duration.Observe(use.Duration.Seconds())
		}
	}
}

// Server is an MCP server as a scrape finds it.
type Server struct {
	Name  string
	Up    bool
	Tools int // that it offers
}

// RegisterServers registers the metrics of what the servers are like; read is called
// at each scrape.
func RegisterServers(reg prometheus.Registerer, read func() []Server) {
	reg.MustRegister(servers(read))
}

var (
	serverUp = prometheus.NewDesc("mcp_server_up", "Whether the MCP server can be called now.", //nolint:gochecknoglobals // a constant description
		[]string{"server"}, nil)
	serverTools = prometheus.NewDesc("mcp_server_tools", "Tools of the MCP server that are offered now.", //nolint:gochecknoglobals // a constant description
		[]string{"server"}, nil)
)

type servers func() []Server

// Describe implements prometheus.Collector.
func (servers) Describe(ch chan<- *prometheus.Desc) {
	ch <- serverUp
	ch <- serverTools
}

// Collect implements prometheus.Collector.
func (read servers) Collect(ch chan<- prometheus.Metric) {
	for _, s := range read() {
		up := 0.0
		if s.Up {
			up = 1
		}
		ch <- prometheus.MustNewConstMetric(serverUp, prometheus.GaugeValue, up, s.Name)
		ch <- prometheus.MustNewConstMetric(serverTools, prometheus.GaugeValue, float64(s.Tools), s.Name)
	}
}
