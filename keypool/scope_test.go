package keypool

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// from adds to an answer whose key it says to be. Workspace "" tells none.
func (r reply) from(organization, workspace string) reply {
	r.header = http.Header{"Anthropic-Organization-Id": {organization}}
	if workspace != "" {
		r.header.Set("Anthropic-Workspace-Id", workspace)
	}
	return r
}

// aside is a refusal that tells nothing of the key, so that the next one is asked.
func aside() reply {
	return reply{verdict: verdict.Verdict{Action: verdict.NextKey, Reason: verdict.TooLarge}, err: refusal("")}
}

// reveal has the n-th key serve a call for a model, which tells where it belongs.
func reveal(t *testing.T, p *Pool, model string, n int, answer reply) {
	t.Helper()
	s := script{fmt.Sprintf("k%d", n): {answer}}
	for i := range n {
		s[fmt.Sprintf("k%d", i)] = []reply{aside()}
	}
	if _, err := do(t, p, Want{Model: model}, s); err != nil {
		t.Fatal(err)
	}
}

// belong reveals the organizations of all keys.
func belong(t *testing.T, p *Pool, organizations ...string) {
	t.Helper()
	for i, o := range organizations {
		reveal(t, p, "other", i, good().from(o, ""))
	}
}

func TestOrganizationIsLearnedFromAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(4)
		belong(t, p, "a", "a", "b", "a")
		// k0's limit is that of all of a: the next attempt leaves the organization.
		call(t, p, script{"k0": {limited(30 * time.Second)}, "k2": {good()}}, "k0 k2", nil)
		r.families(&expect{
			keys:        map[string]State{"k0": Temporary, "k1": Temporary, "k2": Valid, "k3": Temporary},
			transitions: map[verdict.Reason]int{"rate_limited": 3},
			failovers:   map[verdict.Reason]int{"rate_limited": 1, "too_large": 6},
			attempts:    []int{1, 2, 3, 4, 2}, next: 30, scoped: map[string]int{"organization": 1},
		})
		call(t, p, script{"k2": {good()}}, "k2", nil)
		reveal(t, p, "other", 0, good()) // another model is not concerned
		time.Sleep(30 * time.Second)
		call(t, p, script{"k0": {limited(30 * time.Second)}, "k2": {good()}}, "k0 k2", nil)
		idle(t, p)
	})
}

func TestProjectIsLearnedFromAnswers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		for i, workspace := range []string{"x", "x", "y"} {
			reveal(t, p, "other", i, good().from("a", workspace))
		}
		l := limited(30 * time.Second)
		l.verdict.Scope.Level = verdict.Project
		call(t, p, script{"k0": {l}, "k2": {good()}}, "k0 k2", nil)
		call(t, p, script{"k2": {broke()}}, "k2", exhausted(OutcomeQuotaExhausted, 0)) // of the organization of all
	})
}

// The very answer that reveals an organization marks it, and whoever is revealed
// while it is out is out with it: that is no transition.
func TestJoiningThoseWhoAreOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(4)
		call(t, p, script{
			"k0": {limited(30*time.Second).from("a", "")}, // the first of a
			"k1": {limited(20*time.Second).from("a", "")}, // of whom nobody knew
			"k2": {good().from("b", "")},
		}, "k0 k1 k2", nil)
		want := expect{
			keys:        map[string]State{"k0": Temporary, "k1": Temporary, "k2": Valid, "k3": Valid},
			transitions: map[verdict.Reason]int{"rate_limited": 1},
			failovers:   map[verdict.Reason]int{"rate_limited": 2},
			attempts:    []int{3}, next: 30, scoped: map[string]int{"organization": 1},
		}
		r.families(&want)
		reveal(t, p, "other", 3, good().from("a", ""))
		want.keys["k3"] = Temporary
		want.failovers["too_large"] = 3
		want.attempts = []int{3, 4}
		r.families(&want)
		call(t, p, script{"k2": {rejected()}}, "k2", exhausted(OutcomeRateLimited, 30*time.Second))
		want.keys["k2"] = Permanent
		want.transitions["unauthorized"] = 1
		want.exhaustions = map[Outcome]int{OutcomeRateLimited: 1}
		want.attempts = []int{3, 4, 1}
		r.families(&want)
		time.Sleep(30 * time.Second)
		for _, k := range []string{"k0", "k1", "k3"} {
			want.keys[k] = Valid
		}
		want.recoveries = map[string]int{"cooldown": 3}
		want.next, want.scoped = 0, nil
		r.families(&want)
	})
}

// A good answer that was sent after the mark disproves it, whoever gave it.
func TestNewcomerThatServesEndsTheCooldownOfAll(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		call(t, p, script{"k0": {limited(30*time.Second).from("a", "")}, "k1": {good().from("b", "")}}, "k0 k1", nil)
		time.Sleep(time.Minute)
		call(t, p, script{"k0": {limited(30*time.Second).from("a", "")}, "k1": {good().from("b", "")}}, "k0 k1", nil)
		time.Sleep(time.Second)
		call(t, p, script{"k1": {good().from("a", "")}}, "k1", nil) // it has moved, and a serves
		call(t, p, script{"k0": {good()}}, "k0", nil)
	})
}

