package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/config"
)

// environment has K1, K2, K4 and K5, each another secret.
func environment(name string) (string, bool) {
	v, ok := map[string]string{
		"K1": "value-of-K1", "K2": "value-of-K2", "K4": "value-of-K4", "K5": "value-of-K5",
		"EMPTY": "", "MANY": "sk-planted-1,sk-planted-2", "HOME": "/home/operator",
	}[name]
	return v, ok
}

// files returns the YAML files of a folder; at least as many as given, so that no
// test passes on an empty folder.
func files(t testing.TB, dir string, least int) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
	if err != nil || len(names) < least {
		t.Fatalf("%d files in testdata/%s (%v), want %d or more", len(names), dir, err, least)
	}
	return names
}

func contents(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// unmask fills in what is masked of the address of a database.
func unmask(text string) string {
	return strings.NewReplacer(":***@", ":planted%40@", "password=***", "password=planted").Replace(text)
}

// portable replaces this machine's path of the package with DIR.
func portable(t testing.TB, text string) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return strings.ReplaceAll(text, dir, "DIR")
}

func TestBad(t *testing.T) {
	t.Parallel()
	for _, name := range files(t, "bad", 40) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(name, environment)
			var problems config.Problems
			if !errors.As(err, &problems) || c != nil {
				t.Fatalf("Load = %v, %v; want Problems", c, err)
			}
			got := portable(t, strings.ReplaceAll(err.Error(), name, "keybridge.yaml")) + "\n"
			want := strings.TrimSuffix(name, ".yaml") + ".txt"
			if diff := cmp.Diff(contents(t, want), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
			if strings.Contains(got, "planted") || strings.Contains(got, "value-of") {
				t.Errorf("a secret is shown:\n%s", got)
			}
			for i := 1; i < len(problems); i++ {
				if problems[i].Line < problems[i-1].Line {
					t.Errorf("line %d stands after line %d", problems[i].Line, problems[i-1].Line)
				}
			}
		})
	}
}

func TestGood(t *testing.T) {
	t.Parallel()
	for _, name := range files(t, "good", 5) {
		t.Run(filepath.Base(name), func(t *testing.T) {
			t.Parallel()
			c, err := config.Load(name, environment)
			if err != nil {
				t.Fatal(err)
			}
			var out strings.Builder
			if _, err = c.WriteTo(&out); err != nil {
				t.Fatal(err)
			}
			want := strings.TrimSuffix(name, ".yaml") + ".txt"
			if diff := cmp.Diff(contents(t, want), portable(t, out.String())); diff != "" {
				t.Errorf("effective configuration (-want +got):\n%s", diff)
			}
			if strings.Contains(out.String(), "planted") || strings.Contains(fmt.Sprintf("%+v %#v", c, c), "planted") {
				t.Errorf("a secret is shown:\n%s", out.String())
			}
			// What is printed means the same, once the literals are filled in again.
			text := out.String()
			for i := 1; strings.Contains(text, "literal:***"); i++ {
				text = strings.Replace(text, "literal:***", fmt.Sprintf("literal:sk-planted-%d", i), 1)
			}
			again, err := config.Parse("elsewhere/keybridge.yaml", []byte(unmask(text)), environment)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c, again); diff != "" {
				t.Errorf("read again (-first +second):\n%s", diff)
			}
		})
	}
}

// A strict record without a place for it is refused, too.
func TestStrictUnplaced(t *testing.T) {
	t.Parallel()
	text := "record: {strict: true}\nproviders: [{name: a, kind: openai}]\n"
	_, err := config.Parse("k.yaml", []byte(text), func(string) (string, bool) { return "", false })
	const want = "k.yaml:1: record.strict: refuses what is not recorded, and there is no place for the record: set store, or data_dir"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v, want %s", err, want)
	}
	if _, err := config.Parse("k.yaml", []byte(text), environment); err != nil {
		t.Error(err)
	}
}
