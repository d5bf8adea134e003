package main

// Waiting, and deadlines that are not true.
//
//nolint:gochecknoglobals // a constant table
var lineMutants = []mutant{
	{
		"the caller with the most requests always goes first", "keypool/line.go",
		"b.line.turns.MoveToBack(c.turn)",
		"b.line.turns.MoveToFront(c.turn)",
		"keypool TestLineTakesCallersInTurns",
	},
	{
		"the line has no end", "keypool/line.go",
		"if l.n >= maxLine && !b.displace(w.want.Caller, now) {",
		"if l.n >= 1000*maxLine {",
		"keypool TestLineIsBounded",
	},
	{
		"a trial's end wakes nobody", "keypool/lease.go",
		"\tl.trials = nil\n\tl.pool.book.letGo(now)\n",
		"\tl.trials = nil\n",
		"keypool TestHalfOpenNeutralEndHandsTheTrialOn",
	},
	{
		"a lease for one who has left is kept", "keypool/line.go",
		"q.lease.drop()",
		"_ = q.lease",
		"keypool TestLineLeaseForOneWhoLeavesGoesToTheNext",
	},
	{
		"a reload leaves those in line with the old keys", "keypool/adopt.go",
		"\tb.rehome(p)\n",
		"",
		"keypool TestLineOverAReload",
	},
	{
		"another host gets the keys of a call that waits", "keypool/walk.go",
		"if w.pool == p || w.pool.host != p.host ||",
		"if w.pool == p ||",
		"keypool TestLineOverAReload",
	},
	{
		"the time for trials is on top of the time to wait", "keypool/end.go",
		"func (w *walk) mayWait() time.Duration { return w.pool.opts.MaxWait - w.waited - w.patience }",
		"func (w *walk) mayWait() time.Duration { return w.pool.opts.MaxWait - w.waited }",
		"keypool TestLineWaitsInAllNoLongerThanItMay",
	},
	{
		"those in line go though there is no room", "keypool/end.go",
		"return comes\n",
		"return comes && !comes\n",
		"keypool TestLineLetsGoAsManyAsThereIsRoomFor",
	},
	{
		"one caller fills the line for all", "keypool/line.go",
		"most.calls.Len() <= own",
		"own > 0",
		"keypool TestFullLineTakesFromWhoHasTheMost",
	},
	{
		"those in line wait for room that never comes", "keypool/end.go",
		"_, comes := w.soonestRoom(now)",
		"comes := true",
		"keypool TestLineDoesNotWaitForRoomThatNeverComes",
	},
	{
		"a full line turns away those who need not wait", "keypool/do.go",
		"roomy.lease != nil",
		"roomy.lease != nil && false",
		"keypool TestFullLineTurnsNobodyAwayWhoNeedNotWait",
	},
	{
		"a deadline is believed however often it is wrong", "keypool/mark.go",
		"} else if least := now.Add(min(b.wrong/distrust, maxBackoff)); until.Before(least) {",
		"} else if least := now.Add(min(b.wrong/distrust, 0)); until.Before(least) {",
		"keypool TestDeadlinesThatProveTooEarlyAreDistrusted",
	},
	{
		"a trial without an answer bars all others", "keypool/state.go",
		"return b.trial != nil && now.Sub(b.trial.sent) < trialTime",
		"return b.trial != nil",
		"keypool TestTrialWithoutAnAnswerBarsTheNextForAnHour",
	},
	{
		"a far deadline is never verified", "keypool/mark.go",
		"b.every, b.tryAt = every, now.Add(every)",
		"b.every = every",
		"keypool TestBogusDeadlineFreezesNothingLongerThanTheCap",
	},
	{
		"a quota's date that has come condemns", "keypool/verdict/classify.go",
		"if t := stated(&p, a.Header, a.Now, true); !t.IsZero() {",
		"if t := stated(&p, a.Header, a.Now, true); t.After(a.Now.Add(time.Second)) {",
		"keypool/verdict TestBillingWaits",
	},
	{
		"a wait is left out of the trail", "keypool/line.go",
		"if spent > 0 {",
		"if spent < 0 {",
		"keypool TestTrail",
	},
}
