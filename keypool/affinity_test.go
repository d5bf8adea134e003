package keypool

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// turn is one call of a session, and what it reports as cached.
type turn struct {
	want   Want
	cached int64
	s      script
}

// take makes the call and compares which keys it asked, and its error.
func (c turn) take(t *testing.T, p *Pool, keys string, want error) {
	t.Helper()
	var asked []string
	if c.want.Model == "" {
		c.want.Model = "m"
	}
	err := p.Do(t.Context(), c.want, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
		asked = append(asked, l.Key())
		r := good()
		if rest := c.s[l.Key()]; len(rest) > 0 {
			r, c.s[l.Key()] = rest[0], rest[1:]
		}
		if r.verdict.Action == verdict.Relay {
			l.Release(Usage{InputTokens: c.cached + 1, OutputTokens: 1, CachedTokens: c.cached})
		}
		return r.verdict, r.err
	})
	if got := strings.Join(asked, " "); got != keys {
		t.Errorf("%s asked %q, want %q", c.want.Session, got, keys)
	}
	sameError(t, err, want)
}

// says is a turn of a session that has nothing cached.
func says(t *testing.T, p *Pool, session, keys string) {
	t.Helper()
	turn{want: Want{Session: session}}.take(t, p, keys, nil)
}

func strategy(s Strategy) func(*Options) { return func(o *Options) { o.Strategy = s } }

func family(f verdict.Family) func(*Options) { return func(o *Options) { o.Family = f } }

// orgs says which organization each key belongs to.
func orgs(names ...string) func(*Options) {
	return func(o *Options) {
		for i, n := range names {
			o.Keys[i].Organization = n
		}
	}
}

func projects(names ...string) func(*Options) {
	return func(o *Options) {
		for i, n := range names {
			o.Keys[i].Project = n
		}
	}
}

func maxWait(d time.Duration) func(*Options) { return func(o *Options) { o.MaxWait = d } }

func TestSessionsStayAndNewOnesAreSpread(t *testing.T) {
	for s, want := range map[Strategy][3]string{
		Priority: {"k0", "k0", "k0"}, RoundRobin: {"k0", "k1", "k2"}, Weighted: {"k0", "k1", "k2"},
		LeastBusy: {"k0", "k1", "k2"}, Headroom: {"k0", "k1", "k2"},
	} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(3, strategy(s))
				var open []*Lease
				for i, key := range want { // all under way at once: the busy and the full are passed over
					err := p.Do(t.Context(), Want{Model: "m", Session: strconv.Itoa(i)}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
						if l.Key() != key {
							t.Errorf("session %d began with %s, want %s", i, l.Key(), key)
						}
						open = append(open, l)
						return verdict.Success(), nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				for _, l := range open {
					l.Release(Usage{})
				}
				for _, i := range []int{2, 0, 0, 1, 2, 1, 1, 0} {
					time.Sleep(time.Minute)
					says(t, p, strconv.Itoa(i), want[i])
				}
				idle(t, p)
			})
		})
	}
}

func TestSessionMovesOnce(t *testing.T) {
	for _, s := range []Strategy{Priority, RoundRobin, Weighted, LeastBusy, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(3, strategy(s))
				says(t, p, "a", "k0")
				turn{Want{Session: "a"}, 100_000, script{"k0": {limited(20 * time.Second)}}}.take(t, p, "k0 k1", nil)
				says(t, p, "a", "k1")
				time.Sleep(time.Minute) // k0 is back, and the cache is with k1
				says(t, p, "a", "k1")
				says(t, p, "a", "k1")
			})
		})
	}
}

func TestSessionOfALowerKeyGoesBack(t *testing.T) {
	const day = 24 * time.Hour
	for name, tt := range map[string]struct {
		family verdict.Family
		life   time.Duration
		every  time.Duration // between its turns
		back   int           // the turn that is k0's again
	}{
		"Anthropic's cache is gone":            {verdict.Anthropic, 0, 5 * time.Minute, 1},
		"Anthropic's cache is alive":           {verdict.Anthropic, 0, 4 * time.Minute, 8},
		"Anthropic's cache lives an hour":      {verdict.Anthropic, time.Hour, 29 * time.Minute, 2},
		"Anthropic's cache of an hour is gone": {verdict.Anthropic, time.Hour, time.Hour, 1},
		"OpenAI's cache is gone":               {verdict.OpenAI, 0, 30 * time.Minute, 1},
		"OpenAI's cache is alive":              {verdict.OpenAI, 0, 10 * time.Minute, 3},
		"OpenAI's cache lives a day":           {verdict.OpenAI, day, 20 * time.Minute, 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, family(tt.family))
				w := Want{Session: "a", CacheLife: tt.life}
				turn{w, 9_000, script{"k0": {limited(time.Minute)}}}.take(t, p, "k0 k1", nil)
				for i := 1; i <= tt.back; i++ {
					time.Sleep(tt.every)
					key := "k1"
					if i == tt.back {
						key = "k0"
					}
					turn{w, 9_000, nil}.take(t, p, key, nil)
				}
				turn{w, 9_000, nil}.take(t, p, "k0", nil)
			})
		})
	}
}

