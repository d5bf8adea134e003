//go:build unix

package sqlite_test

import (
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

// cpu is what the process has used so far.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func BenchmarkWrite(b *testing.B) {
	const batch = 256
	s, err := sqlite.Open(b.Context(), filepath.Join(b.TempDir(), "record.db"), sqlite.Options{Options: store.Options{Instance: "bench"}})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	at := time.Now()
	var used, took time.Duration
	var each []time.Duration
	list := make([]*ledger.Exchange, batch)
	for b.Loop() {
		b.StopTimer()
		for i := range list {
			at = at.Add(2 * time.Millisecond)
			list[i] = exchange(at)
		}
		b.StartTimer()
		begin, start := cpu(), time.Now()
		if err := s.Write(b.Context(), nil, list); err != nil {
			b.Fatal(err)
		}
		one := cpu() - begin
		used += one
		each = append(each, one)
		took += time.Since(start)
	}
	b.ReportMetric(float64(used.Nanoseconds())/float64(b.N*batch), "cpu-ns/exchange")
	b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*batch), "ns/exchange")
	slices.Sort(each)
	b.ReportMetric(float64(each[len(each)/2].Nanoseconds())/batch, "median-cpu-ns/exchange")
	b.ReportMetric(float64(each[len(each)/10].Nanoseconds())/batch, "p10-cpu-ns/exchange")
	b.ReportMetric(0, "ns/op")
}
