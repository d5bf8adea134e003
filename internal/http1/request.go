package http1

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// Request is one request. Do does not change it.
type Request struct {
	Addr   string // host:port to connect to
	Host   string // the Host field
	Method string // not CONNECT
	Target string // path and query, escaped, sent as they are
	// Fields must not hold Host nor what frames the body: both are written from here.
	Fields []Field
	// Body is the whole body. Stream, if not nil, is sent instead, and not closed: once
	// Do has failed or the answer's body is closed no read of it begins, though one may
	// still be under way.
	Body   []byte
	Owner  Owner // of Body; may be nil
	Stream io.Reader
	Length int64 // of Stream; negative: unknown
}

// Field is a header field and its values, one line each.
type Field struct {
	Name   string
	Values []string
}

// Owner is who reuses a body's memory. Between Hold and Release it is being read,
// possibly after Do has returned.
type Owner interface {
	Hold()
	Release()
}

var (
	errMethod = errors.New("invalid method")
	errTarget = errors.New("invalid request target")
	errHost   = errors.New("invalid host")
	errField  = errors.New("invalid header field name")
	errValue  = errors.New("invalid header field value") // which may be the secret
)

// token tells which bytes a method and a field's name may have.
var token = func() (t [256]bool) { //nolint:gochecknoglobals // a constant table
	for _, c := range []byte("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") {
		t[c] = true
	}
	return t
}()

// trim takes off what may stand around a value.
func trim(s string) string {
	for len(s) > 0 && (s[0] == ' ' || s[0] == '\t') {
		s = s[1:]
	}
	for len(s) > 0 && (s[len(s)-1] == ' ' || s[len(s)-1] == '\t') {
		s = s[:len(s)-1]
	}
	return s
}

func isToken(s string) bool {
	for i := range len(s) {
		if !token[s[i]] {
			return false
		}
	}
	return s != ""
}

// isVisible says that s can stand in a request line: nothing in it ends a word or a
// line.
func isVisible(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != ""
}

func isValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' && s[i] != '\t' || s[i] == 0x7f {
			return false
		}
	}
	return true
}

// check finds what would be another request than the one that is meant.
func (r *Request) check() error {
	switch {
	case !isToken(r.Method), r.Method == http.MethodConnect:
		return errMethod
	case !isVisible(r.Target):
		return errTarget
	case !isVisible(r.Host):
		return errHost
	}
	for _, f := range r.Fields {
		if !isToken(f.Name) {
			return errField
		}
		for _, v := range f.Values {
			if !isValue(v) {
				return errValue
			}
		}
	}
	return nil
}

// length is how many bytes the body has; negative: unknown.
func (r *Request) length() int64 {
	if r.Stream != nil {
		return r.Length
	}
	return int64(len(r.Body))
}

// appendHead writes the head as net/http does: in the order of the names, but for
// what comes first.
func (r *Request) appendHead(b []byte) []byte {
	b = append(append(append(b, r.Method...), ' '), r.Target...)
	b = append(b, " HTTP/1.1\r\n"...)
	b = appendField(b, "Host", r.Host)
	sortFields(r.Fields)
	for _, f := range r.Fields {
		if f.Name == userAgent && len(f.Values) > 0 && f.Values[0] != "" {
			b = appendField(b, userAgent, f.Values[0])
		}
	}
	switch n := r.length(); {
	case n < 0:
		b = appendField(b, "Transfer-Encoding", "chunked")
	case n > 0, r.Method == http.MethodPost, r.Method == http.MethodPut, r.Method == http.MethodPatch:
		b = append(b, "Content-Length: "...)
		b = append(strconv.AppendInt(b, n, 10), "\r\n"...)
	}
	for _, f := range r.Fields {
		if f.Name == userAgent {
			continue
		}
		for _, v := range f.Values {
			b = appendField(b, f.Name, v)
		}
	}
	return append(b, "\r\n"...)
}

// sortFields orders fields by name.
func sortFields(fields []Field) {
	const few = 32 // as most requests have; a client can send very many
	if len(fields) > few {
		slices.SortFunc(fields, func(a, b Field) int { return strings.Compare(a.Name, b.Name) })
		return
	}
	for i := 1; i < len(fields); i++ {
		f, at := fields[i], i
		for at > 0 && fields[at-1].Name > f.Name {
			at--
		}
		copy(fields[at+1:i+1], fields[at:i])
		fields[at] = f
	}
}

const userAgent = "User-Agent"

func appendField(b []byte, name, value string) []byte {
	b = append(append(b, name...), ": "...)
	return append(append(b, trim(value)...), "\r\n"...)
}
