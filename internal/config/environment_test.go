package config_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/config"
)

func TestFromEnvironment(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		env  map[string]string
		want []string // listen, data_dir, tokens, then provider, base URL and keys
	}{
		{
			name: "nothing",
			env:  map[string]string{},
			want: []string{"127.0.0.1:8787", ""},
		},
		{
			name: "empty variables",
			env:  map[string]string{"OPENAI_API_KEY": "", "ANTHROPIC_API_KEYS": " ,\n", "KEYBRIDGE_TOKEN": "\n", "HOME": "relative"},
			want: []string{"127.0.0.1:8787", ""},
		},
		{
			name: "one key",
			env:  map[string]string{"OPENAI_API_KEY": "sk-1\n", "HOME": "/home/operator"},
			want: []string{
				"127.0.0.1:8787", "/home/operator/.local/share/keybridge", "store sqlite:/home/operator/.local/share/keybridge/keybridge.db",
				"openai openai true priority auto https://api.openai.com/v1", "openai_api_key=sk-1 env:OPENAI_API_KEY",
			},
		},
		{
			name: "several keys, one of them twice",
			env: map[string]string{
				"ANTHROPIC_API_KEYS": "a1, a2\na1,a3", "ANTHROPIC_API_KEY": "a3", "OPENAI_API_KEYS": "sk-1",
				"KEYBRIDGE_TOKEN": "open sesame", "KEYBRIDGE_ADMIN_TOKEN": " abracadabra\n", "HOME": "/home/operator", "XDG_DATA_HOME": "/data", "KEYBRIDGE_STORE": " postgres://u:planted@db/kb?sslmode=require&password=planted\n",
			},
			want: []string{
				"127.0.0.1:8787", "/data/keybridge", "store postgres://u:***@db/kb?sslmode=require&password=***",
				"admin token abracadabra env:KEYBRIDGE_ADMIN_TOKEN",
				"token keybridge_token=open sesame env:KEYBRIDGE_TOKEN",
				"openai openai true priority auto https://api.openai.com/v1", "openai_api_keys-1=sk-1 env:OPENAI_API_KEYS",
				"anthropic anthropic true priority auto https://api.anthropic.com",
				"anthropic_api_key=a3 env:ANTHROPIC_API_KEY", "anthropic_api_keys-1=a1 env:ANTHROPIC_API_KEYS", "anthropic_api_keys-2=a2 env:ANTHROPIC_API_KEYS",
			},
		},
		{
			name: "no key, with a data directory",
			env:  map[string]string{"HOME": "/home/operator", "KEYBRIDGE_STORE": " "},
			want: []string{"127.0.0.1:8787", "/home/operator/.local/share/keybridge"},
		},
		{
			name: "no key, and a store",
			env:  map[string]string{"HOME": "/home/operator", "KEYBRIDGE_STORE": "sqlite:/tmp/k.db"},
			want: []string{"127.0.0.1:8787", "/home/operator/.local/share/keybridge", "store sqlite:/tmp/k.db"},
		},
		{
			name: "several keys in the variable for one",
			env:  map[string]string{"OPENAI_API_KEY": "sk-1,sk-2"},
			want: []string{
				"127.0.0.1:8787", "",
				"openai openai true priority auto https://api.openai.com/v1", "openai_api_key-1=sk-1 env:OPENAI_API_KEY", "openai_api_key-2=sk-2 env:OPENAI_API_KEY",
			},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			c, err := config.FromEnvironment(func(name string) (string, bool) {
				v, ok := tt.env[name]
				return v, ok
			})
			if err != nil {
				t.Fatal(err)
			}
			got := []string{c.Listen, c.DataDir}
			if c.Store.Kind != config.Unplaced {
				got = append(got, "store "+c.Store.Source)
			}
			if !c.AdminToken.IsZero() {
				got = append(got, "admin token "+c.AdminToken.Reveal()+" "+c.AdminTokenSource)
			}
			for _, k := range c.Tokens {
				got = append(got, fmt.Sprintf("token %s=%s %s", k.Name, k.Secret.Reveal(), k.Source))
			}
			for _, p := range c.Providers {
				got = append(got, fmt.Sprintf("%s %s %t %s %s %s", p.Name, p.Kind, p.Enabled, p.Strategy, p.Probe, p.BaseURL))
				for _, k := range p.Keys {
					got = append(got, fmt.Sprintf("%s=%s %s", k.ID, k.Secret.Reveal(), k.Source))
				}
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// The start without a file has the same defaults as a file that says nothing.
func TestDefaultsAgree(t *testing.T) {
	t.Parallel()
	file, err := config.Parse("keybridge.yaml", []byte("providers: [{name: openai, kind: openai}]\n"), environment)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := config.FromEnvironment(func(name string) (string, bool) {
		if name == "OPENAI_API_KEY" {
			return "sk-1", true
		}
		return environment(name)
	})
	if err != nil {
		t.Fatal(err)
	}
	file.Providers, bare.Providers = nil, nil
	if diff := cmp.Diff(file, bare); diff != "" {
		t.Errorf("(-file +environment):\n%s", diff)
	}
}

func TestFromEnvironmentRefuses(t *testing.T) {
	t.Parallel()
	_, err := config.FromEnvironment(func(name string) (string, bool) {
		return map[string]string{"KEYBRIDGE_STORE": "mysql://u:planted@db/kb"}[name], true
	})
	const want = "environment: KEYBRIDGE_STORE: is no store: write sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or none, " +
		"or a reference to such a text (env:NAME, file:PATH)"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
}
