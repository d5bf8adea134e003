package storm

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"keybridge/keypool"
	"keybridge/keypool/verdict"
	"keybridge/test/storm/world"
)

const maxWait = 10 * time.Second // the pool's max_wait, and the oracle's patience

// pooled is the key pool as the gateway uses it.
type pooled struct {
	run    *run
	pool   *keypool.Pool
	family verdict.Family
	index  map[string]int // of the keys, by id
}

func newPooled(r *run, s keypool.Strategy) (*pooled, error) {
	p := &pooled{run: r, family: familyOf(r.scenario.Family), index: map[string]int{}}
	o := keypool.Options{
		Provider: "storm", Family: p.family, Host: "api.test", Strategy: s, MaxWait: maxWait, Salt: []byte("storm"),
		Metrics: keypool.NoMetrics(), Prober: p,
	}
	for i, k := range r.scenario.Keys {
		p.index[k.ID] = i
		o.Keys = append(o.Keys, keypool.Key{ID: k.ID, Secret: k.Secret, Weight: int(weight(r.scenario, i))})
	}
	var err error
	p.pool, err = keypool.New(o)
	return p, err
}

func familyOf(f world.Family) verdict.Family {
	if f == world.OpenAI {
		return verdict.OpenAI
	}
	return verdict.Anthropic
}

// refusedError is an answer that may be the one to give to the client.
type refusedError struct{ answer world.Answer }

func (e *refusedError) Error() string { return fmt.Sprint("upstream answered ", e.answer.Status) }

// held is a lease whose answer's body is under way.
type held struct {
	lease   *keypool.Lease
	request *world.Request
}

func (h *held) end(a world.Answer) {
	h.lease.Release(keypool.Usage{InputTokens: h.request.Prompt, OutputTokens: h.request.Output, CachedTokens: h.request.Prompt, CacheReadTokens: a.Read})
}

func (p *pooled) serve(c *call) outcome {
	r := &c.request
	want := keypool.Want{
		Model: p.run.scenario.Models[r.Model].Name, Endpoint: "/v1/messages", Caller: c.session.Caller,
		Session: fmt.Sprint("session-", r.Session), Begins: r.Turn == 0,
		CacheLife: p.run.scenario.Models[r.Model].CacheLife, Tokens: guess(r),
	}
	var served outcome
	err := p.pool.Do(context.Background(), want, func(_ context.Context, l *keypool.Lease) (verdict.Verdict, error) {
		key := p.index[l.Key()]
		a := c.send(key)
		l.Observe(a.Header)
		v := judge(p.family, a, p.run.epoch.Add(p.run.now()))
		if v.Action != verdict.Relay {
			return v, &refusedError{a}
		}
		served = outcome{key: key, answer: a, status: a.Status, lease: &held{l, r}}
		return v, nil
	})
	if err == nil {
		return served
	}
	if refused, ok := errors.AsType[*refusedError](err); ok {
		return passOn(refused.answer)
	}
	exhausted, ok := errors.AsType[*keypool.ExhaustedError](err)
	if !ok {
		panic(err) // the storm has no other way to fail
	}
	if exhausted.Outcome != keypool.OutcomeRateLimited {
		return outcome{status: http.StatusBadGateway, final: true}
	}
	return limited(exhausted.RetryAfter)
}

// guess is what one who sees the request, and not the answer, takes it to use.
func guess(r *world.Request) int64 {
	off := world.Dice(uint64(r.Session), uint64(r.Turn)) - 0.5 //nolint:gosec // not negative
	return r.Prompt + int64(0.2*off*float64(r.Prompt))
}

// judge classifies an answer by the tables that the gateway uses.
func judge(f verdict.Family, a world.Answer, now time.Time) verdict.Verdict {
	return verdict.Classify(f, verdict.Answer{Status: a.Status, Header: a.Header, Body: a.Body, Now: now})
}

// holds implements policy.
func (p *pooled) holds(key, model int) bool {
	k := p.pool.Status().Keys[key]
	if k.State == keypool.Valid || !k.NextTry.IsZero() && !k.NextTry.After(time.Now()) {
		return false
	}
	if k.State == keypool.Temporary && k.Models != nil {
		return slices.Contains(k.Models, p.run.scenario.Models[model].Name)
	}
	return true
}

// Can implements keypool.Prober as the gateway's does.
func (p *pooled) Can(r verdict.Reason) bool {
	return r != verdict.QuotaExhausted || p.family == verdict.Anthropic
}

// Probe implements keypool.Prober.
func (p *pooled) Probe(_ context.Context, secret string, r verdict.Reason) verdict.Verdict {
	trouble := world.Rejected
	if r == verdict.QuotaExhausted {
		trouble = world.NoCredit
	}
	p.run.mu.Lock()
	defer p.run.mu.Unlock()
	for i, k := range p.run.scenario.Keys {
		if k.Secret == secret && p.run.provider.Alive(p.run.now(), i, trouble) {
			return verdict.Success()
		}
	}
	return verdict.Verdict{Action: verdict.NextKey, Mark: verdict.Condemn, Scope: verdict.Scope{Level: verdict.Key}, Reason: r}
}
