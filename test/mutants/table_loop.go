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
		"what is hidden of one API is another's", "internal/gateway/loop.go",
		`who := strconv.Itoa(int(x.match.API)) + "/" + x.record.Principal.Name`,
		`who := strconv.Itoa(0) + "/" + x.record.Principal.Name`,
		"internal/gateway TestHiddenIsOfItsAPI",
	},
	{
		"an SDK that retries runs the tools again", "internal/gateway/exchange.go",
		"if len(x.record.Tools) > 0 {",
		"if len(x.record.Tools) > 1000 {",
		"internal/gateway TestNoRetryOnceToolsHaveRun",
	},
	{
		"an idempotency key goes with every turn", "internal/gateway/attempt.go",
		"if x.loop == nil || len(x.loop.steps) == 0 {",
		"if x.loop == nil || len(x.loop.steps) < 1000 {",
		"internal/gateway TestIdempotencyKeyIsOfTheFirstTurn",
	},
	{
		"an upstream that stays open delays the tools", "internal/gateway/converse.go",
		"if f.done && !ended && f.streamed() {",
		"if f.done && !ended && !f.streamed() {",
		"internal/gateway TestUpstreamStaysOpen",
	},
	{
		"a call by the same id is taken for the same", "internal/dialect/samecall.go",
		"return said.Name == name && SameJSON(said.Arguments, arguments)",
		"return said.Name == name || SameJSON(said.Arguments, arguments)",
		"internal/dialect TestSameCall",
	},
	{
		"a call is demanded in every turn", "internal/dialect/chat/tools.go",
		`case word == "required", word == "any":`,
		`case word == "any":`,
		"internal/dialect/chat TestFollowUp",
	},
	{
		"a splicer keeps whatever comes", "internal/dialect/messages/splice.go",
		"if t.kept <= dialect.MostKept {",
		"if t.kept <= 1000*dialect.MostKept {",
		"internal/dialect/messages TestFlood",
	},
	{
		"an upstream's error is spliced with its secret", "internal/gateway/converse.go",
		"ev.Raw, ev.Data = m.Mask(ev.Raw), m.Mask(ev.Data)",
		"ev.Raw = m.Mask(ev.Raw)",
		"internal/gateway TestErrorsAreMaskedBeforeTheyAreSpliced",
	},
}
