package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"keybridge/internal/config"
)

// poolCommands are the operator's hand on a running gateway.
type poolCommands struct {
	Config string `placeholder:"FILE" help:"The gateway's configuration file: it names the address and the token. Without it they are the default one and KEYBRIDGE_ADMIN_TOKEN."`
	Admin  string `placeholder:"HOST:PORT" help:"Where the gateway's operator's side is."`
	Token  string `placeholder:"REFERENCE" help:"What it asks for: env:NAME or file:PATH."`
	JSON   bool   `name:"json" help:"Print the gateway's answer as it is."`

	Show struct {
		Provider string `arg:"" optional:"" help:"Only this one's."`
	} `cmd:"" default:"withargs" help:"Show the keys and how they are (this is what happens without a command)."`
	Revive keyArgs `cmd:"" help:"Put a key back into use, whatever keeps it out; with it come the keys that only its organization or project kept out."`
	Bench  struct {
		keyArgs

		For *string `placeholder:"10m" help:"For how long, such as 10m, 2h or 5d. Without it: until it is revived."`
	} `cmd:"" help:"Take a key out of use. Requests under way end normally."`
	Drain  keyArgs  `cmd:"" help:"Give a key no new work: the sessions it has go on."`
	Reload struct{} `cmd:"" help:"Have the gateway read its configuration again."`
}

type keyArgs struct {
	Provider string `arg:"" help:"The provider's name."`
	Key      string `arg:"" help:"The key's name."`
}

// operatorPatience bounds one request; a reload reads files that may be slow.
const operatorPatience = 30 * time.Second

// pool does what the command says.
func (p program) pool(ctx context.Context, command string, c *poolCommands) error {
	side, err := config.FindAdminSide(c.Config, c.Admin, c.Token, p.env)
	if err != nil {
		return err
	}
	o := newOperator(side, tokenFlag)
	var body []byte
	show := printAction
	switch words := strings.Fields(command); words[1] {
	case "revive":
		body, err = o.act(ctx, c.Revive, "revive", "")
	case "bench":
		query := ""
		if d := c.Bench.For; d != nil {
			if *d == "" { // an unset shell variable is not for ever
				return errors.New("--for: no time is given")
			}
			query = "?for=" + url.QueryEscape(*d)
		}
		body, err = o.act(ctx, c.Bench.keyArgs, "bench", query)
	case "drain":
		body, err = o.act(ctx, c.Drain, "drain", "")
	case "reload":
		body, err = o.ask(ctx, http.MethodPost, "/-/reload")
		show = printReload
	default:
		path := "/pools"
		if c.Show.Provider != "" {
			path += "/" + element(c.Show.Provider)
		}
		body, err = o.ask(ctx, http.MethodGet, path)
		show = printPools
	}
	switch {
	case err != nil:
		return err
	case c.JSON:
		_, err = p.stdout.Write(body)
		return err
	}
	return show(p.stdout, body, time.Now())
}

// operator asks the operator's side of a gateway.
type operator struct {
	address, token string
	flag           string // that names the token
	client         *http.Client
}

const tokenFlag = "--token"

