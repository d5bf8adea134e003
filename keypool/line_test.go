package keypool

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

func waiting(d time.Duration) func(*Options) { return func(o *Options) { o.MaxWait = d } }

// coolingPool has all of its keys cool for "m".
func coolingPool(t *testing.T, r *rig, n int, d time.Duration, with ...func(*Options)) *Pool {
	t.Helper()
	p := r.pool(n, with...)
	for _, m := range p.members {
		events := p.mark(m, "m", limited(d).verdict, time.Now())
		p.report(events)
	}
	return p
}

// inLine is how many calls wait.
func inLine(p *Pool) int {
	p.book.mu.Lock()
	defer p.book.mu.Unlock()
	return p.book.line.n
}

func TestLineTakesCallersInTurns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 1, 8*time.Second, waiting(10*time.Second))
		c := newCrowd(t)
		// A trial that tells nothing lets the next one try: so they go one by one.
		for i := range 400 {
			c.call(t.Context(), p, fmt.Sprintf("big/%d", i), bad("400").after(time.Millisecond))
		}
		for i := range 5 {
			c.call(t.Context(), p, fmt.Sprintf("small/%d", i), bad("400").after(time.Millisecond))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		var want []string
		at := 8 * time.Second
		for i := range 400 {
			want = append(want, fmt.Sprintf("big/%d k0@%v", i, at))
			at += time.Millisecond
			if i < 5 {
				want = append(want, fmt.Sprintf("small/%d k0@%v", i, at))
				at += time.Millisecond
			}
		}
		if diff := gocmp.Diff(want, c.sent); diff != "" {
			t.Errorf("sent (-want +got):\n%s", diff)
		}
		idle(t, p)
	})
}

func TestLineNobodyIsEarlyAndOneTriesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := coolingPool(t, r, 3, 8*time.Second, waiting(10*time.Second))
		c := newCrowd(t)
		for i := range 500 {
			c.call(t.Context(), p, fmt.Sprintf("c%d/%d", i%7, i), good().after(300*time.Millisecond))
		}
		time.Sleep(8*time.Second - time.Nanosecond)
		synctest.Wait()
		c.was()
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		c.was("c0/0 k0@8s", "c1/1 k1@8s", "c2/2 k2@8s")
		// One who comes only now is not before them.
		c.call(t.Context(), p, "late/", good().after(300*time.Millisecond))
		time.Sleep(2 * time.Second)
		synctest.Wait()
		for name, end := range c.ended {
			if !strings.HasPrefix(end, "ok@8.") {
				t.Errorf("%s ended %q", name, end)
			}
		}
		if n := len(c.ended); n != 501 {
			t.Errorf("%d calls ended", n)
		}
		idle(t, p)
		r.families(&expect{
			keys: map[string]State{"k0": Valid, "k1": Valid, "k2": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 3},
			recoveries: map[string]int{"cooldown": 3}, attempts: repeat(1, 501),
		})
	})
}

func TestLineIsNotJoinedForAFarDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 2, 10*time.Minute, waiting(10*time.Second))
		start := time.Now()
		time.Sleep(1700 * time.Millisecond)
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, 10*time.Minute-1700*time.Millisecond))
		if d := time.Since(start); d != 1700*time.Millisecond {
			t.Errorf("waited %v", d)
		}
	})
}

func TestLineIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := coolingPool(t, r, 1, 8*time.Second, waiting(10*time.Second))
		before, start := runtime.NumGoroutine(), time.Now()
		var served atomic.Int64
		var running sync.WaitGroup
		for range maxLine {
			running.Go(func() {
				err := p.Do(t.Context(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					defer l.Release(Usage{})
					served.Add(1)
					return verdict.Success(), nil
				})
				if err != nil {
					t.Error(err)
				}
			})
		}
		synctest.Wait()
		if n := runtime.NumGoroutine() - before; n > maxLine {
			t.Errorf("%d goroutines for %d calls in line", n, maxLine)
		}
		trail := &Trail{}
		_, err := do(t, p, Want{Trail: trail}, script{})
		sameError(t, err, exhausted(OutcomeRateLimited, 8*time.Second))
		tells(t, trail, "skipped k0 rate_limited", "waited line_full", "exhausted rate_limited")
		if d := time.Since(start); d != 0 {
			t.Errorf("it waited %v", d)
		}
		running.Wait()
		if n := served.Load(); n != maxLine {
			t.Errorf("%d served", n)
		}
		idle(t, p)
		e := &expect{
			keys: map[string]State{"k0": Valid}, transitions: map[verdict.Reason]int{"rate_limited": 1}, recoveries: map[string]int{"cooldown": 1},
			exhaustions: map[Outcome]int{OutcomeRateLimited: 1}, attempts: repeat(1, maxLine),
		}
		r.families(e)
	})
}

