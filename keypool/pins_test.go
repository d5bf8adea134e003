package keypool

import (
	"context"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// makes is a call that creates what has these ids.
// Its key is the first.
func makes(t *testing.T, p *Pool, w Want, ids ...string) {
	t.Helper()
	w.Model = "m"
	err := p.Do(t.Context(), w, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
		if l.Key() != "k0" {
			t.Errorf("%v made with %s, want k0", ids, l.Key())
		}
		l.Remember(ids...)
		l.Release(Usage{})
		return verdict.Success(), nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

//nolint:revive // one more than five, for the sake of the rows
func naming(t *testing.T, p *Pool, keys string, want error, s script, pins ...string) {
	t.Helper()
	turn{want: Want{Pins: pins}, s: s}.take(t, p, keys, want)
}

// lacks is the answer of a project that does not have what the request names.
func lacks() reply {
	return reply{verdict: verdict.Verdict{Action: verdict.NextKey, Scope: verdict.Scope{Level: verdict.Project}, Reason: verdict.ModelAccess}, err: refusal("not found")}
}

func pinnedOut(o Outcome, after time.Duration) error {
	return &ExhaustedError{Provider: "p", Outcome: o, RetryAfter: after, Pinned: true}
}

func TestCallGoesToTheProjectThatHasWhatItNeeds(t *testing.T) {
	for _, s := range []Strategy{Priority, RoundRobin, Weighted, LeastBusy, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(4, strategy(s), family(verdict.OpenAI), orgs("a", "a", "a", "b"), projects("x", "y", "y", "z"))
				elsewhere := script{"k0": {lacks()}, "k1": {lacks()}, "k2": {lacks()}}
				var asked []string
				err := p.Do(t.Context(), Want{Model: "m", Pins: []string{"file-z"}}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					asked = append(asked, l.Key())
					if r := elsewhere[l.Key()]; r != nil {
						return r[0].verdict, r[0].err
					}
					l.Release(Usage{})
					return verdict.Success(), nil
				})
				if err != nil || asked[len(asked)-1] != "k3" {
					t.Fatalf("asked %v: %v", asked, err)
				}
				for range 5 {
					naming(t, p, "k3", nil, nil, "file-z")
				}
			})
		})
	}
}

