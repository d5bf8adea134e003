package keypool

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

func TestSessionsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, strategy(RoundRobin))
		says(t, p, "a", "k0")
		turn{want: Want{Session: "long", CacheLife: 3 * time.Hour}}.take(t, p, "k1", nil)
		time.Sleep(59 * time.Minute)
		says(t, p, "a", "k0")
		time.Sleep(time.Hour)
		turn{want: Want{Session: "long", CacheLife: 3 * time.Hour}}.take(t, p, "k1", nil)
		says(t, p, "a", "k0") // by turns: the session is forgotten
		says(t, p, "b", "k1")
		says(t, p, "a", "k0")
	})
}

func TestSessionsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, strategy(RoundRobin))
		ok := func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			l.Release(Usage{})
			return verdict.Success(), nil
		}
		const calls = 100_000
		for i := range calls {
			if err := p.Do(t.Context(), Want{Model: "m", Session: strconv.Itoa(i)}, ok); err != nil {
				t.Fatal(err)
			}
		}
		counted := func() (n int) {
			for _, k := range p.Status().Keys {
				n += k.Sessions
			}
			return n
		}
		if got := p.book.sessions.lru.len(); got != maxSessions || counted() != maxSessions {
			t.Errorf("%d sessions are remembered, %d counted, want %d", got, counted(), maxSessions)
		}
		key := fmt.Sprintf("k%d", (calls-maxSessions)%3)
		says(t, p, strconv.Itoa(calls-maxSessions), key) // the oldest that there is
		time.Sleep(sessionIdle)
		if got := counted(); got != 0 || p.book.sessions.lru.len() != 0 {
			t.Errorf("%d sessions are left after an hour", got)
		}
	})
}

func TestTrailTellsOfTheSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		tells := func(w Want, s script, keys string, want ...string) {
			t.Helper()
			w.Trail, w.Signal = &Trail{}, "x-session-id"
			turn{w, 0, s}.take(t, p, keys, nil)
			var got []string
			for _, d := range w.Trail.Decisions() {
				switch d.What {
				case Began, Stayed, Moved, Pinned:
					got = append(got, d.What+" "+d.Key+" "+d.Why)
				}
			}
			if diff := gocmp.Diff(want, got); diff != "" {
				t.Errorf("trail (-want +got):\n%s", diff)
			}
		}
		tells(Want{}, nil, "k0")
		tells(Want{Session: "a"}, nil, "k0", "began k0 x-session-id")
		tells(Want{Session: "a"}, nil, "k0", "stayed k0 x-session-id")
		tells(Want{Session: "a"}, script{"k0": {limited(time.Minute)}}, "k0 k1", "stayed k0 x-session-id", "moved k1 x-session-id")
		tells(Want{Session: "a"}, nil, "k1", "stayed k1 x-session-id")
	})
}

func TestSessionCostsNoAllocation(t *testing.T) {
	p := newRig(t).pool(50, strategy(LeastBusy))
	ctx := context.Background()
	w := Want{Model: "m", Endpoint: "/e", Caller: "c", Session: "s"}
	ok := func(_ context.Context, l *Lease) (verdict.Verdict, error) {
		l.Release(Usage{InputTokens: 9, CachedTokens: 5})
		return verdict.Success(), nil
	}
	run := func() {
		if err := p.Do(ctx, w, ok); err != nil {
			t.Fatal(err)
		}
	}
	run()
	without := testing.AllocsPerRun(200, func() {
		if err := p.Do(ctx, Want{Model: "m", Endpoint: "/e", Caller: "c"}, ok); err != nil {
			t.Fatal(err)
		}
	})
	if got := testing.AllocsPerRun(200, run); got > without {
		t.Errorf("%v allocations with a session, %v without", got, without)
	}
}

// Many sessions, callers and pins at once, over reloads: nothing races, nothing is
// miscounted, and a session that no key of its own has left is where it was.
func TestSessionsInAStorm(t *testing.T) {
	r := newRig(t)
	with := []func(*Options){strategy(RoundRobin), family(verdict.OpenAI), orgs("a", "a", "b", "c"), maxWait(time.Millisecond)}
	var mu sync.Mutex
	p := r.pool(4, with...)
	now := func() *Pool {
		mu.Lock()
		defer mu.Unlock()
		return p
	}
	var wg sync.WaitGroup
	for g := range 32 {
		wg.Go(func() {
			rnd := rand.New(rand.NewPCG(1, uint64(g)))
			for i := range 400 {
				id := fmt.Sprint("file-", rnd.IntN(50))
				w := Want{Model: fmt.Sprint("m", rnd.IntN(5)), Caller: strconv.Itoa(rnd.IntN(3)), Session: strconv.Itoa(rnd.IntN(40)), Begins: rnd.IntN(10) == 0, Sealed: rnd.IntN(5) == 0}
				if i%3 == 0 {
					w.Pins = []string{id}
				}
				_ = now().Do(t.Context(), w, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					switch rnd.IntN(20) {
					case 0:
						return limited(time.Microsecond).verdict, refusal("429")
					case 1:
						return lacks().verdict, refusal("404")
					}
					l.Remember(id)
					l.Release(Usage{InputTokens: 10, CachedTokens: rnd.Int64N(100_000)})
					return verdict.Success(), nil
				})
			}
		})
	}
	for range 20 {
		q := newRig(t).pool(4, with...)
		mu.Lock()
		q.Adopt(p)
		p = q
		mu.Unlock()
		_ = q.Status()
	}
	wg.Wait()
	idle(t, p)
	counted := map[*domain]int{}
	p.book.sessions.lru.each(func(_ sessionID, s *session) {
		for _, m := range p.members {
			if s.has(m.key) {
				counted[m.key]++
			}
		}
	})
	for _, m := range p.members {
		if m.key.sessions != counted[m.key] {
			t.Errorf("%s counts %d sessions, has %d", m.id, m.key.sessions, counted[m.key])
		}
	}
}
