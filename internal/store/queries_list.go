package store

import (
	"context"
	"database/sql"
	"slices"
	"strconv"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// Interception is one request of a client, summed up.
type Interception struct {
	ID         string
	Started    time.Time
	FirstEvent time.Time // zero if there was none
	Ended      time.Time // zero while it is open

	Status     ledger.Status
	HTTPStatus int
	Class      string

	Caller, Metadata         string
	Client, Version          string
	Session, Signal          string
	Thread                   string // the id of its thread's first interception, maybe its own
	Parent                   string // the interception that it answers or goes on from, or ""
	Provider, Route, Method  string
	Stream                   bool
	Model                    string // as answered, or else as asked for
	ModelAsked, ModelAnswers string
	Credential               ledger.Credential
	Key, Hint                string // of the last attempt

	AttemptCount, TurnCount int
	Loop                    int // turns of the tool loop
	Usage                   llm.Usage
	Reported                bool // every turn reported its usage
	Picos, Unpriced         int64
}

// whole are the columns of an interception i of kind k; its session s, its thread t and its parent p may
// be missing.
const whole = `i.id, i.nonce, i.started, i.first_event, i.ended,
k.status, k.http_status, k.class, k.caller, k.metadata, k.client, k.version, k.signal, k.provider, k.route, k.method,
k.stream, k.model, k.model_asked, k.model_answered, k.credential, k.key, k.hint, k.reported,
COALESCE(s.name, ''), COALESCE(t.id, -1), COALESCE(t.nonce, 0), COALESCE(p.id, -1), COALESCE(p.nonce, 0),
i.attempts, i.turns, i.loop, i.input, i.output, i.cache_read, i.cache_write, i.cache_write_long, i.reasoning, i.picos, i.unpriced`

// joined follows the interceptions i in a FROM. CROSS keeps SQLite to this order.
const joined = ` i CROSS JOIN interception_kinds k
LEFT JOIN sessions s ON s.id = i.session AND i.session <> 0
LEFT JOIN interceptions t ON t.id = i.thread
LEFT JOIN interceptions p ON p.id = i.parent AND i.parent <> 0
WHERE k.id = i.kind`

func (n *Interception) scan(rows *sql.Rows) (key int64, err error) {
	var nonce, started, first, ended, thread, threadNonce, parent, parentNonce int64
	err = rows.Scan(&key, &nonce, &started, &first, &ended,
		&n.Status, &n.HTTPStatus, &n.Class, &n.Caller, &n.Metadata, &n.Client, &n.Version, &n.Signal, &n.Provider, &n.Route, &n.Method,
		&n.Stream, &n.Model, &n.ModelAsked, &n.ModelAnswers, &n.Credential, &n.Key, &n.Hint, &n.Reported,
		&n.Session, &thread, &threadNonce, &parent, &parentNonce,
		&n.AttemptCount, &n.TurnCount, &n.Loop, &n.Usage.Input, &n.Usage.Output, &n.Usage.CacheRead, &n.Usage.CacheWrite,
		&n.Usage.CacheWriteLong, &n.Usage.Reasoning, &n.Picos, &n.Unpriced)
	n.ID = ID(key, nonce)
	n.Started, n.FirstEvent, n.Ended = timeOf(started), timeOf(first), timeOf(ended)
	if thread >= 0 {
		n.Thread = ID(thread, threadNonce)
	}
	if parent >= 0 {
		n.Parent = ID(parent, parentNonce)
	}
	return key, err
}

//nolint:gochecknoglobals // tests have fewer rows
var (
	// stretch is how many interceptions are looked at, at a time, for those that a filter
	// wants.
	stretch = 4000
	// few are so many that their keys may all be taken from an index and put in order.
	few = 20_000
)

// Interceptions is a page of them, newest first, and the cursor of the next page, "" if
// there is none.
func (s *Store) Interceptions(ctx context.Context, f Filter, p Page) (page []Interception, next string, err error) {
	end := int64(1<<63 - 1)
	if p.Cursor != "" {
		if err = placeOf("interceptions", p.Cursor, &end); err != nil {
			return nil, "", err
		}
	}
	err = s.look(ctx, func(v *view) error {
		w, wrong := v.walk(&f)
		if wrong != nil {
			return wrong
		}
		w.end = min(w.end, end)
		var keys []int64
		take := func(rows *sql.Rows) error {
			var n Interception
			key, unread := n.scan(rows)
			page, keys = append(page, n), append(keys, key)
			return unread
		}
		for more := true; more && len(page) <= p.size(); {
			if more, wrong = w.back(p.size()+1-len(page), take); wrong != nil {
				return wrong
			}
		}
		if len(page) > p.size() {
			page = page[:p.size()]
			next = endOf("interceptions", keys[p.size()-1])
		}
		return nil
	})
	return page, next, err
}

// Count is how many interceptions a filter chooses.
func (s *Store) Count(ctx context.Context, f Filter) (count int64, err error) {
	err = s.look(ctx, func(v *view) error {
		w, wrong := v.walk(&f)
		if wrong != nil {
			return wrong
		}
		if _, wrong = w.weigh(); wrong != nil {
			return wrong
		}
		from, c := w.from()
		count, wrong = v.number("SELECT COUNT(*) FROM "+from+c.sql(), c.args...)
		return wrong
	})
	return count, err
}

// walk goes through the interceptions that a filter chooses.
type walk struct {
	v          *view
	kinds      *conditions
	rest       *conditions // on interceptions i, but for the key
	least, end int64       // keys that are still to be looked at, the end not among them
	narrow     bool        // a session or a thread is wanted
	direct     bool        // what is left is best picked at once
	rare       bool        // there are few of the kinds, of whatever session or thread
}

func (v *view) walk(f *Filter) (*walk, error) {
	from, to := f.span()
	w := &walk{v: v, kinds: f.kinds(), rest: &conditions{}}
	w.least, w.end = keysOf(from, to)
	// Keys say all about times but for the millisecond that the span begins or ends in: the
	// rows themselves need not be read for more.
	if from > 0 {
		w.rest.and("(i.id >= ? OR i.started >= ?)", KeyAt(from+2000), from)
	}
	if !f.To.IsZero() {
		w.rest.and("(i.id < ? OR i.started < ?)", KeyAt(to), to)
	}
	if f.Session != "" {
		w.narrow = true
		which := "SELECT id FROM sessions WHERE name = ?"
		args := []any{plain(f.Session)}
		if f.Unnamed {
			which += " AND caller = ''"
		}
		if f.Caller != "" {
			which += " AND caller = ?"
			args = append(args, plain(f.Caller))
		}
		w.rest.and("i.session <> 0 AND i.session IN ("+which+")", args...)
	}
	if f.Thread != "" {
		w.narrow = true
		first, err := v.key(f.Thread)
		if err != nil && err != ErrNotFound { //nolint:errorlint // key's own
			return nil, err
		}
		w.rest.and("(i.id = ? OR i.thread = ? AND i.parent <> 0)", first, first)
	}
	return w, nil
}

// chooses reports whether kinds do.
func (w *walk) chooses() bool { return w.kinds.text.Len() > 0 }

// inner are the conditions on interceptions i that are left.
func (w *walk) inner() *conditions {
	c := &conditions{}
	c.and("i.id >= ? AND i.id < ?", w.least, w.end)
	if w.rest.text.Len() > 0 {
		c.and(w.rest.text.String(), w.rest.args...)
	}
	return c
}

// from is what the interceptions i are read from that are left: session by session if such
// are wanted and of many kinds, else kind by kind if kinds choose. CROSS and + keep SQLite
// to that.
func (w *walk) from() (from string, where *conditions) {
	inner := w.inner()
	switch {
	case !w.chooses():
		return "interceptions i", inner
	case w.narrow && !w.rare:
		inner.and("+i.kind IN (SELECT k.id FROM interception_kinds k"+w.kinds.sql()+")", w.kinds.args...)
		return "interceptions i", inner
	}
	c := w.ofKinds()
	c.and(inner.text.String(), inner.args...)
	return ofKinds, c
}

// ofKinds are interceptions i by their kinds k.
const ofKinds = "interception_kinds k CROSS JOIN interceptions i"

func (w *walk) ofKinds() *conditions {
	c := &conditions{}
	c.and("i.kind = k.id")
	c.and(w.kinds.text.String(), w.kinds.args...)
	return c
}

// back gives the newest interceptions that are left, at most limit of them or what a
// stretch has, and says whether there may be more.
func (w *walk) back(limit int, row func(*sql.Rows) error) (more bool, err error) {
	if w.direct {
		return false, w.pick(limit, row)
	}
	many := stretch
	if !w.chooses() {
		many = limit
	}
	inner := w.inner()
	newest := " FROM interceptions i" + inner.sql() + " ORDER BY i.id DESC LIMIT " + strconv.Itoa(many)
	query := "SELECT " + whole + " FROM (SELECT i.*" + newest + ")" + joined
	args := inner.args
	if w.chooses() {
		query += " AND " + w.kinds.text.String()
		args = append(slices.Clip(args), w.kinds.args...)
	}
	found := 0
	err = w.v.each(query+" ORDER BY i.id DESC LIMIT "+strconv.Itoa(limit), args, func(rows *sql.Rows) error {
		found++
		return row(rows)
	})
	if err != nil || found == limit {
		return false, err
	}
	seen, err := w.v.number("SELECT COUNT(*) FROM (SELECT i.id"+newest+") a", inner.args...)
	if err != nil || seen < int64(many) {
		return false, err
	}
	w.end, err = w.v.number("SELECT MIN(a.id) FROM (SELECT i.id"+newest+") a", inner.args...)
	if err != nil {
		return true, err
	}
	return w.leap()
}

// pick gives the newest that are left, in one pass.
func (w *walk) pick(limit int, row func(*sql.Rows) error) error {
	from, c := w.from()
	hits := "SELECT i.id AS hit FROM " + from + c.sql() + " ORDER BY i.id DESC LIMIT " + strconv.Itoa(limit)
	return w.v.each("SELECT "+whole+" FROM (SELECT i.* FROM ("+hits+") h CROSS JOIN interceptions i WHERE i.id = h.hit)"+joined+" ORDER BY i.id DESC", c.args, row)
}

// leap goes behind a stretch in which a page was not filled. If few are left, or all that
// is wanted is in few places, they can be picked; else the next stretch begins with the
// newest that is wanted.
func (w *walk) leap() (more bool, err error) {
	if w.narrow {
		w.direct = true
		return w.weigh()
	}
	from, c := w.from()
	left, err := w.v.number("SELECT COUNT(*) FROM (SELECT i.id FROM "+from+c.sql()+" LIMIT "+strconv.Itoa(few+1)+") a", c.args...)
	if err != nil || left <= int64(few) {
		w.direct = true
		return left > 0, err
	}
	newest, err := w.v.number("SELECT MAX((SELECT MAX(i.id) FROM interceptions i WHERE i.kind = k.id AND i.id < ?)) FROM interception_kinds k"+w.kinds.sql(),
		append([]any{w.end}, w.kinds.args...)...)
	w.end = newest + 1
	return true, err
}

// weigh finds out from which side a narrow walk is shorter, and whether there is anything
// of the kinds.
func (w *walk) weigh() (some bool, err error) {
	if !w.narrow || !w.chooses() {
		return true, nil
	}
	c := w.ofKinds()
	c.and("i.id >= ? AND i.id < ?", w.least, w.end)
	left, err := w.v.number("SELECT COUNT(*) FROM (SELECT i.id FROM "+ofKinds+c.sql()+" LIMIT "+strconv.Itoa(few+1)+") a", c.args...)
	w.rare = left <= int64(few)
	return left > 0, err
}
