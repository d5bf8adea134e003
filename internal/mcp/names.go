package mcp

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	longestName = 64 // that all three APIs take
	prefix      = "kb_"
	hashLen     = 6
)

// shownNames are the names under which the model knows a server's tools. Tools whose
// names need no change keep them whatever the others are called.
func shownNames(server string, tools []tool, taken func(string) bool) []string {
	names := make([]string, len(tools))
	mine := map[string]bool{}
	free := func(name string) bool { return !mine[name] && !taken(name) }
	give := func(i int, name string) { names[i], mine[name] = name, true }
	for i, t := range tools {
		if name, exact := shownName(server, t.name); exact && free(name) {
			give(i, name)
		}
	}
	for i, t := range tools {
		if names[i] != "" {
			continue
		}
		name, _ := shownName(server, t.name)
		for n := 0; !free(name); n++ {
			name = shorten(server, t.name, n)
		}
		give(i, name)
	}
	return names
}

// shownName is a tool's name if there were no others. It is exact if nothing of the
// tool's own name had to be changed.
func shownName(server, tool string) (name string, exact bool) {
	name = prefix + clean(server) + "_" + clean(tool)
	if len(name) <= longestName {
		return name, clean(tool) == tool
	}
	return shorten(server, tool, 0), false
}

// shorten gives a name a hash that depends on nothing but the two names and n. If it
// is too long, its head and its tail are kept.
func shorten(server, tool string, n int) string {
	sum := sha256.Sum256([]byte(strconv.Itoa(n) + "\x00" + server + "\x00" + tool))
	hash := hex.EncodeToString(sum[:])[:hashLen]
	head := prefix + squeeze(clean(server), hash) + "_"
	room, text := longestName-len(head), clean(tool)
	if len(text)+1+hashLen <= room {
		return head + text + "_" + hash
	}
	keep := room - hashLen - 2
	return head + text[:(keep+1)/2] + "_" + hash + "_" + text[len(text)-keep/2:]
}

// squeeze shortens a server's name that would leave no room for the tool's.
func squeeze(server, hash string) string {
	const most = 32
	if len(server) <= most {
		return server
	}
	return server[:most-hashLen-1] + "-" + hash
}

// clean replaces what the APIs do not take in a name.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '_', r == '-':
			return r
		}
		return '_'
	}, name)
}

// matches says that a name is what a pattern describes, in which * stands for any
// characters, also none.
func matches(pattern, name string) bool {
	parts := strings.Split(pattern, "*")
	if len(parts) == 1 {
		return pattern == name
	}
	first, last := parts[0], parts[len(parts)-1]
	if len(name) < len(first)+len(last) || !strings.HasPrefix(name, first) || !strings.HasSuffix(name, last) {
		return false
	}
	name = name[len(first) : len(name)-len(last)]
	for _, p := range parts[1 : len(parts)-1] {
		_, rest, found := strings.Cut(name, p)
		if !found {
			return false
		}
		name = rest
	}
	return true
}

// cut shortens a text to at most n bytes, and says so if it had to.
func cut(text string, n int) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	if len(text) <= n {
		return text
	}
	const more = "…"
	return text[:boundary(text, max(0, n-len(more)))] + more
}

// boundary is the last place before n at which a rune ends.
func boundary(text string, n int) int {
	if n >= len(text) {
		return len(text)
	}
	for n > 0 && !utf8.RuneStart(text[n]) {
		n--
	}
	return n
}
