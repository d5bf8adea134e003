package main

// Where sessions go, and calls that need what a provider keeps.
//
//nolint:gochecknoglobals // a constant table
var sessionMutants = []mutant{
	{
		"small calls starve a large one that waits at its key", "keypool/end.go",
		"return l.homes[d] > 0",
		"return l.homes[d] < 0",
		"keypool TestLargeCallGetsItsTurnAmongSmallOnes",
	},
	{
		"two callers share a session", "keypool/session.go",
		"\t_, _ = h.WriteString(caller)\n",
		"",
		"keypool TestSessionsOfTwoCallersNeverMix",
	},
	{
		"a request like another is taken for its conversation", "keypool/affinity.go",
		"\tif w.want.Begins {\n\t\treturn\n",
		"\tif w.want.Begins && w == nil {\n\t\treturn\n",
		"keypool TestBeginningsGoByTheStrategy",
	},
	{
		"an upstream in trouble moves sessions", "keypool/affinity.go",
		"b.visits = home != nil && w.asked.of(home) == failed",
		"b.visits = home == nil",
		"keypool TestTroubleOfTheUpstreamMovesNoSession",
	},
	{
		"a session waits for a cache that will be gone", "keypool/affinity.go",
		"until.Before(s.used.Add(s.life)) &&",
		"!until.IsZero() &&",
		"keypool TestSessionWaitsIfThatIsCheaperThanToMove",
	},
	{
		"a session never goes back to the first key", "keypool/affinity.go",
		"|| now.Sub(s.since) >= lowerTime)",
		"|| now.Sub(s.since) >= 100*lowerTime)",
		"keypool TestSessionOfALowerKeyGoesBack",
	},
	{
		"sessions are never forgotten", "keypool/session.go",
		"now.Sub(t.used) < max(sessionIdle, t.life)",
		"now.Sub(t.used) < 1000*max(sessionIdle, t.life)",
		"keypool TestSessionsAreForgotten",
	},
	{
		"another project is asked for what one has", "keypool/pins.go",
		"return (w.home.bound == nil || m.in(w.home.bound)) &&",
		"return (w.home.bound == nil || m != nil) &&",
		"keypool TestPinnedCall",
	},
	{
		"a project that has it not is believed to have it", "keypool/pins.go",
		"\tw.home.bound, w.home.pin = nil, pinID{}\n",
		"\tw.home.pin = pinID{}\n",
		"keypool TestPinnedCall",
	},
	{
		"ids are pinned without bound", "keypool/lru.go",
		"if len(l.index) >= l.most {",
		"if len(l.index) >= 2*l.most {",
		"keypool TestPinsAreBounded",
	},
	{
		"waiting calls of two projects are taken for the same", "keypool/line.go",
		"w.want.Endpoint, w.unnamed, w.home.bound,",
		"w.want.Endpoint, w.unnamed, nil,",
		"keypool TestPinnedCallsInLineHoldNobodyUp",
	},
	{
		"a tool's arguments are taken for the provider's ids", "internal/dialect/belong.go",
		"return body[i] == '{' || body[i] == '['",
		"return false",
		"internal/dialect TestPeekTellsWhatARequestBelongsTo",
	},
	{
		"a header of less weight names the session", "internal/gateway/session.go",
		"if s.body == p.Signal {",
		"if s.body == p.Signal && h.Get(\"X-Session-Id\") == \"\" {",
		"internal/gateway TestTheMoreSpecificSignalWins",
	},
	{
		"an answer that is not stored is remembered", "internal/gateway/keep.go",
		"if x.match.API == route.Responses && !x.unkept {",
		"if x.match.API == route.Responses {",
		"internal/gateway TestWhatIsKeptNowhereIsNotRemembered",
	},
	{
		"what an answer makes is remembered after the client has it", "internal/gateway/converse.go",
		"\t\t\tf.see(ev.Raw)\n",
		"",
		"internal/gateway TestWhatIsKeptIsAskedForWhereItIs",
	},
}
