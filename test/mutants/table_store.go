package main

// What a store writes and deletes.
//
//nolint:gochecknoglobals // a constant table
var storeMutants = []mutant{
	{
		"what is written twice is counted twice", "internal/store/write.go",
		"if err == nil && changed != count {",
		"if err == nil && changed > count {",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a beginning replaces an end", "internal/store/tables.go",
		`began:   batch{table: &table{"interceptions", interceptions, " ON CONFLICT (id) DO NOTHING"}},`,
		`began:   batch{table: &table{"interceptions", interceptions, overwrite}},`,
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"what was lost is counted beside what it became", "internal/store/write.go",
		"total.requests--",
		"total.requests -= 0",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"what a failed transaction has learned is kept", "internal/store/write.go",
		"m.rollback()",
		"m.commit()",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"the same call id in another session makes a thread", "internal/store/threads.go",
		"(o.n.session == 0 || n.session == 0) && ",
		"",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a caller makes as many kinds as he likes", "internal/store/kinds.go",
		"ks.counted[who]+ks.new[who] < most",
		"ks.counted[who] >= 0",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"what is in the tables is new to each process", "internal/store/doubts.go",
		"if ks.there[id] {",
		"if ks.there[id] && id < 0 {",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"the model of a new kind goes with its version", "internal/store/kinds.go",
		"return [...]interceptionKind{k, rough, coarse}",
		"return [...]interceptionKind{k, coarse, coarse}",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"rows are of kinds that were not written", "internal/store/doubts.go",
		"b.args[at].Value = to",
		"_ = to",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"hours are of kinds that were not written", "internal/store/doubts.go",
		"at.kind = to\n",
		"_ = to\n",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"another file is taken for the one that was there", "internal/store/instances.go",
		"*w.epoch = 0 //",
		"//",
		"internal/store/sqlite TestFileGone",
	},
	{
		"a panic leaves the connection in a transaction", "internal/store/write.go",
		"err = w.attempt(f)",
		"err = f()",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"session names that are one text are two sessions", "internal/store/sessions.go",
		"sessionName{plain(e.Principal.Name), plain(e.Session)}",
		"sessionName{e.Principal.Name, e.Session}",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"two of one millisecond are one", "internal/store/write.go",
		"if nonce == n.nonce {",
		"if nonce == n.nonce || nonce > 0 {",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"the hour is that of the end", "internal/store/write.go",
		"micros(e.Start) / hour * hour",
		"micros(e.End) / hour * hour",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"anybody's call makes a thread", "internal/store/threads.go",
		"_, _ = h.WriteString(caller) // it never fails",
		"_ = caller",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a conversation ends with the process", "internal/store/threads.go",
		"w.recalled[questions[n]] = r",
		"_ = r",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a tool that failed is not noted", "internal/store/threads.go",
		"if failed && r.seq != noCall {",
		"if !failed && r.seq != noCall {",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"an hour that costs more than a number says ends the recording", "internal/store/tables.go",
		`atMost("usage_hours."+c, "excluded."+c)`,
		`"usage_hours." + c + " + excluded." + c`,
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"who has spent a lot has spent nothing", "internal/store/sums.go",
		"if v > 0 && sum > math.MaxInt64-v {",
		"if v < 0 && sum < v {",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a sum loses what is between its halves", "internal/store/sums.go",
		"high := *l.sum + n>>half",
		"high := *l.sum",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a long session is gone through again and again", "internal/store/queries_list.go",
		"w.direct = true\n\t\treturn w.weigh()",
		"return w.weigh()",
		"internal/store TestLongSession",
	},
	{
		"a number that cannot be true is summed", "internal/store/rows.go",
		"{ return min(max(v, 0), most) }",
		"{ return max(v, 0, -most) }",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"retention leaves what belongs to an interception", "internal/store/prune.go",
		`if table == "interceptions" {
			return`,
		`if table == "" {
			return`,
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a caller's sessions stay", "internal/store/forget.go",
		`"sessions WHERE caller = ?"`,
		`"sessions WHERE caller = ? AND 1 = 0"`,
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"a writer does not hear of what was deleted", "internal/store/prune.go",
		"SET epoch = epoch + 1",
		"SET epoch = epoch",
		"internal/store/storetest TestWriteSQLite",
	},
	{
		"who could not look calls the others silent", "internal/store/instances.go",
		"if now.Sub(w.beaten) > unseen/2 {",
		"if now.Sub(w.beaten) > 1000*unseen {",
		"internal/store/sqlite TestSilence",
	},
	{
		"two gateways write to one file", "internal/store/sqlite/lock_unix.go",
		"syscall.LOCK_EX|syscall.LOCK_NB",
		"syscall.LOCK_SH|syscall.LOCK_NB",
		"internal/store/sqlite TestOneGatewayAtATime",
	},
	{
		"a file that is gone is written on", "internal/store/sqlite/sqlite.go",
		"Gone: f.gone, Check: func() error { return f.same(about) }}, nil",
		"Gone: f.gone}, nil",
		"internal/store/sqlite TestFileGone",
	},
	{
		"a damaged file is opened again and again", "internal/store/sqlite/sqlite.go",
		"if damaged(err) {",
		"if damaged(err) && f.suspect {",
		"internal/store/sqlite TestDamageIsSetAside",
	},
	{
		"everybody may read the record", "internal/store/sqlite/sqlite.go",
		"os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)",
		"os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o644)",
		"internal/store/sqlite TestOnlyTheOwnerMayReadIt",
	},
}
