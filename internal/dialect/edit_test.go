package dialect_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"keybridge/internal/dialect"
	"keybridge/internal/wire"
)

func TestQuote(t *testing.T) {
	t.Parallel()
	if got, want := string(dialect.Quote("<a> & \"b\"\n\\ é\x01")), `"<a> & \"b\"\n\\ é\u0001"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSetMember(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ object, value, want string }{
		{`{}`, `1`, `{"x":1}`},
		{"{ \n}", `1`, "{\"x\":1 \n}"},
		{"{ \"a\" : [1, {}] \n} ", `"v"`, "{ \"a\" : [1, {}],\"x\":\"v\" \n} "},
		{`{"x" : 1.50, "b":2}`, `{}`, `{"x" : {}, "b":2}`},
		{`{"x":1, "x":2}`, `3`, `{"x":1, "x":3}`},
		{`{"\u0078":1}`, `3`, `{"\u0078":3}`},
		{`{"a":{"x":1}}`, `3`, `{"a":{"x":1},"x":3}`},
		{`{"a":"}"}`, `3`, `{"a":"}","x":3}`},
	} {
		object := []byte(c.object)
		if got := string(dialect.SetMember(object, "x", []byte(c.value))); got != c.want || string(object) != c.object {
			t.Errorf("%s: %s, want %s (and the object is now %s)", c.object, got, c.want, object)
		}
	}
}

func TestReplaceAPieceOfAPiece(t *testing.T) {
	t.Parallel()
	body := []byte(`{"a":[{"b":1},{"b":2}],"c":3}`)
	list := dialect.Member(body, "a")
	parts := dialect.PartsOf(list)
	parts.Next()
	_, second, _ := parts.Next()
	list2 := dialect.Replace(list, dialect.Member(second, "b"), []byte("22"))
	if got, want := string(dialect.Replace(body, list, list2)), `{"a":[{"b":1},{"b":22}],"c":3}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if got, want := string(dialect.Replace(body, second, nil)), `{"a":[{"b":1},],"c":3}`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestAppend(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		array    string
		elements []string
		want     string
	}{
		{`[]`, nil, `[]`},
		{`[ ]`, []string{`1`, `{}`}, `[1,{} ]`},
		{"[ \"]\"\n]", []string{`2`}, "[ \"]\",2\n]"},
	} {
		var elements [][]byte
		for _, e := range c.elements {
			elements = append(elements, []byte(e))
		}
		if got := string(dialect.Append([]byte(c.array), elements...)); got != c.want {
			t.Errorf("%s: %s, want %s", c.array, got, c.want)
		}
	}
	if got, want := string(dialect.Array([]byte(`1`), []byte(`"a"`))), `[1,"a"]`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

func TestSumUsage(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ a, b, want string }{
		{`{"i":1,"o":2}`, `{ "o" : 40, "i":3 }`, `{ "o" : 42, "i":4 }`},
		{`{"i":1,"d":{"r":5,"x":1}}`, `{"d":{"r":6}}`, `{"d":{"r":11,"x":1},"i":1}`},
		{`{"tier":"a","n":3}`, `{"tier":"b","n":null}`, `{"tier":"b","n":3}`},
		{`{"n":null}`, `{"n":3}`, `{"n":3}`},
		{`{"list":[{"i":1}]}`, `{"list":[ {"i":2}, 3 ]}`, `{"list":[{"i":1},{"i":2},3]}`},
		{`{"list":[1]}`, `{"list":[]}`, `{"list":[1]}`},
		{`{"cost":0.5}`, `{"cost":1}`, `{"cost":1.5}`},
		{`{"n":9223372036854775807}`, `{"n":1}`, `{"n":9223372036854776000}`},
		{`{"n":1e308}`, `{"n":1e308}`, `{"n":1e308}`},
		{`{"n":-5}`, `{"n":-9223372036854775808}`, `{"n":-9223372036854776000}`},
		{`{"n":1-2}`, `{"n":1}`, `{"n":1}`},
		{`{"n":1}`, `{"n":{"x":1}}`, `{"n":{"x":1}}`},
		{`{"a":1}`, `null`, `{"a":1}`},
		{``, `{"a":1}`, `{"a":1}`},
		{`{"a":1}`, ``, `{"a":1}`},
		{`{"a":1,"a":2,"b":1,"b":7}`, `{"a":1}`, `{"a":3,"b":7}`},
		{`{"a":1}`, `{"a":1,"a":2,"a":{}}`, `{"a":1,"a":2,"a":{}}`},
		{`{"a":1}`, `{"a":{},"a":"","a":2}`, `{"a":{},"a":"","a":3}`},
	} {
		if got := string(dialect.SumUsage([]byte(c.a), []byte(c.b))); got != c.want {
			t.Errorf("%s + %s: %s, want %s", c.a, c.b, got, c.want)
		}
	}
}

