package dialect

import (
	"bytes"
	"encoding/json"
	"strings"
	"unicode/utf8"

	"keybridge/internal/fault"
)

// Peek makes the one structural pass over the body of a request to a model. A
// body it passes is a JSON object in which model and stream stand at most once,
// so that the gateway and the provider cannot read different ones. A missing
// model is left to the provider to complain about. Its errors are of code
// BadRequest and say where and what to do.
func Peek(body []byte) (Peeked, error) {
	var name string
	var streams, model, stream bool
	p, err := look(body, func(n, value []byte, at int) (err error) {
		switch member(n) {
		case "model":
			if model {
				return refuse(at, `"model" stands twice: send it once`)
			}
			model = true
			name, err = modelOf(value, at)
		case "stream":
			if stream {
				return refuse(at, `"stream" stands twice: send it once`)
			}
			stream = true
			streams, err = streamOf(value, at)
		}
		return err
	})
	if err != nil {
		return Peeked{}, err
	}
	p.Model, p.Stream = name, streams
	return p, nil
}

// member returns "model" or "stream" if that is what the name spells, with
// escapes or without, else "".
func member(name []byte) string {
	switch string(name) {
	case "model":
		return "model"
	case "stream":
		return "stream"
	}
	if len(name) > len("stream")*len(`\u0000`) || bytes.IndexByte(name, '\\') < 0 {
		return ""
	}
	spelled, ok := unquote(name)
	if ok && (spelled == "model" || spelled == "stream") {
		return spelled
	}
	return ""
}

func modelOf(value []byte, at int) (string, error) {
	if value[0] != '"' {
		return "", refuse(at, `"model" must be a string that names a model`)
	}
	model, ok := unquote(value[1 : len(value)-1])
	switch {
	case !ok:
		return "", refuse(at, `"model" holds an invalid escape or is not UTF-8`)
	case model == "":
		return "", refuse(at, `"model" is empty: name a model`)
	case strings.ContainsFunc(model, func(r rune) bool { return r < ' ' || r == 0x7F }):
		return "", refuse(at, `"model" holds a control character: name a model`)
	}
	return model, nil
}

func streamOf(value []byte, at int) (bool, error) {
	switch string(value) {
	case "true":
		return true, nil
	case "false", "null":
		return false, nil
	}
	return false, refuse(at, `"stream" must be true or false`)
}

// unquote reads what stands between the quotes of a JSON string.
func unquote(text []byte) (string, bool) {
	if !utf8.Valid(text) {
		return "", false
	}
	if bytes.IndexByte(text, '\\') < 0 {
		return string(text), true
	}
	var s string
	quoted := append(append([]byte{'"'}, text...), '"')
	return s, json.Unmarshal(quoted, &s) == nil
}

func refuse(at int, what string) error {
	return fault.New(fault.BadRequest, "request body, byte %d: %s", at, what)
}
