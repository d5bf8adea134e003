package postgres_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/jackc/pgx/v5"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
	"keybridge/internal/store/postgres"
	"keybridge/internal/store/storetest"
)

// authority signs certificates.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pem  string // its own certificate
}

func newAuthority(t *testing.T, name string) *authority {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-48 * time.Hour), NotAfter: time.Now().Add(48 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a := &authority{cert: template}
	a.pem, _, a.key = a.sign(t, template)
	return a
}

// sign makes a certificate and its key; the authority's own if it has none.
func (a *authority) sign(t *testing.T, template *x509.Certificate) (cert, secret string, key *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	by := a.key
	if by == nil {
		by = key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.cert, key.Public(), by)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, bytes []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return block("CERTIFICATE", der), block("PRIVATE KEY", private), key
}

// certificate is one for a name, an address or a client, valid from now on for some time.
func (a *authority) certificate(t *testing.T, name string, left time.Duration) (cert, key string) {
	t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-24 * time.Hour), NotAfter: time.Now().Add(left),
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	if ip := net.ParseIP(name); ip != nil {
		template.IPAddresses = []net.IP{ip}
	} else {
		template.DNSNames = []string{name}
	}
	cert, key, _ = a.sign(t, template)
	return cert, key
}

// guarded is a server that speaks TLS, and a database of a user's there.
type guarded struct {
	server               *storetest.Server
	ours, theirs         *authority
	folder, user, direct string
}

func guard(t *testing.T) *guarded {
	t.Helper()
	g := &guarded{ours: newAuthority(t, "ours"), theirs: newAuthority(t, "theirs"), folder: t.TempDir()}
	g.server = storetest.PostgresListening(t, g.speaks(t, g.ours, "127.0.0.1", time.Hour))
	g.direct = g.server.Database(t)
	database := mustParse(t, g.direct).Path[1:]
	g.user = database + "_guest"
	run(t, g.direct, "CREATE ROLE "+g.user+" LOGIN PASSWORD '"+password+"'", "ALTER DATABASE "+database+" OWNER TO "+g.user)
	g.file(t, "ca.crt", g.ours.pem)
	g.client(t, "ours", g.ours, time.Hour)
	g.client(t, "theirs", g.theirs, time.Hour)
	g.client(t, "namesake", newAuthority(t, "ours"), time.Hour)
	g.client(t, "old", g.ours, -time.Hour)
	return g
}

