package simulator

import (
	"bytes"
	"compress/gzip"
	"maps"
	"net/http"
	"strconv"
	"time"
)

const page = "<!DOCTYPE html>\n<html><head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad Gateway</h1></center></body></html>\n"

// script is what is written after the head, and how it ends.
type script struct {
	status int
	header http.Header
	pieces [][]byte
	length int // Content-Length; -1: none
	pace   time.Duration
	hang   bool // after the pieces: silence
	abort  bool // after the pieces: the connection breaks
}

// deliver writes the reply as the call's fault will have it.
func (c *call) deliver(rep reply) {
	switch c.fault.Name {
	case "refuse", "reset":
		c.drop()
	case "stall":
		c.note(0)
		c.silence()
	}
	s, sent := c.plan(rep), func() {}
	if s.status == http.StatusOK {
		c.sim.meter.add(c.api.name+"/"+c.key.Name, rep.use)
		c.settle(rep.use)
		sent = c.bill(rep)
	}
	h := c.w.Header()
	maps.Copy(h, c.api.header(c))
	c.api.limits(c, h)
	maps.Copy(h, rep.header)
	maps.Copy(h, s.header)
	if c.sim.opts.Deterministic {
		h.Set("Date", epoch.Format(http.TimeFormat))
	}
	if s.length >= 0 {
		h.Set("Content-Length", strconv.Itoa(s.length))
	}
	c.note(s.status)
	c.w.WriteHeader(s.status)
	c.play(s)
	sent()
}

// play writes the pieces; how it ends is how the client sees it.
func (c *call) play(s script) {
	out := http.NewResponseController(c.w)
	for _, p := range s.pieces {
		if s.pace > 0 && !c.pause(s.pace) {
			panic(http.ErrAbortHandler)
		}
		if _, err := c.w.Write(p); err != nil {
			panic(http.ErrAbortHandler)
		}
		if len(s.pieces) > 1 || s.hang || s.abort {
			_ = out.Flush()
		}
	}
	if s.hang {
		_ = out.Flush()
		c.silence()
	}
	if s.abort {
		_ = out.Flush()
		panic(http.ErrAbortHandler)
	}
}

// plan cuts a reply into what is written. A fault that spoils bodies leaves
// answers alone that are no success.
func (c *call) plan(rep reply) script {
	s := script{status: rep.status, header: http.Header{}, length: len(rep.body), pieces: [][]byte{rep.body}}
	s.header.Set("Content-Type", "application/json")
	if rep.contentType != "" {
		s.header.Set("Content-Type", rep.contentType)
	}
	if rep.frames != nil {
		s.length, s.pieces, s.pace = -1, raw(rep.frames), c.pace()
	}
	if rep.status != http.StatusOK || kinds[c.fault.Name].act != spoils {
		return s
	}
	switch c.fault.Name {
	case "stall_error_body":
		bad := c.failNamed("rate_limit_retry_after")
		maps.Copy(s.header, bad.header)
		s.header.Set("Content-Type", "application/json")
		s.status, s.pieces, s.length, s.hang = bad.status, nil, len(bad.body), true
	case "stall_body":
		s.pieces, s.hang = nil, true
	case "garbage":
		s.pieces, s.length, s.pace = [][]byte{[]byte(page)}, len(page), 0
		if rep.frames == nil {
			s.header.Set("Content-Type", "text/html; charset=utf-8")
		}
	case "slow":
		s.pace = c.fault.wait("slow")
		if rep.frames == nil {
			s.pieces = quarters(rep.body)
		}
	case "gzip":
		s.header.Set("Content-Encoding", "gzip")
		s.pieces = gzipped(s.pieces)
		if rep.frames == nil {
			s.length = len(s.pieces[0])
		}
	default:
		if rep.frames == nil {
			c.cutBody(&s, rep)
		} else {
			c.cutStream(&s, rep)
		}
	}
	return s
}

