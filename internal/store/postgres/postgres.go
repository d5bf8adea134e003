// Package postgres keeps the record in PostgreSQL, which several gateways may share.
package postgres

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io/fs"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
	"github.com/pressly/goose/v3"

	"keybridge/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	connectWithin = 5 * time.Second  // unless the address says connect_timeout
	lockWithin    = 60 * time.Second // for another gateway's migrations
	mostReaders   = 8
	idleReaders   = 2
	idleFor       = 5 * time.Minute
	turnover      = time.Hour // connections are made anew, for a balancer or a changed address to take effect
	rowsAtOnce    = 64

	migrationLock = 0x6b62_7265_636f_7264 // of the advisory lock: kbrecord
)

// Open opens the record in the database at an address: postgres://USER:PASSWORD@HOST/DATABASE
// with the parameters that libpq knows (sslmode, connect_timeout, application_name …). It
// makes the tables, or brings them up to date. An error is a *store.Error and shows no
// password.
func Open(ctx context.Context, address string, o store.Options) (*store.Store, error) {
	config, err := pgx.ParseConfig(address)
	switch {
	case err != nil:
		return nil, misunderstood(address)
	case config.Database == "":
		return nil, denied("its address names no database", form)
	}
	if config.ConnectTimeout == 0 {
		config.ConnectTimeout = connectWithin
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "keybridge"
	}
	config.RuntimeParams["client_encoding"] = "UTF8"
	tables, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return nil, err
	}
	e := explainer{place: place(config), database: config.Database, user: config.User, password: config.Password}
	return store.Open(ctx, &store.Engine{
		Place: e.place, Numbered: true, Rows: rowsAtOnce, Share: " FOR SHARE",
		Migrations: tables, Dialect: goose.DialectPostgres, Locker: advisory{},
		Open:    func(ctx context.Context) (*store.Database, error) { return open(ctx, config, anew(address, e.place)) },
		Explain: e.explain, Retry: again,
	}, o)
}

// anew has each connection read the certificates that an address names: they are renewed
// while the gateway runs.
func anew(address, place string) stdlib.OptionOpenDB {
	return stdlib.OptionBeforeConnect(func(_ context.Context, c *pgx.ConnConfig) error {
		now, err := pgx.ParseConfig(address)
		if err != nil {
			refusal := misunderstood(address)
			refusal.Place = place
			return refusal
		}
		c.TLSConfig, c.Fallbacks = now.TLSConfig, now.Fallbacks
		return nil
	})
}

func open(ctx context.Context, config *pgx.ConnConfig, renewed stdlib.OptionOpenDB) (*store.Database, error) {
	// A reader's connection is tried before it is used: what ends one between two readers
	// is then none of the second's business, since BEGIN is not sent again.
	tried := stdlib.OptionShouldPing(func(context.Context, stdlib.ShouldPingParams) bool { return true })
	write, read := stdlib.OpenDB(*config, renewed), stdlib.OpenDB(*config, renewed, tried)
	write.SetMaxOpenConns(1)
	read.SetMaxOpenConns(mostReaders)
	read.SetMaxIdleConns(idleReaders)
	for _, db := range []*sql.DB{write, read} {
		db.SetConnMaxIdleTime(idleFor)
		db.SetConnMaxLifetime(turnover)
	}
	if err := understood(ctx, write); err != nil {
		return nil, errors.Join(err, write.Close(), read.Close())
	}
	return &store.Database{Write: write, Read: read, Gone: lost}, nil
}

var errEncoding = errors.New("the encoding of the database is not UTF8")

// understood refuses a database that cannot hold every text.
func understood(ctx context.Context, db *sql.DB) error {
	var encoding string
	if err := db.QueryRowContext(ctx, "SHOW server_encoding").Scan(&encoding); err != nil {
		return err
	}
	if encoding != "UTF8" {
		return errEncoding
	}
	return nil
}

// place names the database without its password.
func place(c *pgx.ConnConfig) string {
	at := c.Host
	if !strings.HasPrefix(at, "/") {
		at = net.JoinHostPort(at, strconv.Itoa(int(c.Port)))
	}
	return "the PostgreSQL database " + c.Database + " at " + at
}

// advisory is the lock that gateways take which start at the same time: one makes the
// tables, the others find them made.
type advisory struct{}

var errLocked = errors.New("the lock was not given")

// SessionLock implements lock.SessionLocker.
func (advisory) SessionLock(ctx context.Context, c *sql.Conn) error {
	ctx, cancel := context.WithTimeoutCause(ctx, lockWithin, errLocked)
	defer cancel()
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_lock($1)", int64(migrationLock))
	if err != nil && errors.Is(context.Cause(ctx), errLocked) {
		return errLocked
	}
	return err
}

// SessionUnlock implements lock.SessionLocker.
func (advisory) SessionUnlock(ctx context.Context, c *sql.Conn) error {
	_, err := c.ExecContext(ctx, "SELECT pg_advisory_unlock($1)", int64(migrationLock))
	return err
}
