package gateway_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/keypool"
)

// shelf is an upstream that keeps what is made with a key for that key alone.
type shelf struct {
	made map[string]string // id → key
	say  func(w http.ResponseWriter, r *http.Request, key string) bool
}

// needs are the ids that a request names.
func needs(r *http.Request, body string) (ids []string) {
	for _, part := range strings.FieldsFunc(r.URL.Path+" "+body, func(c rune) bool { return strings.ContainsRune("/\"'{}[]:, ", c) }) {
		if kind, number, ok := strings.Cut(part, "-made-"); ok && kind != "" && number != "" {
			ids = append(ids, part)
		}
	}
	return ids
}

func (s *shelf) answer(w http.ResponseWriter, r *http.Request, key, body string) {
	for _, id := range needs(r, body) {
		if s.made[id] != key {
			jsonAnswer(w, http.StatusNotFound, `{"type":"error","error":{"message":"No such File object: `+id+`","type":"`+
				map[bool]string{true: "not_found_error", false: "invalid_request_error"}[r.Header.Get("X-Api-Key") != ""]+`","param":"id","code":null}}`)
			return
		}
	}
	if s.say == nil || !s.say(w, r, key) {
		good(w, r)
	}
}

// kept is a gateway over a shelf, with keys by turns.
func kept(t *testing.T, keys int, s *shelf, with ...func(*keypool.Options)) *rig {
	t.Helper()
	s.made = map[string]string{}
	var r *rig
	r = newRig(t, setup{
		keys: keys, pool: func(o *keypool.Options) {
			inTurns(o)
			for _, f := range with {
				f(o)
			}
		},
		upstream: func(w http.ResponseWriter, req *http.Request, key string, n int) {
			s.answer(w, req, key, r.seen()[n].Body)
		},
	})
	return r
}

// try makes a request and returns the keys that were asked for it, and the status.
func (r *rig) try(method, path, body string, header ...string) string {
	r.t.Helper()
	before := len(r.seen())
	got := r.do(request(r.t.Context(), method, path, body, header...))
	if got.Err != nil {
		r.t.Fatal(got.Err)
	}
	r.ended()
	return fmt.Sprintf("%s %d", strings.Join(r.asked()[before:], " "), got.Status)
}

