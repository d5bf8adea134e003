// Package secret keeps credentials out of logs: a Value prints as *** wherever it
// is formatted, and a reference says where a secret comes from without being one.
package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

const mask = "***"

// Value is a secret. It prints, encodes and logs as ***; only Reveal gives it
// away. Values are compared with Equal.
type Value struct {
	// A function, because nothing that walks a value by reflection can look into
	// one: fmt calls no method on what sits in another struct's unexported field.
	reveal func() string
}

// New makes a Value of a secret in clear text.
func New(s string) Value {
	if s == "" {
		return Value{}
	}
	return Value{reveal: func() string { return s }}
}

// Reveal returns the secret in clear text. Give it to nothing that prints.
func (v Value) Reveal() string {
	if v.reveal == nil {
		return ""
	}
	return v.reveal()
}

// IsZero reports whether there is no secret.
func (v Value) IsZero() bool { return v.reveal == nil }

// Equal reports whether both are the same secret, in a time that tells nothing
// about where they differ.
func (v Value) Equal(w Value) bool {
	return subtle.ConstantTimeCompare([]byte(v.Reveal()), []byte(w.Reveal())) == 1
}

// String returns ***.
func (v Value) String() string { return mask }

// GoString returns ***.
func (v Value) GoString() string { return mask }

// Format writes *** for every verb.
func (v Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, mask) }

// MarshalText returns ***.
func (v Value) MarshalText() ([]byte, error) { return []byte(mask), nil }

// MarshalJSON returns "***".
func (v Value) MarshalJSON() ([]byte, error) { return []byte(`"` + mask + `"`), nil }

// LogValue returns ***.
func (v Value) LogValue() slog.Value { return slog.StringValue(mask) }
