package postgres

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5/pgconn"

	"keybridge/internal/store"
)

// explainer says what PostgreSQL's errors mean for an operator.
type explainer struct{ place, database, user, password string }

const readOnly = "25006"

// trouble is what a code of PostgreSQL's means: a whole one, or the two signs of its class.
type trouble struct {
	code     string
	kind     store.Kind
	text, do string
}

// troubles are looked through in order: codes before their classes.
func (x *explainer) troubles() []trouble {
	return []trouble{
		{"28", store.Denied, "the server does not accept the user " + x.user + " or the password", "set both in store:, or let pg_hba.conf accept them"},
		{"3D000", store.Unreachable, "the server has no database of that name", "create it: CREATE DATABASE " + x.database},
		{"3F000", store.Denied, "there is no schema to make the tables in", "CREATE SCHEMA public, or set the user's search_path"},
		{"42501", store.Denied, "the user " + x.user + " may not do that", "let it own the database: ALTER DATABASE " + x.database + " OWNER TO " + x.user},
		{"53100", store.Full, "the server's disk is full", "make room there; nothing has to be restarted"},
		{"53300", store.Unreachable, "the server has no connection left", "raise its max_connections, or close others"},
		{"53", store.Other, "the server is short of resources", "look into its log"},
		{readOnly, store.ReadOnly, "the database may only be read", "give the address of the primary server, or end the read-only mode"},
		{"55P03", store.Locked, "another session holds what is needed", "end that session, or wait for it"},
		{"57014", store.Timeout, "the server has cancelled the statement", "raise its statement_timeout"},
		{"57P", store.Unreachable, "the server stops or starts", "wait until it is up"},
		{"08", store.Unreachable, "the connection is broken", "look whether the server is up"},
		{"58", store.Other, "the server cannot use its files", "look into its log"},
		{"XX001", store.Corrupt, "a table is damaged", "look into the server's log, restore a backup"},
		{"XX002", store.Corrupt, "an index is damaged", "look into the server's log, REINDEX the database"},
		{"21", store.Content, "the server does not take what is to be written", ""},
		{"22", store.Content, "the server does not take what is to be written", ""},
		{"23", store.Content, "the server does not take what is to be written", ""},
		{"54", store.Content, "the server does not take what is to be written", ""},
		{"42", store.Other, "the tables are not as they were made", "undo what was changed by hand, or give an empty database"},
	}
}

func (x *explainer) explain(err error) error {
	if e, ok := errors.AsType[*store.Error](err); ok {
		return e
	}
	out := &store.Error{Kind: store.Other, Place: x.place, Text: "the server reports a problem", Err: x.cause(err)}
	answer, answered := errors.AsType[*pgconn.PgError](err)
	connect, connecting := errors.AsType[*pgconn.ConnectError](err)
	text, do := x.refusal(connect, answer)
	switch {
	case text != "":
		out.Kind, out.Text, out.Do = store.Denied, text, do
	case answered:
		for _, t := range x.troubles() {
			if strings.HasPrefix(answer.Code, t.code) {
				out.Kind, out.Text, out.Do = t.kind, t.text, t.do
				return out
			}
		}
	case errors.Is(err, errEncoding):
		out.Kind, out.Text, out.Do = store.Denied, "it cannot hold every text", "make it with ENCODING 'UTF8'"
	case errors.Is(err, errLocked):
		out.Kind, out.Text, out.Do = store.Locked, "another gateway is changing the tables", "wait until it is up, or end its session"
	case connecting:
		out.Kind, out.Text, out.Do = store.Unreachable, "the server cannot be reached", "look whether it is up and the address in store: is right"
	case errors.Is(err, context.Canceled):
		out.Kind, out.Text = store.Timeout, "it was broken off"
	case errors.Is(err, context.DeadlineExceeded):
		out.Kind, out.Text, out.Do = store.Timeout, "the server has not answered in time", "look at its load"
	case broken(err):
		out.Kind, out.Text, out.Do = store.Unreachable, "the connection is broken", "look whether the server is up"
	}
	return out
}

const behind = " behind the ? in store:" // where the settings of an address are written

