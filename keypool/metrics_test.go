package keypool

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"keybridge/keypool/verdict"
)

func TestRemovedProviderTakesItsSeriesAlong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		c := newCrowd(t)
		tally := &Tally{}
		c.call(t.Context(), p, "in flight", rejected().after(time.Second), good())
		if _, err := do(t, p, Want{Tally: tally}, script{"k0": {good()}}); err != nil {
			t.Fatal(err)
		}
		r.pools = nil
		r.families(nil)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		tally.Close()
		c.end("in flight", "ok@1s")
		r.families(nil)
		// Should a provider of this name come back, it begins anew.
		r.pool(1)
		r.families(&expect{keys: map[string]State{"k0": Valid}})
	})
}

func TestOddPoolsDoNotBreakAScrape(t *testing.T) {
	r := newRig(t)
	first := r.pool(1)
	doubled := r.pool(2)
	foreign := newRig(t).pool(3, func(o *Options) { o.Provider = "foreign" })
	r.pools = []*Pool{nil, Borrowed("b", "x"), foreign, first, doubled, first}
	r.families(&expect{keys: map[string]State{"k0": Valid}})
}

func TestMetricsOfSeveralProviders(t *testing.T) {
	r := newRig(t)
	p := r.pool(1)
	q := r.pool(2, func(o *Options) { o.Provider = "q" })
	r.pools = []*Pool{p, q}
	call(t, q, script{"k0": {rejected()}, "k1": {good()}}, "k0 k1", nil)
	want := `
		# HELP key_pool_state Keys now in each state.
		# TYPE key_pool_state gauge
		key_pool_state{provider="p",state="permanent"} 0
		key_pool_state{provider="p",state="temporary"} 0
		key_pool_state{provider="p",state="valid"} 1
		key_pool_state{provider="q",state="permanent"} 1
		key_pool_state{provider="q",state="temporary"} 0
		key_pool_state{provider="q",state="valid"} 1
	`
	if err := testutil.GatherAndCompare(r.reg, strings.NewReader(want), "key_pool_state"); err != nil {
		t.Error(err)
	}
}

func TestNextRecovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		next := func() time.Duration {
			v := p.view(time.Now())
			if v.next.IsZero() {
				return 0
			}
			return time.Until(v.next)
		}
		if got := next(); got != 0 {
			t.Errorf("%v without a cooling key", got)
		}
		whole := limited(10 * time.Hour)
		whole.verdict.Scope.Model = false
		// k0 is out as a whole until a trial in an hour, whatever its models say.
		call(t, p, script{"k0": {limited(time.Second)}, "k1": {good()}}, "k0 k1", nil)
		if _, err := do(t, p, Want{Model: "other"}, script{"k0": {whole}, "k1": {good()}}); err != nil {
			t.Fatal(err)
		}
		if got := next(); got != time.Hour {
			t.Errorf("%v, want the hour after which it is verified", got)
		}
		call(t, p, script{"k1": {limited(2 * time.Minute)}, "k2": {rejected()}}, "k1 k2", exhausted(OutcomeRateLimited, 2*time.Minute))
		if got := next(); got != 2*time.Minute {
			t.Errorf("%v, want the soonest", got)
		}
		time.Sleep(2 * time.Minute)
		if got := next(); got != 58*time.Minute {
			t.Errorf("%v, want the one left", got)
		}
		time.Sleep(2 * time.Hour)
		if got := p.view(time.Now()).next; !got.Before(time.Now()) {
			t.Errorf("%v, want a trial that is due", got)
		}
	})
}

func TestPromlint(t *testing.T) {
	r := newRig(t)
	p := r.pool(2)
	call(t, p, script{"k0": {limited(time.Hour)}, "k1": {good()}}, "k0 k1", nil)
	problems, err := testutil.GatherAndLint(r.reg)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	if n, err := testutil.GatherAndCount(r.reg); err != nil || n != 3+2+4+3+8+4+1+3+1+1 {
		t.Errorf("%d series: %v", n, err)
	}
}

func TestNewMetricsRefuses(t *testing.T) {
	reg := prometheus.NewRegistry()
	none := func() []*Pool { return nil }
	if _, err := NewMetrics(nil, none); err == nil {
		t.Error("a nil registerer was taken")
	}
	if _, err := NewMetrics(reg, nil); err == nil {
		t.Error("a nil list was taken")
	}
	if _, err := NewMetrics(reg, none); err != nil {
		t.Error(err)
	}
	if _, err := NewMetrics(reg, none); err == nil {
		t.Error("the families were registered twice")
	}
}

func TestLogLines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2, func(o *Options) { o.TrialAfter = time.Minute })
		limit := limited(time.Minute)
		call(t, p, script{"k0": {rejected()}, "k1": {limit}}, "k0 k1", exhausted(OutcomeRateLimited, time.Minute))
		for range 5 {
			call(t, p, script{}, "", exhausted(OutcomeRateLimited, time.Minute)) // told once
		}
		time.Sleep(time.Minute)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		want := strings.Join([]string{
			`level=WARN msg="key out" provider=p key=k0 hint=sk-t...0000 state=permanent reason=unauthorized status=401`,
			`level=INFO msg="key out" provider=p key=k1 hint=sk-t...0001 state=temporary reason=rate_limited status=429 until=` + limit.verdict.Until.Format("2006-01-02T15:04:05.000Z07:00"),
			`level=WARN msg="pool exhausted" provider=p outcome=rate_limited retry_after=1m0s`,
			`level=INFO msg="key recovered" provider=p key=k1 hint=sk-t...0001 state=valid via=cooldown`,
			`level=INFO msg="key recovered" provider=p key=k0 hint=sk-t...0000 state=valid via=trial`,
		}, "\n") + "\n"
		if got := r.log.String(); got != want {
			t.Errorf("log:\n%s\nwant:\n%s", got, want)
		}
	})
}

func TestHelperFails(t *testing.T) {
	// The comparison of whole families must be able to fail, also where nothing is
	// expected.
	for _, tt := range []struct {
		name  string
		pools int
		want  *expect
	}{
		{"a pool where none is expected", 1, nil},
		{"no pool where one is expected", 0, &expect{keys: map[string]State{"k0": Valid}}},
		{"another state", 1, &expect{keys: map[string]State{"k0": Temporary}}},
		{"a family that is absent", 1, &expect{keys: map[string]State{"k0": Valid}, next: 1}},
		{"a counter", 1, &expect{keys: map[string]State{"k0": Valid}, transitions: map[verdict.Reason]int{"forbidden": 1}}},
		{"a sample", 1, &expect{keys: map[string]State{"k0": Valid}, attempts: []int{1}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			r.pool(1)
			r.pools = r.pools[:tt.pools]
			if err := r.compare(tt.want); err == nil {
				t.Error("the comparison passed")
			}
		})
	}
}
