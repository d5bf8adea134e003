package chaos

import (
	"slices"
	"strings"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/simulator"
	"keybridge/internal/store"
)

var noon = time.Date(2026, time.November, 23, 12, 0, 0, 0, time.UTC)

// honest is an account in which all is well, after a kill at noon.
func honest() account {
	used := llm.Usage{Input: 10, Output: 7, CacheRead: 20, CacheWrite: 5, Reasoning: 3}
	a := account{kills: []kill{{noon, noon.Add(20 * time.Millisecond)}}, window: 300 * time.Millisecond}
	serve := func(id string, s simulator.Served) {
		s.ID, s.Usage = id, usageOf(used)
		a.served = append(a.served, s)
	}
	record := func(id string, at time.Time, w store.Whole, turns ...store.Turn) {
		w.ID, w.Started, w.Turns, w.TurnCount = id, at, turns, len(turns)
		w.Caller, w.Thread = "ann", id
		if w.Credential == "" {
			w.Credential = ledger.Pooled
		}
		words := ""
		for _, t := range turns {
			w.Usage = w.Usage.Add(t.Usage)
			words = t.Message
		}
		if w.Status != ledger.Lost {
			w.Prompt = &store.Text{Text: "after " + words}
		}
		a.whole = append(a.whole, &w)
	}
	had := func(answer string, at time.Time, n note) {
		n.caller, n.began, n.ended, n.answer = "ann", at, at.Add(10*time.Millisecond), answer
		n.asked = "after " + answer
		if n.outcome == "" {
			n.outcome, n.status = whole, 200
		}
		a.notes = append(a.notes, n)
	}
	complete := store.Turn{Reported: true, Complete: true, Usage: used}
	turn := func(t store.Turn, message string) store.Turn {
		t.Message = message
		return t
	}
	completed := store.Whole{Interception: store.Interception{Status: ledger.Completed}}
	failed := store.Whole{Interception: store.Interception{Status: ledger.Failed, HTTPStatus: 503}}

	early := noon.Add(-time.Hour)
	serve("asks", simulator.Served{Reports: true, Whole: true})
	record("r1", early, completed, turn(complete, "asks"))
	had("asks", early, note{})

	serve("answers", simulator.Served{Reports: true, Whole: true})
	second := completed
	second.Parent = "r1"
	record("r2", early.Add(time.Second), second, turn(complete, "answers"))
	a.whole[1].Thread = "r1"
	had("answers", early.Add(time.Second), note{after: "asks"})

	serve("silent", simulator.Served{Whole: true})
	own := completed
	own.Credential, own.Stream = ledger.BYOK, true
	record("r3", early, own, turn(store.Turn{Complete: true}, "silent"))
	had("silent", early, note{stream: true, byok: true})

	serve("cut", simulator.Served{Reports: true, Begun: simulator.Usage{Input: 10, Output: 1}})
	record("r4", early, failed, turn(store.Turn{Reported: true, Usage: llm.Usage{Input: 10, Output: 1}}, "cut"))
	had("cut", early, note{outcome: broken, status: 200})

	record("r5", early, failed)
	had("", early, note{outcome: refused, status: 503, exchange: "r5"})

	relayed := failed
	relayed.HTTPStatus = 400
	record("r7", early, relayed)
	a.whole[len(a.whole)-1].Prompt.Text = "after all"
	had("", early, note{outcome: refused, status: 400})
	a.notes[len(a.notes)-1].asked = "after all"

	serve("young", simulator.Served{Reports: true, Whole: true})
	had("young", noon.Add(-100*time.Millisecond), note{})
	serve("dying", simulator.Served{Reports: true, Whole: true})
	had("dying", noon.Add(5*time.Millisecond), note{})
	record("r6", noon.Add(-5*time.Millisecond), store.Whole{Interception: store.Interception{Status: ledger.Lost}})
	had("", noon.Add(-5*time.Millisecond), note{outcome: broken})
	had("", noon.Add(-time.Hour), note{outcome: unreached})

	sums := map[string]*store.Used{}
	for _, w := range a.whole {
		by := []string{string(w.Status), w.Provider, w.Model, string(w.Credential), w.Caller}
		u := sums[strings.Join(by, " ")]
		if u == nil {
			u = &store.Used{By: by}
			sums[strings.Join(by, " ")] = u
		}
		u.Requests++
		u.Usage = u.Usage.Add(w.Usage)
	}
	for _, u := range sums {
		a.usage = append(a.usage, *u)
	}
	return a
}

// without is the account with an interception, or its note, taken away, and its sum kept.
func (a *account) without(id string) {
	a.whole = slices.DeleteFunc(a.whole, func(w *store.Whole) bool { return w.ID == id })
}

func (a *account) find(id string) *store.Whole {
	for _, w := range a.whole {
		if w.ID == id {
			return w
		}
	}
	return nil
}