func (g *guarded) file(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(g.folder, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// client puts the user's certificate and key into the folder.
func (g *guarded) client(t *testing.T, file string, by *authority, left time.Duration) {
	t.Helper()
	cert, key := by.certificate(t, g.user, left)
	g.file(t, file+".crt", cert)
	g.file(t, file+".key", key)
}

// speaks is a server's configuration with a certificate, which lets in with TLS only.
func (g *guarded) speaks(t *testing.T, by *authority, name string, left time.Duration) storetest.Config {
	t.Helper()
	cert, key := by.certificate(t, name, left)
	return storetest.Config{
		Settings: "ssl = on\nssl_cert_file = 'tls.crt'\nssl_key_file = 'tls.key'\n",
		Access:   "hostssl all all 127.0.0.1/32 scram-sha-256\n",
		Files:    map[string]string{"tls.crt": cert, "tls.key": key, "clients.crt": g.ours.pem},
	}
}

// demanding is a server's configuration that lets in with a certificate of ours only.
func demanding(c storetest.Config, how string) storetest.Config {
	c.Settings += "ssl_ca_file = 'clients.crt'\n"
	c.Access = "hostssl all all 127.0.0.1/32 scram-sha-256 clientcert=" + how + "\n"
	return c
}

// address is the database's, by TCP. In settings, names of files are those of the folder.
func (g *guarded) address(t *testing.T, settings string) string {
	t.Helper()
	return as(t, g.direct, func(u *url.URL) {
		u.User, u.Host = url.UserPassword(g.user, password), g.server.Host()
		u.RawQuery = strings.ReplaceAll(settings, "@", g.folder+"/")
	})
}

// encrypted is how many connections the user has, and how many of them have TLS.
func (g *guarded) encrypted(t *testing.T) (all, tls int) {
	t.Helper()
	c, err := pgx.Connect(t.Context(), g.direct)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close(t.Context())
	const query = "SELECT count(*), count(*) FILTER (WHERE ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE usename = $1"
	if err = c.QueryRow(t.Context(), query, g.user).Scan(&all, &tls); err != nil {
		t.Fatal(err)
	}
	return all, tls
}

// What is written comes back, and every connection has TLS.
func TestTLS(t *testing.T) {
	g := guard(t)
	config := g.speaks(t, g.ours, "127.0.0.1", time.Hour)
	tests := []struct {
		settings string
		server   storetest.Config
	}{
		{"sslmode=verify-full&sslrootcert=@ca.crt", config},
		{"sslmode=verify-ca&sslrootcert=@ca.crt", g.speaks(t, g.ours, "elsewhere.example", time.Hour)},
		{"sslmode=require", config},
		{"", config},
		{"sslmode=verify-full&sslrootcert=@ca.crt&sslcert=@ours.crt&sslkey=@ours.key", demanding(config, "verify-ca")},
		{"sslmode=verify-full&sslrootcert=@ca.crt&sslcert=@ours.crt&sslkey=@ours.key", demanding(config, "verify-full")},
	}
	var all [][]*ledger.Exchange
	for i, tt := range tests {
		t.Run(tt.settings, func(t *testing.T) {
			g.server.Set(t, tt.server)
			s := open(t, g.address(t, tt.settings))
			list := exchanges(uint64(i), 20)
			if err := s.Write(t.Context(), nil, list); err != nil {
				t.Fatal(err)
			}
			all = append(all, list)
			if d := gocmp.Diff(sum(all...), total(t, s)); d != "" {
				t.Error(d)
			}
			if all, tls := g.encrypted(t); all < 2 || tls != all {
				t.Errorf("%d of %d connections have TLS", tls, all)
			}
		})
	}
}

// Each trouble with TLS is told as one, before and while the store is open, and is over
// when its cause is.
func TestTLSFails(t *testing.T) {
	g := guard(t)
	good := g.speaks(t, g.ours, "127.0.0.1", time.Hour)
	either, plain, strict := good, good, demanding(good, "verify-ca")
	either.Access = "host all all 127.0.0.1/32 scram-sha-256\n"
	plain.Settings, plain.Access = "ssl = off\n", either.Access
	const full = "sslmode=verify-full&sslrootcert=@ca.crt"
	tests := []struct {
		name, settings string
		good, bad      storetest.Config
		says           string
	}{
		{
			"another authority", full, good, g.speaks(t, g.theirs, "127.0.0.1", time.Hour),
			"the server's certificate is signed by nobody whom the gateway trusts: let sslrootcert=FILE behind the ? in store: name the certificate of the authority that has signed it (",
		},
		{
			"another authority, by name or not", "sslmode=verify-ca&sslrootcert=@ca.crt", good, g.speaks(t, g.theirs, "127.0.0.1", time.Hour),
			"the server's certificate is signed by nobody whom the gateway trusts: let sslrootcert=FILE",
		},
		{
			"another name", full, good, g.speaks(t, g.ours, "elsewhere.example", time.Hour),
			"the server's certificate is for another name: write the server in store: as its certificate names it, or have one made for the name that is there (",
		},
		{
			"another address", full, good, g.speaks(t, g.ours, "127.0.0.2", time.Hour),
			"the server's certificate is for another name: write the server in store: as its certificate names it",
		},
		{
			"expired", full, good, g.speaks(t, g.ours, "127.0.0.1", -time.Hour),
			"the server's certificate has expired, or is not valid yet: renew it on the server",
		},
		{
			"no TLS", "sslmode=require", either, plain,
			"the server offers no TLS, and sslmode asks for it: switch it on there (ssl = on), or set sslmode=disable behind the ? in store: if nobody else is on the way (",
		},
		{
			"TLS demanded", "sslmode=disable", either, good,
			"the server does not let the user " + g.user + " in from here without TLS: set sslmode=verify-full, or at least sslmode=require, behind the ? in store:, or let pg_hba.conf accept it (",
		},
		{
			"no certificate of the gateway's", full, good, strict,
			"the server has got no certificate from the gateway that it accepts: let sslcert=FILE and sslkey=FILE behind the ? in store: name a valid one that an authority in the server's ssl_ca_file has signed (",
		},
		{
			"a stranger's", full + "&sslcert=@theirs.crt&sslkey=@theirs.key", good, strict,
			"the server has got no certificate from the gateway that it accepts: let sslcert=FILE",
		},
		{
			"an old one", full + "&sslcert=@old.crt&sslkey=@old.key", good, strict,
			"the server breaks TLS off: look into its log; if sslcert=FILE and sslkey=FILE behind the ? in store: are set, see that they are valid and an authority in its ssl_ca_file has signed them (",
		},
		{
			"one of a namesake's", full + "&sslcert=@namesake.crt&sslkey=@namesake.key", good, strict,
			"the server breaks TLS off: look into its log; if sslcert=FILE",
		},
	}
	var all [][]*ledger.Exchange
	for i, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			address := g.address(t, tt.settings)
			told := func(doing string, err error) {
				t.Helper()
				text := fmt.Sprint(err)
				if store.KindOf(err) != store.Denied || !strings.HasPrefix(text, "the PostgreSQL database "+mustParse(t, g.direct).Path[1:]+" at "+g.server.Host()+": "+tt.says) {
					t.Errorf("%s: %s: %s", doing, store.KindOf(err), text)
				}
				if strings.ContainsAny(text, "\r\n\t") || strings.Contains(text, password) || strings.Contains(text, url.QueryEscape(password)) {
					t.Errorf("%s: not in one line, or with the password: %q", doing, text)
				}
			}
			g.server.Set(t, tt.good)
			s := open(t, address)
			list := exchanges(uint64(i), 20)
			if err := s.Write(t.Context(), nil, list[:10]); err != nil {
				t.Fatal(err)
			}
			all = append(all, list)

			g.server.Set(t, tt.bad)
			told("a writer", s.Write(t.Context(), nil, list[10:]))
			_, err := s.Interception(t.Context(), list[0].ID)
			told("a reader", err)
			_, err = postgres.Open(t.Context(), address, store.Options{Instance: t.Name()})
			told("a start", err)
			several := as(t, address, func(u *url.URL) { u.Host = "127.0.0.1:1," + u.Host })
			if _, err = postgres.Open(t.Context(), several, store.Options{}); store.KindOf(err) != store.Denied || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("the second of two hosts: %s: %v", store.KindOf(err), err)
			}

			g.server.Set(t, tt.good)
			if err := s.Write(t.Context(), nil, list[10:]); err != nil {
				t.Errorf("a writer, when it is over: %v", err)
			}
			if d := gocmp.Diff(sum(all...), total(t, s)); d != "" {
				t.Errorf("a reader, when it is over: %s", d)
			}
		})
	}
}