func TestSessionOfALowerKeyStaysWhileTheHigherIsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		turn{Want{Session: "a"}, 0, script{"k0": {rejected()}}}.take(t, p, "k0 k1", nil)
		for range 20 {
			time.Sleep(2 * time.Minute)
			says(t, p, "a", "k1")
		}
	})
}

func TestSessionPrefersAKeyWithItsCache(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range []Strategy{Priority, RoundRobin, Weighted, LeastBusy, Headroom} {
			p := newRig(t).pool(4, strategy(s), family(verdict.OpenAI), orgs("a", "b", "b", "a"))
			says(t, p, "x", "k0")
			turn{Want{Session: "x"}, 0, script{"k0": {rejected()}}}.take(t, p, "k0 k3", nil)
			says(t, p, "x", "k3")
		}
	})
}

func TestSessionWaitsIfThatIsCheaperThanToMove(t *testing.T) {
	for name, tt := range map[string]struct {
		cached  int64
		out     time.Duration
		maxWait time.Duration
		since   time.Duration // the session's last turn
		stays   bool
	}{
		"a large cache, a short wait":     {60_000, 8 * time.Second, 30 * time.Second, 0, true},
		"just worth it":                   {48_000, 8 * time.Second, 30 * time.Second, 0, true},
		"just not worth it":               {47_990, 8 * time.Second, 30 * time.Second, 0, false},
		"nothing cached":                  {0, 2 * time.Second, 30 * time.Second, 0, false},
		"longer than it may wait":         {900_000, 31 * time.Second, 30 * time.Second, 0, false},
		"it may not wait":                 {900_000, 2 * time.Second, 0, 0, false},
		"the cache is gone by then":       {900_000, 9 * time.Second, 30 * time.Second, 4*time.Minute + 52*time.Second, false},
		"the cache is just there by then": {900_000, 7 * time.Second, 30 * time.Second, 4*time.Minute + 52*time.Second, true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, strategy(RoundRobin), maxWait(tt.maxWait))
				turn{want: Want{Session: "a"}, cached: tt.cached}.take(t, p, "k0", nil)
				time.Sleep(tt.since)
				start := time.Now()
				order, took := "k0 k1", time.Duration(0)
				if tt.stays {
					order, took = "k0 k0", tt.out
				}
				turn{Want{Session: "a"}, tt.cached, script{"k0": {limited(tt.out)}}}.take(t, p, order, nil)
				if got := time.Since(start); got != took {
					t.Errorf("it took %v, want %v", got, took)
				}
				idle(t, p)
			})
		})
	}
}

// A call that finds its session's key out, as another has left it, waits as well;
// calls without a session go by at once.
func TestSessionWaitsForAKeyThatAnotherCallFoundOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, maxWait(time.Minute))
		turn{want: Want{Session: "a"}, cached: 90_000}.take(t, p, "k0", nil)
		call(t, p, script{"k0": {limited(10 * time.Second)}, "k1": {good()}}, "k0 k1", nil)
		start := time.Now()
		done := make(chan struct{})
		go func() {
			defer close(done)
			turn{want: Want{Session: "a"}, cached: 90_000}.take(t, p, "k0", nil)
		}()
		synctest.Wait()
		call(t, p, script{"k1": {good()}}, "k1", nil)
		if <-done; time.Since(start) != 10*time.Second {
			t.Errorf("waited %v, want 10s", time.Since(start))
		}
		idle(t, p)
	})
}

