package dialect_test

import (
	"encoding/json"
	"testing"

	"keybridge/internal/dialect"

	"github.com/google/go-cmp/cmp"
)

func TestSample(t *testing.T) {
	t.Parallel()
	const sample = `{"id":"c1","choices":[{"index":0,"delta":{"content":"Hello"},"end":null}],"pad" : "x9"}`
	tests := map[string]struct {
		data string
		like bool
	}{
		"itself":                {sample, true},
		"a longer text":         {`{"id":"c1","choices":[{"index":0,"delta":{"content":"Hello, you"},"end":null}],"pad" : "x9"}`, true},
		"a shorter text":        {`{"id":"c1","choices":[{"index":0,"delta":{"content":"He"},"end":null}],"pad" : "x9"}`, true},
		"no text":               {`{"id":"c1","choices":[{"index":0,"delta":{"content":""},"end":null}],"pad" : "x9"}`, true},
		"several texts":         {`{"id":"d222","choices":[{"index":0,"delta":{"content":"b"},"end":null}],"pad" : ""}`, true},
		"quotes in the text":    {`{"id":"c1","choices":[{"index":0,"delta":{"content":"He \"end\":1 \\"},"end":null}],"pad" : "x9"}`, true},
		"another number":        {`{"id":"c1","choices":[{"index":1,"delta":{"content":"Hello"},"end":null}],"pad" : "x9"}`, false},
		"a text for null":       {`{"id":"c1","choices":[{"index":0,"delta":{"content":"Hello"},"end":"stop"}],"pad" : "x9"}`, false},
		"null for a text":       {`{"id":"c1","choices":[{"index":0,"delta":{"content":null},"end":null}],"pad" : "x9"}`, false},
		"another name":          {`{"id":"c1","choices":[{"index":0,"delta":{"consent":"Hello"},"end":null}],"pad" : "x9"}`, false},
		"a member more":         {`{"id":"c1","choices":[{"index":0,"delta":{"content":"Hello","end":1},"end":null}],"pad" : "x9"}`, false},
		"a member of that text": {`{"id":"c1","choices":[{"index":0,"delta":{"content":"He","end":"llo"},"end":null}],"pad" : "x9"}`, false},
		"something behind it":   {sample + ` `, false},
		"cut in a text":         {sample[:60], false},
		"cut behind a text":     {sample[:len(sample)-1], false},
		"nothing":               {``, false},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var s dialect.Sample
			if s.Like([]byte(tt.data)) {
				t.Error("like no sample at all")
			}
			s.Take([]byte(`{"another":"sample"}`))
			s.Take([]byte(sample))
			if got := s.Like([]byte(tt.data)); got != tt.like {
				t.Errorf("like: %v, want %v", got, tt.like)
			}
		})
	}
}

// What is like a document says the same but in its string values.
func FuzzSample(f *testing.F) {
	f.Add([]byte(`{"a":"b","c":[1,"d"]}`), []byte(`{"a":"x\"y","c":[1,""]}`))
	f.Add([]byte(`{"a":"b","a":null}`), []byte(`{"a":"b","c":"\\","a":null}`))
	f.Add([]byte(`["","",3]`), []byte(`["\",","",3]`))
	f.Fuzz(func(t *testing.T, one, other []byte) {
		var s dialect.Sample
		s.Take(one)
		if !s.Like(other) || !json.Valid(one) || !json.Valid(other) {
			return
		}
		if diff := cmp.Diff(shape(t, one), shape(t, other)); diff != "" {
			t.Errorf("%s is not like %s:\n%s", other, one, diff)
		}
	})
}

// shape decodes a document and forgets its string values.
func shape(t *testing.T, data []byte) any {
	t.Helper()
	var v any
	if err := json.Unmarshal(data, &v); err != nil {
		t.Skip("beyond what encoding/json takes")
	}
	return blank(v)
}

func blank(v any) any {
	switch v := v.(type) {
	case string:
		return ""
	case []any:
		for i := range v {
			v[i] = blank(v[i])
		}
	case map[string]any:
		for k := range v {
			v[k] = blank(v[k])
		}
	}
	return v
}
