package postgres_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/storetest"
)

func open(t *testing.T, address string) *store.Store {
	t.Helper()
	s, err := postgres.Open(t.Context(), address, store.Options{Instance: t.Name()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// run runs statements by hand, as the owner of the server.
func run(t *testing.T, address string, statements ...string) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	for _, s := range statements {
		if _, err := c.Exec(t.Context(), s); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}

// as is an address for another user, database or parameters.
func as(t *testing.T, address string, change func(*url.URL)) string {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	change(u)
	return u.String()
}

func exchanges(seed uint64, n int) []*ledger.Exchange {
	traffic := storetest.NewTraffic(seed, n)
	traffic.Sessions, traffic.Callers, traffic.Span = 10, 3, 3*time.Hour
	var list []*ledger.Exchange
	for e := traffic.Next(); e != nil; e = traffic.Next() {
		list = append(list, e)
	}
	return list
}

func total(t *testing.T, s *store.Store) store.Sum {
	t.Helper()
	used, err := s.Usage(t.Context(), store.Filter{}, nil, store.Altogether)
	if err != nil {
		t.Fatal(err)
	}
	if len(used) == 0 {
		return store.Sum{}
	}
	return used[0].Sum
}

func sum(lists ...[]*ledger.Exchange) (s store.Sum) {
	for _, list := range lists {
		for _, e := range list {
			s.Requests++
			s.Usage = s.Usage.Add(e.Usage())
			for _, c := range e.Charges {
				s.Picos += c.Picos
				s.Unpriced += c.Unpriced
			}
		}
	}
	return s
}

const password = "s3cret/w0rd"

// Each trouble has its kind and words that help; none shows the password.
func TestOpenFails(t *testing.T) {
	address := storetest.Postgres(t)
	database := mustParse(t, address).Path[1:]
	run(t, address,
		"CREATE ROLE "+database+"_guest LOGIN PASSWORD '"+password+"'",
		"CREATE DATABASE "+database+"_latin TEMPLATE template0 ENCODING 'LATIN1' LC_COLLATE 'C' LC_CTYPE 'C'")
	guest := func(secret, name string) string {
		return as(t, address, func(u *url.URL) { u.User, u.Path = url.UserPassword(database+"_guest", secret), "/"+name })
	}
	with := func(setting, value string) string {
		return as(t, address, func(u *url.URL) {
			q := u.Query()
			q.Set(setting, value)
			u.RawQuery = q.Encode()
		})
	}
	silent := listen(t, func(c net.Conn) { <-t.Context().Done() })
	babbling := listen(t, func(c net.Conn) { c.Write([]byte("HTTP/1.1 400 Bad Request\r\n\r\n")) })
	tests := []struct {
		name, address string
		kind          store.Kind
		says          string
	}{
		{"a wrong password", guest("wrong "+password, database), store.Denied, "does not accept the user " + database + "_guest or the password"},
		{"no password", as(t, address, func(u *url.URL) { u.User = url.User(database + "_guest") }), store.Denied, "does not accept"},
		{"no such user", as(t, address, func(u *url.URL) { u.User = url.UserPassword("stranger", password) }), store.Denied, "the user stranger"},
		{"no such database", guest(password, "nothing"), store.Unreachable, "CREATE DATABASE nothing"},
		{"no rights", guest(password, database), store.Denied, "ALTER DATABASE " + database + " OWNER TO " + database + "_guest"},
		{"another encoding", as(t, address, func(u *url.URL) { u.Path += "_latin" }), store.Denied, "ENCODING 'UTF8'"},
		{"nobody there", "postgres://u:" + url.QueryEscape(password) + "@127.0.0.1:1/db", store.Unreachable, "the PostgreSQL database db at 127.0.0.1:1: the server cannot be reached"},
		{"no such host", "postgres://u:" + url.QueryEscape(password) + "@nowhere.invalid/db", store.Unreachable, "cannot be reached"},
		{"silence", "postgres://u:" + url.QueryEscape(password) + "@" + silent + "/db?connect_timeout=1", store.Unreachable, "cannot be reached"},
		{"another protocol", "postgres://u:" + url.QueryEscape(password) + "@" + babbling + "/db?sslmode=disable", store.Unreachable, "cannot be reached"},
		{"TLS where there is none", "postgres://u:" + url.QueryEscape(password) + "@" + babbling + "/db?sslmode=require", store.Denied, "the server offers no TLS, and sslmode asks for it"},
		{"no database", "postgres://u:" + url.QueryEscape(password) + "@h:5432", store.Denied, "its address names no database: write postgres://USER:PASSWORD@HOST/DATABASE"},
		{"not an address", "postgres://u:" + password + "@[::1/db", store.Denied, "cannot be understood"},
		{"a bad parameter", "postgres://u:" + url.QueryEscape(password) + "@h/db?sslmode=perhaps", store.Denied, "its setting sslmode cannot be understood"},
		{"a bad number", "postgres://u:" + url.QueryEscape(password) + "@h/db?sslmode=disable&connect_timeout=abc", store.Denied, "its setting connect_timeout cannot"},
		{"parameters that exclude each other", "postgres://u@h/db?password=" + url.QueryEscape(password) + "&min_protocol_version=3.2&max_protocol_version=3.0", store.Denied, "its settings min_protocol_version, max_protocol_version cannot be understood together"},
		{"a password that is not encoded", "postgres://u@h/db?password=a&" + password + "==", store.Denied, "its setting *** cannot be understood"},
		{"a bad port", "postgres://u:" + url.QueryEscape(password) + "@h:0/db?sslmode=disable", store.Denied, "its address cannot be understood: write postgres://USER:PASSWORD@HOST/DATABASE"},
		{"a missing certificate", "postgres://u:" + url.QueryEscape(password) + "@h/db?sslmode=verify-full&sslrootcert=/nowhere", store.Denied, "the file /nowhere of its setting sslrootcert cannot be read: no such file"},
		{"a missing key", "postgres://u:" + url.QueryEscape(password) + "@h/db?sslmode=require&sslcert=/nothing&sslkey=/nowhere", store.Denied, "the file /nowhere of its setting sslkey cannot be read"},
		{"a setting that there is not", with("nonsense", "1"), store.Denied, "does not accept a setting of the address: look at what is behind its ?"},
		{"a setting's value that cannot be", with("statement_timeout", "soon"), store.Denied, "look at what is behind its ?"},
		{"a setting of the server's own", with("max_connections", "7"), store.Denied, "look at what is behind its ?"},
		{"a schema that there is not", with("search_path", "nowhere"), store.Denied, "there is no schema to make the tables in"},
		{"read only", with("default_transaction_read_only", "on"), store.ReadOnly, "may only be read"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s, err := postgres.Open(t.Context(), tt.address, store.Options{})
			if err == nil {
				s.Close()
				t.Fatal("it opens")
			}
			text := fmt.Sprintf("%v %+v", err, err)
			if store.KindOf(err) != tt.kind || !strings.Contains(text, tt.says) {
				t.Errorf("%s: %v, want %s, %q", store.KindOf(err), err, tt.kind, tt.says)
			}
			if strings.Contains(text, password) || strings.Contains(text, url.QueryEscape(password)) || strings.Contains(text, "\n") {
				t.Errorf("shows the password, or takes several lines: %s", text)
			}
		})
	}
}

func mustParse(t *testing.T, address string) *url.URL {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// listen serves each connection until serve returns.
func listen(t *testing.T, serve func(net.Conn)) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				serve(c)
				c.Close()
			}()
		}
	}()
	return l.Addr().String()
}

