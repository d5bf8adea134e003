package simulator_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

func TestReadOptions(t *testing.T) {
	got, err := simulator.ReadOptions(strings.NewReader(`{
		"keys": [{"provider": "openai", "name": "a", "secret": "sk-a", "organization": "org-1", "project": "proj_1"}],
		"limits": [{"key": "a", "per": "key", "tokens": 10, "requests": 2}],
		"faults": [{"key": "a", "fault": "rate_limit", "wait": "5s", "times": 2}],
		"chunks": 20, "pace": "50ms", "deterministic": true}`))
	want := simulator.Options{
		Keys:   []simulator.Key{{Provider: "openai", Name: "a", Secret: "sk-a", Organization: "org-1", Project: "proj_1"}},
		Limits: []simulator.Limit{{Key: "a", Per: simulator.PerKey, Tokens: 10, Requests: 2}},
		Faults: []simulator.Fault{{Key: "a", Name: "rate_limit", Wait: 5 * time.Second, Times: 2}},
		Chunks: 20, Pace: 50 * time.Millisecond, Deterministic: true,
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for text, says := range map[string]string{
		`{"key": []}`:                    `unknown field "key"`,
		`{"limits": [{"request": 1}]}`:   `unknown field "request"`,
		`{"pace": "fast"}`:               "write it as 50ms",
		`{} {}`:                          "write one",
		`{"faults": [{"name": "x"}]}`:    `unknown field "name"`,
		`{"faults": [{"wait": "soon"}]}`: "write it as 30s",
	} {
		if _, err := simulator.ReadOptions(strings.NewReader(text)); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", text, err, says)
		}
	}
}

func TestParseFault(t *testing.T) {
	got, err := simulator.ParseFault("provider=openai, key=k0,fault=error_first,error=not_member,wait=30s,times=2,model=gpt-*,endpoint=responses")
	want := simulator.Fault{Provider: "openai", Key: "k0", Name: "error_first", Error: "not_member", Wait: 30 * time.Second, Times: 2, Model: "gpt-*", Endpoint: "responses"}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for line, says := range map[string]string{
		"invalid_key":          "is no name=value",
		"fault=quota,times=x":  "is no number",
		"fault=quota,wait=x":   "write it as 30s",
		"fault=quotta":         `no fault is called "quotta"`,
		"fault=quota,colour=1": `unknown field "colour"`,
	} {
		if _, err := simulator.ParseFault(line); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: %v, want %s", line, err, says)
		}
	}
}
