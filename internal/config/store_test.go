package config_test

import (
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
			for _, password := range []string{"12" + string(c) + "planted", string(c) + "planted", "planted" + string(c), "12%2Fplanted" + string(c) + "planted"} {
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
