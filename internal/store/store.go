// Package store keeps the record: tables of interceptions with all that served them, in
// a database. It knows the tables; an Engine knows the database.
package store

import (
	"context"
	"database/sql"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"keybridge/internal/ledger"
)

const (
	tries    = 3
	farewell = 2 * time.Second
)

// Options are how a store is used.
type Options struct {
	// Instance names this process among those that write to one database.
	Instance string
}

// Store is the record in one database. Its methods may be called from any goroutine;
// writes wait for each other, reads for nobody. A database that is lost is opened again
// by the next write.
type Store struct {
	engine *Engine
	o      Options

	swept atomic.Int64           // when Prune last looked for kinds everywhere
	read  atomic.Pointer[sql.DB] // of the database that is open

	mu     sync.Mutex // of what writes
	db     *Database  // nil: to be opened
	closed bool
	w      *writer
}

// Open opens the database, makes or updates its tables, and takes note of what other
// processes have left open.
func Open(ctx context.Context, e *Engine, o Options) (*Store, error) {
	s := &Store{engine: e, o: o, w: newWriter(e)}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.open(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// open connects and brings the tables up to date.
func (s *Store) open(ctx context.Context) error {
	db, err := s.engine.Open(ctx)
	if err != nil {
		return s.engine.Explain(err)
	}
	if err := migrate(ctx, s.engine, db.Write); err != nil {
		db.close()
		return s.engine.Explain(err)
	}
	if err := s.w.begin(ctx, db, s.o.Instance); err != nil {
		s.w.close()
		db.close()
		return s.engine.Explain(err)
	}
	s.db = db
	s.read.Store(db.Read)
	return nil
}

// Write puts exchanges into the tables: those that have begun, so that a crash shows, and
// those that have ended. All are written or none; what is there already is left as it is,
// so that the same may be written again when nobody knows whether it was. An error is an
// *Error; once its cause is gone Write works again.
func (s *Store) Write(ctx context.Context, begun, ended []*ledger.Exchange) error {
	if len(begun) == 0 && len(ended) == 0 {
		return nil
	}
	return s.do(ctx, func() error { return s.w.write(ctx, begun, ended) })
}

// do runs what writes. A database that was lost is opened first; what another process has
// won is tried again.
func (s *Store) do(ctx context.Context, f func() error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	var err error
	for range tries {
		if s.closed {
			return &Error{Kind: Closed, Place: s.engine.Place, Text: "the record is closed"}
		}
		if err = s.ready(ctx); err == nil {
			err = f()
		}
		if err == nil {
			return nil
		}
		again := errors.Is(err, errKnown) || s.engine.Retry(err) || s.refused(err)
		_, broken := errors.AsType[*brokenError](err)
		if s.db != nil && (broken || s.db.Gone != nil && s.db.Gone(err)) {
			s.drop()
		}
		if !again || ctx.Err() != nil {
			break
		}
	}
	if gaveUp := ctx.Err(); gaveUp != nil && !errors.Is(err, gaveUp) {
		err = errors.Join(err, gaveUp) // whatever the driver says of it
	}
	return s.engine.Explain(err)
}

// refused says that the database does not take what is to be written. That may be a number
// chosen at random which is taken: the next one is not.
func (s *Store) refused(err error) bool {
	_, mine := errors.AsType[*Error](err)
	return !mine && KindOf(s.engine.Explain(err)) == Content
}

// ready opens the database unless it is open and what it was.
func (s *Store) ready(ctx context.Context) error {
	if s.db != nil && s.db.Check != nil {
		if err := s.db.Check(); err != nil {
			s.drop()
		}
	}
	if s.db == nil {
		return s.open(ctx)
	}
	if s.w.conn == nil {
		return s.w.connect(ctx, s.db)
	}
	return nil
}

// drop lets go of a database that is of no use any more.
func (s *Store) drop() {
	if s.db == nil {
		return
	}
	s.w.close()
	s.db.close()
	s.db = nil
}

// Close ends the store when what is being written has been.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed && s.db != nil {
		ctx, cancel := context.WithTimeout(context.Background(), farewell)
		defer cancel()
		_ = s.w.leave(ctx) // others will notice
	}
	s.closed = true
	s.drop()
	return nil
}
