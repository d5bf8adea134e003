package simulator

import (
	"bytes"
	"mime"
	"mime/multipart"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	mostObjects = 1024
	mostBytes   = 256 << 20
)

// stored is a thing that outlives its request, visible to its project alone.
type stored struct {
	scope, kind, id string
	json            []byte
	data            []byte
}

// objects keeps the newest things, bounded in number and size.
type objects struct {
	mu    sync.Mutex
	all   []stored // oldest first
	bytes int
}

func newObjects() *objects { return &objects{} }

func (o *objects) put(s stored) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.remove(s.scope, s.kind, s.id)
	o.all = append(o.all, s)
	o.bytes += len(s.json) + len(s.data)
	for len(o.all) > mostObjects || o.bytes > mostBytes {
		o.remove(o.all[0].scope, o.all[0].kind, o.all[0].id)
	}
}

// remove wants o.mu held.
func (o *objects) remove(scope, kind, id string) bool {
	for i, s := range o.all {
		if s.scope == scope && s.kind == kind && s.id == id {
			o.bytes -= len(s.json) + len(s.data)
			o.all = append(o.all[:i], o.all[i+1:]...)
			return true
		}
	}
	return false
}

func (o *objects) drop(scope, kind, id string) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.remove(scope, kind, id)
}

func (o *objects) get(scope, kind, id string) (stored, bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.all {
		if s.scope == scope && s.kind == kind && s.id == id {
			return s, true
		}
	}
	return stored{}, false
}

// add replaces the data of a thing, if it is there.
func (o *objects) add(scope, kind, id string, edit func(data []byte) []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for i := range o.all {
		if s := &o.all[i]; s.scope == scope && s.kind == kind && s.id == id {
			o.bytes -= len(s.data)
			s.data = edit(s.data)
			o.bytes += len(s.data)
		}
	}
}

// list is newest first.
func (o *objects) list(scope, kind string) (out []stored) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range slices.Backward(o.all) {
		if s.scope == scope && s.kind == kind {
			out = append(out, s)
		}
	}
	return out
}

// scope is the project of the key.
func (c *call) scope() string {
	return c.api.name + "/" + c.key.Organization + "/" + c.key.Project
}

func (c *call) has(kind, id string) bool {
	_, ok := c.sim.objects.get(c.scope(), kind, id)
	return ok
}

// keep stores an object, whose first member is its id, and answers with it.
func (c *call) keep(kind string, o object, data []byte) reply {
	id, _ := o[0].value.(string)
	c.sim.objects.put(stored{c.scope(), kind, id, compact(o), data})
	return c.ok(o)
}

// stamp is Anthropic's form of a time, that much later than the answer.
func (c *call) stamp(later time.Duration) string {
	return c.now().Add(later).UTC().Format(time.RFC3339)
}

// upload is what a multipart form brought.
type upload struct {
	name, mime, purpose string
	data                []byte
	found               bool
}

func (c *call) upload() (u upload) {
	_, params, err := mime.ParseMediaType(c.r.Header.Get("Content-Type"))
	if err != nil || params["boundary"] == "" {
		return u
	}
	form := multipart.NewReader(bytes.NewReader(c.body), params["boundary"])
	for {
		part, err := form.NextPart()
		if err != nil {
			return u
		}
		var b bytes.Buffer
		if _, err := b.ReadFrom(part); err != nil {
			return upload{}
		}
		switch part.FormName() {
		case "file":
			u.name, u.data, u.found = part.FileName(), b.Bytes(), true
			u.mime, _, _ = strings.Cut(part.Header.Get("Content-Type"), ";")
		case "purpose":
			u.purpose = b.String()
		}
	}
}

// fileContent is GET /v1/files/{id}/content of both providers.
func fileContent(c *call) reply {
	f, ok := c.sim.objects.get(c.scope(), "file", c.arg)
	switch {
	case !ok && c.api.name == OpenAI:
		return c.fail(noSuch("file", c.arg))
	case !ok:
		return c.fail(anthropicMissing("file"))
	}
	return reply{status: http.StatusOK, contentType: "application/octet-stream", body: f.data}
}
