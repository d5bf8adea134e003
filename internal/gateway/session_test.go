package gateway_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/auth"
	"keybridge/keypool"
)

// good answers as each API would, whatever is asked.
func good(w http.ResponseWriter, r *http.Request) {
	switch {
	case strings.HasSuffix(r.URL.Path, "/chat/completions"):
		jsonAnswer(w, http.StatusOK, `{"id":"c","object":"chat.completion","model":"m","choices":[{"index":0,"message":{"role":"assistant","content":"x"},"finish_reason":"stop"}]}`)
	case strings.HasSuffix(r.URL.Path, "/messages"):
		jsonAnswer(w, http.StatusOK, `{"id":"msg_1","type":"message","role":"assistant","model":"m","content":[{"type":"text","text":"x"}],"stop_reason":"end_turn","usage":{"input_tokens":1,"output_tokens":1}}`)
	default:
		jsonAnswer(w, http.StatusOK, `{"id":"resp_of_nobody","object":"response","status":"completed","model":"m","output":[],"store":false}`)
	}
}

// inTurns gives the keys out by turns, so that only a session explains why one of
// them is asked again.
func inTurns(o *keypool.Options) { o.Strategy = keypool.RoundRobin }

// said is a request that says which conversation it belongs to.
type said struct {
	path, body string
	header     []string
}

const (
	chatPath      = "/openai/v1/chat/completions"
	responsesPath = "/openai/v1/responses"
	messagesPath  = "/anthropic/v1/messages"
)

// inHeader and inBody write a value where a client names its conversation.
func inHeader(name string) func(value string) said {
	return func(v string) said {
		return said{chatPath, `{"model":"m","messages":[{"role":"user","content":"hi"}]}`, []string{name, v}}
	}
}

func inBody(path, member string) func(value string) said {
	return func(v string) said {
		return said{path, `{"model":"m","messages":[{"role":"user","content":"hi"}],"input":"hi",` + strings.ReplaceAll(member, "VALUE", v) + `}`, nil}
	}
}

// ways are all the ways in which a conversation is named, the most specific first.
var ways = []struct {
	word string
	say  func(value string) said
}{
	{"x-keybridge-session", inHeader("X-Keybridge-Session")},
	{"x-claude-code-session-id", inHeader("x-claude-code-session-id")},
	{"metadata.user_id", inBody(messagesPath, `"metadata":{"user_id":"{\"device_id\":\"d\",\"account_uuid\":\"\",\"session_id\":\"VALUE\"}"}`)},
	{"metadata.user_id", inBody(messagesPath, `"metadata":{"user_id":"user_0_account__session_VALUE"}`)},
	{"session-id", inHeader("session-id")},
	{"session_id", inHeader("session_id")},
	{"thread-id", inHeader("thread-id")},
	{"conversation_id", inHeader("conversation_id")},
	{"x-opencode-session", inHeader("x-opencode-session")},
	{"x-session-id", inHeader("x-session-id")},
	{"x-session-affinity", inHeader("x-session-affinity")},
	{"x-parent-session-id", inHeader("x-parent-session-id")},
	{"prompt_cache_key", inBody(responsesPath, `"prompt_cache_key":"VALUE"`)},
	{"conversation", inBody(responsesPath, `"conversation":"VALUE"`)},
	{"conversation", inBody(responsesPath, `"conversation":{"id":"VALUE"}`)},
	{"session_id", inBody(chatPath, `"session_id":"VALUE"`)},
}

// send makes the request and returns the key that served it, and the signal that the
// trail names.
func (r *rig) send(s said) (key, word string) {
	r.t.Helper()
	if got := r.post(s.path, s.body, s.header...); got.Status != http.StatusOK || got.Err != nil {
		r.t.Fatalf("%s %v: %d %s, %v", s.body, s.header, got.Status, got.Body, got.Err)
	}
	for _, d := range r.ended().Decisions {
		switch d.What {
		case keypool.Began, keypool.Stayed, keypool.Moved, keypool.Pinned:
			word = d.Why
		}
	}
	asked := r.asked()
	return asked[len(asked)-1], word
}

func TestSignalsOfSessions(t *testing.T) {
	for _, way := range ways {
		t.Run(way.word, func(t *testing.T) {
			r := newRig(t, setup{keys: 3, pool: inTurns, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) { good(w, req) }})
			var keys, words []string
			for _, v := range []string{"one", "two", "one", "two", "three", "one"} {
				key, word := r.send(way.say(v))
				keys, words = append(keys, key), append(words, word)
			}
			if diff := cmp.Diff([]string{"k0", "k1", "k0", "k1", "k2", "k0"}, keys); diff != "" {
				t.Errorf("keys (-want +got):\n%s", diff)
			}
			if slices.ContainsFunc(words, func(w string) bool { return w != way.word }) {
				t.Errorf("the trail names %q, want %s", words, way.word)
			}
		})
	}
}

