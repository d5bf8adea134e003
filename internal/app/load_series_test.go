package app_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/tidwall/gjson"

	"keybridge/internal/app"
	"keybridge/internal/ledger"
)

const (
	manyRequests = 100_000
	manyClients  = 8
	manyAtOnce   = 16 // requests that a client has under way
	deniedMost   = 1024
)

// wild makes what a client can choose freely.
type wild struct{ *rand.Rand }

func (w wild) word(most int) string {
	const letters = "abcdefghijklmnopqrstuvwxyz0123456789-_."
	b := make([]byte, 1+w.IntN(most))
	for i := range b {
		b[i] = letters[w.IntN(len(letters))]
	}
	b[len(b)-1] = 'z' // no dot segment, and no end of a name that means something
	return string(b)
}

// model is a name that no provider has. What follows the z is of any length.
func (w wild) model() string {
	switch w.IntN(20) {
	case 0:
		return "z" + strings.Repeat(w.word(20), 30)
	case 1:
		return "zé世" + w.word(20) + "\"}"
	case 2:
		return w.word(10) + "/z" + w.word(10)
	}
	return "z" + w.word(40)
}

// asked is one request on the wire.
type asked struct {
	method, path, header, body string
}

func (a asked) write(b *bytes.Buffer) {
	fmt.Fprintf(b, "%s %s HTTP/1.1\r\nHost: 127.0.0.1\r\n%s", a.method, a.path, a.header)
	if a.body != "" {
		fmt.Fprintf(b, "Content-Type: application/json\r\nContent-Length: %d\r\n", len(a.body))
	}
	b.WriteString("\r\n" + a.body)
}

// A shape is a kind of request; all its requests have the same labels.
type shape struct {
	make func(wild) asked
	want int // the client's status
}

func withModel(name, more string) string {
	quoted, err := json.Marshal(name)
	if err != nil {
		panic(err) // a string
	}
	return `{"model":` + string(quoted) + more + `}`
}

const talk = `,"max_tokens":9,"input":"hi","messages":[{"role":"user","content":"hi"}]`

// bridgedShapes are requests of the three APIs for models that nobody knows, for
// snapshots of a known one, and for models that only the second key may use.
func bridgedShapes() (shapes []shape) {
	for path, known := range map[string]string{
		"/v1/chat/completions": "gpt-5-mini", "/openai/v1/responses": "gpt-5-mini",
		"/local/v1/chat/completions": "gpt-5-mini", "/local/v1/responses": "gpt-5-mini",
		"/v1/messages": "claude-haiku-4-5", "/anthropic/v1/messages": "claude-haiku-4-5",
	} {
		for _, stream := range []string{"", `,"stream":true`} {
			for _, kind := range []struct {
				model func(wild) string
				want  int
			}{
				{wild.model, http.StatusNotFound},
				{func(w wild) string { return known + "-" + w.word(8) }, http.StatusOK},
				{func(w wild) string { return "z-second-" + w.word(20) }, http.StatusOK},
			} {
				shapes = append(shapes, shape{func(w wild) asked {
					return asked{http.MethodPost, path, "", withModel(kind.model(w), stream+talk)}
				}, kind.want})
			}
		}
	}
	return shapes
}

// opaqueShapes are requests that are passed through, for things that nobody has.
func opaqueShapes() (shapes []shape) {
	add := func(method string, paths ...string) {
		for _, path := range paths {
			shapes = append(shapes, shape{func(w wild) asked {
				a := asked{method: method, path: path + "?" + w.word(8) + "=" + w.word(20)}
				for strings.Contains(a.path, "*") {
					a.path = strings.Replace(a.path, "*", w.word(30), 1)
				}
				if method == http.MethodPost {
					a.body = withModel(w.model(), `,"input":"hi"`)
				}
				return a
			}, http.StatusNotFound})
		}
	}
	add(http.MethodGet, "/v1/models/*", "/openai/v1/files/*", "/local/v1/files/*/content", "/openai/v1/batches/*", "/local/v1/responses/*",
		"/openai/v1/conversations/*/items/*", "/anthropic/v1/models/*", "/anthropic/v1/messages/batches/*")
	add(http.MethodHead, "/openai/v1/models/*", "/anthropic/v1/files/*")
	add(http.MethodDelete, "/local/v1/files/*", "/anthropic/v1/messages/batches/*")
	add(http.MethodPost, "/v1/embeddings", "/local/v1/moderations", "/openai/v1/images/generations", "/openai/v1/responses/*/cancel",
		"/anthropic/v1/messages/count_tokens")
	return shapes
}

