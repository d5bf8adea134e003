package simulator

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/tidwall/gjson"
)

var openAIModelNames = []string{ //nolint:gochecknoglobals // a constant list
	"gpt-5.6", "gpt-5", "gpt-5-mini", "gpt-5-nano", "gpt-5-codex", "gpt-4.1", "gpt-4.1-mini", "gpt-4o", "gpt-4o-mini",
	"o3", "o4-mini", "text-embedding-3-small", "text-embedding-3-large", "omni-moderation-latest",
}

func openAIModelObject(name string) object {
	return object{{"id", name}, {"object", "model"}, {"created", epoch.Unix()}, {"owned_by", "system"}}
}

func openAIModels(c *call) reply {
	data := list{}
	for _, name := range openAIModelNames {
		data = append(data, openAIModelObject(name))
	}
	return c.ok(object{{"object", "list"}, {"data", data}})
}

func openAIModelInfo(c *call) reply {
	if bad := openAIModel(c); bad != nil {
		return c.fail(*bad)
	}
	return c.ok(openAIModelObject(c.arg))
}

// noSuch is OpenAI's 404 about a thing.
func noSuch(kind, id string) failure {
	f := failure{status: http.StatusNotFound, kind: invalidRequest, param: "id", message: "No such " + kind + " object: " + id}
	if kind == "response" || kind == "conversation" {
		f.param, f.message = "", strings.ToUpper(kind[:1])+kind[1:]+" with id '"+id+"' not found."
	}
	return f
}

func showOpenAI(kind string) func(*call) reply {
	return func(c *call) reply {
		o, ok := c.sim.objects.get(c.scope(), kind, c.arg)
		if !ok {
			return c.fail(noSuch(kind, c.arg))
		}
		return c.ok(json.RawMessage(o.json))
	}
}

func deleteOpenAI(kind, word string) func(*call) reply {
	return func(c *call) reply {
		if !c.sim.objects.drop(c.scope(), kind, c.arg) {
			return c.fail(noSuch(kind, c.arg))
		}
		return c.ok(object{{"id", c.arg}, {"object", word}, {"deleted", true}})
	}
}

func listOpenAI(kind string) func(*call) reply {
	return func(c *call) reply { return c.ok(pageOf(c.sim.objects.list(c.scope(), kind))) }
}

// pageOf is a list with the ids of its ends.
func pageOf(all []stored) object {
	data := list{}
	var firstID, lastID any
	for i, s := range all {
		if i == 0 {
			firstID = s.id
		}
		lastID = s.id
		data = append(data, json.RawMessage(s.json))
	}
	return object{{"object", "list"}, {"data", data}, {"has_more", false}, {"first_id", firstID}, {"last_id", lastID}}
}

func countResponse(c *call) reply {
	if bad := openAIModel(c); bad != nil {
		return c.fail(*bad)
	}
	p, bad := responsesPrompt(c)
	if bad != nil {
		return c.fail(*bad)
	}
	return c.ok(object{{"object", "response.input_tokens"}, {"input_tokens", p.input}})
}

func cancelResponse(c *call) reply {
	o, ok := c.sim.objects.get(c.scope(), "response", c.arg)
	switch {
	case !ok:
		return c.fail(noSuch("response", c.arg))
	case !gjson.GetBytes(o.json, "background").Bool():
		return c.fail(failure{status: http.StatusBadRequest, kind: invalidRequest, message: "Cannot cancel a synchronous response."})
	}
	return c.ok(json.RawMessage(o.json))
}

func inputItems(c *call) reply {
	o, ok := c.sim.objects.get(c.scope(), "response", c.arg)
	if !ok {
		return c.fail(noSuch("response", c.arg))
	}
	items := list{}
	if input := gjson.ParseBytes(o.data); input.IsArray() {
		for _, item := range input.Array() {
			items = append(items, json.RawMessage(item.Raw))
		}
	} else {
		items = append(items, object{
			{"id", "msg_" + seed(c.arg).hex("input", 50)},
			{"type", "message"},
			{"status", "completed"},
			{"content", list{object{{"type", "input_text"}, {"text", input.String()}}}},
			{"role", "user"},
		})
	}
	return c.ok(itemList(items))
}

