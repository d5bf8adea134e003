package pgaddress_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/pgaddress"
)

// told is everything that a refusal says.
func told(r pgaddress.Refusal) string {
	text := strings.Join(r.Settings, " ")
	if r.File != nil {
		text += ": " + r.File.Path + ": " + r.File.Err.Error()
	}
	return text
}

// The fewest settings are named that the driver refuses, whatever stands beside them.
func TestRefused(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	plain, missing := filepath.Join(dir, "plain file"), filepath.Join(dir, "missing + file")
	if err := os.WriteFile(plain, []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	files := strings.NewReplacer("PLAIN", strings.ReplaceAll(plain, " ", "%20"), "MISSING", strings.ReplaceAll(missing, " ", "%20"))
	tests := []struct{ query, want string }{
		{"sslmode=perhaps", "sslmode"},
		{"sslmode=perhaps&sslmode=never", "sslmode"},
		{"%73slmode=perhaps", "sslmode"},
		{"connect_timeout=soon", "connect_timeout"},
		{"target_session_attrs=any,none", "target_session_attrs"},
		{"min_protocol_version=3.2&max_protocol_version=3.0", "min_protocol_version max_protocol_version"},
		{"min_protocol_version=1", "min_protocol_version"},
		{"max_protocol_version=9", "max_protocol_version"},
		{"channel_binding=perhaps", "channel_binding"},
		{"require_auth=guess", "require_auth"},
		{"sslcertmode=perhaps", "sslcertmode"},
		{"port=none", "port"},
		{"host=a,b&port=1,2,3", "port"},
		{"service=none&servicefile=MISSING", "service"},
		{"default_query_exec_mode=perhaps", "default_query_exec_mode"},
		{"statement_cache_capacity=some", "statement_cache_capacity"},
		{"description_cache_capacity=some", "description_cache_capacity"},
		{"application_name=two words", "application_name"},
		{"options=-c%20search_path=kb", "options"},
		{"sslrootcert=PLAIN", "sslrootcert"},
		{"sslrootcert=MISSING", "sslrootcert: " + missing + ": no such file or directory"},
		{"sslcert=MISSING", "sslcert"},
		{"sslcert=PLAIN&sslkey=PLAIN", "sslcert sslkey"},
		{"sslcert=PLAIN&sslkey=MISSING", "sslkey: " + missing + ": no such file or directory"},
		{"sslcert=PLAIN&sslkey=MISSING&sslpassword=x", "sslkey: " + missing + ": no such file or directory"},
		{"no_such_setting=1=2", pgaddress.Unnamed},
		{"sslmode", "sslmode"},
		{"&&sslrootcert=system", pgaddress.Unnamed},
	}
	for _, tt := range tests {
		tt.query = files.Replace(tt.query)
		for _, address := range []string{
			"postgres://u:p@h/kb?" + tt.query, "postgresql://u@h1:1,h2:2/?application_name=x&" + tt.query, "postgres://h?" + tt.query + "&sslsni=0&nonsense=1",
		} {
			if _, err := pgx.ParseConfig(address); err == nil {
				t.Errorf("%s: is taken", address)
			}
			if got := told(pgaddress.Refused(address)); got != tt.want {
				t.Errorf("%s: %q, want %q", address, got, tt.want)
			}
		}
	}
}

// Where no setting is to blame, none is named.
func TestRefusedWithoutSettings(t *testing.T) {
	for _, address := range []string{
		"postgres://u:p@h:none/kb?sslmode=require", "postgres://u:p@[::1/kb", "postgres://u:p@h/%zz?connect_timeout=1", "nonsense", "",
		"postgres://u@h/kb", "postgres://u@h/kb?sslmode=require&connect_timeout=1", // the driver takes these
	} {
		if got := told(pgaddress.Refused(address)); got != "" {
			t.Errorf("%s: %q", address, got)
		}
	}
	t.Setenv("PGCONNECT_TIMEOUT", "soon")
	for _, query := range []string{"", "?", "?application_name=x", "?sslmode=require&application_name=x"} {
		if got := told(pgaddress.Refused("postgres://u@h/kb" + query)); got != "" {
			t.Errorf("%s: %q", query, got)
		}
	}
}

// However a password is written, no part of it is told. The driver's own words do.
func TestRefusedShowsNoPassword(t *testing.T) {
	t.Parallel()
	refused, quoted := 0, 0
	signs := append(strings.Split(" !\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~a0\x00\nä", ""), "%00", "%zz", "%3D", "&planted", "?planted=", "@h/kb?planted=")
	for _, form := range []string{
		"postgres://u:PASSWORD@h/kb?sslmode=perhaps", "postgres://u:PASSWORD@h:none/kb", "postgres://u@h/kb?password=PASSWORD&sslmode=perhaps",
		"postgres://u@h/kb?sslmode=perhaps&sslpassword=PASSWORD", "postgres://u:PASSWORD@/kb?sslkey=/nowhere&sslcert=/nowhere&host=h",
		"postgres://u@h/kb?password=PASSWORD", "host=h user=u password=PASSWORD sslmode=perhaps", "PASSWORD",
	} {
		for _, one := range signs {
			for _, other := range []string{"", "=", "&", " "} {
				address := strings.Replace(form, "PASSWORD", "12"+one+"planted"+other+"planted"+one, 1)
				_, err := pgx.ParseConfig(address)
				if err == nil {
					continue
				}
				refused++
				if strings.Contains(err.Error(), "planted") {
					quoted++
				}
				r := pgaddress.Refused(address)
				if text := fmt.Sprintf("%s %+v", told(r), r); strings.Contains(text, "planted") {
					t.Errorf("%q: %s", address, text)
				}
			}
		}
	}
	if refused < 500 || quoted < 100 {
		t.Errorf("%d refused, %d of them with the password in the driver's words", refused, quoted)
	}
}
