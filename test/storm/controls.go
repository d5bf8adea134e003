package storm

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"time"

	"keybridge/keypool/verdict"
	"keybridge/test/storm/world"
)

// oracle knows what the provider can do. What a call meets by chance it bears like
// anybody.
type oracle struct{ run *run }

func (o *oracle) holds(int, int) bool { return false }

func (o *oracle) serve(c *call) outcome {
	r := o.run
	family := familyOf(r.scenario.Family)
	patience := maxWait
	for resends := 0; ; {
		c.clock.sleep(0)
		r.mu.Lock()
		now := r.now()
		choice, ok := r.provider.Choose(now, patience, c.request)
		wait := choice.At - now
		var a world.Answer
		if ok && wait <= 0 {
			a = c.arrive(choice.Key) // before anybody else knows
		}
		r.mu.Unlock()
		switch {
		case world.Never(choice.At):
			return outcome{status: http.StatusServiceUnavailable}
		case !ok:
			return limited(wait)
		case wait > 0:
			c.clock.sleep(wait)
			patience -= r.now() - now
			continue
		}
		c.clock.sleep(a.Head)
		switch judge(family, a, r.epoch.Add(r.now())).Action {
		case verdict.Relay:
			return outcome{key: choice.Key, answer: a, status: a.Status}
		case verdict.Resend:
			if !c.again(&resends) {
				return passOn(a)
			}
		case verdict.NextKey, verdict.Stop:
			return passOn(a) // it was mistaken
		}
	}
}

// resendAfter is when a call is sent again to an upstream that failed: the rule
// that all who are compared share.
var resendAfter = [...]time.Duration{200 * time.Millisecond, time.Second} //nolint:gochecknoglobals // a constant table

// again pauses before a call is sent again to an upstream that failed, or says that it
// has been often enough.
func (c *call) again(resends *int) bool {
	if *resends == len(resendAfter) {
		return false
	}
	c.clock.sleep(resendAfter[*resends])
	*resends++
	return true
}

// control is a simple way of choosing keys: a fixed cooldown, for the key as a
// whole, whatever it was refused for; each call asks each key that is in at most
// once.
type control struct {
	run      *run
	mu       sync.Mutex    // of what follows, see clock
	cooldown time.Duration // 0: no memory
	ordered  bool          // in strict order; else by weight at random
	random   *rand.Rand
	until    []time.Duration
}

func newControl(r *run, cooldown time.Duration, ordered bool) *control {
	return &control{
		run: r, cooldown: cooldown, ordered: ordered, until: make([]time.Duration, len(r.scenario.Keys)),
		random: rand.New(rand.NewPCG(r.scenario.Seed, 1)), //nolint:gosec // drawn again by whoever has the seed
	}
}

func (c *control) holds(key, _ int) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.run.now() < c.until[key]
}

func (c *control) serve(x *call) outcome {
	family := familyOf(c.run.scenario.Family)
	asked := make([]bool, len(c.until))
	last := outcome{}
	for resends := 0; ; {
		key := c.pick(asked)
		if key < 0 {
			break
		}
		a := x.send(key)
		switch judge(family, a, c.run.epoch.Add(c.run.now())).Action {
		case verdict.Relay:
			return outcome{key: key, answer: a, status: a.Status}
		case verdict.Resend:
			if !x.again(&resends) {
				return passOn(a)
			}
		case verdict.NextKey:
			asked[key] = true
			c.mu.Lock()
			c.until[key] = c.run.now() + c.cooldown
			c.mu.Unlock()
			last = passOn(a)
		case verdict.Stop:
			return passOn(a)
		}
	}
	if last.status != 0 {
		return last
	}
	c.mu.Lock()
	after := slices.Min(c.until) - c.run.now()
	c.mu.Unlock()
	return outcome{status: http.StatusTooManyRequests, retryAfter: seconds(after)}
}

// pick gives the next key to ask; -1: there is none.
func (c *control) pick(asked []bool) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	var sum float64
	in := func(i int) bool { return !asked[i] && c.run.now() >= c.until[i] }
	for i := range asked {
		if in(i) {
			if c.ordered {
				return i
			}
			sum += weight(c.run.scenario, i)
		}
	}
	at := c.random.Float64() * sum
	for i := range asked {
		if !in(i) {
			continue
		}
		if at -= weight(c.run.scenario, i); at < 0 {
			return i
		}
	}
	return -1
}

// weight is the key's share of what its organization may use.
func weight(s *world.Scenario, key int) float64 {
	keys := 0
	for _, k := range s.Keys {
		if k.Org == s.Keys[key].Org {
			keys++
		}
	}
	return s.Orgs[s.Keys[key].Org].Limits[0].Requests / float64(keys)
}

// anybody asks the first key: for a provider that never fails.
type anybody struct{}

func (anybody) holds(int, int) bool { return false }

func (anybody) serve(c *call) outcome {
	return outcome{answer: c.send(0), status: http.StatusOK}
}
