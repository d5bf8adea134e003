package demo

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"time"

	"keybridge/internal/simulator"
)

// agents are known by their models: each talks in sessions to Anthropic, one turn at a
// time.
var agents = [...]string{"claude-haiku-4-5", "claude-sonnet-4-5", "claude-opus-5"} //nolint:gochecknoglobals // a constant table

// sessionHeader is how Claude Code names a conversation.
const (
	sessionHeader = "X-Claude-Code-Session-Id"
	sessionLength = 2 * rate // requests of all kinds
)

// speech is one of the three APIs as a client uses it.
type speech struct {
	name, provider, path, reference string
	models                          []string
	body                            string // takes the model, the prompt and what a stream adds
	terminal                        string // what a whole stream ends with
	whole                           string // what a whole blocking answer has in it
}

var speeches = [...]speech{ //nolint:gochecknoglobals // a constant table
	{
		"chat", simulator.OpenAI, "/v1/chat/completions", "/openai/v1/chat/completions",
		[]string{"gpt-4o", "o3"},
		`{"model":%q,"messages":[{"role":"system","content":"Be brief."},{"role":"user","content":%q}],` +
			`"tools":[{"type":"function","function":{"name":"look_up","parameters":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}}}]%s}`,
		"data: [DONE]\n\n", `"finish_reason": "`,
	},
	{
		"responses", simulator.OpenAI, "/v1/responses", "/openai/v1/responses",
		[]string{"gpt-5.6", "gpt-5-mini"},
		`{"model":%q,"instructions":"Be brief.","input":%q,"store":false,` +
			`"tools":[{"type":"function","name":"look_up","parameters":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}}]%s}`,
		"event: response.completed\n", `"status": "completed"`,
	},
	{
		"messages", simulator.Anthropic, "/v1/messages", "/anthropic/v1/messages",
		agents[:],
		`{"model":%q,"max_tokens":1024,"messages":[{"role":"user","content":%q}],` +
			`"tools":[{"name":"look_up","input_schema":{"type":"object","properties":{"q":{"type":"string"}},"required":["q"]}}]%s}`,
		"event: message_stop\n", `"stop_reason":"`,
	},
}

// errand is one client request.
type errand struct {
	n      int
	speech *speech
	stream bool
	body   string
	agent  string        // whose turn it is; empty: nobody's
	key    simulator.Key // brought along, without failover
}

// errand makes up the n-th request: it depends on the seed and on nothing else.
func (s *show) errand(n int) errand {
	r := rand.New(rand.NewPCG(s.o.Seed, uint64(n))) //nolint:gosec // traffic, not secrets; not negative
	e := errand{n: n, speech: &speeches[r.IntN(len(speeches))], stream: r.IntN(2) == 0}
	said := fmt.Sprintf("Question %d of %d", n, s.o.Seed)
	switch r.IntN(5) {
	case 0:
		said += ", simulate:tool please"
	case 1:
		said += ", simulate:thinking please"
	case 2:
		said += strings.Repeat(" and a long story", 100)
	}
	more := ""
	if e.stream {
		more = `,"stream":true`
	}
	model := e.speech.models[r.IntN(len(e.speech.models))]
	e.body = fmt.Sprintf(e.speech.body, model, said, more)
	if e.speech.provider == simulator.Anthropic {
		e.agent = model
	}
	e.key = s.keyOf(e.speech.provider, n%keysEach)
	return e
}

func (s *show) keyOf(provider string, n int) simulator.Key {
	for _, k := range s.keys {
		if k.Provider == provider {
			if n == 0 {
				return k
			}
			n--
		}
	}
	panic("there is no such key") // the keys are our own
}

// traffic runs for the length of the show, at a steady rate and in bounded number,
// and returns when the last answer is there.
func (s *show) traffic(ctx context.Context) {
	var clients sync.WaitGroup
	defer clients.Wait()
	slots := make(chan struct{}, atOnce)
	for n := 0; ; n++ {
		due := s.begin.Add(time.Duration(n) * time.Second / rate)
		if due.Sub(s.begin) >= s.o.Length || !sleepUntil(ctx, due) {
			return
		}
		slots <- struct{}{}
		clients.Go(func() {
			defer func() { <-slots }()
			e := s.errand(n)
			if turn := s.turns[e.agent]; turn != nil {
				turn <- struct{}{}
				defer func() { <-turn }()
			}
			s.tally.begun()
			took, err := s.serve(ctx, e)
			if ctx.Err() == nil {
				s.tally.ended(e, took, err)
			}
		})
	}
}

