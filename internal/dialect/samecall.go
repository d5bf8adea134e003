package dialect

import (
	"bytes"
	"encoding/json"
	"reflect"

	"keybridge/internal/llm"
)

// SameCall says that a call in a request is the one that was said, which the client has
// then not changed. That their ids are the same does not: not every provider makes them
// unique.
func SameCall(said *llm.ToolCall, name string, arguments []byte) bool {
	return said.Name == name && SameJSON(said.Arguments, arguments)
}

// SameJSON says that two values are the same but for how they are written. What is no
// JSON is compared as it stands; nothing at all is an empty object.
func SameJSON(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	var x, y any = map[string]any{}, map[string]any{}
	if len(a) > 0 && json.Unmarshal(a, &x) != nil || len(b) > 0 && json.Unmarshal(b, &y) != nil {
		return false
	}
	return reflect.DeepEqual(x, y)
}
