package keypool

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

var oneModel = verdict.Scope{Level: verdict.Organization, Model: true}

func TestDenialIsRememberedOnlyIfAnotherKeyServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		want := expect{keys: map[string]State{"k0": Valid, "k1": Valid}}

		// A mistyped model: every key is asked, the last answer returned, nothing kept.
		for range 2 {
			call(t, p, script{"k0": {denied(oneModel, "404 a")}, "k1": {denied(oneModel, "404 b")}}, "k0 k1", refusal("404 b"))
		}
		want.failovers = map[verdict.Reason]int{"model_access": 2}
		want.attempts = []int{2, 2}
		r.families(&want)

		// k1 has it: k0 is passed over for an hour, for this model.
		call(t, p, script{"k0": {denied(oneModel, "404 a")}, "k1": {good()}}, "k0 k1", nil)
		want.failovers["model_access"] = 3
		want.scoped = map[string]int{"key": 1}
		want.attempts = []int{2, 2, 2}
		r.families(&want)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		if keys, err := do(t, p, Want{Model: "other"}, script{"k0": {good()}}); err != nil || keys[0] != "k0" {
			t.Errorf("another model was asked of %v: %v", keys, err)
		}
		time.Sleep(time.Hour - time.Second)
		call(t, p, script{"k1": {good()}}, "k1", nil)
		time.Sleep(time.Second)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		want.scoped = nil
		want.attempts = []int{2, 2, 2, 1, 1, 1, 1}
		r.families(&want)
	})
}

func TestOnlyDeniedKeysLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(3)
		call(t, p, script{"k0": {denied(oneModel, "404 a")}, "k1": {denied(oneModel, "404 b")}, "k2": {good()}}, "k0 k1 k2", nil)
		call(t, p, script{"k2": {rejected()}, "k0": {denied(oneModel, "404 again")}}, "k2 k0", refusal("404 again"))
		// It may have been given access by now.
		call(t, p, script{"k0": {good()}}, "k0", nil)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		r.families(&expect{
			keys:        map[string]State{"k0": Valid, "k1": Valid, "k2": Permanent},
			transitions: map[verdict.Reason]int{"unauthorized": 1},
			failovers:   map[verdict.Reason]int{"model_access": 2, "unauthorized": 1},
			attempts:    []int{3, 2, 1, 1}, scoped: map[string]int{"key": 1},
		})
	})
}

func TestDenialScopes(t *testing.T) {
	organizations := func(o *Options) {
		for i := range o.Keys {
			o.Keys[i].Organization = []string{"a", "a", "b"}[i]
		}
	}
	for _, tt := range []struct {
		name  string
		scope verdict.Scope
		first string // the keys that the denial leaves, for the same request
		same  Want   // still denied to k0
		other Want   // not denied to k0
		gauge map[string]int
	}{
		{
			"organization, model",
			verdict.Scope{Level: verdict.Organization, Model: true},
			"k2",
			Want{Model: "m", Endpoint: "/other"},
			Want{Model: "other"},
			map[string]int{"organization": 1},
		},
		{
			"key, endpoint",
			verdict.Scope{Level: verdict.Key, Endpoint: true},
			"k1",
			Want{Model: "other", Endpoint: "/v1/messages"},
			Want{Endpoint: "/other"},
			map[string]int{"key": 1},
		},
		{
			"key, model and endpoint",
			verdict.Scope{Level: verdict.Key, Model: true, Endpoint: true},
			"k1",
			Want{},
			Want{Endpoint: "/other"},
			map[string]int{"key": 1},
		},
		{"unknown project is the key", verdict.Scope{Level: verdict.Project, Model: true}, "k1", Want{}, Want{Model: "other"}, map[string]int{"key": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t)
			p := r.pool(3, organizations)
			call(t, p, script{"k0": {denied(tt.scope, "no")}, tt.first: {good()}}, "k0 "+tt.first, nil)
			for _, w := range []Want{{}, tt.same} {
				if keys, err := do(t, p, w, script{tt.first: {good()}}); err != nil || keys[0] != tt.first {
					t.Errorf("%+v was asked of %v: %v", w, keys, err)
				}
			}
			if keys, err := do(t, p, tt.other, script{"k0": {good()}}); err != nil || keys[0] != "k0" {
				t.Errorf("%+v was asked of %v: %v", tt.other, keys, err)
			}
			r.families(&expect{
				keys: map[string]State{"k0": Valid, "k1": Valid, "k2": Valid}, failovers: map[verdict.Reason]int{"model_access": 1},
				attempts: []int{2, 1, 1, 1}, scoped: tt.gauge,
			})
		})
	}
}

