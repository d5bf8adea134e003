package route

import (
	"net/http"
	"net/url"
	"strings"
)

// flaw says why a path is not routed at all; "" for a clean one. An upstream or a
// proxy before it may decode and normalise a path that was matched here as it came:
// nothing may then turn out to be another path.
func flaw(path string) string {
	if !strings.HasPrefix(path, "/") {
		return "The request has no path."
	}
	for rest := path; rest != ""; {
		var segment string
		segment, rest = cutSegment(rest)
		switch {
		case segment != "":
			if f := segmentFlaw(segment); f != "" {
				return f
			}
		case rest != "":
			return "The path has an empty segment (//): remove the slash at the end of the base URL."
		case path != "/":
			return "The path ends in a slash: remove it."
		}
	}
	return ""
}

func segmentFlaw(segment string) string {
	const odd = "The path has a segment that could be read as another path (., .., a backslash or an encoding of one): write it out."
	decoded := segment
	if strings.IndexByte(segment, '%') >= 0 {
		var err error
		if decoded, err = url.PathUnescape(segment); err != nil || strings.IndexByte(decoded, '%') >= 0 {
			return odd // encoded twice: nobody's id
		}
	}
	for i := range len(decoded) {
		if c := decoded[i]; c == '\\' || c < ' ' || c == 0x7f {
			return odd
		}
	}
	for decoded != "" {
		var part string
		part, decoded, _ = strings.Cut(decoded, "/") // from %2F, which stays as it is
		part, _, _ = strings.Cut(part, ";")          // some servers drop what follows
		if part == "." || part == ".." {
			return odd
		}
	}
	return ""
}

// firstID is what stands in a path where its pattern has the first {id}.
func firstID(pattern, path string) string {
	for pattern != "" && path != "" {
		var want, got string
		want, pattern = cutSegment(pattern)
		got, path = cutSegment(path)
		if want != "{id}" {
			continue
		}
		if decoded, err := url.PathUnescape(got); err == nil {
			return decoded
		}
		return got
	}
	return ""
}

// upgrades says whether the request asks for a WebSocket.
func upgrades(h http.Header) bool {
	for _, v := range h["Upgrade"] {
		for token := range strings.SplitSeq(v, ",") {
			if strings.EqualFold(strings.TrimSpace(token), "websocket") {
				return true
			}
		}
	}
	return false
}