// The comparison that makes the chaos worth while finds what it is for.
func TestCompareFindsFaults(t *testing.T) {
	if f, found := compare(honest()); len(found) > 0 || f.young != 2 || f.trips != 1 || f.own != 1 || f.cut != 1 || f.begun != 1 || f.refused != 2 || f.metered != f.recorded {
		t.Fatalf("of what is well it says %q, and counts %+v", found, f)
	}
	turn := func(w *store.Whole) *store.Turn { return &w.Turns[0] }
	for name, tt := range map[string]struct {
		doctor func(a *account)
		says   string
	}{
		"a row is missing":             {func(a *account) { a.without("r3") }, "a client had the answer silent"},
		"an old row is missing":        {func(a *account) { a.without("r2") }, "a kill came 59m58.99s later"},
		"another's refusal is missing": {func(a *account) { a.without("r7") }, "a client had an answer with status 400"},
		"a cut answer is missing":      {func(a *account) { a.without("r4") }, "a client had the answer cut"},
		"a cut answer that had no name is missing": {func(a *account) {
			a.notes[3].answer = ""
			a.without("r4")
		}, "a client had an answer with status 200"},
		"a refusal is missing":              {func(a *account) { a.without("r5") }, "a client had the refusal r5"},
		"a refusal is a success":            {func(a *account) { a.find("r5").Status = ledger.Completed }, "r5: a client was refused with 503, recorded is completed"},
		"a row is doubled":                  {func(a *account) { a.whole = append(a.whole, a.find("r1")) }, "r1 is recorded twice"},
		"an answer is doubled":              {func(a *account) { turn(a.find("r3")).Message = "asks" }, "the answer asks is recorded twice, in r1 and r3"},
		"a token too many":                  {func(a *account) { turn(a.find("r1")).Usage.Output++ }, "r1: the answer asks cost"},
		"a token in the wrong place":        {func(a *account) { u := &turn(a.find("r1")).Usage; u.Input--; u.CacheRead++ }, "r1: the answer asks cost"},
		"a sum that is none of its turns'":  {func(a *account) { a.find("r1").Usage.Input++ }, "r1: its turns used"},
		"a turn is missing":                 {func(a *account) { a.find("r5").TurnCount = 1 }, "r5 has 0 of 0 attempts and 0 of 1 turns"},
		"an attempt is missing":             {func(a *account) { a.find("r5").AttemptCount = 1 }, "r5 has 0 of 1 attempts"},
		"the sums are doubled":              {func(a *account) { a.usage = append(a.usage, a.usage[0]) }, "the interceptions come to"},
		"a sum of nothing":                  {func(a *account) { a.usage = append(a.usage, store.Used{By: []string{"x"}}) }, "x: there are no interceptions"},
		"a sum counts no requests":          {func(a *account) { a.usage[0].Requests-- }, "the interceptions come to"},
		"a wrong parent":                    {func(a *account) { a.find("r2").Parent = "r3" }, "r2 answers a call of r1"},
		"no parent":                         {func(a *account) { a.find("r2").Parent = "" }, "r2 answers a call of r1"},
		"another thread":                    {func(a *account) { a.find("r2").Thread = "r2" }, "r2 answers a call of r1"},
		"a parent that nobody named":        {func(a *account) { a.find("r3").Parent = "r1" }, "r3 goes on from r1"},
		"another session":                   {func(a *account) { a.find("r1").Session = "s" }, `r1: caller "ann", session "s"`},
		"another caller":                    {func(a *account) { a.find("r1").Caller = "bob" }, `r1: caller "bob"`},
		"another's key":                     {func(a *account) { a.find("r3").Credential = ledger.Pooled }, "byok true"},
		"who pays elsewhere is charged":     {func(a *account) { a.find("r3").Picos = 1 }, "r3: who brought a key is charged 1"},
		"a cut answer with another's usage": {func(a *account) { turn(a.find("r4")).Usage.Output = 2 }, "r4: the answer cut was cut"},
		"a cut answer is reported whole":    {func(a *account) { turn(a.find("r4")).Complete = true }, "r4: the answer cut cost"},
		"a whole answer is cut":             {func(a *account) { turn(a.find("r1")).Complete = false }, "r1: a client had the answer asks of  whole"},
		"a whole answer has failed":         {func(a *account) { a.find("r1").Status = ledger.Failed }, "recorded is failed"},
		"what it cost is not known": {func(a *account) {
			*turn(a.find("r1")) = store.Turn{Message: "asks", Complete: true}
		}, "r1: the answer asks says what it cost"},
		"an answer that nobody served": {func(a *account) { turn(a.find("r4")).Message = "?" }, "r4: nobody has served the answer ?"},
		"it is lost without a kill":    {func(a *account) { a.find("r6").Started = noon.Add(time.Second) }, "r6 is lost, begun at 12:00:01.000, and there was no kill after that"},
		"more are lost than were served": {func(a *account) {
			for _, w := range a.whole {
				w.Started, w.Status = noon.Add(-time.Millisecond), ledger.Lost
			}
		}, "7 are lost, the 3. begun at 11:59:59.999; at the kill at 12:00:00.000 3 were being served"},
		"what is lost was not being served": {func(a *account) { a.find("r6").Started = noon.Add(-time.Minute) }, "1 are lost, the 1. begun at 11:59:00.000"},
		"it is open":                        {func(a *account) { a.open = 1 }, "1 rows are left open"},
		"it is open after the last kill": {func(a *account) {
			a.find("r6").Status, a.find("r6").Started, a.unsettled = ledger.Open, noon.Add(time.Second), true
		}, "r6 is open"},
		"the gateway says what is lost":     {func(a *account) { a.dropped = 2 }, "count 2 exchanges as dropped"},
		"the spool is not empty":            {func(a *account) { a.spool = []string{"record-1"} }, "record-1 is left in the spool"},
		"an answer began when all was over": {func(a *account) { a.notes[7].began = noon.Add(20 * time.Millisecond) }, "a client had the answer dying"},
		"an answer was old when it ended":   {func(a *account) { a.notes[6].ended = noon.Add(-a.window) }, "a kill came 300ms later"},
	} {
		t.Run(name, func(t *testing.T) {
			a := honest()
			tt.doctor(&a)
			if _, found := compare(a); !strings.Contains(strings.Join(found, "\n"), tt.says) {
				t.Errorf("says %q, want %q", found, tt.says)
			}
		})
	}
}
