package config

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
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
		Tokens    []printedToken    `yaml:"tokens"`
		Attempts  bool              `yaml:"attempts_header,omitempty"`
		StopDelay string            `yaml:"stop_delay"`
		Log       printedLog        `yaml:"log"`
		Limits    printedLimits     `yaml:"limits"`
		Stream    printedStream     `yaml:"stream"`
		Providers []printedProvider `yaml:"providers"`
		MCP       printedMCP        `yaml:"mcp"`
		Store     string            `yaml:"store,omitempty"`
		Record    printedRecord     `yaml:"record"`
		Prices    []printedPrice    `yaml:"prices"`
	}
	printedToken struct {
		Name     string        `yaml:"name"`
		Secret   string        `yaml:"secret"`
		Metadata yaml.MapSlice `yaml:"metadata,omitempty"`
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
		Meter    bool         `yaml:"meter"`
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
	printedRecord struct {
		Prompts   bool        `yaml:"prompts"`
		Arguments bool        `yaml:"arguments"`
		Reasoning bool        `yaml:"reasoning"`
		MaxText   string      `yaml:"max_text"`
		Flush     string      `yaml:"flush"`
		Queue     string      `yaml:"queue"`
		WhenFull  string      `yaml:"when_full"`
		Strict    bool        `yaml:"strict"`
		Spool     string      `yaml:"spool"`
		Keep      printedKeep `yaml:"keep"`
	}
	printedKeep struct {
		Records   string `yaml:"records"`
		Prompts   string `yaml:"prompts"`
		Arguments string `yaml:"arguments"`
		Reasoning string `yaml:"reasoning"`
		Usage     string `yaml:"usage"`
	}
	printedPrice struct {
		Model          string `yaml:"model"`
		Provider       string `yaml:"provider,omitempty"`
		Input          string `yaml:"input,omitempty"`
		Output         string `yaml:"output,omitempty"`
		CacheRead      string `yaml:"cache_read,omitempty"`
		CacheWrite     string `yaml:"cache_write,omitempty"`
		CacheWriteLong string `yaml:"cache_write_long,omitempty"`
		Search         string `yaml:"search,omitempty"`
	}
)

// WriteTo writes the effective configuration, every default included, as a file
// that Parse reads back to the same. Secrets stand as their references; of a
// literal one only literal:*** is left, which Parse asks to be filled in.
func (c *Config) WriteTo(w io.Writer) (int64, error) {
	p := printed{
		Listen: c.Listen, Admin: c.Admin, Token: c.AdminTokenSource, DataDir: c.DataDir,
		Tokens: []printedToken{}, Providers: []printedProvider{}, Prices: []printedPrice{}, Attempts: c.AttemptsHeader,
		StopDelay: durationText(c.StopDelay),
		Store:     c.Store.Source, Record: c.Record.printed(),
		Log:    printedLog{Level: strings.ToLower(c.Log.Level.String()), Format: string(c.Log.Format)},
		Limits: printedLimits{MaxBody: sizeText(c.Limits.MaxBody), MaxUpload: sizeText(c.Limits.MaxUpload)},
		Stream: printedStream{
			Hold: durationText(c.Stream.Hold), HoldBytes: sizeText(c.Stream.HoldBytes),
			FirstEventTimeout: durationText(c.Stream.FirstEventTimeout),
			Ping:              durationText(c.Stream.Ping), IdleTimeout: durationText(c.Stream.IdleTimeout),
		},
	}
	for i := range c.Tokens {
		p.Tokens = append(p.Tokens, c.Tokens[i].printed())
	}
	for _, price := range c.Prices {
		p.Prices = append(p.Prices, price.printed())
	}
	for _, in := range c.Providers {
		out := printedProvider{
			Name: in.Name, Kind: string(in.Kind), Enabled: in.Enabled, BaseURL: in.BaseURL.String(),
			Strategy: string(in.Strategy), Affinity: string(in.Affinity), Probe: string(in.Probe), MaxWait: durationText(in.MaxWait), Meter: in.Meter, Keys: []printedKey{},
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

func (t *Token) printed() printedToken {
	out := printedToken{Name: t.Name, Secret: t.Source}
	for _, name := range slices.Sorted(maps.Keys(t.Metadata)) {
		out.Metadata = append(out.Metadata, yaml.MapItem{Key: name, Value: t.Metadata[name]})
	}
	return out
}

func (r Record) printed() printedRecord {
	return printedRecord{
		Prompts: r.Prompts, Arguments: r.Arguments, Reasoning: r.Reasoning, MaxText: sizeText(r.MaxText), Flush: durationText(r.Flush),
		Queue: sizeText(r.Queue), WhenFull: string(r.WhenFull), Strict: r.Strict, Spool: sizeText(r.Spool),
		Keep: printedKeep{
			durationText(r.Keep.Records), durationText(r.Keep.Prompts), durationText(r.Keep.Arguments), durationText(r.Keep.Reasoning), durationText(r.Keep.Usage),
		},
	}
}

func (p Price) printed() printedPrice {
	return printedPrice{p.Model, p.Provider, p.Input, p.Output, p.CacheRead, p.CacheWrite, p.CacheWriteLong, p.Search}
}
