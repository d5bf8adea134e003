package simulator

import (
	"bytes"
	"net/http"
	"sync"
	"time"
)

// loggedBody bounds what the log keeps of a body.
const loggedBody = 64 << 10

// Call is one request that reached the simulator. Header and Body are as they
// came, secrets included: for tests. The admin endpoint leaves both out.
type Call struct {
	Time     time.Time   `json:"time"`
	Provider string      `json:"provider"`
	KeyName  string      `json:"key"` // empty: the credential was not one of ours
	Method   string      `json:"method"`
	Path     string      `json:"path"` // escaped, from the provider's root
	Query    string      `json:"query,omitempty"`
	Model    string      `json:"model,omitempty"`
	Stream   bool        `json:"stream,omitempty"`
	Fault    string      `json:"fault,omitempty"`
	Status   int         `json:"status"` // 0: no head was sent
	Header   http.Header `json:"-"`
	Body     []byte      `json:"-"` // the first 64 KiB
}

// note logs the call, before the client can see any of its answer.
func (c *call) note(status int) {
	e := Call{
		Time: c.start, Provider: c.api.name, Method: c.r.Method, Path: c.path, Query: c.r.URL.RawQuery,
		Model: c.model, Stream: c.stream, Fault: c.fault.Name, Status: status,
		Header: c.r.Header.Clone(), Body: bytes.Clone(c.body[:min(len(c.body), loggedBody)]),
	}
	if c.key != nil {
		e.KeyName = c.key.Name
	}
	c.sim.log.add(e)
}

// ring keeps the last calls.
type ring struct {
	mu    sync.Mutex
	calls []Call
	next  int // where the next one goes, once calls is full
	size  int
}

func newRing(size int) *ring { return &ring{size: size} }

func (r *ring) add(c Call) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.calls) < r.size {
		r.calls = append(r.calls, c)
		return
	}
	r.calls[r.next] = c
	r.next = (r.next + 1) % r.size
}

func (r *ring) list() []Call {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append(append([]Call{}, r.calls[r.next:]...), r.calls[:r.next]...)
}

func (r *ring) reset() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls, r.next = nil, 0
}
