package dialect_test

import (
	"testing"

	"keybridge/internal/dialect"
)

func TestSeek(t *testing.T) {
	t.Parallel()
	const name = `"delta":`
	tests := map[string]struct{ event, want string }{
		"a string":            {`{"type":"x.delta","delta":"a"}`, `"a"`},
		"spaced":              {`{"delta": "a"}`, `"a"`},
		"with escapes":        {`{"delta":"a\"\\","x":1}`, `"a\"\\"`},
		"the end of another":  {`{"xdelta":"b","delta":"a"}`, `"a"`},
		"the model's words":   {`{"text":"\"delta\":\"b\"","delta":"a"}`, `"a"`},
		"words that end so":   {`{"text":"delta","delta":"a"}`, `"a"`},
		"not there":           {`{"text":"a"}`, ""},
		"no string":           {`{"delta":{"delta":"a"}}`, ""},
		"nothing behind":      {`{"delta":`, ""},
		"only space behind":   {`{"delta":  `, ""},
		"cut short":           {`{"delta":"a\"`, ""},
		"nothing before":      {`delta":"a"`, ""},
		"nothing":             {``, ""},
		"only ends of others": {`{"xdelta":"b","ydelta":"a"}`, ""},
	}
	for what, tt := range tests {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			if got := dialect.Seek([]byte(tt.event), name); string(got) != tt.want {
				t.Errorf("%s, want %s", got, tt.want)
			}
		})
	}
}
