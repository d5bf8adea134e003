//go:build !unix

package storetest

import "testing"

// Postgres skips the test: the private server needs a Unix system.
func Postgres(tb testing.TB) string {
	tb.Helper()
	tb.Skip("the private PostgreSQL server needs a Unix system")
	return ""
}

// Config is what a test wants of a server beside the harness's own settings.
type Config struct {
	Settings string            // lines of postgresql.conf
	Access   string            // lines of pg_hba.conf, for who comes over TCP
	Files    map[string]string // by their names in the folder of the data, for the settings to name
}

// Server is a PostgreSQL server of a test's own.
type Server struct{}

// PostgresServer skips the test: the private server needs a Unix system.
func PostgresServer(tb testing.TB) *Server {
	tb.Helper()
	Postgres(tb)
	return nil
}

// PostgresListening skips the test.
func PostgresListening(tb testing.TB, _ Config) *Server { return PostgresServer(tb) }

// Host is where a server that listens does.
func (*Server) Host() string { return "" }

// Set has the server work by another Config.
func (*Server) Set(testing.TB, Config) {}

// Database is the url of a new, empty database on the server.
func (*Server) Database(tb testing.TB) string { return Postgres(tb) }

// Stop ends the server at once.
func (*Server) Stop(testing.TB) {}

// Start starts the server again.
func (*Server) Start(testing.TB) {}