// Certificates that are renewed in their files are taken up by the next connection.
func TestTLSFilesAreRenewed(t *testing.T) {
	g := guard(t)
	put := func(by *authority, left time.Duration) {
		g.file(t, "roots.crt", by.pem)
		g.client(t, "mine", g.ours, left)
	}
	put(g.ours, time.Hour)
	g.server.Set(t, demanding(g.speaks(t, g.ours, "127.0.0.1", time.Hour), "verify-ca"))
	s := open(t, g.address(t, "sslmode=verify-full&sslrootcert=@roots.crt&sslcert=@mine.crt&sslkey=@mine.key"))
	list := exchanges(1, 30)
	fails := func(says string) {
		t.Helper()
		err := s.Write(t.Context(), nil, list)
		if store.KindOf(err) != store.Denied || !strings.HasPrefix(err.Error(), "the PostgreSQL database "+mustParse(t, g.direct).Path[1:]+" at "+g.server.Host()+": "+says) {
			t.Errorf("%s: %v", store.KindOf(err), err)
		}
		if _, err = s.Interception(t.Context(), list[0].ID); store.KindOf(err) != store.Denied || !strings.Contains(err.Error(), says) {
			t.Errorf("a reader: %s: %v", store.KindOf(err), err)
		}
	}
	works := func(part []*ledger.Exchange) {
		t.Helper()
		if err := s.Write(t.Context(), nil, part); err != nil {
			t.Error(err)
		}
		if _, err := s.Interception(t.Context(), part[0].ID); err != nil {
			t.Error(err)
		}
	}
	works(list[:10])

	g.server.Set(t, demanding(g.speaks(t, g.theirs, "127.0.0.1", time.Hour), "verify-ca"))
	fails("the server's certificate is signed by nobody whom the gateway trusts")
	put(g.theirs, -time.Hour)
	fails("the server breaks TLS off")
	if err := os.Remove(filepath.Join(g.folder, "roots.crt")); err != nil {
		t.Fatal(err)
	}
	fails("the file " + g.folder + "/roots.crt of its setting sslrootcert cannot be read: no such file or directory: give it")
	put(g.theirs, time.Hour)
	works(list[10:])
	if d := gocmp.Diff(sum(list), total(t, s)); d != "" {
		t.Error(d)
	}
}
