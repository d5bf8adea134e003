package keypool

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"testing"
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

// now is the key's present phase.
func (w *world) now(key int, at time.Duration) phase {
	for _, p := range w.phases[key] {
		if at < p.to {
			return p
		}
	}
	return phase{healthy, 0, 1 << 62}
}

// answer is what the key's provider says now. A probe's answer tells of the key,
// not of its limits.
func (w *world) answer(key int, probe bool) verdict.Verdict {
	at := time.Since(w.start)
	p := w.now(key, at)
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

// got are the calls that a key has got so far.
func (w *world) got(key int) []sent {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.calls[key]
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

func (w *world) pool() *Pool {
	p := newRig(w.t).pool(len(w.phases), func(o *Options) { o.Family, o.Prober, o.Salt = w.family, w, []byte("salt") })
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
func (w *world) run(p *Pool, c traffic, check func(at time.Duration)) {
	if c.probes {
		defer probing(w.t, func() *Pool { return p })()
	}
	for time.Since(w.start) < c.until {
		time.Sleep(time.Duration(w.random.ExpFloat64() * float64(c.gap)))
		w.request(p, max(c.tries, 1))
		check(time.Since(w.start))
	}
}

// traffic says how requests come.
type traffic struct {
	until  time.Duration
	gap    time.Duration // between requests, on average
	tries  int           // how often a refused request is sent at once; 0: once
	probes bool          // the gateway probes
}

// interval is how soon a key is to be asked again after the last answers it got.
func (w *world) interval(key int) time.Duration {
	calls := w.got(key)
	bad := 0 // in a row
	for bad < len(calls) && calls[len(calls)-1-bad].fault != healthy {
		bad++
	}
	if bad == 0 {
		return 0
	}
	last := calls[len(calls)-1]
	p := w.now(key, last.at)
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
	calls := w.got(key)
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
