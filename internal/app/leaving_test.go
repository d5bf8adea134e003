package app

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/mcp"
)

// The servers that a reload took away do not hold up a stop beyond its bound.
func TestStopEndsLeavingServers(t *testing.T) {
	entered, hold := make(chan struct{}), make(chan struct{})
	s := sdk.NewServer(&sdk.Implementation{Name: "slow"}, nil)
	sdk.AddTool(s, &sdk.Tool{Name: "slow"}, func(context.Context, *sdk.CallToolRequest, struct{}) (*sdk.CallToolResult, any, error) {
		close(entered)
		<-hold
		return &sdk.CallToolResult{}, nil, nil
	})
	srv := httptest.NewServer(sdk.NewStreamableHTTPHandler(func(*http.Request) *sdk.Server { return s }, nil))
	defer srv.Close()
	defer srv.CloseClientConnections()
	defer close(hold)

	var all tools
	log := slog.New(slog.DiscardHandler)
	all.furnish(mcp.Options{Servers: []mcp.Server{{Name: "slow", URL: srv.URL, Timeout: time.Hour}}, Logger: log})
	eventually := time.NewTicker(time.Millisecond)
	defer eventually.Stop()
	for len(all.Of(ledger.Principal{})) == 0 {
		<-eventually.C
	}
	ended := make(chan ledger.ToolUse, 1)
	go func() {
		_, use := all.Call(context.Background(), ledger.Principal{}, llm.ToolCall{Name: "kb_slow_slow"})
		ended <- use
	}()
	<-entered
	all.furnish(mcp.Options{Logger: log})
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	all.close(ctx)
	if use := <-ended; use.Outcome != ledger.ToolUnavailable {
		t.Errorf("the call under way ends as %s, %v", use.Outcome, use.Err)
	}
}
