package upstream_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"sync"
	"testing"

	"keybridge/internal/upstream"
	"keybridge/keypool/verdict"
)

func TestBufferSizes(t *testing.T) {
	t.Parallel()
	for _, n := range []int{0, 1, 1 << 14, 1<<14 + 1, 500_000, 1 << 20, 1<<20 + 1} {
		for range 3 {
			b := upstream.NewBuffer(n)
			if len(b.Bytes) != n {
				t.Errorf("%d bytes, want %d", len(b.Bytes), n)
			}
			b.Release()
		}
	}
}

// Upstreams that answer before they have read the request, or break the connection,
// leave the transport reading a body that its maker has already given back.
func TestBufferIsNotReusedWhileSent(t *testing.T) {
	t.Parallel()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/early":
			w.WriteHeader(http.StatusTooManyRequests)
			return
		case "/break":
			panic(http.ErrAbortHandler)
		}
		body, err := io.ReadAll(r.Body)
		if err != nil || len(bytes.Trim(body, r.Header.Get("X-Byte"))) > 0 {
			t.Errorf("%d bytes, not all of them %s: %v", len(body), r.Header.Get("X-Byte"), err)
		}
	}))
	t.Cleanup(s.Close)
	base, err := url.Parse(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c := upstream.NewClient(upstream.Options{})
	t.Cleanup(c.CloseIdle)
	tg := &upstream.Target{Name: "x", Kind: verdict.OpenAI, Base: base}
	var callers sync.WaitGroup
	for i := range 8 {
		callers.Go(func() {
			for j := range 40 {
				b := upstream.NewBuffer(300_000)
				of := strconv.Itoa(i)
				copy(b.Bytes, bytes.Repeat([]byte(of), len(b.Bytes)))
				r := &upstream.Request{
					Method: "POST", Path: []string{"/read", "/early", "/break"}[j%3], Header: http.Header{"X-Byte": {of}},
					Body: b.Bytes, Owner: b, Repeatable: true,
				}
				if resp, err := c.Send(t.Context(), tg, r); err == nil {
					_ = resp.Body.Close()
				}
				b.Release()
			}
		})
	}
	callers.Wait()
}
