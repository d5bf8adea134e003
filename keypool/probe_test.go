package keypool

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// probing runs the probes of whatever pool() gives, until the test stops them.
func probing(t *testing.T, pool func() *Pool) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { RunProbes(ctx, func() []*Pool { return []*Pool{Borrowed("b", "x"), pool()} }) })
	return func() {
		cancel()
		running.Wait()
	}
}

func withProber(p *prober) func(*Options) {
	return func(o *Options) {
		p.start, p.answer = time.Now(), map[string]func() verdict.Verdict{}
		for _, k := range o.Keys {
			p.answer[k.Secret] = func() verdict.Verdict { return rejected().verdict }
		}
		o.Prober = p
	}
}

func TestProbesBackOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &prober{}
		p := newRig(t).pool(1, withProber(probes))
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		stop := probing(t, func() *Pool { return p })
		time.Sleep(6 * time.Hour)
		stop()
		if len(probes.times()) < 9 {
			t.Fatalf("%d probes in six hours", len(probes.times()))
		}
		last := time.Duration(0)
		for i, at := range probes.times() {
			least := min(30*time.Second<<i, time.Hour*10/11)
			most := least*11/10 + probeTick
			if gap := at - last; gap < least || gap > most {
				t.Errorf("probe %d came after %v, want %v to %v", i+1, gap, least, most)
			}
			last = at
		}
		// A condemned key that probes watch is not tried by real requests.
		call(t, p, script{}, "", exhausted(OutcomeAuthFailed, 0))
	})
}

func TestProbeBackoffEndsOnlyWithARealSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &prober{}
		p := newRig(t).pool(1, withProber(probes))
		stop := probing(t, func() *Pool { return p })
		flap := func() time.Duration { // a probe finds the key good, a request finds it bad
			t.Helper()
			call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
			condemned := time.Now()
			seen := len(probes.times())
			probes.answers(p.members[0].secret, verdict.Success)
			for len(probes.times()) == seen {
				time.Sleep(time.Second)
				synctest.Wait()
			}
			return time.Since(condemned).Truncate(30 * time.Second)
		}
		for _, want := range []time.Duration{30 * time.Second, time.Minute, 2 * time.Minute} {
			if got := flap(); got != want {
				t.Errorf("probed after %v, want %v", got, want)
			}
		}
		time.Sleep(time.Second)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		if got := flap(); got != 30*time.Second {
			t.Errorf("probed after %v, want 30s: the key had served", got)
		}
		stop()
	})
}

func TestWhatProbesTell(t *testing.T) {
	for _, tt := range []struct {
		name    string
		out     func() reply
		answer  func() verdict.Verdict
		recover bool
	}{
		{"good", rejected, verdict.Success, true},
		{"still rejected", rejected, func() verdict.Verdict { return rejected().verdict }, false},
		{"missing scopes", rejected, func() verdict.Verdict {
			return denied(verdict.Scope{Level: verdict.Key, Endpoint: true}, "").verdict
		}, true},
		{"rate-limited", rejected, func() verdict.Verdict { return unstated().verdict }, true},
		{"rate-limited tells nothing of credit", broke, func() verdict.Verdict { return unstated().verdict }, false},
		{"in credit", broke, verdict.Success, true},
		{"still out of credit", broke, func() verdict.Verdict { return broke().verdict }, false},
		{"upstream trouble", rejected, verdict.Broken, false},
		{"a bad request", rejected, func() verdict.Verdict { return bad("").verdict }, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				probes := &prober{}
				r := newRig(t)
				p := r.pool(1, withProber(probes))
				if _, err := do(t, p, Want{}, script{"k0": {tt.out()}}); err == nil {
					t.Fatal("no error")
				}
				probes.answers(p.members[0].secret, tt.answer)
				stop := probing(t, func() *Pool { return p })
				time.Sleep(40 * time.Second)
				stop()
				if len(probes.times()) != 1 {
					t.Fatalf("probed %d times, want once", len(probes.times()))
				}
				view := p.view(time.Now())
				recovered := p.book.series.recoveries[viaProbe].Load()
				if (view.states[Valid] == 1) != tt.recover || (recovered == 1) != tt.recover {
					t.Errorf("states %v, %d recoveries", view.states, recovered)
				}
			})
		})
	}
}

