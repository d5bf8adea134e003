// Package sqlite keeps the record in a SQLite file, which belongs to one gateway.
package sqlite

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/pressly/goose/v3"
	_ "modernc.org/sqlite" // the driver

	"keybridge/internal/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

const (
	busyFor     = 3 * time.Second // for somebody who works on the file by hand; the recorder gives a write more, to hear why it failed
	mostReaders = 4
	readerCache = 8 << 10 // KiB

	// Measured with BenchmarkWrite: 64 rows are no better than 32, pages of 2 and 8 KiB cost
	// a tenth more, a cache of 8 MiB too, one of 128 MiB saves nothing.
	rowsAtOnce  = 32
	pageSize    = 4096
	writerCache = 32 << 10 // KiB

	checkpoint = 4000        // pages of the log, until they are put in their places
	mostLog    = 64 << 20    // bytes that the log keeps when it is empty
	aside      = ".corrupt-" // files that were set aside, by when
	asideTime  = "20060102T150405.000Z"

	checkedSize = 16 << 20 // a file up to this is checked whole when it is opened: a quarter of a second
)

// Options are how the file is used.
type Options struct {
	store.Options

	// Logger is told when a damaged file is set aside, and when another one has taken the
	// file's place.
	Logger *slog.Logger
}

// Open opens the record in the file at a path, which is made if it is not there, readable
// by its owner only. A file that is damaged is set aside, with its logs, and a new one
// begun. An error is a *store.Error.
func Open(ctx context.Context, path string, o Options) (*store.Store, error) {
	f := &file{path: path, log: o.Logger}
	var err error
	if f.path, err = filepath.Abs(path); err != nil {
		return nil, f.explain(err)
	}
	e, err := f.engine()
	if err != nil {
		return nil, err
	}
	return store.Open(ctx, e, o.Options)
}

func (f *file) engine() (*store.Engine, error) {
	tables, err := fs.Sub(migrations, "migrations")
	return &store.Engine{
		Place: f.path, Rows: rowsAtOnce, Alone: true, Begin: "BEGIN IMMEDIATE",
		Shred: "PRAGMA secure_delete = ON", Unshred: "PRAGMA secure_delete = OFF", Wipe: f.wipe,
		Migrations: tables, Dialect: goose.DialectSQLite3,
		Open: f.open, Explain: f.explain, Expire: f.expire, Retry: func(error) bool { return false },
	}, err
}

// file is the database's.
type file struct {
	path    string
	log     *slog.Logger
	suspect bool // a read or a write has found it damaged
	lost    bool // it was found deleted or replaced
}

