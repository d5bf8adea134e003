package config

import (
	"log/slog"
	"path/filepath"
	"strconv"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
)

// config reads the whole document. What it returns is good only if no problem
// was reported.
func (d *decoder) config(root ast.Node) *Config {
	c := defaults(d.env)
	level := "info"
	var data string
	if root != nil {
		d.section(map[string]reader{
			"listen":   d.text(&c.Listen),
			"admin":    d.text(&c.Admin),
			"data_dir": d.text(&data),
			"tokens":   d.list(d.token(&c.Tokens)),
			"log": d.section(map[string]reader{
				"level":  choice(d, &level, "debug", "info", "warn", "error"),
				"format": choice(d, &c.Log.Format, Text, JSON),
			}),
			"limits": d.section(map[string]reader{
				"max_body":   d.size(&c.Limits.MaxBody, 1),
				"max_upload": d.size(&c.Limits.MaxUpload, 1),
			}),
			"stream": d.section(map[string]reader{
				"hold":                d.duration(&c.Stream.Hold),
				"hold_bytes":          d.size(&c.Stream.HoldBytes, 0),
				"first_event_timeout": d.duration(&c.Stream.FirstEventTimeout),
				"ping":                d.duration(&c.Stream.Ping),
				"idle_timeout":        d.duration(&c.Stream.IdleTimeout),
			}),
			"providers": func(n ast.Node, at string) {
				if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
					d.report(at, "is empty: add a provider (only the start without a file has a simulator)")
				}
				d.list(d.provider(&c.Providers))(n, at)
			},
		})(root, "")
	}
	c.Log.Level = levels[level]
	if data != "" {
		c.DataDir = d.path(data)
	}
	d.checkAddresses(c)
	d.checkLimits(c)
	d.uniqueTokens(c.Tokens)
	d.checkProviders(c.Providers)
	if _, ok := root.(ast.MapNode); (ok || root == nil) && !d.written("providers") {
		d.report("", "no providers: add one under providers")
	}
	return c
}

var levels = map[string]slog.Level{ //nolint:gochecknoglobals // a constant table
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (d *decoder) token(tokens *[]Token) reader {
	return func(n ast.Node, at string) {
		v, source := d.secret(n, at)
		*tokens = append(*tokens, Token{Secret: v, Source: source})
	}
}

// secret resolves a reference. The problem never shows what was written: it may
// be a key that someone pasted.
func (d *decoder) secret(n ast.Node, at string) (v secret.Value, source string) {
	ref, ok := tight(n)
	if _, block := n.(ast.MapNode); block && !ok {
		d.report(at, "a block of settings found where a reference belongs: write env:NAME, file:PATH or literal:VALUE without a space after the colon")
		return v, ""
	}
	if !ok {
		if ref, ok = d.str(n, at); !ok {
			return v, ""
		}
	}
	if path, ok := secret.Path(ref); ok && path != "" {
		ref = "file:" + d.path(path)
	}
	v, err := secret.Resolve(ref, d.env)
	if err != nil {
		d.report(at, "%s", err)
		return v, ""
	}
	return v, secret.Mask(ref)
}

// tight reads "env:NAME" inside braces, where the parser takes it for a block
// although no space follows the colon.
func tight(n ast.Node) (ref string, ok bool) {
	m, isMap := n.(ast.MapNode)
	if !isMap {
		return "", false
	}
	it := m.MapRange()
	if !misspaced(n) || !it.Next() {
		return "", false
	}
	key, value := it.Key().GetToken(), it.Value().GetToken()
	if key.Position.Line != value.Position.Line || value.Position.Column != key.Position.Column+len(key.Value)+1 || it.Next() {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

// path makes a path of the file absolute: a service and a shell, started in
// different directories, must mean the same file.
func (d *decoder) path(p string) string {
	if !filepath.IsAbs(p) {
		p = filepath.Join(filepath.Dir(d.file), p)
	}
	if abs, err := filepath.Abs(p); err == nil {
		return abs
	}
	return p
}

func (d *decoder) uniqueTokens(tokens []Token) {
	seen, names := map[string]string{}, map[string]bool{}
	for i := range tokens {
		t, at := &tokens[i], place("tokens", i)
		if t.Secret.IsZero() {
			continue
		}
		d.once(seen, t.Secret, at)
		t.Name = distinct(secret.ID(t.Source), names)
	}
}

// once reports a secret that an earlier place has too.
func (d *decoder) once(seen map[string]string, v secret.Value, at string) {
	if first, ok := seen[v.Reveal()]; ok {
		d.report(at, "has the same secret as %s (line %d): remove one of the two", first, d.line(first))
		return
	}
	seen[v.Reveal()] = at
}

// distinct returns the name, numbered if it is taken, and takes it.
func distinct(name string, taken map[string]bool) string {
	out := name
	for n := 2; taken[out]; n++ {
		out = name + "-" + strconv.Itoa(n)
	}
	taken[out] = true
	return out
}

func place(list string, i int) string { return list + "[" + strconv.Itoa(i) + "]" }

func (d *decoder) checkLimits(c *Config) {
	if c.Limits.MaxUpload >= c.Limits.MaxBody {
		return
	}
	at := "limits.max_upload"
	if !d.written(at) {
		at = "limits.max_body"
	}
	d.report(at, "max_upload (%s) is smaller than max_body (%s): raise max_upload, or lower max_body", sizeText(c.Limits.MaxUpload), sizeText(c.Limits.MaxBody))
}
