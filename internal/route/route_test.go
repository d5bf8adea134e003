package route

import (
	"bufio"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"keybridge/internal/fault"
	"keybridge/keypool/verdict"

	"github.com/google/go-cmp/cmp"
)

var table = New([]Provider{
	{Name: "off", Kind: verdict.OpenAI},
	{Name: "openai", Kind: verdict.OpenAI, Enabled: true},
	{Name: "anthropic", Kind: verdict.Anthropic, Enabled: true},
	{Name: "local", Kind: verdict.Compatible, Enabled: true},
	{Name: "claude-2", Kind: verdict.Anthropic, Enabled: true},
	{Name: "claude-off", Kind: verdict.Anthropic},
})

// request is read from the wire, so that the path is what a server makes of it.
func request(t testing.TB, method, target string, header ...string) *http.Request {
	t.Helper()
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: 127.0.0.1:8787\r\n", method, target)
	for i := 0; i < len(header); i += 2 {
		fmt.Fprintf(&head, "%s: %s\r\n", header[i], header[i+1])
	}
	r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(head.String() + "\r\n")))
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return r
}

// served lists everything that is served, as the long form of a provider.
func TestServed(t *testing.T) {
	const (
		infers    = "infer"
		creates   = ""
		uploads   = "upload"
		reads     = "read"
		oai, anth = "openai", "anthropic"
	)
	tests := []struct {
		provider, method, path string
		route                  string
		api                    API
		how                    string
	}{
		{oai, "POST", "/chat/completions", "/v1/chat/completions", Chat, infers},
		{oai, "POST", "/responses", "/v1/responses", Responses, infers},
		{oai, "POST", "/responses/input_tokens", "/v1/responses/input_tokens", Opaque, infers},
		{oai, "POST", "/responses/compact", "/v1/responses/compact", Opaque, infers},
		{oai, "GET", "/responses/resp_1", "/v1/responses/{id}", Opaque, reads},
		{oai, "DELETE", "/responses/resp_1", "/v1/responses/{id}", Opaque, creates},
		{oai, "POST", "/responses/resp_1/cancel", "/v1/responses/{id}/cancel", Opaque, creates},
		{oai, "GET", "/responses/resp_1/input_items", "/v1/responses/{id}/input_items", Opaque, reads},
		{oai, "POST", "/conversations", "/v1/conversations", Opaque, creates},
		{oai, "GET", "/conversations/conv_1", "/v1/conversations/{id}", Opaque, reads},
		{oai, "POST", "/conversations/conv_1", "/v1/conversations/{id}", Opaque, creates},
		{oai, "DELETE", "/conversations/conv_1", "/v1/conversations/{id}", Opaque, creates},
		{oai, "GET", "/conversations/conv_1/items", "/v1/conversations/{id}/items", Opaque, reads},
		{oai, "POST", "/conversations/conv_1/items", "/v1/conversations/{id}/items", Opaque, creates},
		{oai, "GET", "/conversations/conv_1/items/m", "/v1/conversations/{id}/items/{id}", Opaque, reads},
		{oai, "DELETE", "/conversations/conv_1/items/m", "/v1/conversations/{id}/items/{id}", Opaque, creates},
		{oai, "GET", "/models", "/v1/models", Opaque, reads},
		{oai, "HEAD", "/models", "/v1/models", Opaque, reads},
		{oai, "GET", "/models/gpt-5", "/v1/models/{id}", Opaque, reads},
		{oai, "GET", "/models/openai%2Fgpt-5", "/v1/models/{id}", Opaque, reads},
		{oai, "GET", "/models/a%2fb%20c..d", "/v1/models/{id}", Opaque, reads},
		{oai, "GET", "/models/ft:gpt-4o:org::x", "/v1/models/{id}", Opaque, reads},
		{oai, "DELETE", "/models/ft:x", "/v1/models/{id}", Opaque, creates},
		{oai, "POST", "/embeddings", "/v1/embeddings", Opaque, infers},
		{oai, "POST", "/moderations", "/v1/moderations", Opaque, infers},
		{oai, "GET", "/files", "/v1/files", Opaque, reads},
		{oai, "POST", "/files", "/v1/files", Opaque, uploads},
		{oai, "GET", "/files/f", "/v1/files/{id}", Opaque, reads},
		{oai, "DELETE", "/files/f", "/v1/files/{id}", Opaque, creates},
		{oai, "GET", "/files/f/content", "/v1/files/{id}/content", Opaque, reads},
		{oai, "POST", "/uploads", "/v1/uploads", Opaque, creates},
		{oai, "POST", "/uploads/u/parts", "/v1/uploads/{id}/parts", Opaque, uploads},
		{oai, "POST", "/uploads/u/complete", "/v1/uploads/{id}/complete", Opaque, creates},
		{oai, "POST", "/uploads/u/cancel", "/v1/uploads/{id}/cancel", Opaque, creates},
		{oai, "GET", "/batches", "/v1/batches", Opaque, reads},
		{oai, "POST", "/batches", "/v1/batches", Opaque, creates},
		{oai, "GET", "/batches/b", "/v1/batches/{id}", Opaque, reads},
		{oai, "POST", "/batches/b/cancel", "/v1/batches/{id}/cancel", Opaque, creates},
		{oai, "POST", "/images/generations", "/v1/images/generations", Opaque, creates},
		{oai, "POST", "/images/edits", "/v1/images/edits", Opaque, uploads},
		{oai, "POST", "/images/variations", "/v1/images/variations", Opaque, uploads},
		{oai, "POST", "/audio/speech", "/v1/audio/speech", Opaque, creates},
		{oai, "POST", "/audio/transcriptions", "/v1/audio/transcriptions", Opaque, uploads},
		{oai, "POST", "/audio/translations", "/v1/audio/translations", Opaque, uploads},
		{anth, "POST", "/messages", "/v1/messages", Messages, infers},
		{anth, "POST", "/messages/count_tokens", "/v1/messages/count_tokens", Opaque, infers},
		{anth, "GET", "/messages/batches", "/v1/messages/batches", Opaque, reads},
		{anth, "POST", "/messages/batches", "/v1/messages/batches", Opaque, uploads},
		{anth, "GET", "/messages/batches/b", "/v1/messages/batches/{id}", Opaque, reads},
		{anth, "DELETE", "/messages/batches/b", "/v1/messages/batches/{id}", Opaque, creates},
		{anth, "POST", "/messages/batches/b/cancel", "/v1/messages/batches/{id}/cancel", Opaque, creates},
		{anth, "GET", "/messages/batches/b/results", "/v1/messages/batches/{id}/results", Opaque, reads},
		{anth, "GET", "/models", "/v1/models", Opaque, reads},
		{anth, "GET", "/models/claude-opus-5", "/v1/models/{id}", Opaque, reads},
		{anth, "GET", "/files", "/v1/files", Opaque, reads},
		{anth, "POST", "/files", "/v1/files", Opaque, uploads},
		{anth, "GET", "/files/f", "/v1/files/{id}", Opaque, reads},
		{anth, "DELETE", "/files/f", "/v1/files/{id}", Opaque, creates},
		{anth, "GET", "/files/f/content", "/v1/files/{id}/content", Opaque, reads},
	}
	covered := map[string]methods{}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.provider+tt.path, func(t *testing.T) {
			want := Match{
				Provider: tt.provider, Index: 1, Family: verdict.OpenAI, API: tt.api, Route: tt.route, Path: tt.path,
				Inference: tt.how == infers, Idempotent: tt.how == reads, Upload: tt.how == uploads,
			}
			want.Keeps, want.ID = kept(tt.path)
			if tt.provider == anth {
				want.Index, want.Family, want.Path = 2, verdict.Anthropic, "/v1"+tt.path
			}
			check := func(target string, header ...string) {
				t.Helper()
				got, f := table.Match(request(t, tt.method, target, header...))
				if diff := cmp.Diff(want, got); diff != "" || f != nil {
					t.Errorf("%s: fault %v, match (-want +got):\n%s", target, f, diff)
				}
			}
			check("/" + tt.provider + "/v1" + tt.path + "?beta=true")
			if tt.provider == anth {
				check("/v1"+tt.path, "anthropic-version", "2023-06-01")
			} else {
				check("/v1" + tt.path)
			}
			covered[tt.provider+tt.route] |= method(tt.method)
		})
	}
	for provider, c := range map[string]*catalogue{oai: openAI, anth: anthropic} {
		for _, rows := range c.byHead {
			for _, e := range rows {
				if covered[provider+e.pattern] != e.methods {
					t.Errorf("%s %s: the test covers %v of %v", provider, e.pattern, covered[provider+e.pattern], e.methods)
				}
			}
		}
	}
}

