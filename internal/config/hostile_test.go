package config_test

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/config"
)

// Text that is made to keep a YAML parser busy is refused, with a line. Without the
// bounds the parser takes minutes and gigabytes for most of these.
func TestHostile(t *testing.T) {
	t.Parallel()
	const n = 1 << 18
	fill := func(s string) string { return strings.Repeat(s, n/len(s)) }
	tests := []struct{ name, text, want string }{
		{"huge", strings.Repeat("a", 1<<20+1), "k.yaml: is larger than 1 MiB: that is no configuration of this program; name the right file"},
		{"not UTF-8", "a: 1\nb: \xff\n", "k.yaml:2: holds bytes that are not UTF-8 text: save the file as UTF-8"},
		{"UTF-16", "\xff\xfea\x00", "k.yaml:1: holds bytes that are not UTF-8 text: save the file as UTF-8"},
		{"NUL", "a: 1\n\nb: \x00\n", "k.yaml:3: holds bytes that are not UTF-8 text: save the file as UTF-8"},
		{"brackets", fill("["), "k.yaml:1: nested too deep"},
		{"few brackets", strings.Repeat("[", 17) + strings.Repeat("]", 17), "k.yaml:1: nested too deep"},
		{"braces", strings.Repeat("{a: ", 17), "k.yaml:1: nested too deep"},
		{"hyphens", strings.Repeat("- ", 15_000), "k.yaml:1: nested too deep"},
		{"questions", strings.Repeat("? ", 15_000), "k.yaml:1: nested too deep"},
		{"names", fill("a:\n"), "more than 20000 words and signs"},
		{"fewer names", strings.Repeat("a: b\n", 6_000), "k.yaml:1: unknown name \"a\""},
		{"entries", fill("- a\n"), "more than 20000 words and signs"},
		{"indents", "providers:\n" + staircase(1000), "k.yaml:1: providers: a block of settings found where a list belongs"},
		{"billion laughs", "a: &a [x, x]\nb: &b [*a, *a]\nproviders: [*b]\n", "k.yaml:3: anchors (&), aliases (*) and merges (<<) are not supported"},
		{"one long text", "listen: " + fill("a ")[:n-100] + "\n", "listen: is not an address"},
		{"comments", fill("#\n"), "no providers"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			_, err := config.Parse("k.yaml", []byte(tt.text), environment)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error = %.300v\nwant one with %s", err, tt.want)
			}
		})
	}
}

func staircase(steps int) string {
	var b strings.Builder
	for i := range steps {
		b.WriteString(strings.Repeat(" ", i+1) + "a:\n")
	}
	return b.String()
}

func TestLoadErrors(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	tests := []struct{ file, want string }{
		{filepath.Join(dir, "gone.yaml"), "gone.yaml: does not exist: create it, or correct the path"},
		{dir, ": cannot be read: is a directory"},
		{filepath.Join("testdata", "good", "minimal.yaml", "x"), "x: cannot be opened: not a directory"},
	}
	for _, tt := range tests {
		_, err := config.Load(tt.file, environment)
		if err == nil || !strings.HasPrefix(err.Error(), tt.file) || !strings.HasSuffix(err.Error(), tt.want) {
			t.Errorf("Load(%s) = %v, want %s", tt.file, err, tt.want)
		}
	}
}

func TestByteOrderMarkAndLineEnds(t *testing.T) {
	t.Parallel()
	text := contents(t, filepath.Join("testdata", "good", "minimal.yaml"))
	want, err := config.Parse("k.yaml", []byte(text), environment)
	if err != nil {
		t.Fatal(err)
	}
	for name, variant := range map[string]string{
		"byte order mark": "\ufeff" + text,
		"CRLF":            strings.ReplaceAll(text, "\n", "\r\n"),
		"no last newline": strings.TrimRight(text, "\n"),
	} {
		got, err := config.Parse("k.yaml", []byte(variant), environment)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// Every example of the reference page is a configuration that works.
func TestDocumentedExamples(t *testing.T) {
	t.Parallel()
	page := contents(t, filepath.Join("..", "..", "docs", "configuration.md"))
	secrets := t.TempDir()
	files := regexp.MustCompile(`file:/run/secrets/([a-z-]+)`)
	examples := regexp.MustCompile("(?s)\n```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(examples) < 5 {
		t.Fatalf("%d examples in the page", len(examples))
	}
	env := func(name string) (string, bool) {
		if name == "KEYBRIDGE_DATABASE" {
			return "postgres://keybridge:planted@db.example.com/keybridge", true
		}
		return "value-of-" + name, name != "XDG_DATA_HOME" && name != "HOME"
	}
	for _, example := range examples {
		for _, m := range files.FindAllStringSubmatch(example[1], -1) {
			if err := os.WriteFile(filepath.Join(secrets, m[1]), []byte("secret-of-"+m[1]+"\n"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		text := files.ReplaceAllString(example[1], "file:"+secrets+"/$1")
		if _, err := config.Parse("example.yaml", []byte(text), env); err != nil {
			t.Errorf("%v\n%s", err, example[1])
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range append(files(f, "bad", 40), files(f, "good", 5)...) {
		f.Add([]byte(contents(f, name)))
	}
	schema := compiled(f)
	f.Fuzz(func(t *testing.T, data []byte) {
		if bytes.Contains(data, []byte("file:")) {
			return // reads this machine's files
		}
		c, err := config.Parse("k.yaml", data, environment)
		if err != nil {
			problems, ok := err.(config.Problems) //nolint:errorlint // Parse promises the type itself
			if !ok || len(problems) == 0 {
				t.Fatalf("error %T %v", err, err)
			}
			for _, p := range problems {
				if p.Text == "" || p.Line < 0 || p.Line > 1+bytes.Count(data, []byte("\n"))+bytes.Count(data, []byte("\r")) {
					t.Errorf("%#v", p)
				}
			}
			return
		}
		v, ok := config.Decoded(data)
		if err = schema.Validate(v); !ok || err != nil {
			t.Errorf("the schema refuses what is accepted: %v\n%q", err, data)
		}
		var first strings.Builder
		if _, err = c.WriteTo(&first); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(first.String(), "literal:***") {
			return
		}
		again, err := config.Parse("k.yaml", []byte(first.String()), environment)
		if err != nil {
			t.Fatalf("%v\n%s", err, first.String())
		}
		if diff := cmp.Diff(c, again); diff != "" {
			t.Errorf("%s\n%s", diff, first.String())
		}
	})
}
