package demo

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/tidwall/gjson"

	"keybridge/internal/app"
	"keybridge/internal/mcp"
	"keybridge/internal/simulator"
)

// The scene of the central tool: one question that takes several calls.
const (
	toolServer = "warehouse"
	toolName   = "stock"
	toolShown  = "kb_" + toolServer + "_" + toolName
	toolTurns  = 3
	toolFails  = 2 // after this call the key is struck
	toolFault  = "revoked"
	question   = "simulate:say-first simulate:tool=" + toolShown + " simulate:tool-turns=3 How many crates are there?"
)

// scene is a gateway of its own, with a central tool: what the other traffic is
// compared with has none.
type scene struct {
	app  *app.App
	sim  *simulator.Simulator
	base string

	mu      sync.Mutex
	results []string
}

// set opens the scene's gateway and its tool server.
func (s *show) set() (stop func(), err error) {
	c := &scene{}
	ln, err := s.o.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the tool server: %w", err)
	}
	srv := &http.Server{Handler: mcp.NewDemoServer(toolName, "Counts the crates on the next shelf.", c.count), ReadHeaderTimeout: headWait}
	var serving sync.WaitGroup
	serving.Go(func() { _ = srv.Serve(ln) }) // a failure shows as a scene that fails
	room := mcp.New(mcp.Options{
		Servers: []mcp.Server{{Name: toolServer, URL: "http://" + ln.Addr().String()}},
		Logger:  slog.New(slog.DiscardHandler), Version: "demo", DialContext: s.o.Dial,
	}, nil)
	end := func() {
		room.Close(context.Background())
		_ = srv.Close()
		serving.Wait()
	}
	c.app, err = app.New(app.Options{
		Env:           bare,
		ListenAddress: "127.0.0.1:0", AdminAddress: "127.0.0.1:0", Listen: s.o.Listen, Dial: s.o.Dial, Drain: drain,
		Simulator: simulator.Options{Keys: s.keys, Pace: pace}, Tools: room,
	})
	if err != nil {
		end()
		return nil, err
	}
	if err = c.app.Start(); err != nil {
		c.app.Stop(context.Background())
		end()
		return nil, err
	}
	c.sim, c.base, s.scene = c.app.Simulator(), "http://"+c.app.Address("listen"), c
	return func() {
		c.app.Stop(context.Background())
		end()
	}, nil
}

// count is the tool. Between two turns of the model's it strikes the key that served.
func (c *scene) count() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := len(c.results) + 1
	c.results = append(c.results, fmt.Sprintf("shelf %d: %d crates", n, 31/n))
	if calls := c.sim.Log(); n == toolFails && len(calls) > 0 {
		if err := c.sim.Arm(simulator.Fault{Provider: simulator.Anthropic, Key: calls[len(calls)-1].KeyName, Name: toolFault}); err != nil {
			panic(err) // the fault is our own
		}
	}
	return c.results[len(c.results)-1]
}

// question asks, and returns the stream that the client saw.
func (s *show) question(ctx context.Context) ([]byte, error) {
	body := fmt.Sprintf(`{"model":"claude-sonnet-5","max_tokens":1024,"stream":true,"messages":[{"role":"user","content":%q}]}`, question)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.scene.base+"/v1/messages", strings.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Anthropic-Version", "2023-06-01")
	req.Header.Set("X-Api-Key", "any")
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	return io.ReadAll(resp.Body)
}

// answered is what a client sees of an answer of Messages that streams.
type answered struct {
	begins, ends, calls, errors int
	texts                       []string
}

func readAnswer(stream []byte) (a answered) {
	for line := range bytes.Lines(stream) {
		data, ok := bytes.CutPrefix(line, []byte("data: "))
		if !ok {
			continue
		}
		switch e := gjson.ParseBytes(data); e.Get("type").String() {
		case "message_start":
			a.begins++
		case "message_stop":
			a.ends++
		case "error":
			a.errors++
		case "content_block_start":
			if e.Get("content_block.type").String() == "tool_use" {
				a.calls++
			}
			a.texts = append(a.texts, "")
		case "content_block_delta":
			if n := len(a.texts); n > 0 {
				a.texts[n-1] += e.Get("delta.text").String()
			}
		}
	}
	return a
}

// whole tells whether it is one answer, that ends with what the tool said last.
func (a answered) whole(result string) bool {
	return a.begins == 1 && a.ends == 1 && a.calls == 0 && a.errors == 0 && len(a.texts) == toolTurns+1 &&
		strings.HasPrefix(a.texts[toolTurns], "The tool said: "+result+" (")
}

// toolLoop plays the scene, and tells what came of it.
func (s *show) toolLoop(ctx context.Context, complain func(string, ...any)) string {
	begin := time.Now()
	stream, err := s.question(ctx)
	took := time.Since(begin)
	if err != nil {
		complain("the client of the tool loop got no answer")
	}
	turns, failed := s.turnsOf(s.scene.sim.Log())
	var b strings.Builder
	b.WriteString("\nOne question, and a central tool that the gateway runs: " + toolName + " of the MCP server " + toolServer + ".\n" +
		"Between two turns the key is revoked\n" + turns)
	a := readAnswer(stream)
	switch said := s.scene.said(); {
	case len(said) != toolTurns || failed != 1:
		complain("in the tool loop the tool was called %s and %s", plural(len(said), "time"), plural(failed, "key")+" failed")
	case !a.whole(said[toolTurns-1]):
		complain("the client of the tool loop did not see one whole answer")
	default:
		fmt.Fprintf(&b, "  The client saw %s, in %.1f s:\n", s.paint(green, "one answer, no call, no error"), took.Seconds())
		for _, text := range a.texts {
			b.WriteString("    " + text + "\n")
		}
	}
	return b.String()
}

// turnsOf tells each attempt of the scene, and counts those that failed.
func (s *show) turnsOf(log []simulator.Call) (text string, failed int) {
	var b strings.Builder
	said, turn := s.scene.said(), 1
	for _, call := range log {
		if !asks(call) {
			continue
		}
		fmt.Fprintf(&b, "  turn %d  %-3s  ", turn, call.KeyName)
		switch {
		case call.Fault != "":
			failed++
			b.WriteString(s.paint(red, fmt.Sprintf("%d: %s", call.Status, call.Fault)) + "\n")
			continue
		case turn <= len(said):
			b.WriteString("calls " + toolShown + ": " + said[turn-1] + "\n")
		default:
			b.WriteString("answers\n")
		}
		turn++
	}
	return b.String(), failed
}

// said are the results of the tool.
func (c *scene) said() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.results)
}
