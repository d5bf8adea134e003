package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"slices"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"keybridge/internal/store"
)

var (
	errLocked   = errors.New("another process has locked the file")
	errReplaced = errors.New("the file was deleted or replaced")
	errForeign  = errors.New("it does not begin as an SQLite file does")
)

// damageError is what a check has found.
type damageError struct{ said string }

func (e *damageError) Error() string { return e.said }

// code is SQLite's word for what is wrong, without what it says more closely; 0 if it
// says nothing.
func code(err error) int {
	if e, ok := errors.AsType[*sqlite.Error](err); ok {
		return e.Code() & 0xff
	}
	return 0
}

// damaged says that the file is of no use.
func damaged(err error) bool {
	_, found := errors.AsType[*damageError](err)
	return found || code(err) == sqlite3.SQLITE_CORRUPT || code(err) == sqlite3.SQLITE_NOTADB
}

// gone says that the connections have to be made anew.
func (f *file) gone(err error) bool {
	if damaged(err) {
		f.suspect = true
		return true
	}
	switch code(err) {
	case sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_MISUSE:
		return true
	}
	return false
}

// trouble is what some errors mean for an operator.
type trouble struct {
	codes    []int   // SQLite's
	errors   []error // the system's, and ours
	kind     store.Kind
	text, do string
}

// troubles are looked through in order.
func troubles() []trouble {
	return []trouble{
		{
			[]int{sqlite3.SQLITE_FULL},
			[]error{syscall.ENOSPC, syscall.EDQUOT},
			store.Full, "the disk is full", "make room there; nothing has to be restarted",
		},
		{
			[]int{sqlite3.SQLITE_READONLY},
			[]error{syscall.EROFS},
			store.ReadOnly, "the file may only be read", "let the gateway write to it and its folder, or set store: to another place",
		},
		{
			[]int{sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB},
			nil,
			store.Corrupt, "the file is damaged", "nothing: at the next write it is set aside and a new one begun",
		},
		{
			nil,
			[]error{errForeign},
			store.Corrupt, "the file is no SQLite database, and left alone", "set store: to another place, or move the file away",
		},
		{
			nil,
			[]error{errLocked},
			store.Locked, "another gateway has the file", "give each gateway a file of its own, or let them share a PostgreSQL database",
		},
		{
			[]int{sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED},
			nil,
			store.Locked, "another process keeps the file locked", "end its transaction; nothing has to be restarted",
		},
		{
			[]int{sqlite3.SQLITE_PERM, sqlite3.SQLITE_AUTH},
			[]error{fs.ErrPermission},
			store.Denied, "the system does not let the gateway use it", "make the gateway's user the owner of the file and its folder",
		},
		{
			[]int{sqlite3.SQLITE_CANTOPEN},
			[]error{errReplaced, fs.ErrNotExist, syscall.ENOTDIR, syscall.EISDIR},
			store.Unreachable, "the file cannot be opened", "look whether its folder is there and belongs to the gateway's user",
		},
		{
			[]int{sqlite3.SQLITE_IOERR},
			nil,
			store.Unreachable, "the disk does not answer as it should", "look into the system's log",
		},
		{
			[]int{sqlite3.SQLITE_CONSTRAINT, sqlite3.SQLITE_TOOBIG, sqlite3.SQLITE_MISMATCH},
			nil,
			store.Content, "the file does not take what is to be written", "",
		},
		{
			[]int{sqlite3.SQLITE_INTERRUPT},
			[]error{context.DeadlineExceeded, context.Canceled},
			store.Timeout, "there was not time enough", "look at the load of the disk",
		},
	}
}

// explain says what an error means for an operator.
func (f *file) explain(err error) error {
	if known, ok := errors.AsType[*store.Error](err); ok {
		return known
	}
	for _, t := range troubles() {
		if slices.Contains(t.codes, code(err)) || slices.ContainsFunc(t.errors, func(e error) bool { return errors.Is(err, e) }) {
			return &store.Error{Kind: t.kind, Place: f.path, Text: t.text, Do: t.do, Err: err}
		}
	}
	return &store.Error{Kind: store.Other, Place: f.path, Text: "the file cannot be used", Err: err}
}
