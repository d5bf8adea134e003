package simulator

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Limit is what a provider grants within a minute to those it fits, each model
// for itself. It is a token bucket: it holds a minute's worth and fills steadily.
// An empty Provider, Organization, Key or Model fits any. Of several limits that
// fit a call, all hold.
type Limit struct {
	Provider     string `json:"provider,omitempty"`
	Organization string `json:"organization,omitempty"`
	Key          string `json:"key,omitempty"`
	// Model with a trailing * stands for a family, whose models share one bucket.
	Model string `json:"model,omitempty"`
	// Per says who shares a bucket: PerOrganization (also when empty) or PerKey,
	// which the providers know as the project's or the workspace's limit.
	Per string `json:"per,omitempty"`
	// Requests, Tokens and OutputTokens are per minute; zero: no limit. Tokens are
	// Anthropic's input tokens, where those read from the cache are free, and
	// OpenAI's of both kinds, taken when the request comes in. OutputTokens are
	// Anthropic's alone.
	Requests     int64 `json:"requests,omitempty"`
	Tokens       int64 `json:"tokens,omitempty"`
	OutputTokens int64 `json:"output_tokens,omitempty"`
}

// Who shares the bucket of a Limit.
const (
	PerOrganization = "organization"
	PerKey          = "key"
)

func (l Limit) validate() error {
	switch {
	case l.Provider != "" && l.Provider != OpenAI && l.Provider != Anthropic:
		return fmt.Errorf("provider %q: use %q or %q, or leave it out for both", l.Provider, OpenAI, Anthropic)
	case l.Per != "" && l.Per != PerOrganization && l.Per != PerKey:
		return fmt.Errorf("per %q: use %q or %q", l.Per, PerOrganization, PerKey)
	case l.Requests < 0 || l.Tokens < 0 || l.OutputTokens < 0:
		return errors.New("requests and tokens are not negative")
	case l.Requests == 0 && l.Tokens == 0 && l.OutputTokens == 0:
		return errors.New("it limits nothing: set requests, tokens or output_tokens")
	}
	return nil
}

func (l Limit) fits(c *call) bool {
	return (l.Provider == "" || l.Provider == c.api.name) && (l.Organization == "" || l.Organization == c.key.Organization) &&
		(l.Key == "" || l.Key == c.key.Name) && globs(l.Model, c.model)
}

// resource is what a bucket holds.
type resource uint8

const (
	requests resource = iota
	inputTokens
	outputTokens
	resources
)

func (l Limit) of(r resource) int64 {
	return [resources]int64{l.Requests, l.Tokens, l.OutputTokens}[r]
}

// demand is what a call takes from buckets.
type demand [resources]int64

// bucket is one limit of one who has it.
type bucket struct {
	limit  *Limit
	res    resource
	level  float64 // may fall below zero, by what an answer really cost
	filled time.Time
}

func (b *bucket) size() float64 { return float64(b.limit.of(b.res)) }

// fill leaves alone what a later call has filled already.
func (b *bucket) fill(now time.Time) {
	if !now.After(b.filled) {
		return
	}
	b.level = min(b.size(), b.level+b.size()*now.Sub(b.filled).Minutes())
	b.filled = now
}

// until is how long it takes to fill up to a level.
func (b *bucket) until(level float64) time.Duration {
	missing := (min(level, b.size()) - b.level) / b.size() * float64(time.Minute)
	return time.Duration(math.Ceil(max(0, missing)))
}

// limits are all buckets of a simulator.
type limits struct {
	mu       sync.Mutex
	all      []Limit
	enforced bool
	buckets  map[string]*bucket
}

const (
	mostBuckets = 4096
	rounding    = 1e-6 // who has waited as long as told is let in
)

func newLimits(all []Limit) *limits {
	l := &limits{all: all, enforced: len(all) > 0, buckets: map[string]*bucket{}}
	if !l.enforced {
		l.all = []Limit{{Requests: requestLimit, Tokens: tokenLimit, OutputTokens: tokenLimit}}
	}
	return l
}

// of lists the call's buckets, filled up to now; l.mu is held.
func (l *limits) of(c *call, now time.Time) []*bucket {
	var out []*bucket
	for i := range l.all {
		limit := &l.all[i]
		if !limit.fits(c) {
			continue
		}
		who := c.key.Organization
		if limit.Per == PerKey {
			who = c.key.Name
		}
		for r := range resources {
			if limit.of(r) == 0 || r == outputTokens && c.api.name == OpenAI {
				continue
			}
			name := strings.Join([]string{strconv.Itoa(i), strconv.Itoa(int(r)), c.api.name, who, cmp.Or(limit.Model, c.model)}, "\x00")
			b := l.buckets[name]
			if b == nil {
				l.evict(now)
				b = &bucket{limit: limit, res: r, level: float64(limit.of(r)), filled: now}
				l.buckets[name] = b
			}
			b.fill(now)
			out = append(out, b)
		}
	}
	return out
}

// evict drops the full buckets, of which nothing is to be remembered, when there
// are too many; l.mu is held.
func (l *limits) evict(now time.Time) {
	if len(l.buckets) < mostBuckets {
		return
	}
	for name, b := range l.buckets {
		if b.fill(now); b.level >= b.size() {
			delete(l.buckets, name)
		}
	}
}

