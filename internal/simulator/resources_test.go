package simulator_test

import (
	"bytes"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"io"
	"math"
	"mime/multipart"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/tidwall/gjson"
)

// form is a multipart body with a file.
func form(t *testing.T, fields ...string) (body, contentType string) {
	t.Helper()
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for i := 0; i < len(fields); i += 2 {
		_ = w.WriteField(fields[i], fields[i+1])
	}
	part, _ := w.CreateFormFile("file", "data.jsonl")
	_, _ = io.WriteString(part, "{\"a\":1}\n")
	_ = w.Close()
	return b.String(), w.FormDataContentType()
}

// TestFiles lives through a file at both providers, and shows that other
// projects do not see it.
func TestFiles(t *testing.T) {
	g := overTCP(t, options())
	for _, tc := range []struct{ base, gone string }{
		{"/openai/v1/files", `{"id":"ID","object":"file","deleted":true}`},
		{"/anthropic/v1/files", `{"id":"ID","type":"file_deleted"}`},
	} {
		body, contentType := form(t, "purpose", "batch")
		up := g.must(asking{path: tc.base, body: body, header: http.Header{"Content-Type": {contentType}}})
		id := up.get("id").String()
		if up.get("filename").String() != "data.jsonl" || up.get("bytes").Int()+up.get("size_bytes").Int() != 8 {
			t.Errorf("uploaded %s", up.body)
		}
		one := asking{path: tc.base + "/" + id, method: http.MethodGet}
		isBytes(t, "the file", g.must(one).body, up.body)
		list := g.must(asking{path: tc.base, method: http.MethodGet})
		if len(list.get("data").Array()) != 1 || list.get("data.0.id").String() != id || list.get("first_id").String() != id || list.get("last_id").String() != id {
			t.Errorf("list %s", list.body)
		}
		isBytes(t, "the content", g.must(asking{path: one.path + "/content", method: http.MethodGet}).body, []byte("{\"a\":1}\n"))
		for _, a := range []asking{one, {path: one.path, method: http.MethodDelete}, {path: one.path + "/content", method: http.MethodGet}} {
			a.key = 1
			if r := g.ask(a); r.status != http.StatusNotFound {
				t.Errorf("another project: %d %s", r.status, r.body)
			}
		}
		gone := g.must(asking{path: one.path, method: http.MethodDelete})
		if got := gone.get("@ugly").Raw; got != strings.ReplaceAll(tc.gone, "ID", id) {
			t.Errorf("deleted %s", got)
		}
		if r := g.ask(one); r.status != http.StatusNotFound {
			t.Errorf("after its end: %d", r.status)
		}
	}
	if r := g.ask(asking{path: "/openai/v1/files", body: "{}"}); r.status != 400 || r.get("error.param").String() != "file" {
		t.Errorf("no file: %s", r.body)
	}
}

