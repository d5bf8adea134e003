package gateway_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/internal/ledger"
)

// arrivals asks for a stream and returns what came when.
func (r *rig) arrivals(path, body string) ([]arrival, *http.Response, error) {
	r.t.Helper()
	start := time.Now()
	resp, err := r.client.Do(request(context.Background(), http.MethodPost, path, body))
	if err != nil {
		return nil, nil, err
	}
	defer resp.Body.Close()
	pieces, err := watch(resp.Body, start)
	return merged(pieces), resp, err
}

func TestHoldIsBoundedByTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			w.Header().Set("Content-Type", "text/event-stream")
			send(w) // the head alone holds nothing
			time.Sleep(3 * time.Second)
			send(w, roleChunk)
			time.Sleep(7 * time.Second)
			send(w, roleChunk)
			time.Sleep(4 * time.Second)
			send(w, textChunk, finishChunk, doneChunk)
		}})
		got, _, err := r.arrivals("/v1/chat/completions", chatRequest)
		diff(t, "arrivals", []arrival{
			{13 * time.Second, roleChunk + roleChunk},
			{14 * time.Second, textChunk + finishChunk + doneChunk},
		}, got)
		if err != nil {
			t.Error(err)
		}
		e := r.ended()
		diff(t, "commit", 13*time.Second, e.FirstEvent.Sub(e.Start))
		diff(t, "status", ledger.Completed, e.Status)
	})
}

func TestHoldIsBoundedByBytes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual()
		s.HoldBytes = 2*len(roleChunk) - 1
		r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			sse(w, roleChunk)
			time.Sleep(time.Second)
			send(w, roleChunk)
			time.Sleep(time.Second)
			send(w, textChunk, finishChunk, doneChunk)
		}})
		got, _, _ := r.arrivals("/v1/chat/completions", chatRequest)
		diff(t, "arrivals", []arrival{
			{time.Second, roleChunk + roleChunk},
			{2 * time.Second, textChunk + finishChunk + doneChunk},
		}, got)
	})
}

// An error after what was held has gone out cannot fail over any more, but still
// tells of the key.
func TestErrorAfterTimedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failure := "data: " + strings.Replace(rateLimited, "reached", "reached for "+key(0), 1) + "\n\n"
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			sse(w, roleChunk)
			time.Sleep(11 * time.Second)
			send(w, failure)
		}})
		got, _, err := r.arrivals("/v1/chat/completions", chatRequest)
		diff(t, "arrivals", []arrival{
			{10 * time.Second, roleChunk},
			{11 * time.Second, strings.Replace(failure, key(0), "***", 1)},
		}, got)
		if err != nil {
			t.Error(err)
		}
		diff(t, "keys", []string{"k0"}, r.asked())
		r.states(1, 1)
		diff(t, "status", ledger.Failed, r.ended().Status)
	})
}

// A cut after what was held has gone out is told as the API tells errors.
func TestCutAfterTimedCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			sse(w, messageStart)
			time.Sleep(11 * time.Second)
			cut(w)
		}})
		got, _, err := r.arrivals("/v1/messages", messagesRequest)
		if err != nil || len(got) != 2 || got[0] != (arrival{10 * time.Second, messageStart}) ||
			!strings.HasPrefix(got[1].Text, "event: error\ndata: {\"type\":\"error\"") {
			t.Errorf("got %q, %v", got, err)
		}
		diff(t, "keys", []string{"k0"}, r.asked())
	})
}

// What one attempt has sent before it failed must not reach the client while
// another key is waited for, even if its time to be held runs out meanwhile.
func TestFailedPreambleIsGone(t *testing.T) {
	tests := []struct {
		name string
		fail func(w http.ResponseWriter)
	}{
		{"error event", func(w http.ResponseWriter) { send(w, "data: "+rateLimited+"\n\n") }},
		{"error event, then silence", func(w http.ResponseWriter) {
			send(w, "data: "+rateLimited+"\n\n")
			time.Sleep(time.Minute)
		}},
		{"cut", cut},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, key string, _ int) {
					if key == "k0" {
						sse(w, strings.ReplaceAll(roleChunk, "c1", "thrown-away"))
						time.Sleep(9900 * time.Millisecond)
						tt.fail(w)
						return
					}
					time.Sleep(time.Minute) // no head for long
					sse(w, roleChunk, textChunk, finishChunk, doneChunk)
				}})
				got, _, err := r.arrivals("/v1/chat/completions", chatRequest)
				var text strings.Builder
				for _, a := range got {
					text.WriteString(a.Text)
				}
				diff(t, "body", roleChunk+textChunk+finishChunk+doneChunk, text.String())
				if err != nil {
					t.Error(err)
				}
				diff(t, "keys", []string{"k0", "k1"}, r.asked())
				if e := r.ended(); e.End.Sub(e.Start) > 71500*time.Millisecond {
					t.Errorf("took %v: an answer that nobody is shown delayed the next key", e.End.Sub(e.Start))
				}
			})
		})
	}
}

// The answer that was thrown away is closed as soon as another is committed.
func TestFailedAttemptIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		closed := make(chan struct{})
		r := newRig(t, setup{upstream: func(w http.ResponseWriter, req *http.Request, key string, _ int) {
			if key == "k0" {
				sse(w, "data: "+rateLimited+"\n\n")
				<-req.Context().Done()
				close(closed)
				return
			}
			sse(w, roleChunk, textChunk)
			select {
			case <-closed:
			case <-time.After(time.Second):
				t.Error("the first key's connection is still taken")
			}
			send(w, finishChunk, doneChunk)
		}})
		diff(t, "body", roleChunk+textChunk+finishChunk+doneChunk, r.post("/v1/chat/completions", chatRequest).Body)
		<-closed
	})
}

// Nothing is written before the commit: not a head, not a ping.
func TestSilentBeforeCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := usual()
		s.Hold, s.Ping = 0, time.Second
		r := newRig(t, setup{stream: s, upstream: func(w http.ResponseWriter, _ *http.Request, _ string, _ int) {
			sse(w, messageStart)
			time.Sleep(time.Minute)
			send(w, textDelta, messageStop)
		}})
		c := r.dial()
		io.WriteString(c, "POST /v1/messages HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\nContent-Length: 68\r\n\r\n"+messagesRequest)
		start := time.Now()
		var b [1]byte
		if _, err := c.Read(b[:]); err != nil {
			t.Fatal(err)
		}
		diff(t, "first byte", time.Minute, time.Since(start))
		rest, err := io.ReadAll(c)
		if err != nil && !errors.Is(err, io.EOF) {
			t.Error(err)
		}
		if strings.Contains(string(rest), "ping") {
			t.Errorf("pinged: %q", rest)
		}
	})
}

// A body of JSON that is not whole is no answer, however long it is.
func TestTruncatedJSONWithProperEnd(t *testing.T) {
	r := newRig(t, setup{upstream: func(w http.ResponseWriter, _ *http.Request, _ string, n int) {
		if n == 0 {
			jsonAnswer(w, 200, `{"id":"c1","choices":["`+strings.Repeat("x", 2<<20))
			return
		}
		jsonAnswer(w, 200, completion)
	}})
	got := r.post("/v1/chat/completions", chatBlocking)
	diff(t, "body", completion, got.Body)
	diff(t, "keys", []string{"k0", "k1"}, r.asked())
}