func TestSessionDoesNotInsistOnTheTrialOfItsKey(t *testing.T) {
	for name, tt := range map[string]struct {
		cached int64
		max    time.Duration
		want   string
	}{
		"a small cache goes elsewhere":           {6_000, time.Minute, "a k1@5s"},
		"a large one waits for the trial's head": {60_000, time.Minute, "a k0@6s"},
		"one that may not wait goes elsewhere":   {60_000, 0, "a k1@5s"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, strategy(LeastBusy), maxWait(tt.max))
				c := newCrowd(t)
				turn{want: Want{Session: "a"}, cached: tt.cached}.take(t, p, "k0", nil)
				call(t, p, script{"k0": {limited(5 * time.Second)}, "k1": {good()}}, "k0 k1", nil)
				time.Sleep(5 * time.Second)
				synctest.Wait()
				c.call(t.Context(), p, "trial", good().after(time.Second))
				c.session(t.Context(), p, "a", good())
				time.Sleep(5 * time.Second)
				synctest.Wait()
				c.was("trial k0@5s", tt.want)
				idle(t, p)
			})
		})
	}
}

func TestTroubleOfTheUpstreamMovesNoSession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, strategy(RoundRobin), family(verdict.OpenAI), orgs("a", "b", "a"))
		says(t, p, "x", "k0")
		turn{Want{Session: "x"}, 0, script{"k0": {broken("500")}}}.take(t, p, "k0 k2", nil)
		says(t, p, "x", "k0")
		turn{Want{Session: "x"}, 0, script{"k0": {broken("500")}, "k2": {broken("500")}}}.take(t, p, "k0 k2 k1", nil)
		says(t, p, "x", "k0")
	})
}

func TestSessionsOfTwoCallersNeverMix(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, strategy(RoundRobin))
		for range 3 {
			turn{want: Want{Caller: "ann", Session: "1"}}.take(t, p, "k0", nil)
			turn{want: Want{Caller: "bob", Session: "1"}}.take(t, p, "k1", nil)
		}
		turn{want: Want{Caller: "an", Session: "n1"}}.take(t, p, "k0", nil)
		turn{want: Want{Caller: "ann1"}}.take(t, p, "k1", nil)
		turn{want: Want{Caller: "ann1"}}.take(t, p, "k0", nil)
	})
}

func TestBeginningsGoByTheStrategy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, strategy(RoundRobin))
		begin := Want{Session: "a", Begins: true}
		for _, key := range []string{"k0", "k1", "k2", "k0", "k1"} {
			turn{want: begin}.take(t, p, key, nil)
		}
		says(t, p, "a", "k1") // where the latest began
		says(t, p, "a", "k1")
		if got := p.Status(); got.Keys[0].Sessions+got.Keys[2].Sessions != 0 || got.Keys[1].Sessions != 1 {
			t.Errorf("sessions of the keys: %d %d %d, want 0 1 0", got.Keys[0].Sessions, got.Keys[1].Sessions, got.Keys[2].Sessions)
		}
	})
}

// The limits of one model move that model's calls of a session, not the others.
func TestModelsOfASessionMoveApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, strategy(RoundRobin))
		turn{want: Want{Session: "a", Model: "large"}}.take(t, p, "k0", nil)
		turn{want: Want{Session: "a", Model: "small"}}.take(t, p, "k0", nil) // follows
		turn{Want{Session: "a", Model: "small"}, 0, script{"k0": {limited(time.Minute)}}}.take(t, p, "k0 k1", nil)
		time.Sleep(time.Second)
		turn{want: Want{Session: "a", Model: "large"}}.take(t, p, "k0", nil)
		time.Sleep(time.Second)
		turn{want: Want{Session: "a", Model: "small"}}.take(t, p, "k1", nil)
		if s := p.Status(); s.Keys[0].Sessions != 1 || s.Keys[1].Sessions != 1 || s.Keys[2].Sessions != 0 {
			t.Errorf("sessions of the keys: %+v", s.Keys)
		}
		for i := range 5 { // more models than are remembered
			turn{want: Want{Session: "a", Model: strconv.Itoa(i)}}.take(t, p, "k1", nil)
			time.Sleep(time.Second)
		}
		turn{want: Want{Session: "a", Model: "large"}}.take(t, p, "k1", nil) // as its latest call
	})
}

func TestSessionOutlivesAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(3, strategy(RoundRobin))
		says(t, old, "a", "k0")
		says(t, old, "b", "k1")
		says(t, old, "c", "k2")
		p := r.pool(3, strategy(RoundRobin), func(o *Options) {
			k := o.Keys
			k[1].ID = "renamed"
			o.Keys = []Key{k[2], k[1]}
		})
		p.Adopt(old)
		says(t, p, "b", "renamed")
		says(t, p, "c", "k2")
		says(t, p, "a", "k2") // its key is gone: where the turn is
		says(t, p, "a", "k2")
		says(t, p, "b", "renamed")
	})
}

