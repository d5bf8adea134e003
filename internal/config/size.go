package config

import (
	"math"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// units of sizes, each the largest of its kind last, as they are printed.
var units = []struct { //nolint:gochecknoglobals // a constant table
	name  string
	bytes int64
}{
	{"B", 1}, {"kB", 1e3}, {"KiB", 1 << 10}, {"MB", 1e6}, {"MiB", 1 << 20}, {"GB", 1e9}, {"GiB", 1 << 30}, {"TB", 1e12}, {"TiB", 1 << 40},
}

// sizeForm is the regular expression of the sizes that are at least 0, or more.
func sizeForm(least int64) string {
	number := "[0-9]+"
	if least > 0 {
		number = "0*[1-9][0-9]*"
	}
	var names []string
	for _, u := range units {
		names = append(names, u.name)
	}
	inAnyCase := regexp.MustCompile("[A-Za-z]").ReplaceAllStringFunc(strings.Join(names, "|"), func(letter string) string {
		return "[" + strings.ToLower(letter) + strings.ToUpper(letter) + "]"
	})
	return "^ *" + number + " *(" + inAnyCase + ")? *$"
}

var sizes = regexp.MustCompile(sizeForm(0))

func parseSize(s string) (int64, bool) {
	if !sizes.MatchString(s) {
		return 0, false
	}
	s = strings.TrimSpace(s)
	digits := len(s) - len(strings.TrimLeft(s, "0123456789"))
	n, err := strconv.ParseInt(s[:digits], 10, 64)
	if err != nil {
		return 0, false
	}
	unit := strings.TrimSpace(s[digits:])
	if unit == "" {
		return n, true
	}
	for _, u := range units {
		if strings.EqualFold(unit, u.name) {
			return n * u.bytes, n <= math.MaxInt64/u.bytes
		}
	}
	return 0, false
}

// sizeText prints a size in the largest unit that divides it, so that it reads back the same.
func sizeText(n int64) string {
	for i := len(units) - 1; i > 0; i-- {
		if n > 0 && n%units[i].bytes == 0 {
			return strconv.FormatInt(n/units[i].bytes, 10) + units[i].name
		}
	}
	return strconv.FormatInt(n, 10)
}

const day = 24 * time.Hour

// days are the parts of a duration that Go does not know.
var days = regexp.MustCompile(`([0-9]+(\.[0-9]*)?|\.[0-9]+)d`)

// parseDuration is Go's, with days of 24 hours.
func parseDuration(s string) (time.Duration, error) {
	sum, tooLong := time.Duration(0), false
	rest := days.ReplaceAllStringFunc(s, func(part string) string {
		v, err := time.ParseDuration(strings.TrimSuffix(part, "d") + "h")
		tooLong = tooLong || err != nil || v > (math.MaxInt64-sum)/24
		sum += 24 * v
		return ""
	})
	if rest == "+" || rest == "-" || rest == "" && s != "" {
		rest += "0"
	}
	v, err := time.ParseDuration(rest)
	switch {
	case err != nil:
		return 0, err //nolint:wrapcheck // its words are not shown
	case tooLong || v.Abs() > math.MaxInt64-sum:
		return 0, strconv.ErrRange
	case strings.HasPrefix(s, "-"):
		return v - sum, nil
	}
	return v + sum, nil
}

// durationText prints a duration without the zero parts that Go appends, whole days as such.
func durationText(v time.Duration) string {
	if v >= day && v%day == 0 {
		return strconv.FormatInt(int64(v/day), 10) + "d"
	}
	s := v.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
