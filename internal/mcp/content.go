package mcp

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/llm"
)

// mostParts bounds the pieces of a result, however small they are.
const mostParts = 64

// result collects what the model is given of a tool's result, within a limit.
type result struct {
	parts  []llm.Part
	limit  int
	left   int
	size   int // of what there was
	omits  int // pieces for which there was no room
	hidden *strings.Replacer
}

// read turns what a server returned into parts.
func (r *result) read(res *sdk.CallToolResult) {
	for _, c := range res.Content {
		r.piece(c)
	}
	if len(res.Content) == 0 && res.StructuredContent != nil {
		r.text(encode(res.StructuredContent))
	}
	if r.omits > 0 {
		r.parts = append(r.parts, llm.Part{Text: fmt.Sprintf("[%d more pieces of this result are left out: it is too large.]", r.omits)})
	}
}

func (r *result) piece(c sdk.Content) {
	switch c := c.(type) {
	case *sdk.TextContent:
		r.text(c.Text)
	case *sdk.ImageContent:
		r.image("image", c.MIMEType, c.Data)
	case *sdk.AudioContent:
		r.describe("audio", c.MIMEType, len(c.Data))
	case *sdk.ResourceLink:
		r.text(linked(c))
	case *sdk.EmbeddedResource:
		r.embedded(c.Resource)
	}
}

func (r *result) embedded(c *sdk.ResourceContents) {
	switch {
	case c == nil:
	case len(c.Blob) == 0:
		r.text("Resource " + c.URI + ":\n" + c.Text)
	case isImage(c.MIMEType):
		r.image("resource "+c.URI, c.MIMEType, c.Blob)
	default:
		r.describe("resource "+c.URI, c.MIMEType, len(c.Blob))
	}
}

func linked(c *sdk.ResourceLink) string {
	var b strings.Builder
	b.WriteString("Resource " + c.URI)
	for _, detail := range []struct{ what, text string }{{"name", c.Name}, {"title", c.Title}, {"type", c.MIMEType}, {"description", c.Description}} {
		if detail.text != "" {
			b.WriteString("\n" + detail.what + ": " + detail.text)
		}
	}
	return b.String()
}

// text adds a text, or as much of it as there is room for.
func (r *result) text(text string) {
	r.size += len(text)
	r.say(text)
}

func (r *result) say(text string) {
	if text == "" {
		return
	}
	text = r.hidden.Replace(strings.ToValidUTF8(text, "\uFFFD"))
	if !r.room() {
		return
	}
	if len(text) > r.left {
		whole := len(text)
		text = text[:boundary(text, r.left)]
		text += fmt.Sprintf("\n[Cut off here: this text has %d bytes, a result may have %d.]", whole, r.limit)
		r.left = 0
	} else {
		r.left -= len(text)
	}
	r.parts = append(r.parts, llm.Part{Text: text})
}

// image adds an image that models can see, and describes others.
func (r *result) image(what, mime string, data []byte) {
	if !isImage(mime) {
		r.describe(what, mime, len(data))
		return
	}
	size := base64.StdEncoding.EncodedLen(len(data))
	if size == 0 || size > r.left {
		r.describe(what, mime, len(data))
		return
	}
	r.size += len(data)
	if r.room() {
		r.left -= size
		r.parts = append(r.parts, llm.Part{MIME: mediaType(mime), Data: base64.StdEncoding.EncodeToString(data)})
	}
}

// describe says that there is something the model cannot be given.
func (r *result) describe(what, mime string, size int) {
	if mime == "" {
		mime = "of unknown type"
	}
	why := "only texts and PNG, JPEG, GIF and WebP images can be shown"
	if isImage(mime) {
		why = "it is too large to be shown"
	}
	r.size += size
	r.say(fmt.Sprintf("[%s, %s, %d bytes: %s]", cut(what, 1<<10), cut(mime, 128), size, why))
}

// room says that there is room for another piece.
func (r *result) room() bool {
	if r.left > 0 && len(r.parts) < mostParts {
		return true
	}
	r.omits++
	return false
}

func isImage(mime string) bool {
	switch mediaType(mime) {
	case "image/png", "image/jpeg", "image/gif", "image/webp":
		return true
	}
	return false
}

func mediaType(mime string) string {
	bare, _, _ := strings.Cut(mime, ";")
	if bare = strings.ToLower(strings.TrimSpace(bare)); bare == "image/jpg" {
		return "image/jpeg"
	}
	return bare
}

// encode writes JSON as it is meant to be read, with <, > and & as they are.
func encode(v any) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(v); err != nil {
		return ""
	}
	return strings.TrimSuffix(b.String(), "\n")
}
