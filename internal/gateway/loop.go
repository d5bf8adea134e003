package gateway

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"slices"
	"strconv"
	"sync"
	"time"

	"keybridge/internal/dialect"
	"keybridge/internal/fault"
	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/route"
	"keybridge/keypool"
)

var (
	errTooMany = errors.New("too many calls at once")
	errAtEnd   = errors.New("the answer had to end")
	// errNotKept stands for words that may quote what is not to be kept.
	errNotKept = errors.New("what the server said is not kept, like the arguments: it may quote them")
)

// loop is an exchange's conversation with the gateway's own tools.
type loop struct {
	tooler dialect.Tooler
	splice dialect.Splicer
	mine   map[string]bool // the names of the tools
	steps  []dialect.Step  // the turns so far, each with what the tools returned
	spent  time.Duration   // by calls, one turn after the other
	final  bool            // the model has been asked for no more calls
}

// remember puts back what the client has not seen of earlier turns. It says whether
// there was any.
func (x *exchange) remember() (changed bool, _ *fault.Error) {
	r, ok := x.dialect.(dialect.Recaller)
	if !ok || !x.g.hidden.knows(x.caller()) {
		return false, nil
	}
	body, err := r.Recall(x.body, x.recall)
	if err != nil {
		return false, asFault(err)
	}
	return x.setBody(body), nil
}

// equip offers the caller's central tools, if the API can carry them.
func (x *exchange) equip() *fault.Error {
	tooler, ok := x.dialect.(dialect.Tooler)
	if !ok || x.s.Tools == nil {
		return nil
	}
	defs := x.s.Tools.Of(x.record.Principal)
	if len(defs) == 0 {
		return nil
	}
	body, added, err := tooler.Inject(x.body, defs)
	if err != nil {
		return asFault(err)
	}
	if len(added) == 0 {
		return nil
	}
	mine := make(map[string]bool, len(added))
	for _, name := range added {
		mine[name] = true
	}
	x.setBody(body)
	x.loop = &loop{tooler: tooler, mine: mine, splice: tooler.Splice(func(name string) bool { return mine[name] })}
	if m, ok := x.out.splice.(*unmeter); ok {
		m.next = x.loop.splice
	} else {
		x.out.splice = x.loop.splice
	}
	return nil
}

// setBody replaces the request's body, if it was edited.
func (x *exchange) setBody(body []byte) (changed bool) {
	if len(body) == len(x.body) && (len(body) == 0 || &body[0] == &x.body[0]) {
		return false
	}
	x.body, x.buffer = body, nil
	return true
}

// goOn ends a turn: with the request of the next one, if the model has called central
// tools, else with the end of the answer.
func (x *exchange) goOn(want *keypool.Want) (again bool, _ *fault.Error) {
	l := x.loop
	if l == nil || x.out.splice == nil {
		return false, nil
	}
	said := l.splice.Said()
	if x.failed() || len(said.Mine) == 0 || said.Cut || l.final {
		x.finishLoop(said, false)
		return false, nil
	}
	x.out.flush() // the client has what the model said before the tools run
	step := dialect.Step{Said: said, Results: x.run(said.Mine)}
	l.steps = append(l.steps, step)
	if x.gone() {
		return false, nil
	}
	if len(said.Others) > 0 {
		x.finishLoop(said, true)
		return false, nil
	}
	x.tell(false)
	l.final = len(l.steps) >= x.s.Loop.MaxTurns || l.spent >= x.s.Loop.MaxTime
	body, err := l.tooler.FollowUp(x.body, step, l.final)
	if err != nil {
		return false, asFault(err)
	}
	x.setBody(body)
	want.Begins = false
	want.Sealed = want.Sealed || said.Sealed && !anthropic(&x.match)
	if said.Bound {
		want.Pins = append(slices.Clip(want.Pins), said.ID)
	}
	if said.Container != "" {
		want.Pins = append(slices.Clip(want.Pins), said.Container)
	}
	return true, nil
}

// finishLoop ends the answer. What the client has not seen is kept, if it will come
// back to it: with the results of its own tools, or to the answer's id. ran says that the
// calls of the last turn were run; else they are answered as not run.
func (x *exchange) finishLoop(said dialect.Said, ran bool) {
	x.tell(true)
	l := x.loop
	named := x.match.API == route.Responses // there a request may name an answer
	if x.failed() || len(l.steps) == 0 && len(said.Mine) == 0 || said.Cut && (!named || said.ID == "") || len(said.Others) == 0 && !named {
		return
	}
	if !ran {
		step := dialect.Step{Said: said}
		for _, c := range said.Mine {
			step.Results = append(step.Results, notRun(c, "the answer had to end. Call the tool again if you still need it."))
		}
		l.steps = append(l.steps, step)
	}
	h := &dialect.Hidden{Steps: l.steps}
	if named {
		h.Shown = l.steps[0].Said.ID
	}
	x.g.hidden.keep(x.caller(), h, time.Now())
}

