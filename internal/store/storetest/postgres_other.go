//go:build !unix

package storetest

import "testing"

// Postgres skips the test: the private server needs a Unix system.
func Postgres(tb testing.TB) string {
	tb.Helper()
	tb.Skip("the private PostgreSQL server needs a Unix system")
	return ""
}

// Server is a PostgreSQL server of a test's own.
type Server struct{}

// PostgresServer skips the test: the private server needs a Unix system.
func PostgresServer(tb testing.TB) *Server {
	tb.Helper()
	Postgres(tb)
	return nil
}

// Database is the url of a new, empty database on the server.
func (*Server) Database(tb testing.TB) string { return Postgres(tb) }

// Stop ends the server at once.
func (*Server) Stop(testing.TB) {}

// Start starts the server again.
func (*Server) Start(testing.TB) {}
