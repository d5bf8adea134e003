package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// tell tells the story of one request.
func tell(b *bytes.Buffer, body []byte) error {
	var r shownRequest
	if err := json.Unmarshal(body, &r); err != nil {
		return errNotUnderstood(err)
	}
	fmt.Fprintf(b, "%s %s\n\n", r.ID, r.outcome())
	r.summary(b)
	r.decisions(b)
	r.attempts(b)
	r.turns(b)
	r.calls(b)
	r.thoughts(b)
	return nil
}

// outcome is the story in one line.
func (r *shownRequest) outcome() string {
	took := ""
	if !r.Ended.IsZero() {
		took = " after " + brief(r.Ended.Sub(r.Started))
	}
	shown := ""
	if r.HTTPStatus != 0 {
		shown = fmt.Sprintf("; the client was shown %d", r.HTTPStatus)
	}
	switch r.Status {
	case "completed":
		return "was answered" + took
	case "failed":
		return "failed" + took + ": " + orElse(printable(r.Class), "it is not known why") + shown
	case "cancelled":
		return "was cancelled" + took + ": the client went away"
	case "open":
		return "is being served"
	case "lost":
		return "is lost: the gateway's process ended before it did"
	}
	return printable(r.Status) + took
}

// fact writes one line of the summary; nothing if there is nothing to say.
func fact(b *bytes.Buffer, name, text string) {
	if text != "" {
		fmt.Fprintf(b, "%-9s  %s\n", name, text)
	}
}

func (r *shownRequest) summary(b *bytes.Buffer) {
	fact(b, "Asked", r.Started.UTC().Format("2006-01-02 15:04:05.000 UTC")+" by "+r.who())
	if r.Session != "" {
		fact(b, "Session", printable(r.Session)+" (said in "+orElse(printable(r.Signal), "the request")+")")
	}
	switch {
	case r.Parent != "":
		fact(b, "Thread", "began with "+r.Thread+", goes on from "+r.Parent)
	case r.Thread != "" && r.Thread != r.ID:
		fact(b, "Thread", "began with "+r.Thread)
	}
	route := printable(r.Method+" "+r.Route) + " to " + printable(r.Provider)
	if r.Stream {
		route += ", streamed"
	}
	if !r.FirstEvent.IsZero() {
		route += ", first event after " + brief(r.FirstEvent.Sub(r.Started))
	}
	fact(b, "Request", route)
	model := printable(orElse(r.ModelAsked, r.Model))
	if r.ModelAnswered != "" && r.ModelAnswered != r.ModelAsked {
		model += ", answered by " + printable(r.ModelAnswered)
	}
	fact(b, "Model", model)
	fact(b, "Key", r.key())
	fact(b, "Used", r.used())
	fact(b, "Cost", r.cost())
	problem := r.Error
	if problem == "" && r.Class == "upstream_4xx" {
		problem = fmt.Sprintf("the upstream answered %d", r.HTTPStatus)
	}
	fact(b, "Error", printable(problem))
	if r.Prompt != nil {
		quote(b, "Prompt", r.Prompt)
	}
}

func (r *shownRequest) who() string {
	who := orElse(printable(r.Caller), "a caller without a name")
	if len(r.Metadata) > 0 {
		var facts []string
		for _, name := range slices.Sorted(maps.Keys(r.Metadata)) {
			facts = append(facts, printable(name+": "+r.Metadata[name]))
		}
		who += " (" + strings.Join(facts, ", ") + ")"
	}
	program := r.Client + " " + r.Version
	if r.Client == "other" { // none that is known: what it calls itself
		program = r.Version
	}
	if program = strings.TrimSpace(printable(program)); program != "" {
		who += ", with " + program
	}
	return who
}

func (r *shownRequest) key() string {
	switch {
	case r.Credential == "byok":
		return "the caller's own" + bracketed(r.Hint)
	case r.Key == "" && r.unended():
		return ""
	case r.Key == "":
		return "none"
	}
	return printable(r.Key) + bracketed(r.Hint)
}

