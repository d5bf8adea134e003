package upstream

import (
	"net/http"
	"strings"
	"sync"

	"keybridge/keypool/verdict"
)

// fate says what happens to a header on its way.
type fate uint8

const (
	pass   fate = iota
	drop        // never goes on
	scoped      // tells whose key it is: only with the caller's own
)

var requestFates = map[string]fate{ //nolint:gochecknoglobals // a constant table
	// Credentials: the one that goes upstream is put on afterwards.
	"Authorization":  drop,
	"X-Api-Key":      drop,
	"Api-Key":        drop,
	"X-Goog-Api-Key": drop,
	// They must match the key, so the caller's do not fit a pooled one.
	"Openai-Organization":    scoped,
	"Openai-Project":         scoped,
	"Anthropic-Workspace-Id": scoped,
	"Chatgpt-Account-Id":     scoped,
	// Meant for the gateway's host, or telling addresses of its network.
	"Cookie":    drop,
	"Forwarded": drop,
	"X-Real-Ip": drop,
	"Via":       drop,
	// One hop only.
	"Connection":        drop,
	"Content-Length":    drop, // comes from the body
	"Expect":            drop,
	"Http2-Settings":    drop,
	"Keep-Alive":        drop,
	"Te":                drop,
	"Trailer":           drop,
	"Transfer-Encoding": drop,
	"Upgrade":           drop,
	"Host":              drop,
	"Accept-Encoding":   drop, // set below
	// Most clients send these.
	"Accept":            pass,
	"Anthropic-Beta":    pass,
	"Anthropic-Version": pass,
	"Content-Type":      pass,
	"User-Agent":        pass,
}

var answerFates = map[string]fate{ //nolint:gochecknoglobals // a constant table
	"Openai-Organization":       scoped,
	"Openai-Project":            scoped,
	"Anthropic-Organization-Id": scoped,
	"Anthropic-Workspace-Id":    scoped,
	"Set-Cookie":                scoped,
	// They speak of the provider's host, and would be believed of the gateway's.
	"Alt-Svc":                   drop,
	"Strict-Transport-Security": drop,
	// One hop only.
	"Connection":        drop,
	"Keep-Alive":        drop,
	"Te":                drop,
	"Trailer":           drop,
	"Transfer-Encoding": drop,
	"Upgrade":           drop,
	// Most providers send these; rateHeaders says what others tell of one key.
	"X-Ratelimit-Limit-Requests":     scoped,
	"X-Ratelimit-Limit-Tokens":       scoped,
	"X-Ratelimit-Remaining-Requests": scoped,
	"X-Ratelimit-Remaining-Tokens":   scoped,
	"X-Ratelimit-Reset-Requests":     scoped,
	"X-Ratelimit-Reset-Tokens":       scoped,

	"Access-Control-Expose-Headers": pass,
	"Cache-Control":                 pass,
	"Cf-Cache-Status":               pass,
	"Cf-Ray":                        pass,
	"Content-Length":                pass,
	"Content-Type":                  pass,
	"Date":                          pass,
	"Openai-Processing-Ms":          pass,
	"Openai-Version":                pass,
	"Request-Id":                    pass,
	"Server":                        pass,
	"X-Content-Type-Options":        pass,
	"X-Request-Id":                  pass,
}

// fateOf finds a header's fate and its canonical name. The tables spare those that
// they name, which have no prefix that matters, all further questions.
func fateOf(fates map[string]fate, k string) (f fate, key string, known bool) {
	if f, known = fates[k]; known {
		return f, k, true
	}
	key = http.CanonicalHeaderKey(k)
	f, known = fates[key]
	return f, key, known
}

var identity = []string{"identity"} //nolint:gochecknoglobals // a constant header value

// rateHeaders are the prefixes of what a provider says about one key's limits.
var rateHeaders = []string{ //nolint:gochecknoglobals // a constant table
	"X-Ratelimit-", "Anthropic-Ratelimit-", "Anthropic-Priority-", "Anthropic-Fast-", "X-Codex-",
}

// requestHeader returns the header that goes upstream.
func requestHeader(kind verdict.Family, r *Request) http.Header {
	out := make(http.Header, len(r.Header)+3)
	eachField(kind, r, func(name string, values []string) { out[name] = values })
	if _, ok := out["User-Agent"]; !ok {
		out["User-Agent"] = nil // else net/http adds its own
	}
	return out
}

// eachField calls with each field of the header that goes upstream, the key's last.
func eachField(kind verdict.Family, r *Request, with func(name string, values []string)) {
	pooled := r.CallerHeader == ""
	named := connectionNamed(r.Header)
	for name, v := range r.Header {
		f, k, known := fateOf(requestFates, name)
		switch {
		case f == drop, f == scoped && pooled, named[k]:
			continue
		case known:
		case strings.HasPrefix(k, "X-Keybridge-"), strings.HasPrefix(k, "X-Forwarded-"), strings.HasPrefix(k, "Proxy-"):
			continue
		case k == "Idempotency-Key", k == "X-Idempotency-Key":
			// net/http resends what bears these names, in this spelling, by itself.
			k = strings.ToLower(k)
		}
		with(k, v)
	}
	// Secrets are searched for in answers, and errors are judged by their text.
	with("Accept-Encoding", identity)
	name := r.CallerHeader
	if pooled {
		name = kind.KeyHeader()
	}
	name = http.CanonicalHeaderKey(name)
	value := r.Secret
	if name == "Authorization" {
		value = "Bearer " + value
	}
	with(name, []string{value})
}

// Rewrite says what the gateway did to an answer that goes to a client.
type Rewrite struct {
	Pooled bool // it was made with a pooled key: what tells of that key is withheld
	Edited bool // the bytes differ from the upstream's: its Content-Length does not hold
	// Masker takes secrets out of the values, which some upstreams echo in
	// WWW-Authenticate or Location. Nil: they stay as they came.
	Masker *Masker
}

// ClientHeader sets, in out, the part of an answer's header that is the client's to
// see. Content-Length stays where it holds, for HEAD and 304 too, where it is
// that of the body a GET would have.
func ClientHeader(out http.Header, resp *http.Response, w Rewrite) {
	named := connectionNamed(resp.Header)
	scratch := scratches.Get().(*[]byte) //nolint:forcetypeassert // nothing else is put in
	defer func() {
		if cap(*scratch) <= mostScratch {
			scratches.Put(scratch)
		}
	}()
	for name, v := range resp.Header {
		f, k, known := fateOf(answerFates, name)
		if !known && isRateHeader(k) {
			f = scoped
		}
		if f == drop || f == scoped && w.Pooled || named[k] || !known && strings.HasPrefix(k, "Proxy-") {
			continue
		}
		out[k] = w.Masker.values(v, scratch)
	}
	if w.Edited || resp.StatusCode == http.StatusNoContent {
		delete(out, "Content-Length")
	}
}

const mostScratch = 16 << 10 // of which some is kept

var scratches = sync.Pool{New: func() any { return new([]byte) }} //nolint:gochecknoglobals // a pool

func isRateHeader(k string) bool {
	for _, p := range rateHeaders {
		if strings.HasPrefix(k, p) {
			return true
		}
	}
	return false
}

// connectionNamed returns the headers that the sender declared to be for one hop.
func connectionNamed(h http.Header) map[string]bool {
	var named map[string]bool
	for _, line := range h["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			if name = strings.TrimSpace(name); name != "" {
				if named == nil {
					named = make(map[string]bool)
				}
				named[http.CanonicalHeaderKey(name)] = true
			}
		}
	}
	return named
}
