package admin

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
)

// The parameters that questions have in common.
//
//nolint:gochecknoglobals // constant tables
var (
	choosing = []string{"from", "to", "caller", "client", "session", "thread", "provider", "model", "key", "status", "credential"}
	paging   = []string{"limit", "cursor"}

	statuses    = []string{string(ledger.Open), string(ledger.Completed), string(ledger.Failed), string(ledger.Cancelled), string(ledger.Lost)}
	credentials = []string{string(ledger.Pooled), string(ledger.BYOK)}
	grains      = []string{string(store.PerHour), string(store.PerDay), string(store.PerMonth), string(store.Altogether)}
)

const mostOnPage = 1000

// question is what the operator wants to know.
type question struct {
	values url.Values
	filter store.Filter
	page   store.Page
}

func (q *question) has(name string) bool { return q.values.Has(name) }

// ask reads a question that may have the known parameters.
func ask(r *http.Request, known []string, now time.Time) (*question, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badly("the query is not well formed: %v", err)
	}
	if err := wellAsked(values, known); err != nil {
		return nil, err
	}
	q := &question{values: values}
	if err := q.choose(now); err != nil {
		return nil, err
	}
	q.page.Cursor = values.Get("cursor")
	if q.has("limit") {
		limit, err := strconv.Atoi(values.Get("limit"))
		if err != nil || limit < 1 || limit > mostOnPage {
			return nil, badly("limit: %q is no number from 1 to %d: for more, go on with a cursor, or export them", values.Get("limit"), mostOnPage)
		}
		q.page.Limit = limit
	}
	return q, nil
}

// wellAsked refuses what is not among the known parameters, or stands there badly.
func wellAsked(values url.Values, known []string) error {
	for name, v := range values {
		switch {
		case !slices.Contains(known, name) && len(known) == 0:
			return badly("%q is nothing that can be asked for here", name)
		case !slices.Contains(known, name):
			return &refusal{http.StatusBadRequest, fmt.Sprintf("%q is nothing that can be asked for here: use %s", name, strings.Join(known, ", ")), known}
		case len(v) > 1:
			return badly("%s: stands there %d times: once, please", name, len(v))
		case v[0] == "" && name == "caller" && len(known) > 1:
			return badly("caller: is empty: - stands for callers without a name")
		case v[0] == "" && name != "caller":
			return badly("%s: is empty: give it a value, or leave it out", name)
		}
	}
	return nil
}

// choose reads the filters.
func (q *question) choose(now time.Time) error {
	v, f := q.values, &q.filter
	*f = store.Filter{
		Caller: v.Get("caller"), Client: v.Get("client"), Session: v.Get("session"), Thread: v.Get("thread"),
		Provider: v.Get("provider"), Model: v.Get("model"), Key: v.Get("key"),
	}
	if f.Caller == unnamed {
		f.Caller, f.Unnamed = "", true
	}
	status, err := q.word("status", statuses, "")
	if err != nil {
		return err
	}
	credential, err := q.word("credential", credentials, "")
	if err != nil {
		return err
	}
	f.Status, f.Credential = ledger.Status(status), ledger.Credential(credential)
	for _, bound := range []struct {
		name string
		to   *time.Time
	}{{"from", &f.From}, {"to", &f.To}} {
		if !q.has(bound.name) {
			continue
		}
		at, ok := moment(v.Get(bound.name), now)
		if !ok {
			return badly("%s: %q is no time: write 2026-11-23, 2026-11, 2026-11-23T14:30:00Z, or how long ago it is, such as 24h or 30d", bound.name, v.Get(bound.name))
		}
		*bound.to = at
	}
	if !f.From.IsZero() && !f.To.IsZero() && !f.From.Before(f.To) {
		return badly("from (%s) is not before to (%s): what begins at to or later is not chosen", f.From.Format(time.RFC3339), f.To.Format(time.RFC3339))
	}
	return nil
}

// word is one of a closed set, or the usual one if nothing is said.
func (q *question) word(name string, known []string, usual string) (string, error) {
	if !q.has(name) {
		return usual, nil
	}
	word := q.values.Get(name)
	if !slices.Contains(known, word) {
		return "", &refusal{http.StatusBadRequest, fmt.Sprintf("%s: %q is none: use %s", name, word, strings.Join(known, ", ")), known}
	}
	return word, nil
}

// by reads the dimensions of usage.
func (q *question) by() ([]store.Dimension, error) {
	if !q.has("by") {
		return nil, nil
	}
	var by []store.Dimension
	for word := range strings.SplitSeq(q.values.Get("by"), ",") {
		d := store.Dimension(strings.TrimSpace(word))
		switch {
		case !slices.Contains(store.Dimensions(), d):
			var known []string
			for _, k := range store.Dimensions() {
				known = append(known, string(k))
			}
			return nil, &refusal{http.StatusBadRequest, fmt.Sprintf("by: %q is nothing that usage is told apart by: use %s, separated by commas", word, strings.Join(known, ", ")), known}
		case slices.Contains(by, d):
			return nil, badly("by: %s stands there twice", d)
		}
		by = append(by, d)
	}
	return by, nil
}

// moment reads a time: a date or a month stands for its begin in UTC, an age for how long
// before now it was.
func moment(text string, now time.Time) (time.Time, bool) {
	for _, layout := range []string{time.RFC3339, time.DateOnly, "2006-01"} {
		// An unescaped + of an offset has become a space.
		if t, err := time.Parse(layout, strings.Replace(text, " ", "+", 1)); err == nil {
			return t.UTC(), true
		}
	}
	age, ok := duration(text)
	return now.Add(-age).UTC(), ok
}

// duration reads 90m, 24h, 30d or 1d12h.
func duration(text string) (time.Duration, bool) {
	const day, mostDays = 24 * time.Hour, 100_000
	number, rest, found := strings.Cut(text, "d")
	if !found {
		number, rest = "0", text
	}
	days, err := strconv.ParseUint(number, 10, 32)
	if err != nil || days > mostDays || !found && rest == "" {
		return 0, false
	}
	var d time.Duration
	if rest != "" {
		d, err = time.ParseDuration(rest)
	}
	return time.Duration(days)*day + d, err == nil && d >= 0
}