// What a provider keeps is asked for with a key of the project that has it.
func TestWhatIsKeptIsAskedForWhereItIs(t *testing.T) {
	const o, a = "/openai/v1", "/anthropic/v1"
	json := func(body string) func(*shelf) {
		return func(s *shelf) {
			s.say = func(w http.ResponseWriter, r *http.Request, _ string) bool {
				if r.Method != http.MethodPost && !strings.Contains(r.URL.Path, "made") {
					return false
				}
				jsonAnswer(w, http.StatusOK, body)
				return true
			}
		}
	}
	type step struct{ method, path, body string }
	for name, tt := range map[string]struct {
		makes  step
		answer func(*shelf)
		ids    []string
		then   step
	}{
		"a file": {
			step{"POST", o + "/files", "--x\r\n\r\n--x--"}, json(`{"object":"file","id":"file-made-1"}`), []string{"file-made-1"}, step{"GET", o + "/files/file-made-1/content", ""},
		},
		"a file that is deleted": {
			step{"POST", o + "/files", "--x\r\n\r\n--x--"}, json(`{"id":"file-made-1"}`), []string{"file-made-1"}, step{"DELETE", o + "/files/file-made-1", ""},
		},
		"a batch's input": {
			step{"POST", o + "/files", "--x\r\n\r\n--x--"}, json(`{"id":"file-made-1"}`), []string{"file-made-1"}, step{"POST", o + "/batches", `{"input_file_id":"file-made-1"}`},
		},
		"a batch": {
			step{"POST", o + "/batches", `{"endpoint":"/v1/responses"}`}, json(`{"id":"batch-made-1","output_file_id":null}`), []string{"batch-made-1"}, step{"POST", o + "/batches/batch-made-1/cancel", ""},
		},
		"a batch's output": {
			step{"POST", o + "/batches", `{}`}, json(`{"id":"batch-made-1","error_file_id":"file-made-2","output_file_id":"file-made-1"}`), []string{"batch-made-1", "file-made-1", "file-made-2"}, step{"GET", o + "/files/file-made-1/content", ""},
		},
		"an upload": {
			step{"POST", o + "/uploads", `{"filename":"f"}`}, json(`{"id":"upload-made-1"}`), []string{"upload-made-1"}, step{"POST", o + "/uploads/upload-made-1/parts", "part"},
		},
		"an upload's file": {
			step{"POST", o + "/uploads", `{}`}, json(`{"id":"upload-made-1","file":{"id":"file-made-1"}}`), []string{"file-made-1"}, step{"POST", o + "/responses", `{"model":"m","input":[{"role":"user","content":[{"type":"input_file","file_id":"file-made-1"}]}]}`},
		},
		"a conversation": {
			step{"POST", o + "/conversations", `{}`}, json(`{"id":"conv-made-1"}`), []string{"conv-made-1"}, step{"POST", o + "/responses", `{"model":"m","input":"x","conversation":"conv-made-1"}`},
		},
		"a conversation's item": {
			step{"POST", o + "/conversations", `{}`}, json(`{"id":"conv-made-1"}`), []string{"conv-made-1"}, step{"DELETE", o + "/conversations/conv-made-1/items/msg_1", ""},
		},
		"an answer": {
			step{"POST", o + "/responses", `{"model":"m","input":"x"}`}, json(`{"id":"resp-made-1","status":"completed","output":[]}`), []string{"resp-made-1"}, step{"POST", o + "/responses", `{"model":"m","input":"y","previous_response_id":"resp-made-1"}`},
		},
		"an answer that is fetched": {
			step{"POST", o + "/responses", `{"model":"m","input":"x","store":true}`}, json(`{"id":"resp-made-1","status":"completed","output":[]}`), []string{"resp-made-1"}, step{"GET", o + "/responses/resp-made-1/input_items", ""},
		},
		"an answer in a stream": {
			step{"POST", o + "/responses", `{"model":"m","input":"x","stream":true}`}, func(s *shelf) {
				s.say = func(w http.ResponseWriter, r *http.Request, _ string) bool {
					if r.Method != http.MethodPost {
						return false
					}
					sse(w, "event: response.created\ndata: {\"type\":\"response.created\",\"response\":{\"id\":\"resp-made-1\",\"status\":\"in_progress\"}}\n\n",
						"event: response.completed\ndata: {\"type\":\"response.completed\",\"response\":{\"id\":\"resp-made-1\",\"status\":\"completed\"}}\n\n")
					return true
				}
			}, []string{"resp-made-1"}, step{"GET", o + "/responses/resp-made-1", ""},
		},
		"a file of Anthropic's": {
			step{"POST", a + "/files", "--x\r\n\r\n--x--"},
			json(`{"type":"file","id":"file_-made-1"}`),
			[]string{"file_-made-1"},
			step{"POST", a + "/messages", `{"model":"m","messages":[{"role":"user","content":[{"type":"document","source":{"type":"file","file_id":"file_-made-1"}}]}]}`},
		},
		"a batch of Anthropic's": {
			step{"POST", a + "/messages/batches", `{"requests":[]}`}, json(`{"id":"msgbatch-made-1"}`), []string{"msgbatch-made-1"}, step{"GET", a + "/messages/batches/msgbatch-made-1/results", ""},
		},
		"a container of Anthropic's": {
			step{"POST", a + "/messages", `{"model":"m","messages":[{"role":"user","content":"x"}]}`},
			json(`{"id":"msg_1","type":"message","content":[],"container":{"id":"container_-made-1","expires_at":"2026-12-01T00:00:00Z"}}`),
			[]string{"container_-made-1"},
			step{"POST", a + "/messages", `{"model":"m","container":"container_-made-1","messages":[{"role":"user","content":"x"}]}`},
		},
		"a container in a stream": {
			step{"POST", a + "/messages", `{"model":"m","stream":true,"messages":[{"role":"user","content":"x"}]}`}, func(s *shelf) {
				s.say = func(w http.ResponseWriter, r *http.Request, _ string) bool {
					if len(s.made) > 0 {
						return false
					}
					sse(w, "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"id\":\"msg_1\"}}\n\n",
						"event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"end_turn\",\"container\":{\"id\":\"container_-made-1\"}}}\n\n",
						"event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n")
					return true
				}
			}, []string{"container_-made-1"}, step{"POST", a + "/messages", `{"model":"m","container":{"id":"container_-made-1"},"messages":[{"role":"user","content":"x"}]}`},
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shelf{}
			tt.answer(s)
			r := kept(t, 4, s)
			r.try("GET", "/openai/v1/models", "") // so that the turn is not the first key's
			r.try("GET", "/anthropic/v1/models", "")
			if got := r.try(tt.makes.method, tt.makes.path, tt.makes.body); got != "k1 200" {
				t.Fatalf("made with %s", got)
			}
			for _, id := range tt.ids {
				s.made[id] = "k1"
			}
			s.say = nil
			for range 3 {
				if got := r.try(tt.then.method, tt.then.path, tt.then.body); got != "k1 200" {
					t.Errorf("asked %s, want k1", got)
				}
			}
		})
	}
}

