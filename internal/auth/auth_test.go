package auth

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"keybridge/internal/fault"
	"keybridge/internal/ledger"

	"github.com/google/go-cmp/cmp"
)

const (
	tokenA = "kb-alice-0123456789"
	tokenB = "kb-bob-9876543210"
	own    = "sk-own-abcdefghijkl"
)

func request(host string, header ...string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/v1/messages", nil)
	r.Host = host
	for i := 0; i < len(header); i += 2 {
		r.Header.Add(header[i], header[i+1])
	}
	return r
}

// told is what the gates of these tests are told of their tokens' bearers.
var told = map[string]string{"alice": `{"team":"search"}`}

func pooled(name string) ledger.Principal {
	return ledger.Principal{Name: name, Metadata: told[name], Credential: ledger.Pooled}
}

func byok(name, secret, header string) ledger.Principal {
	return ledger.Principal{Name: name, Metadata: told[name], Credential: ledger.BYOK, Secret: secret, Header: header}
}

func TestIdentifyWithTokens(t *testing.T) {
	gate := New([]Token{{Name: "alice", Metadata: `{"team":"search"}`, Secret: tokenA}, {Name: "bob", Secret: tokenB}})
	tests := []struct {
		name   string
		header []string
		want   ledger.Principal
		says   string // part of the refusal; "" when let in
	}{
		{name: "none", says: "has none"},
		{name: "bearer", header: []string{"Authorization", "Bearer " + tokenA}, want: pooled("alice")},
		{name: "bearer, second token", header: []string{"Authorization", "Bearer " + tokenB}, want: pooled("bob")},
		{name: "lower-case bearer", header: []string{"Authorization", "bearer " + tokenA}, want: pooled("alice")},
		{name: "shouted bearer, wide space", header: []string{"Authorization", " BEARER \t " + tokenA + " "}, want: pooled("alice")},
		{name: "x-api-key", header: []string{"x-api-key", tokenA}, want: pooled("alice")},
		{name: "x-api-key with space", header: []string{"x-api-key", "\t" + tokenA + " "}, want: pooled("alice")},
		{name: "api-key", header: []string{"api-key", tokenA}, want: pooled("alice")},
		{name: "own header", header: []string{"X-Keybridge-Token", tokenA}, want: pooled("alice")},
		{name: "the same token twice", header: []string{"X-Keybridge-Token", tokenA, "Authorization", "Bearer " + tokenA}, want: pooled("alice")},
		{name: "two tokens: the dedicated header names the caller", header: []string{"X-Keybridge-Token", tokenB, "Authorization", "Bearer " + tokenA}, want: pooled("bob")},

		{name: "wrong", header: []string{"Authorization", "Bearer nope"}, says: "is wrong"},
		{name: "wrong in own header, own key", header: []string{"X-Keybridge-Token", "nope", "x-api-key", own}, says: "is wrong"},
		{name: "a prefix of a token", header: []string{"x-api-key", tokenA[:len(tokenA)-1]}, says: "is wrong"},
		{name: "another case", header: []string{"x-api-key", strings.ToUpper(tokenA)}, says: "is wrong"},
		{name: "empty everywhere", header: []string{"X-Keybridge-Token", "", "x-api-key", " ", "api-key", ""}, says: "is wrong"},
		{name: "basic", header: []string{"Authorization", "Basic " + tokenA}, says: "Bearer TOKEN"},
		{name: "no scheme", header: []string{"Authorization", tokenA}, says: "Bearer TOKEN"},
		{name: "scheme only", header: []string{"Authorization", "Bearer"}, says: "Bearer TOKEN"},
		{name: "scheme and spaces", header: []string{"Authorization", "Bearer   "}, says: "Bearer TOKEN"},
		{name: "scheme glued", header: []string{"Authorization", "Bearer" + tokenA}, says: "Bearer TOKEN"},

		{name: "one valid of several", header: []string{"X-Keybridge-Token", "nope", "Authorization", "Bearer " + tokenA}, want: pooled("alice")},
		{name: "one valid of several, other places", header: []string{"Authorization", "Bearer nope", "x-api-key", tokenA}, want: pooled("alice")},
		{name: "one valid of two lines", header: []string{"Authorization", "Bearer nope", "Authorization", "Bearer " + tokenB}, want: pooled("bob")},
		{name: "valid beside malformed", header: []string{"Authorization", "Basic x", "api-key", tokenA}, want: pooled("alice")},

		{name: "byok, bearer", header: []string{"X-Keybridge-Token", tokenA, "Authorization", "Bearer " + own}, want: byok("alice", own, "Authorization")},
		{name: "byok, x-api-key", header: []string{"X-Keybridge-Token", tokenA, "x-api-key", own}, want: byok("alice", own, "X-Api-Key")},
		{name: "byok, api-key", header: []string{"X-Keybridge-Token", tokenA, "api-key", own}, want: byok("alice", own, "Api-Key")},
		{name: "byok, a dummy is the caller's own", header: []string{"X-Keybridge-Token", tokenA, "api-key", "dummy"}, want: byok("alice", "dummy", "Api-Key")},
		{name: "byok, own key behind a token", header: []string{"X-Keybridge-Token", tokenA, "Authorization", "Bearer " + tokenB, "x-api-key", own}, want: byok("alice", own, "X-Api-Key")},
		{name: "byok, in both headers", header: []string{"X-Keybridge-Token", tokenA, "x-api-key", own, "Authorization", "Bearer " + own}, want: byok("alice", own, "Authorization")},
		{name: "byok, second of two lines", header: []string{"X-Keybridge-Token", tokenA, "x-api-key", "", "x-api-key", own}, want: byok("alice", own, "X-Api-Key")},
		{name: "byok, a wrong line beside a valid one", header: []string{"X-Keybridge-Token", "nope", "X-Keybridge-Token", tokenA, "x-api-key", own}, want: byok("alice", own, "X-Api-Key")},
		{name: "no byok: empty credential", header: []string{"X-Keybridge-Token", tokenA, "x-api-key", ""}, want: pooled("alice")},
		{name: "no byok: malformed credential", header: []string{"X-Keybridge-Token", tokenA, "Authorization", "Basic eA=="}, want: pooled("alice")},
		{name: "no byok: a token of this gateway", header: []string{"X-Keybridge-Token", tokenA, "x-api-key", tokenB}, want: pooled("alice")},
		{name: "no byok: own key without the header", header: []string{"Authorization", "Bearer " + tokenA, "x-api-key", own}, want: pooled("alice")},
		{name: "no byok: the header holds no token", header: []string{"X-Keybridge-Token", "nope", "Authorization", "Bearer " + tokenA, "x-api-key", own}, want: pooled("alice")},
		{name: "no byok: equal to a line of the header", header: []string{"X-Keybridge-Token", tokenA, "X-Keybridge-Token", "nope", "x-api-key", "nope"}, want: pooled("alice")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := request("gateway.example.com", tt.header...)
			r.Header.Set("Origin", "https://page.example") // a page cannot know the token
			before := r.Header.Clone()
			got, f := gate.Identify(r)
			check(t, got, f, outcome{tt.want, fault.Unauthorized, tt.says})
			if diff := cmp.Diff(before, r.Header); diff != "" {
				t.Errorf("the request's header was changed (-before +after):\n%s", diff)
			}
			if f != nil {
				for _, secret := range []string{tokenA, tokenB, own, "nope"} {
					if strings.Contains(f.Error(), secret) {
						t.Errorf("refusal %q quotes the credential %q", f, secret)
					}
				}
			}
		})
	}
}

// outcome is what a gate should say.
type outcome struct {
	principal ledger.Principal
	code      fault.Code
	says      string // part of the refusal; "" when let in
}

func check(t *testing.T, got ledger.Principal, f *fault.Error, want outcome) {
	t.Helper()
	if diff := cmp.Diff(want.principal, got); diff != "" {
		t.Errorf("principal (-want +got):\n%s", diff)
	}
	switch {
	case want.says == "" && f != nil:
		t.Errorf("refused: %v", f)
	case want.says != "" && f == nil:
		t.Errorf("let in, want a refusal that says %q", want.says)
	case want.says != "" && (f.Code != want.code || !strings.Contains(f.Public, want.says)):
		t.Errorf("refused with %s %q, want %s saying %q", f.Code, f.Public, want.code, want.says)
	}
}

func TestIdentifyOpen(t *testing.T) {
	gate := New(nil)
	const host = "127.0.0.1:8787"
	tests := []struct {
		name   string
		host   string
		header []string
		want   ledger.Principal
		says   string
	}{
		{name: "bare", host: host, want: pooled("")},
		{name: "client's placeholder key", host: host, header: []string{"Authorization", "Bearer x"}, want: pooled("")},
		{name: "127/8", host: "127.9.8.7", want: pooled("")},
		{name: "localhost", host: "LocalHost:8787", want: pooled("")},
		{name: "v6", host: "[::1]:8787", want: pooled("")},
		{name: "v6 without port", host: "[::1]", want: pooled("")},
		{name: "v4 in v6", host: "[::ffff:127.0.0.1]:1", want: pooled("")},

		{name: "byok", host: host, header: []string{"X-Keybridge-Token", "anything", "x-api-key", own}, want: byok("", own, "X-Api-Key")},
		{name: "byok, empty header value", host: host, header: []string{"X-Keybridge-Token", "", "Authorization", "Bearer " + own}, want: byok("", own, "Authorization")},
		{name: "no byok: equal", host: host, header: []string{"X-Keybridge-Token", own, "Authorization", "Bearer " + own}, want: pooled("")},
		{name: "byok: another place than the equal one", host: host, header: []string{"X-Keybridge-Token", "x", "Authorization", "Bearer x", "api-key", own}, want: byok("", own, "Api-Key")},
		{name: "no byok: nothing else", host: host, header: []string{"X-Keybridge-Token", "x"}, want: pooled("")},

		{name: "rebound name", host: "evil.example:8787", says: "loopback host"},
		{name: "empty host", host: "", says: "loopback host"},
		{name: "lookalike", host: "127.0.0.1.evil.example", says: "loopback host"},
		{name: "lookalike name", host: "localhost.evil.example", says: "loopback host"},
		{name: "private network", host: "192.168.1.2:8787", says: "loopback host"},
		{name: "any", host: "0.0.0.0:8787", says: "loopback host"},
		{name: "rebound name with byok", host: "evil.example", header: []string{"X-Keybridge-Token", "x", "x-api-key", own}, says: "loopback host"},

		{name: "same origin", host: host, header: []string{"Origin", "http://127.0.0.1:8787"}, want: pooled("")},
		{name: "same origin, case", host: "localhost:8787", header: []string{"Origin", "http://LOCALHOST:8787"}, want: pooled("")},
		{name: "foreign origin", host: host, header: []string{"Origin", "https://evil.example"}, says: "another origin"},
		{name: "another port", host: host, header: []string{"Origin", "http://127.0.0.1:3000"}, says: "another origin"},
		{name: "another loopback name", host: host, header: []string{"Origin", "http://localhost:8787"}, says: "another origin"},
		{name: "null origin", host: host, header: []string{"Origin", "null"}, says: "another origin"},
		{name: "empty origin", host: host, header: []string{"Origin", ""}, says: "another origin"},
		{name: "an application's scheme", host: host, header: []string{"Origin", "app://127.0.0.1:8787"}, says: "another origin"},
		{name: "user info", host: host, header: []string{"Origin", "http://evil.example@127.0.0.1:8787"}, says: "another origin"},
		{name: "unparsable", host: host, header: []string{"Origin", "http://%zz"}, says: "another origin"},
		{name: "second line is foreign", host: host, header: []string{"Origin", "http://" + host, "Origin", "https://evil.example"}, says: "another origin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, f := gate.Identify(request(tt.host, tt.header...))
			check(t, got, f, outcome{tt.want, fault.Forbidden, tt.says})
		})
	}
}

