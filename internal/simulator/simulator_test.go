package simulator_test

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

// perKey are the headers that name the key's own scope; a gateway withholds them.
func perKey(name string) bool {
	name = strings.ToLower(name)
	return strings.HasPrefix(name, "x-ratelimit-") || strings.HasPrefix(name, "anthropic-ratelimit-") ||
		slices.Contains([]string{"openai-organization", "openai-project", "anthropic-organization-id", "anthropic-workspace-id"}, name)
}

// TestSameBytesWhicheverKey asks everything of both keys: bodies, and all headers
// but those about the key, are the same; another request gets others.
func TestSameBytesWhicheverKey(t *testing.T) {
	g := overTCP(t, options())
	ids := map[string]string{}
	for _, p := range places() {
		var answers [2]got
		for key := range answers {
			a := p.asking
			a.key = key
			answers[key] = g.must(a)
			scopes := 0
			for name := range answers[key].header {
				if perKey(name) {
					answers[key].header.Del(name)
					scopes++
				}
			}
			if scopes < 2 {
				t.Errorf("%s names %d scopes", p.name, scopes)
			}
		}
		isBytes(t, p.name, answers[1].body, answers[0].body)
		if d := cmp.Diff(answers[0].header, answers[1].header); d != "" {
			t.Errorf("%s:\n%s", p.name, d)
		}
		id := answers[0].header.Get("X-Request-Id") + answers[0].header.Get("Request-Id")
		if other, ok := ids[id]; ok || !strings.HasPrefix(id, "req_") {
			t.Errorf("%s has the request id %q of %q", p.name, id, other)
		}
		ids[id] = p.name
	}
}

// TestFreshIDs is the default: two requests have two ids, and the time is now.
func TestFreshIDs(t *testing.T) {
	o := options()
	o.Deterministic = false
	g := overTCP(t, o)
	a := asking{path: apis[0].path, body: apis[0].body("x", "")}
	one, two := g.must(a), g.must(a)
	if one.get("id").String() == two.get("id").String() || one.header.Get("X-Request-Id") == two.header.Get("X-Request-Id") {
		t.Errorf("one id for two requests: %s", one.body)
	}
	if age := time.Since(time.Unix(one.get("created").Int(), 0)); age < 0 || age > time.Minute {
		t.Errorf("created %v ago", age)
	}
}

// TestHeaders holds the answers to the headers the providers send.
func TestHeaders(t *testing.T) {
	g := overTCP(t, options())
	for _, tc := range []struct {
		a    asking
		want map[string]string
	}{
		{asking{path: apis[0].path, body: apis[0].body("x", "")}, map[string]string{
			"Content-Type": "application/json", "Openai-Organization": "org-a", "Openai-Project": "proj_a", "Openai-Version": "2020-10-01",
			"X-Ratelimit-Limit-Requests": "10000", "X-Ratelimit-Remaining-Requests": "9999", "X-Ratelimit-Limit-Tokens": "2000000",
		}},
		{asking{path: apis[1].path, body: apis[1].body("x", streaming)}, map[string]string{
			"Content-Type": "text/event-stream; charset=utf-8", "X-Ratelimit-Remaining-Requests": "9999",
		}},
		{asking{path: apis[2].path, body: apis[2].body("x", streaming)}, map[string]string{
			"Content-Type": "text/event-stream; charset=utf-8", "Anthropic-Ratelimit-Requests-Remaining": "9999",
		}},
	} {
		r := g.must(tc.a)
		for name, want := range tc.want {
			if got := r.header.Get(name); got != want {
				t.Errorf("%s: %s is %q, want %q", tc.a.path, name, got, want)
			}
		}
		for _, name := range []string{"X-Ratelimit-Reset-Requests", "X-Ratelimit-Reset-Tokens"} {
			if d, err := time.ParseDuration(r.header.Get(name)); strings.HasPrefix(tc.a.path, "/openai") && (err != nil || d <= 0 || d > time.Minute) {
				t.Errorf("%s is %q", name, r.header.Get(name))
			}
		}
		if ms, err := strconv.Atoi(r.header.Get("Openai-Processing-Ms")); strings.HasPrefix(tc.a.path, "/openai") && (err != nil || ms < 0) {
			t.Errorf("processing took %q", r.header.Get("Openai-Processing-Ms"))
		}
	}
}

