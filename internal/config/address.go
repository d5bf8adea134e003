package config

import (
	"net"
	"net/netip"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"keybridge/keypool/verdict"
)

func (d *decoder) checkAddresses(c *Config) {
	listen, okListen := d.address("listen", c.Listen)
	admin, okAdmin := d.address("admin", c.Admin)
	if okListen && !listen.loopback && !d.written("tokens[0]") {
		d.report("listen", "other machines can reach %s, and no token is configured: add tokens, or listen on 127.0.0.1", c.Listen)
	}
	if okAdmin && !admin.loopback && !d.written("admin_token") {
		d.report("admin", "other machines can reach %s, and no admin_token is configured: add admin_token, or listen on 127.0.0.1", c.Admin)
	}
	if okListen && okAdmin && listen.port == admin.port && admin.port != 0 && (listen.host == admin.host || listen.any) {
		at := "admin"
		if !d.written(at) {
			at = "listen"
		}
		d.report(at, "listen and admin are the same port: change one of them")
	}
}

// Override puts the addresses of the command line in the place of the configured
// ones, under the same rules; an empty one leaves what is configured. The error is
// of type Problems.
func (c *Config) Override(listen, admin string) error {
	d := &decoder{file: "command line", lines: map[string]int{}}
	for _, o := range []struct {
		at, given string
		setting   *string
	}{{"listen", listen, &c.Listen}, {"admin", admin, &c.Admin}} {
		if o.given != "" {
			*o.setting, d.lines[o.at] = o.given, 0
		}
	}
	if len(d.lines) == 0 {
		return nil
	}
	if len(c.Tokens) > 0 {
		d.lines["tokens[0]"] = 0
	}
	if !c.AdminToken.IsZero() {
		d.lines["admin_token"] = 0
	}
	d.checkAddresses(c)
	if len(d.problems) == 0 {
		return nil
	}
	for i := range d.problems {
		d.problems[i].At = "--" + d.problems[i].At
	}
	return d.problems
}

type address struct {
	host          string
	port          uint64
	loopback, any bool
}

const hostForm = `[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?`

var hostname = regexp.MustCompile("^" + hostForm + "$")

// What a schema can say of addresses: their form, and those that other machines
// surely cannot reach or that it cannot tell.
const (
	portForm    = `0*([0-9]{1,4}|[1-5][0-9]{4}|6([0-4][0-9]{3}|5([0-4][0-9]{2}|5([0-2][0-9]|3[0-5]))))`
	addressForm = `^(` + hostForm + `|\[[^\[\]]*\])?:` + portForm + `$`
	closedForm  = `^(127\.|[lL][oO][cC][aA][lL][hH][oO][sS][tT]:|\[[^\]]*[^:\]])`
)

func (d *decoder) address(at, s string) (a address, ok bool) {
	host, port, err := net.SplitHostPort(s)
	if err == nil {
		a.port, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		d.report(at, "is not an address: write host:port, like 127.0.0.1:8787 (an IPv6 host in brackets)")
		return a, false
	}
	a.host = host
	ip, err := netip.ParseAddr(host)
	switch {
	case err == nil:
		a.loopback, a.any = ip.Unmap().IsLoopback(), ip.IsUnspecified()
	case host == "":
		a.any = true
	case !hostname.MatchString(host):
		d.report(at, "is not an address: the host is neither an IP address nor a name; write host:port, like 127.0.0.1:8787")
		return a, false
	case strings.EqualFold(host, "localhost"):
		a.loopback = true
	}
	return a, true
}

// What a schema can say of base URLs: their form, what none of them holds, and
// what Anthropic's do not end in.
const (
	urlForm  = `^[hH][tT][tT][pP][sS]?://(\[[^\]/?#@ ]+\]|[^\[/?#@: ]+)(:` + portForm + `)?(/[^?#]*)?$`
	dotsForm = `://[^/]+/(.*/)?\.\.?(/|$)`
	v1Form   = `://[^/]+/(.*/)?v1/*$`
)

// baseURL checks the address of an upstream. Its problem never quotes the URL,
// which may hold a password.
func baseURL(s string, kind verdict.Family) (u *url.URL, problem string) {
	u, err := url.Parse(strings.TrimRight(s, "/"))
	if err != nil {
		return nil, "is not a URL: write it like https://host/path"
	}
	_, err = strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		return nil, "must begin with https:// (or http://): write it like https://host/path"
	case u.Hostname() == "":
		return nil, "has no host: write it like https://host/path"
	case u.User != nil:
		return nil, "holds a user or a password: remove them; the key goes under keys"
	case strings.Contains(s, "?"):
		return nil, "holds a query (?): remove it; callers send their own"
	case strings.Contains(s, "#"):
		return nil, "holds a fragment (#): remove it"
	case u.Port() != "" && err != nil || strings.HasSuffix(u.Host, ":"):
		return nil, "has no usable port: write a number up to 65535, or leave it out with its colon"
	case strings.Contains(u.Path+"/", "/../") || strings.Contains(u.Path+"/", "/./"):
		return nil, "holds . or .. in its path: write the path out"
	case kind == verdict.Anthropic && strings.HasSuffix(u.Path, "/v1"):
		return nil, "ends in /v1, which clients of this API add themselves: leave /v1 off"
	}
	return u, ""
}
