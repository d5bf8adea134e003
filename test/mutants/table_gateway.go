package main

// Who is let in, and to what.
//
//nolint:gochecknoglobals // a constant table
var doorMutants = []mutant{
	{
		"a web page may rebind a name to this machine", "internal/auth/local.go",
		"if !loopback(r.Host) {",
		"if !loopback(r.Host) && r.Host == \"\" {",
		"internal/auth TestIdentifyOpen",
	},
	{
		"a web page of another origin is served", "internal/auth/local.go",
		"if !sameHost(origin, r.Host) {",
		"if !sameHost(origin, r.Host) && origin == \"\" {",
		"internal/auth TestIdentifyOpen",
	},
	{
		"what begins with a token is a token", "internal/auth/auth.go",
		"\tsum := sha256.Sum256([]byte(c))",
		"\tsum := sha256.Sum256([]byte(c)[:min(len(c), 19)])", // as long as the test's token
		"internal/auth TestNearlyAToken",
	},
	{
		"a token of the gateway is sent upstream as a key", "internal/auth/auth.go",
		`case b == nil && own == "" && !equalsAny(c, tokens):`,
		`case own == "" && !equalsAny(c, tokens):`,
		"internal/auth TestIdentifyWithTokens",
	},
	{
		"the whole network is let in without a token", "internal/config/address.go",
		`if okListen && !listen.loopback && !d.written("tokens[0]") {`,
		`if okListen && listen.loopback && !listen.loopback && !d.written("tokens[0]") {`,
		"internal/config TestBad",
	},
	{
		"an account is administered through the gateway", "internal/route/endpoints.go",
		`	{"/v1/embeddings", post, Opaque, infer},`,
		`	{"/v1/embeddings", post, Opaque, infer}, {"/v1/organization/{id}", get, Opaque, 0},`,
		"internal/route TestRefused",
	},
	{
		"a path climbs out of its route", "internal/route/path.go",
		`if part == "." || part == ".." {`,
		`if part == "." {`,
		"internal/route TestRefused",
	},
	{
		"a disabled provider takes the short form", "internal/route/route.go",
		"if *short < 0 || p.Enabled && !t.providers[*short].Enabled {",
		"if *short < 0 {",
		"internal/route TestProviders",
	},
}

// What goes to the provider, and what of its answer goes to the client.
//
//nolint:gochecknoglobals // a constant table
var upstreamMutants = []mutant{
	{
		"the caller's credential goes upstream", "internal/upstream/header.go",
		`"Authorization":  drop,`,
		`"Authorization":  pass,`,
		"internal/upstream TestSendBytes",
	},
	{
		"the gateway's token goes upstream", "internal/upstream/header.go",
		`strings.HasPrefix(k, "X-Keybridge-"), `,
		``,
		"internal/upstream TestSendBytes",
	},
	{
		"a client is told of one key's limits", "internal/upstream/header.go",
		"if !known && isRateHeader(k) {",
		"if known && isRateHeader(k) {",
		"internal/upstream TestClientHeader",
	},
	{
		"the transport sends again by itself", "internal/upstream/header.go",
		"k = strings.ToLower(k)",
		"k = strings.Clone(k)",
		"internal/upstream TestSendIsNeverRepeated",
	},
	{
		"an escaped slash becomes a slash", "internal/upstream/request.go",
		"Path: plain, RawPath: raw, RawQuery: query",
		"Path: plain, RawQuery: query",
		"internal/upstream TestSendBytes",
	},
	{
		"a secret in base64 is not masked", "internal/upstream/mask.go",
		"\t\t\tm.add64([]byte(s))\n",
		"",
		"internal/upstream TestMaskForms",
	},
	{
		"a piece of a secret is not masked", "internal/upstream/mask.go",
		"needle{[]byte(s), min(len(s), pieceLen)}",
		"needle{[]byte(s), len(s)}",
		"internal/upstream TestMask",
	},
	{
		"an error body may stall for ever", "internal/upstream/errorbody.go",
		"_ = resp.Body.Close() // the one way to end a Read",
		"",
		"internal/upstream TestReadErrorStalled",
	},
}

