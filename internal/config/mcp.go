package config

import (
	"maps"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml/ast"

	"keybridge/internal/secret"
)

// MCP says which central tools there are.
type MCP struct {
	Servers []Server
	Loop    Loop
}

// Server is an MCP server: one that is reached at its URL, or a program that is
// started.
type Server struct {
	Name          string // unique; part of its tools' names
	URL           string
	Headers       []Named // sent with each request to URL
	Command       string  // an absolute path, or a name to be looked up in PATH
	Args          []string
	Env           []Named
	Allow, Deny   []string      // patterns of its tools' names, * for any characters; no Allow: every tool
	Timeout       time.Duration // of one call
	MaxConcurrent int           // calls at once
	MaxResult     int64         // bytes of a result
	Tokens        []string      // names of the tokens whose callers get its tools; none: every caller
}

// Named is a header or a variable with its value.
type Named struct {
	Name   string
	Value  secret.Value
	Source string // what is written for it, a literal masked
	// Credential says that the value is one, so that nobody may repeat it: of a header
	// each that is looked up, or has a word before it, or such a name; of a variable
	// only what has such a name, or a password in it: most of them are paths and addresses,
	// which results are full of.
	Credential bool
}

// Loop bounds the turns that central tools may cause in one exchange.
type Loop struct {
	MaxTurns int           // turns in which tools are run
	MaxCalls int           // calls that are run of one turn
	MaxTime  time.Duration // that all calls may take together
}

const (
	serverForm   = `^[a-z0-9][a-z0-9-]{0,31}$`
	toolForm     = `^[^?\[\]\\]+$`
	endpointForm = `^[hH][tT][tT][pP][sS]?://(\[[^\]/?#@ ]+\]|[^\[/?#@: ]+)(:` + portForm + `)?([/?][^#]*)?$`

	maxConcurrent = 1000
	maxTurns      = 100
	maxCalls      = 128
	leastResult   = 1 << 10
	mostResult    = 64 << 20 // several are held for each call under way
)

var (
	serverName  = regexp.MustCompile(serverForm)
	toolPattern = regexp.MustCompile(toolForm)
)

func defaultLoop() Loop { return Loop{MaxTurns: 16, MaxCalls: 16, MaxTime: 10 * time.Minute} }

func newServer() Server {
	return Server{Timeout: time.Minute, MaxConcurrent: 16, MaxResult: 256 << 10}
}

// mcp is the section of the central tools.
func (d *decoder) mcp(m *MCP) setting {
	return d.section(
		field{"servers", "The MCP servers whose tools are offered to conversations.", d.list(d.server(&m.Servers), true)},
		field{"loop", "How far the tools of one request may go.", d.section(
			field{"max_turns", "The turns of one request in which tools are run; then the model is asked to answer without them.", d.number(&m.Loop.MaxTurns, maxTurns)},
			field{"max_calls", "The calls that are run of one turn; the model is told that the others were not.", d.number(&m.Loop.MaxCalls, maxCalls)},
			field{"max_time", "What all calls of one request may take together.", d.positive(&m.Loop.MaxTime)},
		)},
	)
}

// written of a server, besides what is taken as it is.
type serverText struct {
	url, command string
	stdio        bool
}

func (d *decoder) server(servers *[]Server) setting {
	like := newServer()
	return setting{schema: d.serverSettings(&like, &serverText{}).schema, read: func(n ast.Node, at string) {
		s, text := newServer(), serverText{}
		d.serverSettings(&s, &text).read(n, at)
		if _, ok := n.(ast.MapNode); ok {
			d.checkTransport(at, text)
			d.notEmpty(at + ".allow")
			d.notEmpty(at + ".tokens")
			s.URL, s.Command = d.endpoint(at+".url", text.url), text.command
			if strings.Contains(text.command, "/") {
				s.Command = d.path(text.command)
			}
		}
		*servers = append(*servers, s)
	}}
}

