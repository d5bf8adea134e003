package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
	"time"
)

type explainCommand struct {
	gatewayFlags
	chosen

	ID *string `arg:"" optional:"" help:"Its id in the log, or as much of its beginning as no other has."`
	listed
	JSON bool `name:"json" help:"Print the gateway's answer as it is."`
}

func (p program) explain(ctx context.Context, c *explainCommand) error {
	o, err := p.operator(&c.gatewayFlags)
	if err != nil {
		return err
	}
	q := c.query()
	path := "/interceptions/"
	switch {
	case c.ID == nil:
		c.page(q)
		path = "/interceptions?" + q.Encode()
	case len(q) > 0, c.Cursor != nil:
		return errors.New("an id names one request: leave out what else chooses some")
	case *c.ID == "":
		return errors.New("the request's id is empty")
	default:
		path += element(*c.ID)
	}
	body, err := o.ask(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = p.stdout.Write(body)
		return err
	}
	var b bytes.Buffer
	if c.ID == nil {
		err = listRequests(&b, body, p.goingOn("explain", &c.gatewayFlags, q))
	} else {
		err = tell(&b, body)
	}
	if err != nil {
		return err
	}
	_, err = b.WriteTo(p.stdout)
	return err
}

// The gateway's answer, as far as it is printed.
type (
	shownRequest struct {
		ID, Status, Class               string
		Started, Ended                  time.Time
		FirstEvent                      time.Time `json:"first_event"`
		HTTPStatus                      int       `json:"http_status"`
		Caller, Client, Version         string
		Metadata                        map[string]string
		Session, Signal, Thread, Parent string
		Provider, Method, Route         string
		Model, Credential               string
		ModelAsked                      string `json:"model_asked"`
		ModelAnswered                   string `json:"model_answered"`
		Stream                          bool
		Key, Hint                       string
		AttemptCount                    int `json:"attempt_count"`
		TurnCount                       int `json:"turn_count"`
		LoopTurns                       int `json:"loop_turns"`
		Usage                           shownTokens
		Reported                        bool `json:"usage_reported"`
		shownCost

		Error     string
		Prompt    *shownText
		Attempts  []shownAttempt
		Turns     []shownTurn
		Calls     []shownCall `json:"tool_calls"`
		Thoughts  []shownText `json:"reasoning"`
		Decisions []shownDecision
	}
	shownText struct {
		Text       string
		Size, Turn int
	}
	shownAttempt struct {
		Key, Hint, Action, Reason string
		Turn, Status              int
		Sent                      time.Time
		Waited                    float64 `json:"waited_seconds"`
		Duration                  float64 `json:"duration_seconds"`
	}
	shownTurn struct {
		Message, Model, Stop, Tier string
		Complete                   bool
		Reported                   bool `json:"usage_reported"`
		Usage                      shownTokens
		Searches                   int64
		PriceModel                 string `json:"price_model"`
		PriceVersion               string `json:"price_version"`
		Iterations                 []shownPart
		shownCost
	}
	shownPart struct {
		Kind, Model string
		Usage       shownTokens
		shownCost
	}
	shownCall struct {
		ID, Kind, Server, Name, Arguments, Outcome, Error string
		Turn                                              int
		Size                                              int `json:"arguments_size"`
		Result                                            int `json:"result_size"`
		Failed                                            bool
		Duration                                          float64 `json:"duration_seconds"`
	}
	shownDecision struct {
		At, Until                     time.Time
		What, Key, Why, Action, Scope string
		For                           float64 `json:"for_seconds"`
	}
)

func listRequests(b *bytes.Buffer, body []byte, more func(next string) string) error {
	var answer struct {
		Interceptions []shownRequest
		Next          string
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return errNotUnderstood(err)
	}
	if len(answer.Interceptions) == 0 {
		b.WriteString("no such request is recorded\n")
		return nil
	}
	t := table{}
	t.text("STARTED (UTC)", "ID", "CALLER", "CLIENT", "MODEL", "KEY", "ENDED")
	t.numbers("TRIES", "TOOK", "INPUT", "OUTPUT", "COST USD")
	for i := range answer.Interceptions {
		r := &answer.Interceptions[i]
		t.row(r.Started.UTC().Format(time.DateTime), r.ID, orElse(clip(printable(r.Caller)), "-"), orElse(clip(printable(r.Client)), "-"),
			orElse(clip(printable(r.Model)), "-"), orElse(clip(printable(r.Key)), "-"), r.ending(),
			r.tries(), r.took(), r.tokens(r.Usage.Input+r.Usage.CacheRead+r.Usage.CacheWrite), r.tokens(r.Usage.Output), dollars(r.Picos))
	}
	t.write(b)
	b.WriteString(more(answer.Next))
	return nil
}

// tries is how often it was sent, as far as that is known.
func (r *shownRequest) tries() string {
	if r.unended() && r.AttemptCount == 0 {
		return "-"
	}
	return strconv.Itoa(r.AttemptCount)
}

// ending is how the request ended, in a few words.
func (r *shownRequest) ending() string {
	s := r.Status
	if r.Status == "completed" {
		return s
	}
	if r.HTTPStatus != 0 {
		s += " " + strconv.Itoa(r.HTTPStatus)
	}
	if r.Class != "" {
		s += " " + printable(r.Class)
	}
	return s
}

// tokens are how many, as far as that is known.
func (r *shownRequest) tokens(n int64) string {
	if n == 0 && (r.unended() || !r.Reported && r.TurnCount > 0) {
		return "-"
	}
	return grouped(n)
}

func (r *shownRequest) took() string {
	if r.Ended.IsZero() || r.Status == "lost" { // it was last seen then, not ended
		return "-"
	}
	return brief(r.Ended.Sub(r.Started))
}

// brief writes how long something took, with about three digits.
func brief(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return d.Round(time.Microsecond).String()
	case d < time.Second:
		return d.Round(time.Millisecond).String()
	case d < time.Minute:
		return d.Round(10 * time.Millisecond).String()
	}
	return short(d)
}

func inSeconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }
