// Package fault is the gateway's own kind of error: a code that decides the HTTP
// status, a public half written for the caller, and a private half for the log.
package fault

import (
	"fmt"
	"net/http"
	"strings"
)

// Code says what went wrong in the terms of the gateway. The table in Status
// is the only place where a code becomes an HTTP status.
type Code string

// The codes.
const (
	BadRequest     Code = "bad_request"       // the request cannot be understood
	Unauthorized   Code = "unauthorized"      // no or a wrong gateway token
	Forbidden      Code = "forbidden"         // a web page or a foreign host
	NotFound       Code = "not_found"         // no such route
	ModelNotFound  Code = "model_not_found"   // no key of the pool admits the model
	TooLarge       Code = "too_large"         // the body is over its limit
	Unsupported    Code = "unsupported"       // a content encoding we cannot read
	Upgrade        Code = "upgrade_required"  // WebSocket is not spoken here
	RateLimited    Code = "rate_limited"      // every key cools; RetryAfter says how long
	QuotaExhausted Code = "quota_exhausted"   // every key is out of credit or refused
	AuthFailed     Code = "auth_failed"       // every key was rejected
	Disabled       Code = "provider_disabled" // switched off by the operator
	Unavailable    Code = "unavailable"       // the gateway is stopping
	BadUpstream    Code = "bad_upstream"      // the upstream broke off or gave no answer
	Timeout        Code = "upstream_timeout"  // the upstream did not answer in time
	RequestTimeout Code = "request_timeout"   // the caller did not send its body in time
	Unrecorded     Code = "unrecorded"        // what is served must be recorded, and cannot be
	Internal       Code = "internal"          // our own bug
)

var statuses = map[Code]int{ //nolint:gochecknoglobals // a constant table
	BadRequest:     http.StatusBadRequest,
	Unauthorized:   http.StatusUnauthorized,
	Forbidden:      http.StatusForbidden,
	NotFound:       http.StatusNotFound,
	ModelNotFound:  http.StatusNotFound,
	TooLarge:       http.StatusRequestEntityTooLarge,
	Unsupported:    http.StatusUnsupportedMediaType,
	Upgrade:        http.StatusUpgradeRequired,
	RateLimited:    http.StatusTooManyRequests,
	QuotaExhausted: http.StatusBadGateway,
	AuthFailed:     http.StatusBadGateway,
	Disabled:       http.StatusServiceUnavailable,
	Unavailable:    http.StatusServiceUnavailable,
	BadUpstream:    http.StatusBadGateway,
	Timeout:        http.StatusGatewayTimeout,
	RequestTimeout: http.StatusRequestTimeout,
	Unrecorded:     http.StatusServiceUnavailable,
	Internal:       http.StatusInternalServerError,
}

// Error is an error with two halves: Public may be shown to any caller and never
// holds a secret, an address or a file name; Err is for the log only.
type Error struct {
	Code   Code
	Public string
	Err    error
	// RetryAfter is how many seconds the caller should wait. Zero: nobody knows.
	RetryAfter int
	// RequestID is shown to the caller where the API has a place for it.
	RequestID string
}

// New makes an Error whose public text is formatted from the arguments.
func New(code Code, format string, args ...any) *Error {
	return &Error{Code: code, Public: fmt.Sprintf(format, args...)}
}

// Wrap makes an Error with a private cause.
func Wrap(code Code, err error, public string) *Error {
	return &Error{Code: code, Public: public, Err: err}
}

// Error returns both halves; write Public to callers instead.
func (e *Error) Error() string {
	if e.Err == nil {
		return string(e.Code) + ": " + e.Public
	}
	return string(e.Code) + ": " + strings.TrimSuffix(e.Public, ".") + ": " + e.Err.Error()
}

// Unwrap returns the private half.
func (e *Error) Unwrap() error { return e.Err }

// Status is the HTTP status of the error's code.
func (e *Error) Status() int {
	if s, ok := statuses[e.Code]; ok {
		return s
	}
	return http.StatusInternalServerError
}
