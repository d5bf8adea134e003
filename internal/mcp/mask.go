package mcp

import (
	"slices"
	"strings"
)

// mask replaces the values of the sets but for those whose names are in but, also
// what follows the scheme in them, as in "Bearer …", and both as JSON writes them.
func mask(but []string, sets ...map[string]string) *strings.Replacer {
	const shortest = 6 // what is shorter is a word like any other
	var secrets []string
	for _, set := range sets {
		for name, v := range set {
			if slices.Contains(but, name) {
				continue
			}
			_, credential, _ := strings.Cut(v, " ")
			for _, secret := range []string{v, credential} {
				if len(secret) >= shortest {
					quoted := encode(secret)
					secrets = append(secrets, secret, quoted[1:len(quoted)-1])
				}
			}
		}
	}
	// Of two that begin alike the replacer takes the first.
	slices.SortFunc(secrets, func(a, b string) int { return len(b) - len(a) })
	var pairs []string
	for _, secret := range secrets {
		pairs = append(pairs, secret, "***")
	}
	return strings.NewReplacer(pairs...)
}
