package config

import (
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/jackc/pgx/v5"

	"keybridge/internal/pgaddress"
	"keybridge/internal/secret"
)

// Store says where the record is kept.
type Store struct {
	Kind   StoreKind
	Path   string       // of SQLite's file, absolute
	URL    secret.Value // of the PostgreSQL database; it may hold a password
	Source string       // what is written for it, a password masked
}

// StoreKind is the kind of a store.
type StoreKind string

// The kinds of store.
const (
	Unplaced StoreKind = ""     // nothing is configured, and there is no place for the default
	NoStore  StoreKind = "none" // nothing is to be recorded
	SQLite   StoreKind = "sqlite"
	Postgres StoreKind = "postgres"
)

const (
	storeName     = "keybridge.db"
	storeVariable = "KEYBRIDGE_STORE"
	sqliteScheme  = "sqlite:"
	passwordMask  = "***"

	storeForm  = `^(none|sqlite:([^/:].*|/([^/].*)?|///.*)|postgres(ql)?://.*|env:[A-Za-z0-9_]+|file:.+)$`
	maskedForm = `^postgres(ql)?://([^:/?#]*:\*\*\*@|.*[?&](ssl)?password=\*\*\*(&|$))`

	notStore = "is no store: write sqlite:PATH, postgres://USER:PASSWORD@HOST/DATABASE or none, or a reference to such a text (env:NAME, file:PATH)" //nolint:gosec // a pattern
	notPath  = "is no path: write sqlite:PATH, like sqlite:/var/lib/keybridge/keybridge.db; a relative one starts at this file's directory"
	notURL   = "is no URL of a database: write postgres://USER:PASSWORD@HOST/DATABASE, in the password %40 for @, %3A for :, %2F for /, %3F for ?, %23 for # and %25 for %" //nolint:gosec // a pattern
)

// defaultStore is a file beside the others that must outlive the gateway.
func defaultStore(dataDir string) Store {
	if dataDir == "" {
		return Store{}
	}
	path := filepath.Join(dataDir, storeName)
	return Store{Kind: SQLite, Path: path, Source: sqliteScheme + path}
}

func (d *decoder) store(s *Store) setting {
	about := &schema{
		Title: "Store", Type: "string", Pattern: withLineEnd(storeForm), Not: &schema{Pattern: maskedForm},
		Examples: []string{"sqlite:PATH", "postgres://USER@HOST/DATABASE", "env:NAME", "file:PATH", "none"},
	}
	return setting{schema: about, read: func(n ast.Node, at string) {
		if _, ok := tight(n); ok || strings.HasPrefix(scalar(n), "env:") || strings.HasPrefix(scalar(n), "file:") {
			if v, source := d.resolved(n, at, secret.ResolveText); !v.IsZero() {
				*s = d.storeOf(at, v.Reveal())
				s.Source = source
			}
			return
		}
		if text, ok := d.str(n, at); ok {
			*s = d.storeOf(at, text)
		}
	}}
}

// storeOf understands the text of a store. No problem quotes it: a password may be in it.
func (d *decoder) storeOf(at, text string) Store {
	path, isSQLite := strings.CutPrefix(text, sqliteScheme)
	switch {
	case text == string(NoStore):
		return Store{Kind: NoStore, Source: text}
	case isSQLite && (path == "" || path[0] == ':' || strings.HasPrefix(path, "//") && !strings.HasPrefix(path, "///")):
		d.report(at, "%s", notPath)
	case isSQLite:
		path = d.path(path)
		return Store{Kind: SQLite, Path: path, Source: sqliteScheme + path}
	case !strings.HasPrefix(text, "postgres://") && !strings.HasPrefix(text, "postgresql://"):
		d.report(at, "%s", notStore)
	default:
		if problem := databaseURL(text); problem != "" {
			d.report(at, "%s", problem)
			break
		}
		return Store{Kind: Postgres, URL: secret.New(text), Source: masked(text)}
	}
	return Store{}
}

// databaseURL says what is wrong with the address of a database, if anything is. Signs
// that belong to a password which was not encoded must not end up elsewhere, where they
// would be shown.
func databaseURL(s string) string {
	u, err := url.Parse(s)
	if err != nil || strings.Contains(s, "#") || strings.Contains(u.Path+u.RawQuery, "@") {
		return notURL
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || slices.ContainsFunc(strings.Split(u.RawQuery, "&"), func(s string) bool { return s != "" && !strings.Contains(s, "=") }) {
		return notURL
	}
	if _, err = strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && err != nil || strings.HasSuffix(u.Host, ":") {
		return "has no usable port: write a number up to 65535, or leave it out with its colon"
	}
	password, _ := u.User.Password()
	if slices.Contains(slices.Concat(query["password"], query["sslpassword"], []string{password}), passwordMask) {
		return "holds a masked password: write the password itself in the place of ***, or env:NAME for the whole text"
	}
	c, err := pgx.ParseConfig(s)
	switch {
	case err != nil:
		return refusedAddress(s)
	case c.Database == "":
		return "names no database: write postgres://USER:PASSWORD@HOST/DATABASE"
	}
	return ""
}

// settingHints are what to write for the settings of an address that are often wrong.
//
//nolint:gochecknoglobals // a constant table
var settingHints = map[string]string{
	pgaddress.Unnamed: "it is not named, for it may be a part of a password: in every value write %26 for &, %3D for = and %20 for a space",
	"sslmode":         "write disable, allow, prefer, require, verify-ca or verify-full",
	"connect_timeout": "write a number of seconds",
	"sslrootcert":     "write the path of a file in PEM format",
	"sslcert":         "write the paths of a certificate and its key, both in PEM format",
	"sslkey":          "write the paths of a certificate and its key, both in PEM format",
}

// refusedAddress says why the driver does not take an address.
func refusedAddress(address string) string {
	r := pgaddress.Refused(address)
	switch {
	case r.File != nil:
		return "has a setting " + r.Settings[0] + " with a file that cannot be read: " + r.File.Err.Error()
	case len(r.Settings) == 0:
		return "is not taken by PostgreSQL's driver, with the PG… variables that are set: look at its hosts and ports, and at those variables"
	}
	hint := settingHints[r.Settings[0]]
	if hint == "" {
		hint = "PostgreSQL's manual says what it may be"
	}
	return "has a setting that cannot be (" + strings.Join(r.Settings, ", ") + "): " + hint
}

// masked is the address of a database without its passwords, the other bytes as they are.
func masked(s string) string {
	scheme, rest, _ := strings.Cut(s, "://")
	end := strings.IndexAny(rest, "/?")
	if end < 0 {
		end = len(rest)
	}
	authority, rest := rest[:end], rest[end:]
	if at := strings.LastIndexByte(authority, '@'); at >= 0 {
		if user, _, has := strings.Cut(authority[:at], ":"); has {
			authority = user + ":" + passwordMask + authority[at:]
		}
	}
	path, query, asks := strings.Cut(rest, "?")
	if asks {
		settings := strings.Split(query, "&")
		for i, setting := range settings {
			name, _, _ := strings.Cut(setting, "=")
			if plain, _ := url.QueryUnescape(name); plain == "password" || plain == "sslpassword" {
				settings[i] = plain + "=" + passwordMask
			}
		}
		path += "?" + strings.Join(settings, "&")
	}
	return scheme + "://" + authority + path
}