func bracketed(hint string) string {
	if hint == "" {
		return ""
	}
	return " (" + printable(hint) + ")"
}

func (r *shownRequest) used() string {
	if len(r.Turns) == 0 {
		return ""
	}
	u := &r.Usage
	used := []string{grouped(u.Input) + " input"}
	if u.CacheRead > 0 {
		used = append(used, grouped(u.CacheRead)+" read from a cache")
	}
	if u.CacheWrite > 0 {
		written := grouped(u.CacheWrite) + " written to one"
		if u.CacheWriteLong > 0 {
			written += " (" + grouped(u.CacheWriteLong) + " for an hour)"
		}
		used = append(used, written)
	}
	output := grouped(u.Output) + " output"
	if u.Reasoning > 0 {
		output += " (" + grouped(u.Reasoning) + " of it reasoning)"
	}
	text := strings.Join(append(used, output), ", ") + " tokens"
	if !r.Reported {
		text += "; the provider has not reported all of it"
	}
	return text
}

func (r *shownRequest) cost() string {
	if len(r.Turns) == 0 {
		return ""
	}
	if r.Credential == "byok" {
		return "none: it went to the caller's own account"
	}
	cost := "$" + r.USD
	var lists []string
	for i := range r.Turns {
		if t := &r.Turns[i]; t.PriceVersion != "" {
			lists = append(lists, printable(t.PriceVersion))
		}
	}
	slices.Sort(lists)
	if lists = slices.Compact(lists); len(lists) > 0 {
		cost += ", by the prices of " + strings.Join(lists, " and ")
	}
	if r.Unpriced > 0 {
		cost += "; " + grouped(r.Unpriced) + " tokens have no known price and are not in it"
	}
	return cost
}

const mostQuoted = 12 // lines

// quote writes a text with its line ends, indented.
func quote(b *bytes.Buffer, name string, t *shownText) {
	lines := strings.Split(strings.TrimSpace(t.Text), "\n")
	more := ""
	if len(lines) > mostQuoted {
		lines, more = lines[:mostQuoted], "; --json prints what was kept of it"
	}
	for i, line := range lines {
		fmt.Fprintf(b, "%-9s  %s\n", name, printable(line))
		if i == 0 {
			name = ""
		}
	}
	if more != "" || t.Size > len(t.Text) {
		fmt.Fprintf(b, "%-9s  … (%s bytes in all%s)\n", "", grouped(int64(t.Size)), more)
	}
}

func (r *shownRequest) decisions(b *bytes.Buffer) {
	if len(r.Decisions) == 0 {
		return
	}
	b.WriteString("\nWhat happened\n")
	t := table{}
	t.numbers("")
	t.text("", "") // a sentence needs no title
	for i := range r.Decisions {
		d := &r.Decisions[i]
		t.row("+"+strconv.FormatFloat(max(0, d.At.Sub(r.Started).Seconds()), 'f', 3, 64)+"s", orElse(printable(d.Key), "-"), d.sentence())
	}
	t.write(b)
}

func (r *shownRequest) attempts(b *bytes.Buffer) {
	if len(r.Attempts) == 0 {
		said := "No provider was asked."
		switch r.Status {
		case "open":
			said = "Which keys are asked is recorded when it ends."
		case "lost":
			said = "Which keys were asked, and what was used, is not known."
		}
		b.WriteString("\n" + said + "\n")
		return
	}
	b.WriteString("\nAttempts\n")
	t := table{}
	t.numbers("TURN")
	t.text("KEY", "HINT")
	t.numbers("SENT", "WAITED BEFORE", "TOOK", "HTTP")
	t.text("VERDICT")
	for i := range r.Attempts {
		a := &r.Attempts[i]
		status := "-"
		if a.Status != 0 {
			status = strconv.Itoa(a.Status)
		}
		t.row(strconv.Itoa(a.Turn+1), orElse(printable(a.Key), "-"), orElse(printable(a.Hint), "-"), "+"+brief(a.Sent.Sub(r.Started)),
			brief(inSeconds(a.Waited)), brief(inSeconds(a.Duration)), status, because(r.attemptWords(a), a.Reason))
	}
	t.write(b)
}