func (d *decoder) serverSettings(s *Server, text *serverText) setting {
	all := d.section(
		field{
			"name", "The server's name in its tools' names (kb_NAME_TOOL), metrics and logs. Unique.",
			d.text(&s.Name).matching(serverForm).needed("name: a short one like tickets; it is part of its tools' names"),
		},
		field{"url", "Where the server is, over Streamable HTTP: https or http, no user and no fragment. It is no place for secrets: keybridge check shows it.", d.text(&text.url).matching(endpointForm)},
		field{"headers", "What is sent with each request to it: names, each with a reference to a secret, before which one word may stand, as in Bearer env:NAME.", d.named(&s.Headers, headerKind)},
		field{"stdio", "true: the server is a program, and may be started on the gateway's machine with the gateway's rights.", d.flag(&text.stdio)},
		field{"command", "The program, for a server with stdio: true: a name to be looked up in PATH or a path, where a relative one starts at this file's directory.", d.text(&text.command)},
		field{"args", "Its arguments. They are no place for secrets: keybridge check shows them, and so does ps.", d.list(d.texts(&s.Args), false)},
		field{"env", "Its environment variables: names, each with a reference to a secret.", d.named(&s.Env, variableKind)},
		field{"allow", "Patterns of the tools that are offered; by default all. * stands for any characters.", d.list(d.tool(&s.Allow), false)},
		field{"deny", "Patterns of tools that are not offered, whatever allow says.", d.list(d.tool(&s.Deny), false)},
		field{"timeout", "What one call may take.", d.positive(&s.Timeout)},
		field{"max_concurrent", "How many calls the server gets at once; others wait, within their timeout.", d.number(&s.MaxConcurrent, maxConcurrent)},
		field{"max_result", "The largest result that is given to the model. What is beyond it is cut off, and the model is told so.", d.resultSize(&s.MaxResult)},
		field{"tokens", "The names of the tokens whose callers get its tools; by default every caller.", d.list(d.texts(&s.Tokens), false)},
	)
	for _, f := range all.schema.Properties {
		switch f.name {
		case "allow", "tokens":
			f.schema.MinItems = 1
		case "command":
			f.schema.MinLength = 1
		}
	}
	needs := func(names ...string) *schema { return &schema{Required: names} }
	started := only("stdio", schema{Const: true})
	all.schema.AnyOf = []*schema{
		{Required: []string{"url"}, Not: &schema{AnyOf: []*schema{needs("command"), needs("args"), needs("env"), {Required: []string{"stdio"}, Properties: started}}}},
		{Required: []string{"stdio", "command"}, Properties: started, Not: &schema{AnyOf: []*schema{needs("url"), needs("headers")}}},
	}
	return all
}

// checkTransport sees to it that a server is reached in one way.
func (d *decoder) checkTransport(at string, s serverText) {
	has := func(name string) bool { return d.written(at + "." + name) }
	if !has("url") {
		d.checkProgram(at, s, has)
		return
	}
	for _, name := range []string{"command", "args", "env", "stdio"} {
		if has(name) && (name != "stdio" || s.stdio) {
			d.report(at+"."+name, "is of a program, and this server has a url: remove one of the two")
		}
	}
}

func (d *decoder) checkProgram(at string, s serverText, has func(string) bool) {
	if has("headers") {
		d.report(at+".headers", "are sent to a url, and this server has none: add url, or remove headers (a program gets env)")
	}
	switch {
	case !has("command") && (s.stdio || has("args") || has("env")):
		d.report(at, "is missing command: the program that is the server")
	case !has("command"):
		d.report(at, "is missing url: where the server is, like https://host/mcp (or stdio: true and the command of a program)")
	case d.reported(at + ".command"):
	case s.command == "":
		d.report(at+".command", "is empty: name a program, or remove the line")
	case !s.stdio && !d.reported(at+".stdio"):
		d.report(at+".command", "starts a program on the gateway's machine, with the gateway's rights: add stdio: true if it is to do that")
	}
}

// endpoint checks the address of a server. Its problem never quotes it.
func (d *decoder) endpoint(at, s string) string {
	if !d.written(at) || d.reported(at) {
		return ""
	}
	u, err := url.Parse(s)
	if err != nil {
		d.report(at, "is not a URL: write it like https://host/mcp")
		return ""
	}
	_, err = strconv.ParseUint(u.Port(), 10, 16)
	switch {
	case u.Scheme != "https" && u.Scheme != "http":
		d.report(at, "must begin with https:// (or http://): write it like https://host/mcp")
	case u.Hostname() == "":
		d.report(at, "has no host: write it like https://host/mcp")
	case u.User != nil:
		d.report(at, "holds a user or a password: remove them; credentials go under headers")
	case strings.Contains(s, "#"):
		d.report(at, "holds a fragment (#): remove it")
	case u.Port() != "" && err != nil || strings.HasSuffix(u.Host, ":"):
		d.report(at, "has no usable port: write a number up to 65535, or leave it out with its colon")
	}
	return s
}

