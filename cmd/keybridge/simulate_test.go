package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"keybridge/internal/simulator"
)

func TestSimulate(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out, in := io.Pipe()
	var stderr strings.Builder
	p := program{env: func(string) (string, bool) { return "", false }, stdout: in, stderr: &stderr}
	code := make(chan int)
	go func() {
		code <- p.run(ctx, []string{"simulate", "--listen", "127.0.0.1:0", "--keys", "2", "--requests", "2", "--fault", "provider=openai,key=k1,fault=server_error"})
		_ = in.Close()
	}()
	lines := bufio.NewReader(out)
	first, err := lines.ReadString('\n')
	if err != nil {
		t.Fatal(err, stderr.String())
	}
	_, base, _ := strings.Cut(strings.TrimSpace(first), "answers on ")
	rest := make(chan string)
	go func() { b, _ := io.ReadAll(lines); rest <- string(b) }()

	ask := func(method, path, key, body string) *http.Response {
		req, err := http.NewRequestWithContext(ctx, method, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		req.Header.Set("Authorization", "Bearer sk-simulated-openai-key-"+key)
		resp, err := (&http.Client{}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { resp.Body.Close() })
		return resp
	}
	const chat = `{"model":"gpt-4o","messages":[{"role":"user","content":"x"}]}`
	var got []int
	for _, key := range []string{"0", "1", "0", "0"} {
		got = append(got, ask(http.MethodPost, "/openai/v1/chat/completions", key, chat).StatusCode)
	}
	if diff := cmp.Diff([]int{200, 500, 200, 429}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if r := ask(http.MethodDelete, "/simulator/faults", "", ""); r.StatusCode != http.StatusOK {
		t.Errorf("the switches: %d", r.StatusCode)
	}
	if s := ask(http.MethodPost, "/openai/v1/chat/completions", "1", chat).StatusCode; s != http.StatusOK {
		t.Errorf("healed: %d", s)
	}
	cancel()
	if c := <-code; c != exitOK {
		t.Errorf("exit code %d, %s", c, stderr.String())
	}
	text := <-rest
	for _, want := range []string{"OpenAI     " + base + "/openai/v1\n", "anthropic  k1    sk-simulated-anthropic-key-1\n", "(1 armed)"} {
		if !strings.Contains(text, want) {
			t.Errorf("does not say %q", want)
		}
	}
}

func TestSimulateOptions(t *testing.T) {
	t.Parallel()
	number := func(n int64) *int64 { return &n }
	one := 1
	standard := simulator.Limit{Requests: simulatedRequests, Tokens: simulatedTokens, OutputTokens: simulatedTokens}
	written := simulator.Limit{Key: "a", Per: simulator.PerKey, Tokens: 10}
	own := simulator.Key{Provider: simulator.OpenAI, Name: "a", Secret: "sk-a"}
	for name, tc := range map[string]struct {
		told   simulation
		keys   []simulator.Key
		limits []simulator.Limit
	}{
		"nothing": {simulation{}, simulator.Keys(3), []simulator.Limit{standard}},
		"a file":  {simulation{Config: "testdata/simulator.json"}, []simulator.Key{own}, []simulator.Limit{written}},
		"both": {
			simulation{Config: "testdata/simulator.json", Keys: &one, Tokens: number(7)},
			append([]simulator.Key{own}, simulator.Keys(1)...),
			[]simulator.Limit{written, {Requests: simulatedRequests, Tokens: 7, OutputTokens: 7}},
		},
	} {
		o, err := tc.told.options()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if diff := cmp.Diff(tc.keys, o.Keys) + cmp.Diff(tc.limits, o.Limits); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