// How an answer is held, committed, relayed and ended.
//
//nolint:gochecknoglobals // a constant table
var gatewayMutants = []mutant{
	{
		"an attempt that was given up goes on", "internal/gateway/bounds.go",
		"if b.stop != nil && b.stop() {",
		"if b.stop != nil && !b.stop() {",
		"internal/gateway TestBoundsAreAsTheStandardLibrarys",
	},
	{
		"the last cause counts, not the first", "internal/gateway/bounds.go",
		"if b.ended.Load() || b.call.Err() != nil {",
		"if b.call.Err() != nil {",
		"internal/gateway TestBoundsAreAsTheStandardLibrarys",
	},
	{
		"a cause that comes later takes the place of the first", "internal/gateway/bounds.go",
		"context.WithCancelCause(context.WithoutCancel(b.call))",
		"context.WithCancelCause(b.call)",
		"internal/gateway TestBoundsAreAsTheStandardLibrarys",
	},
	{
		"an answer is committed at its first byte", "internal/gateway/out.go",
		"if len(o.held) > o.stream.HoldBytes {",
		"if len(o.held) > 0 {",
		"internal/gateway TestFailedPreambleIsGone",
	},
	{
		"an answer is held for ever", "internal/gateway/out.go",
		"o.heldSince = time.Now()",
		"o.heldSince = time.Now().Add(time.Hour)",
		"internal/gateway TestHoldIsBoundedByTime",
	},
	{
		"a client is pinged before the commit", "internal/gateway/watch.go",
		"if o.started && o.pings && due(o.lastWrite, o.stream.Ping) {",
		"if o.pings && (o.lastWrite.IsZero() || due(o.lastWrite, o.stream.Ping)) {",
		"internal/gateway TestSilentBeforeCommit",
	},
	{
		"a slow client makes the upstream look silent", "internal/gateway/watch.go",
		"o.timer.Reset(busy) // whoever writes is neither silent nor waiting",
		"o.timer.Reset(busy); o.cancel(errIdle)",
		"internal/gateway TestSlowClient",
	},
	{
		"a cut document is committed", "internal/gateway/gate.go",
		"return x.gateEnd(ctx, f, io.ErrUnexpectedEOF)",
		"x.out.commit(); x.forward(f, ev, kind); return verdict.Success(), nil",
		"internal/gateway TestTruncatedJSONWithProperEnd",
	},
	{
		"only blocking answers are observed", "internal/gateway/converse.go",
		"x.forward(f, ev, f.observer.Event(ev))",
		"x.forward(f, ev, dialect.Content)",
		"internal/gateway TestWhatIsComplete",
	},
	{
		"a stream that stops short passes for a whole one", "internal/gateway/converse.go",
		"(turn.Complete || x.record.Err != nil) && errors.Is(err, io.EOF):",
		"(turn.Complete || x.record.Err == nil) && errors.Is(err, io.EOF):",
		"internal/gateway TestWhatIsComplete",
	},
	{
		"a broken answer ends as if it were whole", "internal/gateway/exchange.go",
		"if caught != nil || x.abort {",
		"if caught != nil {",
		"internal/gateway TestEventBeyondAllBounds",
	},
	{
		"an answer keeps its key leased", "internal/gateway/converse.go",
		"f.lease.Release(x.used(f))",
		"_ = x.used(f)",
		"internal/gateway TestClientLeaves",
	},
	{
		"a caller's own key is charged to the pool", "internal/gateway/gateway.go",
		"case x.record.Principal.Credential == ledger.BYOK:",
		"case x.record.Principal.Credential == ledger.BYOK && t.Pool == nil:",
		"internal/gateway TestCredentials",
	},
	{
		"an error in a stream shows a secret", "internal/gateway/converse.go",
		"ev.Raw, ev.Data = m.Mask(ev.Raw), m.Mask(ev.Data)",
		"_ = m",
		"internal/gateway TestErrorEventAfterContent",
	},
	{
		"what creates is sent twice after an unclear break", "internal/gateway/attempt.go",
		"if x.upload != nil || (ambiguous && !x.match.Inference && !x.match.Idempotent) {",
		"if x.upload != nil || (ambiguous && x.match.Idempotent) {",
		"internal/app TestMatrix/cell/opaque_POST_that_creates/reset_before_the_head/first_key_bad",
	},
	{
		"an exhausted pool does not say when to come back", "internal/gateway/exchange.go",
		`h.Set("Retry-After", strconv.Itoa(f.RetryAfter))`,
		`_ = strconv.Itoa(f.RetryAfter)`,
		"internal/app TestMatrix/cell/messages_streaming/429_usual/all_bad",
	},
	{
		"clients hammer a pool that is out for long", "internal/gateway/exchange.go",
		"if f.RetryAfter > longWait {",
		"if f.RetryAfter > 1000*longWait {",
		"internal/app TestMatrix/cell/chat_blocking/429_stated_date/all_bad",
	},
	{
		"clients hammer a pool without a good key", "internal/gateway/exchange.go",
		"if f.Code == fault.QuotaExhausted || f.Code == fault.AuthFailed {",
		"if f.Code == fault.QuotaExhausted {",
		"internal/app TestMatrix/cell/responses_streaming/401/one_key_only",
	},
	{
		"a reload starts with unknown keys", "internal/app/snapshot.go",
		"t.Pool.Adopt(before[t.Name])",
		"_ = before[t.Name]",
		"internal/app TestReloadKeepsTheHealthOfTheKeys",
	},
	{
		"a restart starts with unknown keys", "internal/app/snapshot.go",
		"a.state.restore(t.Pool, before[t.Name])",
		"_ = before[t.Name]",
		"internal/app TestKilledGatewayKeepsTheHealthOfItsKeys",
	},
	{
		"keys that were taken out are forgotten at once", "internal/app/statedoc.go",
		"is.remember(was, now)",
		"_ = now",
		"internal/app TestKeysThatComeBackAreKnown",
	},
	{
		"two gateways write one state file", "internal/app/lock_unix.go",
		"return nil, errLocked",
		"return file, nil",
		"internal/app TestTwoGatewaysOnOneDataDir",
	},
	{
		"whoever reaches the operator's side may do everything", "internal/admin/guard.go",
		"case want != \"\" && !presents(r, want) && !health(r):",
		"case want != \"\" && !presents(r, want) && !health(r) && r.Method == \"\":",
		"internal/admin TestGuard",
	},
}

