package keypool

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// left adds to an answer how many of 100 requests its key has left, and in how many
// seconds it has all of them.
func (r reply) left(remaining, full int) reply {
	if r.header == nil {
		r.header = http.Header{}
	}
	r.header.Set("Anthropic-Ratelimit-Requests-Limit", "100")
	r.header.Set("Anthropic-Ratelimit-Requests-Remaining", strconv.Itoa(remaining))
	r.header.Set("Anthropic-Ratelimit-Requests-Reset", time.Now().Add(time.Duration(full)*time.Second).UTC().Format(time.RFC3339Nano))
	return r
}

func (r reply) says(name, value string) reply {
	r.header = r.header.Clone()
	r.header.Set(name, value)
	return r
}

func byHeadroom(o *Options) { o.Strategy = Headroom }

// introduced makes a pool whose keys have reported these shares of 100 requests a
// minute, each of an organization of its own.
func introduced(t *testing.T, r *rig, lefts ...int) *Pool {
	t.Helper()
	p := r.pool(len(lefts), byHeadroom)
	s, order := script{}, []string{}
	for i, n := range lefts {
		k := fmt.Sprintf("k%d", i)
		a := aside()
		if i == len(lefts)-1 {
			a = good()
		}
		s[k] = []reply{a.from(k, "").left(n, 100-n)}
		order = append(order, k)
	}
	call(t, p, s, strings.Join(order, " "), nil)
	time.Sleep(together + time.Millisecond)
	return p
}

func TestHeadroomGauge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		want := expect{keys: map[string]State{"k0": Valid, "k1": Valid}}
		show := func(step string, a reply, headroom map[string]float64) {
			t.Helper()
			s := script{"k0": {a}}
			keys := "k0"
			want.headroom = headroom
			if a.err != nil {
				s["k1"], keys = []reply{good()}, "k0 k1"
			}
			call(t, p, s, keys, nil)
			want.attempts = append(want.attempts, len(strings.Fields(keys)))
			if err := r.compare(&want); err != nil {
				t.Errorf("%s: %v", step, err)
			}
			time.Sleep(time.Second)
		}
		show("nothing is told", good(), nil)
		show("a limit", good().left(25, 10), map[string]float64{"k0 requests": 0.25})
		show("as it was reported, however long ago", good(), map[string]float64{"k0 requests": 0.25})
		for name, value := range map[string]string{
			"Anthropic-Ratelimit-Requests-Limit": "0", "Anthropic-Ratelimit-Requests-Remaining": "-1",
		} {
			show("nonsense in "+name, good().left(50, 10).says(name, value), map[string]float64{"k0 requests": 0.25})
		}
		show("more left than there is", good().left(101, 10), map[string]float64{"k0 requests": 0.25})
		show("no reset", good().left(100, 0).says("Anthropic-Ratelimit-Requests-Reset", "?"), map[string]float64{"k0 requests": 1})
		show("all of them", good().left(1, 10).
			says("Anthropic-Ratelimit-Tokens-Limit", "1000").says("Anthropic-Ratelimit-Tokens-Remaining", "500").
			says("Anthropic-Ratelimit-Input-Tokens-Limit", "1000").says("Anthropic-Ratelimit-Input-Tokens-Remaining", "750").
			says("Anthropic-Ratelimit-Output-Tokens-Limit", "1000").says("Anthropic-Ratelimit-Output-Tokens-Remaining", "1000"),
			map[string]float64{"k0 requests": 0.01, "k0 tokens": 0.5, "k0 input_tokens": 0.75, "k0 output_tokens": 1})
		want.transitions = map[verdict.Reason]int{"rate_limited": 1}
		want.failovers = map[verdict.Reason]int{"rate_limited": 1}
		want.keys["k0"], want.next, want.scoped = Temporary, 30, map[string]int{"key": 1}
		show("used up", limited(30*time.Second).left(0, 60),
			map[string]float64{"k0 requests": 0, "k0 tokens": 0.5, "k0 input_tokens": 0.75, "k0 output_tokens": 1})

		next := r.pool(2)
		next.Adopt(p)
		want.next = 29
		r.families(&want)
	})
}

// The keys of an organization show what any of them was told last.
func TestOrganizationSharesItsHeadroom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		for i, o := range []string{"a", "a", "b"} {
			reveal(t, p, "m", i, good().from(o, fmt.Sprint("w", i)).left(90-10*i, 60))
			time.Sleep(time.Second)
		}
		var got []string
		for i, k := range p.Status().Keys {
			for _, r := range k.Headroom {
				got = append(got, fmt.Sprintf("k%d %s %s %d/%d~%d", i, r.Model, r.Limit, r.Remaining, r.Max, r.Estimate))
			}
		}
		// The first two told the same limit: it is their organization's.
		// Two calls of theirs have ended since without an answer that tells.
		want := []string{"k0 m requests 80/100~79", "k1 m requests 80/100~79", "k2 m requests 70/100~70"}
		if diff := gocmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