// What nobody has seen made is looked for, and found there from then on.
func TestWhatWasMadeElsewhereIsFoundOnce(t *testing.T) {
	for _, path := range []string{"/openai/v1/files/file-made-1", "/openai/v1/batches/batch-made-1", "/anthropic/v1/files/file-made-1"} {
		t.Run(path, func(t *testing.T) {
			s := &shelf{}
			r := kept(t, 3, s, func(o *keypool.Options) { o.Strategy = keypool.Priority })
			s.made["file-made-1"], s.made["batch-made-1"] = "k2", "k2"
			got := []string{r.try("GET", path, ""), r.try("GET", path, ""), r.try("GET", path, "")}
			if diff := cmp.Diff([]string{"k0 k1 k2 200", "k2 200", "k2 200"}, got); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			s.made["file-made-1"], s.made["batch-made-1"] = "", ""
			got = []string{r.try("GET", path, ""), r.try("GET", path, "")}
			if diff := cmp.Diff([]string{"k2 k0 k1 404", "k0 k1 k2 404"}, got); diff != "" {
				t.Errorf("after it is gone, asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWhatIsKeptNowhereIsNotRemembered(t *testing.T) {
	for name, tt := range map[string]struct {
		method, path, body, answer string
		status                     int
	}{
		"an answer that is not stored":  {"POST", "/openai/v1/responses", `{"model":"m","input":"x","store":false}`, `{"id":"resp-made-1","status":"completed","output":[]}`, 200},
		"a chat completion":             {"POST", "/openai/v1/chat/completions", `{"model":"m","messages":[]}`, `{"id":"resp-made-1","choices":[{"index":0,"message":{"content":"x"},"finish_reason":"stop"}]}`, 200},
		"what a file says":              {"GET", "/openai/v1/files/f/content", "", `{"id":"resp-made-1"}`, 200},
		"what an error says":            {"POST", "/openai/v1/files", "x", `{"id":"resp-made-1","error":{"message":"no"}}`, 400},
		"what was deleted":              {"DELETE", "/openai/v1/files/f", "", `{"id":"resp-made-1","deleted":true}`, 200},
		"a model":                       {"GET", "/openai/v1/models/m", "", `{"id":"resp-made-1"}`, 200},
		"an id far beyond the first KB": {"GET", "/openai/v1/files/f", "", `{"bytes":"` + strings.Repeat("x", 70<<10) + `","id":"resp-made-1"}`, 200},
	} {
		t.Run(name, func(t *testing.T) {
			s := &shelf{say: func(w http.ResponseWriter, r *http.Request, _ string) bool {
				jsonAnswer(w, tt.status, tt.answer)
				return true
			}}
			r := kept(t, 3, s)
			r.try(tt.method, tt.path, tt.body)
			s.say = nil
			s.made["resp-made-1"] = "k1"
			if got := r.try("GET", "/openai/v1/responses/resp-made-1", ""); got != "k1 200" {
				t.Errorf("asked %s: it was taken to be another key's", got)
			}
		})
	}
}

// A request that needs what one project has does not go to another one while that is
// out, and its caller is told the truth.
func TestPinnedRequestWaitsForItsProject(t *testing.T) {
	s := &shelf{}
	s.say = func(w http.ResponseWriter, r *http.Request, key string) bool {
		if r.Method == http.MethodPost {
			jsonAnswer(w, http.StatusOK, `{"id":"resp-made-1","status":"completed","output":[]}`)
			return true
		}
		w.Header().Set("Retry-After", "90")
		jsonAnswer(w, http.StatusTooManyRequests, `{"error":{"message":"slow down","type":"requests","code":"rate_limit_exceeded"}}`)
		return true
	}
	r := kept(t, 2, s, func(o *keypool.Options) { o.Keys[0].Project, o.Keys[1].Project = "x", "y" })
	r.try("POST", "/openai/v1/responses", `{"model":"m","input":"x"}`)
	s.made["resp-made-1"] = "k0"
	if got := r.try("GET", "/openai/v1/responses/resp-made-1", ""); got != "k0 429" {
		t.Errorf("asked %s", got)
	}
	got := r.get("/openai/v1/responses/resp-made-1")
	var e struct{ Error struct{ Message string } }
	if err := json.Unmarshal([]byte(got.Body), &e); err != nil {
		t.Fatal(err)
	}
	if got.Status != 429 || got.Header.Get("Retry-After") != "90" || !strings.Contains(e.Error.Message, "can reach what this request refers to") {
		t.Errorf("%d, Retry-After %s: %s", got.Status, got.Header.Get("Retry-After"), got.Body)
	}
	if n := len(r.seen()); n != 2 {
		t.Errorf("%d requests went upstream, want 2", n)
	}
}

// Encrypted reasoning can be read by the organization alone that wrote it.
func TestSealedReasoningStaysWithItsOrganization(t *testing.T) {
	s := &shelf{}
	r := kept(t, 2, s, func(o *keypool.Options) {
		o.Keys[0].Organization, o.Keys[1].Organization = "a", "b"
	})
	turn := func(body string) string {
		return r.try("POST", "/openai/v1/responses", `{"model":"m","store":false,`+body+`}`, "session-id", "s")
	}
	if got := turn(`"input":"x"`); got != "k0 200" {
		t.Fatalf("asked %s", got)
	}
	s.say = func(w http.ResponseWriter, _ *http.Request, key string) bool {
		if key == "k0" {
			w.Header().Set("Retry-After", "30")
			jsonAnswer(w, http.StatusTooManyRequests, `{"error":{"message":"slow down","type":"tokens","code":"rate_limit_exceeded"}}`)
		}
		return key == "k0"
	}
	const sealed = `"input":[{"type":"reasoning","id":"rs_1","encrypted_content":"gAAA"},{"role":"user","content":"x"}]`
	if got := turn(sealed); got != "k0 429" {
		t.Errorf("with its reasoning asked %s", got)
	}
	if got := turn(`"input":[{"type":"reasoning","encrypted_content":null},{"role":"user","content":"x"}]`); got != "k1 200" {
		t.Errorf("without it asked %s", got)
	}
}
