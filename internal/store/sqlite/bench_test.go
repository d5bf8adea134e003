package sqlite_test

import (
	"encoding/binary"
	"encoding/hex"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"syscall"
	"testing"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/llm"
	"keybridge/internal/store"
	"keybridge/internal/store/sqlite"
)

// cpu is what the process has used so far.
func cpu() time.Duration {
	var r syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &r)
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func id(at time.Time) string {
	var b [16]byte
	binary.BigEndian.PutUint64(b[:], uint64(at.UnixMilli())<<16)
	binary.BigEndian.PutUint64(b[6:14], rand.Uint64())
	return "req_kb" + hex.EncodeToString(b[:12])
}

// exchange is what most are: one attempt, one turn.
func exchange(at time.Time) *ledger.Exchange {
	usage := llm.Usage{Input: 1000 + rand.Int64N(9000), Output: 100 + rand.Int64N(900), CacheRead: rand.Int64N(50_000)}
	message := "chatcmpl-" + hex.EncodeToString(binary.BigEndian.AppendUint64(nil, rand.Uint64()))
	return &ledger.Exchange{
		ID: id(at), Start: at, Principal: ledger.Principal{Name: "ci", Metadata: `{"team":"search"}`, Credential: ledger.Pooled},
		Provider: "openai", Route: "/openai/v1/chat/completions", Method: "POST", Bridged: true, Model: "gpt-5", Admitted: true,
		Client: "openai-python", Version: "2.1.0",
		Attempts:   []ledger.Attempt{{Key: "first", Hint: "sk-…abcd", Sent: at.Add(300 * time.Microsecond), Duration: 800 * time.Microsecond, Status: 200, Action: "relay", Waited: 20 * time.Microsecond}},
		Turns:      []llm.Turn{{ID: message, Model: "gpt-5-2025-08-07", Stop: "stop", Tier: "default", Usage: usage, Reported: true, Complete: true}},
		Charges:    []ledger.Charge{{Model: "gpt-5", Usage: usage, Picos: 1_250_000*usage.Input + 10_000_000*usage.Output, Version: "2026-11-20"}},
		FirstEvent: at.Add(time.Millisecond), End: at.Add(2 * time.Millisecond), HTTPStatus: 200, Status: ledger.Completed,
	}
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
