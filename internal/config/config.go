// Package config turns the configuration file, or without one the environment,
// into one checked Config. It is strict, and it reports all problems at once.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"keybridge/internal/secret"
	"keybridge/keypool/verdict"
)

// Env looks up an environment variable, as os.LookupEnv does.
type Env = func(name string) (value string, ok bool)

// Config is a complete configuration: every default is filled in, every
// reference resolved, every rule checked.
type Config struct {
	Listen string // host:port of the gateway
	Admin  string // host:port of the operator's side; loopback, unless AdminToken is set
	// AdminToken is what the operator's side asks for. Zero: nothing, and Admin is
	// loopback.
	AdminToken       secret.Value
	AdminTokenSource string // the reference it came from, a literal masked
	// DataDir is an absolute path that need not exist. Empty: no user data
	// directory is known and none was configured.
	DataDir string
	// Tokens are what callers prove themselves with. None: no token is asked,
	// and Listen is loopback.
	Tokens []Token
	// AttemptsHeader adds to each answer how often its request was sent upstream.
	AttemptsHeader bool
	// StopDelay is how long requests are still taken once the gateway is to stop.
	StopDelay time.Duration

	Log       Log
	Limits    Limits
	Stream    Stream
	Providers []Provider
	MCP       MCP
	Store     Store
	Record    Record
	Prices    []Price // besides those that are shipped, and before them
}

// Log says what is logged and how.
type Log struct {
	Level  slog.Level
	Format Format
}

// Format is how a log line looks.
type Format string

// The formats.
const (
	Text Format = "text"
	JSON Format = "json"
)

// Limits bound requests, in bytes.
type Limits struct {
	MaxBody   int64 // what is kept in memory, so that it can be sent again
	MaxUpload int64 // what is streamed through on routes nothing reads; at least MaxBody
}

// Stream times the answers.
type Stream struct {
	Hold              time.Duration // how long a stream may be held back before its first content
	HoldBytes         int64         // and how much of it
	FirstEventTimeout time.Duration // from the send to the head or first event; zero: no limit
	Ping              time.Duration // how often a silent stream is kept alive; zero: never
	IdleTimeout       time.Duration // how long an upstream may be silent after its head; zero: for ever
}

// Provider is one upstream account pool.
type Provider struct {
	Name     string // unique; the first segment of its paths
	Kind     verdict.Family
	Enabled  bool
	BaseURL  *url.URL // without a slash at the end, user, query or fragment
	Strategy Strategy
	Affinity Affinity
	Probe    Probe
	MaxWait  time.Duration // how long a call waits for a key to come back; zero: not at all
	Meter    bool          // chat streams whose client asks for no usage are made to report it
	Keys     []Key         // none: it serves only callers who bring their own key
}

// Strategy is the order in which keys are asked.
type Strategy string

// The strategies.
const (
	Priority   Strategy = "priority"
	RoundRobin Strategy = "round_robin"
	LeastBusy  Strategy = "least_busy"
	Weighted   Strategy = "weighted"
	Headroom   Strategy = "headroom"
)

// Affinity says whether a conversation stays with its key.
type Affinity string

// The affinities.
const (
	AffinityAuto Affinity = "auto" // where the keys do not share one prompt cache
	AffinityOff  Affinity = "off"
)

// Probe says whether rejected keys are tried in the background.
type Probe string

// The ways to probe.
const (
	ProbeAuto Probe = "auto"
	ProbeOff  Probe = "off"
)

// Key is one upstream credential.
type Key struct {
	ID           string // unique in its provider, never empty, never from the secret
	Secret       secret.Value
	Source       string // the reference it came from, a literal masked
	Organization string
	Project      string
	Models       []string // path.Match patterns; none: every model
	Weight       int      // its share under Weighted; at least 1
}

// maxFile bounds a configuration file.
const maxFile = 1 << 20

// Load reads and checks the file. The error is of type Problems, all there are.
func Load(file string, env Env) (*Config, error) {
	data, err := read(file)
	if err != nil {
		return nil, Problems{{File: file, Text: err.Error()}}
	}
	return Parse(file, data, env)
}

func read(file string) ([]byte, error) {
	f, err := os.Open(file) //nolint:gosec // the operator names the file
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, errors.New("does not exist: create it, or correct the path")
	case errors.Is(err, fs.ErrPermission):
		return nil, errors.New("may not be read: give the gateway's user the right to")
	case err != nil:
		return nil, fmt.Errorf("cannot be opened: %w", cause(err))
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, fmt.Errorf("cannot be read: %w", cause(err))
	}
	return data, nil
}

