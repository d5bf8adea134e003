package keypool

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// crowd runs calls side by side in a synctest bubble and keeps what they sent.
type crowd struct {
	t     *testing.T
	start time.Time

	mu    sync.Mutex
	sent  []string // "name key@when"
	ended map[string]string
}

func newCrowd(t *testing.T) *crowd {
	return &crowd{t: t, start: time.Now(), ended: map[string]string{}}
}

// call starts one call and waits until it is blocked, so that calls come in order.
// Its answers are for whichever keys it is given. What stands before a slash in the
// name is its caller, what stands behind an @ its model.
func (c *crowd) call(ctx context.Context, p *Pool, name string, answers ...reply) {
	c.t.Helper()
	c.want(ctx, p, name, Want{}, answers...)
}

// session starts a call of the session that is called like it.
func (c *crowd) session(ctx context.Context, p *Pool, name string, answers ...reply) {
	c.t.Helper()
	c.want(ctx, p, name, Want{Session: name}, answers...)
}

func (c *crowd) want(ctx context.Context, p *Pool, name string, want Want, answers ...reply) {
	c.t.Helper()
	want.Model, want.Endpoint = "m", "/v1/messages"
	if caller, _, ok := strings.Cut(name, "/"); ok {
		want.Caller = caller
	}
	if _, model, ok := strings.Cut(name, "@"); ok {
		want.Model = model
	}
	go func() {
		err := p.Do(ctx, want, func(ctx context.Context, l *Lease) (verdict.Verdict, error) {
			defer l.Release(Usage{})
			c.mu.Lock()
			c.sent = append(c.sent, fmt.Sprintf("%s %s@%v", name, l.Key(), time.Since(c.start)))
			c.mu.Unlock()
			if len(answers) == 0 {
				c.t.Errorf("%s sent more than foreseen", name)
				return verdict.Verdict{Action: verdict.Stop}, refusal("unforeseen")
			}
			a := answers[0]
			answers = answers[1:]
			if err := sleep(ctx, a.takes); err != nil {
				return verdict.Broken(), err
			}
			if a.header != nil {
				l.Observe(a.header)
			}
			return a.verdict, a.err
		})
		end := fmt.Sprintf("ok@%v", time.Since(c.start))
		if err != nil {
			end = fmt.Sprintf("%v@%v", err, time.Since(c.start))
		}
		c.mu.Lock()
		c.ended[name] = end
		c.mu.Unlock()
	}()
	synctest.Wait()
}

// was compares what was sent so far. Sends of one moment come in no order.
func (c *crowd) was(want ...string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := slices.Clone(c.sent)
	slices.Sort(got)
	slices.Sort(want)
	if diff := gocmp.Diff(want, got); diff != "" {
		c.t.Errorf("sent (-want +got):\n%s", diff)
	}
}

// end compares how a call ended; "" for one that has not.
func (c *crowd) end(name, want string) {
	c.t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if got := c.ended[name]; got != want {
		c.t.Errorf("%s ended %q, want %q", name, got, want)
	}
}

func (r reply) after(d time.Duration) reply {
	r.takes = d
	return r
}
