package main

import "slices"

// all lists the mutants. A fault that is worth fearing belongs here, with the test
// that would notice it.
func all() []mutant {
	return slices.Concat(poolMutants, sessionMutants, limitMutants, lineMutants, loopMutants, verdictMutants, byteMutants, doorMutants, upstreamMutants, gatewayMutants, recordMutants, storeMutants, archiveMutants)
}

// What a provider's answers mean.
//
//nolint:gochecknoglobals // a constant table
var verdictMutants = []mutant{
	{
		"a server's error marks the key", "keypool/verdict/tables.go",
		"\t{then: Broken()},",
		"\t{then: cool(Scope{Level: Key})},",
		"keypool/verdict TestClassify",
	},
	{
		"a date in Retry-After is forgotten", "keypool/verdict/wait.go",
		"if t, err := http.ParseTime(v); err == nil {",
		"if t, err := http.ParseTime(v); err == nil && t.IsZero() {",
		"keypool/verdict TestWaits",
	},
	{
		"a wait that is too long to be true is believed", "keypool/verdict/wait.go",
		"case d > maxWait:",
		"case d > 100*maxWait:",
		"keypool/verdict TestWaits",
	},
	{
		"a rate limit's bucket ends a refusal for want of money", "keypool/verdict/wait.go",
		"if !billing {",
		"if !billing || billing {",
		"keypool/verdict TestBillingWaits",
	},
	{
		"a region that is not served condemns the key", "keypool/verdict/tables.go",
		`"unsupported_country_region_territory", "request_forbidden"), then: stop(Egress)}`,
		`"unsupported_country_region_territory", "request_forbidden"), then: condemn(Key, Forbidden)}`,
		"keypool/verdict TestClassify",
	},
}

// What the pool remembers, and which key it asks next.
//
//nolint:gochecknoglobals // a constant table
var poolMutants = []mutant{
	{
		"a benched key is probed", "keypool/probe.go",
		"if m.key.bench.inForce(now) {",
		"if false && m.key.bench.inForce(now) {",
		"keypool TestBenchedKeyIsNeitherProbedNorTried",
	},
	{
		"a draining key takes new sessions", "keypool/operator.go",
		"return m.key.draining && !w.keeps(m)",
		"return false && !w.keeps(m)",
		"keypool TestDrainingKeyFinishesItsSessions",
	},
	{
		"an operator's revival leaves the key's organization out", "keypool/operator.go",
		"if d != nil {",
		"if d != nil && d.level == verdict.Key {",
		"keypool TestReviveEndsWhatKeepsTheKeyOut",
	},
	{
		"a restart makes deadlines begin anew", "keypool/persist.go",
		"b.since, b.until, b.tryAt, b.probeAt = past(s.Since, now), s.Until, s.NextTry, s.NextProbe",
		"b.since, b.until, b.tryAt, b.probeAt = past(s.Since, now), now.Add(s.Until.Sub(s.Since)), s.NextTry, s.NextProbe",
		"keypool TestRestart",
	},
	{
		"an extended cooldown counts as a transition", "keypool/state.go",
		"if was == is {",
		"if was == is && is != Temporary {",
		"keypool TestCooldownNeverGetsShorter/a_longer_one_counts",
	},
	{
		"a cooldown may get shorter", "keypool/mark.go",
		"if !stated || !until.After(b.until) {",
		"if !stated || until.Equal(b.until) {",
		"keypool TestCooldownNeverGetsShorter",
	},
	{
		"repeated cooldowns do not double", "keypool/mark.go",
		"b.length = min(max(2*b.length, defaultCooldown), maxBackoff)",
		"b.length = defaultCooldown",
		"keypool TestCooldownDoublesUntilASuccess",
	},
	{
		"repeated cooldowns double without bound", "keypool/mark.go",
		"b.length = min(max(2*b.length, defaultCooldown), maxBackoff)",
		"b.length = max(2*b.length, defaultCooldown)",
		"keypool TestCooldownDoublesUntilASuccess",
	},
	{
		"a success does not end the doubling", "keypool/mark.go",
		"b.length, b.probes = 0, 0",
		"b.probes = 0",
		"keypool TestCooldownDoublesUntilASuccess",
	},
	{
		"an answer from before the recovery marks anew", "keypool/mark.go",
		"if v.Sent.Before(m.key.recovered) {",
		"if false {",
		"keypool TestStaleAnswersMarkNothing",
	},
	{
		"an answer from before the rejection softens it", "keypool/mark.go",
		"return sent.Before(b.recovered) || (b.open && b.permanent && !sent.After(b.since))",
		"return sent.Before(b.recovered)",
		"keypool TestRejectionIsNotSoftenedByWhatWasSentBeforeIt",
	},
	{
		"a success ends what was marked after it was sent", "keypool/mark.go",
		"if !sent.After(b.since) {",
		"if false {",
		"keypool TestSuccessEndsOnlyWhatWasMarkedBeforeItWasSent",
	},
	{
		"everybody tries the key that comes back", "keypool/state.go",
		"return busy",
		"return halfOpen",
		"keypool TestHalfOpenOneTriesAndTheOthersFollow",
	},
	{
		"an organization's limit takes out one key", "keypool/pool.go",
		"case l == verdict.Organization && m.org != nil:",
		"case l == verdict.Organization && m.org == m.key:",
		"keypool TestOrganizationIsTakenOutAtOnce",
	},
	{
		"a denial is remembered though no other key served", "keypool/do.go",
		"w.denials = append(w.denials, m.denial(v, w.want))",
		"w.pool.book.mu.Lock(); w.pool.book.denials.add(m.denial(v, w.want), v.Sent); w.pool.book.mu.Unlock()",
		"keypool TestDenialIsRememberedOnlyIfAnotherKeyServes",
	},
	{
		"an unknown refusal convicts at once", "keypool/mark.go",
		"if v.Mark != verdict.Cool && v.Mark != verdict.Condemn {",
		"if v.Mark != verdict.Cool && v.Mark != verdict.Condemn && v.Mark != verdict.Suspect {",
		"keypool TestNoConvictionWithoutAServedRequest",
	},
	{
		"the third key is never asked", "keypool/order.go",
		"i < len(members); i, at = i+1, at+1 {",
		"i < min(len(members), 2); i, at = i+1, at+1 {",
		"keypool TestWorkedExample",
	},
	{
		"a client that leaves keeps the key leased", "keypool/do.go",
		"l.drop() // the client's own doing: neutral",
		"_ = l",
		"keypool TestClientWhoLeavesCostsNothing",
	},
	{
		"a client that leaves costs the key a mark", "keypool/do.go",
		"if cause := context.Cause(ctx); cause != nil && err != nil {",
		"if cause := context.Cause(ctx); cause != nil && err == nil {",
		"keypool TestClientWhoLeavesCostsNothing",
	},
	{
		"a lease may be released twice", "keypool/lease.go",
		"if l.released {",
		"if l.released && l.pool == nil {",
		"keypool TestLeaseOrder",
	},
	{
		"each turn of a conversation counts as a request", "keypool/do.go",
		"w.want.Tally.add(w.pool.provider, s, w.handed)",
		"s.attempts.observe(w.handed)",
		"keypool TestTwoTurnTally",
	},
	{
		"a rate-limited probe gives credit back", "keypool/probe.go",
		"return v.Reason == verdict.RateLimited && condemned != verdict.QuotaExhausted",
		"return v.Reason == verdict.RateLimited",
		"keypool TestWhatProbesTell",
	},
	{
		"a reload forgets the health of the keys", "keypool/adopt.go",
		"d := b.domains[id]",
		"var d *domain",
		"keypool TestAdopt",
	},
	{
		"an exhausted pool counts twice", "keypool/end.go",
		"p.book.series.exhaustion(e.Outcome)",
		"p.book.series.exhaustion(e.Outcome); p.book.series.exhaustion(e.Outcome)",
		"keypool TestExhaustion",
	},
	{
		"the log shows the secret", "keypool/event.go",
		`slog.String("hint", e.member.hint)`,
		`slog.String("hint", e.member.secret)`,
		"keypool TestLogLines",
	},
}

