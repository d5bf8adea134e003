package main

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"
	"github.com/rogpeppe/go-internal/testscript"
)

// scriptCommands are what the scripts can do besides running commands to their end.
func scriptCommands() map[string]func(ts *testscript.TestScript, neg bool, args []string) {
	return map[string]func(ts *testscript.TestScript, neg bool, args []string){
		"start": scriptStart, "kill9": scriptKill, "ask": scriptAsk,
		"mcp": scriptMCP, "until": scriptUntil,
	}
}

var (
	servesOn = regexp.MustCompile(`(?:serves|answers) on http://(\S+)`)
	adminOn  = regexp.MustCompile(`Metrics +http://(\S+)/metrics`)
)

// scriptStart runs "start NAME ARGS…": keybridge in the background until the script
// ends. Its address is then in $NAME, that of its operator's side in $NAME_admin.
func scriptStart(ts *testscript.TestScript, _ bool, args []string) {
	name := args[0]
	cmd := exec.Command("keybridge", args[1:]...)
	cmd.Dir = ts.Getenv("WORK")
	for _, v := range []string{"WORK", "HOME", "PATH", "KEYBRIDGE_ADMIN_TOKEN"} {
		cmd.Env = append(cmd.Env, v+"="+ts.Getenv(v))
	}
	out, err := cmd.StdoutPipe()
	ts.Check(err)
	log, err := cmd.StderrPipe()
	ts.Check(err)
	ts.Check(cmd.Start())
	said := make(chan string, 1)
	go func() { b, _ := io.ReadAll(log); said <- string(b) }()
	ts.Defer(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		ts.Logf("[log of %s]\n%s", name, <-said)
	})
	ts.Setenv(name+"_pid", strconv.Itoa(cmd.Process.Pid))
	greeting := bufio.NewReader(out)
	for {
		line, err := greeting.ReadString('\n')
		if m := servesOn.FindStringSubmatch(line); m != nil {
			ts.Setenv(name, m[1])
		}
		if m := adminOn.FindStringSubmatch(line); m != nil {
			ts.Setenv(name+"_admin", m[1])
		}
		if strings.HasPrefix(line, "Metrics ") || strings.HasPrefix(line, "Its keys") {
			break
		}
		if err != nil {
			ts.Fatalf("%s does not start: %v", name, err)
		}
	}
	go func() { _, _ = io.Copy(io.Discard, greeting) }()
}

// scriptKill runs "kill9 NAME": the process ends at once, with whatever it is doing.
func scriptKill(ts *testscript.TestScript, _ bool, args []string) {
	ts.Check(ts.Exec("kill", "-9", ts.Getenv(args[0]+"_pid")))
}

// scriptAsk runs "ask STATUS URL [BODY [TOKEN [SESSION]]]".
func scriptAsk(ts *testscript.TestScript, _ bool, args []string) {
	method, body := http.MethodGet, ""
	if len(args) > 2 {
		method, body = http.MethodPost, args[2]
	}
	req, err := http.NewRequest(method, "http://"+args[1], strings.NewReader(body))
	ts.Check(err)
	req.Header.Set("Content-Type", "application/json")
	if len(args) > 3 {
		req.Header.Set("Authorization", "Bearer "+args[3])
	}
	if len(args) > 4 {
		req.Header.Set("X-Keybridge-Session", args[4])
	}
	resp, err := (&http.Client{}).Do(req)
	ts.Check(err)
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	ts.Check(err)
	if strconv.Itoa(resp.StatusCode) != args[0] {
		ts.Fatalf("%s: status %d, want %s: %s", args[1], resp.StatusCode, args[0], said)
	}
}

// scriptMCP runs "mcp NAME TOOL…": an MCP server with these tools, until the script
// ends. Its address is then in $NAME.
func scriptMCP(ts *testscript.TestScript, _ bool, args []string) {
	server := sdk.NewServer(&sdk.Implementation{Name: args[0], Version: "1"}, nil)
	for _, tool := range args[1:] {
		said := func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
			return nil, nil, nil
		}
		sdk.AddTool(server, &sdk.Tool{Name: tool, Description: "Can " + tool + ".\nAnd more."}, said)
	}
	h := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return server }, nil))
	ts.Setenv(args[0], h.Listener.Addr().String())
	ts.Defer(func() { h.CloseClientConnections(); h.Close() })
}

// scriptUntil runs "until PATTERN PROGRAM ARGS…" again and again until it prints that.
func scriptUntil(ts *testscript.TestScript, _ bool, args []string) {
	pattern := regexp.MustCompile("(?m)" + args[0])
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		ts.Check(ts.Exec(args[1], args[2:]...))
		if pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("never printed %q", args[0])
		}
	}
}
