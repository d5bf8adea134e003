package admin

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"net/netip"
	"strings"

	"keybridge/internal/auth"
)

const (
	notLocal  = "Without an admin_token the operator's side answers local programs only: use http://127.0.0.1 or http://localhost, and no other site's page."
	noToken   = "The operator's side asks for the admin_token: send it as Authorization: Bearer."
	wrongSite = "Pages of another site may not steer the gateway."
)

// guard lets through who presents the token or, where there is none, local programs.
// Nobody but them may learn more than whether the gateway is up.
func guard(next http.Handler, token func() string) http.Handler {
	var browsers http.CrossOriginProtection
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		want := token()
		switch {
		case want == "" && (remote(r) || auth.LocalOnly(r) != nil):
			refuse(w, r, http.StatusForbidden, notLocal)
		case want != "" && !presents(r, want) && !health(r):
			w.Header().Set("WWW-Authenticate", `Bearer realm="keybridge"`)
			refuse(w, r, http.StatusUnauthorized, noToken)
		case browsers.Check(r) != nil:
			refuse(w, r, http.StatusForbidden, wrongSite)
		default:
			next.ServeHTTP(w, r)
		}
	})
}

// health says whether the request asks for what load balancers ask, who have no token.
func health(r *http.Request) bool {
	return (r.Method == http.MethodGet || r.Method == http.MethodHead) && (r.URL.Path == "/healthz" || r.URL.Path == "/readyz")
}

// presents compares hashes, so that the time it takes tells nothing of the token.
func presents(r *http.Request, token string) bool {
	scheme, given, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	a, b := sha256.Sum256([]byte(strings.TrimSpace(given))), sha256.Sum256([]byte(token))
	return strings.EqualFold(scheme, "Bearer") && subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// remote says whether the connection is known to come from another machine.
func remote(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	return err == nil && !from.Addr().Unmap().IsLoopback() // a local socket has no such address
}

// refuse answers in the form that the path's other answers have.
func refuse(w http.ResponseWriter, r *http.Request, status int, text string) {
	first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch first {
	case "pools", "tools", "interceptions", "sessions", "usage", "export", "callers":
		complain(w, status, text, nil)
	default:
		answer(w, status, text)
	}
}