// strayShapes are requests that the gateway refuses by itself.
func strayShapes() (shapes []shape) {
	add := func(want int, a func(wild) asked) { shapes = append(shapes, shape{a, want}) }
	for _, path := range []string{
		"/*", "/*/v1/chat/completions", "/openai/*", "/openai/v1/*", "/anthropic/v1/*/*", "/local/*/v1", "/v1/*", "/v1/v1/*",
		"/openai/v1/organization/*", "/api/*", "/openai/v1/files/%2e%2e/*",
	} {
		for _, method := range []string{http.MethodGet, http.MethodPost, "*"} {
			add(http.StatusNotFound, func(w wild) asked {
				a := asked{method: method, path: path}
				for strings.Contains(a.path, "*") {
					a.path = strings.Replace(a.path, "*", w.word(30), 1)
				}
				if method == "*" {
					a.method = strings.ToUpper(strings.Map(func(r rune) rune { return max(r, 'a') }, w.word(8)))
				}
				return a
			})
		}
	}
	add(http.StatusNotFound, func(w wild) asked {
		return asked{method: "Z" + strings.ToUpper(w.word(8)), path: "/openai/v1/chat/completions"}
	})
	add(http.StatusServiceUnavailable, func(w wild) asked {
		return asked{http.MethodPost, "/off/v1/chat/completions", "", withModel(w.model(), talk)}
	})
	add(http.StatusBadRequest, func(w wild) asked {
		return asked{http.MethodPost, "/v1/chat/completions", "", `{"model":"` + w.word(20) + `"`}
	})
	add(http.StatusUpgradeRequired, func(w wild) asked {
		return asked{http.MethodGet, "/openai/v1/" + w.word(9), "Connection: Upgrade\r\nUpgrade: websocket\r\n", ""}
	})
	return shapes
}

// thinUpstream answers as providers do whose first key may not use every model.
func thinUpstream(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	model := gjson.GetBytes(body, "model").Str
	key := r.Header.Get("Authorization") + r.Header.Get("X-Api-Key")
	known := strings.HasPrefix(model, "gpt-5-mini") || strings.HasPrefix(model, "claude-haiku-4-5") ||
		strings.HasPrefix(model, "z-second-") && strings.HasSuffix(key, "-second")
	anthropic := r.Header.Get("X-Api-Key") != ""
	h := w.Header()
	h.Set("Content-Type", "application/json")
	if !known {
		w.WriteHeader(http.StatusNotFound)
		if anthropic {
			_, _ = io.WriteString(w, `{"type":"error","error":{"type":"not_found_error","message":"model: unknown"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"error":{"message":"The model does not exist.","type":"invalid_request_error","param":null,"code":"model_not_found"}}`)
		return
	}
	if gjson.GetBytes(body, "stream").Bool() {
		h.Set("Content-Type", "text/event-stream")
	}
	_, _ = io.WriteString(w, thinAnswer(r.URL.Path, h.Get("Content-Type") == "text/event-stream"))
}

func thinAnswer(path string, stream bool) string {
	switch {
	case strings.HasSuffix(path, "/chat/completions") && stream:
		return `data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"hi"},"finish_reason":"stop"}]}` + "\n\ndata: [DONE]\n\n"
	case strings.HasSuffix(path, "/chat/completions"):
		return `{"id":"c","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"hi"},"finish_reason":"stop"}],"usage":{"prompt_tokens":1,"completion_tokens":1}}`
	case strings.HasSuffix(path, "/responses") && stream:
		return "event: response.output_text.delta\n" + `data: {"type":"response.output_text.delta","delta":"hi"}` + "\n\n" +
			"event: response.completed\n" + `data: {"type":"response.completed","response":{"id":"r","status":"completed","output":[]}}` + "\n\n"
	case strings.HasSuffix(path, "/responses"):
		return `{"id":"r","object":"response","status":"completed","output":[{"type":"message","role":"assistant","content":[{"type":"output_text","text":"hi"}]}],"usage":{"input_tokens":1,"output_tokens":1}}`
	case stream:
		return "event: content_block_delta\n" + `data: {"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"hi"}}` + "\n\n" +
			"event: message_stop\n" + `data: {"type":"message_stop"}` + "\n\n"
	}
	return `{"id":"m","type":"message","role":"assistant","content":[{"type":"text","text":"hi"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`
}

// hammer sends the shapes that pick chooses, several at a time on each of its
// connections, and checks every status.
func hammer(t *testing.T, address string, n int, pick func(i int) (shape, wild)) {
	t.Helper()
	var next atomic.Int64
	var clients sync.WaitGroup
	for range manyClients {
		clients.Go(func() {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Error(err)
				return
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(5 * time.Minute))
			in := bufio.NewReaderSize(conn, 64<<10)
			for !t.Failed() {
				from := int(next.Add(manyAtOnce)) - manyAtOnce
				if from >= n {
					return
				}
				var b bytes.Buffer
				var expected []due
				for i := from; i < min(from+manyAtOnce, n); i++ {
					s, w := pick(i)
					a := s.make(w)
					a.write(&b)
					expected = append(expected, due{a, s.want})
				}
				if _, err := conn.Write(b.Bytes()); err != nil {
					t.Error(err)
					return
				}
				if !receive(t, in, expected) {
					return
				}
			}
		})
	}
	clients.Wait()
}

