package store

import (
	"errors"
	"strings"
)

// Kind is what sort of trouble an Error is: one of a closed set.
type Kind string

// The kinds of trouble.
const (
	Full        Kind = "full"        // there is no room on the disk
	ReadOnly    Kind = "read_only"   // the database may be read and not written
	Corrupt     Kind = "corrupt"     // the file is damaged, or no database
	Locked      Kind = "locked"      // somebody else has it
	Unreachable Kind = "unreachable" // the server, the file or its folder is not there
	Denied      Kind = "denied"      // the server or the system does not let us
	Newer       Kind = "newer"       // a newer Keybridge has made the tables
	Content     Kind = "content"     // an exchange cannot be written, whatever the database's state
	Panic       Kind = "panic"       // writing an exchange has panicked, as it will again
	Timeout     Kind = "timeout"     // the time for it was up
	Closed      Kind = "closed"      // the store is closed
	Other       Kind = "other"
)

// Error is why the record cannot be written or read, and what the operator may do. No
// secret is in its text.
type Error struct {
	Kind  Kind
	Place string // which database: a path, or an address
	Text  string // what is wrong
	Do    string // what to do, "" if there is nothing to say
	Err   error  // the cause
}

// Error says what is wrong, where, what to do and, last, the cause in its own words, all in
// one line.
func (e *Error) Error() string {
	s := e.Place + ": " + e.Text
	if e.Do != "" {
		s += ": " + e.Do
	}
	if e.Err != nil {
		lines := strings.FieldsFunc(e.Err.Error(), func(r rune) bool { return r == '\n' || r == '\r' })
		for i := range lines {
			lines[i] = strings.TrimSpace(lines[i])
		}
		s += " (" + strings.Join(lines, "; ") + ")"
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Rejected says that it is not the database's state but what was to be written: to try
// again is of no use.
func (e *Error) Rejected() bool { return e.Kind == Content || e.Kind == Panic }

// Word is what the error is counted as: its kind.
func (e *Error) Word() string { return string(e.Kind) }

// KindOf is the kind of a store's error, "" for nil.
func KindOf(err error) Kind {
	if err == nil {
		return ""
	}
	if e, ok := errors.AsType[*Error](err); ok {
		return e.Kind
	}
	return Other
}
