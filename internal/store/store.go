// Package store keeps the record: tables of interceptions with all that served them, in
// a database. It knows the tables; an Engine knows the database.
package store

import (
	"context"
	"database/sql"
	"log/slog"
	"sync"
	"sync/atomic"
)

// Options are how a store is used.
type Options struct {
	// Instance names this process among those that write to one database.
	Instance string
	Logger   *slog.Logger
}

// Store is the record in one database. Its methods may be called from any goroutine;
// writes wait for each other, reads for nobody. A database that is lost is opened again
// by the next write.
type Store struct {
	engine *Engine
	o      Options

	read atomic.Pointer[sql.DB] // of the database that is open

	mu     sync.Mutex // of what writes
	db     *Database  // nil: to be opened
	closed bool
}

// Open opens the database, makes or updates its tables, and takes note of what other
// processes have left open.
func Open(ctx context.Context, e *Engine, o Options) (*Store, error) {
	s := &Store{engine: e, o: o}
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
	s.db = db
	s.read.Store(db.Read)
	return nil
}

// drop lets go of a database that is of no use any more.
func (s *Store) drop() {
	if s.db == nil {
		return
	}
	s.db.close()
	s.db = nil
}

// Close ends the store when what is being written has been. It says to others that this
// process is no more.
func (s *Store) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.drop()
	return nil
}
