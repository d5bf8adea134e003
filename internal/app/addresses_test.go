package app_test

import (
	"context"
	"net"
	"strings"
	"testing"

	"keybridge/internal/app"
)

// Addresses of the command line hold with a file and without, and through reloads.
func TestAddressesOfTheCommandLine(t *testing.T) {
	t.Parallel()
	file := write(t, "", "providers: [{name: openai, kind: openai, keys: ['literal:sk-test-0123456789']}]\n")
	for name, path := range map[string]string{"file": file, "environment": ""} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := &buffer{}
			a, err := app.New(app.Options{
				ConfigPath: path, Stderr: log, ListenAddress: "127.0.0.2:0", AdminAddress: "127.0.0.3:0",
				Env: noEnv,
			})
			if err != nil {
				t.Fatal(err)
			}
			defer a.Stop(context.WithoutCancel(t.Context()))
			if err = a.Start(); err != nil {
				t.Fatal(err)
			}
			for setting, want := range map[string]string{"listen": "127.0.0.2", "admin": "127.0.0.3"} {
				if host, _, _ := net.SplitHostPort(a.Address(setting)); host != want {
					t.Errorf("%s: on %s, want %s", setting, a.Address(setting), want)
				}
			}
			if err = a.Reload(); err != nil || strings.Contains(log.String(), "restart") {
				t.Errorf("reload: %v, log:\n%s", err, log.String())
			}
		})
	}
	if _, err := app.New(app.Options{ConfigPath: file, ListenAddress: "0.0.0.0:0", Env: noEnv}); err == nil {
		t.Error("an open address without a token is not refused")
	}
}