func TestTheMoreSpecificSignalWins(t *testing.T) {
	both := func(a, b said) (s said, ok bool) {
		switch {
		case b.header != nil:
			a.header = append(slices.Clone(a.header), b.header...)
		case a.header != nil:
			a.path, a.body = b.path, b.body
		case a.path == b.path:
			a.body = strings.TrimSuffix(a.body, "}") + "," + b.body[strings.Index(b.body, `"input":"hi",`)+len(`"input":"hi",`):]
		default:
			return s, false // of two APIs
		}
		return a, true
	}
	for i, first := range ways {
		for _, second := range ways[i+1:] {
			if first.word == second.word {
				continue
			}
			t.Run(first.word+" before "+second.word, func(t *testing.T) {
				r := newRig(t, setup{keys: 3, pool: inTurns, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) { good(w, req) }})
				var keys []string
				for _, v := range [][2]string{{"one", "w"}, {"two", "x"}, {"one", "y"}, {"two", "z"}} {
					s, ok := both(first.say(v[0]), second.say(v[1]))
					if !ok {
						t.Skip("no request has both")
					}
					key, word := r.send(s)
					keys = append(keys, key)
					if word != first.word {
						t.Errorf("the trail names %q", word)
					}
				}
				if diff := cmp.Diff([]string{"k0", "k1", "k0", "k1"}, keys); diff != "" {
					t.Errorf("keys (-want +got):\n%s", diff)
				}
			})
		}
	}
}

func TestRequestsThatNameNoSession(t *testing.T) {
	chat := func(messages string) said {
		return said{path: chatPath, body: `{"model":"m","messages":[{"role":"system","content":"s"},` + messages + `]}`}
	}
	first := `{"role":"user","content":"hi"}`
	grown := first + `,{"role":"assistant","content":"x"},{"role":"user","content":"go on"}`
	for name, tt := range map[string]struct {
		sends []said
		keys  string
		word  string
	}{
		"alike and of one turn":            {[]said{chat(first), chat(first), chat(first), chat(first)}, "k0 k1 k2 k0", "opening"},
		"the turns of a conversation":      {[]said{chat(first), chat(grown), chat(grown), chat(grown)}, "k0 k0 k0 k0", "opening"},
		"a conversation not known":         {[]said{chat(grown), chat(`{"role":"user","content":"ho"}`), chat(grown)}, "k0 k1 k0", "opening"},
		"Responses":                        {[]said{{path: responsesPath, body: `{"model":"m","input":"hi"}`}, {path: responsesPath, body: `{"model":"m","input":"hi"}`}}, "k0 k1", "opening"},
		"Messages":                         {[]said{{path: messagesPath, body: `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`}, {path: messagesPath, body: `{"model":"m","messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}`}}, "k0 k0", "opening"},
		"embeddings":                       {[]said{{path: "/openai/v1/embeddings", body: `{"model":"m","input":"hi"}`}, {path: "/openai/v1/embeddings", body: `{"model":"m","input":"hi"}`}}, "k0 k1", ""},
		"a request's id":                   {[]said{{chatPath, chat(first).body, []string{"x-client-request-id", "r1"}}, {chatPath, chat(first).body, []string{"x-client-request-id", "r1"}}}, "k0 k1", "opening"},
		"an empty name":                    {[]said{{chatPath, chat(first).body, []string{"X-Session-Id", ""}}, {chatPath, chat(first).body, []string{"X-Session-Id", ""}}}, "k0 k1", "opening"},
		"Codex's request id is its thread": {[]said{{responsesPath, `{"model":"m","input":"a"}`, []string{"x-client-request-id", "t", "thread-id", "t"}}, {responsesPath, `{"model":"m","input":"b"}`, []string{"x-client-request-id", "t", "thread-id", "t"}}}, "k0 k0", "thread-id"},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, setup{keys: 3, pool: inTurns, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) { good(w, req) }})
			var keys []string
			for _, s := range tt.sends {
				key, word := r.send(s)
				keys = append(keys, key)
				if word != tt.word {
					t.Errorf("the trail names %q, want %q", word, tt.word)
				}
			}
			if got := strings.Join(keys, " "); got != tt.keys {
				t.Errorf("keys %s, want %s", got, tt.keys)
			}
		})
	}
}

func TestCallersDoNotShareSessions(t *testing.T) {
	r := newRig(t, setup{
		keys: 3, pool: inTurns, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) { good(w, req) },
		tokens: []auth.Token{{Name: "ann", Secret: "kb-ann-0123456789"}, {Name: "bob", Secret: "kb-bob-0123456789"}},
	})
	var keys []string
	for _, token := range []string{"kb-ann-0123456789", "kb-bob-0123456789", "kb-ann-0123456789", "kb-bob-0123456789"} {
		s := inHeader("X-Session-Id")("same")
		s.header = append(s.header, "Authorization", "Bearer "+token)
		key, _ := r.send(s)
		keys = append(keys, key)
	}
	if diff := cmp.Diff([]string{"k0", "k1", "k0", "k1"}, keys); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	for _, c := range r.seen() {
		if c.Header.Get("X-Keybridge-Session") != "" {
			t.Error("the gateway's own header went upstream")
		}
	}
}

// Where all keys share one cache nobody needs to know what begins how.
func TestSessionsThatDoNotMatterAreNotNamed(t *testing.T) {
	r := newRig(t, setup{pool: func(o *keypool.Options) {
		for i := range o.Keys {
			o.Keys[i].Organization, o.Keys[i].Project = "a", "x"
		}
	}, upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) { good(w, req) }})
	if _, word := r.send(said{path: chatPath, body: `{"model":"m","messages":[{"role":"user","content":"hi"}]}`}); word != "" {
		t.Errorf("the trail names %q", word)
	}
}
