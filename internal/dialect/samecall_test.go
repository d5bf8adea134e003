package dialect_test

import (
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/llm"
)

func TestSameCall(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		said, has string
		same      bool
	}{
		{`{"a":1,"b":[ "x" ]}`, `{"b":["\u0078"],"a":1.0}`, true},
		{``, `{}`, true},
		{`{ }`, ``, true},
		{`{"a":1}`, `{"a":2}`, false},
		{`{"a":1}`, `{"a":1,"b":null}`, false},
		{`[1]`, `{}`, false},
		{`{"a":`, `{"a":`, true},
		{`{"a":`, `{"a": `, false},
		{`a patch`, `a patch`, true},
		{`1 2`, `1 3`, false},
		{`null`, ``, false},
	} {
		said := &llm.ToolCall{Name: "edit", Arguments: []byte(tt.said)}
		if got := dialect.SameCall(said, "edit", []byte(tt.has)); got != tt.same {
			t.Errorf("%s and %s: %t", tt.said, tt.has, got)
		}
		if dialect.SameCall(said, "read", []byte(tt.has)) {
			t.Error("a call of another tool is the same")
		}
	}
}