// kept says whether a path is of something that the provider keeps, and its id.
func kept(path string) (bool, string) {
	for _, head := range []string{"/conversations", "/files", "/uploads", "/batches", "/messages/batches", "/responses"} {
		rest, ok := strings.CutPrefix(path, head)
		if !ok || rest == "" && head == "/responses" || rest == "/input_tokens" || rest == "/compact" {
			continue
		}
		id, _, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		return true, id
	}
	return false, ""
}

func TestIDOfWhatIsKept(t *testing.T) {
	for target, want := range map[string]string{
		"/v1/files/file-1/content": "file-1", "/openai/v1/conversations/conv_1/items/msg_1": "conv_1", "/v1/files/a%2Fb%20c": "a/b c",
		"/anthropic/v1/messages/batches/msgbatch_1/results": "msgbatch_1", "/v1/files": "", "/v1/models/gpt-5": "",
	} {
		if m, f := table.Match(request(t, "GET", target)); f != nil || m.ID != want {
			t.Errorf("%s: id %q, %v, want %q", target, m.ID, f, want)
		}
	}
}

func TestProviders(t *testing.T) {
	only := func(name string, kind verdict.Family, enabled bool) []Provider {
		return []Provider{{Name: name, Kind: kind, Enabled: enabled}}
	}
	version := []string{"anthropic-version", "2023-06-01"}
	tests := []struct {
		name      string
		providers []Provider
		target    string
		header    []string
		provider  string
		path      string
		code      fault.Code
	}{
		{name: "compatible is OpenAI", target: "/local/v1/models", provider: "local", path: "/models"},
		{name: "second of its API", target: "/claude-2/v1/models", provider: "claude-2", path: "/v1/models"},
		{name: "shared path", target: "/v1/models", provider: "openai", path: "/models"},
		{name: "shared path, key header alone", target: "/v1/models", header: []string{"x-api-key", "k"}, provider: "openai", path: "/models"},
		{name: "shared path, version", target: "/v1/models", header: version, provider: "anthropic", path: "/v1/models"},
		{name: "OpenAI's path, version", target: "/v1/batches", header: version, provider: "openai", path: "/batches"},
		{name: "version for a named provider", target: "/openai/v1/models", header: version, provider: "openai", path: "/models"},
		{name: "only Anthropic", providers: only("a", verdict.Anthropic, true), target: "/v1/models", provider: "a", path: "/v1/models"},
		{name: "only OpenAI", providers: only("o", verdict.OpenAI, true), target: "/v1/models", header: version, provider: "o", path: "/models"},
		{name: "only compatible", providers: only("c", verdict.Compatible, true), target: "/v1/models", provider: "c", path: "/models"},
		{name: "disabled", target: "/off/v1/models", provider: "off", code: fault.Disabled},
		{name: "disabled, any path", target: "/claude-off/anything", provider: "claude-off", code: fault.Disabled},
		{name: "only disabled", providers: only("o", verdict.OpenAI, false), target: "/v1/models", provider: "o", code: fault.Disabled},
		{name: "none of the API", providers: only("a", verdict.Anthropic, true), target: "/v1/batches", code: fault.NotFound},
		{name: "none at all", providers: []Provider{}, target: "/v1/models", code: fault.NotFound},
		{name: "no such provider", target: "/nope/v1/models", code: fault.NotFound},
		{name: "a provider's name, encoded", target: "/open%61i/v1/models", code: fault.NotFound},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			table := table
			if tt.providers != nil {
				table = New(tt.providers)
			}
			m, f := table.Match(request(t, "GET", tt.target, tt.header...))
			var code fault.Code
			if f != nil {
				code = f.Code
			}
			if m.Provider != tt.provider || m.Path != tt.path || code != tt.code {
				t.Errorf("provider %q path %q fault %v, want %q %q %q", m.Provider, m.Path, f, tt.provider, tt.path, tt.code)
			}
		})
	}
}

