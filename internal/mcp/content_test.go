package mcp

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/llm"
)

func TestContent(t *testing.T) {
	picture := []byte("not really a picture")
	data := base64.StdEncoding.EncodeToString(picture)
	image := func(mime string) string { return `{"type":"image","mimeType":"` + mime + `","data":"` + data + `"}` }
	large := base64.StdEncoding.EncodeToString(make([]byte, 200))
	tests := map[string]struct {
		result string
		want   []llm.Part
		size   int
	}{
		"nothing":  {`{"content":[]}`, nil, 0},
		"texts":    {`{"content":[{"type":"text","text":"a"},{"type":"text","text":""},{"type":"text","text":"b"}]}`, []llm.Part{{Text: "a"}, {Text: "b"}}, 2},
		"png":      {`{"content":[` + image("image/png") + `]}`, []llm.Part{{MIME: "image/png", Data: data}}, 20},
		"jpg":      {`{"content":[` + image("Image/JPG; q=1") + `]}`, []llm.Part{{MIME: "image/jpeg", Data: data}}, 20},
		"tiff":     {`{"content":[` + image("image/tiff") + `]}`, []llm.Part{{Text: "[image, image/tiff, 20 bytes: only texts and PNG, JPEG, GIF and WebP images can be shown]"}}, 20},
		"too big":  {`{"content":[{"type":"image","mimeType":"image/gif","data":"` + large + `"}]}`, []llm.Part{{Text: "[image, image/gif, 200 bytes: it is too large to be shown]"}}, 200},
		"audio":    {`{"content":[{"type":"audio","mimeType":"audio/wav","data":"` + data + `"}]}`, []llm.Part{{Text: "[audio, audio/wav, 20 bytes: only texts and PNG, JPEG, GIF and WebP images can be shown]"}}, 20},
		"link":     {`{"content":[{"type":"resource_link","uri":"doc:1","name":"one","description":"first","mimeType":"text/plain"}]}`, []llm.Part{{Text: "Resource doc:1\nname: one\ntype: text/plain\ndescription: first"}}, 60},
		"text res": {`{"content":[{"type":"resource","resource":{"uri":"doc:1","text":"words"}}]}`, []llm.Part{{Text: "Resource doc:1:\nwords"}}, 21},
		"image res": {
			`{"content":[{"type":"resource","resource":{"uri":"doc:1","mimeType":"image/webp","blob":"` + data + `"}}]}`,
			[]llm.Part{{MIME: "image/webp", Data: data}},
			20,
		},
		"blob res": {
			`{"content":[{"type":"resource","resource":{"uri":"d:1","mimeType":"a/zip","blob":"` + data + `"}}]}`,
			[]llm.Part{{Text: "[resource d:1, a/zip, 20 bytes: only texts and PNG, JPEG, GIF and WebP images can be shown]"}},
			20,
		},
		"structured":     {`{"content":[],"structuredContent":{"b":1,"a":"<&>"}}`, []llm.Part{{Text: `{"a":"<&>","b":1}`}}, 17},
		"both":           {`{"content":[{"type":"text","text":"t"}],"structuredContent":{"a":1}}`, []llm.Part{{Text: "t"}}, 1},
		"cut at a rune":  {`{"content":[{"type":"text","text":"` + strings.Repeat("a", 99) + `é"},{"type":"text","text":"more"}]}`, []llm.Part{{Text: strings.Repeat("a", 99) + "\n[Cut off here: this text has 101 bytes, a result may have 100.]"}, {Text: "[1 more pieces of this result are left out: it is too large.]"}}, 105},
		"masked":         {`{"content":[{"type":"text","text":"it is hunter22"}]}`, []llm.Part{{Text: "it is ***"}}, 14},
		"a missing blob": {`{"content":[{"type":"resource","resource":{"uri":"doc:1"}}]}`, []llm.Part{{Text: "Resource doc:1:\n"}}, 16},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var res sdk.CallToolResult
			if err := json.Unmarshal([]byte(tt.result), &res); err != nil {
				t.Fatal(err)
			}
			r := result{limit: 100, left: 100, hidden: mask(nil, map[string]string{"Authorization": "Bearer hunter22"})}
			r.read(&res)
			if diff := cmp.Diff(tt.want, r.parts); diff != "" || r.size != tt.size {
				t.Errorf("%d bytes, want %d; -want +got\n%s", r.size, tt.size, diff)
			}
		})
	}
}

func TestManyPieces(t *testing.T) {
	res := &sdk.CallToolResult{}
	for range 1000 {
		res.Content = append(res.Content, &sdk.TextContent{Text: "a"})
	}
	r := result{limit: 1 << 20, left: 1 << 20, hidden: mask(nil)}
	r.read(res)
	if len(r.parts) != mostParts+1 || !strings.Contains(r.parts[mostParts].Text, "936 more") {
		t.Errorf("%d parts, the last says %q", len(r.parts), r.parts[len(r.parts)-1].Text)
	}
}
