package config

import (
	"net"
	"net/netip"
	"slices"
	"strings"

	"keybridge/internal/secret"
)

// AdminSide is where the operator's side of a gateway is found, and what it asks for.
type AdminSide struct {
	Address string // host:port to connect to
	Token   secret.Value
}

// FindAdminSide tells from the gateway's configuration where its operator's side is;
// from the environment if no file is named. address and token, a reference, stand in
// the place of what is configured if they are not empty. Nothing else of the file
// need be in order, such as keys that only the gateway's own user may read. The error
// is of type Problems.
func FindAdminSide(file, address, token string, env Env) (AdminSide, error) {
	c, _ := fromEnvironment(env)
	var err error
	if file != "" {
		if c, err = adminSettings(file, env); err != nil {
			return AdminSide{}, err
		}
	}
	d := &decoder{file: "command line", lines: map[string]int{"--admin": 0, "--token": 0, "admin": 0}}
	if token != "" {
		if c.AdminToken, err = secret.Resolve(token, env); err != nil {
			d.report("--token", "%s", strings.ReplaceAll(err.Error(), "remove the entry", "leave this out")) // a flag is no entry
		}
	}
	at := "--admin"
	if address == "" {
		address, at = c.Admin, "admin"
	}
	a, ok := d.address(at, address)
	if ok && a.port == 0 {
		d.report("--admin", "the configuration leaves the port of the operator's side open: name the address that the gateway has greeted with")
	}
	if len(d.problems) > 0 {
		return AdminSide{}, d.problems
	}
	return AdminSide{Address: reachable(address), Token: c.AdminToken}, nil
}

// adminSettings reads a file and minds only what is wrong with the operator's side.
func adminSettings(file string, env Env) (*Config, error) {
	data, err := read(file)
	if err != nil {
		return nil, Problems{{File: file, Text: err.Error()}}
	}
	root, problems := document(file, data)
	if len(problems) > 0 {
		return nil, problems
	}
	d := &decoder{file: file, env: env, lines: map[string]int{}}
	c := d.config(root)
	d.problems = slices.DeleteFunc(d.problems, func(p Problem) bool { return p.At != "admin" && p.At != "admin_token" })
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return c, nil
}

// reachable turns an address to listen on into one to connect to.
func reachable(address string) string {
	host, port, _ := net.SplitHostPort(address) // it was checked
	switch ip, err := netip.ParseAddr(host); {
	case host == "", err == nil && ip.IsUnspecified() && ip.Is4():
		host = "127.0.0.1"
	case err == nil && ip.IsUnspecified():
		host = "::1"
	}
	return net.JoinHostPort(host, port)
}
