package route

import (
	"net/http"
	"strings"
)

// methods is a set of the HTTP methods that an endpoint knows. HEAD goes where GET goes.
type methods uint8

const (
	get methods = 1 << iota
	post
	del
)

// traits is what an endpoint is for, and what may be done with a POST to it.
type traits uint8

const (
	infer  traits = 1 << iota // nothing is created: may be sent twice
	upload                    // bodies beyond the usual limit are its purpose
	keep                      // it is about what the provider keeps, whose id stands first in the path
)

// endpoint is one row of what is served. The pattern is written as clients of the
// short form see it, "/v1/…", and is the metrics' label.
type endpoint struct {
	pattern string
	methods methods
	api     API
	traits  traits
}

// openAI is what is served of OpenAI's API, and of those compatible with it.
var openAI = index([]endpoint{ //nolint:gochecknoglobals // a constant table
	{"/v1/chat/completions", post, Chat, infer},
	{"/v1/responses", post, Responses, infer},
	{"/v1/responses/input_tokens", post, Opaque, infer},
	{"/v1/responses/compact", post, Opaque, infer},
	{"/v1/responses/{id}", get | del, Opaque, keep},
	{"/v1/responses/{id}/cancel", post, Opaque, keep},
	{"/v1/responses/{id}/input_items", get, Opaque, keep},
	{"/v1/conversations", post, Opaque, keep},
	{"/v1/conversations/{id}", get | post | del, Opaque, keep},
	{"/v1/conversations/{id}/items", get | post, Opaque, keep},
	{"/v1/conversations/{id}/items/{id}", get | del, Opaque, keep},
	{"/v1/models", get, Opaque, 0},
	{"/v1/models/{id}", get | del, Opaque, 0},
	{"/v1/embeddings", post, Opaque, infer},
	{"/v1/moderations", post, Opaque, infer},
	{"/v1/files", get | post, Opaque, upload | keep},
	{"/v1/files/{id}", get | del, Opaque, keep},
	{"/v1/files/{id}/content", get, Opaque, keep},
	{"/v1/uploads", post, Opaque, keep},
	{"/v1/uploads/{id}/parts", post, Opaque, upload | keep},
	{"/v1/uploads/{id}/complete", post, Opaque, keep},
	{"/v1/uploads/{id}/cancel", post, Opaque, keep},
	{"/v1/batches", get | post, Opaque, keep},
	{"/v1/batches/{id}", get, Opaque, keep},
	{"/v1/batches/{id}/cancel", post, Opaque, keep},
	{"/v1/images/generations", post, Opaque, 0},
	{"/v1/images/edits", post, Opaque, upload},
	{"/v1/images/variations", post, Opaque, upload},
	{"/v1/audio/speech", post, Opaque, 0},
	{"/v1/audio/transcriptions", post, Opaque, upload},
	{"/v1/audio/translations", post, Opaque, upload},
})

// anthropic is what is served of Anthropic's API.
var anthropic = index([]endpoint{ //nolint:gochecknoglobals // a constant table
	{"/v1/messages", post, Messages, infer},
	{"/v1/messages/count_tokens", post, Opaque, infer},
	{"/v1/messages/batches", get | post, Opaque, upload | keep},
	{"/v1/messages/batches/{id}", get | del, Opaque, keep},
	{"/v1/messages/batches/{id}/cancel", post, Opaque, keep},
	{"/v1/messages/batches/{id}/results", get, Opaque, keep},
	{"/v1/models", get, Opaque, 0},
	{"/v1/models/{id}", get, Opaque, 0},
	{"/v1/files", get | post, Opaque, upload | keep},
	{"/v1/files/{id}", get | del, Opaque, keep},
	{"/v1/files/{id}/content", get, Opaque, keep},
})

// catalogue holds the endpoints of one API by their first segment after /v1, in
// the order of the table: literal segments stand before the {id} they could match.
type catalogue struct {
	byHead map[string][]*endpoint
	served string // a list for the texts
}

func index(rows []endpoint) *catalogue {
	c := &catalogue{byHead: make(map[string][]*endpoint)}
	var heads []string
	for i := range rows {
		head, _ := cutSegment(rows[i].pattern[len("/v1"):])
		if c.byHead[head] == nil {
			heads = append(heads, head)
		}
		c.byHead[head] = append(c.byHead[head], &rows[i])
	}
	for i, head := range heads {
		first := c.byHead[head][0].pattern
		if len(c.byHead[head]) > 1 && first != "/v1/"+head {
			first = "/v1/" + head + "/…"
		}
		heads[i] = first
	}
	c.served = strings.Join(heads, ", ")
	return c
}

// find returns the endpoint of a clean path below /v1, or nil.
func (c *catalogue) find(below string) *endpoint {
	head, _ := cutSegment(below)
	for _, e := range c.byHead[head] {
		if matches(e.pattern[len("/v1"):], below) {
			return e
		}
	}
	return nil
}

func matches(pattern, path string) bool {
	for pattern != "" && path != "" {
		var want, got string
		want, pattern = cutSegment(pattern)
		got, path = cutSegment(path)
		if want != got && want != "{id}" {
			return false
		}
	}
	return pattern == path // both at their end
}

// cutSegment takes the first segment off a path that begins with a slash. The rest
// begins with a slash or is empty.
func cutSegment(path string) (segment, rest string) {
	path = path[1:]
	if i := strings.IndexByte(path, '/'); i >= 0 {
		return path[:i], path[i:]
	}
	return path, ""
}

func method(name string) methods {
	switch name {
	case http.MethodGet, http.MethodHead:
		return get
	case http.MethodPost:
		return post
	case http.MethodDelete:
		return del
	}
	return 0
}

// String lists the methods for a text: "GET, POST or DELETE".
func (m methods) String() string {
	var names []string
	for _, each := range []struct {
		bit  methods
		name string
	}{{get, http.MethodGet}, {post, http.MethodPost}, {del, http.MethodDelete}} {
		if m&each.bit != 0 {
			names = append(names, each.name)
		}
	}
	last := len(names) - 1
	if last == 0 {
		return names[0]
	}
	return strings.Join(names[:last], ", ") + " or " + names[last]
}
