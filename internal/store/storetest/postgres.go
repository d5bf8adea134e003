//go:build unix

// Package storetest holds what every store must do, whatever the database, and a private
// PostgreSQL server to hold it against.
package storetest

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"
)

// owner is the role that may do everything, without a password. Any other role that a
// test creates needs one.
const owner = "keybridge"

// settings make a server fast that nobody's data depends on. A commit is in the
// system's memory before it is acknowledged, so Stop loses none.
const settings = `
listen_addresses = ''
unix_socket_directories = '%s'
fsync = off
full_page_writes = off
max_wal_size = 4GB
shared_buffers = 128MB
jit = off
`

// keeper runs a server as long as somebody holds its standard input open, so that none
// outlives its test process, however that ends. $1 is the folder of the programs, $2
// that of the data. A line on the standard input stops the server and keeps the data.
const keeper = `
"$1/pg_ctl" -D "$2/data" -l "$2/log" -s -w -t 60 start || { tail -n 20 "$2/log"; exit 1; }
echo ready
read -r keep
"$1/pg_ctl" -D "$2/data" -s -m immediate -w stop
[ -n "$keep" ] || rm -rf "$2"
`

//nolint:gochecknoglobals // one server for all tests of a process: starting one takes a second
var shared = sync.OnceValues(newServer)

// Postgres is the url of a new, empty database that belongs to the test, on a private
// server that all tests of the process share. Without PostgreSQL on the machine the
// test is skipped, or, with CI=true, fails.
func Postgres(tb testing.TB) string {
	tb.Helper()
	s, err := shared()
	need(tb, err)
	return s.database(tb)
}

// Server is a PostgreSQL server of a test's own, which it may stop and start.
type Server struct {
	bin, dir string
	host     string         // where it listens besides its socket; "" is nowhere
	keep     io.WriteCloser // the keeper's standard input; nil while the server is stopped
	process  *exec.Cmd
	made     int
	lock     sync.Mutex
}

// PostgresServer starts a server that belongs to the test alone: for outages.
func PostgresServer(tb testing.TB) *Server {
	tb.Helper()
	s, err := newServer()
	return own(tb, s, err)
}

func own(tb testing.TB, s *Server, err error) *Server {
	tb.Helper()
	need(tb, err)
	tb.Cleanup(func() {
		_ = s.end("") // it goes with its folder
		_ = os.RemoveAll(s.dir)
	})
	return s
}

// Database is the url of a new, empty database on the server.
func (s *Server) Database(tb testing.TB) string {
	tb.Helper()
	return s.database(tb)
}

// Stop ends the server at once, as a crash does: connections break, and new ones are
// refused until Start.
func (s *Server) Stop(tb testing.TB) {
	tb.Helper()
	if err := s.end("keep\n"); err != nil {
		tb.Fatal(err)
	}
}

// Start starts the server again, with all that was committed before.
func (s *Server) Start(tb testing.TB) {
	tb.Helper()
	if err := s.start(); err != nil {
		tb.Fatal(err)
	}
}

func need(tb testing.TB, err error) {
	tb.Helper()
	var missing *missingError
	switch {
	case errors.As(err, &missing) && os.Getenv("CI") != "true":
		tb.Skip(err)
	case err != nil:
		tb.Fatal(err)
	}
}

func newServer() (*Server, error) { return startServer("", Config{}) }

func startServer(host string, c Config) (*Server, error) {
	bin, err := programs()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "keybridge-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{bin: bin, dir: dir, host: host}
	if err = s.initialize(); err == nil {
		err = s.configure(c)
	}
	if err == nil {
		err = s.start()
	}
	if err != nil {
		_ = os.RemoveAll(dir)
		return nil, err
	}
	return s, nil
}

func (s *Server) initialize() error {
	if who := servant(); who != nil {
		if err := os.Chown(s.dir, int(who.Uid), int(who.Gid)); err != nil {
			return err
		}
		if !reachable(s.bin) {
			if err := s.adopt(); err != nil {
				return err
			}
		}
	}
	data := filepath.Join(s.dir, "data")
	out, err := s.command(filepath.Join(s.bin, "initdb"), "-D", data, "-U", owner, "-A", "trust", "-E", "UTF8", "--locale=C", "-N").CombinedOutput()
	if err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	return nil
}

// adopt copies the programs to where the user that runs them can reach them.
func (s *Server) adopt() error {
	usr := filepath.Join(s.bin, "..", "..", "..", "..")
	to := filepath.Join(s.dir, "usr")
	if out, err := exec.CommandContext(context.Background(), "cp", "-R", usr, to).CombinedOutput(); err != nil { //nolint:gosec // folders of our own
		return fmt.Errorf("copy %s: %w\n%s", usr, err, out)
	}
	inside, err := filepath.Rel(usr, s.bin)
	s.bin = filepath.Join(to, inside)
	return err
}

