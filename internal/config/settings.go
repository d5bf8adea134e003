package config

import (
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
)

// config reads the whole document. What it returns is good only if no problem
// was reported.
func (d *decoder) config(root ast.Node) *Config {
	c := defaults(d.env)
	level, data := strings.ToLower(c.Log.Level.String()), ""
	if root != nil {
		d.settings(c, &level, &data).read(root, "")
	}
	c.Log.Level = levels[level]
	if data != "" {
		c.DataDir = d.path(data)
	}
	if !d.written("store") {
		c.Store = defaultStore(c.DataDir)
	}
	d.checkAddresses(c)
	d.checkLimits(c)
	d.uniqueTokens(c)
	d.checkProviders(c.Providers)
	d.checkServers(c)
	d.checkPrices(c)
	d.checkRecord(c)
	if _, ok := root.(ast.MapNode); (ok || root == nil) && !d.written("providers") {
		d.report("", "no providers: add one under providers")
	}
	return c
}

// settings is the whole file.
func (d *decoder) settings(c *Config, level, data *string) setting {
	all := d.section(
		field{"listen", "Where clients connect. If other machines can reach it, tokens are required. Port 0 takes a free one.", d.text(&c.Listen).matching(addressForm)},
		field{"admin", "Where the operator's side is: metrics, health, the pools. If other machines can reach it, admin_token is required.", d.text(&c.Admin).matching(addressForm)},
		field{"admin_token", "What the operator's side asks for, as Authorization: Bearer; all of it but /healthz and /readyz. None: it answers this machine only.", d.adminToken(c)},
		field{"data_dir", "Where the gateway keeps what must outlive it: state.json, what it knows of the keys, and keybridge.db, the record. A relative path starts at this file's directory. Default: $XDG_DATA_HOME/keybridge, else ~/.local/share/keybridge.", d.text(data)},
		field{"tokens", "What callers present in the place of a provider's key; any one of them admits. None: no token is asked.", d.list(d.token(&c.Tokens), true)},
		field{"attempts_header", "true: every answer says in X-Keybridge-Attempts how often its request was sent upstream, and in X-Keybridge-Id its id in the log and the record.", d.flag(&c.AttemptsHeader)},
		field{"stop_delay", "How long new connections are still taken after SIGTERM, while /readyz says 503: what a load balancer needs to see it.", d.duration(&c.StopDelay)},
		field{"log", "What is logged.", d.section(
			field{"level", "The least important lines that are written.", choice(d, level, "debug", "info", "warn", "error")},
			field{"format", "How they are written.", choice(d, &c.Log.Format, Text, JSON)},
		)},
		field{"limits", "The sizes of requests.", d.section(
			field{"max_body", "The largest request that is kept in memory, so that it can be sent again with another key.", d.size(&c.Limits.MaxBody, 1)},
			field{"max_upload", "The largest request on routes that are passed through unread (files, uploads); at least max_body. Above max_body it is streamed once, without failover.", d.size(&c.Limits.MaxUpload, 1)},
		)},
		field{"stream", "The times of answers.", d.section(
			field{"hold", "How long the beginning of a stream is held back, waiting for its first content: until then a failing key can still be replaced unseen.", d.duration(&c.Stream.Hold)},
			field{"hold_bytes", "And how much of it.", d.size(&c.Stream.HoldBytes, 0)},
			field{"first_event_timeout", "How long an upstream may take, from the moment the request is sent, to begin its answer (a stream: to send its first event). 0s: no limit.", d.duration(&c.Stream.FirstEventTimeout)},
			field{"ping", "How often a stream that is silent is kept alive towards the client. 0s: never.", d.duration(&c.Stream.Ping)},
			field{"idle_timeout", "How long an upstream may be silent once its answer has begun. 0s: for ever.", d.duration(&c.Stream.IdleTimeout)},
		)},
		field{"providers", "One block for each provider account pool. The short addresses /v1 and / belong to the first enabled provider of each API.", d.providers(&c.Providers)},
		field{"mcp", "The central tools that the gateway adds to conversations, and runs.", d.mcp(&c.MCP)},
		field{"store", "Where the record is kept: sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE, none, or a reference (env:NAME, file:PATH) to such a text. Default: sqlite: with the file keybridge.db in data_dir.", d.store(&c.Store)},
		field{"record", "What is recorded, and for how long.", d.record(&c.Record)},
		field{"prices", "Prices besides those that are shipped, and before them: the first that fits counts.", d.list(d.price(&c.Prices), true)},
	)
	// A file without providers is told so even if it is empty, see config.
	all.schema.Required = []string{"providers"}
	open := func(name string) *schema {
		return &schema{Properties: only(name, schema{Not: &schema{Pattern: closedForm}}), Required: []string{name}}
	}
	all.schema.AllOf = []*schema{
		{If: open("listen"), Then: &schema{Properties: only("tokens", schema{MinItems: 1}), Required: []string{"tokens"}}},
		{If: open("admin"), Then: &schema{Required: []string{"admin_token"}}},
	}
	return all
}

func (d *decoder) providers(providers *[]Provider) setting {
	list := d.list(d.provider(providers), true)
	list.schema.MinItems = 1
	read := list.read
	list.read = func(n ast.Node, at string) {
		if s, ok := n.(*ast.SequenceNode); ok && len(s.Values) == 0 {
			d.report(at, "is empty: add a provider (only the start without a file has a simulator)")
		}
		read(n, at)
	}
	return list
}

var levels = map[string]slog.Level{ //nolint:gochecknoglobals // a constant table
	"debug": slog.LevelDebug, "info": slog.LevelInfo, "warn": slog.LevelWarn, "error": slog.LevelError,
}

func (d *decoder) adminToken(c *Config) setting {
	return setting{schema: reference(), read: func(n ast.Node, at string) {
		c.AdminToken, c.AdminTokenSource = d.secret(n, at)
	}}
}

// secret resolves a reference. The problem never shows what was written: it may
// be a key that someone pasted.
func (d *decoder) secret(n ast.Node, at string) (v secret.Value, source string) {
	return d.resolved(n, at, secret.Resolve)
}

func (d *decoder) resolved(n ast.Node, at string, resolve func(string, Env) (secret.Value, error)) (v secret.Value, source string) {
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
	v, err := resolve(ref, d.env)
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