func TestHeadroomAsksTheKeyWithTheMostToSpare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := introduced(t, newRig(t), 20, 60, 40)
		call(t, p, script{"k1": {good().left(30, 70)}}, "k1", nil)
		time.Sleep(together + time.Millisecond)
		call(t, p, script{"k2": {aside()}, "k1": {aside()}, "k0": {good()}}, "k2 k1 k0", nil)
		time.Sleep(time.Minute) // all fill up at the same pace, and all but full is as good as full
		call(t, p, script{"k2": {good().left(1, 99)}}, "k2", nil)
		call(t, p, script{"k1": {limited(time.Hour)}, "k0": {good()}}, "k1 k0", nil)
		idle(t, p)
	})
}

// What is under way counts as taken, so that a burst does not fall on one key.
func TestBurstIsSpreadByWhatIsInFlight(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := introduced(t, newRig(t), 4, 8, 2)
		c := newCrowd(t)
		for i := range 14 {
			c.call(t.Context(), p, fmt.Sprint("call", i), good().after(time.Millisecond))
		}
		got := map[string]int{}
		c.mu.Lock()
		for _, s := range c.sent {
			_, key, _ := strings.Cut(s, " ")
			got[key[:2]]++
		}
		c.mu.Unlock()
		if diff := gocmp.Diff(map[string]int{"k0": 4, "k1": 8, "k2": 2}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		time.Sleep(time.Second)
		synctest.Wait()
		idle(t, p)
	})
}

// An answer that was sent earlier and comes later tells nothing new.
func TestOlderReportIsPassedOver(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		c := newCrowd(t)
		c.call(t.Context(), p, "slow", good().left(5, 3600).after(10*time.Second))
		time.Sleep(time.Second)
		c.call(t.Context(), p, "quick", good().left(60, 3600).after(time.Second))
		time.Sleep(time.Second)
		synctest.Wait()
		for range 2 {
			if got := p.Status().Keys[0].Headroom; len(got) != 1 || got[0].Remaining != 60 {
				t.Errorf("%+v, want 60 left", got)
			}
			time.Sleep(10 * time.Second)
			synctest.Wait()
		}
		idle(t, p)
	})
}

// Where nothing is known of a key yet it gets one call at a time, as long as
// another one is known to have room.
func TestUnknownKeyIsTriedWithOneCall(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, byHeadroom)
		call(t, p, script{"k0": {good().left(50, 50)}}, "k0", nil)
		c := newCrowd(t)
		for _, name := range []string{"a", "b", "c"} {
			c.call(t.Context(), p, name, good().after(time.Second))
		}
		c.was("a k1@0s", "b k0@0s", "c k0@0s")
		time.Sleep(2 * time.Second)
		synctest.Wait()
		idle(t, p)
	})
}

// Nobody who invents names of models displaces one that the provider knows.
func TestModelsWhoseLimitsAreKeptAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, byHeadroom)
		ask := func(model string, a reply) {
			t.Helper()
			if _, err := do(t, p, Want{Model: model}, script{"k0": {a}}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range maxModels {
			ask(fmt.Sprint("known-", i), good().left(50, 3600))
		}
		for i := range 1000 {
			ask(fmt.Sprint("invented-", i), good())
		}
		if got := p.Status().Keys[0].Headroom; len(got) != maxModels {
			t.Errorf("%d models are kept, want %d", len(got), maxModels)
		}
		ask("newer", good().left(50, 3600))
		rooms := p.Status().Keys[0].Headroom
		models := map[string]bool{}
		for _, r := range rooms {
			models[r.Model] = true
		}
		if len(rooms) != maxModels || !models["newer"] || models["known-0"] || !models["known-1"] {
			t.Errorf("%d models are kept, the newest %v, the one unused the longest %v", len(rooms), models["newer"], models["known-0"])
		}
		idle(t, p)
	})
}

// A call needs tokens: as many as it says, else as such calls needed before.
func TestTokensThatACallNeeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tokens := func(left string) http.Header {
			return http.Header{
				"X-Ratelimit-Limit-Tokens": {"10000"}, "X-Ratelimit-Remaining-Tokens": {left}, "X-Ratelimit-Reset-Tokens": {"800h"},
			}
		}
		p := newRig(t).pool(2, byHeadroom, func(o *Options) { o.Family = verdict.OpenAI })
		lefts := map[string]string{"k0": "5000", "k1": "4200"}
		ask := func(w Want, u Usage) (key string) {
			t.Helper()
			w.Model = "m"
			err := p.Do(t.Context(), w, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
				key = l.Key()
				l.Observe(tokens(lefts[key]))
				l.Release(u)
				return verdict.Success(), nil
			})
			if err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
			return key
		}
		used := Usage{InputTokens: 900, OutputTokens: 100}
		if got := ask(Want{}, used) + ask(Want{}, used); got != "k0k1" {
			t.Errorf("unknown keys were asked in the order %s", got)
		}
		estimate := func() string {
			var out []string
			for _, k := range p.Status().Keys {
				out = append(out, strconv.FormatInt(k.Headroom[0].Estimate, 10))
			}
			return strings.Join(out, " ")
		}
		done := make(chan struct{})
		hold := func(w Want) {
			w.Model = "m"
			go func() {
				_ = p.Do(t.Context(), w, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					<-done
					l.Release(Usage{})
					return verdict.Success(), nil
				})
			}()
			synctest.Wait()
		}
		hold(Want{}) // takes the 1000 of an average call from k0
		if got := estimate(); got != "4000 4200" {
			t.Errorf("left %s", got)
		}
		hold(Want{Tokens: 2500}) // which k1 has rather than k0
		if got := estimate(); got != "4000 1700" {
			t.Errorf("left %s", got)
		}
		close(done)
		synctest.Wait()
		idle(t, p)
	})
}