func TestPinnedCall(t *testing.T) {
	three := []func(*Options){family(verdict.OpenAI), orgs("a", "a", "a", "b"), projects("x", "y", "y", "z")}
	made := func(t *testing.T, with ...func(*Options)) (*rig, *Pool) {
		t.Helper()
		r := newRig(t)
		p := r.pool(4, slices.Concat(three, with)...)
		turn{Want{Pins: []string{"file-y"}}, 0, script{"k0": {lacks()}}}.take(t, p, "k0 k1", nil) // found with k1
		return r, p
	}
	for name, test := range map[string]func(*testing.T){
		"is served by its project": func(t *testing.T) {
			_, p := made(t)
			naming(t, p, "k1", nil, nil, "file-y")
			naming(t, p, "k0", nil, nil, "file-unknown")
			naming(t, p, "k0", nil, nil, "file-unknown") // pinned by then, too
			naming(t, p, "k1", nil, nil, "file-new", "file-y", "file-unknown")
			naming(t, p, "k1", nil, nil, "file-new")
		},
		"uses every key of its project": func(t *testing.T) {
			_, p := made(t)
			naming(t, p, "k1 k2", nil, script{"k1": {rejected()}}, "file-y")
			naming(t, p, "k2", nil, nil, "file-y")
		},
		"is not served by another project while its own is cooling": func(t *testing.T) {
			r, p := made(t)
			naming(t, p, "k1", pinnedOut(OutcomeRateLimited, 90*time.Second), script{"k1": {limited(90 * time.Second)}}, "file-y")
			time.Sleep(30 * time.Second)
			naming(t, p, "", pinnedOut(OutcomeRateLimited, time.Minute), nil, "file-y")
			naming(t, p, "k3", nil, nil)
			time.Sleep(time.Minute)
			naming(t, p, "k1", nil, nil, "file-y")
			if got := r.pools[0].book.series.exhaustions[0].Load(); got != 2 {
				t.Errorf("%d exhaustions, want 2", got)
			}
		},
		"waits for its project": func(t *testing.T) {
			_, p := made(t, maxWait(time.Minute))
			start := time.Now()
			naming(t, p, "k1 k1", nil, script{"k1": {limited(40 * time.Second)}}, "file-y")
			if got := time.Since(start); got != 40*time.Second {
				t.Errorf("it took %v, want 40s", got)
			}
		},
		"fails when its project is rejected": func(t *testing.T) {
			_, p := made(t)
			naming(t, p, "k1 k2", pinnedOut(OutcomeAuthFailed, 0), script{"k1": {rejected()}, "k2": {rejected()}}, "file-y")
			naming(t, p, "", pinnedOut(OutcomeAuthFailed, 0), nil, "file-y")
			naming(t, p, "k0", nil, nil)
		},
		"is served elsewhere if its project says that it has it not": func(t *testing.T) {
			_, p := made(t)
			naming(t, p, "k1 k0", nil, script{"k1": {lacks()}}, "file-y")
			naming(t, p, "k0", nil, nil, "file-y")
		},
		"has what its project says if nobody has it": func(t *testing.T) {
			_, p := made(t)
			naming(t, p, "k1 k0 k3", refusal("not found"), script{"k1": {lacks()}, "k0": {lacks()}, "k3": {lacks()}}, "file-y")
		},
		"stays with its project if the request is too large": func(t *testing.T) {
			_, p := made(t)
			naming(t, p, "k1", refusal("large"), script{"k1": {tooLarge("large")}}, "file-y")
			naming(t, p, "k1", nil, nil, "file-y")
		},
		"goes by the strategy if no key of its project is for the model": func(t *testing.T) {
			_, p := made(t, func(o *Options) {
				for i := range o.Keys {
					o.Keys[i].Models = []string{"m", "other"}
				}
				o.Keys[1].Models, o.Keys[2].Models = []string{"m"}, []string{"m"}
			})
			turn{want: Want{Model: "other", Pins: []string{"file-y"}}}.take(t, p, "k0", nil)
		},
		"follows its key into another pool": func(t *testing.T) {
			r, old := made(t)
			p := r.pool(4, slices.Concat(three, []func(*Options){func(o *Options) { o.Keys = []Key{o.Keys[0], o.Keys[2], o.Keys[3]} }})...)
			p.Adopt(old)
			naming(t, p, "k2", nil, nil, "file-y") // k1 is gone, its project is not
			q := r.pool(4, slices.Concat(three, []func(*Options){func(o *Options) { o.Keys = []Key{o.Keys[0], o.Keys[3]} }})...)
			q.Adopt(p)
			naming(t, q, "k0 k3", nil, script{"k0": {lacks()}}, "file-y") // nothing of it is left
			naming(t, q, "k3", nil, nil, "file-y")
		},
		"keeps a key that is draining": func(t *testing.T) {
			_, p := made(t)
			p.members[1].key.draining, p.members[2].key.draining = true, true
			naming(t, p, "k1", nil, nil, "file-y")
		},
	} {
		t.Run(name, func(t *testing.T) { synctest.Test(t, test) })
	}
}

func TestScopeThatIsLearnedLaterWidensAPin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(3, family(verdict.OpenAI))
		makes(t, old, Want{}, "file-0")
		p := r.pool(3, family(verdict.OpenAI), projects("x", "y", "x"))
		p.Adopt(old)
		naming(t, p, "k0 k2", nil, script{"k0": {rejected()}}, "file-0")
		naming(t, p, "k2", nil, nil, "file-0")
	})
}

func TestSealedCallStaysWithItsOrganization(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, family(verdict.OpenAI), orgs("a", "b", "a"), strategy(RoundRobin))
		sealed := Want{Session: "s", Sealed: true}
		turn{want: Want{Session: "s"}}.take(t, p, "k0", nil)
		turn{sealed, 0, script{"k0": {rejected()}}}.take(t, p, "k0 k2", nil)
		turn{sealed, 0, script{"k2": {limited(time.Minute)}}}.take(t, p, "k2", pinnedOut(OutcomeRateLimited, time.Minute))
		turn{want: Want{Session: "s"}}.take(t, p, "k1", nil) // without its reasoning it may go
		turn{want: sealed}.take(t, p, "k1", nil)             // what it has now is from there
		time.Sleep(time.Minute)
		foreign := reply{verdict: verdict.Verdict{
			Action: verdict.NextKey, Scope: verdict.Scope{Level: verdict.Organization}, Reason: verdict.ModelAccess,
		}, err: refusal("invalid_encrypted_content")}
		turn{sealed, 0, script{"k1": {foreign}}}.take(t, p, "k1 k2", nil)
		turn{want: Want{Session: "new", Sealed: true}}.take(t, p, "k2", nil) // by turns: its organization is not known
	})
}

func TestSealedCallStaysThoughAffinityIsOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, family(verdict.OpenAI), orgs("a", "b"), strategy(RoundRobin), func(o *Options) { o.Affinity = AffinityOff })
		says(t, p, "s", "k0")
		says(t, p, "s", "k1")
		for range 3 {
			turn{want: Want{Session: "s", Sealed: true}}.take(t, p, "k1", nil)
		}
	})
}

// A conversation that is named only by its last answer is a session all the same.
func TestChainOfAnswersIsASession(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3, strategy(RoundRobin), family(verdict.OpenAI), orgs("a", "b", "c"), projects("x", "y", "z"))
		makes(t, p, Want{Session: "s", Begins: true}, "resp_1")
		makes(t, p, Want{Pins: []string{"resp_1"}}, "resp_2")
		makes(t, p, Want{Pins: []string{"resp_2"}}, "resp_3")
		if got := p.Status(); got.Keys[0].Sessions != 1 || got.Pins != 3 {
			t.Errorf("%d sessions, %d pins, want 1 and 3", got.Keys[0].Sessions, got.Pins)
		}
		turn{want: Want{Session: "s"}}.take(t, p, "k0", nil)
	})
}

// keeps is as if an answer to the key had said that these are kept now.
func keeps(p *Pool, key int, ids ...string) {
	(&Lease{pool: p, member: p.members[key]}).Remember(ids...)
}

func TestPinsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		keeps(p, 1, "first", "second")
		for i := range maxPins - 2 {
			keeps(p, 1, strconv.Itoa(i))
		}
		naming(t, p, "k1", nil, nil, "first") // from here on it is not the oldest
		keeps(p, 1, "one more", "", strings.Repeat("x", maxPinName+1))
		if got := p.Status().Pins; got != maxPins {
			t.Errorf("%d pins, want %d", got, maxPins)
		}
		naming(t, p, "k1", nil, nil, "first")
		naming(t, p, "k0", nil, nil, "second")
		naming(t, p, "k0", nil, nil, strings.Repeat("x", maxPinName+1))
		naming(t, p, "k0", nil, nil, "")
	})
}

func TestPinsAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		keeps(p, 1, "a", "b", "c", "d", "e")
		time.Sleep(pinLife)
		naming(t, p, "k1", nil, nil, "e")
		time.Sleep(time.Second)
		naming(t, p, "k0", nil, nil, "a")
		keeps(p, 1, "f")
		keeps(p, 1, "g")
		if got := p.Status().Pins; got != 4 { // e, a, f, g
			t.Errorf("%d pins are left", got)
		}
		naming(t, p, "k1", nil, nil, "e")
	})
}

// In the line, what is to be said of a call that only one project can serve is not
// what is to be said of the others.
func TestPinnedCallsInLineHoldNobodyUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, maxWait(time.Minute))
		keeps(p, 0, "file-0")
		for i, out := range []time.Duration{30 * time.Second, 10 * time.Second} {
			v := limited(out).verdict
			v.Sent = time.Now()
			(&Lease{pool: p, member: p.members[i], model: "m"}).Judge(v)
		}
		c := newCrowd(t)
		c.want(t.Context(), p, "pinned", Want{Pins: []string{"file-0"}}, good())
		c.call(t.Context(), p, "free", good())
		c.want(t.Context(), p, "too", Want{Pins: []string{"file-0"}}, good())
		c.call(t.Context(), p, "last", good())
		time.Sleep(5 * time.Second)
		if _, err := p.Revive("k1"); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		c.was("free k1@5s", "last k1@5s", "pinned k0@30s", "too k0@30s")
		idle(t, p)
	})
}

// What a call needs is with a key that the operator has taken out of use: it is told so,
// whatever other keys there are.
func TestPinnedCallSaysThatItsKeyIsWithheld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, family(verdict.OpenAI))
		makes(t, p, Want{}, "file-a")
		mustBench(t, p, "k0", 0)
		naming(t, p, "", &ExhaustedError{Provider: "p", Outcome: OutcomeAuthFailed, Withheld: true, Pinned: true}, script{}, "file-a")
		naming(t, p, "k1", nil, script{"k1": {good()}})
	})
}
