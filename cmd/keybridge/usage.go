package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keybridge/internal/config"
)

// recordCommands read the record of a running gateway.
type recordCommands struct {
	Usage    usageCommand    `cmd:"" help:"Show the tokens that were used and what they cost, by caller and model, or by something else."`
	Explain  explainCommand  `cmd:"" help:"Tell the story of one request: which keys were considered, why each was passed over or refused, waits, tool calls, tokens, cost, error. Without an id: list the newest requests."`
	Sessions sessionsCommand `cmd:"" help:"Show the callers' conversations, or one of them with its threads."`
	Export   exportCommand   `cmd:"" help:"Write all that was recorded as JSON lines, or as a table for spreadsheets, oldest first."`
	Forget   forgetCommand   `cmd:"" help:"Delete everything that was recorded of a caller, for good: requests, sessions, usage."`
}

// reading is what a command does that reads the record, nil for another one.
func (p program) reading(command string, c *recordCommands) func(context.Context) error {
	switch name, _, _ := strings.Cut(command, " "); name {
	case "usage":
		return func(ctx context.Context) error { return p.usage(ctx, &c.Usage) }
	case "explain":
		return func(ctx context.Context) error { return p.explain(ctx, &c.Explain) }
	case "sessions":
		return func(ctx context.Context) error { return p.sessions(ctx, &c.Sessions) }
	case "export":
		return func(ctx context.Context) error { return p.export(ctx, &c.Export) }
	case "forget":
		return func(ctx context.Context) error { return p.forget(ctx, &c.Forget) }
	}
	return nil
}

// gatewayFlags name the gateway that is asked.
type gatewayFlags struct {
	Config string `placeholder:"FILE" help:"The gateway's configuration file: it names the address and the token. Without it they are the default one and KEYBRIDGE_ADMIN_TOKEN."`
	Admin  string `placeholder:"HOST:PORT" help:"Where the gateway's operator's side is."`
	Token  string `placeholder:"REFERENCE" help:"What it asks for: env:NAME or file:PATH."`
}

func (p program) operator(g *gatewayFlags) (operator, error) {
	side, err := config.FindAdminSide(g.Config, g.Admin, g.Token, p.env)
	if err != nil {
		return operator{}, err //nolint:wrapcheck // it is told as it is
	}
	return newOperator(side, tokenFlag), nil
}

// chosen are the requests that a command is about. The gateway reads the values.
type chosen struct {
	From       *string `placeholder:"TIME" help:"What began at this time or later: 2026-11-23, 2026-11, 2026-11-23T14:30:00Z, or how long ago, such as 24h or 30d. Dates are in UTC."`
	To         *string `placeholder:"TIME" help:"What began before this time."`
	Caller     *string `placeholder:"NAME" help:"Of this caller: the token's name, - for those without one."`
	Client     *string `placeholder:"NAME" help:"Of this program, such as claude-code."`
	Session    *string `placeholder:"NAME" help:"Of this conversation."`
	Thread     *string `placeholder:"ID" help:"Of the thread that began with this request."`
	Provider   *string `placeholder:"NAME" help:"Of this provider."`
	Model      *string `placeholder:"NAME" help:"Of this model, as asked for or as answered."`
	Key        *string `placeholder:"NAME" help:"Served by this key."`
	Status     *string `placeholder:"WORD" help:"open, completed, failed, cancelled or lost."`
	Credential *string `placeholder:"WORD" help:"pooled, or byok for callers' own keys."`
}

func (c *chosen) query() url.Values {
	q := url.Values{}
	for _, f := range []struct {
		name  string
		value *string
	}{
		{"from", c.From},
		{"to", c.To},
		{"caller", c.Caller},
		{"client", c.Client},
		{"session", c.Session},
		{"thread", c.Thread},
		{"provider", c.Provider},
		{"model", c.Model},
		{"key", c.Key},
		{"status", c.Status},
		{"credential", c.Credential},
	} {
		if f.value != nil {
			q.Set(f.name, *f.value)
		}
	}
	return q
}

// filters are those that choose some of the requests of a time, as they are written.
func (c *chosen) filters() string {
	q := c.query()
	q.Del("from")
	q.Del("to")
	if len(q) == 0 {
		return ""
	}
	return " of" + flags(q)
}

// usualSpan is what usage is of if nobody says.
const usualSpan = "30d"

type usageCommand struct {
	gatewayFlags
	chosen

	By   string `default:"caller,model" help:"What it is told apart by: caller, client, provider, model, key, credential, status, session, thread; several with commas between them. Empty: nothing."`
	Per  string `default:"all" help:"What it is told apart by in time: hour, day, month or all."`
	JSON bool   `name:"json" xor:"form" help:"Print the gateway's answer as it is."`
	CSV  bool   `name:"csv" xor:"form" help:"Print a table for spreadsheets."`
}

func (p program) usage(ctx context.Context, c *usageCommand) error {
	o, err := p.operator(&c.gatewayFlags)
	if err != nil {
		return err
	}
	q := c.query()
	if !q.Has("from") && !q.Has("to") {
		q.Set("from", usualSpan)
	}
	if c.By != "" {
		q.Set("by", c.By)
	}
	q.Set("per", c.Per)
	if c.CSV {
		q.Set("format", "csv")
	}
	body, err := o.ask(ctx, http.MethodGet, "/usage?"+q.Encode())
	switch {
	case err != nil:
		return err
	case c.JSON, c.CSV:
		_, err = p.stdout.Write(body)
		return err
	}
	var answer shownUsage
	if err = json.Unmarshal(body, &answer); err != nil {
		return errNotUnderstood(err)
	}
	var b bytes.Buffer
	answer.print(&b, c.filters())
	_, err = b.WriteTo(p.stdout)
	return err
}

