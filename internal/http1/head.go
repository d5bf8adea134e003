package http1

import (
	"bufio"
	"bytes"
	"io"
	"maps"
	"net/http"
	"net/textproto"
	"strconv"
	"strings"
	"sync/atomic"
)

// readHead reads one head.
func (x *exchange) readHead(br *bufio.Reader, method string) (*http.Response, error) {
	if _, err := br.Peek(1); err != nil {
		return nil, noEOF(err)
	}
	b, _ := br.Peek(br.Buffered())
	if size := x.parse(b, method); size > 0 {
		_, err := br.Discard(size)
		return &x.resp, err
	}
	var about *http.Request
	if method == http.MethodHead {
		about = &headRequest
	}
	resp, err := http.ReadResponse(br, about)
	if err != nil {
		return nil, err
	}
	resp.Request = nil
	return resp, nil
}

var headRequest = http.Request{Method: http.MethodHead} //nolint:gochecknoglobals // a constant

var chunkedCoding = []string{"chunked"} //nolint:gochecknoglobals // a constant

// parse reads a head that begins b into x.resp, with a fraction of the allocations
// of http.ReadResponse, if it is whole and as plain as most are, and returns its size. Of all
// others it says 0: what they mean, or that they are malformed, is http.ReadResponse's to say.
func (x *exchange) parse(b []byte, method string) (size int) {
	size = bytes.Index(b, []byte("\r\n\r\n"))
	if size < 0 {
		return 0
	}
	head := string(b[:size+2])
	line, fields, _ := strings.Cut(head, "\r\n")
	status, ok := strings.CutPrefix(line, "HTTP/1.1 ")
	if !ok || len(status) < 3 || len(status) > 3 && status[3] != ' ' || status[len(status)-1] == ' ' || !isValue(status) {
		return 0
	}
	code, err := strconv.ParseUint(status[:3], 10, 16)
	if err != nil || code < 200 {
		return 0
	}
	x.resp = http.Response{
		Status: status, StatusCode: int(code), Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header, strings.Count(fields, "\n")),
	}
	if !readFields(x.resp.Header, fields) || !frame(&x.resp, method) {
		x.resp = http.Response{}
		return 0
	}
	return size + len("\r\n\r\n")
}

func readFields(h http.Header, fields string) bool {
	values := make([]string, strings.Count(fields, "\n"))
	for fields != "" {
		var line string
		line, fields, _ = strings.Cut(fields, "\r\n")
		name, value, ok := strings.Cut(line, ":")
		if !ok || !isToken(name) || !isValue(value) {
			return false
		}
		key := canonical(name)
		if have := h[key]; have != nil {
			h[key] = append(have, trim(value))
			continue
		}
		values[0] = trim(value)
		h[key], values = values[:1:1], values[1:]
	}
	return true
}

// frame finds out where the body ends.
func frame(resp *http.Response, method string) bool {
	h := resp.Header
	if h["Trailer"] != nil || h["Pragma"] != nil || !oneOf(h["Connection"], "keep-alive") || !oneOf(h["Transfer-Encoding"], "chunked") {
		return false
	}
	coding, lengths := h["Transfer-Encoding"], h["Content-Length"]
	resp.ContentLength = -1
	if lengths != nil {
		n, err := strconv.ParseUint(lengths[0], 10, 63)
		if err != nil || len(lengths) > 1 || coding != nil {
			return false
		}
		resp.ContentLength = int64(n)
	}
	if coding != nil {
		delete(h, "Transfer-Encoding")
		resp.TransferEncoding = chunkedCoding
	}
	switch {
	case resp.StatusCode == http.StatusNoContent, resp.StatusCode == http.StatusNotModified:
		if method != http.MethodHead {
			resp.ContentLength = 0
		}
		resp.Body = http.NoBody
	case resp.ContentLength == 0, method == http.MethodHead:
		resp.Body = http.NoBody
	case coding == nil && lengths == nil:
		resp.Close = true
	}
	return true
}

// oneOf says that there is no such field, or one that says just this.
func oneOf(values []string, want string) bool {
	return values == nil || len(values) == 1 && strings.EqualFold(values[0], want)
}

func noEOF(err error) error {
	if err == io.EOF { //nolint:errorlint // the very value
		return io.ErrUnexpectedEOF
	}
	return err
}

// names are the canonical spellings of the header names that were seen, by the
// spelling they came in. It has a bound: an upstream can make names up.
var names atomic.Pointer[map[string]string] //nolint:gochecknoglobals // a cache

const (
	maxNames = 512
	maxName  = 64
)

func canonical(name string) string {
	known := names.Load()
	if known != nil {
		if key, ok := (*known)[name]; ok {
			return key
		}
	}
	key := textproto.CanonicalMIMEHeaderKey(name)
	if len(name) > maxName || known != nil && len(*known) >= maxNames {
		return key
	}
	more := make(map[string]string, maxNames/8)
	if known != nil {
		maps.Copy(more, *known)
	}
	// A clone: name is part of a head, which would be kept with it.
	name = strings.Clone(name)
	key = textproto.CanonicalMIMEHeaderKey(name)
	more[name] = key
	names.CompareAndSwap(known, &more)
	return key
}
