package config_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"keybridge/internal/config"
)

// Whatever is in a password, encoded or not, no part of it is shown: it is masked, or the
// address is refused.
func TestStoreShowsNoPassword(t *testing.T) {
	t.Parallel()
	shown, refused := 0, 0
	for c := ' '; c <= '~'; c++ {
		for _, form := range []string{
			"postgres://u:PASSWORD@h/db", "postgresql://u:PASSWORD@h:5432/db?sslmode=require", "postgres://u@h/db?password=PASSWORD",
			"postgres://u:x@h/db?sslmode=require&sslpassword=PASSWORD&application_name=a", "postgres://:PASSWORD@/db",
		} {
			for _, password := range []string{"12" + string(c) + "planted", string(c) + "planted", "planted" + string(c), "12%2Fplanted" + string(c) + "planted", "12&planted" + string(c) + "=="} {
				address := strings.Replace(form, "PASSWORD", password, 1)
				text := "store: " + strconv.Quote(address) + "\nproviders: [{name: a, kind: openai}]\n"
				c, err := config.Parse("k.yaml", []byte(text), environment)
				if err != nil {
					if refused++; strings.Contains(err.Error(), "planted") {
						t.Errorf("%s: %v", address, err)
					}
					continue
				}
				var out strings.Builder
				if _, err := c.WriteTo(&out); err != nil {
					t.Fatal(err)
				}
				if shown++; strings.Contains(out.String(), "planted") || c.Store.URL.Reveal() != address {
					t.Errorf("%s: shown as %s, used as %s", address, c.Store.Source, c.Store.URL.Reveal())
				}
			}
		}
	}
	if shown < 100 || refused < 100 {
		t.Errorf("%d shown, %d refused", shown, refused)
	}
}

// What the driver would not take is told before anything runs, by its name, and never by
// its value.
func TestStoreSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain := filepath.Join(dir, "plain")
	if err := os.WriteFile(plain, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	missing := filepath.Join(dir, "planted")
	const unnamed = "names no database: write postgres://USER:PASSWORD@HOST/DATABASE"
	tests := []struct{ address, want string }{
		{"postgres://u:planted@h", unnamed},
		{"postgres://u:planted@h/", unnamed},
		{"postgres://u:planted@h/?sslmode=disable", unnamed},
		{"postgres://u@h/?dbname=kb", ""},
		{"postgres://u@/kb?host=/run/postgresql", ""},
		{"postgres://u:p@h1:5432,h2:5433/kb", ""},
		{"postgres://u@h/kb?sslmode=verify-full&connect_timeout=5&application_name=x&any_thing=else", ""},
		{"postgres://u:planted@h/kb?application_name=x&sslmode=planted", "has a setting that cannot be (sslmode): write disable, allow, prefer, require, verify-ca or verify-full"},
		{"postgres://u:planted@h/kb?connect_timeout=planted&sslmode=require", "has a setting that cannot be (connect_timeout): write a number of seconds"},
		{"postgres://u@h/kb?connect_timeout=1&target_session_attrs=planted&sslmode=require", "has a setting that cannot be (target_session_attrs): PostgreSQL's manual says what it may be"},
		{"postgres://u@h/kb?default_query_exec_mode=planted", "has a setting that cannot be (default_query_exec_mode): PostgreSQL's manual says what it may be"},
		{"postgres://u@h/kb?max_protocol_version=3.0&min_protocol_version=3.2", "has a setting that cannot be (max_protocol_version, min_protocol_version): PostgreSQL's manual says what it may be"},
		{"postgres://u@h/kb?password=12&planted==", "has a setting that cannot be (***): it is not named, for it may be a part of a password: in every value write %26 for &, %3D for = and %20 for a space"},
		{"postgres://u@h/kb?sslrootcert=" + missing + "&sslmode=verify-ca", "has a setting sslrootcert with a file that cannot be read: no such file or directory"},
		{"postgres://u@h/kb?sslrootcert=" + plain, "has a setting that cannot be (sslrootcert): write the path of a file in PEM format"},
		{"postgres://u@h/kb?sslcert=" + missing, "has a setting that cannot be (sslcert): write the paths of a certificate and its key, both in PEM format"},
		{"postgres://u@h/kb?sslcert=" + plain + "&sslkey=" + missing + "&connect_timeout=5", "has a setting sslkey with a file that cannot be read: no such file or directory"},
		{"postgres://u@h/kb?sslcert=" + missing + "&sslkey=" + missing + "&sslcertmode=disable", ""},
		{"postgres://u@h/kb?sslkey=" + plain + "&sslcert=" + missing, "has a setting that cannot be (sslkey, sslcert): write the paths of a certificate and its key, both in PEM format"},
	}
	for _, tt := range tests {
		_, err := config.Parse("k.yaml", []byte("store: "+strconv.Quote(tt.address)+"\nproviders: [{name: a, kind: openai}]\n"), environment)
		got := ""
		if err != nil {
			got = err.Error()
		}
		want := ""
		if tt.want != "" {
			want = "k.yaml:1: store: " + tt.want
		}
		if strings.TrimSuffix(got, "\n") != want {
			t.Errorf("%s:\n%s\nwant\n%s", tt.address, got, want)
		}
	}
}

// What the environment sets is not blamed on the address.
func TestStoreEnvironment(t *testing.T) {
	t.Setenv("PGSSLMODE", "planted")
	for _, query := range []string{"", "?", "?application_name=x"} {
		_, err := config.Parse("k.yaml", []byte("store: 'postgres://u@h/kb"+query+"'\nproviders: [{name: a, kind: openai}]\n"), environment)
		const want = "k.yaml:1: store: is not taken by PostgreSQL's driver, with the PG… variables that are set: look at its hosts and ports, and at those variables"
		if err == nil || strings.TrimSuffix(err.Error(), "\n") != want {
			t.Errorf("%q: %v\nwant %s", query, err, want)
		}
	}
	t.Setenv("PGSSLMODE", "")
	t.Setenv("PGDATABASE", "kb")
	if _, err := config.Parse("k.yaml", []byte("store: 'postgres://u@h'\nproviders: [{name: a, kind: openai}]\n"), environment); err != nil {
		t.Error(err)
	}
}
