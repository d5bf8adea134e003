package ledger_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"

	"github.com/google/go-cmp/cmp"
)

// fill sets every field below v to something of its own, each slice to n elements.
func fill(v reflect.Value, n int, next *int) {
	*next++
	switch v.Kind() { //nolint:exhaustive // an exchange is made of these
	case reflect.String:
		v.SetString(fmt.Sprintf("text %d", *next))
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*next))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Uint8:
		v.SetUint(uint64(*next % 256))
	case reflect.Interface:
		v.Set(reflect.ValueOf(fmt.Errorf("error %d", *next)))
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		for i := range n {
			fill(v.Index(i), n, next)
		}
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(time.Date(2026, 11, 23, 9, 0, 0, *next*1000, time.UTC)))
			return
		}
		for _, field := range v.Fields() {
			fill(field, n, next)
		}
	default:
		panic("the test does not know " + v.Kind().String())
	}
}

// full is an exchange in which nothing is left out.
func full(n int) *ledger.Exchange {
	e, next := new(ledger.Exchange), 0
	fill(reflect.ValueOf(e).Elem(), n, &next)
	return e
}

// texts compares errors by what they say.
var texts = cmp.Comparer(func(a, b error) bool {
	return (a == nil) == (b == nil) && (a == nil || a.Error() == b.Error())
})

func TestCloneCopiesEverything(t *testing.T) {
	for _, n := range []int{0, 1, 2} {
		e := full(n)
		got := e.Clone()
		e.Principal.Secret, e.Principal.Header = "", ""
		if diff := cmp.Diff(e, got, texts); diff != "" {
			t.Errorf("%d of each (-exchange +copy):\n%s", n, diff)
		}
	}
}

// zero clears what v refers to, in place.
func zero(v reflect.Value) {
	switch v.Kind() { //nolint:exhaustive // nothing else refers to anything
	case reflect.Pointer:
		zero(v.Elem())
	case reflect.Slice:
		for i := range v.Len() {
			zero(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Type().Field(i).IsExported() {
				zero(v.Field(i))
			}
		}
	}
	if v.CanSet() && v.Kind() != reflect.Slice {
		v.SetZero()
	}
}

func TestCloneSharesNothing(t *testing.T) {
	for _, n := range []int{1, 3} {
		e, want := full(n), full(n).Clone()
		got := e.Clone()
		zero(reflect.ValueOf(e).Elem())
		if e.ID != "" {
			t.Fatal("the exchange was not cleared")
		}
		if diff := cmp.Diff(want, got, texts); diff != "" {
			t.Errorf("a change of the exchange shows in its copy:\n%s", diff)
		}
	}
}

func TestCloneSurvivesJSON(t *testing.T) {
	for _, n := range []int{0, 1, 2} {
		want := full(n).Clone()
		data, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		got := new(ledger.Exchange)
		if err := json.Unmarshal(data, got); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%d of each:\n%s", n, diff)
		}
	}
}

func TestCloneKeepsNoSecret(t *testing.T) {
	e := &ledger.Exchange{Principal: ledger.Principal{Name: "ci", Secret: "sk-very-secret", Header: "X-Api-Key"}}
	if got := e.Clone().Principal; got != (ledger.Principal{Name: "ci"}) {
		t.Errorf("the copy's principal is %+v", got)
	}
	if e.Principal.Secret == "" {
		t.Error("the exchange has lost its own")
	}
}

func TestCloneBounds(t *testing.T) {
	long := strings.Repeat("é", 1000)
	e := &ledger.Exchange{
		Model: long, Session: "x" + long, Prompt: long, Err: errors.New(strings.Repeat("z", 10_000)),
		Answers: []ledger.Answer{{Call: long}}, Turns: []llm.Turn{{ID: long, Calls: []llm.ToolCall{{ID: long, Arguments: []byte(long)}}}},
		Tools: []ledger.ToolUse{{Tool: long}},
	}
	c := e.Clone()
	for name, got := range map[string]string{
		"model": c.Model, "session": c.Session, "answer": c.Answers[0].Call, "turn": c.Turns[0].ID, "call": c.Turns[0].Calls[0].ID, "tool": c.Tools[0].Tool,
	} {
		if len(got) > 512 || len(got) < 511 || !utf8.ValidString(got) {
			t.Errorf("%s has %d bytes: %.20q…", name, len(got), got)
		}
	}
	if len(c.Err.Error()) != 4096 {
		t.Errorf("the error has %d bytes", len(c.Err.Error()))
	}
	if c.Prompt != long || string(c.Turns[0].Calls[0].Arguments) != long {
		t.Error("what the operator wants to keep is cut")
	}
}