// checkServers looks at the servers beside each other and beside the tokens.
func (d *decoder) checkServers(c *Config) {
	callers, unread, own := map[string]bool{}, false, map[string]string{}
	for i, t := range c.Tokens {
		callers[t.Name] = true
		unread = unread || t.Secret.IsZero()
		own[t.Secret.Reveal()] = place("tokens", i)
	}
	own[c.AdminToken.Reveal()] = "admin_token"
	delete(own, "")
	seen := map[string]string{}
	for i := range c.MCP.Servers {
		s, at := &c.MCP.Servers[i], place("mcp.servers", i)
		d.checkServerName(seen, s.Name, at)
		for j, name := range s.Tokens {
			if !callers[name] && !unread {
				d.unknownToken(place(at+".tokens", j), name, slices.Sorted(maps.Keys(callers)))
			}
		}
		d.notOurs(own, s.Headers, at+".headers")
		d.notOurs(own, s.Env, at+".env")
	}
}

// notOurs refuses to give a server what the gateway itself asks for.
func (d *decoder) notOurs(own map[string]string, values []Named, at string) {
	for _, v := range values {
		if token, ok := own[schemed.ReplaceAllString(v.Value.Reveal(), "")]; ok {
			d.report(at+"."+echo(v.Name), "has the same secret as %s (line %d), so that the server could use the gateway: give it one of its own", token, d.line(token))
		}
	}
}

func (d *decoder) checkServerName(seen map[string]string, name, server string) {
	at := server + ".name"
	switch first, ok := seen[name]; {
	case !d.written(at) || d.reported(at):
	case !serverName.MatchString(name):
		d.report(at, "%q is no server name: write up to 32 lower-case letters, digits and hyphens, no hyphen first", name)
	case ok:
		d.report(at, "%q is the name of %s too (line %d): rename one of the two", name, first, d.line(first))
	default:
		seen[name] = server
	}
}

// unknownToken echoes no name that could be a token itself.
func (d *decoder) unknownToken(at, name string, known []string) {
	if len(known) == 0 {
		d.report(at, "names a token, and none are configured: add tokens, or remove this list, so that every caller gets the tools")
		return
	}
	text := "is no token's name: the tokens are " + strings.Join(known, ", ")
	if near := nearest(name, known); near != "" {
		text = strconv.Quote(name) + " " + text + "; did you mean " + strconv.Quote(near) + "?"
	}
	d.report(at, "%s", text)
}

// notEmpty refuses a list that says "none" where leaving it out says "all".
func (d *decoder) notEmpty(list string) {
	if d.written(list) && !d.written(list+"[0]") && !d.reported(list) {
		d.report(list, "is empty: write an entry, or remove the line, which means all")
	}
}

// positive is a duration that is not zero.
func (d *decoder) positive(p *time.Duration) setting {
	s := d.duration(p)
	s.schema.Type, s.schema.Minimum, s.schema.Maximum = "string", nil, nil
	s.schema.Not = &schema{Pattern: `^[^1-9]*$`}
	read := s.read
	s.read = func(n ast.Node, at string) {
		if strings.HasPrefix(strings.TrimSpace(scalar(n)), "-") {
			d.report(at, "is negative: write a time, like 30s or 5m")
			return
		}
		if read(n, at); *p == 0 {
			d.report(at, "is zero: write a time, like 30s or 5m")
		}
	}
	return s
}

// resultSize is a size between leastResult and mostResult.
func (d *decoder) resultSize(p *int64) setting {
	most := int64(mostResult)
	s := d.size(p, leastResult)
	s.schema.Maximum = &most
	read := s.read
	s.read = func(n ast.Node, at string) {
		if read(n, at); *p > most {
			d.report(at, "is too large: write %s or less", sizeText(most))
		}
	}
	return s
}

// texts appends an entry to a list of texts.
func (d *decoder) texts(list *[]string) setting {
	return setting{schema: &schema{Type: "string"}, read: func(n ast.Node, at string) {
		if s, ok := d.str(n, at); ok {
			*list = append(*list, s)
		}
	}}
}

func (d *decoder) tool(patterns *[]string) setting {
	about := &schema{Title: "Pattern of tools", Type: "string", Pattern: toolForm, Examples: []string{"search_*"}}
	return setting{schema: about, read: func(n ast.Node, at string) {
		s, ok := d.str(n, at)
		switch {
		case !ok:
		case !toolPattern.MatchString(s):
			d.report(at, "is no pattern of tools: write a tool's name, with * for any characters; ?, [, ] and \\ have no meaning here")
		default:
			*patterns = append(*patterns, s)
		}
	}}
}