// What the server says while it serves: raised by a trigger in the place of the real thing.
func TestWriteFails(t *testing.T) {
	tests := []struct {
		code string
		kind store.Kind
		says string
	}{
		{"53100", store.Full, "the server's disk is full: make room there"},
		{"25006", store.ReadOnly, "may only be read"},
		{"42501", store.Denied, "may not do that"},
		{"55P03", store.Locked, "another session holds"},
		{"57014", store.Timeout, "statement_timeout"},
		{"22P05", store.Content, "does not take"},
		{"23514", store.Content, "does not take"},
		{"54000", store.Content, "does not take"},
		{"42P01", store.Other, "not as they were made"},
		{"XX001", store.Corrupt, "damaged"},
		{"P0001", store.Other, "reports a problem"},
		{"40001", store.Other, "reports a problem"}, // if it loses again and again
	}
	address := storetest.Postgres(t)
	s := open(t, address)
	var list []*ledger.Exchange
	for i, tt := range tests {
		t.Run(tt.code, func(t *testing.T) {
			run(t, address,
				"CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '"+tt.code+"'; END $$",
				"CREATE TRIGGER refuse BEFORE INSERT ON turns EXECUTE FUNCTION refuse()")
			more := exchanges(uint64(i)+100, 2)
			err := s.Write(t.Context(), nil, more)
			if store.KindOf(err) != tt.kind || !strings.Contains(fmt.Sprint(err), tt.says) {
				t.Errorf("%s: %v", store.KindOf(err), err)
			}
			run(t, address, "DROP TRIGGER refuse ON turns")
			if got := total(t, s); got.Requests != int64(len(list)) {
				t.Errorf("half written: %+v", got)
			}
			if err := s.Write(t.Context(), nil, more); err != nil {
				t.Errorf("when its cause is gone: %v", err)
			}
			list = append(list, more...)
		})
	}
}