// cause drops the operation and the path, which the problem states itself.
func cause(err error) error {
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Parse checks the text of a configuration file. The name stands in the problems,
// and relative paths in the file are relative to its directory. The error is of
// type Problems, all there are, in the order of the lines.
func Parse(name string, data []byte, env Env) (*Config, error) {
	root, problems := document(name, data)
	if len(problems) > 0 {
		return nil, problems
	}
	d := &decoder{file: name, env: env, lines: map[string]int{}}
	c := d.config(root)
	if len(d.problems) > 0 {
		return nil, d.problems.sorted()
	}
	return c, nil
}

// FromEnvironment is the configuration without a file: a provider for
// OPENAI_API_KEY and OPENAI_API_KEYS, another for ANTHROPIC_API_KEY and
// ANTHROPIC_API_KEYS, each of which may hold several keys, KEYBRIDGE_TOKEN as the
// token, KEYBRIDGE_ADMIN_TOKEN as the operator's, and KEYBRIDGE_STORE as the store. A
// provider without keys is left out, so there may be none; then nothing is recorded in
// the user's data directory. The error is of type Problems.
func FromEnvironment(env Env) (*Config, error) {
	c, problems := fromEnvironment(env)
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func fromEnvironment(env Env) (*Config, Problems) {
	c, d := defaults(env), &decoder{file: "environment", env: env, lines: map[string]int{storeVariable: 0}}
	if v, ok := env("KEYBRIDGE_TOKEN"); ok {
		if v = strings.TrimSpace(v); v != "" {
			c.Tokens = []Token{{Name: "keybridge_token", Secret: secret.New(v), Source: "env:KEYBRIDGE_TOKEN"}}
		}
	}
	if v, ok := env("KEYBRIDGE_ADMIN_TOKEN"); ok {
		if v = strings.TrimSpace(v); v != "" {
			c.AdminToken, c.AdminTokenSource = secret.New(v), "env:KEYBRIDGE_ADMIN_TOKEN"
		}
	}
	for _, kind := range []verdict.Family{verdict.OpenAI, verdict.Anthropic} {
		p := newProvider()
		p.Name, p.Kind = string(kind), kind
		p.BaseURL, _ = url.Parse(defaultBase[kind])
		variable := strings.ToUpper(p.Name) + "_API_KEY"
		p.Keys = append(environmentKeys(variable, env), environmentKeys(variable+"S", env)...)
		if p.Keys = unlike(p.Keys); len(p.Keys) > 0 {
			c.Providers = append(c.Providers, p)
		}
	}
	c.Store = d.environmentStore(c)
	return c, d.problems
}

func (d *decoder) environmentStore(c *Config) Store {
	if v, _ := d.env(storeVariable); strings.TrimSpace(v) != "" {
		d.file = "environment"
		return d.storeOf(storeVariable, strings.TrimSpace(v))
	}
	if len(c.Providers) == 0 {
		return Store{}
	}
	return c.Store
}

func environmentKeys(variable string, env Env) []Key {
	text, _ := env(variable)
	source := "env:" + variable
	var keys []Key
	values := secret.Split(text)
	for i, v := range values {
		id := secret.ID(source)
		// A list numbers its keys even when it has one, so that the name stays when
		// another is added.
		if len(values) > 1 || strings.HasSuffix(variable, "S") {
			id += "-" + strconv.Itoa(i+1)
		}
		keys = append(keys, Key{ID: id, Secret: secret.New(v), Source: source, Weight: 1})
	}
	return keys
}

// unlike drops keys that repeat an earlier one: nothing is wrong with a key that
// is in both variables.
func unlike(keys []Key) []Key {
	seen := map[string]bool{}
	var out []Key
	for _, k := range keys {
		if !seen[k.Secret.Reveal()] {
			seen[k.Secret.Reveal()] = true
			out = append(out, k)
		}
	}
	return out
}

func defaults(env Env) *Config {
	data := userData(env)
	return &Config{
		Listen:  "127.0.0.1:8787",
		Admin:   "127.0.0.1:8788",
		DataDir: data,
		Store:   defaultStore(data),
		Log:     Log{Level: slog.LevelInfo, Format: Text},
		Limits:  Limits{MaxBody: 32 << 20, MaxUpload: 512 << 20},
		Record:  defaultRecord(),
		Stream:  Stream{Hold: 10 * time.Second, HoldBytes: 1 << 20, Ping: 10 * time.Second, IdleTimeout: 5 * time.Minute},
		MCP:     MCP{Loop: defaultLoop()},
	}
}

// userData is the user's data directory by the XDG rules, which ignore a relative path.
func userData(env Env) string {
	if dir, ok := env("XDG_DATA_HOME"); ok && filepath.IsAbs(dir) {
		return filepath.Join(dir, "keybridge")
	}
	if home, ok := env("HOME"); ok && filepath.IsAbs(home) {
		return filepath.Join(home, ".local", "share", "keybridge")
	}
	return ""
}