// TestRefusals holds what the providers refuse to their words.
func TestRefusals(t *testing.T) {
	g := overTCP(t, options())
	const messages, chat, responses = "/anthropic/v1/messages", "/openai/v1/chat/completions", "/openai/v1/responses"
	none := http.Header{"Authorization": nil, "X-Api-Key": nil}
	for name, tc := range map[string]struct {
		a      asking
		status int
		want   string // in the body
		scoped bool   // the answer says whose key it was
	}{
		"no key openai":     {asking{path: chat, body: `{}`, header: none}, 401, `"You didn't provide an API key.`, false},
		"no key anthropic":  {asking{path: messages, body: `{}`, header: none}, 401, `{"type":"error","error":{"type":"authentication_error","message":"x-api-key header is required"},"request_id":"req_`, false},
		"unknown openai":    {asking{path: chat, body: `{}`, header: http.Header{"Authorization": {"Bearer sk-proj-this-key-is-not-known"}}}, 401, `"Incorrect API key provided: sk-p*********************nown. You can`, false},
		"of another":        {asking{path: chat, body: `{}`, header: http.Header{"Authorization": {"Bearer " + keys[2].Secret}}}, 401, `"code": "invalid_api_key"`, false},
		"unknown anthropic": {asking{path: messages, body: `{}`, header: http.Header{"X-Api-Key": {"nope"}}}, 401, `"invalid x-api-key"`, false},
		"not bearer":        {asking{path: chat, body: `{}`, header: http.Header{"Authorization": {"Basic " + keys[0].Secret}}}, 401, `"You didn't provide`, false},

		"no version":     {asking{path: messages, body: `{}`, header: http.Header{"Anthropic-Version": nil}}, 400, `"anthropic-version: header is required"`, true},
		"no model":       {asking{path: chat, body: `{"messages":[]}`}, 400, `"you must provide a model parameter"`, true},
		"unknown model":  {asking{path: chat, body: `{"model":"no-such","messages":[{}]}`}, 404, "\"message\": \"The model `no-such` does not exist or you do not have access to it.\",\n    \"type\": \"invalid_request_error\",\n    \"param\": null,\n    \"code\": \"model_not_found\"", true},
		"unknown claude": {asking{path: messages, body: `{"model":"claude-nope","max_tokens":1,"messages":[{"role":"user","content":"x"}]}`}, 404, `{"type":"error","error":{"type":"not_found_error","message":"model: claude-nope"},"request_id":"req_`, true},
		"no messages":    {asking{path: chat, body: `{"model":"gpt-4o"}`}, 400, `"Missing required parameter: 'messages'."`, true},
		"empty messages": {asking{path: chat, body: `{"model":"gpt-4o","messages":[]}`}, 400, `"empty_array"`, true},
		"no input":       {asking{path: responses, body: `{"model":"gpt-4o"}`}, 400, `One of \"input\" or`, true},
		"not JSON":       {asking{path: chat, body: `{"model":`}, 400, `"We could not parse the JSON body`, true},
		"not JSON 2":     {asking{path: messages, body: `[]`}, 400, `not valid JSON`, true},
		"no max_tokens":  {asking{path: messages, body: `{"model":"claude-opus-5","messages":[{}]}`}, 400, `"max_tokens: Field required"`, true},
		"no messages 2":  {asking{path: messages, body: `{"model":"claude-opus-5","max_tokens":5}`}, 400, `"messages: Field required"`, true},
		"zero tokens":    {asking{path: messages, body: `{"model":"claude-opus-5","max_tokens":0,"messages":[{}]}`}, 400, `"max_tokens: must be greater`, true},
		"previous":       {asking{path: responses, body: `{"model":"gpt-4o","input":"x","previous_response_id":"resp_1"}`}, 400, `"previous_response_not_found"`, true},
		"both states":    {asking{path: responses, body: `{"model":"gpt-4o","input":"x","previous_response_id":"resp_1","conversation":"conv_1"}`}, 400, `mutually_exclusive`, true},
		"conversation":   {asking{path: responses, body: `{"model":"gpt-4o","input":"x","conversation":{"id":"conv_1"}}`}, 404, `Conversation with id 'conv_1' not found.`, true},

		"no route":       {asking{path: "/openai/v1/nope", body: `{}`}, 404, `"Invalid URL (POST /v1/nope)"`, true},
		"no route 2":     {asking{path: "/anthropic/v1/nope", body: `{}`}, 404, `"not_found_error"`, true},
		"method":         {asking{path: chat, method: http.MethodGet}, 405, `Not allowed to GET on /v1/chat/completions`, true},
		"model of path":  {asking{path: "/openai/v1/models/nope", method: http.MethodGet}, 404, "The model `nope`", true},
		"claude of path": {asking{path: "/anthropic/v1/models/nope", method: http.MethodGet}, 404, `"model: nope"`, true},
		"template":       {asking{path: chat, body: `{"model":"{secrets}","messages":[{}]}`}, 404, "The model `{secrets}` does not", true},
		"file":           {asking{path: "/openai/v1/files/file-1", method: http.MethodGet}, 404, `"No such file object: file-1"`, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := g.ask(tc.a)
			if r.status != tc.status || !strings.Contains(string(r.body), tc.want) {
				t.Errorf("%d %s, want %d %s", r.status, r.body, tc.status, tc.want)
			}
			if scoped := r.header.Get("Openai-Organization")+r.header.Get("Anthropic-Organization-Id") != ""; scoped != tc.scoped {
				t.Errorf("organization told: %v", scoped)
			}
			if id := r.header.Get("Request-Id"); id != "" && r.get("request_id").String() != id {
				t.Errorf("request id %s in the header, %s", id, r.body)
			}
		})
	}
}

