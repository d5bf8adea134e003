package simulator

import (
	"encoding/base64"
	"math"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// failure is one row of a provider's errors. Messages may name {model}, {org},
// {project}, {key}, {wait}, {date}, {scope} and {secrets}.
type failure struct {
	status  int
	kind    string // error.type
	code    string // error.code, or Anthropic's details.error_code; "" is null
	param   string
	message string
	wait    string // the form in which a wait is stated, see waitHeader
	edge    bool   // Anthropic's edge: another shape
	echo    bool   // the message repeats the key, also in JSON's escapes
	plan    bool   // OpenAI's subscription plans: another shape, with the end of the wait
	raw     string // the whole body, in another shape than the provider's
	header  http.Header
	stated  time.Duration
	until   time.Time
}

// The forms of a stated wait. bucket is the rate headers, which say in how long
// the bucket is full again: later than the next request is allowed.
const (
	inUsual    = "usual" // seconds and rate headers
	inMillis   = "retry-after-ms"
	inSeconds  = "retry-after"
	inFraction = "fraction"
	inDate     = "date"
	inReset    = "reset"
)

// retryAfter sets the headers that both providers share; false: form is another.
func retryAfter(form string, wait time.Duration, now time.Time, h http.Header) bool {
	switch form {
	case inMillis:
		h.Set("Retry-After-Ms", strconv.FormatInt(wait.Milliseconds(), 10))
	case inSeconds, inUsual:
		h.Set("Retry-After", strconv.FormatInt(seconds(wait), 10))
	case inFraction:
		h.Set("Retry-After", strconv.FormatFloat(wait.Round(time.Millisecond).Seconds(), 'f', -1, 64))
	case inDate:
		h.Set("Retry-After", ceilTime(now.Add(wait), time.Second).UTC().Format(http.TimeFormat))
	default:
		return false
	}
	return true
}

// seconds rounds up: who waits so long has waited long enough.
func seconds(d time.Duration) int64 { return int64(math.Ceil(d.Seconds())) }

func ceilTime(t time.Time, unit time.Duration) time.Time {
	if down := t.Truncate(unit); down.Before(t) {
		return down.Add(unit)
	}
	return t
}

// failure is the provider's row of that name, filled in for the call.
func (c *call) failure(name string) failure {
	f := c.api.failures[name]
	f.stated = c.fault.wait(name)
	f.until = ceilTime(c.start.Add(f.stated), 24*time.Hour).UTC()
	if f.plan {
		f.until = ceilTime(c.start.Add(f.stated), time.Second)
	}
	return c.filled(f)
}

func (c *call) filled(f failure) failure {
	if !strings.Contains(f.message, "{") {
		return f
	}
	key := Key{}
	if c.key != nil {
		key = *c.key
	}
	scope := "model"
	if parts := strings.Split(strings.TrimPrefix(c.path, "/v1/"), "/"); parts[0] != "" {
		scope = parts[0]
	}
	f.message = strings.NewReplacer(
		"{model}", c.model, "{org}", key.Organization, "{project}", key.Project, "{key}", masked(c.secret),
		"{wait}", f.stated.Round(time.Millisecond).String(), "{date}", f.until.Format(time.DateOnly),
		"{scope}", scope, "{secrets}", escapes(c.secret),
	).Replace(f.message)
	return f
}

// masked is how OpenAI repeats a key.
func masked(secret string) string {
	if len(secret) < 20 {
		return strings.Repeat("*", len(secret))
	}
	return secret[:4] + strings.Repeat("*", min(len(secret)-8, 120)) + secret[len(secret)-4:]
}

// escapes is the secret in the forms in which a careless upstream repeats it.
func escapes(secret string) string {
	var unicode strings.Builder
	for _, r := range secret {
		unicode.WriteString(`\u` + strconv.FormatInt(int64(r)+0x10000, 16)[1:])
	}
	return strings.Join([]string{
		secret, unicode.String(), url.QueryEscape(secret), percent(secret),
		base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte("Bearer " + secret)),
	}, " ")
}

func percent(s string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		b.WriteString("%" + strings.ToUpper(strconv.FormatInt(int64(c)+0x100, 16)[1:]))
	}
	return b.String()
}
