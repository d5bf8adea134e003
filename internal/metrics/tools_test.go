package metrics

import (
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/metrics/metricstest"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

const (
	invocations  = "keybridge_injected_tool_invocations_total"
	toolDuration = "keybridge_injected_tool_duration_seconds"
	loopTurns    = "keybridge_tool_loop_turns"
)

// looped is an exchange in which tools were called.
func looped(turns int, uses ...ledger.ToolUse) *ledger.Exchange {
	e := chat("openai", "gpt-5")
	e.Loop, e.Tools = turns, uses
	return e
}

// invoked writes all series of a server; those that are not named are 0.
func invoked(server string, counts map[ledger.ToolOutcome]int) string {
	var b strings.Builder
	for _, outcome := range []ledger.ToolOutcome{"ok", "tool_error", "refused", "timeout", "unavailable", "invalid", "cancelled"} {
		fmt.Fprintf(&b, "%s{server=%q,outcome=%q} %d\n", invocations, server, outcome, counts[outcome])
	}
	return b.String()
}

// buckets writes a histogram of these observations.
func buckets(name, label string, bounds []float64, observed ...float64) string {
	var b strings.Builder
	sum, braces := 0.0, ""
	for _, v := range observed {
		sum += v
	}
	if label != "" {
		braces, label = "{"+label+"}", label+","
	}
	for _, bound := range bounds {
		count := 0
		for _, v := range observed {
			if v <= bound {
				count++
			}
		}
		fmt.Fprintf(&b, "%s_bucket{%sle=\"%v\"} %d\n", name, label, bound, count)
	}
	fmt.Fprintf(&b, "%s_bucket{%sle=\"+Inf\"} %d\n%s_sum%s %v\n%s_count%s %d\n", name, label, len(observed), name, braces, sum, name, braces, len(observed))
	return b.String()
}

func TestTools(t *testing.T) {
	m, reg := setup("openai")
	m.SetServers([]string{"tickets", "deploy", "idle"})
	serve(m, looped(1))
	serve(m, looped(0)) // no tools were offered
	serve(
		m, looped(
			3,
			ledger.ToolUse{Server: "tickets", Outcome: ledger.ToolOK, Duration: 250 * time.Millisecond},
			ledger.ToolUse{Server: "tickets", Outcome: ledger.ToolOK, Duration: time.Second},
			ledger.ToolUse{Server: "tickets", Outcome: ledger.ToolFailed, Duration: 2 * time.Second},
			ledger.ToolUse{Server: "tickets", Outcome: ledger.ToolRefused},
			ledger.ToolUse{Server: "deploy", Outcome: ledger.ToolTimeout, Duration: time.Minute},
			ledger.ToolUse{Server: "deploy", Outcome: ledger.ToolUnavailable, Duration: 10 * time.Millisecond},
			ledger.ToolUse{Server: "deploy", Outcome: ledger.ToolInvalid, Duration: 10 * time.Millisecond},
			ledger.ToolUse{Server: "deploy", Outcome: ledger.ToolCancelled, Duration: 10 * time.Millisecond},
			// What a model makes up is no label.
			ledger.ToolUse{Tool: "kb_made_up", Outcome: ledger.ToolRefused},
			ledger.ToolUse{Server: "made-up", Outcome: ledger.ToolRefused},
			ledger.ToolUse{Server: "deploy", Outcome: "made-up"},
		),
	)
	metricstest.Compare(t, reg, "# TYPE "+invocations+" counter\n"+
		invoked("tickets", map[ledger.ToolOutcome]int{"ok": 2, "tool_error": 1, "refused": 1})+
		invoked("deploy", map[ledger.ToolOutcome]int{"timeout": 1, "unavailable": 1, "invalid": 1, "cancelled": 1})+
		invoked("idle", nil), invocations)
	metricstest.Compare(t, reg, "# TYPE "+toolDuration+" histogram\n"+
		buckets(toolDuration, `server="tickets"`, seconds, 0.25, 1, 2)+
		buckets(toolDuration, `server="deploy"`, seconds, 60, 0.01, 0.01, 0.01)+
		buckets(toolDuration, `server="idle"`, seconds), toolDuration)
	metricstest.Compare(t, reg, "# TYPE "+loopTurns+" histogram\n"+
		buckets(loopTurns, "", []float64{1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64, 100}, 1, 3), loopTurns)
}

func TestNoServers(t *testing.T) {
	m, reg := setup("openai")
	serve(m, looped(0, ledger.ToolUse{Server: "tickets", Outcome: ledger.ToolOK}))
	RegisterServers(reg, func() []Server { return nil })
	metricstest.Absent(t, reg, invocations, toolDuration, "mcp_server_up", "mcp_server_tools")
}

func TestServersComeAndGo(t *testing.T) {
	m, reg := setup("openai")
	m.SetServers([]string{"kept", "gone"})
	both := looped(2, ledger.ToolUse{Server: "kept", Outcome: ledger.ToolOK}, ledger.ToolUse{Server: "gone", Outcome: ledger.ToolOK})
	serve(m, both)
	m.SetServers([]string{"new", "kept"})
	serve(m, both) // it began before
	metricstest.Compare(t, reg, "# TYPE "+invocations+" counter\n"+
		invoked("kept", map[ledger.ToolOutcome]int{"ok": 2})+invoked("new", nil), invocations)
	metricstest.Compare(t, reg, "# TYPE "+toolDuration+" histogram\n"+
		buckets(toolDuration, `server="kept"`, seconds, 0, 0)+buckets(toolDuration, `server="new"`, seconds), toolDuration)
	m.SetServers([]string{"gone"})
	metricstest.Compare(t, reg, "# TYPE "+invocations+" counter\n"+invoked("gone", nil), invocations)
	m.SetServers(nil)
	metricstest.Absent(t, reg, invocations, toolDuration)
}

func TestServersAreReadAtEachScrape(t *testing.T) {
	reg := prometheus.NewPedanticRegistry()
	now := []Server{{Name: "tickets", Up: true, Tools: 12}, {Name: "deploy"}}
	RegisterServers(prometheus.WrapRegistererWithPrefix("keybridge_", reg), func() []Server { return now })
	metricstest.Compare(t, reg, `
		# TYPE keybridge_mcp_server_up gauge
		keybridge_mcp_server_up{server="tickets"} 1
		keybridge_mcp_server_up{server="deploy"} 0
		# TYPE keybridge_mcp_server_tools gauge
		keybridge_mcp_server_tools{server="tickets"} 12
		keybridge_mcp_server_tools{server="deploy"} 0
		`, "keybridge_mcp_server_up", "keybridge_mcp_server_tools")
	now = []Server{{Name: "deploy", Up: true, Tools: 1}}
	metricstest.Compare(t, reg, `
		# TYPE keybridge_mcp_server_up gauge
		keybridge_mcp_server_up{server="deploy"} 1
		# TYPE keybridge_mcp_server_tools gauge
		keybridge_mcp_server_tools{server="deploy"} 1
		`, "keybridge_mcp_server_up", "keybridge_mcp_server_tools")
}

// Calls that end while servers come and go are neither lost nor bring one back.
func TestToolsConcurrent(t *testing.T) {
	m, reg := setup("openai")
	m.SetServers([]string{"a", "b"})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 250 {
				serve(m, looped(1, ledger.ToolUse{Server: "a", Outcome: ledger.ToolOK}, ledger.ToolUse{Server: "b", Outcome: ledger.ToolOK}))
			}
		})
	}
	wg.Go(func() {
		for range 100 {
			m.SetServers([]string{"a"})
			m.SetServers([]string{"a", "b"})
		}
		m.SetServers([]string{"a"})
	})
	wg.Wait()
	if n := testutil.ToFloat64(m.tools.calls.WithLabelValues("a", "ok")); n != 1000 {
		t.Errorf("a kept server counts %v of 1000 calls", n)
	}
	metricstest.Compare(t, reg, "# TYPE "+invocations+" counter\n"+invoked("a", map[ledger.ToolOutcome]int{"ok": 1000}), invocations)
}