func TestCloneLeavesDecisionsOut(t *testing.T) {
	decisions := []ledger.Decision{{Key: "a", What: "served"}}
	for _, tt := range []struct {
		e    ledger.Exchange
		want int
	}{
		{ledger.Exchange{Status: ledger.Completed}, 0},
		{ledger.Exchange{Status: ledger.Completed, Eventful: true}, 1},
		{ledger.Exchange{Status: ledger.Failed}, 1},
		{ledger.Exchange{Status: ledger.Cancelled}, 1},
	} {
		tt.e.Decisions = decisions
		if got := len(tt.e.Clone().Decisions); got != tt.want {
			t.Errorf("%s, eventful %t: %d decisions, want %d", tt.e.Status, tt.e.Eventful, got, tt.want)
		}
	}
}

// A copy's times are what a monotonic clock says of them, in UTC, without it.
func TestCloneTimes(t *testing.T) {
	start := time.Now()
	e := &ledger.Exchange{
		Start: start.In(time.FixedZone("", 3600)), End: start.Add(time.Second),
		Decisions: []ledger.Decision{{At: start, Until: start.AddDate(200_000, 0, 0)}}, Eventful: true,
	}
	c := e.Clone()
	if c.End.Sub(c.Start) != time.Second || !c.FirstEvent.IsZero() {
		t.Errorf("from %v to %v, first event %v", c.Start, c.End, c.FirstEvent)
	}
	for _, at := range []time.Time{c.Start, c.End, c.Decisions[0].At} {
		if at != at.Round(0) || at.Location() != time.UTC {
			t.Errorf("%v has a monotonic reading or another zone", at)
		}
	}
	if _, err := json.Marshal(c); err != nil {
		t.Error(err)
	}
}

// usual is what most exchanges are like.
func usual() *ledger.Exchange {
	now := time.Now()
	return &ledger.Exchange{
		ID: "req_kb0193f0000000a1b2c3d4e5f6", Start: now, Principal: ledger.Principal{Name: "ci", Metadata: `{"team":"search"}`, Credential: ledger.Pooled},
		Provider: "openai", Route: "/v1/chat/completions", Method: "POST", Bridged: true, Admitted: true, Model: "gpt-5", Client: "codex", Version: "1.2.3",
		Session: "0193f000-0000-7000-8000-000000000000", Signal: "session_id", FirstEvent: now, End: now, HTTPStatus: 200, Status: ledger.Completed,
		Attempts:  []ledger.Attempt{{Key: "main", Hint: "sk-…abcd", Sent: now, Duration: time.Second, Status: 200, Action: "relay"}},
		Turns:     []llm.Turn{{ID: "chatcmpl-1", Model: "gpt-5-2025-08-07", Stop: "stop", Reported: true, Complete: true, Usage: llm.Usage{Input: 10, Output: 20}}},
		Charges:   []ledger.Charge{{Model: "gpt-5", Picos: 1, Version: "2026-11"}},
		Decisions: []ledger.Decision{{At: now, Key: "main", What: "handed_out"}},
	}
}

func TestCloneIsCheap(t *testing.T) {
	e := usual()
	if n := testing.AllocsPerRun(100, func() { e.Clone() }); n > 1 {
		t.Errorf("%v allocations", n)
	}
	failed := usual()
	failed.Status, failed.Err = ledger.Failed, fault.New(fault.Timeout, "late")
	if n := testing.AllocsPerRun(100, func() { failed.Clone() }); n > 5 {
		t.Errorf("%v allocations of a failed one", n)
	}
}

func BenchmarkClone(b *testing.B) {
	e := usual()
	b.ReportAllocs()
	for b.Loop() {
		e.Clone()
	}
}