// open opens the file, once nobody else has it.
func (f *file) open(ctx context.Context) (*store.Database, error) {
	if err := os.MkdirAll(filepath.Dir(f.path), 0o700); err != nil {
		return nil, err
	}
	if err := f.ours(); err != nil {
		return nil, err
	}
	lock, err := lockFile(f.path + ".lock")
	if err != nil {
		return nil, err
	}
	db, err := f.connect(ctx)
	if damaged(err) {
		if err = f.setAside(err); err == nil {
			db, err = f.connect(ctx)
		}
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	if f.lost && f.log != nil {
		f.log.LogAttrs(ctx, slog.LevelWarn, "the record's file was deleted or replaced: what was in it is no longer shown, what comes goes to the file that is there now",
			slog.String("file", f.path))
	}
	f.suspect, f.lost = false, false
	db.Close = lock.Close
	return db, nil
}

// ours says what is wrong with a file that was never a database: nobody wants it set aside.
func (f *file) ours() error {
	if _, err := os.Stat(f.path + ".lock"); err == nil {
		return nil // a gateway has had it
	}
	there, err := os.Open(f.path)
	if err != nil {
		return nil // who opens it to write says what is wrong
	}
	defer there.Close() //nolint:errcheck // it was only read
	const begin = "SQLite format 3\x00"
	head := make([]byte, len(begin))
	if n, err := io.ReadFull(there, head); err == nil && string(head) != begin || err != nil && n > 0 {
		return errForeign
	}
	return nil
}

// connect opens the connections and looks whether the file is sound.
func (f *file) connect(ctx context.Context) (*store.Database, error) {
	about, err := f.make()
	if err != nil {
		return nil, err
	}
	write, err := dial(f.path, "page_size("+strconv.Itoa(pageSize)+")", "journal_mode(WAL)", "synchronous(NORMAL)",
		"cache_size(-"+strconv.Itoa(writerCache)+")", "wal_autocheckpoint("+strconv.Itoa(checkpoint)+")",
		"journal_size_limit("+strconv.Itoa(mostLog)+")")
	if err != nil {
		return nil, err
	}
	write.SetMaxOpenConns(1)
	read, err := dial(f.path, "query_only(1)", "cache_size(-"+strconv.Itoa(readerCache)+")")
	if err == nil {
		err = f.check(ctx, write, about.Size())
	}
	if err != nil {
		return nil, errors.Join(err, write.Close())
	}
	read.SetMaxOpenConns(mostReaders)
	read.SetMaxIdleConns(mostReaders)
	return &store.Database{Write: write, Read: read, Gone: f.gone, Check: func() error { return f.same(about) }}, nil
}

// make makes the file, unless it is there: then it is not opened either, since a file's
// locks go with any of its closes, and somebody may be reading it still.
func (f *file) make() (fs.FileInfo, error) {
	about, err := os.Stat(f.path)
	if err == nil {
		return about, writable(f.path)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	made, err := os.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return nil, err
	}
	about, err = made.Stat()
	return about, errors.Join(err, made.Close())
}

// dial makes connections to the file with pragmas; none is made yet.
func dial(path string, pragmas ...string) (*sql.DB, error) {
	q := url.Values{"mode": {"rw"}, "_defensive": {"1"}, "_dqs": {"0"}, "_error_rc": {"1"}}
	q["_pragma"] = append([]string{
		"busy_timeout(" + strconv.FormatInt(busyFor.Milliseconds(), 10) + ")", "temp_store(MEMORY)", "trusted_schema(0)",
	}, pragmas...)
	return sql.Open("sqlite", (&url.URL{Scheme: "file", OmitHost: true, Path: path, RawQuery: q.Encode()}).String())
}

// check finds damage: in the whole of a small file, and where it begins in a large one,
// which is taken for damaged if it is under suspicion.
func (f *file) check(ctx context.Context, db *sql.DB, size int64) error {
	small := size <= checkedSize
	if f.suspect && !small {
		return &damageError{"it was found damaged while it was in use"}
	}
	look := "PRAGMA schema_version"
	if small {
		look = "PRAGMA quick_check(1)"
	}
	var said string
	if err := db.QueryRowContext(ctx, look).Scan(&said); err != nil {
		return err
	}
	if small && said != "ok" {
		return &damageError{said}
	}
	return nil
}

// same looks whether the file at the path is still the one that is open.
func (f *file) same(opened fs.FileInfo) error {
	now, err := os.Stat(f.path)
	if err == nil && !os.SameFile(opened, now) {
		err = errReplaced
	}
	f.lost = errors.Is(err, errReplaced) || errors.Is(err, fs.ErrNotExist)
	return err
}

// wipe empties the log, which has the pages as they were before something was deleted.
func (f *file) wipe(ctx context.Context, conn *sql.Conn) error {
	var busy, pages, moved int64
	if err := conn.QueryRowContext(ctx, "PRAGMA wal_checkpoint(TRUNCATE)").Scan(&busy, &pages, &moved); err != nil {
		return err
	}
	if busy != 0 {
		return &store.Error{
			Kind: store.Locked, Place: f.path, Text: "what was deleted can still be read in its log, the file with -wal",
			Do: "end what reads the file, such as an export or a backup",
		}
	}
	return nil
}

// setAside keeps a damaged file under another name.
func (f *file) setAside(why error) error {
	to := f.path + aside + time.Now().UTC().Format(asideTime)
	for _, part := range []string{"-wal", "-shm", ""} {
		if err := os.Rename(f.path+part, to+part); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if f.log != nil {
		f.log.LogAttrs(context.Background(), slog.LevelWarn, "the record's file is damaged: it is set aside, and a new one begun",
			slog.String("file", f.path), slog.String("as", to), slog.String("because", why.Error()),
			slog.String("do", "what can be saved of it: sqlite3 "+to+" .recover"))
	}
	return nil
}

// expire removes what was set aside until a time: all that is in it is older.
func (f *file) expire(until time.Time) error {
	dir, name := filepath.Split(f.path)
	list, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	var failed []error
	for _, one := range list {
		when, ours := strings.CutPrefix(one.Name(), name+aside)
		when, _, _ = strings.Cut(when, "-") // its logs
		if at, err := time.Parse(asideTime, when); ours && err == nil && at.Before(until) && one.Type().IsRegular() {
			failed = append(failed, os.Remove(filepath.Join(dir, one.Name())))
		}
	}
	return errors.Join(failed...)
}
