package keypool

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

const (
	errRate    = `{"type":"error","error":{"type":"rate_limit_error","message":"This request would exceed your organization's rate limit"}}`
	errAuth    = `{"type":"error","error":{"type":"authentication_error","message":"invalid x-api-key"}}`
	errCredit  = `{"type":"error","error":{"type":"invalid_request_error","message":"Your credit balance is too low to access the Anthropic API."}}`
	errRevoked = `{"type":"error","error":{"type":"permission_error","message":"OAuth token has been revoked."}}`
	errModel   = `{"type":"error","error":{"type":"not_found_error","message":"model: claude-none"}}`
	errServer  = `{"type":"error","error":{"type":"api_error","message":"Internal server error"}}`
)

// prober answers probes by secret.
type prober struct {
	can   func(verdict.Reason) bool
	start time.Time

	mu     sync.Mutex
	answer map[string]func() verdict.Verdict
	asked  []time.Duration // when, since start
}

func (p *prober) Can(r verdict.Reason) bool { return p.can == nil || p.can(r) }

func (p *prober) Probe(_ context.Context, secret string, _ verdict.Reason) verdict.Verdict {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.asked = append(p.asked, time.Since(p.start))
	return p.answer[secret]()
}

func (p *prober) answers(secret string, a func() verdict.Verdict) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.answer[secret] = a
}

func (p *prober) times() []time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

// TestWorkedExample walks one pool through every kind of event and compares all
// of its metrics after each.
func TestWorkedExample(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.families(nil)
		p := r.pool(3)

		want := expect{keys: map[string]State{"k0": Valid, "k1": Valid, "k2": Valid}}
		r.families(&want)

		// A
		call(t, p, script{
			"k0": {wire(429, errRate, "Retry-After", "30")}, "k1": {wire(401, errAuth)}, "k2": {wire(200, "")},
		}, "k0 k1 k2", nil)
		want = expect{
			keys:        map[string]State{"k0": Temporary, "k1": Permanent, "k2": Valid},
			transitions: map[verdict.Reason]int{"rate_limited": 1, "unauthorized": 1},
			failovers:   map[verdict.Reason]int{"rate_limited": 1, "unauthorized": 1},
			attempts:    []int{3},
			next:        30, scoped: map[string]int{"key": 1},
		}
		r.families(&want)

		time.Sleep(30 * time.Second)
		want.keys["k0"] = Valid
		want.recoveries = map[string]int{"cooldown": 1}
		want.next, want.scoped = 0, nil
		r.families(&want)

		// B
		call(t, p, script{"k0": {wire(200, "")}}, "k0", nil)
		want.attempts = []int{3, 1}
		r.families(&want)

		// C
		call(t, p, script{
			"k0": {wire(429, errRate, "Retry-After", "5")}, "k2": {wire(429, errRate, "Retry-After", "10")},
		}, "k0 k2", exhausted(OutcomeRateLimited, 5*time.Second))
		want.keys = map[string]State{"k0": Temporary, "k1": Permanent, "k2": Temporary}
		want.transitions["rate_limited"] = 3
		want.failovers["rate_limited"] = 2
		want.exhaustions = map[Outcome]int{OutcomeRateLimited: 1}
		want.attempts = []int{3, 1, 2}
		want.next, want.scoped = 5, map[string]int{"key": 2}
		r.families(&want)

		// D: nothing is handed out, so there is no sample.
		call(t, p, script{}, "", exhausted(OutcomeRateLimited, 5*time.Second))
		want.exhaustions[OutcomeRateLimited] = 2
		r.families(&want)

		// E
		call(t, Borrowed("p", "a caller's own"), script{"caller": {wire(429, errRate)}}, "caller", refusal("429 "+errRate))
		r.families(&want)

		reloaded := r.pool(3)
		reloaded.Adopt(p)
		p = reloaded
		r.families(&want)

		// F
		time.Sleep(10 * time.Second)
		want.keys = map[string]State{"k0": Valid, "k1": Permanent, "k2": Valid}
		want.recoveries["cooldown"] = 3
		want.next, want.scoped = 0, nil
		r.families(&want)

		// G
		call(t, p, script{"k0": {wire(400, errCredit)}, "k2": {wire(403, errRevoked)}}, "k0 k2", exhausted(OutcomeQuotaExhausted, 0))
		want.keys = map[string]State{"k0": Permanent, "k1": Permanent, "k2": Permanent}
		want.transitions["quota_exhausted"], want.transitions["forbidden"] = 1, 1
		want.failovers["quota_exhausted"] = 1
		want.exhaustions[OutcomeQuotaExhausted] = 1
		want.attempts = []int{3, 1, 2, 2}
		r.families(&want)

		// H: a reload turns the probes on.
		probes := &prober{start: time.Now(), answer: map[string]func() verdict.Verdict{
			p.members[0].secret: func() verdict.Verdict { return wire(400, errCredit).verdict },
			p.members[1].secret: verdict.Success,
			p.members[2].secret: func() verdict.Verdict { return wire(403, errRevoked).verdict },
		}}
		reloaded = r.pool(3, func(o *Options) { o.Prober = probes })
		reloaded.Adopt(p)
		p = reloaded
		stop := probing(t, func() *Pool { return reloaded })
		time.Sleep(40 * time.Second)
		stop()
		if n := len(probes.times()); n != 3 {
			t.Errorf("%d probes, want one of each key", n)
		}
		want.keys["k1"] = Valid
		want.recoveries["probe"] = 1
		r.families(&want)

		// I
		call(t, p, script{"k1": {wire(404, errModel)}}, "k1", refusal("404 "+errModel))
		want.attempts = []int{3, 1, 2, 2, 1}
		r.families(&want)

		// J
		call(t, p, script{"k1": {wire(500, errServer), wire(500, errServer), wire(500, errServer)}}, "k1 k1 k1", refusal("500 "+errServer))
		want.attempts = []int{3, 1, 2, 2, 1, 1}
		r.families(&want)
		idle(t, p)
	})
}
