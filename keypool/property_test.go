package keypool

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// fault is what is wrong with a key, as its provider knows it.
type fault string

const (
	healthy  fault = "healthy"
	limit    fault = "limited, and says truly until when"
	tooShort fault = "limited, and says: in a second"
	bogus    fault = "limited, and says: in 18 days"
	bare     fault = "limited, and says nothing"
	revoked  fault = "revoked"
	penury   fault = "out of credit"
	dated    fault = "out of budget, and says truly until when"
	blip     fault = "in trouble"
)

// phase is a fault from one time to another.
type phase struct {
	fault    fault
	from, to time.Duration
}

// world is a provider with a schedule of faults for every key, and the count of
// the calls that each has got.
type world struct {
	t      *testing.T
	start  time.Time
	random *rand.Rand
	family verdict.Family
	keys   []string // secrets
	phases [][]phase

	mu    sync.Mutex
	calls [][]sent
}

// sent is one call that a key has got.
type sent struct {
	at    time.Duration
	fault fault // what it met
}

func newWorld(t *testing.T, seed uint64, keys int) *world {
	random := rand.New(rand.NewPCG(seed, 1))
	w := &world{t: t, start: time.Now(), random: random, family: verdict.Anthropic, calls: make([][]sent, keys), phases: make([][]phase, keys)}
	if random.IntN(2) == 0 {
		w.family = verdict.OpenAI
	}
	return w
}

// fill draws the faults of a key: good times of two hours on average, and bad ones
// of all lengths.
func (w *world) fill(key int, until time.Duration, faults ...fault) {
	at := time.Duration(0)
	for at < until {
		good := time.Duration(w.random.ExpFloat64() * float64(2*time.Hour))
		bad := time.Duration(w.random.ExpFloat64() * float64([]time.Duration{10 * time.Second, 5 * time.Minute, 2 * time.Hour}[w.random.IntN(3)]))
		f := faults[w.random.IntN(len(faults))]
		if f == blip {
			bad = min(bad, 30*time.Second)
		}
		w.phases[key] = append(w.phases[key], phase{healthy, at, at + good}, phase{f, at + good, at + good + bad})
		at += good + bad
	}
	w.phases[key] = append(w.phases[key], phase{healthy, at, 1 << 62})
}

// now is the key's present phase, and the fault before it.
func (w *world) now(key int, at time.Duration) (p phase, before fault) {
	before = healthy
	for _, p := range w.phases[key] {
		if at < p.to {
			return p, before
		}
		before = p.fault
	}
	return phase{healthy, 0, 1 << 62}, before
}

// answer is what the key's provider says now. A probe's answer tells of the key,
// not of its limits.
func (w *world) answer(key int, probe bool) verdict.Verdict {
	at := time.Since(w.start)
	p, _ := w.now(key, at)
	w.mu.Lock()
	w.calls[key] = append(w.calls[key], sent{at, p.fault})
	w.mu.Unlock()
	status, header, body := 200, http.Header{}, ""
	left := strconv.Itoa(int((p.to - at + time.Second - 1) / time.Second))
	switch p.fault {
	case healthy:
	case limit, tooShort, bogus, bare:
		if probe {
			break
		}
		status, body = 429, `{"error":{"type":"rate_limit_error","code":"rate_limit_exceeded","message":"slow down"}}`
		if s := map[fault]string{limit: left, tooShort: "1", bogus: "1555200"}[p.fault]; s != "" {
			header.Set("Retry-After", s)
		}
	case revoked:
		status, body = 401, `{"error":{"type":"authentication_error","code":"invalid_api_key","message":"invalid x-api-key"}}`
	case penury, dated:
		status, body = 429, `{"error":{"type":"insufficient_quota","code":"insufficient_quota","message":"You exceeded your current quota"}}`
		if w.family == verdict.Anthropic {
			status, body = 400, `{"error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`
		}
		if p.fault == dated {
			header.Set("Retry-After", left)
		}
	case blip:
		status, body = 529, `{"error":{"type":"overloaded_error","message":"Overloaded"}}`
	}
	return verdict.Classify(w.family, verdict.Answer{Status: status, Header: header, Body: []byte(body), Now: time.Now()})
}

// Can and Probe make the world a Prober as the gateway's is.
func (w *world) Can(r verdict.Reason) bool {
	return r != verdict.QuotaExhausted || w.family == verdict.Anthropic
}

func (w *world) Probe(_ context.Context, secret string, _ verdict.Reason) verdict.Verdict {
	for i, s := range w.keys {
		if s == secret {
			return w.answer(i, true)
		}
	}
	w.t.Errorf("a probe with a secret that nobody has")
	return verdict.Late()
}

func (w *world) pool(with ...func(*Options)) *Pool {
	r := newRig(w.t)
	p := r.pool(len(w.phases), append([]func(*Options){func(o *Options) {
		o.Family, o.Prober, o.Salt = w.family, w, []byte("salt")
	}}, with...)...)
	w.keys = p.Secrets()
	return p
}

// request sends one request, and again as often as its client tries.
func (w *world) request(p *Pool, tries int) {
	for range tries {
		err := p.Do(w.t.Context(), Want{Model: "m", Endpoint: "/e"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			defer l.Release(Usage{})
			v := w.answer(l.member.index, false)
			if v.Action != verdict.Relay {
				return v, errors.New("refused")
			}
			return v, nil
		})
		if err == nil {
			return
		}
	}
}

