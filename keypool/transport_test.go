package keypool

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// upstream is a provider on a real socket, which answers by key.
type upstream struct {
	*httptest.Server
	answer map[string]http.HandlerFunc

	mu   sync.Mutex
	seen []string // "key method path body"
}

func newUpstream(t *testing.T, answer map[string]http.HandlerFunc) *upstream {
	t.Helper()
	u := &upstream{answer: answer}
	u.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		key := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		u.mu.Lock()
		u.seen = append(u.seen, fmt.Sprintf("%s %s %s %s", key, r.Method, r.URL.RequestURI(), body))
		u.mu.Unlock()
		if h := u.answer[key]; h != nil {
			h(w, r)
			return
		}
		fmt.Fprintf(w, "served by %s", key)
	}))
	t.Cleanup(u.Close)
	return u
}

func (u *upstream) host() string { return strings.TrimPrefix(u.URL, "http://") }

func (u *upstream) saw(t *testing.T, want ...string) {
	t.Helper()
	u.mu.Lock()
	defer u.mu.Unlock()
	if diff := gocmp.Diff(want, u.seen); diff != "" {
		t.Errorf("the upstream saw (-want +got):\n%s", diff)
	}
}

func answer(status int, body string, header ...string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		for i := 0; i < len(header); i += 2 {
			w.Header().Set(header[i], header[i+1])
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

// client is an http.Client over a pool of the keys "a" and "b" for the host.
func client(t *testing.T, host string) (*http.Client, *Pool) {
	t.Helper()
	p, err := New(Options{
		Provider: "openai", Family: verdict.OpenAI, Host: host, Metrics: NoMetrics(),
		Keys: []Key{{ID: "first", Secret: "a"}, {ID: "second", Secret: "b"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	tr, err := NewTransport(TransportOptions{Pool: p, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	return &http.Client{Transport: tr}, p
}

const (
	invalidKey = `{"error":{"message":"Incorrect API key provided","type":"invalid_request_error","code":"invalid_api_key"}}`
	rateLimit  = `{"error":{"message":"Rate limit reached","type":"requests","code":"rate_limit_exceeded"}}`
	noModel    = `{"error":{"message":"The model does not exist","type":"invalid_request_error","code":"model_not_found"}}`
)

func TestTransport(t *testing.T) {
	t.Parallel()
	const path, body = "/v1/chat/completions?x=1", `{"stream":false,"nested":{"model":"no"},"model":"gpt-5"}`
	send := func(key string) string { return key + " POST " + path + " " + body }
	for _, tt := range []struct {
		name   string
		answer map[string]http.HandlerFunc
		status int
		body   string
		fails  bool
		seen   []string
	}{
		{"good", nil, 200, "served by a", false, []string{send("a")}},
		{"failover, the body whole again", map[string]http.HandlerFunc{"a": answer(401, invalidKey)}, 200, "served by b", false, []string{send("a"), send("b")}},
		{
			"rate limit",
			map[string]http.HandlerFunc{"a": answer(429, rateLimit, "Retry-After", "7"), "b": answer(429, rateLimit, "Retry-After", "9")},
			0, "all keys of openai are rate-limited", true,
			[]string{send("a"), send("b")},
		},
		{
			"all rejected",
			map[string]http.HandlerFunc{"a": answer(401, invalidKey), "b": answer(401, invalidKey)},
			0, "all keys of openai failed authentication", true,
			[]string{send("a"), send("b")},
		},
		{"a bad request", map[string]http.HandlerFunc{"a": answer(400, `{"error":{"message":"no"}}`)}, 400, `{"error":{"message":"no"}}`, false, []string{send("a")}},
		{
			"no key has the model: the upstream's answer",
			map[string]http.HandlerFunc{"a": answer(404, `{}`), "b": answer(404, noModel)},
			404, `{}`, false,
			[]string{send("a")},
		},
		{
			"no key has the model, known",
			map[string]http.HandlerFunc{"a": answer(404, noModel), "b": answer(404, noModel)},
			404, noModel, false,
			[]string{send("a"), send("b")},
		},
		{
			"an upstream that fails",
			map[string]http.HandlerFunc{"a": answer(500, "first"), "b": answer(503, "other")},
			503, "other", false,
			[]string{send("a"), send("b"), send("b")},
		},
		{
			"a body that is longer than what is judged",
			map[string]http.HandlerFunc{"a": answer(500, strings.Repeat("x", 200<<10)), "b": answer(400, strings.Repeat("y", 200<<10))},
			400, strings.Repeat("y", 200<<10), false,
			[]string{send("a"), send("b")},
		},
		{
			"a connection that breaks",
			map[string]http.HandlerFunc{"a": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }},
			200, "served by b", false,
			[]string{send("a"), send("b")},
		},
		{"a redirect is an answer", map[string]http.HandlerFunc{"a": answer(304, "")}, 304, "", false, []string{send("a")}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, tt.answer)
			c, p := client(t, u.host())
			resp, err := c.Post(u.URL+path, "application/json", strings.NewReader(body))
			switch {
			case tt.fails:
				if err == nil || !strings.Contains(err.Error(), tt.body) {
					t.Errorf("the error is %v, want %q", err, tt.body)
				}
				if _, ok := errors.AsType[*ExhaustedError](err); !ok {
					t.Errorf("the error is a %T inside", err)
				}
			case err != nil:
				t.Fatal(err)
			default:
				got, err := io.ReadAll(resp.Body)
				if err != nil || resp.StatusCode != tt.status || string(got) != tt.body {
					t.Errorf("answered %d %.100q, %v, want %d %.100q", resp.StatusCode, got, err, tt.status, tt.body)
				}
				if err := resp.Body.Close(); err != nil {
					t.Error(err)
				}
			}
			u.saw(t, tt.seen...)
			idle(t, p)
		})
	}
}

func TestTransportReleasesWithTheBody(t *testing.T) {
	for _, tt := range []struct {
		name string
		end  func(io.ReadCloser) error
	}{
		{"read to its end", func(b io.ReadCloser) error { _, err := io.Copy(io.Discard, b); return err }},
		{"closed", func(b io.ReadCloser) error { return b.Close() }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			u := newUpstream(t, nil)
			c, p := client(t, u.host())
			resp, err := c.Get(u.URL + "/v1/models")
			if err != nil {
				t.Fatal(err)
			}
			if n := p.members[0].key.inflight; n != 1 {
				t.Errorf("%d in flight while the body is open, want 1", n)
			}
			if err := tt.end(resp.Body); err != nil {
				t.Error(err)
			}
			idle(t, p)
			resp.Body.Close()
			idle(t, p)
		})
	}
}

func TestTransportStalledErrorBody(t *testing.T) {
	t.Parallel()
	release := make(chan struct{})
	defer close(release)
	u := newUpstream(t, map[string]http.HandlerFunc{"a": func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "60")
		w.WriteHeader(http.StatusTooManyRequests)
		_, _ = io.WriteString(w, `{"error":`)
		w.(http.Flusher).Flush()
		<-release
	}})
	c, p := client(t, u.host())
	start := time.Now()
	resp, err := c.Post(u.URL+"/v1/responses", "application/json", strings.NewReader(`{"model":"m"}`))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if took := time.Since(start); resp.StatusCode != http.StatusOK || took > 2*ErrorBodyTime {
		t.Errorf("answered %d after %v", resp.StatusCode, took)
	}
	if v := p.view(time.Now()); v.states[Temporary] != 1 {
		t.Errorf("states %v, want the first key cooling", v.states)
	}
}

func TestTransportBodies(t *testing.T) {
	u := newUpstream(t, nil)
	_, p := client(t, u.host())
	small, err := NewTransport(TransportOptions{Pool: p, MaxBody: 10})
	if err != nil {
		t.Fatal(err)
	}
	c := &http.Client{Transport: small}
	for _, tt := range []struct {
		body io.Reader
		want string
	}{
		{strings.NewReader("0123456789"), ""},
		{strings.NewReader("0123456789x"), "over 10 bytes"},
		{io.MultiReader(strings.NewReader("01"), failingReader{}), "the disk is gone"},
	} {
		body := &closeCounter{Reader: tt.body}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, u.URL+"/v1/messages", body)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := c.Do(req)
		if err == nil {
			resp.Body.Close()
		}
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("the error is %v, want %q", err, tt.want)
		}
		if body.closed == 0 {
			t.Error("the body was not closed")
		}
	}
	for _, o := range []TransportOptions{{}, {Pool: Borrowed("p", "x")}} {
		if _, err := NewTransport(o); err == nil {
			t.Errorf("%+v was taken", o)
		}
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, errors.New("the disk is gone") }

type closeCounter struct {
	io.Reader
	closed int
}

func (c *closeCounter) Close() error {
	c.closed++
	return nil
}

func TestTransportClosesWhatItDoesNotReturn(t *testing.T) {
	var bodies []*closeCounter
	base := roundTripper(func(r *http.Request) (*http.Response, error) {
		b := &closeCounter{Reader: strings.NewReader(strings.Repeat("x", ErrorBodyLimit+1))}
		bodies = append(bodies, b)
		return &http.Response{StatusCode: http.StatusUnauthorized, Status: "401", Header: http.Header{}, Body: b, Request: r}, nil
	})
	_, p := client(t, "api.test")
	tr, err := NewTransport(TransportOptions{Pool: p, Base: base})
	if err != nil {
		t.Fatal(err)
	}
	resp, err := (&http.Client{Transport: tr}).Get("https://api.test/v1/models")
	if err == nil {
		resp.Body.Close()
		t.Fatal("no error")
	}
	if len(bodies) != 2 || bodies[0].closed == 0 || bodies[1].closed == 0 {
		t.Errorf("%d answers: not all are closed", len(bodies))
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestTopLevelModel(t *testing.T) {
	for body, want := range map[string]string{
		"":                                "",
		"[]":                              "",
		"{":                               "",
		"{}":                              "",
		`{"model":"m"}`:                   "m",
		`{"a":{"model":"x"},"model":"m"}`: "m",
		`{"model":7}`:                     "",
		`{"a":[1,{"b":"c"}], "model":"m","model":"n"}`: "m",
		`{"a":tru`:          "",
		`{"a":1,"model":"m`: "",
	} {
		if got := topLevelModel([]byte(body)); got != want {
			t.Errorf("topLevelModel(%s) = %q, want %q", body, got, want)
		}
	}
}

func TestSetKey(t *testing.T) {
	for family, want := range map[verdict.Family]http.Header{
		verdict.OpenAI:     {"Authorization": {"Bearer k"}, "Accept": {"x"}},
		verdict.Compatible: {"Authorization": {"Bearer k"}, "Accept": {"x"}},
		verdict.Anthropic:  {"X-Api-Key": {"k"}, "Accept": {"x"}},
	} {
		h := http.Header{"Authorization": {"a"}, "X-Api-Key": {"b"}, "Api-Key": {"c"}, "X-Goog-Api-Key": {"d"}, "Accept": {"x"}}
		SetKey(h, family, "k")
		if diff := gocmp.Diff(want, h); diff != "" {
			t.Errorf("%s (-want +got):\n%s", family, diff)
		}
	}
}