func errNotUnderstood(err error) error {
	return fmt.Errorf("the gateway's answer is not understood: %w", err)
}

// The gateway's answers, as far as they are printed.
type (
	shownUsage struct {
		By       []string
		Per      string
		From, To time.Time
		Rows     []shownUsed
		Total    shownUsed
	}
	shownUsed struct {
		At       time.Time
		By       map[string]string
		Searches int64
		shownSum
	}
	shownSum struct {
		Requests   int64
		Unreported int64
		Usage      shownTokens
		shownCost
	}
	shownTokens struct {
		Input, Output, Reasoning int64
		CacheRead                int64 `json:"cache_read"`
		CacheWrite               int64 `json:"cache_write"`
		CacheWriteLong           int64 `json:"cache_write_long"`
	}
	shownCost struct {
		USD      string `json:"cost_usd"`
		Picos    int64  `json:"cost_picos"`
		Unpriced int64  `json:"unpriced_tokens"`
	}
)

// print writes the table, or says that nothing fits the filters.
func (u *shownUsage) print(b *bytes.Buffer, filters string) {
	if len(u.Rows) == 0 {
		fmt.Fprintf(b, "nothing%s was recorded %s\n", filters, span(u.From, u.To))
		return
	}
	t := table{}
	layout := map[string]string{"hour": "2006-01-02 15:04", "day": time.DateOnly, "month": "2006-01"}[u.Per]
	if layout != "" {
		t.text(strings.ToUpper(u.Per))
	}
	for _, d := range u.By {
		t.text(strings.ToUpper(d))
	}
	if len(t.columns) == 0 {
		t.text("") // for the word in front of the total
	}
	t.numbers("REQUESTS", "INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "REASONING")
	if u.Total.Searches > 0 {
		t.numbers("SEARCHES")
	}
	t.numbers("COST USD")
	if u.Total.Unpriced > 0 {
		t.numbers("UNPRICED")
	}
	if u.Total.Unreported > 0 {
		t.numbers("UNREPORTED")
	}
	numbers := u.Total.numbers(&u.Total)
	for i := range u.Rows {
		r := &u.Rows[i]
		var row []string
		if layout != "" {
			row = append(row, r.At.UTC().Format(layout))
		}
		for _, d := range u.By {
			row = append(row, orElse(clip(printable(r.By[d])), "-"))
		}
		if len(row) == 0 {
			continue // the total is all there is
		}
		t.row(append(row, r.numbers(&u.Total)...)...)
	}
	names := make([]string, len(t.columns)-len(numbers))
	names[0] = "TOTAL"
	t.row(append(names, numbers...)...)
	t.write(b)
	fmt.Fprintf(b, "\n%s\n", span(u.From, u.To))
	if u.Total.Unpriced > 0 {
		b.WriteString("UNPRICED are tokens that no price is known for: they are not in the cost, see prices in the configuration\n")
	}
	if u.Total.Unreported > 0 {
		b.WriteString("UNREPORTED are requests some of whose tokens no provider has reported: those are not counted. With meter: true chat streams report theirs\n")
	}
}

// numbers are the cells in the order of the columns, of which there are some only if the
// total has such.
func (r *shownUsed) numbers(total *shownUsed) []string {
	cells := append([]string{grouped(r.Requests)}, r.Usage.cells()...)
	if total.Searches > 0 {
		cells = append(cells, grouped(r.Searches))
	}
	cells = append(cells, dollars(r.Picos))
	if total.Unpriced > 0 {
		cells = append(cells, grouped(r.Unpriced))
	}
	if total.Unreported > 0 {
		cells = append(cells, grouped(r.Unreported))
	}
	return cells
}

// cells are the tokens in the order of the columns.
func (u *shownTokens) cells() []string {
	return []string{grouped(u.Input), grouped(u.CacheRead), grouped(u.CacheWrite), grouped(u.Output), grouped(u.Reasoning)}
}

// span says what times an answer is of.
func span(from, to time.Time) string {
	const layout = "2006-01-02 15:04 UTC"
	switch {
	case from.IsZero() && to.IsZero():
		return "at any time"
	case to.IsZero():
		return "from " + from.UTC().Format(layout) + " until now"
	case from.IsZero():
		return "before " + to.UTC().Format(layout)
	}
	return "from " + from.UTC().Format(layout) + " until " + to.UTC().Format(layout)
}

// grouped writes a number so that people can read it.
func grouped(n int64) string {
	digits := strconv.FormatInt(n, 10)
	sign := ""
	if n < 0 {
		sign, digits = "-", digits[1:]
	}
	var parts []string
	for ; len(digits) > 3; digits = digits[:len(digits)-3] {
		parts = append(parts, digits[len(digits)-3:])
	}
	parts = append(parts, digits)
	slices.Reverse(parts)
	return sign + strings.Join(parts, ",")
}

// counted is a number of things.
func counted(n int64, thing string) string {
	if n != 1 {
		thing += "s"
	}
	return grouped(n) + " " + thing
}

// dollars writes picodollars to a hundredth of a cent; what is less is said to be so, and
// what may be more than a number says.
func dollars(picos int64) string {
	const shown, each = 10_000, 100_000_000 // of them a dollar has, picodollars each has
	n, more := picos/each, ""
	if picos%each >= each/2 {
		n++
	}
	switch {
	case n == 0 && picos > 0:
		return "<0.0001"
	case picos == math.MaxInt64:
		n, more = picos/each, ">"
	}
	return more + grouped(n/shown) + fmt.Sprintf(".%04d", n%shown)
}