func itemList(items list) object {
	var firstID, lastID any
	if len(items) > 0 {
		firstID = gjson.GetBytes(compact(items[0]), "id").Value()
		lastID = gjson.GetBytes(compact(items[len(items)-1]), "id").Value()
	}
	return object{{"object", "list"}, {"data", items}, {"first_id", firstID}, {"last_id", lastID}, {"has_more", false}}
}

// embeddings is POST /v1/embeddings: unit vectors made from the text.
func embeddings(c *call) reply {
	if bad := openAIModel(c); bad != nil {
		return c.fail(*bad)
	}
	input := c.get("input")
	if isNull(input) {
		return c.fail(missing("input"))
	}
	inputs := []gjson.Result{input}
	if input.IsArray() && input.Get("0").Type != gjson.Number { // an array of numbers is one text in tokens
		inputs = input.Array()
	}
	size := int(c.get("dimensions").Int())
	if size <= 0 || size > 3072 {
		size = 1536
		if strings.HasSuffix(c.model, "-large") {
			size = 3072
		}
	}
	data, used := list{}, int64(0)
	for i, in := range inputs {
		used += tokens(len(in.Raw))
		var vector any = floats(in.Raw, size)
		if c.get("encoding_format").String() == "base64" {
			vector = packed(floats(in.Raw, size))
		}
		data = append(data, object{{"object", "embedding"}, {"index", i}, {"embedding", vector}})
	}
	r := c.ok(object{
		{"object", "list"},
		{"data", data},
		{"model", c.model},
		{"usage", object{{"prompt_tokens", used}, {"total_tokens", used}}},
	})
	r.use = spent{Input: used}
	return r
}

func floats(text string, size int) []float32 {
	noise := seed(text).bytes("embedding", size*2)
	out := make([]float32, size)
	sum := 0.0
	for i := range out {
		v := float64(binary.LittleEndian.Uint16(noise[i*2:]))/math.MaxUint16 - 0.5
		out[i] = float32(v)
		sum += v * v
	}
	for i := range out {
		out[i] /= float32(math.Sqrt(sum))
	}
	return out
}

func packed(vector []float32) string {
	b := make([]byte, 0, len(vector)*4)
	for _, v := range vector {
		b = binary.LittleEndian.AppendUint32(b, math.Float32bits(v))
	}
	return base64.StdEncoding.EncodeToString(b)
}

// moderations is POST /v1/moderations: nothing is ever flagged.
func moderations(c *call) reply {
	input := c.get("input")
	if isNull(input) {
		return c.fail(missing("input"))
	}
	names := []string{
		"harassment", "harassment/threatening", "hate", "hate/threatening", "illicit", "illicit/violent", "self-harm",
		"self-harm/instructions", "self-harm/intent", "sexual", "sexual/minors", "violence", "violence/graphic",
	}
	var flags, scores, types object
	for _, n := range names {
		flags = append(flags, member{n, false})
		scores = append(scores, member{n, 0.00001})
		types = append(types, member{n, list{"text"}})
	}
	one := object{{"flagged", false}, {"categories", flags}, {"category_scores", scores}, {"category_applied_input_types", types}}
	results := list{one}
	if input.IsArray() && input.Get("0").Type == gjson.String {
		results = slices.Repeat(results, len(input.Array()))
	}
	model := c.model
	if model == "" {
		model = "omni-moderation-latest"
	}
	return c.ok(object{{"id", "modr-" + c.ids.hex("answer", 32)}, {"model", model}, {"results", results}})
}

func uploadOpenAI(c *call) reply {
	u := c.upload()
	switch {
	case !u.found:
		return c.fail(missing("file"))
	case u.purpose == "":
		return c.fail(missing("purpose"))
	}
	return c.keep("file", object{
		{"id", "file-" + c.ids.alnum("file", 22)},
		{"object", "file"},
		{"bytes", len(u.data)},
		{"created_at", c.created()},
		{"expires_at", nil},
		{"filename", u.name},
		{"purpose", u.purpose},
		{"status", "processed"},
		{"status_details", nil},
	}, u.data)
}