// due is an answer that is expected.
type due struct {
	asked

	status int
}

func receive(t *testing.T, in *bufio.Reader, expected []due) bool {
	t.Helper()
	for _, d := range expected {
		resp, err := http.ReadResponse(in, &http.Request{Method: d.method})
		if err != nil {
			t.Errorf("%s %s: %v", d.method, d.path, err)
			return false
		}
		body, err := loadRead(resp)
		if err != nil || resp.StatusCode != d.status {
			t.Errorf("%s %s %s: status %d, want %d, error %v: %s", d.method, d.path, d.body, resp.StatusCode, d.status, err, body)
			return false
		}
	}
	return true
}

// finished waits for the exchanges under way to be counted. The metrics hear of an
// exchange's end before it does.
type finished struct{ sync.WaitGroup }

func (f *finished) Started(*ledger.Exchange)                    { f.Add(1) }
func (f *finished) Attempted(*ledger.Exchange, *ledger.Attempt) {}
func (f *finished) Finished(*ledger.Exchange)                   { f.Done() }

// TestLoadSeriesStayConstant lets clients choose models, paths, ids, queries and
// methods freely, a hundred thousand times: no metric and no map grows by it.
func TestLoadSeriesStayConstant(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(thinUpstream))
	defer upstream.Close()
	file := filepath.Join(t.TempDir(), "keybridge.yaml")
	var text strings.Builder
	text.WriteString("log: {level: error}\nproviders:\n")
	for _, p := range []struct{ name, kind, base, more string }{
		{"openai", "openai", "/v1", ""},
		{"local", "openai-compatible", "/v1", ""},
		{"anthropic", "anthropic", "", ""},
		{"off", "openai", "/v1", "    enabled: false\n"},
	} {
		fmt.Fprintf(&text, "  - name: %s\n    kind: %s\n    base_url: %s%s\n%s    keys:\n"+
			"      - {id: first, secret: 'literal:sk-%s-first'}\n      - {id: second, secret: 'literal:sk-%s-second'}\n",
			p.name, p.kind, upstream.URL, p.base, p.more, p.name, p.name)
	}
	loadConfig(t, file, text.String())
	var counted finished
	a := loadStart(t, app.Options{ConfigPath: file, Ledger: &counted})
	before := loadSeries(t, a.Gatherer())

	groups := [][]shape{bridgedShapes(), opaqueShapes(), strayShapes()}
	shapes := slices.Concat(groups...)
	hammer(t, a.Address("listen"), len(shapes), func(i int) (shape, wild) {
		return shapes[i], wild{rand.New(rand.NewPCG(1, uint64(i)))}
	})
	counted.Wait() // a client has its answer a moment before it is counted
	warm := loadSeries(t, a.Gatherer())
	began := time.Now()
	hammer(t, a.Address("listen"), manyRequests, func(i int) (shape, wild) {
		w := wild{rand.New(rand.NewPCG(2, uint64(i)))}
		group := groups[min(2, w.IntN(14)/2)] // 1 in 7 bridged, 1 in 7 opaque; what goes upstream is dear
		return group[w.IntN(len(group))], w
	})
	counted.Wait()
	after := loadSeries(t, a.Gatherer())
	t.Logf("%d requests of %d shapes in %s; series %d at the start, %d after one of each shape, %d at the end",
		manyRequests, len(shapes), time.Since(began).Round(time.Millisecond), loadTotal(before), loadTotal(warm), loadTotal(after))
	if diff := cmp.Diff(warm, after); diff != "" {
		t.Errorf("series by family grew (-after one of each shape, +after %d):\n%s", manyRequests, diff)
	}

	got := loadFamilies(t, a.Gatherer())
	wantStates := map[string]float64{}
	for _, p := range []string{"openai", "local", "anthropic"} {
		wantStates[p+"/valid"], wantStates[p+"/temporary"], wantStates[p+"/permanent"] = 2, 0, 0
	}
	if diff := cmp.Diff(wantStates, loadValues(got["keybridge_key_pool_state"], "provider", "state")); diff != "" {
		t.Errorf("key states (-want +got):\n%s", diff)
	}
	// Every provider's first key was refused far more models than are remembered.
	remembered := map[string]float64{"openai": deniedMost, "local": deniedMost, "anthropic": deniedMost}
	if diff := cmp.Diff(remembered, loadValues(got["keybridge_key_pool_scoped_cooldowns"], "provider")); diff != "" {
		t.Errorf("access denials remembered (-want +got):\n%s", diff)
	}
	models := loadValues(got["keybridge_interceptions_total"], "model")
	for _, name := range []string{"gpt-5-mini", "claude-haiku-4-5", "other"} {
		if models[name] == 0 {
			t.Errorf("no interception is counted for the model label %q", name)
		}
		delete(models, name)
	}
	if len(models) > 0 {
		t.Errorf("model labels that a client made up: %v", models)
	}
	problems, err := testutil.GatherAndLint(a.Gatherer())
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
}
