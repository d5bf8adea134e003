package admin

import (
	"bytes"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// broken is a collector that cannot be gathered.
type broken struct{ desc *prometheus.Desc }

func (b broken) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b broken) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, errors.New("collector broke"))
}

type side struct {
	url     string
	log     *bytes.Buffer
	ready   error
	reload  error
	reloads int
}

func serve(t *testing.T) *side {
	t.Helper()
	s := &side{log: &bytes.Buffer{}}
	reg := prometheus.NewRegistry()
	good := prometheus.NewCounter(prometheus.CounterOpts{Name: "good_total", Help: "Good."})
	reg.MustRegister(good)
	reg.MustRegister(broken{prometheus.NewDesc("broken_total", "Broken.", nil, nil)})
	server := httptest.NewServer(New(Options{
		Gatherer: reg,
		Ready:    func() error { return s.ready },
		Reload:   func() error { s.reloads++; return s.reload },
		Mounts: map[string]http.Handler{
			"/simulator/": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { io.WriteString(w, r.Method+" "+r.URL.Path) }),
			"/also":       http.NotFoundHandler(),
		},
		Log: slog.New(slog.NewTextHandler(s.log, nil)),
	}))
	t.Cleanup(server.Close)
	s.url = server.URL
	return s
}

func (s *side) do(t *testing.T, method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	r, err := http.NewRequest(method, s.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		if header[i] == "Host" {
			r.Host = header[i+1]
		} else {
			r.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(body)
}

func TestPages(t *testing.T) {
	tests := []struct {
		name, method, path string
		header             []string
		ready, reload      error
		status             int
		allow              string
		body               string // the whole of it, or with … a part
		reloads            int
	}{
		{name: "health", method: "GET", path: "/healthz", status: 200, body: "ok\n"},
		{name: "health while draining", method: "GET", path: "/healthz", ready: errors.New("draining"), status: 200, body: "ok\n"},
		{name: "health, head", method: "HEAD", path: "/healthz", status: 200},
		{name: "health, post", method: "POST", path: "/healthz", status: 405, allow: "GET, HEAD", body: "the method is not for this path: use GET, HEAD\n"},
		{name: "ready", method: "GET", path: "/readyz", status: 200, body: "ready\n"},
		{name: "not ready", method: "GET", path: "/readyz", ready: errors.New("draining"), status: 503, body: "not ready: draining\n"},
		{name: "metrics", method: "GET", path: "/metrics", status: 200, body: "…good_total 0"},
		{name: "metrics, delete", method: "DELETE", path: "/metrics", status: 405, allow: "GET, HEAD", body: "the method is not for this path: use GET, HEAD\n"},
		{name: "index", method: "GET", path: "/", status: 200, body: "…POST /-/reload  read the configuration again\n     /also/\n     /simulator/\n"},
		{name: "unknown", method: "GET", path: "/nope", status: 404, body: "there is nothing at this path: / lists what there is\n"},
		{name: "unknown, of the record", method: "GET", path: "/interceptions/", status: 404, body: `…"message": "there is nothing at this path: / lists what there is"`},
		{name: "method, of the record", method: "PUT", path: "/usage", status: 405, allow: "GET, HEAD", body: `…"message": "the method is not for this path: use GET, HEAD"`},
		{name: "reload", method: "POST", path: "/-/reload", status: 200, body: "reloaded\n", reloads: 1},
		{
			name: "reload of a bad file", method: "POST", path: "/-/reload", reload: errors.New("a.yaml:1: first\na.yaml:9: second"), status: 500,
			body: "The configuration was not reloaded, the old one stays in force:\na.yaml:1: first\na.yaml:9: second\n", reloads: 1,
		},
		{name: "reload, as JSON", method: "POST", path: "/-/reload", header: []string{"Accept", "application/json"}, status: 200, body: "{\n  \"reloaded\": true\n}\n", reloads: 1},
		{
			name: "reload of a bad file, as JSON", method: "POST", path: "/-/reload", header: []string{"Accept", "application/json"}, reload: errors.New("a.yaml:1: first"),
			status: 500, body: `…"message": "The configuration was not reloaded, the old one stays in force:\na.yaml:1: first"`, reloads: 1,
		},
		{name: "reload by get", method: "GET", path: "/-/reload", status: 405, allow: "POST", body: "the method is not for this path: use POST\n"},
		{name: "mount", method: "PUT", path: "/simulator/faults", status: 200, body: "PUT /faults"},
		{name: "mount's root", method: "GET", path: "/simulator/", status: 200, body: "GET /"},

		{name: "rebound name", method: "GET", path: "/metrics", header: []string{"Host", "evil.example"}, status: 403, body: "…local programs only"},
		{name: "foreign page", method: "POST", path: "/-/reload", header: []string{"Origin", "https://evil.example"}, status: 403, body: "…local programs only"},
		{name: "foreign page at a mount", method: "POST", path: "/simulator/faults", header: []string{"Origin", "null"}, status: 403, body: "…local programs only"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t)
			s.ready, s.reload = tt.ready, tt.reload
			resp, body := s.do(t, tt.method, tt.path, tt.header...)
			matches := body == tt.body
			if part, ok := strings.CutPrefix(tt.body, "…"); ok {
				matches = strings.Contains(body, part)
			}
			if resp.StatusCode != tt.status || !matches {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, body, tt.status, tt.body)
			}
			if got := resp.Header.Get("Allow"); got != tt.allow {
				t.Errorf("Allow %q, want %q", got, tt.allow)
			}
			if s.reloads != tt.reloads {
				t.Errorf("%d reloads, want %d", s.reloads, tt.reloads)
			}
		})
	}
}

func TestBrokenCollectorIsLogged(t *testing.T) {
	s := serve(t)
	if _, body := s.do(t, "GET", "/metrics"); strings.Contains(body, "broken_total") {
		t.Errorf("body has the broken metric:\n%s", body)
	}
	if !strings.Contains(s.log.String(), "collector broke") {
		t.Errorf("log %q does not tell what broke", s.log)
	}
}
