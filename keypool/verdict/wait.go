package verdict

import (
	"cmp"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// maxWait is the longest wait that is believed. A longer one counts as none.
const maxWait = 35 * 24 * time.Hour

// retryAfter is the moment that Retry-After-Ms or Retry-After name: milliseconds,
// seconds with or without a fraction, or an HTTP date. Like all readers here it
// passes over what is no sane time (false), takes a zero or a past moment as one
// second from now, and gives the zero time and true for one that is too far away.
func retryAfter(h http.Header, now time.Time) (time.Time, bool) {
	if t, ok := after(now, h.Get("Retry-After-Ms"), time.Millisecond); ok {
		return t, true
	}
	v := h.Get("Retry-After")
	if t, ok := after(now, v, time.Second); ok {
		return t, true
	}
	if t, err := http.ParseTime(v); err == nil {
		return at(now, t), true
	}
	return time.Time{}, false
}

// stated is the end of a wait as the answer states it, from the first source that
// has one, or the zero time. Billing refusals are not ended by a rate limit's
// bucket, so those headers do not count for them.
func stated(p *Problem, h http.Header, now time.Time, billing bool) time.Time {
	if t, ok := retryAfter(h, now); ok {
		return t
	}
	if t, ok := codexReset(h, now); ok {
		return t
	}
	if !billing {
		if t, ok := bucketReset(p, h, now); ok {
			return t
		}
	}
	if t, ok := epoch(now, p.ResetsAt); ok {
		return t
	}
	if t, ok := after(now, p.ResetsIn, time.Second); ok {
		return t
	}
	if d, err := time.ParseDuration(p.RetryDelay); err == nil && d >= 0 {
		return at(now, now.Add(d))
	}
	if d, ok := namedWait(p.Message); ok {
		return at(now, now.Add(d))
	}
	if t, ok := namedDate(p.Message); ok {
		return at(now, t)
	}
	return time.Time{}
}

// bucketReset is when the rate limits that are used up are free again, the last
// of them if they are several.
func bucketReset(p *Problem, h http.Header, now time.Time) (time.Time, bool) {
	var l latest
	for name := range h {
		if limit, ok := strings.CutPrefix(name, "X-Ratelimit-Remaining-"); ok && isZero(h.Get(name)) {
			v := h.Get("X-Ratelimit-Reset-" + limit)
			if d, err := time.ParseDuration(v); err == nil && d >= 0 {
				l.add(at(now, now.Add(d)), true)
			} else {
				l.add(after(now, v, time.Second)) // Azure: plain seconds
			}
		}
		// The priority tier's buckets are not among them: when they are empty the
		// request is served as a standard one.
		if limit, ok := strings.CutSuffix(name, "-Remaining"); ok && isZero(h.Get(name)) &&
			(strings.HasPrefix(name, "Anthropic-Ratelimit-") || strings.HasPrefix(name, "Anthropic-Fast-")) {
			if t, err := time.Parse(time.RFC3339, h.Get(limit+"-Reset")); err == nil {
				l.add(at(now, t), true)
			}
		}
	}
	if h.Get("Anthropic-Ratelimit-Unified-Status") == "rejected" {
		l.add(epoch(now, h.Get("Anthropic-Ratelimit-Unified-Reset")))
	}
	for _, quota := range p.Quotas {
		if strings.Contains(quota, "PerDay") {
			l.add(at(now, pacificMidnight(now)), true) // its retryDelay knows only the minute's limit
		}
	}
	return l.time, l.ok
}

// codexReset is the same for the limits of a ChatGPT subscription.
func codexReset(h http.Header, now time.Time) (time.Time, bool) {
	var l latest
	for name := range h {
		limit, ok := strings.CutSuffix(name, "-Used-Percent")
		if !ok || !strings.HasPrefix(name, "X-Codex-") {
			continue
		}
		if used, err := strconv.ParseFloat(h.Get(name), 64); err == nil && used >= 100 {
			l.add(epoch(now, h.Get(limit+"-Reset-At")))
		}
	}
	return l.time, l.ok
}

// latest keeps the latest of several moments; the zero time, which stands for an
// implausible one, is later than any.
type latest struct {
	time time.Time
	ok   bool
}

func (l *latest) add(t time.Time, ok bool) {
	if !ok || l.ok && l.time.IsZero() {
		return
	}
	if !l.ok || t.IsZero() || t.After(l.time) {
		l.time, l.ok = t, true
	}
}

// projectSpent says that of the limits reported as used up all are the project's.
func projectSpent(h http.Header) bool {
	project := false
	for name := range h {
		limit, ok := strings.CutPrefix(name, "X-Ratelimit-Remaining-")
		if !ok || !isZero(h.Get(name)) {
			continue
		}
		if !strings.HasPrefix(limit, "Project-") {
			return false
		}
		project = true
	}
	return project
}

func isZero(s string) bool {
	n, err := strconv.ParseFloat(s, 64)
	return err == nil && n == 0
}

// at gives t the bounds of a believable wait.
func at(now, t time.Time) time.Time {
	switch d := t.Sub(now); {
	case d <= 0:
		return now.Add(time.Second)
	case d > maxWait:
		return time.Time{}
	}
	return t
}

// after reads a number of units from now.
func after(now time.Time, s string, unit time.Duration) (time.Time, bool) {
	n, err := strconv.ParseFloat(strings.TrimSpace(s), 64)
	// What overflows a duration, or is no number, is no statement at all.
	if err != nil || !(n >= 0 && n*float64(unit) < math.MaxInt64) {
		return time.Time{}, false
	}
	return at(now, now.Add(time.Duration(n*float64(unit)))), true
}

// epoch reads seconds since 1970. Zero and less are no statement.
func epoch(now time.Time, s string) (time.Time, bool) {
	n, err := strconv.ParseFloat(s, 64)
	if err != nil || !(n > 0 && n < math.MaxInt32*100) {
		return time.Time{}, false
	}
	sec, frac := math.Modf(n)
	return at(now, time.Unix(int64(sec), int64(frac*float64(time.Second)))), true
}

var (
	waitText = regexp.MustCompile(`(?i)\b(?:try again|retry(?: your request| the request)?) (?:in|after) (?:about |approximately )?((?:\d+(?:\.\d+)?\s*[a-z]+[\s,]*)+)`)
	waitPart = regexp.MustCompile(`(?i)(\d+(?:\.\d+)?)\s*([a-z]+)`)
	// A preposition stands before the date: model names end in dates, too.
	dateText = regexp.MustCompile(`(?i)\b(?:on|at|until|after|by) (\d{4}-\d{2}-\d{2})(?:(?:T| at | )(\d{2}:\d{2})(:\d{2}(?:\.\d+)?)?\s?(Z|UTC|GMT|[+-]\d{2}:\d{2})?)?`)
)

// namedWait finds a wait in words: "try again in 7m12s", "20ms", "33 seconds".
func namedWait(message string) (time.Duration, bool) {
	m := waitText.FindStringSubmatch(message)
	if m == nil {
		return 0, false
	}
	var sum float64
	known := false
	for _, part := range waitPart.FindAllStringSubmatch(m[1], -1) {
		n, err := strconv.ParseFloat(part[1], 64)
		unit := unitOf(strings.ToLower(part[2]))
		if err != nil || unit == 0 {
			break
		}
		sum += n * float64(unit)
		known = true
	}
	if !known || !(sum < math.MaxInt64) {
		return 0, false
	}
	return time.Duration(sum), true
}

func unitOf(word string) time.Duration {
	switch word {
	case "ms", "millisecond", "milliseconds":
		return time.Millisecond
	case "s", "sec", "secs", "second", "seconds":
		return time.Second
	case "m", "min", "mins", "minute", "minutes":
		return time.Minute
	case "h", "hr", "hrs", "hour", "hours":
		return time.Hour
	case "d", "day", "days":
		return 24 * time.Hour
	}
	return 0
}

// namedDate finds a date in words: "You will regain access on 2026-12-01 at 00:00 UTC".
func namedDate(message string) (time.Time, bool) {
	for _, m := range dateText.FindAllStringSubmatch(message, -1) {
		zone := m[4]
		switch strings.ToUpper(zone) {
		case "", "UTC", "GMT":
			zone = "Z"
		}
		s := m[1] + "T" + cmp.Or(m[2], "00:00") + cmp.Or(m[3], ":00") + strings.ToUpper(zone)
		if t, err := time.Parse(time.RFC3339, s); err == nil {
			return t, true
		}
	}
	return time.Time{}, false
}

// pacificMidnight is when Google's daily limits begin anew.
func pacificMidnight(now time.Time) time.Time {
	zone, err := time.LoadLocation("America/Los_Angeles")
	if err != nil { // no zone data on this machine: at most an hour too late
		zone = time.FixedZone("PST", -8*60*60)
	}
	y, m, d := now.In(zone).Date()
	return time.Date(y, m, d+1, 0, 0, 0, 0, zone)
}
