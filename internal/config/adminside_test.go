package config_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/config"
)

func TestFindAdminSide(t *testing.T) {
	t.Parallel()
	const shape = ": is not an address: write host:port, like 127.0.0.1:8787 (an IPv6 host in brackets)"
	tests := []struct {
		name           string
		file           string // its text
		address, token string
		want           string // address and token
		problems       string
	}{
		{name: "nothing", want: "127.0.0.1:8788 of the environment"},
		{name: "named", address: "[::1]:9", token: "env:K1", want: "[::1]:9 value-of-K1"},
		{name: "file", file: "admin: 0.0.0.0:9\nadmin_token: env:K2\n", want: "127.0.0.1:9 value-of-K2"},
		{name: "file, named", file: "admin: 0.0.0.0:9\nadmin_token: env:K2\n", address: "host:7", token: "literal:x", want: "host:7 x"},
		{name: "any address", file: "admin: ':9'\nadmin_token: env:K2\n", want: "127.0.0.1:9 value-of-K2"},
		{name: "any address, IPv6", file: "admin: '[::]:9'\nadmin_token: env:K2\n", want: "[::1]:9 value-of-K2"},
		{
			name: "the rest of the file is the gateway's business", want: "127.0.0.1:9 ",
			file: "admin: 127.0.0.1:9\ntokens: [env:UNSET]\nproviders: [{name: a, kind: openai, keys: [env:UNSET, file:/unreadable]}]\n",
		},
		{name: "unset token", file: "admin_token: env:UNSET\n", problems: `k.yaml:1: admin_token: environment variable "UNSET" is not set: set it, or remove the entry`},
		{name: "unset token, named", token: "env:UNSET", problems: `command line: --token: environment variable "UNSET" is not set: set it, or leave this out`},
		{name: "bad token", token: "sk-planted", problems: "command line: --token: not a reference to a secret: write env:NAME or file:PATH, or literal: before a secret that must stand here"},
		{name: "no YAML", file: "admin: [", problems: "k.yaml:1: is not YAML: sequence end token ']' not found: mind indentation, quotes and brackets"},
		{name: "bad address", address: "8788", problems: "command line: --admin" + shape},
		{
			name: "any port", file: "admin: 127.0.0.1:0\n",
			problems: "command line: --admin: the configuration leaves the port of the operator's side open: name the address that the gateway has greeted with",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			file := ""
			if tt.file != "" {
				file = filepath.Join(t.TempDir(), "k.yaml")
				if err := os.WriteFile(file, []byte(tt.file), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			side, err := config.FindAdminSide(file, tt.address, tt.token, func(name string) (string, bool) {
				if name == "KEYBRIDGE_ADMIN_TOKEN" {
					return "of the environment", true
				}
				return environment(name)
			})
			got, problems := side.Address+" "+side.Token.Reveal(), ""
			if err != nil {
				got, problems = "", err.Error()
			}
			if file != "" {
				problems = cutDir(problems, filepath.Dir(file))
			}
			if diff := cmp.Diff([]string{tt.want, tt.problems}, []string{got, problems}); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func cutDir(text, dir string) string {
	if len(text) > len(dir) && text[:len(dir)] == dir {
		return text[len(dir)+1:]
	}
	return text
}
