package admin

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// toolSide is the admin side over two servers, of which only alice gets the second.
func toolSide(list func(string) Tools) http.Handler {
	return New(Options{
		Gatherer: prometheus.NewRegistry(), Ready: func() error { return nil }, Reload: func() error { return nil },
		Tools: list, Log: slog.New(slog.DiscardHandler),
	})
}

func twoServers(caller string) Tools {
	t := Tools{
		Known: []string{"alice", "bob"},
		Servers: []ToolServer{
			{Name: "tickets", Up: true, Tools: 2, Protocol: "2025-11-25", Since: time.Date(2026, 11, 1, 13, 0, 0, 0, time.FixedZone("", 3600))},
			{Name: "deploy", Error: "connection refused\x1b[31m\nand more", Callers: []string{"alice"}},
		},
		Tools: []Tool{
			{Name: "kb_tickets_open", Server: "tickets", Tool: "open", Description: "\n Opens a ticket.  \nTakes <a title> & a text."},
			{Name: "kb_tickets_search_all", Server: "tickets", Tool: "search\x1b[2J.all", Description: strings.Repeat("ö", 300)},
		},
	}
	if caller != "bob" {
		t.Tools = append(t.Tools, Tool{Name: "kb_deploy_run", Server: "deploy", Tool: "run"})
	}
	return t
}

func TestTools(t *testing.T) {
	const servers = `"servers":[
		{"name":"tickets","up":true,"since":"2026-11-01T12:00:00Z","protocol":"2025-11-25","tools":2},
		{"name":"deploy","up":false,"error":"connection refused [31m","tools":0,"callers":["alice"]}]`
	tickets := `{"name":"kb_tickets_open","server":"tickets","tool":"open","description":"Opens a ticket."},
		{"name":"kb_tickets_search_all","server":"tickets","tool":"search [2J.all","description":"` + strings.Repeat("ö", 199) + `…"}`
	const deploy = `,{"name":"kb_deploy_run","server":"deploy","tool":"run","description":""}`
	tests := []struct {
		name, path string
		list       func(string) Tools
		status     int
		want       string
	}{
		{"all callers", "/tools", twoServers, 200, `{` + servers + `,"tools":[` + tickets + deploy + `]}`},
		{"one", "/tools?token=alice", twoServers, 200, `{` + servers + `,"caller":"alice","tools":[` + tickets + deploy + `]}`},
		{"another", "/tools?token=bob", twoServers, 200, `{` + servers + `,"caller":"bob","tools":[` + tickets + `]}`},
		{"unknown", "/tools?token=carol", twoServers, 404, `{"error":{"message":"there is no token named \"carol\": the tokens are alice, bob","known":["alice","bob"]}}`},
		{"none configured", "/tools", func(string) Tools { return Tools{} }, 200, `{"servers":[],"tools":[]}`},
		{
			"no tokens", "/tools?token=alice", func(string) Tools { return Tools{} }, 404,
			`{"error":{"message":"there is no token named \"alice\": no tokens are configured, so that every caller gets the same: leave the name out"}}`,
		},
		{"nobody to ask", "/tools", nil, 200, `{"servers":[],"tools":[]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8788"+tt.path, nil)
			r.RemoteAddr = "127.0.0.1:5"
			w := httptest.NewRecorder()
			toolSide(tt.list).ServeHTTP(w, r)
			if diff := cmp.Diff(decoded(t, tt.want), decoded(t, w.Body.String())); w.Code != tt.status || diff != "" {
				t.Errorf("status %d, want %d (-want +got):\n%s", w.Code, tt.status, diff)
			}
		})
	}
}

// What is listed says what the gateway can do: it is guarded like the pools.
func TestToolsRefuseInJSON(t *testing.T) {
	w := httptest.NewRecorder()
	toolSide(twoServers).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "http://evil.example/tools", nil))
	if w.Code != http.StatusForbidden || w.Header().Get("Content-Type") != "application/json" || strings.Contains(w.Body.String(), "tickets") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}