// pending says that the client has yet to see more than the upstream's answer brings: what
// tools return, or the end that is held back.
func (x *exchange) pending() bool {
	l := x.loop
	return l != nil && x.out.splice != nil && (len(l.steps) > 0 || len(l.splice.Said().Mine) > 0)
}

func (x *exchange) failed() bool { return x.record.Err != nil }

// tell gives the client what ends a turn, or the answer.
func (x *exchange) tell(last bool) {
	x.record.Loop++
	for _, ev := range x.loop.splice.End(last) {
		x.out.write(ev.Raw)
	}
}

// caller tells those apart who have a token or a key of their own, and the APIs, each
// of which has a form of its own for what is hidden.
func (x *exchange) caller() string {
	who := strconv.Itoa(int(x.match.API)) + "/" + x.record.Principal.Name
	if !x.byok() {
		return who
	}
	sum := sha256.Sum256([]byte(x.record.Principal.Secret))
	return who + "/" + string(sum[:])
}

func (x *exchange) recall(id string) *dialect.Hidden {
	return x.g.hidden.find(x.caller(), id, time.Now())
}

// run makes the calls of one turn, side by side, and returns their results in order.
func (x *exchange) run(calls []llm.ToolCall) []llm.ToolResult {
	l, began := x.loop, time.Now()
	ctx, cancel := context.WithTimeout(x.r.Context(), max(0, x.s.Loop.MaxTime-l.spent))
	defer cancel()
	results, uses := make([]llm.ToolResult, len(calls)), make([]ledger.ToolUse, len(calls))
	var running sync.WaitGroup
	for i, c := range calls {
		if i >= x.s.Loop.MaxCalls {
			results[i] = notRun(c, "too many calls at once. Call the tool again in the next turn, with fewer calls beside it.")
			uses[i] = ledger.ToolUse{Tool: c.Name, Start: began, Outcome: ledger.ToolRefused, Err: errTooMany}
			continue
		}
		running.Go(func() { results[i], uses[i] = x.call(ctx, c) })
	}
	running.Wait()
	l.spent += time.Since(began)
	for i := range uses {
		uses[i].Call, uses[i].Turn = calls[i].ID, len(l.steps)
		if uses[i].Outcome == ledger.ToolTimeout && x.r.Context().Err() != nil {
			uses[i].Outcome = ledger.ToolCancelled
		}
		if _, quotes := errors.AsType[ledger.ToldError](uses[i].Err); quotes && !x.s.Keep.Arguments {
			uses[i].Err = errNotKept
		}
	}
	x.record.Tools = append(x.record.Tools, uses...)
	return results
}

// call makes one call. A panic in it is that call's alone: it is on a goroutine of its
// own, where it would end the process.
func (x *exchange) call(ctx context.Context, c llm.ToolCall) (result llm.ToolResult, use ledger.ToolUse) {
	began := time.Now()
	defer func() {
		caught := recover()
		if caught == nil {
			return
		}
		x.g.o.Logger.LogAttrs(context.WithoutCancel(ctx), slog.LevelError, "panic while calling a tool", slog.String("id", x.record.ID),
			slog.String("tool", c.Name), slog.Any("panic", caught), slog.String("stack", string(debug.Stack())))
		result = llm.ToolResult{CallID: c.ID, IsError: true, Parts: []llm.Part{{Text: "The gateway failed on this call."}}}
		use = ledger.ToolUse{Tool: c.Name, Start: began, Duration: time.Since(began), Outcome: ledger.ToolInvalid, Err: fmt.Errorf("panic: %v", caught)}
	}()
	return x.s.Tools.Call(ctx, x.record.Principal, c)
}

// unrun puts into the record the calls of the gateway's tools in the last turn, if it was
// not their turn any more.
func (x *exchange) unrun() {
	last := len(x.record.Turns) - 1
	if x.loop == nil || last < 0 || slices.ContainsFunc(x.record.Tools, func(u ledger.ToolUse) bool { return u.Turn == last }) {
		return
	}
	outcome, why := ledger.ToolRefused, errAtEnd
	if x.gone() {
		outcome, why = ledger.ToolCancelled, errClientGone
	}
	for _, c := range x.record.Turns[last].Calls {
		if x.loop.mine[c.Name] && !c.Hosted {
			x.record.Tools = append(x.record.Tools, ledger.ToolUse{Call: c.ID, Tool: c.Name, Turn: last, Start: time.Now(), Outcome: outcome, Err: why})
		}
	}
}

// notRun answers a call that was not run.
func notRun(c llm.ToolCall, why string) llm.ToolResult {
	return llm.ToolResult{CallID: c.ID, IsError: true, Parts: []llm.Part{{Text: "Not run: " + why}}}
}
