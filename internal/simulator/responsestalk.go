package simulator

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/tidwall/gjson"
)

// responsesReader reads the items of the Responses API and holds them to its rules.
type responsesReader struct {
	*call
	talk
	items   map[string]bool // ids
	calls   map[string]bool // call ids
	waiting pending         // of them, those without an output
	kind    string          // of what waits
	thought string          // the id of reasoning that nothing follows yet
}

// responsesTalk reads what the provider keeps of the conversation, then the input.
func responsesTalk(c *call) (talk, *failure) {
	r := responsesReader{call: c, items: map[string]bool{}, calls: map[string]bool{}}
	for _, item := range c.kept() {
		if bad := r.item("input", item); bad != nil {
			return talk{}, bad
		}
		if c.conversation() != "" { // which may have an item twice, if the answers are deterministic
			clear(r.items)
		}
	}
	input := c.get("input")
	if input.Type == gjson.String {
		if bad := r.unanswered(); bad != nil {
			return talk{}, bad
		}
		r.user(input.String())
		return r.talk, nil
	}
	for i, item := range input.Array() {
		if bad := r.item(fmt.Sprintf("input[%d]", i), item); bad != nil {
			return talk{}, bad
		}
	}
	if r.thought != "" {
		return talk{}, r.lonely()
	}
	return r.talk, r.unanswered()
}

// conversation is the id of the one that the request belongs to, if any.
func (c *call) conversation() string {
	r := c.get("conversation")
	if r.IsObject() {
		r = r.Get("id")
	}
	return r.String()
}

// kept are the items of the conversation, or of the response that is gone on with.
func (c *call) kept() []gjson.Result {
	if id := c.conversation(); id != "" {
		o, _ := c.sim.objects.get(c.scope(), "conversation", id)
		return gjson.ParseBytes(o.data).Array()
	}
	return c.chain(c.get("previous_response_id").String(), mostObjects)
}

// chain are the items of a stored response and of all before it.
func (c *call) chain(id string, most int) []gjson.Result {
	o, ok := c.sim.objects.get(c.scope(), "response", id)
	if !ok || most == 0 {
		return nil
	}
	items := c.chain(gjson.GetBytes(o.json, "previous_response_id").String(), most-1)
	return append(append(items, inputsOf(o.data)...), gjson.GetBytes(o.json, "output").Array()...)
}

// inputsOf are the items of an input; a text is the user's.
func inputsOf(input []byte) []gjson.Result {
	r := gjson.ParseBytes(input)
	if r.Type == gjson.String {
		return []gjson.Result{gjson.ParseBytes(compact(object{{"role", "user"}, {"content", json.RawMessage(r.Raw)}}))}
	}
	return r.Array()
}

// converse adds what was said to the conversation, if the answer is whole.
func (c *call) converse(output list) {
	id := c.conversation()
	if id == "" || kinds[c.fault.Name].act == spoils {
		return
	}
	c.sim.objects.add(c.scope(), "conversation", id, func(data []byte) []byte {
		items := list{}
		for _, item := range append(gjson.ParseBytes(data).Array(), inputsOf([]byte(c.get("input").Raw))...) {
			items = append(items, json.RawMessage(item.Raw))
		}
		return compact(append(items, output...))
	})
}

// item takes in one item; where says which.
func (r *responsesReader) item(where string, item gjson.Result) *failure {
	kind := item.Get("type").String()
	if kind == "item_reference" {
		id := item.Get("id").String()
		found, ok := r.stored(id)
		if !ok {
			f := noSuch("", id)
			f.message = "Item with id '" + id + "' not found."
			return &f
		}
		item, kind = found, found.Get("type").String()
	}
	if id := item.Get("id").String(); id != "" {
		if r.items[id] {
			return wrong("input", "", "Duplicate item found with id %s. Remove duplicate items from your input and try again.", id)
		}
		r.items[id] = true
	}
	role := item.Get("role").String()
	said := role == "assistant" || strings.HasSuffix(kind, "_call") || kind == "reasoning"
	if r.thought != "" && !said {
		return r.lonely()
	}
	r.thought = ""
	switch {
	case strings.HasSuffix(kind, "_call_output"):
		return r.returns(kind, item)
	case kind == "reasoning":
		r.spoke()
		r.thought = item.Get("id").String()
		return r.sealed(item)
	case strings.HasSuffix(kind, "_call"):
		return r.called(where, kind, item)
	case role == "user":
		if bad := r.unanswered(); bad != nil {
			return bad
		}
		r.user(lastText(item.Get("content")))
	case role == "assistant":
		r.spoke()
	}
	return nil
}

func (r *responsesReader) called(where, kind string, item gjson.Result) *failure {
	r.spoke()
	if args := item.Get("arguments"); kind == "function_call" && args.Type != gjson.String {
		return notString(where+".arguments", args)
	}
	if id := item.Get("call_id").String(); id != "" { // what the provider runs itself has none
		r.calls[id], r.kind = true, kind
		r.waiting = append(r.waiting, id)
	}
	return nil
}

func (r *responsesReader) returns(kind string, item gjson.Result) *failure {
	id := item.Get("call_id").String()
	if !r.calls[id] {
		return wrong("input", "", "No tool call found for %s with call_id %s.", strings.ReplaceAll(kind, "_", " "), id)
	}
	r.waiting.take(id)
	r.result(resultText(item.Get("output")))
	return nil
}

func (r *responsesReader) unanswered() *failure {
	if len(r.waiting) == 0 {
		return nil
	}
	return wrong("input", "", "No tool output found for %s %s.", strings.ReplaceAll(r.kind, "_", " "), r.waiting[0])
}

// lonely refuses reasoning that nothing of the model's follows.
func (r *responsesReader) lonely() *failure {
	return wrong("input", "", "Item '%s' of type 'reasoning' was provided without its required following item.", r.thought)
}

// sealed refuses reasoning that this organization has not made.
func (r *responsesReader) sealed(item gjson.Result) *failure {
	if content := item.Get("encrypted_content"); !isNull(content) && content.String() != r.encrypted(item.Get("summary.0.text").String()) {
		f := r.failure("foreign_reasoning")
		return &f
	}
	return nil
}

// encrypted is reasoning that only the key's organization can read; of deterministic
// answers, every one.
func (c *call) encrypted(thinking string) string {
	organization := c.key.Organization
	if c.sim.opts.Deterministic {
		organization = ""
	}
	return "gAAAAA" + base64.URLEncoding.EncodeToString(seed("encrypted", organization, thinking).bytes("", 120))
}

// stored is an item of a response that the project has stored.
func (c *call) stored(id string) (item gjson.Result, ok bool) {
	for _, o := range c.sim.objects.list(c.scope(), "response") {
		for _, item := range append(gjson.GetBytes(o.json, "output").Array(), gjson.ParseBytes(o.data).Array()...) {
			if item.Get("id").String() == id {
				return item, true
			}
		}
	}
	return item, false
}
