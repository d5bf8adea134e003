package store

import (
	"context"
	"database/sql"
	"slices"
	"strings"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// Whole is an interception with all that served it.
type Whole struct {
	Interception

	Error     string // how it failed
	Attempts  []Attempt
	Turns     []Turn
	Calls     []Call
	Prompt    *Text // nil if it was not kept
	Thoughts  []Thought
	Decisions []ledger.Decision // of the eventful and the failed
}

// Attempt is one send with one key.
type Attempt struct {
	Turn             int
	Key, Hint        string
	Sent             time.Time
	Waited, Duration time.Duration
	Status           int
	Action, Reason   string
}

// Turn is one answer of a model and its charge.
type Turn struct {
	Message                  string // the provider's id of it
	Model, Stop, Tier        string
	Reported, Complete       bool
	Usage                    llm.Usage
	Searches                 int64
	Picos, Unpriced          int64
	PriceModel, PriceVersion string // by whose price, of which version of the list
	Iterations               []Iteration
}

// Iteration is a part of a turn that the provider accounts for by itself.
type Iteration struct {
	Kind, Model     string
	Usage           llm.Usage
	Picos, Unpriced int64
}

// Call is one call of a tool.
type Call struct {
	Turn         int
	ID           string // the model's
	Kind         string // who ran it: client, injected or hosted
	Server, Name string
	Arguments    string // "" if they were not kept
	Size, Result int    // of the arguments and of what the gateway's tool answered, in bytes
	Outcome      string
	Failed       bool
	Error        string
	Started      time.Time
	Duration     time.Duration
}

// Text is what was kept of a text, and how long the whole is in bytes.
type Text struct {
	Text string
	Size int
}

// Thought is a piece of a turn's reasoning.
type Thought struct {
	Text

	Turn int
}

// Interception is one with all that served it, or ErrNotFound.
func (s *Store) Interception(ctx context.Context, id string) (*Whole, error) {
	var found *Whole
	err := s.look(ctx, func(v *view) error {
		key, err := v.key(id)
		if err != nil {
			return err
		}
		all, err := v.wholes([]int64{key})
		if err == nil && len(all) == 1 {
			found = all[0]
		}
		return err
	})
	return found, err
}

// key is the key of the interception with an id.
func (v *view) key(id string) (int64, error) {
	key, nonce, ok := Key(id)
	if !ok {
		return -1, ErrNotFound
	}
	found, err := v.number("SELECT COALESCE(MIN(id), -1) FROM interceptions WHERE id >= ? AND id < ? AND nonce = ?", key, key+neighbours, nonce)
	if err == nil && found < 0 {
		err = ErrNotFound
	}
	return found, err
}

// Resolve gives the ids of interceptions that begin with a text, at most limit of them,
// oldest first: people copy ids in part.
func (s *Store) Resolve(ctx context.Context, start string, limit int) (ids []string, err error) {
	start = strings.ToLower(start)
	if len(start) <= len(prefix) || !strings.HasPrefix(start, prefix) || len(start) > idLength {
		return nil, nil
	}
	least, _, ok := Key(start + strings.Repeat("0", idLength-len(start)))
	most, _, same := Key(start + strings.Repeat("f", idLength-len(start)))
	switch {
	case !ok:
		return nil, nil
	case !same:
		most = 1<<63 - 1 - neighbours // beyond what has a key
	}
	err = s.look(ctx, func(v *view) error {
		return v.each("SELECT id, nonce FROM interceptions WHERE id >= ? AND id < ? ORDER BY id LIMIT ?",
			[]any{least, most + neighbours, limit + 2*neighbours}, func(rows *sql.Rows) error {
				var key, nonce int64
				unread := rows.Scan(&key, &nonce)
				if id := ID(key, nonce); len(ids) < limit && strings.HasPrefix(id, start) {
					ids = append(ids, id)
				}
				return unread
			})
	})
	return ids, err
}

// portion is how many interceptions are read at a time with all that served them.
const portion = 64

// Export calls each with every interception that a filter chooses, in the order in which
// they began. What begins meanwhile may be among them or not. An error of each ends it.
func (s *Store) Export(ctx context.Context, f Filter, each func(*Whole) error) error {
	var w *walk
	for more := true; more; {
		var found []*Whole
		err := s.look(ctx, func(v *view) (err error) {
			if w == nil {
				w, err = v.walk(&f)
			} else {
				w.v = v
			}
			if err != nil {
				return err
			}
			var keys []int64
			if keys, more, err = w.ahead(); err != nil {
				return err
			}
			for len(keys) > 0 {
				some := keys[:min(portion, len(keys))]
				keys = keys[len(some):]
				read, err := v.wholes(some)
				if err != nil {
					return err
				}
				found = append(found, read...)
			}
			return nil
		})
		if err != nil {
			return err
		}
		for _, one := range found {
			if err := each(one); err != nil {
				return err
			}
		}
	}
	return nil
}

// ahead gives the keys of the next interceptions in the order of time.
func (w *walk) ahead() (keys []int64, more bool, err error) {
	many := portion * 4
	if w.chooses() {
		many = stretch
	}
	c := w.inner()
	query := "SELECT i.id, i.kind FROM interceptions i" + c.sql() + " ORDER BY i.id LIMIT ?"
	args := append(slices.Clip(c.args), many)
	if w.chooses() {
		query = "SELECT i.id, CASE WHEN " + w.kinds.text.String() + " THEN 1 ELSE 0 END FROM (" + query + ") i CROSS JOIN interception_kinds k WHERE k.id = i.kind ORDER BY i.id"
		args = slices.Concat(w.kinds.args, args)
	}
	seen := 0
	err = w.v.each(query, args, func(rows *sql.Rows) error {
		var key, wanted int64
		unread := rows.Scan(&key, &wanted)
		if seen++; len(keys) == portion*4 {
			return unread
		}
		w.least = key + 1
		if !w.chooses() || wanted != 0 {
			keys = append(keys, key)
		}
		return unread
	})
	return keys, seen == many || len(keys) == portion*4, err
}

// wholes reads interceptions by their keys, which ascend.
func (v *view) wholes(keys []int64) ([]*Whole, error) {
	among := in(len(keys))
	args := make([]any, len(keys))
	for i, key := range keys {
		args[i] = key
	}
	all := make([]*Whole, 0, len(keys))
	of := make(map[int64]*Whole, len(keys))
	err := v.each("SELECT "+whole+" FROM interceptions"+joined+" AND i.id IN "+among+" ORDER BY i.id", args, func(rows *sql.Rows) error {
		w := &Whole{}
		key, err := w.scan(rows)
		all, of[key] = append(all, w), w
		return err
	})
	for _, part := range parts {
		if err != nil {
			return nil, err
		}
		err = v.each(strings.Replace(part.query, "KEYS", among, 1), args, func(rows *sql.Rows) error {
			var key int64
			add, into := part.row()
			if unread := rows.Scan(append([]any{&key}, into...)...); unread != nil {
				return unread
			}
			if w := of[key]; w != nil {
				return add(w)
			}
			return nil
		})
	}
	return all, err
}

// parts are what belongs to an interception, in rows of other tables.
//
//nolint:gochecknoglobals // a table
var parts = []struct {
	query string
	row   func() (add func(*Whole) error, into []any)
}{
	{"SELECT a.interception, a.turn, k.key, k.hint, a.sent, a.waited, a.duration, k.status, k.action, k.reason FROM attempts a JOIN attempt_kinds k ON k.id = a.kind WHERE a.interception IN KEYS ORDER BY a.interception, a.seq", attemptRow},
	{"SELECT t.interception, t.message, k.model, k.stop, k.tier, k.reported, k.complete, t.input, t.output, t.cache_read, t.cache_write, t.cache_write_long, t.reasoning, t.searches, t.picos, t.unpriced, k.price_model, k.price_version FROM turns t JOIN turn_kinds k ON k.id = t.kind WHERE t.interception IN KEYS ORDER BY t.interception, t.seq", turnRow},
	{"SELECT interception, turn, kind, model, input, output, cache_read, cache_write, cache_write_long, reasoning, picos, unpriced FROM iterations WHERE interception IN KEYS ORDER BY interception, turn, seq", iterationRow},
	{"SELECT c.interception, c.turn, c.call, k.kind, k.server, k.name, COALESCE(a.text, ''), c.size, c.result, k.outcome, c.failed, c.error, c.started, c.duration FROM tool_calls c JOIN tool_kinds k ON k.id = c.kind LEFT JOIN call_arguments a ON a.interception = c.interception AND a.seq = c.seq WHERE c.interception IN KEYS ORDER BY c.interception, c.seq", callRow},
	{"SELECT interception, text, size FROM prompts WHERE interception IN KEYS", promptRow},
	{"SELECT interception, turn, text, size FROM thoughts WHERE interception IN KEYS ORDER BY interception, seq", thoughtRow},
	{"SELECT interception, error, list FROM decisions WHERE interception IN KEYS", decisionRow},
}

func attemptRow() (add func(*Whole) error, into []any) {
	var (
		a                      Attempt
		sent, waited, duration int64
	)
	add = func(w *Whole) error {
		a.Sent, a.Waited, a.Duration = timeOf(sent), time.Duration(waited)*time.Microsecond, time.Duration(duration)*time.Microsecond
		w.Attempts = append(w.Attempts, a)
		return nil
	}
	return add, []any{&a.Turn, &a.Key, &a.Hint, &sent, &waited, &duration, &a.Status, &a.Action, &a.Reason}
}

func turnRow() (add func(*Whole) error, into []any) {
	var t Turn
	add = func(w *Whole) error {
		w.Turns = append(w.Turns, t)
		return nil
	}
	return add, []any{
		&t.Message, &t.Model, &t.Stop, &t.Tier, &t.Reported, &t.Complete, &t.Usage.Input, &t.Usage.Output, &t.Usage.CacheRead, &t.Usage.CacheWrite,
		&t.Usage.CacheWriteLong, &t.Usage.Reasoning, &t.Searches, &t.Picos, &t.Unpriced, &t.PriceModel, &t.PriceVersion,
	}
}

func iterationRow() (add func(*Whole) error, into []any) {
	var (
		n    Iteration
		turn int
	)
	add = func(w *Whole) error {
		if turn < len(w.Turns) {
			w.Turns[turn].Iterations = append(w.Turns[turn].Iterations, n)
		}
		return nil
	}
	return add, []any{
		&turn, &n.Kind, &n.Model, &n.Usage.Input, &n.Usage.Output, &n.Usage.CacheRead, &n.Usage.CacheWrite, &n.Usage.CacheWriteLong,
		&n.Usage.Reasoning, &n.Picos, &n.Unpriced,
	}
}

func callRow() (add func(*Whole) error, into []any) {
	var (
		c                 Call
		started, duration int64
	)
	add = func(w *Whole) error {
		c.Started, c.Duration = timeOf(started), time.Duration(duration)*time.Microsecond
		w.Calls = append(w.Calls, c)
		return nil
	}
	return add, []any{
		&c.Turn, &c.ID, &c.Kind, &c.Server, &c.Name, &c.Arguments, &c.Size, &c.Result, &c.Outcome, &c.Failed, &c.Error, &started, &duration,
	}
}

func promptRow() (add func(*Whole) error, into []any) {
	var t Text
	return func(w *Whole) error {
		w.Prompt = &t
		return nil
	}, []any{&t.Text, &t.Size}
}

func thoughtRow() (add func(*Whole) error, into []any) {
	var t Thought
	return func(w *Whole) error {
		w.Thoughts = append(w.Thoughts, t)
		return nil
	}, []any{&t.Turn, &t.Text.Text, &t.Size}
}

func decisionRow() (add func(*Whole) error, into []any) {
	var failure, list string
	return func(w *Whole) error {
		var err error
		w.Error = failure
		w.Decisions, err = decisionsOf(list)
		return err
	}, []any{&failure, &list}
}
