package app_test

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// FuzzBody: whatever JSON a client sends is what the upstream gets, and whatever
// the upstream answers is what the client gets, to the byte; a body that the
// gateway refuses reaches nobody.
func FuzzBody(f *testing.F) {
	for _, seed := range []string{
		`{"model":"gpt-5-mini","messages":[{"role":"user","content":"Hello"}]}`,
		`{"model":"x","stream":false,"n":1.0,"big":12345678901234567890123,"e":1E+2,"s":"<>&\u2028\ud83d\ude00\/","z":null,"a":{"z":1,"a":[]}}`,
		" \n{ \"b\" : 1 , \"model\":\"m\", \"b\": 2 }\t\n",
		`{"error":{"message":"no","type":"invalid_request_error","code":null}}`,
		`{"choices":[{"index":0,"message":{"content":"<thinking>"},"finish_reason":"stop"}],"usage":null}`,
		`{"model":"a","model":"b"}`, `{"mo\u0064el":"a"}`, `[]`, `{`, `"x"`, ``, "{\"a\":\"\xff\"}",
	} {
		for route := range 4 {
			f.Add([]byte(seed), uint8(route))
		}
	}
	var mu sync.Mutex
	var got, answer []byte
	asked := 0
	up := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		mu.Lock()
		defer mu.Unlock()
		got, asked = body, asked+1
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(answer)
	}))
	f.Cleanup(up.Close)
	path := write(f, "", "log: {level: error}\nproviders:\n"+
		"  - {name: o, kind: openai-compatible, base_url: \""+up.URL+"/v1\", keys: [env:A]}\n"+
		"  - {name: a, kind: anthropic, base_url: \""+up.URL+"\", keys: [env:A]}\n")
	base := "http://" + start(f, path, map[string]string{"A": "sk-key-number-a-000000"}).Address("listen")
	client := &http.Transport{}
	f.Cleanup(client.CloseIdleConnections)

	f.Fuzz(func(t *testing.T, body []byte, route uint8) {
		paths := [...]string{"/o/v1/chat/completions", "/o/v1/responses", "/a/v1/messages", "/o/v1/embeddings"}
		at := int(route) % len(paths)
		bridged := at < 3
		mu.Lock()
		got, asked, answer = nil, 0, []byte(`{"id": 1.0}`)
		if object(body) && !bytes.ContainsAny(body, `\`) && !bytes.Contains(body, []byte("error")) && !bytes.Contains(body, []byte("failed")) {
			answer = body // as an answer it is no error, however it is read
		}
		mu.Unlock()
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+paths[at], bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.RoundTrip(req)
		if err != nil {
			t.Fatalf("%s %q: %v", paths[at], body, err)
		}
		defer resp.Body.Close()
		back, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("%s %q: %v", paths[at], body, err)
		}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case asked == 0:
			if resp.StatusCode != http.StatusBadRequest || !bridged || !json.Valid(back) {
				t.Errorf("%s %q: refused with %d %s", paths[at], body, resp.StatusCode, back)
			}
			if plain(body) {
				t.Errorf("%s: a good body was refused: %q: %s", paths[at], body, back)
			}
		case !bytes.Equal(got, body):
			t.Errorf("%s: the upstream got %q of %q", paths[at], got, body)
		case resp.StatusCode != http.StatusOK || !bytes.Equal(back, answer):
			t.Errorf("%s: the client got %d %q of %q", paths[at], resp.StatusCode, back, answer)
		}
	})
}

// object says that the body is a JSON object, as every answer is.
func object(body []byte) bool {
	return json.Valid(body) && bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{"))
}

// plain says that nothing speaks against a body as a request: an object without
// any member that the gateway reads.
func plain(body []byte) bool {
	return object(body) && !bytes.Contains(body, []byte("model")) && !bytes.Contains(body, []byte("stream")) && !bytes.Contains(body, []byte(`\`))
}