func TestUpstreamTroubleDoesNotLengthenTheBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &prober{}
		p := newRig(t).pool(1, withProber(probes))
		probes.answers(p.members[0].secret, verdict.Broken)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		stop := probing(t, func() *Pool { return p })
		time.Sleep(140 * time.Second)
		stop()
		if n := len(probes.times()); n != 4 {
			t.Errorf("%d probes in 140 s, want one in each 30 to 34", n)
		}
	})
}

func TestKeysWithoutAFreeProbeAreTried(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &prober{can: func(r verdict.Reason) bool { return r != verdict.QuotaExhausted }}
		p := newRig(t).pool(1, withProber(probes))
		call(t, p, script{"k0": {broke()}}, "k0", exhausted(OutcomeQuotaExhausted, 0))
		stop := probing(t, func() *Pool { return p })
		time.Sleep(time.Hour)
		stop()
		if len(probes.times()) != 0 {
			t.Errorf("probed %d times", len(probes.times()))
		}
		call(t, p, script{"k0": {good()}}, "k0", nil)
	})
}

// slowProber answers when it is told to, or when its time is up.
type slowProber struct {
	answer chan verdict.Verdict
	began  atomic.Int64
	ended  chan error
}

func (*slowProber) Can(verdict.Reason) bool { return true }

func (p *slowProber) Probe(ctx context.Context, _ string, _ verdict.Reason) verdict.Verdict {
	p.began.Add(1)
	select {
	case v := <-p.answer:
		return v
	case <-ctx.Done():
		p.ended <- ctx.Err()
		return verdict.Late()
	}
}

func TestSlowProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		probes := &slowProber{answer: make(chan verdict.Verdict), ended: make(chan error, 1)}
		r := newRig(t)
		with := func(o *Options) { o.Prober = probes }
		var current atomic.Pointer[Pool]
		old := r.pool(1, with)
		current.Store(old)
		call(t, old, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		stop := probing(t, current.Load)
		time.Sleep(45 * time.Second)
		if n := probes.began.Load(); n != 1 {
			t.Errorf("%d probes at once, want 1", n)
		}
		if err := <-probes.ended; !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("the first ended by %v", err)
		}
		for probes.began.Load() == 1 {
			time.Sleep(time.Second)
		}
		// A reload while it runs: its answer reaches the new pool.
		p := r.pool(1, with)
		p.Adopt(old)
		current.Store(p)
		probes.answer <- verdict.Success()
		synctest.Wait()
		r.families(&expect{
			keys: map[string]State{"k0": Valid}, transitions: map[verdict.Reason]int{"unauthorized": 1},
			exhaustions: map[Outcome]int{OutcomeAuthFailed: 1}, recoveries: map[string]int{"probe": 1}, attempts: []int{1},
		})
		// Rejected, probed, found good by other means and rejected again: the answer
		// of that probe is about what is over.
		time.Sleep(time.Second)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		for probes.began.Load() == 2 {
			time.Sleep(time.Second)
		}
		time.Sleep(time.Second)
		v := rejected().verdict
		v.Sent = time.Now()
		p.book.mu.Lock()
		p.members[0].key.whole.close(time.Now())
		p.book.condemn(p.members[0].key, v, time.Now())
		p.book.mu.Unlock()
		probes.answer <- verdict.Success()
		synctest.Wait()
		if st := p.view(time.Now()).states; st[Permanent] != 1 {
			t.Errorf("states %v", st)
		}
		time.Sleep(time.Minute)
		for probes.began.Load() == 3 {
			time.Sleep(time.Second)
		}
		probes.answer <- verdict.Success()
		synctest.Wait()
		// Stopping cancels what runs and waits for it.
		time.Sleep(time.Second)
		call(t, p, script{"k0": {rejected()}}, "k0", exhausted(OutcomeAuthFailed, 0))
		for probes.began.Load() == 4 {
			time.Sleep(time.Second)
		}
		stop()
		if err := <-probes.ended; !errors.Is(err, context.Canceled) {
			t.Errorf("the last ended by %v", err)
		}
	})
}
