package admin

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// Who may ask for what, with a token and without.
func TestGuard(t *testing.T) {
	const (
		here, there = "127.0.0.1:5", "192.0.2.1:5"
		token       = "abracadabra"
	)
	bearer := func(s string) http.Header { return http.Header{"Authorization": {s}} }
	tests := []struct {
		name, token  string
		method, path string
		host, from   string
		header       http.Header
		status       int
	}{
		{name: "local", from: here, status: 200},
		{name: "local, IPv6", from: "[::1]:5", status: 200},
		{name: "local, mapped", from: "[::ffff:127.0.0.1]:5", status: 200},
		{name: "a local socket", from: "@", status: 200},
		{name: "a pipe", from: "pipe", status: 200},
		{name: "elsewhere", from: there, status: 403},
		{name: "elsewhere, IPv6", from: "[2001:db8::1]:5", status: 403},
		{name: "elsewhere, reading", method: "GET", path: "/metrics", from: there, status: 403},
		{name: "elsewhere, health", method: "GET", path: "/healthz", from: there, status: 403},
		{name: "rebound name", from: here, host: "evil.example", status: 403},
		{name: "foreign page", from: here, header: http.Header{"Origin": {"https://evil.example"}}, status: 403},
		{name: "foreign page without an origin", from: here, header: http.Header{"Sec-Fetch-Site": {"cross-site"}}, status: 403},
		{name: "a token nobody asked for", from: there, header: bearer("Bearer "), status: 403},

		{name: "token, elsewhere", token: token, from: there, host: "gateway:8788", header: bearer("Bearer " + token), status: 200},
		{name: "token, other spelling", token: token, from: there, header: bearer("bearer  " + token + " "), status: 200},
		{name: "token, local", token: token, from: here, header: bearer("Bearer " + token), status: 200},
		{name: "local without the token", token: token, from: here, status: 401},
		{name: "wrong token", token: token, from: there, header: bearer("Bearer abracadabrA"), status: 401},
		{name: "part of the token", token: token, from: there, header: bearer("Bearer abra"), status: 401},
		{name: "empty token", token: token, from: there, header: bearer("Bearer "), status: 401},
		{name: "other scheme", token: token, from: there, header: bearer("Basic " + token), status: 401},
		{name: "token in another header", token: token, from: there, header: http.Header{"X-Api-Key": {token}}, status: 401},
		{name: "metrics without the token", token: token, method: "GET", path: "/metrics", from: there, status: 401},
		{name: "metrics", token: token, method: "GET", path: "/metrics", from: there, header: bearer("Bearer " + token), status: 200},
		{name: "health without the token", token: token, method: "GET", path: "/healthz", from: there, host: "gateway", status: 200},
		{name: "readiness without the token", token: token, method: "HEAD", path: "/readyz", from: there, status: 200},
		{name: "below health", token: token, method: "GET", path: "/healthz/x", from: there, status: 401},
		{name: "changing at health", token: token, method: "POST", path: "/healthz", from: there, status: 401},
		{name: "unknown path without the token", token: token, method: "GET", path: "/nope", from: there, status: 401},
		{
			name: "foreign page with the token", token: token, from: there, host: "gateway:8788", status: 403,
			header: http.Header{"Authorization": {"Bearer " + token}, "Origin": {"https://evil.example"}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reloads := 0
			h := New(Options{
				Gatherer: prometheus.NewRegistry(), Ready: func() error { return nil }, Token: func() string { return tt.token },
				Reload: func() error { reloads++; return nil }, Log: slog.New(slog.DiscardHandler),
			})
			if tt.path == "" {
				tt.method, tt.path = http.MethodPost, "/-/reload"
			}
			if tt.host == "" {
				tt.host = "127.0.0.1:8788"
			}
			r := httptest.NewRequest(tt.method, tt.path, nil)
			r.RemoteAddr, r.Host = tt.from, tt.host
			if tt.header != nil {
				r.Header = tt.header
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.status {
				t.Errorf("status %d, want %d: %s", w.Code, tt.status, w.Body)
			}
			if done := tt.path == "/-/reload" && tt.status == 200; reloads != map[bool]int{true: 1}[done] {
				t.Errorf("%d reloads", reloads)
			}
			if asked := w.Header().Get("WWW-Authenticate") != ""; asked != (tt.status == 401) {
				t.Errorf("WWW-Authenticate %q", w.Header().Get("WWW-Authenticate"))
			}
		})
	}
}