func FuzzSumUsage(f *testing.F) {
	f.Add([]byte(`{"a":1,"b":{"c":[2]},"d":null}`), []byte(`{"b":{"c":[1], "e":1.5},"a":-1}`))
	f.Add([]byte(`[`), []byte(`[`))
	f.Add([]byte(`{`), []byte(`{"a":}`))
	f.Fuzz(func(t *testing.T, a, b []byte) {
		got := dialect.SumUsage(a, b)
		if json.Valid(a) && json.Valid(b) && !json.Valid(got) {
			t.Errorf("%s + %s: %s", a, b, got)
		}
		dialect.SetMember(a, "x", b)
		dialect.Append(a, b)
	})
}

func TestWithData(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]string{
		"event: a\nid: 7\ndata:{\"a\":1}\n\n":                        "event: a\nid: 7\ndata:{\"a\":2}\n\n",
		": {\"a\":1}\r\ndata: {\"a\":1}\r\n\r\n":                     ": {\"a\":1}\r\ndata: {\"a\":2}\r\n\r\n",
		"event: a\ndata: {\ndata: \"a\":1}\n\n":                      "event: a\ndata: { \"a\":2}\n\n",
		"event: a\ndata: {\"a\":1}":                                  "event: a\ndata: {\"a\":2}",
		"data: {\"a\":1}\n: {\"a\":1}\n\n":                           "data: {\"a\":2}\n: {\"a\":1}\n\n",
		": data: {\"a\":1}\rdata:{\"a\":1}\rid: data: {\"a\":1}\r\r": ": data: {\"a\":1}\rdata:{\"a\":2}\rid: data: {\"a\":1}\r\r",
		"\xEF\xBB\xBFdata: {\"a\":1}\n\n":                            "\xEF\xBB\xBFdata: {\"a\":2}\n\n",
		"data: {\n\"a\":1}\ndata: \"a\":1}\n\n":                      "data: { \"a\":2}\n\n",
	} {
		e, err := wire.NewReader(wire.SSE, bytes.NewReader([]byte(raw))).Next()
		if err != nil {
			t.Fatal(err)
		}
		got := dialect.WithData(e, dialect.SetMember(e.Data, "a", []byte("2")))
		if string(got.Raw) != want || got.Name != e.Name || !bytes.Contains(got.Raw, got.Data) || string(dialect.Member(got.Data, "a")) != "2" {
			t.Errorf("%q: %q (%s), want %q", raw, got.Raw, got.Data, want)
		}
	}
	r := wire.NewReader(wire.SSE, bytes.NewReader([]byte("data: 0\n\n\xEF\xBB\xBFdata: {\"a\":1}\ndata: {\"a\":1}\n\n")))
	if _, err := r.Next(); err != nil {
		t.Fatal(err)
	}
	late, err := r.Next()
	if err != nil {
		t.Fatal(err)
	}
	if got := string(dialect.WithData(late, []byte("2")).Raw); got != "\xEF\xBB\xBFdata: {\"a\":1}\ndata: 2\n\n" {
		t.Errorf("a byte order mark that does not begin the stream: %q", got)
	}
	body := wire.Event{Raw: []byte(`{"a":1}`), Data: []byte(`{"a":1}`)}
	if got := dialect.WithData(body, []byte(`{"b":2}`)); string(got.Raw) != `{"b":2}` || string(got.Data) != `{"b":2}` {
		t.Errorf("%s %s", got.Raw, got.Data)
	}
}