func TestRefused(t *testing.T) {
	const o, a = verdict.OpenAI, verdict.Anthropic
	tests := []struct {
		method, target string
		header         []string
		family         verdict.Family
		says           []string // parts of the text
	}{
		{method: "POST", target: "/v1/v1/messages", family: a, says: []string{"ANTHROPIC_BASE_URL to http://127.0.0.1:8787, without /v1"}},
		{method: "POST", target: "/anthropic/v1/v1/messages", family: a, says: []string{"ANTHROPIC_BASE_URL to http://127.0.0.1:8787/anthropic, without /v1"}},
		{method: "POST", target: "/v1/v1/v1/messages", family: a, says: []string{"without /v1"}},
		{method: "POST", target: "/messages", family: a, says: []string{"lacks /v1", "http://127.0.0.1:8787/v1 "}},
		{method: "POST", target: "/anthropic/messages", family: a, says: []string{"lacks /v1", "http://127.0.0.1:8787/anthropic/v1 "}},
		{method: "POST", target: "/chat/completions", family: o, says: []string{"OPENAI_BASE_URL to http://127.0.0.1:8787/v1."}},
		{method: "POST", target: "/chat/completions", header: []string{"X-Forwarded-Proto", "https"}, family: o, says: []string{"OPENAI_BASE_URL to https://127.0.0.1:8787/v1."}},
		{method: "POST", target: "/openai/responses", family: o, says: []string{"OPENAI_BASE_URL to http://127.0.0.1:8787/openai/v1."}},
		{method: "GET", target: "/models", family: o, says: []string{"OPENAI_BASE_URL to http://127.0.0.1:8787/v1."}},
		{method: "GET", target: "/models", header: []string{"anthropic-version", "2023-06-01"}, family: a, says: []string{"http://127.0.0.1:8787/v1 "}},
		{method: "POST", target: "/v1/v1/chat/completions", family: o, says: []string{"twice", "OPENAI_BASE_URL to http://127.0.0.1:8787/v1,"}},
		{method: "POST", target: "/openai/v1/v1/embeddings", family: o, says: []string{"OPENAI_BASE_URL to http://127.0.0.1:8787/openai/v1,"}},
		{method: "POST", target: "/openai/v1/messages", family: o, says: []string{"openai speaks OpenAI's API", "/v1/chat/completions"}},
		{method: "POST", target: "/anthropic/v1/chat/completions", family: a, says: []string{"anthropic speaks Anthropic's API", "/v1/messages"}},
		{method: "POST", target: "/v1/fine_tuning/jobs", family: o, says: []string{"/v1/chat/completions, /v1/responses", "/v1/images/…"}},
		{method: "POST", target: "/v1/fine_tuning/jobs", header: []string{"x-api-key", "k"}, family: a, says: []string{"There are: /v1/messages, /v1/models, /v1/files."}},
		{method: "GET", target: "/anthropic/v1/complete", family: a, says: []string{"Below http://127.0.0.1:8787/anthropic there are: /v1/messages"}},
		{method: "GET", target: "/v1", family: o, says: []string{"There are: /v1/chat/completions"}},
		{method: "GET", target: "/openai", family: o, says: []string{"Below http://127.0.0.1:8787/openai there are"}},
		{method: "GET", target: "/openai/v1", family: o, says: []string{"Below"}},
		{method: "GET", target: "/openai/v1beta/models", family: o, says: []string{"Below"}},
		{method: "GET", target: "/nope/v1/models", family: o, says: []string{"off, openai, anthropic, local, claude-2, claude-off"}},
		{method: "GET", target: "/", family: o, says: []string{"Use /v1/"}},
		{method: "GET", target: "/v1/files/a/b/content", family: o, says: []string{"There are"}},
		{method: "GET", target: "/v1/files/a/content/x", family: o, says: []string{"There are"}},

		{method: "GET", target: "/v1/organization/usage/completions", family: o, says: []string{"administration"}},
		{method: "GET", target: "/openai/v1/organization/admin_api_keys", family: o, says: []string{"administration"}},
		{method: "POST", target: "/anthropic/v1/organizations/api_keys", family: a, says: []string{"administration"}},
		{method: "GET", target: "/organization/users", family: o, says: []string{"administration"}},

		{method: "GET", target: "/v1/chat/completions", family: o, says: []string{"/v1/chat/completions does not take this method: use POST."}},
		{method: "PUT", target: "/v1/conversations/c", family: o, says: []string{"use GET, POST or DELETE"}},
		{method: "DELETE", target: "/anthropic/v1/models/m", family: a, says: []string{"use GET"}},
		{method: "OPTIONS", target: "/v1/messages", family: a, says: []string{"use POST"}},
		{method: "post", target: "/v1/messages", family: a, says: []string{"use POST"}},

		{method: "GET", target: "/v1//models", family: o, says: []string{"empty segment"}},
		{method: "POST", target: "//v1/messages", family: a, says: []string{"empty segment"}},
		{method: "GET", target: "/v1/models/", family: o, says: []string{"ends in a slash"}},
		{method: "GET", target: "/openai/", family: o, says: []string{"ends in a slash"}},
		{method: "GET", target: "/v1/files/../models", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/..", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/./models", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/%2e%2e", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/%2E.", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/.%2e", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/%2e", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/..%2Forganization", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/a%2f%2e%2E%2fb", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/..;x", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/%252e%252e", family: o, says: []string{"another path"}},
		{method: "GET", target: `/v1/files/a\b`, family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/..%5C..", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/a%5cb", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/a%00", family: o, says: []string{"another path"}},
		{method: "GET", target: "/v1/files/a%0d%0ab", family: o, says: []string{"another path"}},
		{method: "GET", target: "/anthropic/../openai/v1/models", family: a, says: []string{"another path"}},
		{method: "OPTIONS", target: "*", family: o, says: []string{"no path"}},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			m, f := table.Match(request(t, tt.method, tt.target, tt.header...))
			if f == nil || f.Code != fault.NotFound {
				t.Fatalf("match %+v, fault %v, want not_found", m, f)
			}
			if m.Family != tt.family || m.Quiet || m.Path != "" {
				t.Errorf("match %+v, want a loud one of family %s without a path", m, tt.family)
			}
			for _, s := range tt.says {
				if !strings.Contains(f.Public, s) {
					t.Errorf("text %q does not say %q", f.Public, s)
				}
			}
			if len(f.Public) > 300 {
				t.Errorf("text of %d bytes: %q", len(f.Public), f.Public)
			}
		})
	}
}

