package app_test

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/tidwall/gjson"
)

const leakPiece = 12 // characters of a secret that must not get out

// planted makes secrets of the shapes that providers give out.
type planted struct{ *rand.Rand }

func (p planted) from(letters string, n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[p.IntN(len(letters))]
	}
	return string(b)
}

const (
	hexDigits = "0123456789abcdef"
	alnum     = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
	thorny    = alnum + `+/=&<>"\%~` + "`" // what encodings change
)

func (p planted) openAI() string    { return "sk-proj-" + p.from(alnum+"-_", 156) }
func (p planted) old() string       { return "sk-" + p.from(alnum, 48) }
func (p planted) anthropic() string { return "sk-ant-api03-" + p.from(alnum+"-_", 93) + "AA" }
func (p planted) token() string     { return "kb-" + p.from(hexDigits, 40) }

func (p planted) other() string {
	switch p.IntN(4) {
	case 0:
		return p.from(hexDigits, 64)
	case 1:
		return "gsk_" + p.from(alnum, 52)
	case 2:
		return base64.StdEncoding.EncodeToString([]byte(p.from(thorny, 32)))
	}
	return p.from(thorny, 40)
}

// escapes are the forms in which a careless upstream repeats a key. What they make
// of it fits into a JSON string, but for plain and cut.
var escapes = map[string]func(string) string{
	"plain":       func(s string) string { return s },
	"cut":         func(s string) string { return s[:len(s)/2] },
	"json":        jsonText,
	"json-solid":  func(s string) string { return everyByte(s, `\u%04x`) },
	"json-twice":  func(s string) string { return jsonText(jsonText(s)) },
	"json-slash":  func(s string) string { return strings.ReplaceAll(jsonText(s), "/", `\/`) },
	"query":       url.QueryEscape,
	"path":        url.PathEscape,
	"url-solid":   func(s string) string { return everyByte(s, "%%%02X") },
	"url-twice":   func(s string) string { return url.QueryEscape(everyByte(s, "%%%02x")) },
	"base64":      func(s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) },
	"base64-url":  func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte("Bearer " + s)) },
	"base64-user": func(s string) string { return base64.StdEncoding.EncodeToString([]byte("u:" + s)) },
	"base64-json": func(s string) string { return base64.URLEncoding.EncodeToString([]byte(`{"k":"` + s + `"}`)) },
}

func jsonText(s string) string {
	quoted, err := json.Marshal(s)
	if err != nil {
		panic(err) // a string
	}
	return string(quoted[1 : len(quoted)-1])
}

func everyByte(s, format string) string {
	var b strings.Builder
	for _, c := range []byte(s) {
		fmt.Fprintf(&b, format, c)
	}
	return b.String()
}

// parrot is an upstream that repeats the key it was sent, in every way.
type parrot struct{ calls atomic.Int64 }

// echo is one way to repeat a key.
type echo struct {
	name  string
	write func(w http.ResponseWriter, r *http.Request, said string)
}

// ServeHTTP repeats the key in the way and the form that the caller's prompt names.
func (p *parrot) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.calls.Add(1)
	body, _ := io.ReadAll(r.Body)
	ask := r.Header.Get("X-Ask")
	way, form, _ := strings.Cut(ask, "/")
	_, key, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok {
		key = r.Header.Get("X-Api-Key")
	}
	said := escapes[form](key)
	i := slices.IndexFunc(echoes, func(e echo) bool { return e.name == way })
	if gjson.GetBytes(body, "stream").Bool() {
		r.Header.Set("X-Stream", "1")
	}
	echoes[i].write(w, r, said)
}

// pieces writes a body in pieces, so that the key is cut.
func pieces(w http.ResponseWriter, body []byte) {
	for len(body) > 0 {
		n := min(len(body), max(37, len(body)/4))
		_, _ = w.Write(body[:n])
		_ = http.NewResponseController(w).Flush()
		body = body[n:]
	}
}

// inJSON puts what is said into a JSON string.
func inJSON(said string) string {
	if json.Valid([]byte(`"` + said + `"`)) {
		return said
	}
	return jsonText(said)
}

func errorJSON(path, said string) string {
	said = inJSON(said)
	if strings.Contains(path, "/messages") {
		return `{"type":"error","error":{"type":"invalid_request_error","message":"no such key: ` + said + `"}}`
	}
	return `{"error":{"message":"no such key: ` + said + `","type":"invalid_request_error","param":"` + said + `","code":null}}`
}

func refuses(status int) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, said string) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		pieces(w, []byte(errorJSON(r.URL.Path, said)))
	}
}

func zipped(b []byte) []byte {
	var out bytes.Buffer
	z, _ := gzip.NewWriterLevel(&out, gzip.BestSpeed) // there is such a level
	_, _ = z.Write(b)                                 // a bytes.Buffer takes everything
	_ = z.Close()
	return out.Bytes()
}

// oneLine makes of what is said a value that a header may have.
func oneLine(said string) string { return strings.Map(func(r rune) rune { return max(r, ' ') }, said) }

func chatty(h http.Header, said string) {
	h.Set("Www-Authenticate", `Bearer realm="api", error="invalid_token", key="`+oneLine(said)+`"`)
	h.Set("Location", "https://example.com/?key="+oneLine(said))
	h.Set("X-Debug-Key", oneLine(said))
	h.Set("X-Request-Id", "req-"+oneLine(said))
}