func TestLearnedScopesOutliveAReload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(3)
		belong(t, old, "a", "a", "b")
		p := r.pool(3)
		p.Adopt(old)
		call(t, p, script{"k0": {limited(30 * time.Second)}, "k2": {good()}}, "k0 k2", nil)
		again := r.pool(3, func(o *Options) { o.Keys[0], o.Keys[2] = o.Keys[2], o.Keys[0] })
		again.Adopt(p)
		call(t, again, script{"k2": {good()}}, "k2", nil)
		for _, k := range again.Status().Keys {
			want := Membership{Name: "a", Evidence: "Anthropic-Organization-Id"}
			switch k.ID {
			case "k0":
				want.Shared = []string{"k1"}
			case "k1":
				want.Shared = []string{"k0"}
			case "k2":
				want.Name = "b"
			}
			if diff := gocmp.Diff(want, k.Organization); diff != "" {
				t.Errorf("%s (-want +got):\n%s", k.ID, diff)
			}
		}
	})
}

// What an answer to a call of before a reload tells is known after it.
func TestCallOfTheOldPoolTeachesTheNewOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		old := r.pool(3)
		belong(t, old, "a")
		c := newCrowd(t)
		slow := limited(30*time.Second).from("a", "").after(time.Second)
		c.call(t.Context(), old, "old", aside(), slow, good())
		p := r.pool(3)
		p.Adopt(old)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		c.was("old k0@0s", "old k1@0s", "old k2@1s")
		call(t, p, script{"k2": {good()}}, "k2", nil) // k1 has taken k0 along
	})
}

func TestConfiguredScopesWin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(4, func(o *Options) {
			o.Keys[0].Organization, o.Keys[1].Organization, o.Keys[2].Organization = "team", "team", "other"
		})
		// The provider tells k0 and k1 apart, k2 and k0 as one; k3 is not configured.
		belong(t, p, "a", "b", "a", "a")
		belong(t, p, "a", "b", "a", "a")
		want := []string{
			`level=WARN msg="scope contradicts the configuration" provider=p key=k1 configured=team header=Anthropic-Organization-Id says=b other_key=k0 other_configured=team other_says=a`,
			`level=WARN msg="scope contradicts the configuration" provider=p key=k2 configured=other header=Anthropic-Organization-Id says=a other_key=k0 other_configured=team other_says=a`,
		}
		if diff := gocmp.Diff(want, strings.Split(strings.TrimSpace(r.log.String()), "\n")); diff != "" {
			t.Errorf("logged (-want +got):\n%s", diff)
		}
		// k3 is where k0 is, by the operator's name for it.
		call(t, p, script{"k0": {limited(time.Minute)}, "k2": {good()}}, "k0 k2", nil)
		var got []Membership
		for _, k := range p.Status().Keys {
			got = append(got, k.Organization)
		}
		if diff := gocmp.Diff([]Membership{
			{Name: "team", Evidence: "configured", Shared: []string{"k1", "k3"}},
			{Name: "team", Evidence: "configured", Shared: []string{"k0", "k3"}},
			{Name: "other", Evidence: "configured"},
			{Name: "team", Evidence: "Anthropic-Organization-Id", Shared: []string{"k0", "k1"}},
		}, got); diff != "" {
			t.Errorf("memberships (-want +got):\n%s", diff)
		}
		// A reload that leaves it so says it again, one that mends it does not.
		r.log.Reset()
		mended := r.pool(4, func(o *Options) { o.Keys[0].Organization, o.Keys[2].Organization = "a", "a" })
		mended.Adopt(p)
		if r.log.Len() > 0 {
			t.Errorf("logged %s", &r.log)
		}
		again := r.pool(4, func(o *Options) { o.Keys[0].Organization, o.Keys[2].Organization = "team", "other" })
		again.Adopt(mended)
		if n := strings.Count(r.log.String(), "contradicts"); n != 2 {
			t.Errorf("logged %d lines, want one for each of the two keys:\n%s", n, &r.log)
		}
	})
}

func TestKeyThatMovesTakesItsOldOrganizationsTroubleOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		belong(t, p, "a", "a")
		call(t, p, script{"k0": {limited(time.Hour)}}, "k0", exhausted(OutcomeRateLimited, time.Hour))
		time.Sleep(movesAfter)
		reveal(t, p, "other", 1, good().from("b", ""))
		call(t, p, script{"k1": {good()}}, "k1", nil)
		for id := range p.book.domains {
			if id.level == verdict.Organization && !strings.HasSuffix(id.name, "\x00a") && !strings.HasSuffix(id.name, "\x00b") {
				t.Errorf("remembers the organization %q", id.name)
			}
		}
	})
}

// An upstream that says something else each time is not followed, and leaves
// nothing behind.
func TestWhatIsLearnedIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		for i := range 1000 {
			call(t, p, script{"k0": {good().from(fmt.Sprint("org-", i), fmt.Sprint("wrkspc-", i))}}, "k0", nil)
			time.Sleep(time.Second)
		}
		if n := len(p.book.domains); n != 4 {
			t.Errorf("%d domains, want two keys, an organization and a project", n)
		}
		if got := p.Status().Keys[0].Organization.Name; got != "org-960" {
			t.Errorf("belongs to %s: it moves once a minute", got)
		}
	})
}

func TestAnswerWithoutScopesUnsaysNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2)
		reveal(t, p, "m", 0, good().from("a", ""))
		refused := rejected()
		refused.header = http.Header{"Anthropic-Workspace-Id": {"x"}}
		reveal(t, p, "m", 0, reply{verdict: verdict.Success(), header: refused.header})
		k := p.Status().Keys[0]
		if k.Organization.Name != "a" || k.Project.Name != "x" || k.Project.Evidence != "Anthropic-Workspace-Id" {
			t.Errorf("%+v", k)
		}
	})
}