func TestQuiet(t *testing.T) {
	for _, tt := range [][2]string{{"HEAD", "/"}, {"HEAD", "/api/hello"}, {"GET", "/api/hello"}, {"POST", "/api/event_logging/batch"}, {"GET", "/api"}, {"POST", "/api/../v1/messages"}} {
		m, f := table.Match(request(t, tt[0], tt[1]))
		if f == nil || f.Code != fault.NotFound || !m.Quiet || len(f.Public) > 20 {
			t.Errorf("%s %s: match %+v fault %v, want a quiet 404", tt[0], tt[1], m, f)
		}
	}
	if m, _ := table.Match(request(t, "GET", "/apis")); m.Quiet {
		t.Error("/apis is quiet")
	}
}

func TestUpgrade(t *testing.T) {
	tests := []struct {
		target, upgrade string
		family          verdict.Family
		refused         bool
	}{
		{"/v1/responses", "websocket", verdict.OpenAI, true},
		{"/openai/v1/responses", "WebSocket", verdict.OpenAI, true},
		{"/anthropic/v1/responses", "h2c, websocket", verdict.Anthropic, true},
		{"/off/v1/responses", "websocket", verdict.OpenAI, true},
		{"/nowhere", "websocket", verdict.OpenAI, true},
		{"/v1/models", "h2c", verdict.OpenAI, false},
	}
	for _, tt := range tests {
		m, f := table.Match(request(t, "GET", tt.target, "Connection", "Upgrade", "Upgrade", tt.upgrade))
		if refused := f != nil && f.Code == fault.Upgrade; refused != tt.refused || m.Family != tt.family {
			t.Errorf("%s to %s: match %+v fault %v", tt.target, tt.upgrade, m, f)
		}
	}
}

