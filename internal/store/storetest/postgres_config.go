//go:build unix

package storetest

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/jackc/pgx/v5"
)

// access is who is let in by the socket.
const access = "local all " + owner + " trust\nlocal all all scram-sha-256\n"

// Config is what a test wants of a server beside the harness's own settings.
type Config struct {
	Settings string            // lines of postgresql.conf
	Access   string            // lines of pg_hba.conf, for who comes over TCP
	Files    map[string]string // by their names in the folder of the data, for the settings to name
}

// PostgresListening starts a server that belongs to the test alone and listens on TCP too,
// where it lets in whom the Config says.
func PostgresListening(tb testing.TB, c Config) *Server {
	tb.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0") //nolint:noctx // of this machine
	if err != nil {
		tb.Fatal(err)
	}
	host := l.Addr().String() // free, since nobody was faster
	if err = l.Close(); err != nil {
		tb.Fatal(err)
	}
	s, err := startServer(host, c)
	return own(tb, s, err)
}

// Host is where a server that listens does: 127.0.0.1:PORT.
func (s *Server) Host() string { return s.host }

// Set has the running server work by another Config, and ends all its connections. Files
// that the new one does not name stay.
func (s *Server) Set(tb testing.TB, c Config) {
	tb.Helper()
	if err := s.set(tb.Context(), c); err != nil {
		tb.Fatal(err)
	}
}

func (s *Server) set(ctx context.Context, c Config) error {
	if err := s.configure(c); err != nil {
		return err
	}
	const loaded = "SELECT extract(epoch FROM pg_conf_load_time())::text"
	before, err := s.ask(ctx, loaded)
	if err != nil {
		return err
	}
	if err = s.tell(ctx, "SELECT pg_reload_conf()"); err != nil {
		return err
	}
	// Who connects from then on is served by what was read.
	for now := before; now == before; {
		if now, err = s.ask(ctx, loaded); err != nil {
			return err
		}
	}
	return s.tell(ctx, "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()")
}

// configure writes what the server reads when it starts, or is told to.
func (s *Server) configure(c Config) error {
	files := map[string]string{
		"postgresql.auto.conf": fmt.Sprintf(settings, s.dir),
		"pg_hba.conf":          access + c.Access,
	}
	if s.host != "" {
		host, port, err := net.SplitHostPort(s.host)
		if err != nil {
			return err
		}
		files["postgresql.auto.conf"] += "listen_addresses = '" + host + "'\nport = " + port + "\n"
	}
	files["postgresql.auto.conf"] += c.Settings
	maps.Copy(files, c.Files)
	for name, text := range files {
		path := filepath.Join(s.dir, "data", name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			return err
		}
		if who := servant(); who != nil {
			if err := os.Chown(path, int(who.Uid), int(who.Gid)); err != nil {
				return err
			}
		}
	}
	return nil
}

// ask is what a query answers: one text.
func (s *Server) ask(ctx context.Context, query string) (text string, err error) {
	admin, err := pgx.Connect(ctx, s.url("postgres"))
	if err != nil {
		return "", err
	}
	err = admin.QueryRow(ctx, query).Scan(&text)
	return text, errors.Join(err, admin.Close(ctx))
}
