package gateway_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
	"keybridge/keypool"
	"keybridge/keypool/verdict"
)

// A client that leaves takes its upstream call with it, and no key pays for it.
func TestClientLeaves(t *testing.T) {
	tests := []struct {
		name string
		path string
		send func(w http.ResponseWriter)
		sent int // status the client was sent
	}{
		{"before the head", "/v1/chat/completions", func(http.ResponseWriter) {}, 0},
		{"during the hold", "/v1/chat/completions", func(w http.ResponseWriter) { sse(w, roleChunk) }, 0},
		{"in the stream", "/v1/chat/completions", func(w http.ResponseWriter) { sse(w, roleChunk, textChunk) }, 200},
		{"in an error body", "/v1/chat/completions", func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized); send(w, "{") }, 0},
		{"in an opaque body", "/v1/embeddings", func(w http.ResponseWriter) { send(w, "{") }, 200},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				called := make(chan struct{})
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, req *http.Request, _ string, _ int) {
					tt.send(w)
					<-req.Context().Done()
					close(called)
				}})
				ctx, cancel := context.WithTimeout(context.Background(), time.Second)
				defer cancel()
				if got := r.do(request(ctx, http.MethodPost, tt.path, chatRequest)); got.Err == nil {
					t.Errorf("got %+v", got)
				}
				<-called
				e := r.ended()
				diff(t, "time", time.Second, e.End.Sub(e.Start))
				diff(t, "status", ledger.Cancelled, e.Status)
				diff(t, "sent", tt.sent, e.HTTPStatus)
				diff(t, "keys", []string{"k0"}, r.asked())
				if e.Err == nil || !strings.Contains(e.Err.Error(), "client") {
					t.Errorf("the ledger blames: %v", e.Err)
				}
				r.states(2, 0)
				r.pool("openai", "failover_attempts 1/1 call_attempts 1/1 failovers 0 transitions 0")
				r.idle()
			})
		})
	}
}

// idle checks by the pool's own order that no lease is out: with one, a pool that
// adopts this one's state and asks the least busy key would ask another first.
func (r *rig) idle() {
	r.t.Helper()
	for _, target := range r.snapshot.Targets {
		if target.Pool == nil {
			continue
		}
		o := keypool.Options{
			Provider: target.Name, Family: target.Kind, Host: target.Base.Host, Strategy: keypool.LeastBusy, Metrics: keypool.NoMetrics(),
		}
		for i, secret := range target.Pool.Secrets() {
			o.Keys = append(o.Keys, keypool.Key{ID: fmt.Sprintf("k%d", i), Secret: secret})
		}
		pool, err := keypool.New(o)
		if err != nil {
			r.t.Fatal(err)
		}
		pool.Adopt(target.Pool)
		err = pool.Do(context.Background(), keypool.Want{}, func(_ context.Context, l *keypool.Lease) (verdict.Verdict, error) {
			diff(r.t, "least busy key", "k0", l.Key())
			l.Release(keypool.Usage{})
			return verdict.Success(), nil
		})
		if err != nil {
			r.t.Error(err)
		}
	}
}

// A client that only closes its own side of the connection may still listen: it
// must not be told that all is well.
func TestHalfClosedClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(_ http.ResponseWriter, req *http.Request, _ string, _ int) { <-req.Context().Done() }})
		c := r.dial()
		io.WriteString(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 45\r\n\r\n"+chatRequest)
		synctest.Wait()
		c.(interface{ CloseWrite() error }).CloseWrite()
		got, _ := io.ReadAll(c)
		diff(t, "answer", "", string(got))
		diff(t, "status", ledger.Cancelled, r.ended().Status)
	})
}

// A client that leaves while the pool waits to send again is not waited for.
func TestClientLeavesBetweenSends(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
			if n == 2 {
				t.Error("sent for nobody")
			}
			jsonAnswer(w, 500, `{}`)
		}})
		ctx, cancel := context.WithTimeout(context.Background(), 700*time.Millisecond)
		defer cancel()
		r.do(request(ctx, http.MethodPost, "/v1/chat/completions", chatRequest))
		e := r.ended()
		diff(t, "time", 700*time.Millisecond, e.End.Sub(e.Start))
		diff(t, "status", ledger.Cancelled, e.Status)
		diff(t, "keys", []string{"k0", "k1"}, r.asked())
	})
}
