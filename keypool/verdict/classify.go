package verdict

import (
	"net/http"
	"regexp"
	"slices"
	"strings"
	"time"
)

// row is one line of a verdict table. It matches if all of its columns do; an
// empty column matches anything.
type row struct {
	on      []int          // HTTP status, any of these; below 10 a class: 4 is every 4xx
	names   []string       // any of these is the error's type, code, details' code, status, reason or limit source
	says    *regexp.Regexp // the message
	because bool           // OpenRouter's metadata explains the refusal
	project bool           // a project's limit is used up, and no organization's
	then    Verdict
}

func (r *row) matches(status int, p *Problem, h http.Header) bool {
	return (len(r.on) == 0 || slices.Contains(r.on, status) || slices.Contains(r.on, status/100)) &&
		(len(r.names) == 0 || slices.ContainsFunc(r.names, p.named)) &&
		(r.says == nil || !p.Text && r.says.MatchString(p.Message)) &&
		(!r.because || p.Explained) &&
		(!r.project || projectSpent(h))
}

// named says that the error bears this name in any of the places for one. The
// providers' names are distinct enough to need no column for each place.
func (p *Problem) named(name string) bool {
	is := func(s string) bool { return strings.EqualFold(s, name) }
	return is(p.Code) || is(p.Type) || is(p.ErrorCode) || is(p.Status) || is(p.LimitSource) || slices.ContainsFunc(p.Reasons, is)
}

// Classify judges an upstream's answer by the family's table, an unknown family
// as Compatible. A 2xx without a body, or whose body is no error, is a success. A
// 2xx whose body is one is judged as the status that the error stands for, which
// the verdict then names.
func Classify(f Family, a Answer) Verdict {
	good := a.Status/100 == 2
	if good && len(a.Body) == 0 {
		return Success()
	}
	p, failed := read(a.Body)
	status := a.Status
	if good {
		if !failed {
			return Success()
		}
		status = StatusOf(p)
	}
	if p.Code == "" {
		p.Code = bareCode(a.Header.Get("X-Amzn-Errortype"))
	}
	v := find(f, status, &p, a.Header).then
	v.Status = status
	switch {
	case v.Mark == Cool:
		v.Until = stated(&p, a.Header, a.Now, false)
	case v.Mark == Condemn && v.Billing:
		// What ends at a date is no dead account. One that has come already, or is about
		// to, may be a clock's difference: then the key rests as if none were stated.
		if t := stated(&p, a.Header, a.Now, true); !t.IsZero() {
			v.Mark = Cool
			if t.After(a.Now.Add(time.Second)) {
				v.Until = t
			}
		}
	}
	return v
}

// find gives the first row that matches; the last row of every table is for the rest.
func find(f Family, status int, p *Problem, h http.Header) *row {
	table := compatible
	switch f {
	case OpenAI:
		table = openAI
	case Anthropic:
		table = anthropic
	case Compatible:
	}
	last := len(table) - 1
	for i := range last {
		if table[i].matches(status, p, h) {
			return &table[i]
		}
	}
	return &table[last]
}

// StatusOf is the HTTP status that an error inside a 200 stands for: the one that
// it names, else that of its code or type, else 500.
func StatusOf(p Problem) int {
	if p.HTTP != 0 {
		return p.HTTP
	}
	if p.Type == "rate_limit_error" { // its code may be slow_down, which alone is a 503
		return http.StatusTooManyRequests
	}
	for _, name := range []string{p.Code, p.ErrorCode, p.Type} {
		if s, ok := statuses[strings.ToLower(name)]; ok {
			return s
		}
	}
	return http.StatusInternalServerError
}