// A transaction that lost against another is tried again, unseen.
func TestWriteTriesAgain(t *testing.T) {
	for _, code := range []string{"40001", "40P01"} {
		t.Run(code, func(t *testing.T) {
			address := storetest.Postgres(t)
			s := open(t, address)
			run(t, address, "CREATE SEQUENCE losses",
				"CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF nextval('losses') < 3 THEN RAISE EXCEPTION 'lost' USING ERRCODE = '"+code+"'; END IF; RETURN NEW; END $$",
				"CREATE TRIGGER lose BEFORE INSERT ON usage_hours EXECUTE FUNCTION lose()")
			list := exchanges(1, 20)
			if err := s.Write(t.Context(), nil, list); err != nil {
				t.Fatal(err)
			}
			if d := gocmp.Diff(sum(list), total(t, s)); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestNewerDatabase(t *testing.T) {
	address := storetest.Postgres(t)
	open(t, address).Close()
	run(t, address, "INSERT INTO migrations (version_id, is_applied) VALUES (9999, true)")
	_, err := postgres.Open(t.Context(), address, store.Options{})
	if store.KindOf(err) != store.Newer || !strings.Contains(fmt.Sprint(err), "9999") {
		t.Error(err)
	}
}

// The server goes away in the middle, as in a crash, and comes back: what was not written
// is said to be not written, and can be written then.
func TestOutage(t *testing.T) {
	server := storetest.PostgresServer(t)
	s := open(t, server.Database(t))
	list := exchanges(1, 60)
	write := func(from, to int) error { return s.Write(t.Context(), nil, list[from:to]) }
	if err := write(0, 20); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
	for range 2 {
		if err := write(20, 40); store.KindOf(err) != store.Unreachable {
			t.Errorf("while it is down: %v", err)
		}
		if _, err := s.Interception(t.Context(), list[0].ID); store.KindOf(err) != store.Unreachable {
			t.Errorf("a reader, while it is down: %v", err)
		}
	}
	server.Start(t)
	if _, err := s.Interception(t.Context(), list[0].ID); err != nil {
		t.Errorf("a reader, when it is up: %v", err)
	}
	if err := write(20, 40); err != nil {
		t.Errorf("when it is up: %v", err)
	}
	// A restart between two writes goes unnoticed.
	server.Stop(t)
	server.Start(t)
	if err := write(20, 60); err != nil {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := s.Interception(t.Context(), list[59].ID); err != nil {
		t.Errorf("a reader, after a restart: %v", err)
	}
	if d := gocmp.Diff(sum(list), total(t, s)); d != "" {
		t.Error(d)
	}
}

// Gateways that share a database make its tables once, and add to the same sums.
func TestShared(t *testing.T) {
	const gateways, each = 4, 400
	address := storetest.Postgres(t)
	var (
		wg   sync.WaitGroup
		all  [gateways][]*ledger.Exchange
		list [gateways]*store.Store
	)
	for i := range gateways {
		all[i] = exchanges(uint64(i), each)
		wg.Go(func() {
			s, err := postgres.Open(t.Context(), address, store.Options{Instance: strconv.Itoa(i)})
			if err != nil {
				t.Error(err)
				return
			}
			list[i] = s
			for from := 0; from < each; from += 20 {
				// What is written again, as after a lost answer, is kept once.
				part := slices.Concat(all[i][from:from+20], all[i][max(0, from-5):from])
				if err := s.Write(t.Context(), nil, part); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	for _, s := range list {
		if s == nil {
			t.FailNow()
		}
		defer s.Close()
		if d := gocmp.Diff(sum(all[:]...), total(t, s)); d != "" {
			t.Error(d)
		}
		if n, err := s.Count(t.Context(), store.Filter{}); n != gateways*each || err != nil {
			t.Errorf("%d interceptions, %v", n, err)
		}
	}
}

// A server that does not answer costs no more than the time it is given.
func TestHangs(t *testing.T) {
	address := storetest.Postgres(t)
	s := open(t, address)
	lock, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.Close(t.Context())
	if _, err = lock.Exec(t.Context(), "BEGIN; LOCK TABLE turns IN ACCESS EXCLUSIVE MODE"); err != nil {
		t.Fatal(err)
	}
	list := exchanges(1, 5)
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = s.Write(ctx, nil, list)
	if store.KindOf(err) != store.Timeout || !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a writer: %v", err)
	}
	reading, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	err = s.Export(reading, store.Filter{}, func(*store.Whole) error { return nil })
	if err != nil {
		t.Errorf("a reader of what nobody holds: %v", err)
	}
	if _, err = lock.Exec(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	if err = s.Write(t.Context(), nil, list); err != nil {
		t.Errorf("then: %v", err)
	}
}