// serve sends the errand through the gateway and to the untroubled provider, and
// compares.
func (s *show) serve(ctx context.Context, e errand) (time.Duration, error) {
	want, err := s.ask(ctx, s.reference+e.speech.reference, e, false)
	if err == nil {
		err = e.complete(want)
	}
	if err != nil {
		return 0, fmt.Errorf("the untroubled provider itself: %w", err)
	}
	begin := time.Now()
	got, err := s.ask(ctx, s.base+e.speech.path, e, true)
	took := time.Since(begin)
	if err == nil {
		err = e.complete(got)
	}
	if err == nil && !bytes.Equal(got, want) {
		err = errors.New("an answer that is not the provider's")
	}
	return took, err
}

// ask reads one answer to its end.
func (s *show) ask(ctx context.Context, url string, e errand, gateway bool) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(e.body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	credential := e.key.Secret
	switch {
	case gateway && s.o.WithoutFailover:
		req.Header.Set("X-Keybridge-Token", "demo") // with this the caller's own key goes upstream
	case gateway:
		credential = "any"
	}
	if e.agent != "" {
		req.Header.Set(sessionHeader, fmt.Sprintf("%s-%d", e.agent, e.n/sessionLength))
	}
	if e.speech.provider == simulator.Anthropic {
		req.Header.Set("X-Api-Key", credential)
		req.Header.Set("Anthropic-Version", "2023-06-01")
	} else {
		req.Header.Set("Authorization", "Bearer "+credential)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, errors.New("no answer")
	}
	body, err := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	switch {
	case resp.StatusCode != http.StatusOK:
		return body, fmt.Errorf("status %d", resp.StatusCode)
	case err != nil:
		return body, errors.New("an answer cut off")
	}
	return body, nil
}

// complete holds a 200 to the rules of its API.
func (e errand) complete(body []byte) error {
	has := func(s string) bool { return bytes.Contains(body, []byte(s)) }
	switch {
	case e.stream && (has("event: error\n") || has("event: response.failed\n") || has(`data: {"error":`)),
		!e.stream && (has(`"error": {`) || has(`"type":"error"`)):
		return errors.New("an error in the answer")
	case e.stream && (!has(e.speech.terminal) || !bytes.HasSuffix(body, []byte("\n\n"))),
		!e.stream && !has(e.speech.whole):
		return errors.New("an answer without its end")
	}
	return nil
}

// tally is what the clients saw.
type tally struct {
	mu       sync.Mutex
	sent     int
	done     int
	streamed int
	by       map[string]int        // by the name of the API
	served   map[simulator.Key]int // good answers, by the key that a request brought
	failed   int
	ways     map[string]int // in which requests failed
	firsts   []string       // of the failures
	slowest  time.Duration
}

func (t *tally) begun() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.sent++
}

func (t *tally) ended(e errand, took time.Duration, err error) {
	const most = 5
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.by == nil {
		t.by, t.ways, t.served = map[string]int{}, map[string]int{}, map[simulator.Key]int{}
	}
	t.done++
	t.by[e.speech.name]++
	if e.stream {
		t.streamed++
	}
	t.slowest = max(t.slowest, took)
	if err == nil {
		t.served[simulator.Key{Provider: e.key.Provider, Name: e.key.Name}]++
		return
	}
	t.failed++
	t.ways[err.Error()]++
	if len(t.firsts) < most {
		how := "blocking"
		if e.stream {
			how = "streaming"
		}
		t.firsts = append(t.firsts, fmt.Sprintf("request %d, %s, %s: %v", e.n, e.speech.name, how, err))
	}
}

// numbers reads the tally for the picture.
func (t *tally) numbers() (sent, open, failed int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.sent, t.sent - t.done, t.failed
}
