package postgres_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/url"
	"strings"
	"sync"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"keybridge/internal/store"
	"keybridge/internal/store/storetest"
)

// path leads to a server, and can break.
type path struct {
	mu    sync.Mutex
	conns []net.Conn
}

// lay returns the address of a database by way of a path.
func lay(t *testing.T, address string) (*path, string) {
	t.Helper()
	config, err := pgx.ParseConfig(address)
	if err != nil {
		t.Fatal(err)
	}
	network, server := pgconn.NetworkAddress(config.Host, config.Port)
	p := &path{}
	near := listen(t, func(c net.Conn) {
		var d net.Dialer
		far, err := d.DialContext(context.Background(), network, server)
		if err != nil {
			return
		}
		p.mu.Lock()
		p.conns = append(p.conns, c)
		p.mu.Unlock()
		go func() {
			defer c.Close()
			io.Copy(c, far)
		}()
		io.Copy(far, c)
		far.Close()
	})
	t.Cleanup(func() { p.cut(t, false) })
	return p, as(t, address, func(u *url.URL) { u.Host, u.RawQuery = near, "" })
}

// cut ends all connections, the rude way or as one that says goodbye. New ones may come.
func (p *path) cut(t *testing.T, rude bool) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.conns {
		if tcp, ok := c.(*net.TCPConn); ok && rude {
			tcp.SetLinger(0)
		}
		c.Close()
	}
	p.conns = nil
}

// hold locks a table in a transaction, which release ends. Wait returns when somebody
// waits for it.
func hold(t *testing.T, address, table string, more ...string) (wait func(), release func(how string)) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close(context.Background()) })
	exec := func(statement string) {
		t.Helper()
		if _, err := c.Exec(t.Context(), statement); err != nil {
			t.Fatal(err)
		}
	}
	exec("BEGIN; LOCK TABLE " + table + " IN ACCESS EXCLUSIVE MODE")
	for _, statement := range more {
		exec(statement)
	}
	wait = func() {
		t.Helper()
		for n := 0; n == 0; {
			if err := c.QueryRow(t.Context(), "SELECT COUNT(*) FROM pg_locks WHERE NOT granted AND relation = $1::regclass", table).Scan(&n); err != nil {
				t.Fatal(err)
			}
		}
	}
	return wait, exec
}

// A connection that breaks in the middle of a statement: what is written is written by
// another one, a reader is told. It all goes on at once.
func TestConnectionBreaks(t *testing.T) {
	for _, rude := range []bool{false, true} {
		t.Run(fmt.Sprintf("rude=%t", rude), func(t *testing.T) {
			direct := storetest.Postgres(t)
			p, address := lay(t, direct)
			s := open(t, address)
			list := exchanges(1, 20)
			if err := s.Write(t.Context(), nil, list[:10]); err != nil {
				t.Fatal(err)
			}

			wait, release := hold(t, direct, "turns")
			written := make(chan error)
			go func() { written <- s.Write(t.Context(), nil, list[10:]) }()
			wait()
			p.cut(t, rude)
			release("ROLLBACK")
			if err := <-written; err != nil {
				t.Errorf("a writer: %v", err)
			}

			wait, release = hold(t, direct, "interceptions")
			read := make(chan error)
			go func() {
				_, err := s.Interception(t.Context(), list[0].ID)
				read <- err
			}()
			wait()
			p.cut(t, rude)
			if err := <-read; store.KindOf(err) != store.Unreachable || !strings.Contains(err.Error(), "the connection is broken: look whether the server is up") {
				t.Errorf("a reader: %v", err)
			}
			release("ROLLBACK")
			if d := gocmp.Diff(sum(list), total(t, s)); d != "" {
				t.Error(d)
			}
		})
	}
}

// Connections that break while nobody uses them are nobody's trouble.
func TestIdleConnectionBreaks(t *testing.T) {
	for _, rude := range []bool{false, true} {
		t.Run(fmt.Sprintf("rude=%t", rude), func(t *testing.T) {
			p, address := lay(t, storetest.Postgres(t))
			s := open(t, address)
			list := exchanges(1, 40)
			for i := range 4 {
				if err := s.Write(t.Context(), nil, list[10*i:10*i+10]); err != nil {
					t.Fatalf("a writer, after %d: %v", i, err)
				}
				if _, err := s.Interception(t.Context(), list[0].ID); err != nil {
					t.Fatalf("a reader, after %d: %v", i, err)
				}
				p.cut(t, rude)
			}
			if d := gocmp.Diff(sum(list), total(t, s)); d != "" {
				t.Error(d)
			}
		})
	}
}

// What an answer is read from by several statements belongs to one moment, whatever is
// deleted between them.
func TestReadsOneMoment(t *testing.T) {
	address := storetest.Postgres(t)
	s := open(t, address)
	list := exchanges(1, 1)
	if err := s.Write(t.Context(), nil, list); err != nil {
		t.Fatal(err)
	}
	want, err := s.Interception(t.Context(), list[0].ID)
	if err != nil {
		t.Fatal(err)
	}
	if len(want.Turns) == 0 {
		t.Fatal("no turns to delete")
	}
	wait, release := hold(t, address, "attempts", "DELETE FROM turns")
	var got *store.Whole
	read := make(chan error)
	go func() {
		var err error
		got, err = s.Interception(t.Context(), list[0].ID)
		read <- err
	}()
	wait()
	release("COMMIT")
	if err := <-read; err != nil {
		t.Fatal(err)
	}
	if d := gocmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}
