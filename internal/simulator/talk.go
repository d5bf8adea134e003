package simulator

import (
	"strings"

	"github.com/tidwall/gjson"
)

// talk is what a conversation has come to, read from its begin.
type talk struct {
	text    string   // the last thing the user said
	turns   int      // of tools' results since
	results []string // of the last of these turns
	open    bool     // more of them may follow
}

func (t *talk) user(text string) { *t = talk{text: text} }

// spoke is called when the model says something: that ends a turn of results.
func (t *talk) spoke() { t.open = false }

func (t *talk) result(text string) {
	if !t.open {
		t.turns++
		t.results, t.open = nil, true
	}
	t.results = append(t.results, text)
}

// resultText is all that a tool's result says; of an image, that there is one.
func resultText(content gjson.Result) string {
	if !content.IsArray() {
		return content.String()
	}
	var texts []string
	for _, p := range content.Array() {
		switch {
		case p.Get("text").Type == gjson.String:
			texts = append(texts, p.Get("text").String())
		case p.Get("source.media_type").Exists():
			texts = append(texts, "["+p.Get("source.media_type").String()+"]")
		case p.Get("image_url").Exists():
			kind, _, _ := strings.Cut(strings.TrimPrefix(p.Get("image_url").String(), "data:"), ";")
			texts = append(texts, "["+kind+"]")
		}
	}
	return strings.Join(texts, " ")
}

// pending are calls that wait for their results, in order.
type pending []string

// take removes a call; false: it does not wait.
func (p *pending) take(id string) bool {
	for i, waits := range *p {
		if waits == id {
			*p = append((*p)[:i:i], (*p)[i+1:]...)
			return true
		}
	}
	return false
}
