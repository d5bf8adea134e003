package mcp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"
	"time"

	"github.com/modelcontextprotocol/go-sdk/jsonrpc"
	sdk "github.com/modelcontextprotocol/go-sdk/mcp"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
)

// Call runs a call of a tool that Of has listed for the caller. What the server itself says
// of why it has failed is a ledger.ToldError in the use.
func (r *Room) Call(ctx context.Context, who ledger.Principal, c llm.ToolCall) (llm.ToolResult, ledger.ToolUse) {
	use := ledger.ToolUse{Tool: cut(c.Name, 128), Start: time.Now()}
	res := llm.ToolResult{CallID: c.ID}
	all, byName := r.all()
	i, known := byName[c.Name]
	if !known || !all[i].server.serves(who) {
		use.Outcome, use.Err = ledger.ToolRefused, errors.New("there is no such tool")
		return fail(res, fmt.Sprintf("There is no tool %q here.", use.Tool)), use
	}
	o := all[i]
	use.Server, use.Tool = o.Server, cut(o.Tool, 128)
	said := o.server.use(ctx, o.Tool, c.Arguments)
	use.Outcome, use.Err, use.Size = said.outcome, said.err, said.size
	use.Duration = time.Since(use.Start)
	if said.sorry != "" {
		return fail(res, fmt.Sprintf("The tool %q of the server %q %s", use.Tool, use.Server, said.sorry)), use
	}
	res.Parts, res.IsError = said.parts, use.Err != nil
	return res, use
}

func fail(res llm.ToolResult, text string) llm.ToolResult {
	res.IsError, res.Parts = true, []llm.Part{{Text: text}}
	return res
}

// used is what became of a call.
type used struct {
	parts   []llm.Part
	size    int
	outcome ledger.ToolOutcome
	err     error
	// sorry tells the model what went wrong, if it is not the tool that says so: it comes
	// after the names of the tool and the server.
	sorry string
}

// downError is why a server cannot be asked at all.
type downError struct{ error }

func (e *downError) Unwrap() error { return e.error }

var errTool = errors.New("the tool says so")

// use calls a tool.
func (s *server) use(ctx context.Context, tool string, args []byte) used {
	failed := func(o ledger.ToolOutcome, err error, sorry string) used {
		return used{outcome: o, err: errors.New(s.masked(err, 1<<10)), sorry: sorry}
	}
	args, ok := object(args)
	if !ok {
		return failed(ledger.ToolRefused, errors.New("its arguments are no JSON object"),
			"was not called: its arguments must be one JSON object, and these are not. Call it again with a valid one.")
	}
	if !s.begin() {
		return failed(ledger.ToolUnavailable, errStopped, "is not offered any more.")
	}
	defer s.calls.Done()
	whole := ctx
	ctx, cancel := context.WithTimeout(ctx, s.o.Timeout)
	defer cancel()
	select {
	case s.slots <- struct{}{}:
		defer func() { <-s.slots }()
	case <-ctx.Done():
		if errors.Is(whole.Err(), context.Canceled) {
			return failed(ledger.ToolCancelled, whole.Err(), "was not called: nobody waits for its result any more.")
		}
		return failed(ledger.ToolTimeout, errors.New("no slot for the call became free"),
			"was not called: too many calls of it are under way. Try again later.")
	}
	res, f, err := s.ask(ctx, tool, args)
	switch {
	case err != nil:
		o, sorry := s.blame(ctx, whole, f, err)
		u := failed(o, plain(err, f), sorry)
		if f.err() == nil && (o == ledger.ToolInvalid || o == ledger.ToolUnavailable) {
			u.err = ledger.ToldError(u.err.Error())
		}
		return u
	case res.NeedsInput():
		return failed(ledger.ToolInvalid, errors.New("it wants to ask the user"), "wants to ask the user something first, which it cannot do here. Try it with other arguments, or do without it.")
	}
	out := result{limit: s.o.MaxResult, left: s.o.MaxResult, hidden: s.secrets}
	out.read(res)
	if res.IsError {
		return used{parts: out.parts, size: out.size, outcome: ledger.ToolFailed, err: errTool}
	}
	return used{parts: out.parts, size: out.size, outcome: ledger.ToolOK}
}

// object is the arguments as the one JSON object they must be.
func object(args []byte) ([]byte, bool) {
	if args = bytes.TrimSpace(args); len(args) == 0 || string(args) == "null" {
		return []byte("{}"), true
	}
	return args, args[0] == '{' && json.Valid(args)
}