// Of Anthropic's output what is yet to be written counts as taken until the answer
// has ended, and what was written after the last report from then on.
func TestOutputIsTakenAsItIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1)
		h := good().left(100, 0).says("Anthropic-Ratelimit-Output-Tokens-Limit", "1000").
			says("Anthropic-Ratelimit-Output-Tokens-Remaining", "900").says("Anthropic-Ratelimit-Output-Tokens-Reset", "2000-01-20T00:00:00Z").header
		for _, want := range []int64{900, 800} { // the first call tells what one takes
			var lease *Lease
			if err := p.Do(t.Context(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
				l.Observe(h)
				lease = l
				return verdict.Success(), nil
			}); err != nil {
				t.Fatal(err)
			}
			left := func() int64 {
				for _, r := range p.Status().Keys[0].Headroom {
					if r.Limit == "output_tokens" {
						return r.Estimate
					}
				}
				return -1
			}
			if got := left(); got != want {
				t.Errorf("while it is written: %d left, want %d", got, want)
			}
			time.Sleep(time.Second)
			lease.Release(Usage{InputTokens: 1, OutputTokens: 100})
			if got := left(); got != 800 {
				t.Errorf("after its end: %d left, want 800", got)
			}
			time.Sleep(time.Second)
		}
		idle(t, p)
	})
}

// A key that is known to be used up is refused once, not once by every call that has
// no other key.
func TestRefusalOfAKeyThatIsUsedUpMarksIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, s := range strategies {
			p := newRig(t).pool(1, func(o *Options) { o.Strategy = s })
			call(t, p, script{"k0": {good().left(0, 60)}}, "k0", nil)
			call(t, p, script{"k0": {limited(30*time.Second).left(0, 60)}}, "k0", exhausted(OutcomeRateLimited, 30*time.Second))
			call(t, p, script{}, "", exhausted(OutcomeRateLimited, 30*time.Second))
		}
	})
}

// A call that outlives what is kept of its model disturbs nobody else's.
func TestCallOfAModelThatIsKeptNoMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, byHeadroom)
		var old *Lease
		if err := p.Do(t.Context(), Want{Model: "old"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			old = l
			return verdict.Success(), nil
		}); err != nil {
			t.Fatal(err)
		}
		for i := range maxModels {
			if _, err := do(t, p, Want{Model: fmt.Sprint("model-", i)}, script{"k0": {good().left(50, 3600)}}); err != nil {
				t.Fatal(err)
			}
		}
		old.Observe(good().left(10, 3600).header)
		old.Release(Usage{InputTokens: 1})
		rooms := map[string]int64{}
		for _, r := range p.Status().Keys[0].Headroom {
			rooms[r.Model] = r.Remaining
		}
		if len(rooms) != maxModels || rooms["old"] != 10 || rooms["model-63"] != 50 {
			t.Errorf("%v", rooms)
		}
		idle(t, p)
	})
}

// What the first of an organization's keys is told may be its workspace's own limit:
// it does not bind the others.
func TestFirstReportIsNotTheOrganizations(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, byHeadroom)
		call(t, p, script{"k0": {good().from("a", "w0").left(5, 95)}}, "k0", nil)
		time.Sleep(time.Second)
		call(t, p, script{"k1": {good().from("a", "w1").left(90, 10).says("Anthropic-Ratelimit-Requests-Limit", "1000")}}, "k1", nil)
		var got []string
		for _, k := range p.Status().Keys {
			for _, r := range k.Headroom {
				got = append(got, fmt.Sprintf("%s %d/%d", k.ID, r.Remaining, r.Max))
			}
		}
		if diff := gocmp.Diff([]string{"k0 5/100", "k1 90/1000"}, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
}

// A report is verified as a deadline is: whatever reset it names, after an hour without
// another one the key is asked again.
func TestReportOfAFarResetIsVerified(t *testing.T) {
	for _, s := range []Strategy{Priority, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, strategy(s))
				usedUp := good().left(0, 18*24*3600)
				call(t, p, script{"k0": {usedUp}}, "k0", nil)
				for range 59 {
					time.Sleep(time.Minute)
					call(t, p, script{"k1": {good().left(90, 6)}}, "k1", nil)
				}
				time.Sleep(time.Minute)
				call(t, p, script{"k0": {good().left(99, 1)}}, "k0", nil)
			})
		})
	}
}
