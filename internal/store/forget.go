package store

import "context"

// Forgotten is how much a caller had left.
type Forgotten struct{ Interceptions, Sessions, Hours int64 }

const (
	forgetOnce = 200 // are deleted in one transaction

	hisKinds = "(SELECT id FROM interception_kinds WHERE caller = ?)"
	// hisHints are what is left of his own credentials, unless somebody else has the same.
	hisHints = `attempt_kinds WHERE hint IN (SELECT hint FROM interception_kinds WHERE caller = ? AND credential = 'byok' AND hint <> '')
AND hint NOT IN (SELECT hint FROM interception_kinds WHERE caller <> ?)`
)

// Forget deletes everything of a caller: interceptions, sessions, usage and the name.
// What is not written yet is not forgotten. With an error it is to be done again.
func (s *Store) Forget(ctx context.Context, caller string) (Forgotten, error) {
	var f Forgotten
	caller = plain(caller)
	for done := false; !done; {
		err := s.repeat(ctx, &f.Interceptions, func() (int64, error) { return s.forgetSome(ctx, caller) })
		if err != nil {
			return f, err
		}
		if done, err = s.forgetRest(ctx, caller, &f); err != nil {
			return f, err
		}
	}
	if s.engine.Wipe == nil {
		return f, nil
	}
	return f, s.do(ctx, func() error { return s.engine.Wipe(ctx, s.w.conn) })
}

// forgetSome deletes some of a caller's interceptions.
func (s *Store) forgetSome(ctx context.Context, caller string) (int64, error) {
	his, err := s.w.pairs(ctx, "SELECT id, session FROM interceptions WHERE kind IN "+hisKinds+" LIMIT ?", []any{caller, forgetOnce})
	if err != nil || len(his) == 0 {
		return 0, err
	}
	keys := make([]any, 0, len(his))
	for key := range his {
		keys = append(keys, key)
	}
	which := " IN " + in(len(keys))
	if err := s.deleteBelow(ctx, his, which, keys); err != nil {
		return 0, err
	}
	return s.delete(ctx, "interceptions WHERE id"+which, keys...)
}

// forgetRest deletes what is left of a caller who has no interceptions. It is not done if
// there are some again.
func (s *Store) forgetRest(ctx context.Context, caller string, f *Forgotten) (done bool, err error) {
	err = s.outdating(ctx, func() error {
		done = false
		if err = s.outdate(ctx); err != nil {
			return err
		}
		var left int64
		count := s.w.conn.QueryRowContext(ctx, s.engine.text("SELECT count(*) FROM interceptions WHERE kind IN "+hisKinds), caller)
		if err = count.Scan(&left); err != nil || left > 0 {
			return err
		}
		if f.Hours, err = s.delete(ctx, "usage_hours WHERE kind IN "+hisKinds, caller); err != nil {
			return err
		}
		if f.Sessions, err = s.delete(ctx, "sessions WHERE caller = ?", caller); err != nil {
			return err
		}
		if _, err = s.delete(ctx, hisHints, caller, caller); err != nil {
			return err
		}
		_, err = s.delete(ctx, "interception_kinds WHERE caller = ?", caller)
		done = true
		return err
	})
	return done && err == nil, err
}