// ask makes a call, and once more if it cannot have been made.
func (s *server) ask(ctx context.Context, tool string, args []byte) (res *sdk.CallToolResult, f *fate, err error) {
	for range 2 {
		f = &fate{}
		res, err = s.try(context.WithValue(ctx, fateKey{}, f), tool, args, f)
		if err == nil || ctx.Err() != nil || !f.lost.Load() && f.sent.Load() {
			break
		}
	}
	return res, f, err
}

// begin counts a call of a server that is not being closed.
func (s *server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.calls.Add(1)
	}
	return !s.closed
}

// try makes a call once, in the session there is.
func (s *server) try(ctx context.Context, tool string, args []byte, f *fate) (*sdk.CallToolResult, error) {
	x, err := s.take(ctx)
	if err != nil {
		f.sent.Store(true) // there is no use in another try
		return nil, &downError{err}
	}
	defer x.calls.Done()
	if x.guard == nil {
		f.sent.Store(true)
	}
	params := &sdk.CallToolParams{Name: tool, Arguments: json.RawMessage(args)}
	params.SetProgressToken(s.progress.Add(1))
	res, err := x.call(ctx, params)
	if why := x.lines.err(); err != nil && why != nil {
		f.fail(why)
	}
	var refused *jsonrpc.Error
	switch {
	case err == nil || ctx.Err() != nil || f.err() == nil && errors.As(err, &refused):
	case f.lost.Load() || !f.sent.Load():
		x.end(err)
	default:
		s.poke() // is it still there?
	}
	return res, err
}

// blame says whose fault it is that a call has failed, and tells the model.
func (s *server) blame(ctx, whole context.Context, f *fate, err error) (ledger.ToolOutcome, string) {
	var refused *jsonrpc.Error
	var status statusError
	var down *downError
	var dial *net.OpError
	cause := f.err()
	switch {
	case errors.Is(whole.Err(), context.Canceled):
		return ledger.ToolCancelled, "was called, but nobody waits for its result any more."
	case whole.Err() != nil:
		return ledger.ToolTimeout, "did not answer within the time that tools may take in all."
	case ctx.Err() != nil:
		return ledger.ToolTimeout, fmt.Sprintf("did not answer within %s. It may still have done its work.", s.o.Timeout)
	case errors.Is(cause, errTooLarge):
		return ledger.ToolInvalid, "returned a result that is too large to be read. Ask it for less."
	case errors.Is(cause, errGarbage), errors.Is(cause, errEncoded):
		return ledger.ToolInvalid, "returned a result that cannot be read."
	case errors.As(cause, &status):
		return ledger.ToolUnavailable, fmt.Sprintf("cannot be called now: the server answers with HTTP status %d.", int(status))
	case errors.Is(cause, errRedirect):
		return ledger.ToolUnavailable, "cannot be called now: the server answers with a redirect."
	case errors.As(err, &down):
		return ledger.ToolUnavailable, "cannot be called now: the server is down."
	case errors.As(cause, &dial) && dial.Op == "dial", errors.Is(err, sdk.ErrSessionMissing):
		return ledger.ToolUnavailable, "cannot be called now: there is no connection to the server."
	case cause != nil, errors.Is(err, sdk.ErrConnectionClosed), strings.Contains(err.Error(), "terminated without response"):
		return ledger.ToolUnavailable, "did not answer: the server broke the call off. It may have done its work all the same."
	case errors.As(err, &refused):
		return ledger.ToolInvalid, "was refused by the server: " + cut(s.secrets.Replace(refused.Message), 2<<10)
	}
	return ledger.ToolInvalid, "returned a result that cannot be read."
}

// plain is an error without what the SDK and net/http put around it: no URLs.
func plain(err error, f *fate) error {
	if cause := f.err(); cause != nil {
		err = cause
	}
	if where, ok := errors.AsType[*url.Error](err); ok {
		return where.Err
	}
	return err
}

// explain says for the operator why a server is down.
func (s *server) explain(err error) string {
	const longest = 1536 // with what a program has said last
	return s.masked(plain(err, &fate{}), longest)
}

// masked is an error without secrets, also without those that are cut off in the middle.
func (s *server) masked(err error, most int) string {
	return cut(s.private.Replace(strings.ToValidUTF8(err.Error(), "\uFFFD")), most)
}
