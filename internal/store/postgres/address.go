package postgres

import (
	"errors"
	"io/fs"
	"maps"
	"net/url"
	"slices"

	"github.com/jackc/pgx/v5"

	"keybridge/internal/store"
)

const form = "write postgres://USER:PASSWORD@HOST/DATABASE" //nolint:gosec // the form of an address, no password

func denied(text, do string) *store.Error {
	return &store.Error{Kind: store.Denied, Place: "the PostgreSQL database", Text: text, Do: do}
}

// misunderstood says what the driver does not take of an address: which setting, if it is
// one. The driver's own words may quote the address.
func misunderstood(address string, err error) *store.Error {
	u, nonsense := url.Parse(address)
	if nonsense != nil {
		return denied("its address cannot be understood", form)
	}
	set := u.Query()
	file, missing := errors.AsType[*fs.PathError](err)
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if missing {
			if set.Get(name) == file.Path {
				return denied("the file "+file.Path+" of its setting "+name+" cannot be read: "+file.Err.Error(), "give it to the gateway's user to read, or another path")
			}
			continue
		}
		rest := maps.Clone(set)
		delete(rest, name)
		u.RawQuery = rest.Encode()
		if _, err = pgx.ParseConfig(u.String()); err == nil {
			return denied("its setting "+name+" cannot be understood", "look at what is behind the ? of the address")
		}
	}
	return denied("its address cannot be understood", form+", and look at its settings, if it has some behind a ?, and at the files they name")
}