// TestState lives through batches, conversations and stored responses.
func TestState(t *testing.T) {
	g := overTCP(t, options())
	body, contentType := form(t, "purpose", "batch")
	file := g.must(asking{path: "/openai/v1/files", body: body, header: http.Header{"Content-Type": {contentType}}}).get("id").String()
	const batches = "/openai/v1/batches"
	batch := g.must(asking{path: batches, body: `{"input_file_id":"` + file + `","endpoint":"/v1/responses","completion_window":"24h"}`})
	id := batch.get("id").String()
	if batch.get("status").String() != "validating" || batch.get("input_file_id").String() != file {
		t.Errorf("batch %s", batch.body)
	}
	g.must(asking{path: batches + "/" + id + "/cancel"})
	if s := g.must(asking{path: batches + "/" + id, method: http.MethodGet}); s.get("status").String() != "cancelling" || s.get("endpoint").String() != "/v1/responses" {
		t.Errorf("cancelled: %s", s.body)
	}
	if r := g.ask(asking{path: batches, body: `{"input_file_id":"file-x","endpoint":"/v1/responses","completion_window":"24h"}`}); r.status != 404 {
		t.Errorf("batch of no file: %d", r.status)
	}

	const conversations = "/openai/v1/conversations"
	conv := g.must(asking{path: conversations, body: `{"items":[{"type":"message","role":"user","content":"one"}],"metadata":{"a":"b"}}`}).get("id").String()
	g.must(asking{path: conversations + "/" + conv + "/items", body: `{"items":[{"type":"message","role":"user","content":"two"}]}`})
	items := g.must(asking{path: conversations + "/" + conv + "/items", method: http.MethodGet})
	if got := items.get("data.#.content").Raw; got != `["two","one"]` || items.get("data.0.id").String() == items.get("data.1.id").String() {
		t.Errorf("items %s", items.body)
	}
	if r := g.ask(asking{path: conversations + "/" + conv + "/items", body: `{"items":[` + strings.Repeat("{},", 20) + `{}]}`}); r.status != 400 {
		t.Errorf("21 items: %d", r.status)
	}

	first := g.must(asking{path: apis[1].path, body: `{"model":"gpt-5","input":"one","conversation":"` + conv + `"}`})
	resp := first.get("id").String()
	next := asking{path: apis[1].path, body: `{"model":"gpt-5","input":"two","previous_response_id":"` + resp + `"}`}
	if r := g.must(next); r.get("previous_response_id").String() != resp {
		t.Errorf("continued: %s", r.body)
	}
	next.key = 1
	if r := g.ask(next); r.get("error.code").String() != "previous_response_not_found" {
		t.Errorf("continued by another project: %s", r.body)
	}
	isBytes(t, "stored", g.must(asking{path: apis[1].path + "/" + resp, method: http.MethodGet}).body, first.body)
	if in := g.must(asking{path: apis[1].path + "/" + resp + "/input_items", method: http.MethodGet}); in.get("data.0.content.0.text").String() != "one" {
		t.Errorf("input items %s", in.body)
	}
	if r := g.ask(asking{path: apis[1].path + "/" + resp + "/cancel"}); r.status != 400 {
		t.Errorf("cancel: %d", r.status)
	}
	g.must(asking{path: apis[1].path + "/" + resp, method: http.MethodDelete})
	unstored := g.must(asking{path: apis[1].path, body: `{"model":"gpt-5","input":"one","store":false}`}).get("id").String()
	for _, id := range []string{resp, unstored} {
		if r := g.ask(asking{path: apis[1].path + "/" + id, method: http.MethodGet}); r.status != 404 {
			t.Errorf("gone, or never stored: %d", r.status)
		}
	}

	const message = "/anthropic/v1/messages/batches"
	mb := g.must(asking{path: message, body: `{"requests":[{"custom_id":"a","params":{}},{"custom_id":"b","params":{}}]}`})
	g.must(asking{path: message + "/" + mb.get("id").String() + "/cancel"})
	mb = g.must(asking{path: message + "/" + mb.get("id").String(), method: http.MethodGet})
	if mb.get("processing_status").String() != "canceling" || mb.get("request_counts.processing").Int() != 2 {
		t.Errorf("message batch %s", mb.body)
	}
	if r := g.ask(asking{path: message, body: `{"requests":[{"params":{}}]}`}); r.get("error.message").String() != "requests.0.custom_id: Field required" {
		t.Errorf("%s", r.body)
	}
}

