package store

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"keybridge/internal/llm"
)

// Sum is what interceptions used together. A number of it that would be greater than
// math.MaxInt64 is math.MaxInt64.
type Sum struct {
	Requests        int64
	Unreported      int64 // requests some of whose usage was not reported: the sums lack it
	Usage           llm.Usage
	Picos, Unpriced int64
}

// Add adds what others used.
func (s *Sum) Add(v *Sum) {
	s.Requests += v.Requests
	s.Unreported += v.Unreported
	s.Usage = together(s.Usage, v.Usage)
	s.Picos = plus(s.Picos, v.Picos)
	s.Unpriced = plus(s.Unpriced, v.Unpriced)
}

// plus adds v, which may be below 0 if sum is not, as far as a number goes.
func plus(sum, v int64) int64 {
	if v > 0 && sum > math.MaxInt64-v {
		return math.MaxInt64
	}
	return sum + v
}

func together(u, v llm.Usage) llm.Usage {
	return llm.Usage{
		Input: plus(u.Input, v.Input), Output: plus(u.Output, v.Output), CacheRead: plus(u.CacheRead, v.CacheRead),
		CacheWrite: plus(u.CacheWrite, v.CacheWrite), CacheWriteLong: plus(u.CacheWriteLong, v.CacheWriteLong),
		Reasoning: plus(u.Reasoning, v.Reasoning),
	}
}

// atMost is plus in SQL.
func atMost(sum, v string) string {
	const most = "9223372036854775807"
	return "CASE WHEN " + v + " > 0 AND " + sum + " > " + most + " - " + v + " THEN " + most + " ELSE " + sum + " + " + v + " END"
}

// A database's SUM fails where it would be greater than a number is, or is a number of
// another sort. So columns are summed in two halves, of which neither can be.
const half = 32

// wide is the SQL of a sum's upper and lower half: they are read into a number and its low.
func wide(column string) string {
	bits := strconv.Itoa(half)
	return "CAST(SUM(" + column + " >> " + bits + ") AS BIGINT), CAST(SUM(" + column + " & " + strconv.Itoa(1<<half-1) + ") AS BIGINT)"
}

// low reads the lower half of a sum behind the upper one, and puts them together.
type low struct{ sum *int64 }

var errHalf = errors.New("a sum is no number")

// Scan implements sql.Scanner.
func (l low) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return errHalf
	}
	high := *l.sum + n>>half
	if *l.sum = math.MaxInt64; high <= math.MaxInt64>>half {
		*l.sum = high<<half | n&(1<<half-1)
	}
	return nil
}

// unreported is true of kinds k whose requests have, or may have, used what no provider has
// reported. One that failed without an answer has nothing to report.
const unreported = `k.reported = 0 AND
(k.model_answered <> '' OR k.status IN ('completed', 'lost') OR k.status = 'cancelled' AND k.key <> '')`

// sums are those of a table's columns, each row of which is so many requests of a kind k.
func sums(table, requests string) string {
	list := []string{"CAST(SUM(" + requests + ") AS BIGINT)", "CAST(SUM(CASE WHEN " + unreported + " THEN " + requests + " ELSE 0 END) AS BIGINT)"}
	for _, c := range columns(usageColumns + ", picos, unpriced") {
		list = append(list, wide(table+"."+c))
	}
	return strings.Join(list, ", ")
}

// into is where sums go.
func (s *Sum) into() []any {
	u := &s.Usage
	into := []any{&s.Requests, &s.Unreported}
	for _, sum := range []*int64{&u.Input, &u.Output, &u.CacheRead, &u.CacheWrite, &u.CacheWriteLong, &u.Reasoning, &s.Picos, &s.Unpriced} {
		into = append(into, sum, low{sum})
	}
	return into
}
