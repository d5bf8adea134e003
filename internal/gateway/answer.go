package gateway

import (
	"errors"
	"io"
	"net/http"
	"strconv"
	"time"

	"keybridge/internal/upstream"
)

const (
	mostErrorBody = 8 << 20
	restPatience  = 30 * time.Second // for what follows the judged part of an error body
	tailPatience  = time.Second      // for what follows the error in a stream
)

var errLongBody = errors.New("the error body is too long")

// answer is an upstream's answer that was not committed: it stands for the
// attempt in the failover loop, which picks the one that the client is shown.
type answer struct {
	resp *http.Response
	body upstream.ErrorBody
	said []byte // the error itself, as JSON if it is any
	// rest is what follows the body's judged part, nil if nothing does. It is read
	// only if the answer is shown, so that it cannot delay another key.
	rest   io.Reader
	stream bool   // the error stood inside a 200
	stop   func() // ends the reading of rest
}

func (a *answer) Error() string {
	if a.stream {
		return errUpstream.Error()
	}
	return "the upstream answered " + strconv.Itoa(a.resp.StatusCode)
}

// readRest completes the body.
func (a *answer) readRest() {
	if a.rest == nil {
		return
	}
	patience := restPatience
	if a.stream {
		patience = tailPatience
	}
	timer := time.AfterFunc(patience, a.stop)
	defer timer.Stop()
	more, err := io.ReadAll(io.LimitReader(a.rest, mostErrorBody))
	if err == nil && len(more) == mostErrorBody {
		err = errLongBody
	}
	a.body.Raw = append(a.body.Raw, more...)
	a.body.Text = a.body.Raw
	if a.stream {
		return // the error has been told: whatever breaks behind it is no short answer
	}
	a.body.Err = err
	if text, ok := upstream.Decode(a.resp.Header.Get("Content-Encoding"), a.body.Raw, mostErrorBody); ok {
		a.body.Text = text
	}
}

// header is the part of the answer's header that the client is shown. Like the
// body it may quote a key.
func (a *answer) header(m *upstream.Masker) http.Header {
	h := http.Header{}
	upstream.ClientHeader(h, a.resp, upstream.Rewrite{Pooled: true, Masker: m})
	return h
}
