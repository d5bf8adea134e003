package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/config"
)

func TestOverride(t *testing.T) {
	t.Parallel()
	const (
		open  = "command line: --listen: other machines can reach 0.0.0.0:9000, and no token is configured: add tokens, or listen on 127.0.0.1"
		same  = ": listen and admin are the same port: change one of them"
		shape = ": is not an address: write host:port, like 127.0.0.1:8787 (an IPv6 host in brackets)"
	)
	tests := []struct {
		name          string
		token         string
		adminToken    string
		listen, admin string
		want          []string // listen, admin
		problems      string
	}{
		{name: "nothing", want: []string{"127.0.0.1:8787", "127.0.0.1:8788"}},
		{name: "listen", listen: "127.0.0.1:0", want: []string{"127.0.0.1:0", "127.0.0.1:8788"}},
		{name: "admin", admin: "[::1]:9", want: []string{"127.0.0.1:8787", "[::1]:9"}},
		{name: "both on any port", listen: "127.0.0.1:0", admin: "127.0.0.1:0", want: []string{"127.0.0.1:0", "127.0.0.1:0"}},
		{name: "the other's configured port is free", listen: "127.0.0.1:8788", admin: "127.0.0.1:8787", want: []string{"127.0.0.1:8788", "127.0.0.1:8787"}},
		{name: "open with a token", token: "open sesame", listen: "0.0.0.0:9000", want: []string{"0.0.0.0:9000", "127.0.0.1:8788"}},
		{name: "open without a token", listen: "0.0.0.0:9000", problems: open},
		{name: "the admin's configured port", listen: "127.0.0.1:8788", problems: "command line: --listen" + same},
		{name: "the clients' configured port", admin: "127.0.0.1:8787", problems: "command line: --admin" + same},
		{name: "no addresses", listen: "8787", admin: "x", problems: "command line: --listen" + shape + "\ncommand line: --admin" + shape},
		{name: "open admin with a token", adminToken: "abracadabra", admin: ":9", want: []string{"127.0.0.1:8787", ":9"}},
		{
			name: "open admin", token: "open sesame", admin: "0.0.0.0:9",
			problems: "command line: --admin: other machines can reach 0.0.0.0:9, and no admin_token is configured: add admin_token, or listen on 127.0.0.1",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.FromEnvironment(func(name string) (string, bool) {
				return map[string]string{"KEYBRIDGE_TOKEN": tt.token, "KEYBRIDGE_ADMIN_TOKEN": tt.adminToken}[name], true
			})
			if err != nil {
				t.Fatal(err)
			}
			problems := ""
			if err := c.Override(tt.listen, tt.admin); err != nil {
				problems = err.Error()
			}
			if diff := cmp.Diff(tt.problems, problems); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if diff := cmp.Diff(tt.want, []string{c.Listen, c.Admin}); tt.want != nil && diff != "" {
				t.Errorf("addresses (-want +got):\n%s", diff)
			}
		})
	}
}
