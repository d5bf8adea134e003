package verdict

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	maxBody = 64 << 10 // what is read of an error body
	maxText = 1 << 10  // what is kept of a body that is not JSON
)

// Problem is what an error body says, whichever of the providers' shapes it has.
// A field that the body lacks is empty; nothing in it has been interpreted.
type Problem struct {
	Type    string // error.type
	Code    string // error.code, numbers too; Bedrock's exception without its namespace
	Message string // error.message; of a plain text body its first KiB
	Param   string // error.param
	Status  string // Google's canonical status, e.g. RESOURCE_EXHAUSTED
	HTTP    int    // the HTTP status that the body itself names, in code or beside it
	// ErrorCode is Anthropic's details.error_code.
	ErrorCode string
	Reasons   []string // Google's details[].reason
	Quotas    []string // Google's details[].violations[].quotaId
	// LimitSource is OpenRouter's metadata.limit_source.
	LimitSource string
	Explained   bool   // OpenRouter's metadata is there: it says why the request was refused
	RetryDelay  string // Google's RetryInfo.retryDelay, e.g. "15s"
	ResetsAt    string // Codex: the limit's end in seconds since 1970
	ResetsIn    string // Codex: the limit's end in seconds from now
	Text        bool   // the body was no JSON: some proxy's words, to be judged by status alone
}

// Parse reads an error: the body of an HTTP answer or the data of an error event
// inside a 200. It takes every shape that is known, objects wrapped in an array,
// plain text and HTML. Of a body that was cut off, or is longer than 64 KiB, it
// gives what stands in the readable part.
func Parse(body []byte) Problem {
	p, _ := read(body)
	return p
}

// read also reports whether the body is an error at all. A body that breaks off
// is one: it is no good answer either.
func read(body []byte) (Problem, bool) {
	body = bytes.TrimSpace(bytes.TrimPrefix(body[:min(len(body), maxBody)], []byte("\ufeff")))
	if len(body) == 0 {
		return Problem{}, false
	}
	switch body[0] {
	case '{', '[', '"':
		r := reader{body: body, dec: json.NewDecoder(bytes.NewReader(body))}
		r.dec.UseNumber()
		r.top()
		return r.problem()
	case '<':
		return Problem{Text: true}, true
	}
	text := strings.ToValidUTF8(string(body[:min(len(body), maxText)]), string(utf8.RuneError))
	return Problem{Message: text, Text: true}, true
}

// reader walks a body token by token, so that a cut costs only what is behind it
// and nesting costs no stack.
type reader struct {
	body  []byte
	dec   *json.Decoder
	err   error
	outer Problem // of the members beside "error", or of a body without one
	inner Problem // of the "error" object
	found bool    // something says that this is an error
}

func (r *reader) problem() (Problem, bool) {
	p, o := r.inner, r.outer
	r.found = r.found || r.err != nil || o.Code != "" || o.Message != ""
	p.Type = cmp.Or(p.Type, o.Type)
	p.Code = cmp.Or(p.Code, o.Code)
	p.Message = cmp.Or(p.Message, o.Message)
	p.Param = cmp.Or(p.Param, o.Param)
	p.Status = cmp.Or(p.Status, o.Status)
	p.HTTP = cmp.Or(p.HTTP, o.HTTP)
	return p, r.found
}

func (r *reader) top() {
	t := r.next()
	for t == json.Delim('[') {
		t = r.next()
	}
	if s, ok := t.(string); ok {
		r.inner.Message, r.found = s, true
	}
	if t != json.Delim('{') {
		return
	}
	r.object(func(key string) {
		switch key {
		case "error":
			r.failure()
		case "response":
			r.response()
		case "type":
			// Not the kind of the error but of the event that carries it.
			if s := r.text(); s == "error" || s == "response.failed" {
				r.found = true
			} else {
				r.outer.Type = s
			}
		case "object":
			r.found = r.text() == "error" || r.found
		case "status":
			s := r.text()
			r.found = s == "failed" || r.found
			r.outer.HTTP = cmp.Or(httpStatus(s), r.outer.HTTP)
		default:
			r.member(key, &r.outer)
		}
	})
}

// failure reads the value of "error", which is null in some good answers.
func (r *reader) failure() {
	switch t := r.next().(type) {
	case json.Delim:
		r.found = true
		if t == '{' {
			r.object(func(key string) { r.member(key, &r.inner) })
		} else {
			r.skip(t)
		}
	case string:
		r.found, r.inner.Message = true, t
	case json.Number:
		r.found, r.inner.Code, r.inner.HTTP = true, t.String(), httpStatus(t.String())
	case bool:
		r.found = t || r.found
	case nil:
		r.inner.Message = r.cut()
	}
}

// response reads the response that a response.failed event holds.
func (r *reader) response() {
	t := r.next()
	if t != json.Delim('{') {
		r.skip(t)
		return
	}
	r.object(func(key string) {
		switch key {
		case "error":
			r.failure()
		case "status":
			r.found = r.text() == "failed" || r.found
		default:
			r.skip(r.next())
		}
	})
}

