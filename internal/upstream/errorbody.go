package upstream

import (
	"bytes"
	"compress/flate"
	"compress/gzip"
	"compress/zlib"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/klauspost/compress/zstd"

	"keybridge/keypool"
)

const (
	errorLimit = keypool.ErrorBodyLimit
	errorTime  = keypool.ErrorBodyTime
	zstdWindow = 8 << 20
)

// ErrStalled is why an error body that did not come in time is not whole.
var ErrStalled = errors.New("the error body stalled")

// ErrorBody is what could be read of an error answer.
type ErrorBody struct {
	Raw  []byte // as it came
	Text []byte // decoded, at most 64 KiB, for judging; Raw if it was not encoded or we cannot decode it
	// Whole says that Raw is the complete body.
	Whole bool
	// Err is why the rest cannot be read. If it is nil and the body is not Whole,
	// the rest is still to be read from the answer.
	Err error
}

// ReadError reads an error answer's body to 64 KiB and for two seconds, so that a
// stalled one cannot stall a failover. It closes the body at a stall only: the
// caller closes it in any case.
func ReadError(resp *http.Response) ErrorBody {
	var stalled atomic.Bool
	timer := time.AfterFunc(errorTime, func() {
		stalled.Store(true)
		_ = resp.Body.Close() // the one way to end a Read
	})
	// One byte more tells a body of exactly the limit from a longer one.
	raw, err := io.ReadAll(io.LimitReader(resp.Body, errorLimit+1))
	timer.Stop()
	b := ErrorBody{Raw: raw}
	switch {
	case stalled.Load() && err != nil:
		b.Err = ErrStalled
	case err != nil:
		b.Err = err
	default:
		b.Whole = len(raw) <= errorLimit
	}
	b.Text = raw
	if text, ok := Decode(resp.Header.Get("Content-Encoding"), raw, errorLimit); ok {
		b.Text = text
	}
	return b
}

// Masked returns the body for the client: Raw, unless a secret stands in it. Then
// it is the masked Text, and h loses what described the raw bytes. It sees what
// was read only: the rest of a body that is not Whole is the caller's to search.
func (b ErrorBody) Masked(m *Masker, h http.Header) []byte {
	text := m.Mask(b.Text)
	if len(text) == len(b.Text) && bytes.Equal(text, b.Text) {
		return b.Raw
	}
	for _, k := range []string{"Content-Encoding", "Content-Length", "Digest", "Content-Digest", "Content-Md5"} {
		h.Del(k)
	}
	return text
}

// Decode decodes a copy of a body that came with a Content-Encoding, at most
// limit bytes of it, and as far as it goes if it was cut. It knows gzip, deflate
// and zstd; ok is false for anything else, and where nothing could be decoded.
func Decode(encoding string, body []byte, limit int64) (text []byte, ok bool) {
	r, err := decoder(strings.ToLower(strings.TrimSpace(encoding)), body)
	if err != nil {
		return nil, false
	}
	defer r.Close() //nolint:errcheck // it reads from memory
	text, err = io.ReadAll(io.LimitReader(r, limit))
	return text, err == nil || len(text) > 0
}

var errEncoding = errors.New("unknown content encoding")

func decoder(encoding string, body []byte) (io.ReadCloser, error) {
	switch encoding {
	case "gzip", "x-gzip":
		return gzip.NewReader(bytes.NewReader(body))
	case "deflate":
		// The name means zlib; some senders leave its frame out.
		if r, err := zlib.NewReader(bytes.NewReader(body)); err == nil {
			return r, nil
		}
		return flate.NewReader(bytes.NewReader(body)), nil
	case "zstd":
		d, err := zstd.NewReader(bytes.NewReader(body), zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(zstdWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
	}
	return nil, errEncoding
}
