package main

// Who shares a limit, and what is left of it.
//
//nolint:gochecknoglobals // a constant table
var limitMutants = []mutant{
	{
		"an answer's organization is not learned", "keypool/scope.go",
		"*s = said{organization, project, now}",
		"*s = said{since: now}",
		"keypool TestOrganizationIsLearnedFromAnswers",
	},
	{
		"joining those who are out counts as a transition", "keypool/scope.go",
		"m.key.state = m.stateAt(now)",
		"_ = m.key.state",
		"keypool TestJoiningThoseWhoAreOut",
	},
	{
		"an answer is heard before the configuration", "keypool/scope.go",
		`if name := m.configured(l); name != "" {`,
		`if name := m.configured(l); name != "" && m.key.said.at(l).Name == "" {`,
		"keypool TestConfiguredScopesWin",
	},
	{
		"an upstream that says something else each time is followed", "keypool/scope.go",
		"moves && now.Sub(s.since) < movesAfter",
		"moves && now.Sub(s.since) < 0",
		"keypool TestWhatIsLearnedIsBounded",
	},
	{
		"what is in flight counts for nothing", "keypool/headroom.go",
		"spare = min(spare, b.at(now)-float64(mt.pending[i]+n[i])*b.unit)",
		"spare = min(spare, b.at(now)-float64(n[i])*b.unit)",
		"keypool TestBurstIsSpreadByWhatIsInFlight",
	},
	{
		"a limit never fills", "keypool/headroom.go",
		"return min(1, b.left+b.refill*float64(now-b.since))",
		"return min(1, b.left)",
		"keypool TestHeadroomAvoidsRefusals",
	},
	{
		"an older report is believed", "keypool/headroom.go",
		"if !newer && l.sent.Before(mt.base.Add(-together)) {",
		"if false {",
		"keypool TestOlderReportIsPassedOver",
	},
	{
		"a workspace's limit is taken for its organization's", "keypool/headroom.go",
		"\t*first = claim{l.Max, by}\n\treturn false\n",
		"\t*first = claim{l.Max, by}\n\treturn true\n",
		"keypool TestFirstReportIsNotTheOrganizations",
	},
	{
		"output is given back when the answer ends", "keypool/charge.go",
		"mt.tanks[out].take(float64(u.OutputTokens)*l.since(&mt.rows[out], now), at)",
		"mt.tanks[out].take(0, at)",
		"keypool TestOutputIsTakenAsItIsWritten",
	},
	{
		"an invented model displaces one whose limits are known", "keypool/lane.go",
		"if (reported || !l.reported) &&",
		"if (reported || l.reported || !l.reported) &&",
		"keypool TestModelsWhoseLimitsAreKeptAreBounded",
	},
	{
		"an unknown key gets a whole burst", "keypool/headroom.go",
		"if sent && !heard {",
		"if sent && !heard && spare < 0 {",
		"keypool TestUnknownKeyIsTriedWithOneCall",
	},
	{
		"more left than there is shows", "keypool/verdict/limits.go",
		"if err != nil || remaining < 0 || remaining > limit {",
		"if err != nil || remaining < 0 {",
		"keypool/verdict TestLimits",
	},
	{
		"a call that would fail asks a key before a deadline that is stated and near", "keypool/resort.go",
		"!b.barred(now) && !b.probing && !b.credible() &&",
		"!b.barred(now) && !b.probing &&",
		"keypool TestNoLastResortBeforeANearDeadline",
	},
	{
		"a call that would fail asks no key that is out", "keypool/do.go",
		"	if s.fails() {",
		"	if s.fails() && s.wait.what != nothing {",
		"keypool TestCallThatWouldFailAsksAKeyWhoseEndNobodyKnows",
	},
	{
		"an unknown session's prompt counts as cached everywhere", "keypool/headroom.go",
		"return w.home.id != 0 &&",
		"return w.home.stay != nil &&",
		"keypool TestPromptOfAnUnknownSessionCountsAsAWhole",
	},
	{
		"a refusal of a key that is used up never marks it", "keypool/walk.go",
		"!w.fits(m) && !w.usedUp(m)",
		"!w.fits(m)",
		"keypool TestRefusalOfAKeyThatIsUsedUpMarksIt",
	},
	{
		"weighted turns cost nothing", "keypool/order.go",
		"turn.key.credit -= m.weight",
		"turn.key.credit -= 0",
		"keypool TestWeighted",
	},
}
