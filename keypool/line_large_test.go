package keypool

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// bucket is a limit of tokens a minute that answers as OpenAI does.
type bucket struct {
	mu      sync.Mutex
	size    float64
	level   float64
	at      time.Time
	refused int
}

func (b *bucket) take(n float64) (verdict.Verdict, http.Header) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := time.Now()
	b.level = min(b.size, b.level+b.size*now.Sub(b.at).Minutes())
	b.at = now
	v := verdict.Success()
	if n > b.level {
		b.refused++
		v = limited(time.Duration((n - b.level) / b.size * float64(time.Minute))).verdict
	} else {
		b.level -= n
	}
	h := http.Header{}
	h.Set("X-Ratelimit-Limit-Tokens", strconv.Itoa(int(b.size)))
	h.Set("X-Ratelimit-Remaining-Tokens", strconv.Itoa(int(b.level)))
	h.Set("X-Ratelimit-Reset-Tokens", fmt.Sprintf("%.3fs", (b.size-b.level)/b.size*60))
	return v, h
}

// A large call of a session that waits for room at its key is not starved by small ones
// that take whatever fills up.
func TestLargeCallGetsItsTurnAmongSmallOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, waiting(20*time.Second), family(verdict.OpenAI), orgs("a", "b"))
		limits := map[string]*bucket{"k0": {size: 600_000, level: 600_000, at: time.Now()}, "k1": {size: 600_000, at: time.Now()}}
		served := func(session string, begins bool, n int64) (time.Duration, error) {
			var took time.Duration
			start := time.Now()
			err := p.Do(t.Context(), Want{Model: "m", Endpoint: "/e", Caller: session, Session: session, Begins: begins, Tokens: n}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
				v, h := limits[l.Key()].take(float64(n))
				l.Observe(h)
				took = time.Since(start)
				l.Release(Usage{InputTokens: n, CachedTokens: n, CacheReadTokens: n})
				if v.Action != verdict.Relay {
					return v, refusal("429")
				}
				return v, nil
			})
			return took, err
		}
		for _, session := range []string{"small", "large"} {
			if _, err := served(session, true, 60_000); err != nil {
				t.Fatal(err)
			}
			time.Sleep(together + time.Millisecond)
		}
		limits["k0"].mu.Lock()
		limits["k0"].level = 20_000
		limits["k0"].mu.Unlock()
		if _, err := served("small", false, 1_000); err != nil {
			t.Fatal(err)
		}
		var running sync.WaitGroup
		running.Go(func() {
			took, err := served("large", false, 60_000)
			if err != nil || took > 6*time.Second {
				t.Errorf("the large call took %v: %v", took, err)
			}
		})
		for range 12 { // as many tokens as fill up
			time.Sleep(800 * time.Millisecond)
			running.Go(func() {
				if took, err := served("small", false, 8_000); err != nil || took > 8*time.Second {
					t.Errorf("a small call took %v: %v", took, err)
				}
			})
		}
		running.Wait()
		if n := limits["k0"].refused; n > 0 {
			t.Errorf("%d were refused upstream", n)
		}
		idle(t, p)
	})
}