func TestDenialsAreABoundedLRU(t *testing.T) {
	r := newRig(t)
	p := r.pool(2)
	serve := func(model string, keys ...string) {
		t.Helper()
		s := script{"k1": {good()}}
		if len(keys) > 1 {
			s["k0"] = []reply{denied(oneModel, "no")}
		}
		got, err := do(t, p, Want{Model: model}, s)
		if err != nil || strings.Join(got, " ") != strings.Join(keys, " ") {
			t.Fatalf("%s was asked of %v, want %v: %v", model, got, keys, err)
		}
	}
	for i := range maxDenials {
		serve(fmt.Sprint("m", i), "k0", "k1")
	}
	serve("m0", "k1") // used: m1 is the oldest now
	serve("one more", "k0", "k1")
	serve("m0", "k1")
	serve("m1", "k0", "k1")
	listed := 0
	p.book.denials.lru.each(func(denial, *time.Time) { listed++ })
	if n := p.book.denials.lru.len(); n != maxDenials || listed != maxDenials {
		t.Errorf("%d denials in the list and %d in the index, want %d", listed, n, maxDenials)
	}
}

func TestUnknownRefusalIsConvictedOnEvidence(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2)
		// All refuse alike: the upstream's own answer, and nothing is marked.
		call(t, p, script{"k0": {suspected("403 a")}, "k1": {suspected("403 b")}}, "k0 k1", refusal("403 b"))
		want := expect{
			keys: map[string]State{"k0": Valid, "k1": Valid}, failovers: map[verdict.Reason]int{"forbidden": 1}, attempts: []int{2},
		}
		r.families(&want)

		for i, d := range []time.Duration{time.Minute, 2 * time.Minute} {
			call(t, p, script{"k0": {suspected("403")}, "k1": {good()}}, "k0 k1", nil)
			want.keys["k0"] = Temporary
			want.transitions = map[verdict.Reason]int{"forbidden": i + 1}
			want.failovers["forbidden"]++
			want.attempts = append(want.attempts, 2)
			want.next, want.scoped = d.Seconds(), map[string]int{"key": 1}
			want.recoveries = map[string]int{"cooldown": i}
			r.families(&want)
			call(t, p, script{"k1": {good()}}, "k1", nil)
			want.attempts = append(want.attempts, 1)
			time.Sleep(d)
		}
	})
}

func TestNoConvictionWithoutAServedRequest(t *testing.T) {
	r := newRig(t)
	p := r.pool(2)
	// The second key refuses for another reason: that shows nothing.
	call(t, p, script{"k0": {suspected("403")}, "k1": {rejected()}}, "k0 k1", refusal("403"))
	r.families(&expect{
		keys: map[string]State{"k0": Valid, "k1": Permanent}, transitions: map[verdict.Reason]int{"unauthorized": 1},
		failovers: map[verdict.Reason]int{"forbidden": 1}, attempts: []int{2},
	})
}

func TestKeyThatServesInASecondWalkIsNotConvicted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(2, func(o *Options) { o.MaxWait = time.Minute })
		call(t, p, script{"k0": {suspected("403"), good()}, "k1": {limited(5 * time.Second)}}, "k0 k1 k0", nil)
		call(t, p, script{"k0": {denied(oneModel, "404"), good()}, "k1": {limited(5 * time.Second)}}, "k0 k1 k0", nil)
		call(t, p, script{"k0": {good()}}, "k0", nil)
		if st := p.members[0].key.state; st != Valid {
			t.Errorf("k0 is %s", st)
		}
	})
}

func TestTooLargeSkipsTheOrganization(t *testing.T) {
	r := newRig(t)
	p := r.pool(3, func(o *Options) { o.Keys[0].Organization, o.Keys[1].Organization = "a", "a" })
	call(t, p, script{"k0": {tooLarge("413")}, "k2": {good()}}, "k0 k2", nil)
	call(t, p, script{"k0": {tooLarge("429 a")}, "k2": {tooLarge("429 b")}}, "k0 k2", refusal("429 b"))
	r.families(&expect{
		keys: map[string]State{"k0": Valid, "k1": Valid, "k2": Valid}, failovers: map[verdict.Reason]int{"too_large": 2}, attempts: []int{2, 2},
	})
}
