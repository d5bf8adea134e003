package config

import "strings"

// nearest returns the known name that a mistyped one most likely means, or "".
func nearest(name string, known []string) string {
	plain := strings.NewReplacer("_", "", "-", "").Replace
	best, least := "", 1+max(1, len(name)/3)
	if len(name) > 40 {
		return ""
	}
	for _, k := range known {
		if d := distance(plain(strings.ToLower(name)), plain(k)); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance counts the single-letter edits and swaps of neighbours between two words.
func distance(a, b string) int {
	var before, last []int
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		before, last, row = last, row, make([]int, len(b)+1)
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
	}
	return row[len(b)]
}
