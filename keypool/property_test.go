package keypool

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

var worlds = flag.Int("worlds", 1, "how many times as many worlds the property tests try")

func last(calls []sent) sent { return calls[len(calls)-1] }

// seeds runs a property over so many worlds.
func seeds(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	t.Helper()
	for seed := range uint64(n * *worlds) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) { f(t, seed) })
		})
	}
}

// A key that its provider serves again is in use within its interval and one
// request; where several are due, one request tries one of them that is good.
func TestHealthyKeyIsInUseWithinItsIntervalAndOneRequest(t *testing.T) {
	t.Parallel()
	seeds(t, 12, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 1+int(seed%4))
		for k := range w.phases {
			w.fill(k, 20*time.Hour, limit, tooShort, bogus, bare, revoked, penury, dated, blip)
		}
		p := w.pool()
		late := make([]int, len(w.phases)) // requests that have found the key out though it ought to be in
		w.run(p, traffic{until: 24 * time.Hour, gap: 20 * time.Second, probes: true}, func(at time.Duration) {
			status, out := p.Status().Keys, 0
			for _, k := range status {
				if k.State != Valid {
					out++
				}
			}
			for k, s := range status {
				now := w.now(k, at)
				if now.fault != healthy || s.State == Valid || at <= max(now.from, last(w.got(k)).at)+w.interval(k) {
					late[k] = 0
					continue
				}
				if late[k]++; late[k] > out {
					t.Fatalf("%v: %s is %s (%s until %v, next try %v), good since %v, last asked at %v, interval %v", at, s.ID, s.State, s.Reason,
						s.Until.Sub(w.start), s.NextTry.Sub(w.start), now.from, last(w.got(k)), w.interval(k))
				}
			}
		})
	})
}

// However often clients ask, a key that is dead for a week gets at most one call in
// each interval, by requests and probes together.
func TestKeyDeadForAWeekGetsOneCallPerInterval(t *testing.T) {
	t.Parallel()
	const week = 7 * 24 * time.Hour
	for _, f := range []fault{revoked, penury, bogus, bare, tooShort} {
		t.Run(string(f), func(t *testing.T) {
			t.Parallel()
			seeds(t, 1, func(t *testing.T, seed uint64) {
				w := newWorld(t, seed, 3)
				w.phases[0] = []phase{{f, 0, 1 << 62}}
				for k := 1; k < len(w.phases); k++ {
					w.fill(k, week, limit, blip, bogus)
				}
				p := w.pool()
				w.run(p, traffic{until: week, gap: time.Minute, probes: f == revoked || f == penury}, func(time.Duration) {})
				calls := w.got(0)
				if n := len(calls); n > 250 {
					t.Errorf("%d calls in a week", n)
				}
				for i := 1; i < len(calls); i++ {
					gap := calls[i].at - calls[i-1].at
					least := time.Hour
					switch f {
					case revoked:
						least = min(30*time.Second<<min(i-1, 10), time.Hour*10/11)
					case penury:
						if w.family == verdict.Anthropic {
							least = min(30*time.Second<<min(i-1, 10), time.Hour*10/11)
						}
					case bare:
						least = min(time.Minute<<min(i-1, 10), time.Hour)
					case tooShort:
						least = time.Second
					case healthy, limit, bogus, dated, blip:
					}
					// With all the others out, too, calls that would fail ask it sooner.
					least = min(least, max(2*time.Minute, (calls[i-1].at-calls[0].at)/16))
					if gap < least {
						t.Fatalf("call %d came %v after the one before, want at least %v", i, gap, least)
					}
				}
			})
		})
	}
}

// An overload of 17 s, however it is told, keeps no key out for longer than 20 s.
func TestOverloadOfSeventeenSecondsBenchesNothingLongerThanTwenty(t *testing.T) {
	t.Parallel()
	seeds(t, 20, func(t *testing.T, seed uint64) {
		const overload, bench = 17 * time.Second, 20 * time.Second
		w := newWorld(t, seed, 1+int(seed%5))
		var begun []time.Duration
		for k := range w.phases {
			at := time.Duration(0)
			for i := range 20 {
				if k == 0 {
					begun = append(begun, at+time.Duration(180+w.random.IntN(600))*time.Second)
				}
				f := []fault{limit, tooShort, blip}[w.random.IntN(3)]
				w.phases[k] = append(w.phases[k], phase{healthy, at, begun[i]}, phase{f, begun[i], begun[i] + overload})
				at = begun[i] + overload
			}
		}
		p := w.pool()
		w.run(p, traffic{until: begun[len(begun)-1] + time.Minute, gap: 300 * time.Millisecond}, func(at time.Duration) {
			for _, b := range begun {
				if at < b+bench || at > b+bench+overload {
					continue
				}
				for i, k := range p.Status().Keys {
					if k.State != Valid && w.now(i, at).fault == healthy {
						t.Fatalf("%v after an overload began, %s is %s until %v", at-b, k.ID, k.State, k.Until.Sub(w.start)-b)
					}
				}
			}
		})
	})
}

// A deadline that is wrong by weeks keeps a key out no longer than the cap.
func TestBogusDeadlineFreezesNothingLongerThanTheCap(t *testing.T) {
	t.Parallel()
	seeds(t, 8, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 1+int(seed%4))
		for k := range w.phases {
			w.fill(k, 40*time.Hour, bogus)
		}
		p := w.pool()
		since := make([]time.Duration, len(w.phases)) // when the key was last asked, or in
		w.run(p, traffic{until: 48 * time.Hour, gap: 30 * time.Second}, func(at time.Duration) {
			for i, k := range p.Status().Keys {
				if k.State == Valid {
					since[i] = at
					continue
				}
				if calls := w.got(i); len(calls) > 0 {
					since[i] = max(since[i], last(calls).at)
				}
				if frozen := at - since[i]; frozen > verifyRate+5*time.Minute {
					t.Fatalf("%v: %s has not been asked for %v", at, k.ID, frozen)
				}
			}
		})
	})
}

// Clients that try again at once, twenty times, keep no key out for longer.
func TestRetriesOfClientsLengthenNothing(t *testing.T) {
	t.Parallel()
	seeds(t, 6, func(t *testing.T, seed uint64) {
		out := map[int]time.Duration{} // by how often a client tries: how long keys were out that could have served
		for _, tries := range []int{1, 20} {
			w := newWorld(t, seed, 1+int(seed%3))
			for k := range w.phases {
				w.fill(k, 5*time.Hour, limit, tooShort, bogus, bare, revoked, penury, dated)
			}
			w.random = rand.New(rand.NewPCG(seed, 2))
			p := w.pool()
			last := time.Duration(0)
			w.run(p, traffic{until: 7 * time.Hour, gap: 2 * time.Second, tries: tries, probes: true}, func(at time.Duration) {
				for i, k := range p.Status().Keys {
					if k.State != Valid && w.now(i, at).fault == healthy {
						out[tries] += at - last
					}
				}
				last = at
			})
		}
		if out[20] > out[1]+out[1]/50+30*time.Second {
			t.Errorf("good keys were out for %v where clients tried once, for %v where they tried twenty times", out[1], out[20])
		}
	})
}
