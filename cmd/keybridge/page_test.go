package main

import (
	"net/url"
	"testing"
)

// What goes on with a list is one line to paste.
func TestGoingOn(t *testing.T) {
	t.Parallel()
	p := program{called: quoted("bin/key bridge")}
	g := gatewayFlags{Admin: "[::1]:8788", Token: "env:T"}
	q := url.Values{"limit": {"2"}, "caller": {"-"}, "cursor": {"old"}, "session": {"it's"}}
	more := p.goingOn("explain", &g, q)
	const want = "\nthere are more:\n  'bin/key bridge' explain --admin='[::1]:8788' --caller=- --cursor=a.b --limit=2 --session='it'\\''s' --token=env:T\n"
	if got := more("a.b"); got != want {
		t.Errorf("says %q\nwant %q", got, want)
	}
	if got := more(""); got != "" {
		t.Errorf("at the end: %q", got)
	}
}