func (c *call) cutBody(s *script, rep reply) {
	fails := func(at phase) {
		body := c.brokenBody(rep, at)
		s.pieces, s.length = [][]byte{body}, len(body)
		s.header.Set("Content-Type", "application/json")
	}
	switch c.fault.Name {
	case "truncate":
		s.pieces, s.abort = [][]byte{rep.body[:len(rep.body)/2]}, true
	case "cut_after_content":
		s.pieces, s.length, s.abort = [][]byte{rep.body[:len(rep.body)*9/10]}, -1, true
	case "error_first":
		fails(first)
	case "error_after_preamble":
		fails(afterPreamble)
	case "error_after_content":
		fails(afterContent)
	}
}

func (c *call) cutStream(s *script, rep reply) {
	begin, middle := turns(rep.frames)
	fails := func(after int, at phase) {
		f := c.failure(c.told())
		s.pieces = append(raw(rep.frames[:after]), rep.broken(f, at, after))
	}
	switch c.fault.Name {
	case "truncate":
		s.pieces, s.abort = raw(rep.frames[:begin]), true
	case "cut_after_content":
		s.pieces, s.abort = raw(rep.frames[:middle]), true
	case "error_first":
		fails(0, first)
	case "error_after_preamble":
		fails(begin, afterPreamble)
	case "error_after_content":
		fails(middle, afterContent)
	case "no_done":
		if n := len(rep.frames) - 1; rep.frames[n].part == done {
			s.pieces = raw(rep.frames[:n])
		}
	}
}

// told is the failure that an error inside a 200 is about.
func (c *call) told() string {
	if c.fault.Error != "" {
		return c.fault.Error
	}
	return "overloaded"
}

func (c *call) brokenBody(rep reply, at phase) []byte {
	f := c.failure(c.told())
	if rep.broken == nil {
		return c.api.errorBody(c, f)
	}
	return rep.broken(f, at, -1)
}

// turns finds the first frame with content, and a place after half of them.
func turns(frames []frame) (begin, middle int) {
	begin, last := -1, 0
	for i, f := range frames {
		if f.part != content {
			continue
		}
		if begin < 0 {
			begin = i
		}
		last = i
	}
	if begin < 0 {
		return 0, 0
	}
	return begin, max((begin+last+1)/2, begin+1)
}

func raw(frames []frame) [][]byte {
	out := make([][]byte, len(frames))
	for i, f := range frames {
		out[i] = f.raw
	}
	return out
}

func quarters(b []byte) [][]byte {
	var out [][]byte
	for i := range 4 {
		out = append(out, b[len(b)*i/4:len(b)*(i+1)/4])
	}
	return out
}

// gzipped compresses the pieces as one stream that can be read piece by piece.
func gzipped(pieces [][]byte) [][]byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	out := make([][]byte, 0, len(pieces))
	for i, p := range pieces {
		_, _ = z.Write(p) // a bytes.Buffer takes everything
		_ = z.Flush()
		if i == len(pieces)-1 {
			_ = z.Close()
		}
		out = append(out, bytes.Clone(b.Bytes()))
		b.Reset()
	}
	return out
}

// pause waits; false: the client has gone.
func (c *call) pause(d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-c.r.Context().Done():
		return false
	case <-c.sim.done:
		return true
	}
}

// silence lasts until the client goes away or the simulator closes.
func (c *call) silence() {
	select {
	case <-c.r.Context().Done():
	case <-c.sim.done:
	}
	panic(http.ErrAbortHandler)
}

// drop ends the connection without an answer: refuse closes it, reset breaks it.
func (c *call) drop() {
	c.note(0)
	conn, _, err := http.NewResponseController(c.w).Hijack()
	if err != nil { // HTTP/2: the stream is reset instead
		panic(http.ErrAbortHandler)
	}
	if l, ok := conn.(interface{ SetLinger(seconds int) error }); ok && c.fault.Name == "reset" {
		_ = l.SetLinger(0)
	}
	_ = conn.Close()
	panic(http.ErrAbortHandler)
}