// run lets a client send requests, after each of which something is checked.
func (w *world) run(p *Pool, until, gap time.Duration, tries int, probes bool, check func(at time.Duration)) {
	if probes {
		defer probing(w.t, func() *Pool { return p })()
	}
	for time.Since(w.start) < until {
		time.Sleep(time.Duration(w.random.ExpFloat64() * float64(gap)))
		w.request(p, tries)
		check(time.Since(w.start))
	}
}

// interval is how soon a key is to be asked again after the last answers it got.
func (w *world) interval(key int) time.Duration {
	calls := w.calls[key]
	bad := 0 // in a row
	for bad < len(calls) && calls[len(calls)-1-bad].fault != healthy {
		bad++
	}
	if bad == 0 {
		return 0
	}
	last := calls[len(calls)-1]
	p, _ := w.now(key, last.at)
	doubling := func(first time.Duration) time.Duration { return min(first<<min(bad-1, 10), time.Hour) }
	switch last.fault {
	case limit:
		return min(p.to-last.at+time.Second, time.Hour)
	case tooShort:
		return time.Second + min((last.at-calls[len(calls)-bad].at)/distrust, time.Hour)
	case dated:
		return min(p.to-last.at+time.Second, 6*time.Hour)
	case bare:
		return doubling(time.Minute)
	case revoked:
		return doubling(30*time.Second)*11/10 + probeTick
	case penury:
		if w.family == verdict.Anthropic {
			return doubling(30*time.Second)*11/10 + probeTick
		}
	case bogus, healthy:
	case blip: // a trial that tells nothing
		return max(doubling(30*time.Second)*11/10+probeTick, w.before(key, bad))
	}
	return time.Hour
}

// before is the longest interval that the last answers before a blip asked for.
func (w *world) before(key, bad int) (longest time.Duration) {
	calls := w.calls[key]
	for i := range bad {
		switch calls[len(calls)-1-i].fault {
		case blip, healthy:
		case dated:
			return 6 * time.Hour
		case limit, tooShort, bogus, bare, revoked, penury:
			longest = time.Hour
		}
	}
	return longest
}

func seeds(t *testing.T, n int, f func(t *testing.T, seed uint64)) {
	t.Helper()
	if testing.Short() {
		n = max(n/5, 1)
	}
	for seed := range uint64(n) {
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
	seeds(t, 40, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 1+int(seed%4))
		for k := range w.phases {
			w.fill(k, 20*time.Hour, limit, tooShort, bogus, bare, revoked, penury, dated, blip)
		}
		p := w.pool()
		late := make([]int, len(w.phases)) // requests that have found the key out though it ought to be in
		w.run(p, 24*time.Hour, 20*time.Second, 1, true, func(at time.Duration) {
			status, out := p.Status().Keys, 0
			for _, k := range status {
				if k.State != Valid {
					out++
				}
			}
			for k, s := range status {
				now, _ := w.now(k, at)
				if now.fault != healthy || s.State == Valid || at <= max(now.from, w.calls[k][len(w.calls[k])-1].at)+w.interval(k) {
					late[k] = 0
					continue
				}
				if late[k]++; late[k] > out {
					t.Fatalf("%v: %s is %s (%s until %v, next try %v), good since %v, last asked at %v, interval %v", at, s.ID, s.State, s.Reason,
						s.Until.Sub(w.start), s.NextTry.Sub(w.start), now.from, w.calls[k][len(w.calls[k])-1], w.interval(k))
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
			seeds(t, 1, func(t *testing.T, seed uint64) {
				w := newWorld(t, seed, 3)
				w.phases[0] = []phase{{f, 0, 1 << 62}}
				for k := 1; k < len(w.phases); k++ {
					w.fill(k, week, limit, blip, bogus)
				}
				p := w.pool()
				w.run(p, week, time.Minute, 1, f == revoked || f == penury, func(time.Duration) {})
				calls := w.calls[0]
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
	seeds(t, 60, func(t *testing.T, seed uint64) {
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
		w.run(p, begun[len(begun)-1]+time.Minute, 300*time.Millisecond, 1, false, func(at time.Duration) {
			for _, b := range begun {
				if at < b+bench || at > b+bench+overload {
					continue
				}
				for i, k := range p.Status().Keys {
					if f, _ := w.now(i, at); k.State != Valid && f.fault == healthy {
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
	seeds(t, 20, func(t *testing.T, seed uint64) {
		w := newWorld(t, seed, 1+int(seed%4))
		for k := range w.phases {
			w.fill(k, 40*time.Hour, bogus)
		}
		p := w.pool()
		since := make([]time.Duration, len(w.phases)) // when the key was last asked, or in
		w.run(p, 48*time.Hour, 30*time.Second, 1, false, func(at time.Duration) {
			for i, k := range p.Status().Keys {
				if k.State == Valid {
					since[i] = at
					continue
				}
				if calls := w.calls[i]; len(calls) > 0 {
					since[i] = max(since[i], calls[len(calls)-1].at)
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
	seeds(t, 20, func(t *testing.T, seed uint64) {
		out := map[int]time.Duration{} // by how often a client tries: how long keys were out that could have served
		for _, tries := range []int{1, 20} {
			w := newWorld(t, seed, 1+int(seed%3))
			for k := range w.phases {
				w.fill(k, 5*time.Hour, limit, tooShort, bogus, bare, revoked, penury, dated)
			}
			w.random = rand.New(rand.NewPCG(seed, 2))
			p := w.pool()
			last := time.Duration(0)
			w.run(p, 7*time.Hour, 2*time.Second, tries, true, func(at time.Duration) {
				for i, k := range p.Status().Keys {
					if f, _ := w.now(i, at); k.State != Valid && f.fault == healthy {
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
