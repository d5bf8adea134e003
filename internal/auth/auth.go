// Package auth says who is calling: it finds the gateway token among the places
// where clients put keys, and tells it from a provider credential of the caller's
// own (BYOK). Without tokens the gateway is open to this machine only.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/http"
	"strings"

	"keybridge/internal/fault"
	"keybridge/internal/ledger"
)

// TokenHeader carries a gateway token beside a provider credential of the caller's
// own; its presence is how a caller asks to bring its own key.
const TokenHeader = "X-Keybridge-Token" //nolint:gosec // a header's name

// authorization is the header whose values carry a scheme before the credential.
const authorization = "Authorization"

// places are the headers a provider credential may come in, in the order in which
// the caller's own is looked for: a client that sends several puts its session's
// credential, which no other header may carry, into Authorization.
var places = [...]string{authorization, "X-Api-Key", "Api-Key"} //nolint:gochecknoglobals // a constant table

// Token is one gateway token.
type Token struct {
	Name     string // what the ledger calls its bearer
	Metadata string // what else the ledger tells of it: a JSON object of texts, or ""
	Secret   string
}

// Gate lets callers in. It is immutable and safe for concurrent use.
type Gate struct {
	bearers []bearer
	hashes  [][sha256.Size]byte
}

type bearer struct{ name, metadata string }

// New returns a gate for the tokens. Without any, it lets in whoever calls from a
// loopback address and is not a web page.
func New(tokens []Token) *Gate {
	g := &Gate{}
	for _, t := range tokens {
		g.bearers = append(g.bearers, bearer{t.Name, t.Metadata})
		g.hashes = append(g.hashes, sha256.Sum256([]byte(t.Secret)))
	}
	return g
}

// Identify tells who sent the request and whose key it goes upstream with, or why
// the request is refused. It never changes the request: the caller's credentials
// are still in its header and must be taken off before anything is sent.
func (g *Gate) Identify(r *http.Request) (ledger.Principal, *fault.Error) {
	if len(g.bearers) == 0 {
		return g.open(r)
	}
	p := ledger.Principal{Credential: ledger.Pooled}
	var who *bearer
	tokens := r.Header[TokenHeader]
	viaHeader := false
	for _, v := range tokens {
		if b := g.find(strings.TrimSpace(v)); b != nil && who == nil {
			who, viaHeader = b, true
		}
	}
	var own, ownPlace string
	for _, place := range places {
		for _, v := range r.Header[place] {
			c := credential(place, v)
			b := g.find(c)
			switch {
			case b != nil && who == nil:
				who = b
			case b == nil && own == "" && !equalsAny(c, tokens):
				own, ownPlace = c, place
			}
		}
	}
	if who == nil {
		return ledger.Principal{}, refusal(r)
	}
	p.Name, p.Metadata = who.name, who.metadata
	if viaHeader && own != "" {
		p.Credential, p.Secret, p.Header = ledger.BYOK, own, ownPlace
	}
	return p, nil
}

// open identifies the callers of a gateway without tokens.
func (g *Gate) open(r *http.Request) (ledger.Principal, *fault.Error) {
	if f := LocalOnly(r); f != nil {
		return ledger.Principal{}, f
	}
	p := ledger.Principal{Credential: ledger.Pooled}
	tokens, asked := r.Header[TokenHeader]
	if !asked {
		return p, nil
	}
	for _, place := range places {
		for _, v := range r.Header[place] {
			if c := credential(place, v); c != "" && !equalsAny(c, tokens) {
				p.Credential, p.Secret, p.Header = ledger.BYOK, c, place
				return p, nil
			}
		}
	}
	return p, nil
}

// find looks a credential up among the tokens. Every token is compared, so that
// the time taken says nothing about which one was nearly right.
func (g *Gate) find(c string) *bearer {
	if c == "" {
		return nil
	}
	sum := sha256.Sum256([]byte(c))
	found := -1
	for i := range g.hashes {
		if subtle.ConstantTimeCompare(sum[:], g.hashes[i][:]) == 1 {
			found = i
		}
	}
	if found < 0 {
		return nil
	}
	return &g.bearers[found]
}

// credential takes the credential out of one header value; "" if there is none in
// the form that the header asks for.
func credential(place, value string) string {
	value = strings.TrimSpace(value)
	if place != authorization {
		return value
	}
	const scheme = "bearer"
	if len(value) <= len(scheme) || !strings.EqualFold(value[:len(scheme)], scheme) {
		return ""
	}
	rest := strings.TrimLeft(value[len(scheme):], " \t")
	if len(rest) == len(value)-len(scheme) {
		return "" // a longer word that only begins with the scheme
	}
	return rest
}

func equalsAny(c string, values []string) bool {
	for _, v := range values {
		if c == strings.TrimSpace(v) {
			return true
		}
	}
	return false
}

// refusal explains a 401 from what the request carried, never quoting it.
func refusal(r *http.Request) *fault.Error {
	present, malformed := len(r.Header[TokenHeader]) > 0, false
	for _, place := range places {
		for _, v := range r.Header[place] {
			present = true
			malformed = malformed || place == authorization && credential(place, v) == ""
		}
	}
	switch {
	case !present:
		return fault.New(fault.Unauthorized, "This gateway asks for a token and the request has none: "+
			"set your client's API key to the gateway token (it may come as Authorization: Bearer, x-api-key, api-key or X-Keybridge-Token).")
	case malformed:
		return fault.New(fault.Unauthorized, "The Authorization header is not of the form \"Bearer TOKEN\" and no other header holds a valid gateway token: "+
			"set your client's API key to the gateway token.")
	}
	return fault.New(fault.Unauthorized, "The gateway token is wrong: set your client's API key to a token this gateway knows. "+
		"A provider's own key is not one; to use yours, send the gateway token in X-Keybridge-Token beside it.")
}