// member reads one member of an error object into p. The first of several that
// mean the same is kept.
func (r *reader) member(key string, p *Problem) {
	switch key {
	case "type":
		keep(&p.Type, r.text())
	case "code", "__type":
		code := r.text()
		keep(&p.Code, bareCode(code))
		p.HTTP = cmp.Or(p.HTTP, httpStatus(code))
	case "message", "Message", "detail":
		keep(&p.Message, r.words())
	case "param":
		keep(&p.Param, r.text())
	case "status":
		s := r.text()
		if n := httpStatus(s); n != 0 {
			p.HTTP = n
		} else {
			keep(&p.Status, s)
		}
	case "resets_at":
		keep(&p.ResetsAt, r.text())
	case "resets_in_seconds":
		keep(&p.ResetsIn, r.text())
	case "details":
		r.each(func(k string) { r.detail(k, p) })
	case "metadata":
		r.each(func(k string) {
			p.Explained = true
			if k == "limit_source" {
				keep(&p.LimitSource, r.text())
			} else {
				r.skip(r.next())
			}
		})
	default:
		r.skip(r.next())
	}
}

func (r *reader) detail(key string, p *Problem) {
	switch key {
	case "error_code":
		keep(&p.ErrorCode, r.text())
	case "reason":
		if s := r.text(); s != "" {
			p.Reasons = append(p.Reasons, s)
		}
	case "retryDelay":
		keep(&p.RetryDelay, r.text())
	case "violations":
		r.each(func(k string) {
			if k != "quotaId" {
				r.skip(r.next())
			} else if s := r.text(); s != "" {
				p.Quotas = append(p.Quotas, s)
			}
		})
	default:
		r.skip(r.next())
	}
}

// object calls member with each key of the object whose brace was just read;
// member reads the value.
func (r *reader) object(member func(key string)) {
	for r.err == nil {
		key, ok := r.next().(string)
		if !ok {
			return
		}
		member(key)
	}
}

// each reads a value that is an object or an array of objects.
func (r *reader) each(member func(key string)) {
	t := r.next()
	if t != json.Delim('[') {
		if t == json.Delim('{') {
			r.object(member)
		}
		return
	}
	for r.err == nil {
		switch t = r.next(); t {
		case json.Delim('{'):
			r.object(member)
		case json.Delim(']'):
			return
		default:
			r.skip(t)
		}
	}
}

// text reads a scalar; any other value is passed over and gives "".
func (r *reader) text() string {
	switch t := r.next().(type) {
	case string:
		return t
	case json.Number:
		return t.String()
	case json.Delim:
		r.skip(t)
	}
	return ""
}

// skip passes over the rest of the value that began with t.
func (r *reader) skip(t json.Token) {
	for depth := 0; r.err == nil; t = r.next() {
		switch t {
		case json.Delim('{'), json.Delim('['):
			depth++
		case json.Delim('}'), json.Delim(']'):
			depth--
		}
		if depth <= 0 {
			return
		}
	}
}

// next gives the next token, nil at null and when nothing more can be read.
func (r *reader) next() json.Token {
	t, err := r.dec.Token()
	if _, ok := t.(json.Number); ok && r.dec.InputOffset() == int64(len(r.body)) {
		t, err = nil, io.ErrUnexpectedEOF // nothing closes the body: who knows how many digits are missing
	}
	r.err = err
	return t
}

// words reads a message, and what there is of one that the cut went through:
// messages are known by how they begin.
func (r *reader) words() string {
	switch t := r.next().(type) {
	case string:
		return t
	case json.Delim:
		r.skip(t)
	case nil:
		return r.cut()
	}
	return ""
}

// cut gives the beginning of the string that the decoder failed in, if it did.
func (r *reader) cut() string {
	rest := bytes.TrimLeft(r.body[r.dec.InputOffset():], " \t\r\n:,")
	if r.err == nil || len(rest) == 0 || rest[0] != '"' {
		return ""
	}
	if i := bytes.IndexFunc(rest, unicode.IsControl); i >= 0 {
		rest = rest[:i] // a raw line break is what the decoder failed at
	}
	// An escape may have been cut, too: \ud83d\ude00 is the longest, 12 bytes.
	for n := len(rest); n > 0 && n >= len(rest)-12; n-- {
		var s string
		if json.Unmarshal(append(rest[:n:n], '"'), &s) == nil {
			return s
		}
	}
	return ""
}

// keep sets a field that has no value yet.
func keep(field *string, value string) { *field = cmp.Or(*field, value) }

// bareCode takes the namespace and the address off an AWS exception:
// com.amazon.coral#ThrottlingException:http://… is ThrottlingException.
func bareCode(code string) string {
	if _, after, ok := strings.Cut(code, "#"); ok {
		code = after
	}
	code, _, _ = strings.Cut(code, ":")
	return code
}

// httpStatus is the HTTP error status that s is, or 0.
func httpStatus(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 400 || n > 599 {
		return 0
	}
	return n
}
