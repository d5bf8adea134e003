package simulator

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tidwall/gjson"
)

const (
	maxBody   = 64 << 20
	maxChunks = 10_000
	maxPace   = time.Minute
)

// epoch is the time of everything when answers are deterministic.
var epoch = time.Date(2026, time.January, 2, 3, 4, 5, 0, time.UTC) //nolint:gochecknoglobals // a constant

// call is one request on its way through the simulator.
type call struct {
	sim    *Simulator
	api    *api
	w      http.ResponseWriter
	r      *http.Request
	start  time.Time
	key    *Key // nil: not let in
	secret string
	path   string // escaped, from the provider's root
	arg    string // what stood for the braces of the route
	body   []byte
	model  string
	stream bool
	ids    ids
	fault  Fault
	taken  demand // from the rate limits
}

// reply is a good answer, or a failure, before a fault spoils it.
type reply struct {
	status      int
	header      http.Header
	contentType string // default application/json
	body        []byte
	frames      []frame // a stream, if not nil
	use         spent
	// broken shapes an error inside a 200 as the endpoint does; nil: the
	// provider's error body.
	broken func(f failure, at phase, seq int) []byte
}

// phase is a point of an answer.
type phase uint8

const (
	first phase = iota
	afterPreamble
	afterContent
)

// part says what a frame means to a reader that waits for content.
type part uint8

const (
	preamble part = iota
	content
	ending
	done // [DONE]
)

type frame struct {
	raw  []byte
	part part
}

// read takes in the body and what every endpoint wants to know of it.
func (c *call) read() *failure {
	body, err := io.ReadAll(http.MaxBytesReader(c.w, c.r.Body, maxBody))
	c.body = body
	parts := []string{c.api.name, c.r.Method, c.path, c.r.URL.RawQuery, string(body)}
	if !c.sim.opts.Deterministic {
		parts = append(parts, rand.Text())
	}
	c.ids = seed(parts...)
	if c.r.Method == http.MethodPost && strings.HasPrefix(strings.TrimSpace(c.r.Header.Get("Content-Type")), "application/json") || wellFormed(body) {
		c.model = gjson.GetBytes(body, "model").String()
		c.stream = gjson.GetBytes(body, "stream").Bool()
	}
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		f := c.api.tooLong
		return &f
	case err != nil: // the client broke off: nobody is there to be told
		panic(http.ErrAbortHandler)
	}
	return nil
}

func (c *call) get(path string) gjson.Result { return gjson.GetBytes(c.body, path) }

// now is the time that answers carry.
func (c *call) now() time.Time {
	if c.sim.opts.Deterministic {
		return epoch
	}
	return c.start
}

func (c *call) created() int64 { return c.now().Unix() }

// took is the processing time that OpenAI states.
func (c *call) took() string {
	if c.sim.opts.Deterministic {
		return strconv.Itoa(c.ids.number("took", 40, 900))
	}
	return strconv.FormatInt(time.Since(c.start).Milliseconds(), 10)
}

// chunks is how many content events a stream is cut into.
func (c *call) chunks() int {
	if n, err := strconv.Atoi(c.r.Header.Get("X-Simulator-Chunks")); err == nil && n > 0 {
		return min(n, maxChunks)
	}
	return c.sim.opts.Chunks
}

// pace is the pause before each event of a stream.
func (c *call) pace() time.Duration {
	if d, err := time.ParseDuration(c.r.Header.Get("X-Simulator-Pace")); err == nil && d > 0 {
		return min(d, maxPace)
	}
	return c.sim.opts.Pace
}

// ok is a good answer in JSON.
func (c *call) ok(v any) reply { return reply{status: http.StatusOK, body: c.print(v)} }

// print is the value as the provider prints bodies.
func (c *call) print(v any) []byte {
	if c.api.name == OpenAI {
		return append(indented(v), '\n')
	}
	return compact(v)
}

func (c *call) failNamed(name string) reply { return c.fail(c.failure(name)) }

func (c *call) fail(f failure) reply {
	r := reply{status: f.status, header: http.Header{}, contentType: f.header.Get("Content-Type")}
	maps.Copy(r.header, f.header)
	if r.body = []byte(f.raw); f.raw == "" {
		r.body = c.api.errorBody(c, f)
	}
	if f.echo { // what was escaped twice is escaped once: the reader of the JSON sees the key
		r.body = bytes.ReplaceAll(r.body, []byte(`\\u`), []byte(`\u`))
	}
	if f.wait != "" {
		c.api.waitHeader(f.wait, f.stated, c.start, r.header)
	}
	return r
}

// sse frames data as a server-sent event; name may be empty.
func sse(name string, data []byte) []byte {
	var b bytes.Buffer
	if name != "" {
		b.WriteString("event: " + name + "\n")
	}
	b.WriteString("data: ")
	b.Write(data)
	b.WriteString("\n\n")
	return b.Bytes()
}

// raws joins values of the request's own text.
func raws(rs ...gjson.Result) (n int) {
	for _, r := range rs {
		n += len(r.Raw)
	}
	return n
}

// isNull tells whether a member is missing or null.
func isNull(r gjson.Result) bool { return !r.Exists() || r.Type == gjson.Null }