func createBatch(c *call) reply {
	for _, name := range []string{"input_file_id", "endpoint", "completion_window"} {
		if isNull(c.get(name)) {
			return c.fail(missing(name))
		}
	}
	file := c.get("input_file_id").String()
	if !c.has("file", file) {
		return c.fail(noSuch("file", file))
	}
	return c.keep("batch", c.openAIBatch("batch_"+c.ids.hex("batch", 32), "validating", c.body), c.body)
}

// openAIBatch is a batch made of what the request asked.
func (c *call) openAIBatch(id, status string, asked []byte) object {
	var cancelling any
	if status == "cancelling" {
		cancelling = c.created()
	}
	get := func(name string) any { return echo(gjson.GetBytes(asked, name), nil) }
	return object{
		{"id", id},
		{"object", "batch"},
		{"endpoint", get("endpoint")},
		{"errors", nil},
		{"input_file_id", get("input_file_id")},
		{"completion_window", get("completion_window")},
		{"status", status},
		{"output_file_id", nil},
		{"error_file_id", nil},
		{"created_at", c.created()},
		{"in_progress_at", nil},
		{"expires_at", c.created() + 86400},
		{"finalizing_at", nil},
		{"completed_at", nil},
		{"failed_at", nil},
		{"expired_at", nil},
		{"cancelling_at", cancelling},
		{"cancelled_at", nil},
		{"request_counts", object{{"total", 0}, {"completed", 0}, {"failed", 0}}},
		{"metadata", get("metadata")},
	}
}

func cancelBatch(c *call) reply {
	o, ok := c.sim.objects.get(c.scope(), "batch", c.arg)
	if !ok {
		return c.fail(noSuch("batch", c.arg))
	}
	return c.keep("batch", c.openAIBatch(c.arg, "cancelling", o.data), o.data)
}

func createConversation(c *call) reply {
	return c.keep("conversation", object{
		{"id", "conv_" + c.ids.hex("conversation", 48)},
		{"object", "conversation"},
		{"created_at", c.created()},
		{"metadata", echo(c.get("metadata"), object{})},
	}, c.conversed(nil))
}

// conversed adds the request's items to a JSON array of items.
func (c *call) conversed(before []byte) []byte {
	items := list{}
	for _, item := range gjson.ParseBytes(before).Array() {
		items = append(items, json.RawMessage(item.Raw))
	}
	for i, item := range c.get("items").Array() {
		o := object{{"id", "msg_" + c.ids.hex("item "+strconv.Itoa(i), 50)}, {"status", "completed"}}
		item.ForEach(func(k, v gjson.Result) bool {
			o = append(o, member{k.String(), json.RawMessage(v.Raw)})
			return true
		})
		items = append(items, o)
	}
	return compact(items)
}

func conversationItems(c *call) reply {
	o, ok := c.sim.objects.get(c.scope(), "conversation", c.arg)
	if !ok {
		return c.fail(noSuch("conversation", c.arg))
	}
	items := list{}
	for _, item := range slices.Backward(gjson.ParseBytes(o.data).Array()) {
		items = append(items, json.RawMessage(item.Raw))
	}
	return c.ok(itemList(items))
}

func addConversationItems(c *call) reply {
	const mostItems = 20
	o, ok := c.sim.objects.get(c.scope(), "conversation", c.arg)
	if !ok {
		return c.fail(noSuch("conversation", c.arg))
	}
	switch items := c.get("items"); {
	case !items.IsArray():
		return c.fail(missing("items"))
	case len(items.Array()) > mostItems:
		return c.fail(failure{
			status: http.StatusBadRequest, kind: invalidRequest, code: "array_above_max_length", param: "items",
			message: "Invalid 'items': array too long. Expected an array with maximum length 20, but got an array with length " + strconv.Itoa(len(items.Array())) + " instead.",
		})
	}
	before := len(gjson.ParseBytes(o.data).Array())
	o.data = c.conversed(o.data)
	c.sim.objects.put(o)
	added := list{}
	for _, item := range gjson.ParseBytes(o.data).Array()[before:] {
		added = append(added, json.RawMessage(item.Raw))
	}
	return c.ok(itemList(added))
}
