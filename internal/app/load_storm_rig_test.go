package app_test

import (
	"bytes"
	"net/http"
	"regexp"
	"runtime"
	"strings"

	"github.com/tidwall/gjson"
)

// stormVerdict says whether the client has a whole answer or an error; ok is false
// if it has neither.
func stormVerdict(path string, status int, body []byte, err error, nonce string) (verdict string, ok bool) {
	switch {
	case err != nil:
		return "error", true // the connection says so
	case status != http.StatusOK:
		return "error", gjson.GetBytes(body, "error.message").Str != ""
	case gjson.ValidBytes(body):
		return stormJSON(path, body, nonce)
	}
	return stormEvents(body, nonce)
}

func stormJSON(path string, body []byte, nonce string) (verdict string, ok bool) {
	j := gjson.ParseBytes(body)
	if j.Get("error").IsObject() || j.Get("status").Str == "failed" {
		return "error", true
	}
	switch path {
	case "/v1/models", "/v1/embeddings":
		return "whole", j.Get("object").Str == "list" && j.Get("data.#").Int() > 0
	case "/v1/responses":
		return "whole", j.Get("status").Str == "completed" && saysAll(j.Get(`output.#(type=="message").content.0.text`).Str, nonce)
	}
	return "whole", saysAll(j.Get("choices.0.message.content").Str, nonce)
}

// saysAll says that the text is the simulator's whole answer to the nonce.
func saysAll(text, nonce string) bool {
	return strings.HasPrefix(text, "You said: "+nonce+" says hello (simulated ")
}

func stormEvents(body []byte, nonce string) (verdict string, ok bool) {
	var text strings.Builder
	ended := false
	for block := range bytes.SplitSeq(body, []byte("\n\n")) {
		_, data, found := bytes.Cut(block, []byte("data: "))
		if !found {
			continue
		}
		j := gjson.ParseBytes(data)
		switch kind := j.Get("type").Str; {
		case j.Get("error").IsObject(), kind == "error", kind == "response.failed":
			return "error", true
		case string(bytes.TrimSpace(data)) == "[DONE]", kind == "response.completed":
			ended = true
		case kind == "response.output_text.delta":
			text.WriteString(j.Get("delta").Str)
		default:
			text.WriteString(j.Get("choices.0.delta.content").Str)
		}
	}
	return "whole", ended && saysAll(text.String(), nonce)
}

var goroutineID = regexp.MustCompile(`^goroutine (\d+) `)

// goroutines lists the goroutines there are, by id, with their stacks.
func goroutines() map[string]string {
	buf := make([]byte, 64<<20)
	buf = buf[:runtime.Stack(buf, true)]
	all := map[string]string{}
	for g := range strings.SplitSeq(string(buf), "\n\n") {
		if m := goroutineID.FindStringSubmatch(g); m != nil {
			all[m[1]] = g
		}
	}
	return all
}

// since lists the goroutines that were not there before.
func since(before map[string]string) (stacks []string) {
	for id, g := range goroutines() {
		if _, old := before[id]; !old {
			stacks = append(stacks, g)
		}
	}
	return stacks
}
