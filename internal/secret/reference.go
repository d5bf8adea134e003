package secret

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"unicode"
)

// The schemes of a reference.
const (
	envScheme     = "env:"
	fileScheme    = "file:"
	literalScheme = "literal:"
)

// Form is the regular expression of references, as far as one can tell without
// looking the secret up.
const Form = `^(` + envScheme + `[A-Za-z0-9_]+|` + fileScheme + `.+|` + literalScheme + `[!-+\--~]+)$`

// Masked is what Mask leaves of a literal reference. It is no reference.
const Masked = literalScheme + mask

// maxLen bounds a secret: what a header can carry, and no mistyped path to a
// log file is read whole.
const maxLen = 16 << 10

// Resolve reads the secret that a reference names: env:NAME, file:PATH (a
// trailing newline is dropped) or literal:VALUE. A secret is one line of visible
// ASCII without commas. Errors say what to do and never hold the secret, not even
// one that was written in the wrong place. Mask and ID are for references that
// Resolve has accepted.
func Resolve(ref string, env func(string) (string, bool)) (Value, error) {
	what, text, err := read(ref, env)
	if err != nil {
		return Value{}, err
	}
	return check(what, text)
}

// ResolveText is Resolve for what is no key and never sent as one: a text of one line.
func ResolveText(ref string, env func(string) (string, bool)) (Value, error) {
	what, text, err := read(ref, env)
	if err != nil {
		return Value{}, err
	}
	return checkText(what, text)
}

func read(ref string, env func(string) (string, bool)) (what, text string, err error) {
	scheme, rest := cut(ref)
	switch scheme {
	case envScheme:
		what, text, err = fromEnv(rest, env)
	case fileScheme:
		what, text, err = fromFile(rest)
	case literalScheme:
		what, text = "literal:", rest
		if text == mask {
			err = errors.New("literal:*** is a masked secret: write the secret itself in place of ***")
		}
	default:
		err = errors.New("not a reference to a secret: write env:NAME or file:PATH, or literal: before a secret that must stand here")
	}
	return what, text, err
}

// Mask returns the reference as it may be shown: a literal loses its value.
func Mask(ref string) string {
	if scheme, _ := cut(ref); scheme == literalScheme || scheme == "" {
		return scheme + mask
	}
	return ref
}

// ID returns the name that a reference suggests for its secret, in lower case:
// that of the variable or of the file; "key" for a literal. It is not unique.
func ID(ref string) string {
	scheme, rest := cut(ref)
	switch scheme {
	case envScheme:
	case fileScheme:
		rest = filepath.Base(rest)
	default:
		return "key"
	}
	id := strings.Map(func(r rune) rune {
		if r == '.' || r == '_' || r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(rest))
	if id = strings.Trim(id, "-._"); id == "" {
		return "key"
	}
	return id[:min(len(id), 48)]
}

// Path returns the path of a file: reference.
func Path(ref string) (path string, ok bool) { return strings.CutPrefix(ref, fileScheme) }

// Split returns the secrets of a variable that may hold several, separated by
// commas or line breaks. Only the start without a configuration file uses it.
func Split(text string) []string {
	return strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r <= ' ' || r == 0x7f })
}

func cut(ref string) (scheme, rest string) {
	for _, s := range []string{envScheme, fileScheme, literalScheme} {
		if rest, ok := strings.CutPrefix(ref, s); ok {
			return s, rest
		}
	}
	return "", ref
}

func fromEnv(name string, env func(string) (string, bool)) (what, text string, err error) {
	if name == "" || strings.ContainsFunc(name, notInName) || looksSecret(name) {
		return "", "", errors.New("what follows env: is no variable's name (letters, digits and _): write env:NAME, the name and not the secret")
	}
	what = fmt.Sprintf("environment variable %q", name)
	text, ok := env(name)
	if !ok {
		return "", "", fmt.Errorf("%s is not set: set it, or remove the entry", what)
	}
	return what, strings.TrimRight(text, "\r\n"), nil
}

func notInName(r rune) bool {
	return r != '_' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
}

func fromFile(path string) (what, text string, err error) {
	if path == "" || looksSecret(filepath.Base(path)) {
		return "", "", errors.New("what follows file: is no path to a secret: write file:PATH, the path and not the secret")
	}
	what = fmt.Sprintf("file %q", path)
	f, err := os.Open(path) //nolint:gosec // the operator names the file
	if err != nil {
		return "", "", fmt.Errorf("%s %s", what, whyUnread(err))
	}
	defer func() { _ = f.Close() }()
	b, err := io.ReadAll(io.LimitReader(f, maxLen+2))
	if err != nil {
		return "", "", fmt.Errorf("%s %s", what, whyUnread(err))
	}
	return what, strings.TrimRight(string(b), "\r\n"), nil
}

func whyUnread(err error) string {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return "does not exist: create it, or correct the path"
	case errors.Is(err, fs.ErrPermission):
		return "may not be read: give the gateway's user the right to"
	case errors.Is(err, syscall.EISDIR):
		return "is a directory: name a file in it"
	}
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		err = pe.Err
	}
	return fmt.Sprintf("cannot be read (%v): correct the path or the file", err)
}

func bound(what, text string) error {
	switch {
	case text == "":
		return fmt.Errorf("%s is empty: write the secret there, or remove the entry", what)
	case len(text) > maxLen:
		return fmt.Errorf("%s is longer than any secret (16 KiB): name the right one", what)
	}
	return nil
}

func checkText(what, text string) (Value, error) {
	if err := bound(what, text); err != nil {
		return Value{}, err
	}
	if strings.ContainsFunc(text, unicode.IsControl) {
		return Value{}, fmt.Errorf("%s holds several lines or control characters: write one line there", what)
	}
	return New(text), nil
}

func check(what, text string) (Value, error) {
	if err := bound(what, text); err != nil {
		return Value{}, err
	}
	switch {
	case strings.ContainsAny(text, ", \t\r\n"):
		return Value{}, fmt.Errorf("%s holds commas, spaces or several lines: a reference is one secret, list several one by one", what)
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return Value{}, fmt.Errorf("%s holds characters that no key has (only visible ASCII can be sent): copy the secret again", what)
	}
	return New(text), nil
}

// looksSecret tells a key that was written where a name belongs, so that it is
// not echoed: names are short, or words between separators in one case.
func looksSecret(s string) bool {
	if len(s) < 20 || !strings.ContainsAny(s, "0123456789") || strings.ToUpper(s) == s {
		return false
	}
	return strings.HasPrefix(s, "sk-") || strings.ToLower(s) != s || !strings.ContainsAny(s, "-_.")
}