// How bodies are cut into events, and what the events say.
//
//nolint:gochecknoglobals // a constant table
var byteMutants = []mutant{
	{
		"a carriage return at the end of a read is dropped", "internal/wire/reader.go",
		"\t\tr.end += n\n",
		"\t\tif r.end += n; n > 0 && r.buf[r.end-1] == '\\r' { r.end-- }\n",
		"internal/wire TestServerSentEvents",
	},
	{
		"a line feed after a carriage return is a line of its own", "internal/wire/scan.go",
		"s.skipLF = true",
		"s.skipLF = b == nil",
		"internal/wire TestEventIsDeliveredAsSoonAsItsBlankLineIsThere",
	},
	{
		"several lines of data are joined by a space", "internal/wire/scan.go",
		`s.joined = append(s.joined, '\n')`,
		`s.joined = append(s.joined, ' ')`,
		"internal/wire TestServerSentEvents",
	},
	{
		"a cut document passes for a whole one", "internal/wire/reader.go",
		"if !errors.Is(r.err, io.EOF) || r.end == 0 {",
		"if r.end == 0 {",
		"internal/wire TestCut",
	},
	{
		"a doubled model is accepted", "internal/dialect/peek.go",
		"\t\t\tif model {",
		"\t\t\tif model && at < 0 {",
		"internal/dialect TestPeek",
	},
	{
		"bytes after the object are accepted", "internal/dialect/walk.go",
		"if i = skipSpace(w.body, i); i < len(w.body) {",
		"if i = skipSpace(w.body, i); i < 0 {",
		"internal/dialect TestPeek",
	},
	{
		"cumulative usage is added up", "internal/dialect/messages/observe_usage.go",
		"*field = dialect.Count(value)",
		"*field += dialect.Count(value)",
		"internal/dialect/messages TestContract",
	},
	{
		"reasoning that stands beside the output is not counted", "internal/dialect/read.go",
		"u.Output += more",
		"u.Output += 0",
		"internal/dialect TestOpenAIUsage",
	},
	{
		"a usage in a choice is overlooked", "internal/dialect/chat/observe.go",
		"o.used(c.usage)",
		"_ = c.usage",
		"internal/dialect/chat TestRecords",
	},
	{
		"every page that a model opens is charged as a search", "internal/dialect/responses/observe_items.go",
		` && searches(it.raw) {`,
		` {`,
		"internal/dialect/responses TestSearches",
	},
	{
		"a message is complete before it stops", "internal/dialect/messages/observe.go",
		"\t\to.delta(e.Data)\n",
		"\t\to.delta(e.Data); o.turn.Complete = true\n",
		"internal/dialect/messages TestContract",
	},
	{
		"an error event bears no number of its own", "internal/dialect/errors.go",
		"Sequence: sequence}",
		"Sequence: 0 * sequence}",
		"internal/dialect/responses TestBreakContinuesTheNumbering",
	},
}
