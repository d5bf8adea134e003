package auth

import (
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"

	"keybridge/internal/fault"
)

// LocalOnly refuses a request that a web page may have caused: one whose Host is
// not a loopback name (a page's own name, rebound to this machine) or whose Origin
// is another than that Host. It returns nil for a request of a local program.
func LocalOnly(r *http.Request) *fault.Error {
	if !loopback(r.Host) {
		return fault.New(fault.Forbidden, "Without a gateway token only requests to a loopback host are served: "+
			"use 127.0.0.1 or localhost in the base URL, or configure tokens.")
	}
	for _, origin := range r.Header["Origin"] {
		if !sameHost(origin, r.Host) {
			return fault.New(fault.Forbidden, "Without a gateway token, web pages of another origin are not served: "+
				"configure tokens to use the gateway from a browser or an application built on one.")
		}
	}
	return nil
}

// sameHost says whether the origin is a page that host itself serves.
func sameHost(origin, host string) bool {
	u, err := url.Parse(origin)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" {
		return false // "null" and an application's own schemes, too
	}
	return u.User == nil && strings.EqualFold(u.Host, host)
}

// loopback says whether a Host header names this machine.
func loopback(hostport string) bool {
	host := hostport
	if h, _, err := net.SplitHostPort(hostport); err == nil {
		host = h
	} else if strings.HasPrefix(host, "[") && strings.HasSuffix(host, "]") {
		host = host[1 : len(host)-1]
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}
