package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/pressly/goose/v3"
)

// migrate brings the tables up to date, under a lock where others might do the same.
func migrate(ctx context.Context, e *Engine, db *sql.DB) error {
	options := []goose.ProviderOption{goose.WithTableName("migrations"), goose.WithDisableGlobalRegistry(true)}
	if e.Locker != nil {
		options = append(options, goose.WithSessionLocker(e.Locker))
	}
	p, err := goose.NewProvider(e.Dialect, db, e.Migrations, options...)
	if err != nil {
		return err
	}
	have, want, err := p.GetVersions(ctx)
	if err != nil {
		return err
	}
	if have > want {
		return &Error{
			Kind: Newer, Place: e.Place,
			Text: fmt.Sprintf("the tables are of version %d, and this Keybridge knows versions up to %d", have, want),
			Do:   "run the newer Keybridge that made them, or set store to another database",
		}
	}
	if have < want {
		_, err = p.Up(ctx)
	}
	return err
}
