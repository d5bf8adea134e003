package dialect_test

import (
	"encoding/json"
	"testing"

	"keybridge/internal/dialect"
)

func TestToolSchema(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ schema, want string }{
		{`{ "type": "object", "properties": {"a": {"anyOf": [1]}} }`, `{ "type": "object", "properties": {"a": {"anyOf": [1]}} }`},
		{`{"type":"object"}`, `{"type":"object"}`},
		{`{"type":"string"}`, `{"type":"object"}`},
		{`{"type":["object","null"]}`, `{"type":"object"}`},
		{`{}`, `{"type":"object"}`},
		{`true`, `{"type":"object"}`},
		{``, `{"type":"object"}`},
		{
			`{"type":"object","anyOf":[{"properties":{"a":{"type":"string"}},"required":["a"]},{"properties":{"a":1,"<b>":{}}}],"x":[ 1 ]}`,
			`{"type":"object","x":[ 1 ],"properties":{"a":{"type":"string"},"<b>":{}}}`,
		},
		{
			`{"type":"object","properties":{"a":{}},"oneOf":[{"required":["a"]}],"allOf":[{"$ref":"#/x"}, true],"not":{},"enum":[]}`,
			`{"type":"object","properties":{"a":{}}}`,
		},
	} {
		if got := string(dialect.ToolSchema([]byte(c.schema))); got != c.want {
			t.Errorf("%s: %s, want %s", c.schema, got, c.want)
		}
	}
}

func FuzzToolSchema(f *testing.F) {
	f.Add([]byte(`{"type":"object","anyOf":[{"properties":{"a":1}},2],"properties":[],"oneOf":{}}`))
	f.Fuzz(func(t *testing.T, schema []byte) {
		if got := dialect.ToolSchema(schema); json.Valid(schema) && !json.Valid(got) {
			t.Errorf("%s: %s", schema, got)
		}
	})
}
