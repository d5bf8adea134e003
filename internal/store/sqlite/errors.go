package sqlite

import (
	"context"
	"errors"
	"io/fs"
	"syscall"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"

	"keybridge/internal/store"
)

var (
	errLocked   = errors.New("another process has locked the file")
	errReplaced = errors.New("the file was deleted or replaced")
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

// explain says what an error means for an operator.
func (f *file) explain(err error) error {
	if e, ok := errors.AsType[*store.Error](err); ok {
		return e
	}
	out := &store.Error{Kind: store.Other, Place: f.path, Text: "the file cannot be used", Err: err}
	switch c := code(err); {
	case c == sqlite3.SQLITE_FULL || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT):
		out.Kind, out.Text, out.Do = store.Full, "the disk is full", "make room there; nothing has to be restarted"
	case c == sqlite3.SQLITE_READONLY || errors.Is(err, syscall.EROFS):
		out.Kind, out.Text, out.Do = store.ReadOnly, "the file may only be read", "let the gateway write to it and its folder, or set store: to another place"
	case damaged(err):
		out.Kind, out.Text, out.Do = store.Corrupt, "the file is damaged", "nothing: it is set aside at the next write"
	case errors.Is(err, errLocked):
		out.Kind, out.Text, out.Do = store.Locked, "another gateway has the file", "give each gateway a file of its own, or let them share a PostgreSQL database"
		out.Err = nil
	case c == sqlite3.SQLITE_BUSY || c == sqlite3.SQLITE_LOCKED:
		out.Kind, out.Text, out.Do = store.Locked, "another process keeps the file locked", "end its transaction; nothing has to be restarted"
	case c == sqlite3.SQLITE_PERM || c == sqlite3.SQLITE_AUTH || errors.Is(err, fs.ErrPermission):
		out.Kind, out.Text, out.Do = store.Denied, "the system does not let the gateway use it", "make the gateway's user the owner of the file and its folder"
	case c == sqlite3.SQLITE_CANTOPEN || errors.Is(err, errReplaced) || errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) || errors.Is(err, syscall.EISDIR):
		out.Kind, out.Text, out.Do = store.Unreachable, "the file cannot be opened", "look whether its folder is there and belongs to the gateway's user"
	case c == sqlite3.SQLITE_IOERR:
		out.Kind, out.Text, out.Do = store.Unreachable, "the disk does not answer as it should", "look into the system's log"
	case c == sqlite3.SQLITE_CONSTRAINT || c == sqlite3.SQLITE_TOOBIG || c == sqlite3.SQLITE_MISMATCH:
		out.Kind, out.Text = store.Content, "the file does not take what is to be written"
	case errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) || c == sqlite3.SQLITE_INTERRUPT:
		out.Kind, out.Text, out.Do = store.Timeout, "it was not written in time", "look at the load of the disk"
	}
	return out
}
