package verdict

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Headers that say whom a key belongs to, in canonical form, the provider's own
// first: a compatible upstream may speak like either.
const (
	openAIOrganization    = "Openai-Organization"
	openAIProject         = "Openai-Project"
	anthropicOrganization = "Anthropic-Organization-Id"
	anthropicWorkspace    = "Anthropic-Workspace-Id"
	maxScopeName          = 128
)

// Told is a name and the header that told it.
type Told struct{ Name, Header string }

// Scopes reads which organization and which project or workspace the key of an
// answer belongs to. What the answer does not say, or says in a form that no
// provider uses, is empty.
func Scopes(f Family, h http.Header) (organization, project Told) {
	if f != Anthropic {
		organization, project = told(h, openAIOrganization), told(h, openAIProject)
	}
	if f != OpenAI && organization.Name == "" && project.Name == "" {
		organization, project = told(h, anthropicOrganization), told(h, anthropicWorkspace)
	}
	return organization, project
}

// told takes a name only if it is one: printable, without blanks, of sane length.
func told(h http.Header, header string) Told {
	v := first(h, header)
	if v == "" || len(v) > maxScopeName || strings.IndexFunc(v, func(r rune) bool { return r <= ' ' || r > '~' }) >= 0 {
		return Told{}
	}
	return Told{v, header}
}

// first is Get for a name in canonical form.
func first(h http.Header, canonical string) string {
	if v := h[canonical]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// Resource is what a rate limit counts.
type Resource uint8

// The resources, and how many there are.
const (
	Requests Resource = iota
	Tokens            // of input and output together
	InputTokens
	OutputTokens
	ProjectTokens // as Tokens, where the project has a limit of its own
	Resources
)

// String returns the resource's word.
func (r Resource) String() string {
	switch r {
	case Requests:
		return "requests"
	case Tokens:
		return "tokens"
	case InputTokens:
		return "input_tokens"
	case OutputTokens:
		return "output_tokens"
	case ProjectTokens:
		return "project_tokens"
	case Resources:
	}
	return "unknown"
}

// Limit is one rate limit as an answer reports it. One whose Max is zero was not
// reported.
type Limit struct {
	Max, Remaining int64
	Full           time.Time // when nothing of it is used any more; zero: not told
}

// Report is what an answer says of the rate limits that its key is under.
type Report [Resources]Limit

// limitHeaders are one row of the tables of rate-limit headers.
type limitHeaders struct {
	resource              Resource
	max, remaining, reset string
	full                  func(string, time.Time) (time.Time, bool)
}

// The rate-limit headers, in canonical form.
//
//nolint:gochecknoglobals // constant tables
var (
	openAILimits = [...]limitHeaders{
		{Requests, "X-Ratelimit-Limit-Requests", "X-Ratelimit-Remaining-Requests", "X-Ratelimit-Reset-Requests", byWait},
		{Tokens, "X-Ratelimit-Limit-Tokens", "X-Ratelimit-Remaining-Tokens", "X-Ratelimit-Reset-Tokens", byWait},
		{ProjectTokens, "X-Ratelimit-Limit-Project-Tokens", "X-Ratelimit-Remaining-Project-Tokens", "X-Ratelimit-Reset-Project-Tokens", byWait},
	}
	anthropicLimits = [...]limitHeaders{
		{Requests, "Anthropic-Ratelimit-Requests-Limit", "Anthropic-Ratelimit-Requests-Remaining", "Anthropic-Ratelimit-Requests-Reset", byDate},
		{Tokens, "Anthropic-Ratelimit-Tokens-Limit", "Anthropic-Ratelimit-Tokens-Remaining", "Anthropic-Ratelimit-Tokens-Reset", byDate},
		{InputTokens, "Anthropic-Ratelimit-Input-Tokens-Limit", "Anthropic-Ratelimit-Input-Tokens-Remaining", "Anthropic-Ratelimit-Input-Tokens-Reset", byDate},
		{OutputTokens, "Anthropic-Ratelimit-Output-Tokens-Limit", "Anthropic-Ratelimit-Output-Tokens-Remaining", "Anthropic-Ratelimit-Output-Tokens-Reset", byDate},
	}
)

// Limits reads the rate limits that an answer reports; now is when its head
// arrived. What is missing or cannot be, such as -1, a limit of zero or more left
// than there is, counts as not reported. ok says that any is.
func Limits(f Family, h http.Header, now time.Time) (report Report, ok bool) {
	if f != Anthropic {
		ok = report.read(openAILimits[:], h, now)
	}
	if f != OpenAI && !ok {
		if ok = report.read(anthropicLimits[:], h, now); ok {
			report.byOurClock(h, now)
		}
	}
	return report, ok
}

// onTheWay is how far from our time an answer's Date may be because it has no fractions
// of a second, and took a while to arrive.
const onTheWay = 2 * time.Second

// byOurClock mends dates by the provider's clock, which the answer's own Date tells.
func (r *Report) byOurClock(h http.Header, now time.Time) {
	date, err := http.ParseTime(first(h, "Date"))
	ahead := now.Sub(date)
	if err != nil || ahead.Abs() <= onTheWay {
		return
	}
	for i := range r {
		if full := &r[i].Full; !full.IsZero() {
			if *full = full.Add(ahead); full.Sub(now) > maxWait {
				*full = time.Time{}
			}
		}
	}
}

func (r *Report) read(rows []limitHeaders, h http.Header, now time.Time) (ok bool) {
	for i := range rows {
		row := &rows[i]
		v := first(h, row.max)
		if v == "" {
			continue
		}
		limit, err := strconv.ParseInt(v, 10, 64)
		if err != nil || limit <= 0 {
			continue
		}
		remaining, err := strconv.ParseInt(first(h, row.remaining), 10, 64)
		if err != nil || remaining < 0 || remaining > limit {
			continue
		}
		ok = true
		r[row.resource] = Limit{Max: limit, Remaining: remaining}
		if t, told := row.full(first(h, row.reset), now); told && t.Sub(now) <= maxWait {
			r[row.resource].Full = t
		}
	}
	return ok
}

// byWait reads the time that is left: a Go duration or, as Azure has it, plain seconds.
func byWait(s string, now time.Time) (time.Time, bool) {
	if s == "" || s[len(s)-1] <= '9' { // no unit
		n, err := strconv.ParseFloat(s, 64)
		return now.Add(time.Duration(n * float64(time.Second))), err == nil && n >= 0 && n <= maxWait.Seconds()
	}
	d, err := time.ParseDuration(s)
	return now.Add(d), err == nil && d >= 0
}

// byDate reads a date. One without a fraction of a second stands for all of that
// second: taken for its beginning, the limit would seem to fill up too fast.
func byDate(s string, _ time.Time) (time.Time, bool) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil {
		return time.Time{}, false
	}
	if t.Nanosecond() == 0 {
		t = t.Add(time.Second)
	}
	return t, true
}
