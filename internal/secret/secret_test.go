package secret_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/secret"
)

const planted = "sk-proj-AbCdEf0123456789AbCdEf0123456789"

// holder keeps a Value where fmt cannot call its methods.
type holder struct {
	inner struct{ v secret.Value }
}

func TestValuePrintsNothing(t *testing.T) {
	t.Parallel()
	v := secret.New(planted)
	var h holder
	h.inner.v = v
	outputs := map[string]string{}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%T %v"} {
		outputs["value "+verb] = fmt.Sprintf(verb, v)
		outputs["pointer "+verb] = fmt.Sprintf(verb, &v)
		outputs["exported field "+verb] = fmt.Sprintf(verb, struct{ V secret.Value }{v})
		outputs["unexported field "+verb] = fmt.Sprintf(verb, h)
		outputs["slice and map "+verb] = fmt.Sprintf(verb, map[string][]secret.Value{"k": {v}})
	}
	b, err := json.Marshal(map[string]any{"v": v, "p": &v})
	if err != nil {
		t.Fatal(err)
	}
	outputs["json"] = string(b)
	var log bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(h).Info("planted", slog.Any("v", v), slog.Any("s", struct{ V secret.Value }{v}))
	}
	outputs["slog"] = log.String()
	outputs["diff"] = cmp.Diff(v, secret.New("other"))
	for name, out := range outputs {
		for _, leak := range []string{planted, planted[8:20], fmt.Sprintf("%x", planted), fmt.Sprintf("%X", planted)} {
			if strings.Contains(out, leak) {
				t.Errorf("%s shows the secret: %s", name, out)
			}
		}
	}
	for _, name := range []string{"value %v", "value %#v", "value %x", "json", "slog"} {
		if !strings.Contains(outputs[name], "***") {
			t.Errorf("%s = %q, want *** in it", name, outputs[name])
		}
	}
	if v.Reveal() != planted {
		t.Errorf("Reveal() = %q", v.Reveal())
	}
}

func TestValueEquality(t *testing.T) {
	t.Parallel()
	var zero secret.Value
	if !zero.IsZero() || !secret.New("").IsZero() || secret.New("x").IsZero() {
		t.Error("IsZero is wrong")
	}
	if zero.Reveal() != "" || zero.String() != "***" {
		t.Errorf("zero value: Reveal %q, String %q", zero.Reveal(), zero.String())
	}
	if !secret.New("a").Equal(secret.New("a")) || secret.New("a").Equal(secret.New("b")) || secret.New("a").Equal(zero) {
		t.Error("Equal is wrong")
	}
}

func write(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// A text may hold what no key has; but one line it is.
func TestResolveText(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		v, ok := map[string]string{"URL": "postgres://a:b,c@h1,h2/d e?ü\n", "LINES": "a\nb", "EMPTY": "", "HUGE": strings.Repeat("x", 20<<10)}[name]
		return v, ok
	}
	tests := []struct{ ref, want, err string }{
		{ref: "env:URL", want: "postgres://a:b,c@h1,h2/d e?ü"},
		{ref: "env:LINES", err: `environment variable "LINES" holds several lines or control characters: write one line there`},
		{ref: "env:EMPTY", err: `environment variable "EMPTY" is empty: write the secret there, or remove the entry`},
		{ref: "env:HUGE", err: `environment variable "HUGE" is longer than any secret (16 KiB): name the right one`},
		{ref: "env:GONE", err: `environment variable "GONE" is not set: set it, or remove the entry`},
		{ref: "postgres://a", err: "not a reference to a secret: write env:NAME or file:PATH, or literal: before a secret that must stand here"},
	}
	for _, tt := range tests {
		got, err := secret.ResolveText(tt.ref, env)
		if said := fmt.Sprint(err); err == nil && (tt.err != "" || got.Reveal() != tt.want) || err != nil && said != tt.err {
			t.Errorf("%s: %q, %v; want %q, %s", tt.ref, got.Reveal(), err, tt.want, tt.err)
		}
	}
}