func TestDrainingKeyKeepsItsSessionsAndGetsNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, strategy(RoundRobin))
		says(t, p, "a", "k0")
		p.book.mu.Lock()
		p.members[0].key.draining = true
		p.book.mu.Unlock()
		for i := range 4 {
			says(t, p, "a", "k0")
			says(t, p, fmt.Sprint("new", i), "k1")
			call(t, p, script{"k1": {good()}}, "k1", nil)
			turn{want: Want{Session: "a", Begins: true, Caller: "other"}}.take(t, p, "k1", nil)
		}
		time.Sleep(time.Hour) // the session has ended
		says(t, p, "a", "k1")
	})
}

func TestAffinityMattersOnlyWhereAMoveLosesTheCache(t *testing.T) {
	for name, tt := range map[string]struct {
		with []func(*Options)
		want bool
	}{
		"unknown scopes stand alone":           {nil, true},
		"off":                                  {[]func(*Options){func(o *Options) { o.Affinity = AffinityOff }}, false},
		"auto":                                 {[]func(*Options){func(o *Options) { o.Affinity = AffinityAuto }}, true},
		"one organization of OpenAI":           {[]func(*Options){family(verdict.OpenAI), orgs("a", "a"), projects("x", "y")}, false},
		"two organizations of OpenAI":          {[]func(*Options){family(verdict.OpenAI), orgs("a", "b")}, true},
		"one project of OpenAI":                {[]func(*Options){family(verdict.OpenAI), projects("x", "x")}, false},
		"one organization, compatible":         {[]func(*Options){family(verdict.Compatible), orgs("a", "a")}, false},
		"one workspace of Anthropic":           {[]func(*Options){orgs("a", "a"), projects("x", "x")}, false},
		"two workspaces of Anthropic":          {[]func(*Options){orgs("a", "a"), projects("x", "y")}, true},
		"an organization of Anthropic":         {[]func(*Options){orgs("a", "a")}, false},
		"a workspace that is not known":        {[]func(*Options){orgs("a", "a"), projects("x", "")}, true},
		"one organization in two workspaces":   {[]func(*Options){projects("x", "y")}, true},
		"two organizations without workspaces": {[]func(*Options){orgs("a", "b")}, true},
	} {
		t.Run(name, func(t *testing.T) {
			p := newRig(t).pool(2, append(tt.with, strategy(RoundRobin))...)
			says(t, p, "a", "k0")
			says(t, p, "b", "k1")
			key := map[bool]string{true: "k1", false: "k0"}[tt.want]
			says(t, p, "b", key)
			if got := p.KeepsSessions(); got != (tt.want || name == "off") {
				t.Errorf("KeepsSessions is %v", got)
			}
		})
	}
	if Borrowed("p", "x").KeepsSessions() {
		t.Error("a caller's own key keeps sessions")
	}
	if _, err := New(Options{Provider: "p", Family: verdict.OpenAI, Host: "h", Metrics: NoMetrics(), Keys: []Key{{Secret: "x"}}, Affinity: "always"}); err == nil ||
		!strings.Contains(err.Error(), `unknown affinity "always"`) {
		t.Errorf("error %v", err)
	}
}

// A key whose limits have no room for the call is left, unless that holds for all.
func TestSessionLeavesAKeyThatIsFull(t *testing.T) {
	for _, s := range []Strategy{Priority, RoundRobin, Weighted, LeastBusy, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(3, strategy(s), family(verdict.OpenAI), orgs("a", "b", "a"))
				tells := func(remaining, key string) {
					t.Helper()
					err := p.Do(t.Context(), Want{Model: "m", Session: "x"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
						if l.Key() != key {
							t.Errorf("asked %s, want %s", l.Key(), key)
						}
						time.Sleep(time.Second)
						h := http.Header{}
						h.Set("X-Ratelimit-Limit-Requests", "100")
						h.Set("X-Ratelimit-Remaining-Requests", remaining)
						h.Set("X-Ratelimit-Reset-Requests", "9m0s")
						l.Observe(h)
						l.Release(Usage{})
						return verdict.Success(), nil
					})
					if err != nil {
						t.Fatal(err)
					}
				}
				tells("50", "k0")
				tells("0", "k0")
				tells("0", "k2") // it has the same cache, and, as it now turns out, the same limits
				tells("9", "k1")
				tells("0", "k1")
				tells("0", "k1")
				tells("0", "k1")
			})
		})
	}
}
