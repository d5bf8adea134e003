package keypool

import (
	"context"
	"fmt"
	"testing"
	"time"

	"keybridge/keypool/verdict"
)

func benchPool(b *testing.B, s Strategy) *Pool {
	b.Helper()
	o := Options{Provider: "p", Family: verdict.OpenAI, Host: "h", Metrics: NoMetrics(), Strategy: s}
	for i := range 50 {
		o.Keys = append(o.Keys, Key{Secret: fmt.Sprintf("secret-%d", i), Organization: fmt.Sprint("org-", i/5)})
	}
	p, err := New(o)
	if err != nil {
		b.Fatal(err)
	}
	return p
}

// BenchmarkDo is a whole call over 50 healthy keys: walk, judgement, release.
func BenchmarkDo(b *testing.B) {
	for _, s := range []Strategy{Priority, RoundRobin, LeastBusy} {
		b.Run(string(s), func(b *testing.B) {
			p := benchPool(b, s)
			ctx, want := context.Background(), Want{Model: "m", Endpoint: "/e"}
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Do(ctx, want, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					l.Release(Usage{})
					return verdict.Success(), nil
				})
			}
		})
	}
}

// BenchmarkDoInTrouble is the same with every other key out.
func BenchmarkDoInTrouble(b *testing.B) {
	p := benchPool(b, LeastBusy)
	for i, m := range p.members {
		if i%2 == 0 {
			m.key.block("m", time.Now()).cool(verdict.Verdict{Mark: verdict.Cool, Until: time.Now().Add(time.Hour), Sent: time.Now()}, time.Now())
		}
	}
	p.book.resettle(time.Now())
	ctx, want := context.Background(), Want{Model: "m", Endpoint: "/e"}
	b.ReportAllocs()
	for b.Loop() {
		_ = p.Do(ctx, want, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			l.Release(Usage{})
			return verdict.Success(), nil
		})
	}
}