func TestEmptyTokenLetsNobodyIn(t *testing.T) {
	gate := New([]Token{{Name: "broken", Secret: ""}})
	for _, header := range [][]string{nil, {"x-api-key", ""}, {"Authorization", "Bearer "}, {"X-Keybridge-Token", ""}} {
		if p, f := gate.Identify(request("127.0.0.1", header...)); f == nil {
			t.Errorf("header %q let in as %+v", header, p)
		}
	}
}

// The rules of the gate, stated once more without looking at how it decides.
func FuzzIdentify(f *testing.F) {
	f.Add("Bearer "+tokenA, "", "", tokenA)
	f.Add("Bearer "+own, tokenB, "x", "nope")
	f.Add("bearer\t"+own, own, own, tokenA)
	f.Add("Basic x", " ", "", "")
	gate := New([]Token{{Name: "alice", Secret: tokenA}, {Name: "bob", Secret: tokenB}})
	tokens := map[string]bool{tokenA: true, tokenB: true}
	f.Fuzz(func(t *testing.T, authorization, xAPIKey, apiKey, token string) {
		r := request("127.0.0.1", "Authorization", authorization, "x-api-key", xAPIKey, "api-key", apiKey, TokenHeader, token)
		p, refused := gate.Identify(r)
		holdsToken := strings.Contains(authorization+"\n"+xAPIKey+"\n"+apiKey+"\n"+token, tokenA) ||
			strings.Contains(authorization+"\n"+xAPIKey+"\n"+apiKey+"\n"+token, tokenB)
		if refused == nil && !holdsToken {
			t.Fatalf("let in without a token: %+v", p)
		}
		for _, place := range []string{xAPIKey, apiKey, token} {
			if refused != nil && tokens[place] {
				t.Fatalf("refused with a valid token: %v", refused)
			}
		}
		if refused != nil {
			return
		}
		if (p.Credential == ledger.BYOK) != (p.Secret != "") || (p.Secret != "") != (p.Header != "") {
			t.Fatalf("inconsistent principal %+v", p)
		}
		if tokens[p.Secret] || p.Secret != "" && p.Secret == strings.TrimSpace(token) {
			t.Fatalf("a gateway token would go upstream: %+v", p)
		}
		if p.Secret != "" && !tokens[strings.TrimSpace(token)] {
			t.Fatalf("BYOK without a token in %s: %+v", TokenHeader, p)
		}
	})
}
