package config_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/config"
)

// What a server must not repeat, and what it may.
func TestCredentials(t *testing.T) {
	t.Parallel()
	const text = `
providers: [{name: openai, kind: openai, keys: [env:KEY]}]
mcp:
  servers:
    - name: web
      url: https://host/mcp
      headers: {X-Stage: "literal:production", X-Api-Key: "literal:abcdefgh", X-Tenant: env:TENANT, X-Other: Bearer literal:abcdefgh, Cookie: env:TENANT}
    - name: program
      stdio: true
      command: server
      env: {ROOT: env:ROOT, STAGE: "literal:production", GITHUB_TOKEN: env:TENANT, DB_PASSWORD: "literal:abcdefgh", DATABASE_URL: env:DATABASE, HOST_URL: env:HOST}
`
	env := map[string]string{"KEY": "sk-1", "TENANT": "tenant-7", "ROOT": "/srv/data", "DATABASE": "postgres://me:planted@db/x", "HOST": "https://host:8443/x"}
	c, err := config.Parse("keybridge.yaml", []byte(text), func(name string) (string, bool) { v, ok := env[name]; return v, ok })
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]bool{}
	for _, s := range c.MCP.Servers {
		for _, v := range append(s.Headers, s.Env...) {
			got[v.Name] = v.Credential
		}
	}
	want := map[string]bool{
		"X-Stage": false, "X-Api-Key": true, "X-Tenant": true, "X-Other": true, "Cookie": true,
		"ROOT": false, "STAGE": false, "GITHUB_TOKEN": true, "DB_PASSWORD": true, "DATABASE_URL": true, "HOST_URL": false,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got\n%s", diff)
	}
}