func newOperator(side config.AdminSide, flag string) operator {
	return operator{address: side.Address, token: side.Token.Reveal(), flag: flag, client: &http.Client{
		Timeout: operatorPatience, Transport: &http.Transport{DisableKeepAlives: true}, // no proxy: the token is for the gateway
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

func (o operator) act(ctx context.Context, k keyArgs, action, query string) ([]byte, error) {
	return o.ask(ctx, http.MethodPost, "/pools/"+element(k.Provider)+"/keys/"+element(k.Key)+"/"+action+query)
}

// element is a name as one element of a path, whatever is in it.
func element(name string) string {
	if name == "." || name == ".." {
		return strings.ReplaceAll(name, ".", "%2E") // else it is a step in the path
	}
	return url.PathEscape(name)
}

// maxAnswer bounds what is read of an answer.
const maxAnswer = 64 << 20

func (o operator) ask(ctx context.Context, method, path string) ([]byte, error) {
	resp, err := o.send(ctx, method, path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close() //nolint:errcheck // it is only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, o.broken(err)
	}
	return body, nil
}

// send returns an answer that is one; its body is to be closed.
func (o operator) send(ctx context.Context, method, path string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+o.address+path, nil)
	if err != nil {
		return nil, fmt.Errorf("ask the gateway: %w", err)
	}
	req.Header.Set("Accept", "application/json") // a reload answers in text else
	if o.token != "" {
		req.Header.Set("Authorization", "Bearer "+o.token)
	}
	resp, err := o.client.Do(req)
	if err != nil {
		return nil, o.unreachable(err)
	}
	if resp.StatusCode == http.StatusOK {
		return resp, nil
	}
	defer resp.Body.Close() //nolint:errcheck // it is only read
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, o.broken(err)
	}
	return nil, o.refused(resp.StatusCode, body)
}

func (o operator) broken(err error) error {
	return fmt.Errorf("the gateway on %s broke off its answer: %w", o.address, err)
}

func (o operator) unreachable(err error) error {
	var timeout net.Error
	switch {
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("no gateway listens on %s: start it, or name its address with --admin or --config", o.address)
	case errors.As(err, &timeout) && timeout.Timeout():
		return fmt.Errorf("the gateway on %s does not answer", o.address)
	}
	if e := (*url.Error)(nil); errors.As(err, &e) {
		err = e.Err // it names the method and the URL
	}
	return fmt.Errorf("the gateway on %s cannot be asked: %w", o.address, err)
}

// refused is what the gateway said instead of doing it.
func (o operator) refused(status int, body []byte) error {
	var c struct {
		Error struct{ Message string }
	}
	switch {
	case status == http.StatusUnauthorized && o.token == "":
		return fmt.Errorf("the gateway on %s asks for its admin_token: name it with %s, --config or KEYBRIDGE_ADMIN_TOKEN", o.address, o.flag)
	case status == http.StatusUnauthorized:
		return fmt.Errorf("the gateway on %s does not accept this token as its admin_token", o.address)
	case json.Unmarshal(body, &c) == nil && c.Error.Message != "":
		return errors.New(c.Error.Message)
	}
	return fmt.Errorf("what listens on %s is not the operator's side of a gateway, it answers %d: name the right address with --admin or --config", o.address, status)
}

// The gateway's answers, as far as they are printed.
type (
	shownPool struct {
		Provider string
		Waiting  int
		Keys     []shownKey
	}
	shownKey struct {
		ID, State, Reason     string
		Benched, Draining     bool
		Models                []string
		Until                 time.Time
		NextTry               time.Time `json:"next_try"`
		Organization, Project *shownScope
		Headroom              []shownRoom
		InFlight              int `json:"in_flight"`
		Served, Sessions      int
	}
	shownScope struct {
		Name   string
		Shared []string `json:"shared_with"`
	}
	shownRoom struct {
		Model, Limit  string
		Max, Estimate int64
	}
)

func printReload(w io.Writer, _ []byte, _ time.Time) error {
	_, err := fmt.Fprintln(w, "reloaded")
	return err
}

func printPools(w io.Writer, body []byte, now time.Time) error {
	var all struct {
		Pools []shownPool
		shownPool
	}
	if err := json.Unmarshal(body, &all); err != nil {
		return fmt.Errorf("the gateway's answer is not understood: %w", err)
	}
	if all.Provider != "" {
		all.Pools = []shownPool{all.shownPool}
	}
	if len(all.Pools) == 0 {
		_, err := fmt.Fprintln(w, "no provider has keys")
		return err
	}
	var b bytes.Buffer
	t := table{most: width(w)}
	t.text("PROVIDER", "KEY", "STATE", "REASON", "BACK IN")
	t.cut("DOMAIN")
	t.text("HEADROOM", "IN FLIGHT", "SERVED", "SESSIONS")
	for _, p := range all.Pools {
		for _, k := range p.Keys {
			t.row(p.Provider, k.ID, k.state(), k.reason(), k.back(now), k.domain(), k.headroom(),
				strconv.Itoa(k.InFlight), strconv.Itoa(k.Served), strconv.Itoa(k.Sessions))
		}
	}
	t.write(&b)
	for _, p := range all.Pools {
		if p.Waiting > 0 {
			fmt.Fprintf(&b, "%s: waiting for a key: %s\n", p.Provider, counted(int64(p.Waiting), "request"))
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func (k shownKey) state() string {
	switch {
	case k.Draining:
		return k.State + ", draining"
	case k.Benched && k.Reason != "benched": // it is out for more than that
		return k.State + ", benched"
	}
	return k.State
}

func (k shownKey) reason() string {
	switch {
	case k.Reason == "":
		return "-"
	case len(k.Models) == 1:
		return k.Reason + " for " + k.Models[0]
	case len(k.Models) > 1:
		return fmt.Sprintf("%s for %d models", k.Reason, len(k.Models))
	}
	return k.Reason
}

// back is when the key may be used again, and if that is far off when it is tried.
func (k shownKey) back(now time.Time) string {
	tried := ""
	if !k.NextTry.IsZero() && k.NextTry.Before(k.Until.Add(-time.Second)) || k.Until.IsZero() && !k.NextTry.IsZero() {
		tried = "tried in " + short(k.NextTry.Sub(now))
	}
	switch {
	case k.State == "valid":
		return "-"
	case k.Until.IsZero() && tried == "":
		return "when revived"
	case k.Until.IsZero():
		return tried
	case tried == "":
		return short(k.Until.Sub(now))
	}
	return short(k.Until.Sub(now)) + ", " + tried
}

// short is a duration in its two largest units.
func short(d time.Duration) string {
	const day = 24 * time.Hour
	d = max(d, 0).Round(time.Second)
	switch {
	case d >= day:
		return fmt.Sprintf("%dd%dh", d/day, d%day/time.Hour)
	case d >= time.Hour:
		return fmt.Sprintf("%dh%dm", d/time.Hour, d%time.Hour/time.Minute)
	case d >= time.Minute:
		return fmt.Sprintf("%dm%ds", d/time.Minute, d%time.Minute/time.Second)
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

// domain names whom the key's limits belong to, and how many other keys share them.
func (k shownKey) domain() string {
	var names []string
	others := 0
	for _, s := range []*shownScope{k.Organization, k.Project} {
		if s != nil {
			names = append(names, s.Name)
			others = max(others, len(s.Shared))
		}
	}
	switch {
	case names == nil:
		return "-"
	case others > 0:
		return fmt.Sprintf("%s (+%d)", strings.Join(names, "/"), others)
	}
	return strings.Join(names, "/")
}

// headroom is how much is left of the limit that is used up most.
func (k shownKey) headroom() string {
	least, text := 2.0, "-"
	for _, r := range k.Headroom {
		if r.Max <= 0 {
			continue
		}
		if left := max(float64(r.Estimate), 0) / float64(r.Max); left < least {
			least, text = left, fmt.Sprintf("%.0f%% %s %s", 100*left, r.Limit, r.Model)
		}
	}
	return strings.TrimSpace(text)
}

// printAction says what an operator's word has come to.
func printAction(w io.Writer, body []byte, now time.Time) error {
	var a struct {
		Provider, Action string
		Also             []string
		Key              shownKey
	}
	if err := json.Unmarshal(body, &a); err != nil {
		return fmt.Errorf("the gateway's answer is not understood: %w", err)
	}
	said := fmt.Sprintf("%s %s is ", a.Provider, a.Key.ID)
	switch {
	case a.Action == "bench" && a.Key.NextTry.IsZero():
		said += "out of use until it is revived"
	case a.Action == "bench":
		said += "out of use for " + short(a.Key.NextTry.Sub(now))
	case a.Action == "drain":
		said += "draining: it keeps its sessions and gets no new work until it is revived"
	default:
		said += "back in use"
	}
	if len(a.Also) > 0 {
		said += ", and with it " + strings.Join(a.Also, ", ")
	}
	_, err := fmt.Fprintln(w, said)
	return err
}
