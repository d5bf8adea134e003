package postgres

import (
	"strings"

	"keybridge/internal/pgaddress"
	"keybridge/internal/store"
)

const form = "write postgres://USER:PASSWORD@HOST/DATABASE" //nolint:gosec // the form of an address, no password

func denied(text, do string) *store.Error {
	return &store.Error{Kind: store.Denied, Place: "the PostgreSQL database", Text: text, Do: do}
}

// misunderstood says what the driver does not take of an address. The driver's own error
// may quote the address, so nothing is taken from it.
func misunderstood(address string) *store.Error {
	r := pgaddress.Refused(address)
	switch {
	case r.File != nil:
		return denied("the file "+r.File.Path+" of its setting "+r.Settings[0]+" cannot be read: "+r.File.Err.Error(), "give it to the gateway's user to read, or another path")
	case len(r.Settings) == 0:
		return denied("its address cannot be understood", form+", and look at the PG… variables, if some are set")
	case len(r.Settings) == 1:
		return denied("its setting "+r.Settings[0]+" cannot be understood", "look at what is behind the ? of the address")
	}
	return denied("its settings "+strings.Join(r.Settings, ", ")+" cannot be understood together", "look at what is behind the ? of the address")
}
