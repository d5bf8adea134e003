package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"
)

type sessionsCommand struct {
	gatewayFlags
	chosen

	Name *string `arg:"" optional:"" help:"Only this one, with its threads. With --caller if several callers have one of this name."`
	listed
	JSON bool `name:"json" help:"Print the gateway's answer as it is."`
}

func (p program) sessions(ctx context.Context, c *sessionsCommand) error {
	o, err := p.operator(&c.gatewayFlags)
	if err != nil {
		return err
	}
	q := c.query()
	path := "/sessions"
	switch {
	case c.Name == nil:
		c.page(q)
	case c.Cursor != nil:
		return errors.New("--cursor goes on with a list: leave it out, or the session's name")
	case *c.Name == "":
		return errors.New("the session's name is empty")
	default:
		path += "/" + element(*c.Name)
	}
	body, err := o.ask(ctx, http.MethodGet, path+"?"+q.Encode())
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = p.stdout.Write(body)
		return err
	}
	var b bytes.Buffer
	if c.Name == nil {
		err = listSessions(&b, body, p.goingOn("sessions", &c.gatewayFlags, q))
	} else {
		err = showSession(&b, body)
	}
	if err != nil {
		return err
	}
	_, err = b.WriteTo(p.stdout)
	return err
}

// The gateway's answer, as far as it is printed.
type (
	shownSession struct {
		Name, Caller, Client string
		Started, Last        time.Time
		shownSum
		Threads []shownThread
	}
	shownThread struct {
		ID            string
		Started, Last time.Time
		shownSum
	}
)

func listSessions(b *bytes.Buffer, body []byte, more func(next string) string) error {
	var answer struct {
		Sessions []shownSession
		Next     string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return errNotUnderstood(err)
	}
	if len(answer.Sessions) == 0 {
		b.WriteString("no such session is recorded\n")
		return nil
	}
	t := table{}
	t.text("LAST REQUEST (UTC)", "CALLER", "CLIENT", "SESSION")
	t.numbers("REQUESTS", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "REASONING", "COST USD")
	for i := range answer.Sessions {
		s := &answer.Sessions[i]
		t.row(append([]string{
			s.Last.UTC().Format(time.DateTime), orElse(clip(printable(s.Caller)), "-"), orElse(clip(printable(s.Client)), "-"),
			printable(s.Name), // whole: it is what names it
		}, s.cells()...)...)
	}
	t.write(b)
	b.WriteString(more(answer.Next))
	return nil
}

func showSession(b *bytes.Buffer, body []byte) error {
	var s shownSession
	if err := json.Unmarshal(body, &s); err != nil {
		return errNotUnderstood(err)
	}
	fmt.Fprintf(b, "%s\n\n", printable(s.Name))
	fact(b, "Caller", orElse(printable(s.Caller), "has no name"))
	fact(b, "Client", printable(s.Client))
	fact(b, "Began", s.Started.UTC().Format(time.DateTime+" UTC"))
	fact(b, "Last", s.Last.UTC().Format(time.DateTime+" UTC"))
	cost := "$" + s.USD
	if s.Unreported > 0 {
		cost += "; of " + counted(s.Unreported, "request") + " not all usage was reported"
	}
	fact(b, "Cost", cost)
	b.WriteString("\n")
	t := table{}
	t.text("THREAD", "BEGAN (UTC)", "LAST REQUEST (UTC)")
	t.numbers("REQUESTS", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "REASONING", "COST USD")
	for i := range s.Threads {
		n := &s.Threads[i]
		t.row(append([]string{n.ID, n.Started.UTC().Format(time.DateTime), n.Last.UTC().Format(time.DateTime)}, n.cells()...)...)
	}
	t.row(append([]string{"TOTAL", "", ""}, s.cells()...)...)
	t.write(b)
	return nil
}

func (s *shownSum) cells() []string {
	return append(append([]string{grouped(s.Requests)}, s.Usage.cells()...), dollars(s.Picos))
}

type forgetCommand struct {
	gatewayFlags

	Caller string `arg:"" help:"The caller: the token's name, - for callers without one."`
	Yes    bool   `help:"Do not ask, as a terminal is asked."`
	JSON   bool   `name:"json" help:"Print the gateway's answer as it is."`
}

func (p program) forget(ctx context.Context, c *forgetCommand) error {
	o, err := p.operator(&c.gatewayFlags)
	if err != nil {
		return err
	}
	if c.Caller == "" {
		return errors.New("the caller's name is empty: - stands for callers without one")
	}
	if !c.Yes && terminal(p.stdin) && !p.agreed(ctx, "Delete everything that is recorded of "+printable(c.Caller)+", for good?") {
		return errors.New("nothing was deleted")
	}
	o.client.Timeout = 0 // there may be much to delete
	body, err := o.ask(ctx, http.MethodDelete, "/callers/"+element(c.Caller)+"/records")
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = p.stdout.Write(body)
		return err
	}
	var gone struct{ Interceptions, Sessions int64 }
	if err = json.Unmarshal(body, &gone); err != nil {
		return errNotUnderstood(err)
	}
	_, err = fmt.Fprintf(p.stdout, "nothing is recorded of %s any more: %s and %s are deleted\n",
		c.Caller, counted(gone.Interceptions, "request"), counted(gone.Sessions, "session"))
	return err
}

// agreed tells whether who sits there says yes.
func (p program) agreed(ctx context.Context, question string) bool {
	_, _ = fmt.Fprint(p.stderr, question+" [y/N] ") // who cannot see it says no
	said := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(p.stdin).ReadString('\n') // nothing is no
		said <- strings.ToLower(strings.TrimSpace(line))
	}()
	select {
	case word := <-said:
		return word == "y" || word == "yes"
	case <-ctx.Done():
		return false
	}
}
