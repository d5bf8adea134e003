//go:build unix

package sqlite_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store/sqlite"
)

// cpu is what the process has used so far.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkWrite writes batches of what comes in. What counts is the processor's time for
// an exchange, which takes it from the requests': the mean, and that of the batches in
// the middle, which says more on a machine that others use too.
func BenchmarkWrite(b *testing.B) {
	turns := 0
	for name, change := range map[string]func(*ledger.Exchange){
		"plain":    func(*ledger.Exchange) {},
		"sessions": func(e *ledger.Exchange) { turns++; e.Session = fmt.Sprint("session", turns%200) },
		"agents": func(e *ledger.Exchange) {
			turns++
			e.Session = fmt.Sprint("session", turns%200)
			e.Answers = []ledger.Answer{{Call: fmt.Sprint("toolu_", turns-200)}}
			e.Turns[0].Calls = []llm.ToolCall{{ID: fmt.Sprint("toolu_", turns), Name: "Bash", Size: 100}}
		},
	} {
		b.Run(name, func(b *testing.B) { benchmark(b, change, false) })
	}
	b.Run("long", func(b *testing.B) { benchmark(b, func(*ledger.Exchange) {}, true) }) // each has begun in the batch before
}

func benchmark(b *testing.B, change func(*ledger.Exchange), long bool) {
	const batch = 256
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "record.db"), sqlite.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	at := time.Now()
	fill := func() []*ledger.Exchange {
		list := make([]*ledger.Exchange, batch)
		for i := range list {
			at = at.Add(2 * time.Millisecond)
			list[i] = exchange(at)
			change(list[i])
		}
		return list
	}
	var begun, ended []*ledger.Exchange
	var took time.Duration
	var each []time.Duration
	for b.Loop() {
		b.StopTimer()
		ended = begun
		if begun = fill(); !long {
			begun, ended = nil, begun
		}
		b.StartTimer()
		begin, start := cpu(), time.Now()
		if err := s.Write(b.Context(), begun, ended); err != nil {
			b.Fatal(err)
		}
		took += time.Since(start)
		each = append(each, cpu()-begin)
	}
	total := time.Duration(0)
	for _, one := range each {
		total += one
	}
	slices.Sort(each)
	per := func(d time.Duration) float64 { return float64(d.Nanoseconds()) / batch }
	b.ReportMetric(per(took)/float64(len(each)), "ns/exchange")
	b.ReportMetric(per(total)/float64(len(each)), "cpu-ns/exchange")
	b.ReportMetric(per(each[len(each)/2]), "median-cpu-ns/exchange")
	b.ReportMetric(0, "ns/op")
}
