package world

import (
	"net/http"
	"time"
)

// Provider is one run's upstream: the scenario come true, with what the calls of
// this run have used of its limits and left in its caches. It is for one goroutine
// at a time.
type Provider struct {
	scenario *Scenario
	epoch    time.Time
	limits   [][]limits // by organization and model
	caches   []map[int]entry
	faults   []*Fault // not yet over
	ideal    bool
}

const answerSpeed = 70 // output tokens a second

// entry is what a prompt cache holds of a session.
type entry struct {
	tokens int64
	used   time.Duration
}

// NewProvider begins a run at epoch.
func NewProvider(s *Scenario, epoch time.Time) *Provider {
	p := &Provider{scenario: s, epoch: epoch}
	var drains [][]Fault
	for o := range s.Orgs {
		drains = append(drains, nil)
		for _, f := range s.Faults {
			if f.Trouble == Neighbour && f.Org == o {
				drains[o] = append(drains[o], f)
			}
		}
	}
	for o := range s.Orgs {
		var of []limits
		for _, l := range s.Orgs[o].Limits {
			full := func(limit float64) bucket { return bucket{limit: limit, level: limit, drain: drains[o]} }
			of = append(of, limits{requests: full(l.Requests), input: full(l.Input), output: full(l.Output)})
		}
		p.limits = append(p.limits, of)
	}
	for i := range s.Faults {
		if s.Faults[i].Trouble != Neighbour {
			p.faults = append(p.faults, &s.Faults[i])
		}
	}
	for range s.Keys {
		p.caches = append(p.caches, map[int]entry{})
	}
	return p
}

// NewIdeal begins a run at a provider that never fails and has no limits.
func NewIdeal(s *Scenario, epoch time.Time) *Provider {
	p := NewProvider(s, epoch)
	p.faults, p.ideal = nil, true
	return p
}

// Request is one call as the client wants it.
type Request struct {
	Session int
	Turn    int
	Try     int // how often it has been sent upstream before, by whomever
	Model   int
	Prompt  int64
	Output  int64
}

// Answer is what the provider says to a request, and what it cost.
type Answer struct {
	Status int
	Header http.Header
	Body   []byte // of an error
	Fault  *Fault // the trouble that it comes from; nil: none, or a limit
	Short  string // the limit that it comes from
	Head   time.Duration
	Stream time.Duration // from the head to the end
	Read   int64         // prompt tokens from the cache
	Cost   int64         // in pico-dollars: micro-dollars a million tokens, times tokens
}

// Send takes a request that arrives now with a key.
func (p *Provider) Send(now time.Duration, key int, r Request) Answer {
	k := &p.scenario.Keys[key]
	if f := p.trouble(now, key, r); f != nil {
		a := p.refuse(now, key, r, f)
		a.Head = 80*time.Millisecond + p.jitter(r, 120*time.Millisecond)
		return a
	}
	c := p.caches[k.cache]
	read := p.cached(now, k.cache, r)
	l := p.of(now, k.Org, r.Model)
	if short := l.short(p.need(read, r)); short != "" && !p.ideal {
		a := p.limited(now, key, r, short)
		a.Head = 80*time.Millisecond + p.jitter(r, 120*time.Millisecond)
		return a
	}
	n := p.need(read, r)
	l.requests.level--
	l.input.level -= n.input
	l.pending += n.output
	m := &p.scenario.Models[r.Model]
	c[r.Session] = entry{r.Prompt, now}
	fresh := r.Prompt - read
	return Answer{
		Status: http.StatusOK,
		Header: p.header(now, key, r.Model),
		Read:   read,
		Cost:   read*m.Read + fresh*m.Write + r.Output*m.Output,
		Head:   300*time.Millisecond + p.jitter(r, 900*time.Millisecond) + time.Duration(fresh)*20*time.Microsecond,
		Stream: time.Duration(r.Output) * time.Second / answerSpeed,
	}
}

// End takes the end of a good answer.
func (p *Provider) End(now time.Duration, key int, r Request) {
	l := p.of(now, p.scenario.Keys[key].Org, r.Model)
	if l.output.limit > 0 {
		l.output.level -= float64(r.Output)
		l.pending -= float64(r.Output)
	}
}

// Forget drops a session that has ended from the caches.
func (p *Provider) Forget(session int) {
	for _, c := range p.caches {
		delete(c, session)
	}
}

// of are the limits of an organization and model as they are now.
func (p *Provider) of(now time.Duration, org, model int) *limits {
	l := &p.limits[org][model]
	l.fill(now)
	return l
}

// cached is how much of the prompt a cache can give now.
func (p *Provider) cached(now time.Duration, cache int, r Request) int64 {
	e, ok := p.caches[cache][r.Session]
	if !ok || now-e.used > p.scenario.Models[r.Model].CacheLife {
		return 0
	}
	return min(e.tokens, r.Prompt)
}

func (p *Provider) need(read int64, r Request) need {
	if p.scenario.Family == OpenAI {
		return need{input: float64(r.Prompt + r.Output)}
	}
	return need{input: float64(r.Prompt - read), output: float64(r.Output)}
}

// trouble is the fault that meets a call; nil if none does.
func (p *Provider) trouble(now time.Duration, key int, r Request) *Fault {
	for len(p.faults) > 0 && p.faults[0].End <= now {
		p.faults = p.faults[1:]
	}
	var met *Fault
	for _, f := range p.faults {
		if f.Start > now {
			break
		}
		if !f.Covers(now, &p.scenario.Keys[key], key, r.Model) {
			continue
		}
		switch f.Trouble {
		case Overload, Blips:
			if met == nil && Dice(p.scenario.Seed, uint64(r.Session), uint64(r.Turn), uint64(r.Try)) < f.Part { //nolint:gosec // not negative
				met = f
			}
		case Rejected, Forbidden, NoCredit, SpendDate, Bogus, TooShort, Unstated, NoModel, Neighbour:
			return f // a refusal needs no capacity
		}
	}
	return met
}

// Alive says whether a call that costs nothing is answered as to a good key.
func (p *Provider) Alive(now time.Duration, key int, trouble Trouble) bool {
	for _, f := range p.faults {
		if f.Trouble == trouble && f.Covers(now, &p.scenario.Keys[key], key, -1) {
			return false
		}
	}
	return true
}

// jitter differs from call to call.
func (p *Provider) jitter(r Request, most time.Duration) time.Duration {
	d := Dice(p.scenario.Seed, 1, uint64(r.Session), uint64(r.Turn), uint64(r.Try)) //nolint:gosec // not negative
	return time.Duration(d * float64(most))
}