func TestManyProvidersInText(t *testing.T) {
	var many []Provider
	for name := range strings.FieldsSeq("a b c d e f g h i j") {
		many = append(many, Provider{Name: name, Kind: verdict.OpenAI, Enabled: true})
	}
	_, f := New(many).Match(request(t, "GET", "/k/v1/models"))
	if f == nil || !strings.HasSuffix(f.Public, ": a, b, c, d, e, f, g, h, ….") {
		t.Errorf("fault %v", f)
	}
}

func TestHotPathDoesNotAllocate(t *testing.T) {
	for _, r := range []*http.Request{
		request(t, "POST", "/v1/messages?beta=true", "anthropic-version", "2023-06-01"),
		request(t, "POST", "/v1/chat/completions"),
		request(t, "POST", "/openai/v1/responses"),
		request(t, "GET", "/v1/files/file-1/content"),
	} {
		if n := testing.AllocsPerRun(100, func() {
			if _, f := table.Match(r); f != nil {
				t.Fatal(f)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", r.URL, n)
		}
	}
}

// Whatever the path, what goes upstream is the path that was matched, of a pattern
// of the closed set, and nothing in it can be normalised into another one.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{
		"/v1/messages", "/openai/v1/files/a%2Fb/content", "/v1/files/%2e%2e/models", "//v1/messages", "/v1/v1/messages", "/api/x",
		"/anthropic/v1/messages/batches/x/results", `/v1/files/a\b`, "/v1/models/a;b", "/", "*", "",
	} {
		f.Add("GET", s)
		f.Add("POST", s)
	}
	patterns := map[string]bool{"": true}
	for _, c := range []*catalogue{openAI, anthropic} {
		for _, rows := range c.byHead {
			for _, e := range rows {
				patterns[e.pattern] = true
			}
		}
	}
	f.Fuzz(func(t *testing.T, method, target string) {
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(method + " " + target + " HTTP/1.1\r\nHost: h\r\n\r\n")))
		if err != nil {
			return
		}
		m, refused := table.Match(r)
		if m.Family != verdict.OpenAI && m.Family != verdict.Anthropic || !patterns[m.Route] {
			t.Fatalf("match %+v", m)
		}
		if refused != nil {
			if refused.Public == "" || m.Path != "" {
				t.Fatalf("fault %v, match %+v", refused, m)
			}
			return
		}
		if !strings.HasSuffix(r.URL.EscapedPath(), m.Path) || m.Path == "" || m.Provider != table.providers[m.Index].Name {
			t.Fatalf("path %q for %+v", r.URL.EscapedPath(), m)
		}
		decoded, err := url.PathUnescape(m.Path)
		if err != nil || strings.ContainsAny(decoded, "%\\\x00\r\n") || strings.Contains(m.Path, "//") {
			t.Fatalf("path %q: %v", m.Path, err)
		}
		for segment := range strings.SplitSeq(decoded, "/") {
			if segment == "." || segment == ".." {
				t.Fatalf("path %q has a dot segment", m.Path)
			}
		}
		if m.Inference && m.Idempotent || m.Upload && m.Inference {
			t.Fatalf("match %+v", m)
		}
	})
}

func BenchmarkMatch(b *testing.B) {
	r := request(b, "POST", "/v1/chat/completions")
	b.ReportAllocs()
	for b.Loop() {
		if _, f := table.Match(r); f != nil {
			b.Fatal(f)
		}
	}
}
