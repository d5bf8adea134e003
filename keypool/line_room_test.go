package keypool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// tap is a provider's rate limit: requests that come too early are refused.
type tap struct {
	mu      sync.Mutex
	size    float64
	rate    float64 // a second
	level   float64
	at      time.Time
	served  []time.Duration
	refused int
}

// take answers a request after some time, with the headers that tell the limit.
func (b *tap) take(start time.Time, takes time.Duration) (verdict.Verdict, http.Header) {
	b.mu.Lock()
	now := time.Now()
	b.level = min(b.size, b.level+b.rate*now.Sub(b.at).Seconds())
	b.at = now
	header, v := http.Header{}, verdict.Success()
	if b.level >= 1 {
		b.level--
		b.served = append(b.served, now.Sub(start))
	} else {
		b.refused++
		v = limited(time.Duration((1 - b.level) / b.rate * float64(time.Second))).verdict
	}
	full := (b.size - b.level) / b.rate
	header.Set("X-Ratelimit-Limit-Requests", fmt.Sprint(b.size))
	header.Set("X-Ratelimit-Remaining-Requests", strconv.Itoa(int(b.level)))
	header.Set("X-Ratelimit-Reset-Requests", fmt.Sprintf("%.3fs", full))
	b.mu.Unlock()
	time.Sleep(takes)
	return v, header
}

// Those in line go as the limits fill again, and neither all at once, to be refused,
// nor past each other.
func TestLineLetsGoAsManyAsThereIsRoomFor(t *testing.T) {
	for _, s := range []Strategy{Priority, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := coolingPool(t, newRig(t), 2, 5*time.Second, waiting(20*time.Second), func(o *Options) { o.Family, o.Strategy = verdict.OpenAI, s })
				start := time.Now()
				buckets := map[string]*tap{
					"k0": {size: 10, rate: 2, level: 4, at: start.Add(5 * time.Second)},
					"k1": {size: 10, rate: 1, level: 2, at: start.Add(5 * time.Second)},
				}
				var mu sync.Mutex
				var order []string // in which leases were handed out
				var running sync.WaitGroup
				one := func(caller string, i int) {
					running.Go(func() {
						trail := &Trail{}
						err := p.Do(t.Context(), Want{Model: "m", Endpoint: "/e", Caller: caller, Trail: trail}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
							defer l.Release(Usage{})
							mu.Lock()
							order = append(order, fmt.Sprintf("%s%d@%v", caller, i, time.Since(start).Round(time.Millisecond)))
							mu.Unlock()
							v, h := buckets[l.Key()].take(start, 50*time.Millisecond)
							l.Observe(h)
							if v.Action != verdict.Relay {
								return v, refusal("429")
							}
							return v, nil
						})
						if err != nil {
							t.Errorf("%s%d: %v %v", caller, i, err, trail.Decisions())
						}
					})
					synctest.Wait()
				}
				for i := range 30 {
					one("a", i)
				}
				time.Sleep(10 * time.Second)
				one("b", 0) // comes late, and takes its turn
				running.Wait()
				k0, k1 := buckets["k0"], buckets["k1"]
				if n := k0.refused + k1.refused; n > 0 {
					t.Errorf("%d were refused upstream", n)
				}
				if n := len(k0.served) + len(k1.served); n != 31 {
					t.Errorf("%d were served", n)
				}
				last := map[byte]int{'a': -1}
				for _, o := range order {
					var i int
					if _, err := fmt.Sscanf(o[1:], "%d@", &i); err != nil {
						t.Fatal(err)
					}
					if o[0] == 'a' && i < last['a']-4 { // those of one moment run in no order
						t.Errorf("%s came after a%d", o, last['a'])
					}
					last[o[0]] = max(last[o[0]], i)
					if o[0] == 'b' && o > "b0@15.6s" {
						t.Errorf("the late one went at %s", o)
					}
				}
				idle(t, p)
			})
		})
	}
}

// An estimate is no refusal: at the end of its time a call goes.
func TestLineGoesWithoutRoomAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 1, 5*time.Second, waiting(8*time.Second), func(o *Options) { o.Family = verdict.OpenAI })
		c := newCrowd(t)
		full := good()
		full.header = http.Header{"X-Ratelimit-Limit-Requests": {"10"}, "X-Ratelimit-Remaining-Requests": {"0"}, "X-Ratelimit-Reset-Requests": {"10m0s"}}
		c.call(t.Context(), p, "a", full)
		c.call(t.Context(), p, "b", good())
		time.Sleep(10 * time.Second)
		synctest.Wait()
		c.was("a k0@5s", "b k0@8s")
		idle(t, p)
	})
}