func TestLineIsLeftAtOnceByWhoeverLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 1, 5*time.Second, waiting(10*time.Second))
		c := newCrowd(t)
		leaving, leave := context.WithCancel(t.Context())
		c.call(leaving, p, "a", good())
		c.call(t.Context(), p, "b", good().after(time.Second))
		c.call(leaving, p, "c", good())
		c.call(t.Context(), p, "d", good())
		time.Sleep(time.Second)
		leave()
		synctest.Wait()
		c.end("a", "context canceled@1s")
		c.end("c", "context canceled@1s")
		if n := inLine(p); n != 2 {
			t.Errorf("%d in line", n)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		c.was("b k0@5s", "d k0@6s")
		idle(t, p)
	})
}

// The lease comes in the moment in which the client leaves.
func TestLineLeaseForOneWhoLeavesGoesToTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 1, 5*time.Second, waiting(10*time.Second))
		b := p.book
		c := newCrowd(t)
		b.mu.Lock()
		first := &walk{pool: p, want: Want{Model: "m"}}
		q := b.join(first, wait{what: aKey, until: time.Now().Add(5 * time.Second)}, time.Now())
		b.mu.Unlock()
		c.call(t.Context(), p, "next", good())
		time.Sleep(5 * time.Second)
		synctest.Wait()
		c.was()
		if q.lease == nil {
			t.Fatal("it got no lease")
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if l, err := first.await(ctx, q); l != nil || !errors.Is(err, context.Canceled) {
			t.Errorf("got %v, %v", l, err)
		}
		synctest.Wait()
		c.was("next k0@5s")
		idle(t, p)
	})
}

func TestLinePermittedTrial(t *testing.T) {
	refused := func(d time.Duration) string { return exhausted(OutcomeRateLimited, d).Error() + "@5.5s" }
	for _, tt := range []struct {
		name   string
		answer func() reply
		rest   string // how the others end, and when
		sent   []string
	}{
		{"ends the wait of all", good, "ok@5.5s", []string{"a k0@5s", "b k0@5.5s", "c k0@5.5s"}},
		{"and its failure, too", func() reply { return limited(3 * time.Hour) }, refused(time.Hour), []string{"a k0@5s"}},
		{"but not its telling nothing", func() reply { return bad("400") }, refused(30 * time.Second), []string{"a k0@5s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := coolingPool(t, newRig(t), 1, 24*time.Hour, waiting(10*time.Second))
				time.Sleep(time.Hour - 5*time.Second)
				c := newCrowd(t)
				a := tt.answer()
				if a.err != nil && a.verdict.Mark == verdict.Cool {
					a.verdict.Until = time.Now().Add(24 * time.Hour)
				}
				c.call(t.Context(), p, "a", a.after(500*time.Millisecond))
				c.call(t.Context(), p, "b", good())
				c.call(t.Context(), p, "c", good())
				time.Sleep(time.Minute)
				synctest.Wait()
				c.was(tt.sent...)
				c.end("b", tt.rest)
				c.end("c", tt.rest)
				idle(t, p)
			})
		})
	}
}

func TestLineWaitsInAllNoLongerThanItMay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 1, 9500*time.Millisecond, waiting(10*time.Second))
		c := newCrowd(t)
		c.call(t.Context(), p, "a", good().after(time.Minute))
		c.call(t.Context(), p, "b", good())
		time.Sleep(20 * time.Second)
		synctest.Wait()
		c.was("a k0@9.5s", "b k0@10s")
		time.Sleep(time.Minute)
		synctest.Wait()
		idle(t, p)
	})
}

func TestLineOneModelDoesNotHoldUpAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := r2(t)
		c := newCrowd(t)
		c.call(t.Context(), p, "x/a@m", good())
		c.call(t.Context(), p, "x/b@n", good())
		c.call(t.Context(), p, "x/c@free", good())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		c.was("x/c@free k0@0s", "x/b@n k0@2s", "x/a@m k0@6s")
		idle(t, p)
	})
}

// r2 is a pool whose only key cools 6 s for "m" and 2 s for "n".
func r2(t *testing.T) *Pool {
	t.Helper()
	p := newRig(t).pool(1, waiting(10*time.Second))
	for model, d := range map[string]time.Duration{"m": 6 * time.Second, "n": 2 * time.Second} {
		p.report(p.mark(p.members[0], model, limited(d).verdict, time.Now()))
	}
	return p
}