// What metrics, logs and records show.
//
//nolint:gochecknoglobals // a constant table
var recordMutants = []mutant{
	{
		"the model is a label as the client wrote it", "internal/metrics/metrics.go",
		"model := family(e.Model)",
		"model := e.Model",
		"internal/metrics TestModelsAreClosed",
	},
	{
		"a removed provider's series stay", "internal/metrics/metrics.go",
		"vec.DeletePartialMatch(gone)",
		"_, _ = vec, gone",
		"internal/metrics TestProvidersComeAndGo",
	},
	{
		"a failed exchange counts as completed", "internal/metrics/metrics.go",
		"series.byStatus[statusIndex(e.Status)].Inc()",
		"series.byStatus[0].Inc()",
		"internal/metrics TestBridged",
	},
	{
		"a secret prints", "internal/secret/secret.go",
		"func (v Value) String() string { return mask }",
		"func (v Value) String() string { return v.Reveal() }",
		"internal/secret TestValuePrintsNothing",
	},
	{
		"what an upstream says of a refusal is recorded", "internal/gateway/converse.go",
		"x.fail(a) // what",
		"// what",
		"internal/gateway TestWordsOfRefusalsAreNotRecorded",
	},
	{
		"what an attempt used that was repeated is counted", "internal/gateway/attempt.go",
		"x.unread = llm.Turn{} // of an attempt before",
		"_ = llm.Turn{}",
		"internal/gateway TestUsageOfWhatWasHeldBack",
	},
	{
		"a tool's server is quoted where arguments are not kept", "internal/gateway/loop.go",
		"quotes && !x.s.Keep.Arguments {",
		"quotes && x.s == nil {",
		"internal/gateway TestServersWordsAreKeptWithTheArguments",
	},
	{
		"calls that were not run are taken for the client's", "internal/gateway/account.go",
		"\tx.unrun()\n",
		"",
		"internal/gateway TestCallsThatWereNotRun",
	},
}
