package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"keybridge/internal/config"
)

// toolsCommand shows the central tools of a running gateway.
type toolsCommand struct {
	Token      *string `placeholder:"NAME" help:"Only what the caller with the token of this name gets: the name, not the token."`
	Config     string  `placeholder:"FILE" help:"The gateway's configuration file: it names the address and the admin token. Without it they are the default one and KEYBRIDGE_ADMIN_TOKEN."`
	Admin      string  `placeholder:"HOST:PORT" help:"Where the gateway's operator's side is."`
	AdminToken string  `placeholder:"REFERENCE" help:"What it asks for: env:NAME or file:PATH."`
	JSON       bool    `name:"json" help:"Print the gateway's answer as it is."`
}

func (p program) tools(ctx context.Context, c *toolsCommand) error {
	const flag = "--admin-token"
	side, err := config.FindAdminSide(c.Config, c.Admin, c.AdminToken, p.env)
	if problems, ok := errors.AsType[config.Problems](err); ok {
		for i := range problems {
			if problems[i].At == tokenFlag {
				problems[i].At = flag
			}
		}
	}
	if err != nil {
		return err
	}
	path := "/tools"
	if c.Token != nil {
		if *c.Token == "" {
			return errors.New("--token: no token is named")
		}
		path += "?token=" + url.QueryEscape(*c.Token)
	}
	body, err := newOperator(side, flag).ask(ctx, http.MethodGet, path)
	switch {
	case err != nil:
		return err
	case c.JSON:
		_, err = p.stdout.Write(body)
		return err
	}
	return printTools(p.stdout, body, time.Now())
}

// The gateway's answer, as far as it is printed.
type (
	shownTools struct {
		Caller  string
		Servers []shownServer
		Tools   []struct{ Name, Server, Tool, Description string }
	}
	shownServer struct {
		Name, Error, Protocol string
		Up                    bool
		Since                 time.Time
		Tools                 int
		Callers               []string
	}
)

func printTools(w io.Writer, body []byte, now time.Time) error {
	var all shownTools
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("the gateway's answer is not understood: %w", err)
	}
	if len(all.Servers) == 0 {
		_, err := fmt.Fprintln(w, "no MCP servers are configured")
		return err
	}
	var b bytes.Buffer
	servers := table{}
	servers.text("SERVER", "STATE", "TOOLS", "FOR", "PROTOCOL")
	for _, s := range all.Servers {
		servers.row(s.Name, s.state(), strconv.Itoa(s.Tools), orElse(strings.Join(s.Callers, ", "), "everyone"), orElse(s.Protocol, "-"))
	}
	servers.write(&b)
	for _, s := range all.Servers {
		if !s.Up {
			b.WriteString(s.why(now) + "\n")
		}
	}
	b.WriteString("\n")
	if len(all.Tools) == 0 {
		b.WriteString("no tools are offered")
		if all.Caller != "" {
			b.WriteString(" to " + all.Caller)
		}
		b.WriteString("\n")
	} else {
		tools := table{most: width(w)}
		tools.text("NAME", "SERVER", "ITS TOOL")
		tools.cut("DESCRIPTION")
		for _, t := range all.Tools {
			tools.row(t.Name, t.Server, t.Tool, orElse(clip(printable(t.Description)), "-"))
		}
		tools.write(&b)
	}
	_, err := b.WriteTo(w)
	return err
}

func (s shownServer) state() string {
	if s.Up {
		return "up"
	}
	return "down"
}

// why says why a server is down, and since when.
func (s shownServer) why(now time.Time) string {
	said := s.Name + " is down"
	if !s.Since.IsZero() {
		said += " for " + short(now.Sub(s.Since))
	}
	return said + ": " + orElse(s.Error, "it is being connected to")
}

func orElse(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// clip keeps a table's line about as long as a terminal's.
func clip(text string) string { return clipTo(text, 80) }

func clipTo(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return text
}
