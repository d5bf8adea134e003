package mcp

import (
	"bufio"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"keybridge/internal/ledger"
)

// everything starts npm's server-everything on loopback and returns its URL.
func everything(t *testing.T) string {
	t.Helper()
	dir := filepath.Join("..", "..", "test", "mcp-everything")
	for _, program := range []string{"npm", "node"} {
		if _, err := exec.LookPath(program); err != nil {
			if os.Getenv("CI") == "true" {
				t.Fatalf("%s is not installed: %v", program, err)
			}
			t.Skipf("%s is not installed: server-everything is left out", program)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@modelcontextprotocol", "server-everything")); err != nil {
		install := exec.CommandContext(t.Context(), "npm", "ci", "--no-audit", "--no-fund", "--loglevel=error")
		install.Dir = dir
		if out, err := install.CombinedOutput(); err != nil {
			t.Fatalf("npm ci in %s: %v\n%s", dir, err, out)
		}
	}
	cmd := exec.CommandContext(t.Context(), "node", "serve.js")
	cmd.Dir = dir
	stdin, err := cmd.StdinPipe() // it ends with this process
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ready := make(chan string, 1)
	go func() {
		lines := bufio.NewScanner(stdout)
		for lines.Scan() {
			if url, ok := strings.CutPrefix(lines.Text(), "ready "); ok {
				ready <- url
			}
		}
		close(ready)
	}()
	t.Cleanup(func() {
		_ = stdin.Close()
		for range ready { // until its output ends
		}
		_ = cmd.Wait()
	})
	select {
	case url, ok := <-ready:
		if !ok {
			t.Fatal("server-everything has ended")
		}
		return url
	case <-time.After(time.Minute):
		t.Fatal("server-everything does not begin")
	}
	return ""
}

func TestEverything(t *testing.T) {
	url := everything(t)
	r, l := newRoom(t, Server{Name: "everything", URL: url, Timeout: 20 * time.Second, Deny: []string{"toggle-*"}})
	waitUp(t, r, "everything")
	offers := offered(r)
	for _, name := range []string{"echo", "get-sum", "get-tiny-image", "get-resource-links", "get-resource-reference", "get-structured-content", "trigger-long-running-operation"} {
		if !strings.Contains(offers, "kb_everything_"+name) {
			t.Errorf("%s is not among %s", name, offers)
		}
	}
	if strings.Contains(offers, "toggle") || strings.Contains(offers, "elicitation") || strings.Contains(offers, "sampling") {
		t.Errorf("offers what is denied, or what clients without capabilities cannot use: %s", offers)
	}
	for _, o := range r.All() {
		if !json.Valid(o.Schema) || o.Description == "" {
			t.Errorf("%s: %q, %s", o.Name, o.Description, o.Schema)
		}
	}
	tests := []struct {
		tool, args string
		outcome    ledger.ToolOutcome
		says       []string
		images     int
	}{
		{"echo", `{"message":"hello"}`, ledger.ToolOK, []string{"Echo: hello"}, 0},
		{"echo", `{"message":7}`, ledger.ToolFailed, []string{"message"}, 0},
		{"get-sum", `{"a":2,"b":40}`, ledger.ToolOK, []string{"42"}, 0},
		{"get-tiny-image", `{}`, ledger.ToolOK, []string{"image"}, 1},
		{"get-resource-links", `{"count":3}`, ledger.ToolOK, []string{"Resource demo://", "name: "}, 0},
		{"get-resource-reference", `{"resourceType":"Text","resourceId":1}`, ledger.ToolOK, []string{"Resource demo://"}, 0},
		{"get-resource-reference", `{"resourceType":"Blob","resourceId":1}`, ledger.ToolOK, []string{"[resource demo://"}, 0},
		{"get-structured-content", `{"location":"New York"}`, ledger.ToolOK, []string{`"temperature":`}, 0},
		{"get-annotated-message", `{"messageType":"success","includeImage":true}`, ledger.ToolOK, []string{"success"}, 1},
		{"trigger-long-running-operation", `{"duration":1,"steps":4}`, ledger.ToolOK, []string{"completed"}, 0},
	}
	for _, tt := range tests {
		t.Run(tt.tool, func(t *testing.T) {
			res, use := call(t, r, "kb_everything_"+tt.tool, tt.args)
			if use.Outcome != tt.outcome || res.IsError != (tt.outcome != ledger.ToolOK) {
				t.Errorf("%s (%v): %s", use.Outcome, use.Err, text(res))
			}
			images := 0
			for _, p := range res.Parts {
				if p.MIME != "" && p.Data != "" {
					images++
				}
			}
			if images != tt.images {
				t.Errorf("%d images, want %d", images, tt.images)
			}
			for _, s := range tt.says {
				if !strings.Contains(text(res), s) {
					t.Errorf("%q is not in %.500s", s, text(res))
				}
			}
		})
	}
	if st := r.Status()[0]; st.Protocol != legacy || strings.Contains(l.String(), "WARN") {
		t.Errorf("%+v, logged is\n%s", st, l)
	}
}