// TestLineUnderStress looks for a wake-up that is lost and a call that waits for good.
func TestLineUnderStress(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		with := func(o *Options) {
			o.MaxWait, o.Strategy = 8*time.Second, []Strategy{Priority, RoundRobin, LeastBusy}[rand.IntN(3)]
			for i := range o.Keys {
				o.Keys[i].Organization = fmt.Sprint("org", i/2)
			}
			if rand.IntN(3) == 0 {
				o.Keys = slices.Delete(o.Keys, 0, 1+rand.IntN(2))
			}
		}
		var current atomic.Pointer[Pool]
		current.Store(r.pool(4, with))
		var running sync.WaitGroup
		var served, turnedAway, left atomic.Int64
		one := func(random *rand.Rand, caller string) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			if random.IntN(4) == 0 {
				timer := time.AfterFunc(time.Duration(random.IntN(9000))*time.Millisecond, cancel)
				defer timer.Stop()
			}
			start, asking := time.Now(), time.Duration(0)
			want := Want{Model: fmt.Sprint("m", random.IntN(2)), Endpoint: "/e", Caller: caller, Trail: &Trail{}}
			err := current.Load().Do(ctx, want, func(ctx context.Context, l *Lease) (verdict.Verdict, error) {
				defer l.Release(Usage{})
				sent := time.Now()
				defer func() { asking += time.Since(sent) }()
				if err := sleep(ctx, time.Duration(random.IntN(1500))*time.Millisecond); err != nil {
					return verdict.Broken(), err
				}
				a := good()
				switch random.IntN(12) {
				case 0, 1, 2:
					a = limited(time.Duration(random.IntN(6000)) * time.Millisecond)
				case 3:
					a = bad("400")
				}
				return a.verdict, a.err
			})
			waited := time.Since(start) - asking
			if most := 8*time.Second + trialPatience; waited > most {
				t.Errorf("a call waited %v, at most %v is right: %v", waited, most, want.Trail.Decisions())
			}
			switch {
			case err == nil:
				served.Add(1)
			case ctx.Err() != nil:
				left.Add(1)
			default:
				turnedAway.Add(1)
			}
		}
		for i := range 2000 {
			running.Go(func() {
				random := rand.New(rand.NewPCG(rand.Uint64(), 0))
				for range 5 {
					_ = sleep(t.Context(), time.Duration(random.IntN(20))*time.Second)
					one(random, fmt.Sprint("c", i%11))
				}
			})
		}
		running.Go(func() {
			for range 60 {
				_ = sleep(t.Context(), 2*time.Second)
				p := r.pool(4, with)
				p.Adopt(current.Load())
				current.Store(p)
			}
		})
		running.Wait()
		t.Logf("%d served, %d turned away, %d left", served.Load(), turnedAway.Load(), left.Load())
		if served.Load() < 2000 || left.Load() < 200 {
			t.Error("the stress was none")
		}
		idle(t, current.Load())
	})
}

// For a call that needs more than the limit holds at its fullest no room ever comes: it
// neither waits for it nor keeps those behind it waiting.
func TestLineDoesNotWaitForRoomThatNeverComes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, waiting(10*time.Second), family(verdict.OpenAI))
		c := newCrowd(t)
		told := good()
		told.header = http.Header{"X-Ratelimit-Limit-Tokens": {"1000"}, "X-Ratelimit-Remaining-Tokens": {"900"}, "X-Ratelimit-Reset-Tokens": {"6s"}}
		c.want(t.Context(), p, "first", Want{Tokens: 100}, told)
		c.want(t.Context(), p, "big", Want{Tokens: 5000}, tooLarge("429 too large"))
		c.want(t.Context(), p, "small", Want{Tokens: 100}, good())
		time.Sleep(11 * time.Second)
		synctest.Wait()
		c.was("first k0@0s", "big k0@0s", "small k0@0s")
		c.end("big", "429 too large@0s")
		c.end("small", "ok@0s")
		idle(t, p)
	})
}

// While the line is full of calls that wait for room for one model, those for another
// one are served.
func TestFullLineTurnsNobodyAwayWhoNeedNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, waiting(20*time.Second), family(verdict.OpenAI))
		c := newCrowd(t)
		full := good()
		full.header = http.Header{"X-Ratelimit-Limit-Requests": {"10"}, "X-Ratelimit-Remaining-Requests": {"0"}, "X-Ratelimit-Reset-Requests": {"10m0s"}}
		c.call(t.Context(), p, "first@m", full)
		ctx, leave := context.WithCancel(t.Context())
		defer leave()
		var running sync.WaitGroup
		var left atomic.Int64
		for range maxLine {
			running.Go(func() {
				err := p.Do(ctx, Want{Model: "m"}, func(context.Context, *Lease) (verdict.Verdict, error) {
					return verdict.Verdict{Action: verdict.Stop}, refusal("sent")
				})
				if errors.Is(err, context.Canceled) {
					left.Add(1)
				}
			})
		}
		synctest.Wait()
		c.call(t.Context(), p, "free@n", good())
		c.end("free@n", "ok@0s")
		c.call(t.Context(), p, "more@m")
		c.end("more@m", "all keys of p are rate-limited, the next may be used in 1s@0s")
		leave()
		running.Wait()
		if n := left.Load(); n != maxLine {
			t.Errorf("%d were in line, want %d", n, maxLine)
		}
		idle(t, p)
	})
}

// One caller cannot fill the line for the others: when it is full, who has the most
// calls in it loses the one that came last.
func TestFullLineTakesFromWhoHasTheMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := coolingPool(t, newRig(t), 1, 5*time.Second, waiting(10*time.Second))
		var running sync.WaitGroup
		var served, turnedAway atomic.Int64
		for range maxLine {
			running.Go(func() {
				err := p.Do(t.Context(), Want{Model: "m", Caller: "many"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					l.Release(Usage{})
					return verdict.Success(), nil
				})
				if err == nil {
					served.Add(1)
				} else {
					turnedAway.Add(1)
				}
			})
		}
		synctest.Wait()
		c := newCrowd(t)
		c.call(t.Context(), p, "few/1", good())
		c.call(t.Context(), p, "few/2", good())
		c.call(t.Context(), p, "many/1")
		c.end("many/1", "all keys of p are rate-limited, the next may be used in 5s@0s")
		if n := turnedAway.Load(); n != 2 || inLine(p) != maxLine {
			t.Errorf("%d were turned away and %d are in line, want 2 and %d", n, inLine(p), maxLine)
		}
		running.Wait()
		synctest.Wait()
		c.end("few/1", "ok@5s")
		c.end("few/2", "ok@5s")
		if n := served.Load(); n != maxLine-2 {
			t.Errorf("%d of many's were served, want %d", n, maxLine-2)
		}
		idle(t, p)
	})
}