// TestOptionsAreChecked names what is wrong.
func TestOptionsAreChecked(t *testing.T) {
	a := simulator.Key{Provider: simulator.OpenAI, Name: "a", Secret: "1"}
	for want, o := range map[string]simulator.Options{
		`keys[0]: provider "x"`: {Keys: []simulator.Key{{Provider: "x", Name: "a", Secret: "1"}}},
		`set a name`:            {Keys: []simulator.Key{{Provider: simulator.OpenAI, Secret: "1"}}},
		`the name "a" is`:       {Keys: []simulator.Key{a, {Provider: simulator.OpenAI, Name: "a", Secret: "2"}}},
		`the same secret`:       {Keys: []simulator.Key{a, {Provider: simulator.OpenAI, Name: "b", Secret: "1"}}},
		`faults[0]:`:            {Faults: []simulator.Fault{{Name: "x"}}},
	} {
		if err := o.Validate(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	if err := (simulator.Options{Keys: []simulator.Key{a, {Provider: simulator.Anthropic, Name: "a", Secret: "1"}}}).Validate(); err != nil {
		t.Errorf("one name at two providers: %v", err)
	}
}

// TestProvider mounts one provider at its own root.
func TestProvider(t *testing.T) {
	sim := simulator.New(options())
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/v1/models", nil)
	r.Header.Set("Authorization", "Bearer "+keys[0].Secret)
	sim.Provider(simulator.OpenAI).ServeHTTP(w, r)
	if w.Code != http.StatusOK || sim.Log()[0].Path != "/v1/models" {
		t.Errorf("%d %s", w.Code, w.Body)
	}
	if sim.Provider("mistral") != nil {
		t.Error("a provider nobody plays")
	}
}

// TestConcurrency mixes everything, for the race detector, and counts exactly.
func TestConcurrency(t *testing.T) {
	const callers, rounds, spoiled = 8, 20, 50
	g := overTCP(t, options(simulator.Fault{Name: "server_error", Times: spoiled}))
	var wg sync.WaitGroup
	for i := range callers {
		wg.Go(func() {
			for n := range rounds {
				a := apis[n%len(apis)]
				g.ask(asking{path: a.path, body: a.body("x", streaming), key: i % 2})
				g.Log()
				g.Faults()
			}
		})
	}
	wg.Wait()
	bad := 0
	for _, c := range g.Log() {
		if c.Status == http.StatusInternalServerError {
			bad++
		}
	}
	if n := len(g.Log()); n != callers*rounds || bad != spoiled || len(g.Faults()) != 0 {
		t.Errorf("%d calls, %d spoiled, faults left %v", n, bad, g.Faults())
	}
}

// TestDocumented holds the page to the table of faults.
func TestDocumented(t *testing.T) {
	page, err := os.ReadFile("../../docs/simulator.md")
	if err != nil {
		t.Fatal(err)
	}
	_, tables, _ := strings.Cut(string(page), "### An error instead of an answer")
	tables, _, _ = strings.Cut(tables, "\n## ")
	listed := regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\|").FindAllStringSubmatch(tables, -1)
	names := simulator.Names()
	for _, l := range listed {
		if names[l[1]] == "" {
			t.Errorf("%s is documented and does not exist", l[1])
		}
		delete(names, l[1])
	}
	for name := range names {
		t.Errorf("%s is not documented", name)
	}
}

// TestEchoKey shows the key in every form a leak takes.
func TestEchoKey(t *testing.T) {
	g := overTCP(t, options(simulator.Fault{Name: "echo_key"}))
	for i, a := range []api{apis[0], apis[2]} {
		secret := keys[i*2].Secret
		r := g.ask(asking{path: a.path, body: a.body("x", "")})
		body := string(r.body)
		if n := strings.Count(r.get("error.message").String(), secret); n < 2 {
			t.Errorf("who reads the JSON sees the key %d times in %s", n, body)
		}
		for _, form := range []string{secret, `\u0073\u006b\u002d`, "%73%6B%2D", base64.StdEncoding.EncodeToString([]byte(secret)), base64.RawURLEncoding.EncodeToString([]byte("Bearer " + secret))} {
			if !strings.Contains(body, form) {
				t.Errorf("%s has no %s", body, form)
			}
		}
	}
}
