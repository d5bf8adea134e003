package store

import (
	"context"
	"database/sql"
	"strconv"
	"time"
)

// Session is what a client calls one conversation of a caller's.
type Session struct {
	Sum

	Caller, Name, Client string
	Started, Last        time.Time // when its first and its newest interception began
	Threads              []Thread  // only of a session asked for by itself: newest first, at most 1000
}

// Thread is interceptions of which each answers, or goes on from, one before.
type Thread struct {
	Sum

	ID            string // of its first interception
	Started, Last time.Time
}

const mostThreads = 1000

// Sessions is a page of them, those that were used last first, and the cursor of the next
// page, "" if there is none. A filter chooses sessions with such interceptions; the sums
// are of whole sessions.
func (s *Store) Sessions(ctx context.Context, f Filter, p Page) (page []Session, next string, err error) {
	err = s.look(ctx, func(v *view) error {
		c, wrong := v.sessions(&f)
		if wrong != nil {
			return wrong
		}
		if p.Cursor != "" {
			var last, id int64
			if nonsense := placeOf("sessions", p.Cursor, &last, &id); nonsense != nil {
				return nonsense
			}
			c.and("(s.last < ? OR s.last = ? AND s.id < ?)", last, last, id)
		}
		list, wrong := v.pageOf(c, p.size()+1)
		if wrong != nil {
			return wrong
		}
		if len(list) > p.size() {
			list = list[:p.size()]
			end := list[len(list)-1]
			next = endOf("sessions", end.last, end.id)
		}
		page, wrong = v.summed(list)
		return wrong
	})
	return page, next, err
}

// Session is one of a caller's with its threads, or ErrNotFound.
func (s *Store) Session(ctx context.Context, caller, name string) (*Session, error) {
	var found *Session
	err := s.look(ctx, func(v *view) error {
		c := &conditions{}
		c.and("s.caller = ? AND s.name = ?", plain(caller), plain(name))
		list, err := v.pageOf(c, 1)
		if err != nil {
			return err
		}
		if len(list) == 0 {
			return ErrNotFound
		}
		all, err := v.summed(list)
		if err != nil {
			return err
		}
		found = &all[0]
		found.Threads, err = v.threads(list[0].id)
		return err
	})
	return found, err
}

// sessions are the conditions of a filter on sessions s.
func (v *view) sessions(f *Filter) (*conditions, error) {
	c := &conditions{}
	for _, equal := range []struct{ column, value string }{{"caller", f.Caller}, {"client", f.Client}, {"name", f.Session}} {
		if equal.value != "" {
			c.and("s."+equal.column+" = ?", plain(equal.value))
		}
	}
	if f.Unnamed {
		c.and("s.caller = ''")
	}
	from, to := f.span()
	if from > 0 {
		c.and("s.last >= ?", from)
	}
	if !f.To.IsZero() {
		c.and("s.started < ?", to)
	}
	if f.Thread != "" {
		first, err := v.key(f.Thread)
		if err != nil && err != ErrNotFound { //nolint:errorlint // key's own
			return nil, err
		}
		c.and("s.id IN (SELECT i.session FROM interceptions i WHERE i.id = ?)", first)
	}
	kinds := (&Filter{Caller: f.Caller, Unnamed: f.Unnamed, Provider: f.Provider, Model: f.Model, Key: f.Key, Status: f.Status, Credential: f.Credential}).kinds()
	if f.Provider+f.Model+f.Key+string(f.Status)+string(f.Credential) == "" {
		return c, nil
	}
	such := "i.kind IN (SELECT k.id FROM interception_kinds k" + kinds.sql() + ")"
	n, err := v.number("SELECT COUNT(*) FROM (SELECT i.id FROM interceptions i WHERE "+such+" LIMIT "+strconv.Itoa(few/10+1)+") a", kinds.args...)
	switch {
	case err != nil:
		return nil, err
	case n <= int64(few/10): // from them it is not far to their sessions
		c.and("s.id IN (SELECT i.session FROM interceptions i WHERE "+such+")", kinds.args...)
	default: // there are so many that a session soon shows one
		c.and("EXISTS (SELECT 1 FROM interceptions i WHERE i.session = s.id AND i.session <> 0 AND "+such+")", kinds.args...)
	}
	return c, nil
}

type listed struct {
	Session

	id, last int64
}

func (v *view) pageOf(c *conditions, limit int) (list []listed, err error) {
	err = v.each("SELECT s.id, s.caller, s.name, s.client, s.started, s.last FROM sessions s"+c.sql()+" ORDER BY s.last DESC, s.id DESC LIMIT "+
		strconv.Itoa(limit), c.args, func(rows *sql.Rows) error {
		var (
			r       listed
			started int64
		)
		unread := rows.Scan(&r.id, &r.Caller, &r.Name, &r.Client, &started, &r.last)
		r.Started, r.Last = timeOf(started), timeOf(r.last)
		list = append(list, r)
		return unread
	})
	return list, err
}

// summed adds what the interceptions of sessions used.
func (v *view) summed(list []listed) ([]Session, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make([]Session, len(list))
	args := make([]any, len(list))
	of := make(map[int64]*Session, len(list))
	for i := range list {
		out[i], args[i] = list[i].Session, list[i].id
		of[list[i].id] = &out[i]
	}
	err := v.each("SELECT i.session, MAX(i.started), "+sums("i", "1")+" FROM interceptions i JOIN interception_kinds k ON k.id = i.kind WHERE i.session <> 0 AND i.session IN "+in(len(args))+" GROUP BY i.session",
		args, func(rows *sql.Rows) error {
			var (
				id, last int64
				sum      Sum
			)
			if err := rows.Scan(append([]any{&id, &last}, sum.into()...)...); err != nil {
				return err
			}
			s := of[id]
			s.Sum = sum
			if newest := timeOf(last); newest.After(s.Last) {
				s.Last = newest // the session's own row may be behind
			}
			return nil
		})
	return out, err
}

func (v *view) threads(session int64) (list []Thread, err error) {
	err = v.each("SELECT a.*, COALESCE(t.nonce, 0) FROM (SELECT i.thread, MIN(i.started) AS started, MAX(i.started) AS last, "+sums("i", "1")+
		" FROM interceptions i JOIN interception_kinds k ON k.id = i.kind WHERE i.session <> 0 AND i.session = ? GROUP BY i.thread) a LEFT JOIN interceptions t ON t.id = a.thread"+
		" ORDER BY a.thread DESC LIMIT "+strconv.Itoa(mostThreads), []any{session}, func(rows *sql.Rows) error {
		var (
			t                           Thread
			first, started, last, nonce int64
		)
		unread := rows.Scan(append(append([]any{&first, &started, &last}, t.into()...), &nonce)...)
		t.ID, t.Started, t.Last = ID(first, nonce), timeOf(started), timeOf(last)
		list = append(list, t)
		return unread
	})
	return list, err
}