// TestModels lists, pages and shows models.
func TestModels(t *testing.T) {
	g := overTCP(t, options())
	list := g.must(asking{path: "/openai/v1/models", method: http.MethodGet})
	members(t, "list", gjson.ParseBytes(list.body), "object data")
	members(t, "model", list.get("data.0"), "id object created owned_by")
	var seen []string
	after := ""
	for more := true; more; {
		p := g.must(asking{path: "/anthropic/v1/models?limit=2&after_id=" + after, method: http.MethodGet})
		members(t, "page", gjson.ParseBytes(p.body), "data has_more first_id last_id")
		for _, m := range p.get("data").Array() {
			members(t, "model", m, "type id display_name created_at max_input_tokens max_tokens capabilities")
			seen = append(seen, m.Get("id").String())
		}
		more, after = p.get("has_more").Bool(), p.get("last_id").String()
	}
	all := g.must(asking{path: "/anthropic/v1/models", method: http.MethodGet})
	if want := all.get("data.#.id").Raw; string(must(json.Marshal(seen))) != want {
		t.Errorf("paged %q, all %s", seen, want)
	}
	if back := g.must(asking{path: "/anthropic/v1/models?limit=1&before_id=" + seen[2], method: http.MethodGet}); back.get("data.0.id").String() != seen[1] {
		t.Errorf("backwards: %s", back.body)
	}
	if r := g.ask(asking{path: "/anthropic/v1/models?limit=0", method: http.MethodGet}); r.status != 400 {
		t.Errorf("limit=0: %d", r.status)
	}
	if m := g.must(asking{path: "/anthropic/v1/models/claude-haiku-4-5", method: http.MethodGet}); m.get("id").String() != "claude-haiku-4-5-20251001" {
		t.Errorf("alias %s", m.body)
	}
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// TestSmallAnswers holds embeddings, moderations and counts to their shapes.
func TestSmallAnswers(t *testing.T) {
	g := overTCP(t, options())
	const path = "/openai/v1/embeddings"
	plain := g.must(asking{path: path, body: `{"model":"text-embedding-3-small","input":["a","b"],"dimensions":8}`})
	packed := g.must(asking{path: path, body: `{"model":"text-embedding-3-small","input":["a","b"],"dimensions":8,"encoding_format":"base64"}`})
	members(t, "embeddings", gjson.ParseBytes(plain.body), "object data model usage")
	for i, e := range plain.get("data").Array() {
		raw, err := base64.StdEncoding.DecodeString(packed.get("data." + strconv.Itoa(i) + ".embedding").String())
		if err != nil || len(raw) != 32 {
			t.Fatalf("base64: %d bytes, %v", len(raw), err)
		}
		sum := 0.0
		for j, v := range e.Get("embedding").Array() {
			f := math.Float32frombits(binary.LittleEndian.Uint32(raw[j*4:]))
			if float32(v.Float()) != f {
				t.Errorf("%d.%d: %v as a number, %v packed", i, j, v, f)
			}
			sum += v.Float() * v.Float()
		}
		if math.Abs(sum-1) > 1e-5 || e.Get("index").Int() != int64(i) {
			t.Errorf("embedding %d has length %v", i, sum)
		}
	}
	if plain.get("data.0.embedding.0").Float() == plain.get("data.1.embedding.0").Float() {
		t.Error("two texts, one vector")
	}
	mod := g.must(asking{path: "/openai/v1/moderations", body: `{"input":["a","b"]}`})
	if len(mod.get("results").Array()) != 2 || mod.get("results.0.flagged").Bool() || mod.get("model").String() != "omni-moderation-latest" {
		t.Errorf("moderations %s", mod.body)
	}
	count := g.must(asking{path: "/anthropic/v1/messages/count_tokens", body: apis[2].body("hello", "")})
	used := g.must(asking{path: apis[2].path, body: apis[2].body("hello", "")})
	if n := count.get("input_tokens").Int(); n != used.get("usage.input_tokens").Int() || n == 0 {
		t.Errorf("counted %s, used %s", count.body, used.get("usage").Raw)
	}
	in := g.must(asking{path: "/openai/v1/responses/input_tokens", body: apis[1].body("hello", "")})
	if n := g.must(asking{path: apis[1].path, body: apis[1].body("hello", "")}).get("usage.input_tokens").Int(); n != in.get("input_tokens").Int() {
		t.Errorf("counted %s, used %d", in.body, n)
	}
	if r := g.ask(asking{path: "/openai/v1/models", method: http.MethodHead}); r.status != 200 || len(r.body) != 0 {
		t.Errorf("HEAD: %d, %d bytes", r.status, len(r.body))
	}
}