// streamed writes a stream that fails at some point. The failure repeats the key.
func streamed(preamble, content bool) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, r *http.Request, said string) {
		failure := errorJSON(r.URL.Path, said)
		if r.Header.Get("X-Stream") == "" {
			w.Header().Set("Content-Type", "application/json")
			pieces(w, []byte(failure))
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		begin, middle := `data: {"id":"c","choices":[{"index":0,"delta":{"role":"assistant"}}]}`, `data: {"id":"c","choices":[{"index":0,"delta":{"content":"hi"}}]}`
		switch {
		case strings.HasSuffix(r.URL.Path, "/responses"):
			begin = `data: {"type":"response.created","response":{"id":"r","status":"in_progress"}}`
			middle = `data: {"type":"response.output_text.delta","delta":"hi"}`
			failure = `{"type":"response.failed","response":{"id":"r","status":"failed","error":{"code":"invalid_prompt","message":"` + inJSON(said) + `"}}}`
		case strings.HasSuffix(r.URL.Path, "/messages"):
			begin = "event: message_start\n" + `data: {"type":"message_start","message":{"id":"m","usage":{"input_tokens":1}}}`
			middle = "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}`
			failure += "\nevent: error"
		}
		var b strings.Builder
		if preamble {
			b.WriteString(begin + "\n\n")
		}
		if content {
			b.WriteString(middle + "\n\n")
		}
		b.WriteString(": " + oneLine(said) + "\ndata: " + failure + "\n\n")
		pieces(w, []byte(b.String()))
	}
}

// raw writes what is no HTTP, or hardly.
func raw(format string) func(http.ResponseWriter, *http.Request, string) {
	return func(w http.ResponseWriter, _ *http.Request, said string) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			panic(err) // the server is HTTP/1
		}
		defer conn.Close()
		_, _ = fmt.Fprintf(conn, strings.ReplaceAll(format, "KEY", "%[1]s"), oneLine(said))
	}
}

const page = "<html><body>" // of an error that is no JSON

// noise is still long when it is compressed.
var noise = planted{rand.New(rand.NewPCG(1, 2))}.from("!#$&'()*,.:;?@^`{|}~", 140<<10)

// echoes are the ways, the usual ones first. Those of marks take the key out of its
// pool, those of retried are sent three times, those of dear are long.
var echoes = []echo{
	{"400", refuses(http.StatusBadRequest)},
	{"422", refuses(http.StatusUnprocessableEntity)},
	{"403", refuses(http.StatusForbidden)},
	{"page", func(w http.ResponseWriter, _ *http.Request, said string) {
		w.Header().Set("Content-Type", "text/html")
		w.WriteHeader(http.StatusMethodNotAllowed)
		pieces(w, []byte(page+said))
	}},
	{"zipped", func(w http.ResponseWriter, r *http.Request, said string) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusBadRequest)
		pieces(w, zipped([]byte(errorJSON(r.URL.Path, said))))
	}},
	{"headers", func(w http.ResponseWriter, _ *http.Request, said string) {
		chatty(w.Header(), said)
		w.WriteHeader(http.StatusBadRequest)
	}},
	{"good-headers", func(w http.ResponseWriter, r *http.Request, said string) {
		chatty(w.Header(), said)
		w.Header().Set("Content-Type", "application/json")
		_, _ = io.WriteString(w, thinAnswer(r.URL.Path, false))
	}},
	{"redirect", func(w http.ResponseWriter, _ *http.Request, said string) {
		chatty(w.Header(), said)
		w.WriteHeader(http.StatusTemporaryRedirect)
	}},
	{"first", streamed(false, false)},
	{"preamble", streamed(true, false)},
	{"content", streamed(true, true)},
	{"reason", raw("HTTP/1.1 400 KEY\r\nContent-Length: 0\r\n\r\n")},
	{"unasked", raw("HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\nKEY")},
	{"trailer", raw("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\nKEY\r\n\r\n")},
	{"long", func(w http.ResponseWriter, r *http.Request, said string) {
		w.WriteHeader(http.StatusBadRequest)
		_, _ = io.WriteString(w, strings.Repeat(" ", 64<<10-90)+errorJSON(r.URL.Path, said))
	}},
	{"long-zipped", func(w http.ResponseWriter, r *http.Request, said string) {
		w.Header().Set("Content-Encoding", "gzip")
		w.WriteHeader(http.StatusBadRequest)
		_, _ = w.Write(zipped([]byte(page + noise + " " + said)))
	}},
	{"chunk", raw("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\nKEY\r\n")},
	{"401", refuses(http.StatusUnauthorized)},
	{"429", func(w http.ResponseWriter, r *http.Request, said string) {
		w.Header().Set("Retry-After", "1")
		chatty(w.Header(), said)
		refuses(http.StatusTooManyRequests)(w, r, said)
	}},
	{"500", refuses(http.StatusInternalServerError)},
	{"no-head", raw("KEY\r\n\r\n")},
	{"bad-head", raw("HTTP/1.1 200 OK\r\nKEY\r\n\r\n")},
	{"bad-length", raw("HTTP/1.1 200 OK\r\nContent-Length: KEY\r\n\r\n")},
}

var (
	marks   = []string{"401", "429"}
	dear    = []string{"long", "long-zipped"}
	inBody  = []string{"first", "preamble", "content"}
	retried = []string{"500", "no-head", "bad-head", "bad-length", "chunk"}
)
