package keypool

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func TestTransportIsBoundToItsHost(t *testing.T) {
	var stolen []string
	thief := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		stolen = append(stolen, r.Header.Get("Authorization"))
	}))
	defer thief.Close()
	var hosts []string
	u := newUpstream(t, map[string]http.HandlerFunc{"a": func(w http.ResponseWriter, r *http.Request) {
		hosts = append(hosts, r.Host)
		switch r.URL.Path {
		case "/away":
			http.Redirect(w, r, thief.URL, http.StatusTemporaryRedirect)
		case "/tls":
			http.Redirect(w, r, "https://"+r.Host+"/", http.StatusTemporaryRedirect)
		case "/near":
			http.Redirect(w, r, "/there", http.StatusTemporaryRedirect)
		}
	}})
	c, p := client(t, u.host())
	for _, target := range []string{thief.URL, u.URL + "/away", u.URL + "/tls"} {
		resp, err := c.Get(target)
		if err == nil {
			resp.Body.Close()
			t.Errorf("%s was asked", target)
		}
	}
	resp, err := c.Get(u.URL + "/near")
	if err != nil || resp.Request.URL.Path != "/there" {
		t.Fatalf("a redirect within the host: %v", err)
	}
	resp.Body.Close()
	// Neither a Host header nor a credential of the request's own goes through.
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, u.URL+"/own", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	req.Host = "thief.test"
	req.Header.Set("Authorization", "Bearer mine")
	req.Header.Set("X-Api-Key", "mine")
	if resp, err = c.Do(req); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if req.Header.Get("Authorization") != "Bearer mine" {
		t.Error("the caller's request was changed")
	}
	for _, h := range hosts {
		if h != u.host() {
			t.Errorf("sent for host %q", h)
		}
	}
	if len(stolen) > 0 {
		t.Errorf("another host got %q", stolen)
	}
	idle(t, p)
}

func TestTransportResendsOnlyWhatCreatesNothingTwice(t *testing.T) {
	t.Parallel()
	abort := func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }
	for _, tt := range []struct {
		method, path string
		sends        int
	}{
		{http.MethodPost, "/v1/chat/completions", 2},
		{http.MethodPost, "/v1/responses", 2},
		{http.MethodPost, "/v1/messages", 2},
		{http.MethodPost, "/v1/embeddings", 2},
		{http.MethodPost, "/v1/files", 1},
		{http.MethodPost, "/v1/batches", 1},
		{http.MethodPost, "/v1/conversations", 1},
		{http.MethodDelete, "/v1/files/x", 1},
	} {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			t.Parallel()
			u := newUpstream(t, map[string]http.HandlerFunc{"a": abort})
			c, p := client(t, u.host())
			req, err := http.NewRequestWithContext(t.Context(), tt.method, u.URL+tt.path, bytes.NewReader([]byte("{}")))
			if err != nil {
				t.Fatal(err)
			}
			resp, err := c.Do(req)
			if err == nil {
				resp.Body.Close()
			}
			if (err == nil) != (tt.sends == 2) {
				t.Errorf("the error is %v", err)
			}
			u.mu.Lock()
			defer u.mu.Unlock()
			if len(u.seen) != tt.sends {
				t.Errorf("sent %d times, want %d", len(u.seen), tt.sends)
			}
			if v := p.view(time.Now()); v.states[Valid] != 2 {
				t.Errorf("states %v", v.states)
			}
			idle(t, p)
		})
	}
}

func TestTransportConnectRefused(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := l.Addr().String()
	l.Close()
	c, p := client(t, host)
	start := time.Now()
	resp, err := c.Post("http://"+host+"/v1/files", "application/json", strings.NewReader("{}"))
	if err == nil {
		resp.Body.Close()
		t.Fatal("no error")
	}
	// Nothing can have arrived, so that even this is sent again.
	if took := time.Since(start); took < 1200*time.Millisecond || p.book.series.calls.sum != 2 {
		t.Errorf("gave up after %v and %d keys", took, p.book.series.calls.sum)
	}
	if _, ok := errors.AsType[*net.OpError](err); !ok {
		t.Errorf("the error is %v", err)
	}
	if v := p.view(time.Now()); v.states[Valid] != 2 {
		t.Errorf("states %v", v.states)
	}
}

func TestTransportClientGone(t *testing.T) {
	began := make(chan struct{})
	u := newUpstream(t, map[string]http.HandlerFunc{"a": func(_ http.ResponseWriter, r *http.Request) {
		close(began)
		<-r.Context().Done()
	}})
	c, p := client(t, u.host())
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-began
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, u.URL+"/v1/messages", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(req)
	if err == nil {
		resp.Body.Close()
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v", err)
	}
	if v := p.view(time.Now()); v.states[Valid] != 2 || p.book.series.calls.sum != 1 {
		t.Errorf("states %v, %d keys", v.states, p.book.series.calls.sum)
	}
	idle(t, p)
}