// refusal says what of TLS, or of the address's settings, a connection is refused for, by
// the gateway or the server: "" if it is something else. The answer is the server's, or nil.
func (x *explainer) refusal(err *pgconn.ConnectError, answer *pgconn.PgError) (text, do string) {
	if err == nil {
		return "", ""
	}
	if text, do = certificate(err); text != "" {
		return text, do
	}
	sslcert := "sslcert=FILE and sslkey=FILE" + behind
	switch {
	case brokenOff(err):
		return "the server breaks TLS off",
			"look into its log; if " + sslcert + " are set, see that they are valid and an authority in its ssl_ca_file has signed them"
	case answer == nil && strings.Contains(err.Error(), "server refused TLS connection"): // the driver has no type for it
		return "the server offers no TLS, and sslmode asks for it",
			"switch it on there (ssl = on), or set sslmode=disable" + behind + " if nobody else is on the way"
	case answer == nil:
		return "", ""
	case settings(answer.Code):
		return "the server does not accept a setting of the address", "look at what is behind its ?"
	case answer.Code != "28000":
		return "", ""
	case strings.Contains(answer.Message, "client certificate"): // one that is of no authority which the server names is not sent
		return "the server has got no certificate from the gateway that it accepts",
			"let " + sslcert + " name a valid one that an authority in the server's ssl_ca_file has signed"
	case strings.Contains(answer.Message, "no encryption"):
		return "the server does not let the user " + x.user + " in from here without TLS",
			"set sslmode=verify-full, or at least sslmode=require," + behind + ", or let pg_hba.conf accept it"
	}
	return "", ""
}

// brokenOff reports whether the server has ended TLS: it says why in an alert, as that the
// gateway's certificate is none to it. It does so behind the gateway's back, when TLS seems
// to be made, so that the first to be noticed may be that the connection is no more.
func brokenOff(err *pgconn.ConnectError) bool {
	if strings.Contains(err.Error(), "remote error: tls: ") { // one among those of several hosts, which all are of one type
		return true
	}
	shown := err.Config.TLSConfig != nil && len(err.Config.TLSConfig.Certificates) > 0
	made := !strings.Contains(err.Error(), "tls error: ") // what comes before TLS
	return shown && made && (errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE))
}

// certificate says what is wrong with the server's: "" if nothing is. With sslmode=verify-ca
// the driver looks at it itself, and its error is the bare one.
func certificate(err error) (text, do string) {
	_, stranger := errors.AsType[x509.UnknownAuthorityError](err)
	_, name := errors.AsType[x509.HostnameError](err)
	invalid, bad := errors.AsType[x509.CertificateInvalidError](err)
	_, other := errors.AsType[*tls.CertificateVerificationError](err)
	switch {
	case stranger:
		return "the server's certificate is signed by nobody whom the gateway trusts",
			"let sslrootcert=FILE" + behind + " name the certificate of the authority that has signed it"
	case name:
		return "the server's certificate is for another name",
			"write the server in store: as its certificate names it, or have one made for the name that is there"
	case bad && invalid.Reason == x509.Expired:
		return "the server's certificate has expired, or is not valid yet", "renew it on the server, unless the clock here is wrong"
	case bad || other:
		return "the server's certificate cannot be trusted", "have another one made for the server"
	}
	return "", ""
}

// settings reports whether a code that a connection is refused with is about what was asked
// of it, not about the tables or what is to be written.
func settings(code string) bool {
	const unchangeable, mayNot = "55P02", "42501"
	return code == unchangeable || strings.HasPrefix(code, "22") || strings.HasPrefix(code, "42") && code != mayNot
}

// lost reports whether an error says that the connections are of no use any more.
func lost(err error) bool {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && answer.Code == readOnly {
		return true // the primary may be another one now
	}
	if _, connecting := errors.AsType[*pgconn.ConnectError](err); connecting {
		return true
	}
	// Whose time was up takes its own connection along, not those of readers.
	return broken(err) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled)
}

// broken reports whether an error says that a connection has ended which there was.
func broken(err error) bool {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok {
		return strings.HasPrefix(answer.Code, "57P") || strings.HasPrefix(answer.Code, "08")
	}
	if _, network := errors.AsType[*net.OpError](err); network {
		return true
	}
	return slices.ContainsFunc(ended(), func(e error) bool { return errors.Is(err, e) })
}

// ended are the errors, besides the network's own, of a connection that is no more.
func ended() []error {
	return []error{io.ErrUnexpectedEOF, pgconn.ErrConnClosed, driver.ErrBadConn, sql.ErrConnDone}
}

// again reports whether the same transaction may succeed at once: it has lost against
// another, or its connection was found broken, and another may do.
func again(err error) bool {
	if answer, ok := errors.AsType[*pgconn.PgError](err); ok && (answer.Code == "40001" || answer.Code == "40P01") {
		return true
	}
	_, connecting := errors.AsType[*pgconn.ConnectError](err)
	return broken(err) && !connecting
}

// cause is an error of the driver's in a text of one line without the password.
type cause struct {
	text string
	err  error
}

func (c *cause) Error() string { return c.text }
func (c *cause) Unwrap() error { return c.err }

func (x *explainer) cause(err error) error {
	text := strings.Join(strings.Fields(err.Error()), " ")
	if x.password != "" && strings.Contains(text, x.password) {
		text = "its own words are left out, the password is among them"
	}
	return &cause{text, err}
}
