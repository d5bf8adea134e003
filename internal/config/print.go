package config

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"github.com/goccy/go-yaml"
)

// The shape of the file, for printing. Reading goes another way, which knows lines.
type (
	printed struct {
		Listen    string            `yaml:"listen"`
		Admin     string            `yaml:"admin"`
		Token     string            `yaml:"admin_token,omitempty"`
		DataDir   string            `yaml:"data_dir"`
		Tokens    []string          `yaml:"tokens"`
		Attempts  bool              `yaml:"attempts_header,omitempty"`
		Log       printedLog        `yaml:"log"`
		Limits    printedLimits     `yaml:"limits"`
		Stream    printedStream     `yaml:"stream"`
		Providers []printedProvider `yaml:"providers"`
		MCP       printedMCP        `yaml:"mcp"`
	}
	printedLog struct {
		Level  string `yaml:"level"`
		Format string `yaml:"format"`
	}
	printedLimits struct {
		MaxBody   string `yaml:"max_body"`
		MaxUpload string `yaml:"max_upload"`
	}
	printedStream struct {
		Hold              string `yaml:"hold"`
		HoldBytes         string `yaml:"hold_bytes"`
		FirstEventTimeout string `yaml:"first_event_timeout"`
		Ping              string `yaml:"ping"`
		IdleTimeout       string `yaml:"idle_timeout"`
	}
	printedProvider struct {
		Name     string       `yaml:"name"`
		Kind     string       `yaml:"kind"`
		Enabled  bool         `yaml:"enabled"`
		BaseURL  string       `yaml:"base_url"`
		Strategy string       `yaml:"strategy"`
		Affinity string       `yaml:"affinity"`
		Probe    string       `yaml:"probe"`
		MaxWait  string       `yaml:"max_wait"`
		Keys     []printedKey `yaml:"keys"`
	}
	printedKey struct {
		ID           string   `yaml:"id"`
		Secret       string   `yaml:"secret"`
		Organization string   `yaml:"organization,omitempty"`
		Project      string   `yaml:"project,omitempty"`
		Models       []string `yaml:"models,omitempty"`
		Weight       int      `yaml:"weight,omitempty"`
	}
	printedMCP struct {
		Servers []printedServer `yaml:"servers"`
		Loop    printedLoop     `yaml:"loop"`
	}
	printedServer struct {
		Name          string        `yaml:"name"`
		URL           string        `yaml:"url,omitempty"`
		Headers       yaml.MapSlice `yaml:"headers,omitempty"`
		Stdio         bool          `yaml:"stdio,omitempty"`
		Command       string        `yaml:"command,omitempty"`
		Args          []string      `yaml:"args,omitempty"`
		Env           yaml.MapSlice `yaml:"env,omitempty"`
		Allow         []string      `yaml:"allow,omitempty"`
		Deny          []string      `yaml:"deny,omitempty"`
		Timeout       string        `yaml:"timeout"`
		MaxConcurrent int           `yaml:"max_concurrent"`
		MaxResult     string        `yaml:"max_result"`
		Tokens        []string      `yaml:"tokens,omitempty"`
	}
	printedLoop struct {
		MaxTurns int    `yaml:"max_turns"`
		MaxCalls int    `yaml:"max_calls"`
		MaxTime  string `yaml:"max_time"`
	}
)

// WriteTo writes the effective configuration, every default included, as a file
// that Parse reads back to the same. Secrets stand as their references; of a
// literal one only literal:*** is left, which Parse asks to be filled in.
func (c *Config) WriteTo(w io.Writer) (int64, error) {
	p := printed{
		Listen: c.Listen, Admin: c.Admin, Token: c.AdminTokenSource, DataDir: c.DataDir,
		Tokens: []string{}, Providers: []printedProvider{}, Attempts: c.AttemptsHeader,
		Log:    printedLog{Level: strings.ToLower(c.Log.Level.String()), Format: string(c.Log.Format)},
		Limits: printedLimits{MaxBody: sizeText(c.Limits.MaxBody), MaxUpload: sizeText(c.Limits.MaxUpload)},
		Stream: printedStream{
			Hold: durationText(c.Stream.Hold), HoldBytes: sizeText(c.Stream.HoldBytes),
			FirstEventTimeout: durationText(c.Stream.FirstEventTimeout),
			Ping:              durationText(c.Stream.Ping), IdleTimeout: durationText(c.Stream.IdleTimeout),
		},
	}
	for _, t := range c.Tokens {
		p.Tokens = append(p.Tokens, t.Source)
	}
	for _, in := range c.Providers {
		out := printedProvider{
			Name: in.Name, Kind: string(in.Kind), Enabled: in.Enabled, BaseURL: in.BaseURL.String(),
			Strategy: string(in.Strategy), Affinity: string(in.Affinity), Probe: string(in.Probe), MaxWait: durationText(in.MaxWait), Keys: []printedKey{},
		}
		for _, k := range in.Keys {
			weight := k.Weight
			if weight == 1 {
				weight = 0 // left out, as whoever has no use for weights would
			}
			out.Keys = append(out.Keys, printedKey{k.ID, k.Source, k.Organization, k.Project, k.Models, weight})
		}
		p.Providers = append(p.Providers, out)
	}
	p.MCP = c.MCP.printed()
	text, err := yaml.MarshalWithOptions(p, yaml.IndentSequence(true))
	if err != nil {
		return 0, fmt.Errorf("print configuration: %w", err)
	}
	return bytes.NewReader(text).WriteTo(w)
}

func (m MCP) printed() printedMCP {
	out := printedMCP{
		Servers: []printedServer{},
		Loop:    printedLoop{m.Loop.MaxTurns, m.Loop.MaxCalls, durationText(m.Loop.MaxTime)},
	}
	for _, s := range m.Servers {
		out.Servers = append(out.Servers, printedServer{
			Name: s.Name, URL: s.URL, Headers: printedNames(s.Headers), Stdio: s.Command != "", Command: s.Command, Args: s.Args, Env: printedNames(s.Env),
			Allow: s.Allow, Deny: s.Deny, Timeout: durationText(s.Timeout), MaxConcurrent: s.MaxConcurrent, MaxResult: sizeText(s.MaxResult), Tokens: s.Tokens,
		})
	}
	return out
}

func printedNames(list []Named) (out yaml.MapSlice) {
	for _, n := range list {
		out = append(out, yaml.MapItem{Key: n.Name, Value: n.Source})
	}
	return out
}
