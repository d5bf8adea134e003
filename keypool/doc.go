// Package keypool holds the API keys of one AI provider and moves a call from a
// failing key to a good one before its caller notices.
//
// A Pool is made from an ordered list of keys. Do runs one upstream call over it:
// it hands out a Lease on one key at a time to a function that sends the call and
// says what the answer means (a verdict.Verdict), and goes on with the next key
// until one has served or none could. Keys that were rate-limited come back at
// their deadline, keys that were rejected when a probe or a trial finds them good.
//
// NewTransport wraps a Pool into an http.RoundTripper, which is all most programs
// need. The package imports the standard library and the Prometheus client only.
package keypool