// unended tells whether only the begin was recorded: the rest is not known.
func (r *shownRequest) unended() bool { return r.Status == "open" || r.Status == "lost" }

// attemptWords say what came of an attempt. What was relayed may be an error, as a
// caller's own key may get, or break off.
func (r *shownRequest) attemptWords(a *shownAttempt) string {
	switch {
	case a.Action != "relay":
		return verdictWords(a.Action)
	case a.Status >= http.StatusBadRequest:
		return "relayed as it was"
	case a.Turn < len(r.Turns) && !r.Turns[a.Turn].Complete:
		return "served, then cut off"
	}
	return "served"
}

func (r *shownRequest) turns(b *bytes.Buffer) {
	if len(r.Turns) == 0 {
		return
	}
	b.WriteString("\nTurns\n")
	t := table{}
	t.numbers("TURN")
	t.text("MODEL", "TIER", "ENDED")
	t.numbers("INPUT", "CACHE READ", "CACHE WRITE", "OUTPUT", "REASONING", "SEARCHES", "COST USD")
	t.text("MESSAGE")
	for i := range r.Turns {
		n := &r.Turns[i]
		ended := orElse(printable(n.Stop), "-")
		if !n.Complete {
			ended = "cut off"
		}
		row := append([]string{strconv.Itoa(i + 1), orElse(printable(n.Model), "-"), orElse(printable(n.Tier), "-"), ended}, n.Usage.cells()...)
		t.row(append(row, grouped(n.Searches), n.USD, orElse(printable(n.Message), "-"))...)
		for j := range n.Iterations {
			part := &n.Iterations[j]
			row := append([]string{"", orElse(printable(part.Model), printable(n.Model)), "", "· " + printable(part.Kind)}, part.Usage.cells()...)
			t.row(append(row, "", part.USD, "")...)
		}
	}
	t.write(b)
}

func (r *shownRequest) calls(b *bytes.Buffer) {
	if len(r.Calls) == 0 {
		return
	}
	b.WriteString("\nTool calls\n")
	t := table{}
	t.numbers("TURN")
	t.text("RUN BY", "TOOL", "ENDED")
	t.numbers("TOOK", "ARGUMENTS", "RESULT")
	t.text("CALL")
	for i := range r.Calls {
		c := &r.Calls[i]
		name, took, ended := printable(c.Name), "-", printable(c.Outcome)
		if c.Server != "" {
			name = printable(c.Server) + "." + name
		}
		if c.Duration > 0 {
			took = brief(inSeconds(c.Duration))
		}
		if c.Failed && (ended == "" || c.Error != "") {
			ended = because(orElse(ended, "failed"), c.Error)
		}
		t.row(strconv.Itoa(c.Turn+1), runBy(c.Kind), orElse(clip(name), "-"), orElse(clip(ended), "-"), took,
			bytesOf(c.Size), bytesOf(c.Result), orElse(clip(printable(c.ID)), "-"))
		if c.Arguments != "" {
			t.row("", "", "  "+clip(printable(c.Arguments)), "", "", "", "", "")
		}
	}
	t.write(b)
}

func runBy(kind string) string {
	switch kind {
	case "injected":
		return "gateway"
	case "hosted":
		return "provider"
	}
	return printable(kind)
}

func bytesOf(n int) string {
	if n == 0 {
		return "-"
	}
	return grouped(int64(n)) + " B"
}

func (r *shownRequest) thoughts(b *bytes.Buffer) {
	if len(r.Thoughts) == 0 {
		return
	}
	b.WriteString("\nReasoning\n")
	for i := range r.Thoughts {
		t := &r.Thoughts[i]
		if t.Text == "" {
			t.Text = "(hidden by the provider)"
		}
		quote(b, "turn "+strconv.Itoa(t.Turn+1), t)
	}
}

func because(what, why string) string {
	if why == "" {
		return what
	}
	return what + ": " + printable(why)
}

// clock is a time of day in UTC.
func clock(t time.Time) string { return t.UTC().Format(time.TimeOnly) }
