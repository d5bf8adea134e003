package store

import (
	"cmp"
	"context"
	"database/sql"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Dimension is what usage is told apart by.
type Dimension string

// The dimensions. Sessions and threads are read from the interceptions, as long as those
// are kept; the others from sums, which are kept longer.
const (
	ByCaller     Dimension = "caller"
	ByClient     Dimension = "client"
	ByProvider   Dimension = "provider"
	ByModel      Dimension = "model" // as answered, or else as asked for
	ByKey        Dimension = "key"
	ByCredential Dimension = "credential"
	ByStatus     Dimension = "status"
	BySession    Dimension = "session"
	ByThread     Dimension = "thread"
)

// Dimensions are all of them.
func Dimensions() []Dimension {
	return []Dimension{ByCaller, ByClient, ByProvider, ByModel, ByKey, ByCredential, ByStatus, BySession, ByThread}
}

// column is what a dimension is of kinds k, interceptions i and their sessions s.
func (d Dimension) column() string {
	switch d {
	case BySession:
		return "COALESCE(s.name, '')"
	case ByThread:
		return "CAST(i.thread AS TEXT)"
	case ByCaller, ByClient, ByProvider, ByModel, ByKey, ByCredential, ByStatus:
	}
	return "k." + string(d)
}

// Grain is what usage is told apart by in time, in UTC.
type Grain string

// The grains.
const (
	PerHour    Grain = "hour"
	PerDay     Grain = "day"
	PerMonth   Grain = "month"
	Altogether Grain = "all"
)

// Used is what was used by one group of interceptions.
type Used struct {
	Sum

	At       time.Time // when its hour, day or month began; zero if all are one
	By       []string  // a value for each dimension asked for
	Searches int64     // of the web, by the provider
}

// Add adds what another group used.
func (u *Used) Add(v *Used) {
	u.Sum.Add(&v.Sum)
	u.Searches = plus(u.Searches, v.Searches)
}

// mostGroups is how many rows an answer may have.
//
//nolint:gochecknoglobals // tests have fewer rows
var mostGroups = 50_000

// Usage sums what the interceptions used that have ended, exactly: by time, then the
// dearest first. An hour that the filter's times cut in two is read from the interceptions
// themselves, as long as those are kept.
func (s *Store) Usage(ctx context.Context, f Filter, by []Dimension, per Grain) ([]Used, error) {
	groups := map[string]*Used{}
	err := s.look(ctx, func(v *view) error {
		u := &usage{v: v, f: &f, by: by, per: per, groups: groups}
		from, to := f.span()
		if f.Session != "" || f.Thread != "" || slices.Contains(by, BySession) || slices.Contains(by, ByThread) {
			return u.single(from, to)
		}
		first, last := (from+hour-1)/hour*hour, to/hour*hour
		if f.To.IsZero() {
			last = to
		}
		if first >= last {
			return u.single(from, to)
		}
		if err := u.hours(first, last); err != nil {
			return err
		}
		if from < first {
			if err := u.single(from, first); err != nil {
				return err
			}
		}
		if last < to {
			return u.single(last, to)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make([]Used, 0, len(groups))
	for _, g := range groups {
		if g.Requests > 0 { // else all were taken for lost, and their ends came after all
			out = append(out, *g)
		}
	}
	slices.SortFunc(out, func(a, b Used) int {
		return cmp.Or(a.At.Compare(b.At), cmp.Compare(b.Picos, a.Picos), cmp.Compare(b.Requests, a.Requests), slices.Compare(a.By, b.By))
	})
	return out, nil
}

// usage gathers the groups of an answer.
type usage struct {
	v      *view
	f      *Filter
	by     []Dimension
	per    Grain
	groups map[string]*Used
}

const (
	day = 24 * hour

	// searched has no upper half: so many searches are not recorded.
	searched = "0, CAST(SUM((SELECT COALESCE(SUM(x.searches), 0) FROM turns x WHERE x.interception = i.id)) AS BIGINT)"
)

// period is the SQL of when the period of a time begins. Months have days of different
// numbers: they are gathered from days.
func (u *usage) period(column string) string {
	length := day
	switch u.per {
	case PerHour:
		length = hour
	case Altogether:
		return "0"
	case PerDay, PerMonth:
	}
	return column + " - " + column + " % " + strconv.FormatInt(length, 10)
}

// hours reads the sums of whole hours.
func (u *usage) hours(from, to int64) error {
	c := u.f.kinds()
	c.and("u.hour >= ? AND u.hour < ?", from, to)
	return u.gather("u.hour", wide("u.searches")+", "+sums("u", "u.requests"), "usage_hours u JOIN interception_kinds k ON k.id = u.kind", c)
}

// single reads interceptions one by one.
func (u *usage) single(from, to int64) error {
	if to <= from {
		return nil
	}
	span := *u.f
	span.From, span.To = timeOf(from), time.Time{}
	if to < 1<<63-1 {
		span.To = timeOf(to)
	}
	w, err := u.v.walk(&span)
	if err != nil {
		return err
	}
	c := w.inner()
	c.and("i.ended <> 0")
	if w.chooses() {
		c.and(w.kinds.text.String(), w.kinds.args...)
	}
	source := "interceptions i JOIN interception_kinds k ON k.id = i.kind"
	if slices.Contains(u.by, BySession) {
		source += " LEFT JOIN sessions s ON s.id = i.session AND i.session <> 0"
	}
	return u.gather("i.started", searched+", "+sums("i", "1"), source, c)
}

func (u *usage) gather(column, sums, from string, c *conditions) error {
	groups := []string{u.period(column)}
	for _, d := range u.by {
		groups = append(groups, d.column())
	}
	places := make([]string, len(groups))
	for i := range groups {
		places[i] = strconv.Itoa(i + 1)
	}
	query := "SELECT " + strings.Join(groups, ", ") + ", " + sums + " FROM " + from + c.sql() +
		" GROUP BY " + strings.Join(places, ", ") + " LIMIT " + strconv.Itoa(mostGroups+1)
	if u.per == Altogether && len(u.by) == 0 {
		query = "SELECT 0, " + sums + " FROM " + from + c.sql() + " HAVING COUNT(*) > 0"
	}
	var found []*Used
	err := u.v.each(query, c.args, func(rows *sql.Rows) error {
		g := &Used{By: make([]string, len(u.by))}
		var begins int64
		into := []any{&begins}
		for i := range g.By {
			into = append(into, &g.By[i])
		}
		err := rows.Scan(append(append(into, &g.Searches, low{&g.Searches}), g.into()...)...)
		if u.per != Altogether {
			g.At = time.UnixMicro(begins).UTC()
		}
		if u.per == PerMonth {
			g.At = time.Date(g.At.Year(), g.At.Month(), 1, 0, 0, 0, 0, time.UTC)
		}
		found = append(found, g)
		return err
	})
	if err == nil {
		err = u.nameThreads(found)
	}
	if err != nil {
		return err
	}
	for _, g := range found {
		name := g.At.String() + "\x00" + strings.Join(g.By, "\x00")
		if there := u.groups[name]; there != nil {
			there.Add(g)
			continue
		}
		u.groups[name] = g
	}
	if len(found) > mostGroups || len(u.groups) > mostGroups {
		return ErrTooMany
	}
	return nil
}

// nameThreads puts ids in the place of keys.
func (u *usage) nameThreads(found []*Used) error {
	at := slices.Index(u.by, ByThread)
	for len(found) > 0 && at >= 0 {
		some := found[:min(len(found), lookup)]
		found = found[len(some):]
		args := make([]any, len(some))
		for i, g := range some {
			key, err := strconv.ParseInt(g.By[at], 10, 64)
			if err != nil {
				return err
			}
			args[i], g.By[at] = key, ID(key, 0) // the first interception may be gone
		}
		names := map[int64]string{}
		err := u.v.each("SELECT id, nonce FROM interceptions WHERE id IN "+in(len(args)), args, func(rows *sql.Rows) error {
			var key, nonce int64
			err := rows.Scan(&key, &nonce)
			names[key] = ID(key, nonce)
			return err
		})
		if err != nil {
			return err
		}
		for i, g := range some {
			if name := names[args[i].(int64)]; name != "" { //nolint:forcetypeassert // put there above
				g.By[at] = name
			}
		}
	}
	return nil
}