func TestResolve(t *testing.T) {
	t.Parallel()
	env := func(name string) (string, bool) {
		v, ok := map[string]string{
			"K": planted, "NEWLINE": planted + "\n", "EMPTY": "", "TWO": "a,b", "SPACE": "a b", "LINES": "a\nb", "ODD": "a\u2028b",
		}[name]
		return v, ok
	}
	file := write(t, "openai-backup", planted+"\r\n")
	empty := write(t, "empty", "\n")
	huge := write(t, "huge", strings.Repeat("x", 20<<10))
	dir := t.TempDir()
	tests := []struct {
		name, ref, want, err string
	}{
		{name: "variable", ref: "env:K", want: planted},
		{name: "variable with a newline", ref: "env:NEWLINE", want: planted},
		{name: "file", ref: "file:" + file, want: planted},
		{name: "literal", ref: "literal:" + planted, want: planted},
		{name: "literal with colons", ref: "literal:env:x", want: "env:x"},
		{name: "unset", ref: "env:K3", err: `environment variable "K3" is not set: set it, or remove the entry`},
		{name: "empty variable", ref: "env:EMPTY", err: `environment variable "EMPTY" is empty: write the secret there, or remove the entry`},
		{name: "no name", ref: "env:", err: "what follows env: is no variable's name (letters, digits and _): write env:NAME, the name and not the secret"},
		{name: "key as name", ref: "env:" + planted, err: "what follows env: is no variable's name (letters, digits and _): write env:NAME, the name and not the secret"},
		{name: "key without hyphens as name", ref: "env:gsk_AbCdEf0123456789AbCdEf", err: "what follows env: is no variable's name (letters, digits and _): write env:NAME, the name and not the secret"},
		{name: "key as path", ref: "file:" + planted, err: "what follows file: is no path to a secret: write file:PATH, the path and not the secret"},
		{name: "bare key", ref: planted, err: "not a reference to a secret: write env:NAME or file:PATH, or literal: before a secret that must stand here"},
		{name: "unknown scheme", ref: "vault:" + planted, err: "not a reference to a secret: write env:NAME or file:PATH, or literal: before a secret that must stand here"},
		{name: "nothing", ref: "", err: "not a reference to a secret: write env:NAME or file:PATH, or literal: before a secret that must stand here"},
		{name: "several", ref: "env:TWO", err: `environment variable "TWO" holds commas, spaces or several lines: a reference is one secret, list several one by one`},
		{name: "space", ref: "env:SPACE", err: `environment variable "SPACE" holds commas, spaces or several lines: a reference is one secret, list several one by one`},
		{name: "lines", ref: "env:LINES", err: `environment variable "LINES" holds commas, spaces or several lines: a reference is one secret, list several one by one`},
		{name: "not ASCII", ref: "env:ODD", err: `environment variable "ODD" holds characters that no key has (only visible ASCII can be sent): copy the secret again`},
		{name: "empty literal", ref: "literal:", err: "literal: is empty: write the secret there, or remove the entry"},
		{name: "masked literal", ref: "literal:***", err: "literal:*** is a masked secret: write the secret itself in place of ***"},
		{name: "no path", ref: "file:", err: "what follows file: is no path to a secret: write file:PATH, the path and not the secret"},
		{name: "no file", ref: "file:" + dir + "/gone", err: fmt.Sprintf(`file %q does not exist: create it, or correct the path`, dir+"/gone")},
		{name: "no directory", ref: "file:" + file + "/x", err: fmt.Sprintf(`file %q cannot be read (not a directory): correct the path or the file`, file+"/x")},
		{name: "directory", ref: "file:" + dir, err: fmt.Sprintf(`file %q is a directory: name a file in it`, dir)},
		{name: "empty file", ref: "file:" + empty, err: fmt.Sprintf(`file %q is empty: write the secret there, or remove the entry`, empty)},
		{name: "huge file", ref: "file:" + huge, err: fmt.Sprintf(`file %q is longer than any secret (16 KiB): name the right one`, huge)},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			got, err := secret.Resolve(tt.ref, env)
			if tt.err == "" {
				if err != nil || got.Reveal() != tt.want {
					t.Fatalf("Resolve = %q, %v; want %q", got.Reveal(), err, tt.want)
				}
				return
			}
			if err == nil || err.Error() != tt.err {
				t.Fatalf("error = %v\nwant    %s", err, tt.err)
			}
			if !got.IsZero() {
				t.Error("a value came with the error")
			}
		})
	}
}

func TestMaskAndID(t *testing.T) {
	t.Parallel()
	tests := []struct{ ref, mask, id string }{
		{"env:OPENAI_API_KEY", "env:OPENAI_API_KEY", "openai_api_key"},
		{"file:/run/secrets/OpenAI-Backup.key", "file:/run/secrets/OpenAI-Backup.key", "openai-backup.key"},
		{"file:/k/Schlüssel 1", "file:/k/Schlüssel 1", "schl-ssel-1"},
		{"file:/k/" + strings.Repeat("a", 200), "file:/k/" + strings.Repeat("a", 200), strings.Repeat("a", 48)},
		{"file:/k/___", "file:/k/___", "key"},
		{"literal:" + planted, "literal:***", "key"},
		{planted, "***", "key"},
	}
	for _, tt := range tests {
		if got := secret.Mask(tt.ref); got != tt.mask {
			t.Errorf("Mask(%q) = %q, want %q", tt.ref, got, tt.mask)
		}
		if got := secret.ID(tt.ref); got != tt.id {
			t.Errorf("ID(%q) = %q, want %q", tt.ref, got, tt.id)
		}
	}
	if path, ok := secret.Path("file:/a/b"); !ok || path != "/a/b" {
		t.Errorf("Path = %q, %v", path, ok)
	}
	if _, ok := secret.Path("env:FILE"); ok {
		t.Error("Path takes a variable for a file")
	}
}

func TestSplit(t *testing.T) {
	t.Parallel()
	tests := map[string][]string{
		"":                   {},
		" , \n":              {},
		"a":                  {"a"},
		"a,b":                {"a", "b"},
		" a , b,\r\nc\n\td ": {"a", "b", "c", "d"},
	}
	for in, want := range tests {
		if diff := cmp.Diff(want, secret.Split(in)); diff != "" {
			t.Errorf("Split(%q): %s", in, diff)
		}
	}
}