// metered tells which calls rate limits count: those that ask a model. Counting
// tokens, files and batches have limits of their own, which are not played.
func (c *call) metered() bool {
	return c.key != nil && c.r.Method == http.MethodPost && c.model != "" && !strings.HasSuffix(c.path, "_tokens") &&
		kinds[c.fault.Name].act != answers && c.fault.Name != "stall_error_body"
}

// demand is what the call is to find in the buckets. OpenAI takes the output's
// limit, or what the size of the request comes to, if that is more.
func (c *call) demand() demand {
	size := tokens(len(c.body))
	if c.api.name == OpenAI {
		return demand{1, max(size, c.get("max_tokens").Int(), c.get("max_completion_tokens").Int(), c.get("max_output_tokens").Int()), 0}
	}
	return demand{1, size, 1}
}

// admit takes what the call needs, or refuses it.
func (c *call) admit() *failure {
	if !c.metered() {
		return nil
	}
	l := c.sim.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	need := c.demand()
	buckets := l.of(c, c.start)
	var short *bucket
	var wait time.Duration
	for _, b := range buckets {
		want := float64(need[b.res])
		if !l.enforced || b.level+rounding >= want {
			continue
		}
		if c.api.name == OpenAI && b.res == inputTokens && want > b.size() {
			f := c.tooLarge(b, need[b.res])
			return &f
		}
		if w := max(b.until(want), time.Millisecond); short == nil || w > wait {
			short, wait = b, w
		}
	}
	if short != nil {
		f := c.exceeded(short, need[short.res], wait)
		return &f
	}
	for _, b := range buckets {
		b.level -= float64(need[b.res])
		if !l.enforced {
			b.level = max(0, b.level)
		}
	}
	c.taken = need
	return nil
}

// settle corrects what was taken by what the answer has cost. OpenAI does not:
// what a request took when it came in is gone.
func (c *call) settle(use spent) {
	if c.api.name == OpenAI || c.taken[requests] == 0 {
		return
	}
	l := c.sim.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	cost := demand{1, use.Input - use.cached, use.Output}
	for _, b := range l.of(c, time.Now()) {
		b.level = min(b.size(), b.level+float64(c.taken[b.res]-cost[b.res]))
	}
}

// exceeded is the 429 of a bucket that holds too little. It takes nothing.
func (c *call) exceeded(b *bucket, need int64, wait time.Duration) failure {
	limit, left := b.limit.of(b.res), int64(max(0, b.level))
	f := failure{status: http.StatusTooManyRequests, wait: inSeconds, stated: wait}
	if c.api.name == Anthropic {
		what := [resources]string{"requests", "input tokens", "output tokens"}[b.res]
		f.kind = "rate_limit_error"
		f.message = "This request would exceed your organization's rate limit of " + thousands(limit) + " " + what +
			" per minute (org: {org}, model: {model}). For details, refer to: https://docs.claude.com/en/api/rate-limits."
		if b.limit.Per == PerKey {
			f.message = strings.NewReplacer("your organization's", "your workspace's", "org: {org}", "workspace: {project}").Replace(f.message)
		}
		return c.filled(f)
	}
	f.kind, f.code = "requests", "rate_limit_exceeded"
	what := "requests per min (RPM)"
	if b.res == inputTokens {
		f.kind, what = "tokens", "tokens per min (TPM)"
	}
	f.message = fmt.Sprintf("Rate limit reached for {model} in organization {org} on %s: Limit %d, Used %d, Requested %d. Please try again in {wait}.",
		what, limit, limit-left, need) + seeLimits
	f.stated = (wait + time.Millisecond - 1).Truncate(time.Millisecond) // as it is told: who waits so long has waited long enough
	return c.filled(f)
}

// tooLarge is the 429 of a request that no wait helps.
func (c *call) tooLarge(b *bucket, need int64) failure {
	f := c.failure("too_large")
	f.message = strings.NewReplacer("Limit 30000", fmt.Sprintf("Limit %d", b.limit.of(b.res)), "Requested 31538", fmt.Sprintf("Requested %d", need)).Replace(f.message)
	return f
}

// gauge is what a rate header tells.
type gauge struct {
	resource
	perKey      bool
	limit, left int64
	full        time.Duration
}

// gauges are the tightest bucket of each kind; OpenAI's tokens are told for the
// organization and the project, everything else once.
func (c *call) gauges() []gauge {
	if !c.metered() {
		return nil
	}
	l := c.sim.limits
	l.mu.Lock()
	defer l.mu.Unlock()
	type slot struct {
		resource
		perKey bool
	}
	at := map[slot]int{}
	var out []gauge
	for _, b := range l.of(c, c.start) {
		apart := c.api.name == OpenAI && b.res == inputTokens && b.limit.Per == PerKey
		g := gauge{b.res, apart, b.limit.of(b.res), int64(max(0, b.level)), b.until(b.size())}
		i, seen := at[slot{b.res, apart}]
		switch {
		case !seen:
			at[slot{b.res, apart}] = len(out)
			out = append(out, g)
		case float64(g.left)/float64(g.limit) < float64(out[i].left)/float64(out[i].limit):
			out[i] = g
		}
	}
	return out
}

// thousands prints a number as Anthropic's messages do.
func thousands(n int64) string {
	s := strconv.FormatInt(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