func TestLineEndsWithAProbe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &prober{}
		p := newRig(t).pool(2, waiting(10*time.Second), withProber(probes), func(o *Options) { o.ProbeAfter = 3 * time.Second })
		probes.answers(p.members[0].secret, verdict.Success)
		stop := probing(t, func() *Pool { return p })
		c := newCrowd(t)
		c.call(t.Context(), p, "a", rejected(), limited(8*time.Second), good())
		c.call(t.Context(), p, "b", good())
		time.Sleep(8*time.Second - 1)
		stop()
		at := c.probed(probes)
		c.was("a k0@0s", "a k1@0s", "a k0@"+at, "b k0@"+at)
		idle(t, p)
	})
}

// probed is when the first probe was made.
func (c *crowd) probed(p *prober) string {
	c.t.Helper()
	if len(p.times()) == 0 {
		c.t.Fatal("no probe was made")
	}
	return p.times()[0].String()
}

func TestLineOverAReload(t *testing.T) {
	reload := func(t *testing.T, r *rig, old *Pool, n int, with ...func(*Options)) *Pool {
		t.Helper()
		p := r.pool(n, append([]func(*Options){waiting(10 * time.Second)}, with...)...)
		p.Adopt(old)
		synctest.Wait()
		return p
	}
	t.Run("a key that has come serves those who wait", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := coolingPool(t, r, 1, 8*time.Second, waiting(10*time.Second))
			c := newCrowd(t)
			c.call(t.Context(), p, "a", good())
			c.call(t.Context(), p, "b", good())
			time.Sleep(time.Second)
			p2 := reload(t, r, p, 2)
			c.was("a k1@1s", "b k1@1s")
			idle(t, p2)
		})
	})
	t.Run("a key that has gone does not", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := coolingPool(t, r, 2, 8*time.Second, waiting(10*time.Second))
			p.report(p.mark(p.members[1], "m", limited(9*time.Second).verdict, time.Now()))
			c := newCrowd(t)
			c.call(t.Context(), p, "a", good())
			time.Sleep(time.Second)
			p2 := reload(t, r, p, 1, func(o *Options) { o.Keys[0] = Key{ID: "k1", Secret: "sk-test-0123456789-0001"} })
			time.Sleep(10 * time.Second)
			synctest.Wait()
			c.was("a k1@9s")
			idle(t, p2)
		})
	})
	t.Run("what it was refused stays refused", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := coolingPool(t, r, 1, 8*time.Second, waiting(10*time.Second))
			p.members[0].key.models["m"].until = time.Now() // k0 may be asked
			c := newCrowd(t)
			c.call(t.Context(), p, "a", limited(5*time.Second), good())
			p2 := reload(t, r, p, 1)
			c.was("a k0@0s")
			time.Sleep(10 * time.Second)
			synctest.Wait()
			c.was("a k0@0s", "a k0@5s")
			idle(t, p2)
		})
	})
	t.Run("another host's keys are not theirs", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := coolingPool(t, r, 1, 8*time.Second, waiting(10*time.Second))
			c := newCrowd(t)
			c.call(t.Context(), p, "a", good())
			p2 := reload(t, r, p, 2, func(o *Options) { o.Host = "elsewhere.test" })
			time.Sleep(10 * time.Second)
			synctest.Wait()
			c.was("a k0@8s")
			c.end("a", "ok@8s")
			idle(t, p2)
		})
	})
	t.Run("a call of the old pool that finds no key takes the new one's", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			p := coolingPool(t, r, 1, time.Hour)
			p2 := reload(t, r, p, 2)
			call(t, p, script{"k1": {good()}}, "k1", nil)
			idle(t, p2)
		})
	})
}

// A key may come back again and again while a call is under way, and yet refuse it by
// answers that are stale: as long as the call may wait it is asked once a second.
func TestCallAsksAKeyThatKeepsComingBackOnceASecond(t *testing.T) {
	for _, tt := range []struct {
		name  string
		stale int
		asked int
		want  error
	}{
		{"served in the end", 4, 5, nil},
		{"never served", 100, 12, exhausted(OutcomeRateLimited, time.Second)},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(1, maxWait(10*time.Second))
				asked := 0
				err := p.Do(t.Context(), Want{Model: "m", Endpoint: "/e"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					defer l.Release(Usage{})
					if asked++; asked > tt.stale {
						return verdict.Success(), nil
					}
					p.book.mu.Lock()
					p.members[0].key.recovered = time.Now().Add(time.Nanosecond) // meanwhile
					p.book.mu.Unlock()
					return limited(time.Minute).verdict, refusal("stale")
				})
				sameError(t, err, tt.want)
				if asked != tt.asked {
					t.Errorf("asked %d times, want %d", asked, tt.asked)
				}
			})
		})
	}
}