func (s *Server) start() error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.keep != nil {
		return nil
	}
	cmd := s.command("/bin/sh", "-c", keeper, "keeper", s.bin, s.dir)
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	says := bufio.NewReader(out)
	if first, _ := says.ReadString('\n'); first != "ready\n" {
		rest, _ := io.ReadAll(says)
		return fmt.Errorf("PostgreSQL does not start: %w\n%s%s", cmd.Wait(), first, rest)
	}
	s.keep, s.process = in, cmd
	return nil
}

func (s *Server) end(word string) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	if s.keep == nil {
		return nil
	}
	_, err := io.WriteString(s.keep, word)
	err = errors.Join(err, s.keep.Close(), s.process.Wait())
	s.keep = nil
	return err
}

func (s *Server) database(tb testing.TB) string {
	tb.Helper()
	s.lock.Lock()
	s.made++
	name := fmt.Sprintf("test_%d", s.made)
	s.lock.Unlock()
	if err := s.tell(tb.Context(), "CREATE DATABASE "+name); err != nil {
		tb.Fatal(err)
	}
	// A server that is stopped takes its databases along.
	tb.Cleanup(func() { _ = s.tell(context.Background(), "DROP DATABASE "+name+" WITH (FORCE)") })
	return s.url(name)
}

func (s *Server) tell(ctx context.Context, statement string) error {
	admin, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return err
	}
	_, err = admin.Exec(ctx, statement)
	return errors.Join(err, admin.Close(ctx))
}

func (s *Server) url(database string) string {
	at := url.Values{"host": {s.dir}}
	if _, port, err := net.SplitHostPort(s.host); err == nil {
		at.Set("port", port) // the socket is named after it
	}
	u := url.URL{Scheme: "postgres", User: url.User(owner), Path: "/" + database, RawQuery: at.Encode()}
	return u.String()
}

// command runs a program in the folder of the data, in a session of its own: an
// interrupt from the terminal is the test's business.
func (s *Server) command(program string, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(context.Background(), program, args...) //nolint:gosec // programs that were found, arguments of our own
	cmd.Dir = s.dir
	// Fetched programs have brought their libraries along.
	libs, _ := filepath.Glob(filepath.Join(s.bin, "..", "..", "..", "*-linux-*"))
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=GMT"}
	if !strings.HasPrefix(s.bin, "/usr/") {
		cmd.Env = append(cmd.Env, "LD_LIBRARY_PATH="+strings.Join(libs, ":"))
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if who := servant(); who != nil {
		cmd.SysProcAttr.Credential = who
	}
	return cmd
}

// servant is who runs the server if we are root, whom it refuses; nil if we are not.
func servant() *syscall.Credential {
	if os.Geteuid() != 0 {
		return nil
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		nobody = &user.User{Uid: "65534", Gid: "65534"}
	}
	uid, _ := strconv.ParseUint(nobody.Uid, 10, 32)
	gid, _ := strconv.ParseUint(nobody.Gid, 10, 32)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// reachable reports whether anybody may enter a folder.
func reachable(dir string) bool {
	for ; ; dir = filepath.Dir(dir) {
		info, err := os.Stat(dir)
		if err != nil || info.Mode()&0o001 == 0 {
			return false
		}
		if dir == filepath.Dir(dir) {
			return true
		}
	}
}

type missingError struct{}

func (*missingError) Error() string {
	return "PostgreSQL is missing: install Debian's package postgresql, or run test/fetch-postgres"
}

// programs is the folder with PostgreSQL's programs: those on the PATH, Debian's, or
// those that test/fetch-postgres has fetched.
func programs() (string, error) {
	var folders []string
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			folders = append(folders, filepath.Dir(path))
		}
	}
	patterns := []string{"/usr/lib/postgresql/*/bin"}
	if root, err := moduleRoot(); err == nil {
		patterns = append(patterns, filepath.Join(root, ".bin/postgresql/usr/lib/postgresql/*/bin"))
	}
	for _, pattern := range patterns {
		found, _ := filepath.Glob(pattern)
		slices.Reverse(found) // the newest first
		folders = append(folders, found...)
	}
	for _, dir := range folders {
		complete := !slices.ContainsFunc([]string{"postgres", "initdb", "pg_ctl"}, func(program string) bool {
			_, err := os.Stat(filepath.Join(dir, program))
			return err != nil
		})
		if complete {
			return dir, nil
		}
	}
	return "", &missingError{}
}

func moduleRoot() (string, error) {
	dir, err := os.Getwd()
	for err == nil && dir != filepath.Dir(dir) {
		if _, missing := os.Stat(filepath.Join(dir, "go.mod")); missing == nil {
			return dir, nil
		}
		dir = filepath.Dir(dir)
	}
	return "", errors.Join(err, os.ErrNotExist)
}
