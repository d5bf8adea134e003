package main

// The tool loop.
//
//nolint:gochecknoglobals // a constant table
var loopMutants = []mutant{
	{
		"the loop has no end", "internal/gateway/loop.go",
		"l.final = len(l.steps) >= x.s.Loop.MaxTurns || l.spent >= x.s.Loop.MaxTime",
		"l.final = l.spent >= x.s.Loop.MaxTime",
		"internal/gateway TestLoopIsBounded",
	},
	{
		"a call that the model was asked not to make is run", "internal/gateway/loop.go",
		"len(said.Mine) == 0 || said.Cut || l.final {",
		"len(said.Mine) == 0 || said.Cut {",
		"internal/gateway TestLoopIsBounded",
	},
	{
		"the tools' time begins anew with each turn", "internal/gateway/loop.go",
		"l.spent += time.Since(began)",
		"l.spent = time.Since(began)",
		"internal/gateway TestToolsHaveSoMuchTimeInAll",
	},
	{
		"any number of calls is run at once", "internal/gateway/loop.go",
		"if i >= x.s.Loop.MaxCalls {",
		"if i >= 1000*x.s.Loop.MaxCalls {",
		"internal/gateway TestCallsOfATurnRunSideBySide",
	},
	{
		"what is hidden of one caller is another's", "internal/gateway/hidden.go",
		"el := h.byID[hiddenID{caller, id}]\n\tif el == nil {",
		"el := h.byID[hiddenID{\"a\", id}]\n\tif el == nil {",
		"internal/gateway TestHiddenIsOfItsCaller",
	},
	{
		"an upstream's error is spliced with its secret", "internal/gateway/converse.go",
		"ev.Raw, ev.Data = m.Mask(ev.Raw), m.Mask(ev.Data)",
		"ev.Raw = m.Mask(ev.Raw)",
		"internal/gateway TestErrorsAreMaskedBeforeTheyAreSpliced",
	},
}
