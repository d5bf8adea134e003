package upstream_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/upstream"
	"keybridge/keypool/verdict"
)

func TestSendErrors(t *testing.T) {
	const secret = "sk-proj-Zx81kQmW0b7Rt5Yh2Lc9VdPu3Ns6Ge4A"
	req := func() *upstream.Request {
		return &upstream.Request{Method: "POST", Path: "/x", RawQuery: "token=" + "query-secret-1", Body: []byte("{}"), Secret: secret}
	}
	closed := newRawServer(t, ok)
	closed.Close()
	reset := newRawServer(t, func(int) string { return "" })
	garbage := newRawServer(t, func(int) string { return "no http: " + secret + " /x?token=query-secret-1\r\n\r\n" })
	switched := newRawServer(t, func(int) string {
		return "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n"
	})
	badRead := errors.New("the client went away")
	left := errors.New("left")
	gone, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	silent := newRawServer(t, func(int) string {
		cancel(left)
		<-t.Context().Done()
		return ""
	})
	tests := []struct {
		name    string
		ctx     context.Context //nolint:containedctx // a table
		target  *upstream.Target
		req     *upstream.Request
		written bool
		cause   error
	}{
		{"refused", t.Context(), closed.target(t, verdict.OpenAI, ""), req(), false, syscall.ECONNREFUSED},
		{"reset", t.Context(), reset.target(t, verdict.OpenAI, ""), req(), true, nil},
		{"garbage", t.Context(), garbage.target(t, verdict.OpenAI, ""), req(), true, nil},
		{"switched protocols", t.Context(), switched.target(t, verdict.OpenAI, ""), req(), true, nil},
		{"bad path", t.Context(), closed.target(t, verdict.OpenAI, ""), &upstream.Request{Method: "GET", Path: "/%zz"}, false, url.EscapeError("%zz")},
		{"bad method", t.Context(), closed.target(t, verdict.OpenAI, ""), &upstream.Request{Method: "G T", Path: "/"}, false, nil},
		{"bad secret", t.Context(), closed.target(t, verdict.OpenAI, ""), &upstream.Request{Method: "GET", Secret: secret + "\n"}, false, nil},
		{"unreadable upload", t.Context(), reset.target(t, verdict.OpenAI, ""), &upstream.Request{Method: "POST", Stream: failing{badRead}, Length: 10}, true, badRead},
		{"canceled", gone, silent.target(t, verdict.OpenAI, ""), req(), true, left},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := client(t, upstream.Options{}).Send(tt.ctx, tt.target, tt.req)
			var se *upstream.SendError
			if !errors.As(err, &se) {
				t.Fatalf("err = %v, want a *SendError", err)
			}
			if se.Written != tt.written {
				t.Errorf("Written = %v, want %v (%v)", se.Written, tt.written, err)
			}
			if tt.cause != nil && !errors.Is(err, tt.cause) {
				t.Errorf("err = %v, want %v in it", err, tt.cause)
			}
			for _, hidden := range []string{secret, secret[:12], "query-secret-1"} {
				if strings.Contains(err.Error(), hidden) || strings.Contains(se.Err.Error(), hidden) {
					t.Errorf("%q tells %q", err, hidden)
				}
			}
			if !strings.HasPrefix(err.Error(), "send to p: ") {
				t.Errorf("%q does not name the target", err)
			}
		})
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

func TestSendRelaysRedirectsAndEncodings(t *testing.T) {
	for _, answer := range []string{
		"HTTP/1.1 307 Temporary Redirect\r\nLocation: http://169.254.169.254/\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nok",
		"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
	} {
		s := newRawServer(t, func(int) string { return answer })
		body, err := do(t, client(t, upstream.Options{}), s.target(t, verdict.OpenAI, ""), &upstream.Request{Method: "GET"})
		if err != nil || body != "ok" || len(s.seen()) != 1 {
			t.Errorf("%q: got %q, %v after %d requests", answer, body, err, len(s.seen()))
		}
	}
}

func TestSendHTTP2(t *testing.T) {
	type seen struct {
		Proto, Method, URI, Body, Key string
		Length                        int64
		UserAgent                     bool
	}
	got := make(chan seen, 1)
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		_, ua := r.Header["User-Agent"]
		got <- seen{r.Proto, r.Method, r.RequestURI, string(body), r.Header.Get("X-Api-Key"), r.ContentLength, ua}
	}))
	s.EnableHTTP2 = true
	s.StartTLS()
	defer s.Close()
	c := client(t, upstream.Options{TLS: &tls.Config{RootCAs: s.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs}})
	tg := target(t, verdict.Anthropic, s.URL)
	for range 2 { // on a new connection, and on a kept one
		for _, tt := range []struct {
			req  upstream.Request
			want seen
		}{
			// A length of -1 would be a body, if an empty one.
			{upstream.Request{Method: "GET", Path: "/v1/files/a%2Fb"}, seen{"HTTP/2.0", "GET", "/v1/files/a%2Fb", "", "k", 0, false}},
			{upstream.Request{Method: "POST", Path: "/v1/messages", RawQuery: "beta=true", Body: []byte("{}")}, seen{"HTTP/2.0", "POST", "/v1/messages?beta=true", "{}", "k", 2, false}},
		} {
			tt.req.Secret = "k"
			if _, err := do(t, c, tg, &tt.req); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, <-got); diff != "" {
				t.Error(diff)
			}
		}
	}
	gone, cancel := context.WithCancelCause(t.Context())
	left := errors.New("left")
	cancel(left)
	if _, err := c.Send(gone, tg, &upstream.Request{Method: "GET"}); !errors.Is(err, left) {
		t.Errorf("err = %v, want the cause of the cancel", err)
	}
}
