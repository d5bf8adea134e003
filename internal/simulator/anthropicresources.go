package simulator

import (
	"encoding/json"
	"slices"
	"strconv"
)

// anthropicModelNames are newest first.
var anthropicModelNames = []struct{ id, name string }{ //nolint:gochecknoglobals // a constant list
	{"claude-opus-5", "Claude Opus 5"},
	{"claude-sonnet-5", "Claude Sonnet 5"},
	{"claude-opus-4-5-20251101", "Claude Opus 4.5"},
	{"claude-haiku-4-5-20251001", "Claude Haiku 4.5"},
	{"claude-sonnet-4-5-20250929", "Claude Sonnet 4.5"},
}

func anthropicModelObject(id, name string) object {
	return object{
		{"type", "model"},
		{"id", id},
		{"display_name", name},
		{"created_at", "2026-01-02T00:00:00Z"},
		{"max_input_tokens", 200_000},
		{"max_tokens", 64_000},
		{"capabilities", object{{"thinking", object{{"supported", true}}}, {"batch", object{{"supported", true}}}}},
	}
}

// anthropicModels pages with limit, after_id and before_id.
func anthropicModels(c *call) reply {
	const fallback, most = 20, 1000
	q := c.r.URL.Query()
	limit := fallback
	if text := q.Get("limit"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 || n > most {
			return c.fail(anthropicInvalid("limit: Input should be between 1 and 1000"))
		}
		limit = n
	}
	all := anthropicModelNames
	at := func(id string) int {
		return slices.IndexFunc(all, func(m struct{ id, name string }) bool { return m.id == id })
	}
	if i := at(q.Get("after_id")); i >= 0 {
		all = all[i+1:]
	}
	if i := at(q.Get("before_id")); i >= 0 {
		all = all[max(0, i-limit):i]
	}
	more := len(all) > limit
	data := list{}
	for _, m := range all[:min(limit, len(all))] {
		data = append(data, anthropicModelObject(m.id, m.name))
	}
	return c.ok(anthropicPage(data, more, func(v any) any { return v.(object)[1].value }))
}

func anthropicPage(data list, more bool, id func(any) any) object {
	var firstID, lastID any
	if len(data) > 0 {
		firstID, lastID = id(data[0]), id(data[len(data)-1])
	}
	return object{{"data", data}, {"has_more", more}, {"first_id", firstID}, {"last_id", lastID}}
}

func anthropicModelInfo(c *call) reply {
	for _, m := range anthropicModelNames {
		if m.id == snapshot(c.arg) {
			return c.ok(anthropicModelObject(m.id, m.name))
		}
	}
	if knownAnthropic.MatchString(c.arg) {
		return c.ok(anthropicModelObject(c.arg, c.arg))
	}
	return c.failNamed("model_not_found")
}

func showAnthropic(kind string) func(*call) reply {
	return func(c *call) reply {
		o, ok := c.sim.objects.get(c.scope(), kind, c.arg)
		if !ok {
			return c.fail(anthropicMissing(kind))
		}
		return c.ok(json.RawMessage(o.json))
	}
}

func deleteAnthropic(kind, word string) func(*call) reply {
	return func(c *call) reply {
		if !c.sim.objects.drop(c.scope(), kind, c.arg) {
			return c.fail(anthropicMissing(kind))
		}
		return c.ok(object{{"id", c.arg}, {"type", word}})
	}
}

func listAnthropic(kind string) func(*call) reply {
	return func(c *call) reply {
		all := c.sim.objects.list(c.scope(), kind)
		names := map[string]string{}
		data := list{}
		for _, s := range all {
			data = append(data, json.RawMessage(s.json))
			names[string(s.json)] = s.id
		}
		return c.ok(anthropicPage(data, false, func(v any) any { return names[string(v.(json.RawMessage))] }))
	}
}

func uploadAnthropic(c *call) reply {
	u := c.upload()
	if !u.found {
		return c.fail(fieldRequired("file"))
	}
	return c.keep("file", object{
		{"id", "file_01" + c.ids.alnum("file", 22)},
		{"type", "file"},
		{"filename", u.name},
		{"mime_type", u.mime},
		{"size_bytes", len(u.data)},
		{"created_at", c.stamp(0)},
		{"downloadable", true},
	}, u.data)
}
