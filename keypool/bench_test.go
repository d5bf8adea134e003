package keypool

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"keybridge/keypool/verdict"
)

var strategies = []Strategy{Priority, RoundRobin, LeastBusy, Weighted, Headroom}

// benchPool is a pool of 50 keys of ten organizations, each of which has reported
// its limits.
func benchPool(tb testing.TB, s Strategy) *Pool {
	tb.Helper()
	o := Options{Provider: "p", Family: verdict.OpenAI, Host: "h", Metrics: NoMetrics(), Strategy: s}
	for i := range 50 {
		o.Keys = append(o.Keys, Key{ID: "k" + strconv.Itoa(i), Secret: fmt.Sprintf("secret-%d", i), Weight: 1 + i%3})
	}
	p, err := New(o)
	if err != nil {
		tb.Fatal(err)
	}
	err = p.Do(context.Background(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
		h := http.Header{}
		h.Set("openai-organization", fmt.Sprint("org-", l.member.index/5))
		h.Set("openai-project", fmt.Sprint("proj-", l.member.index))
		for _, limit := range []string{"requests", "tokens"} {
			h.Set("x-ratelimit-limit-"+limit, "1000000000000")
			h.Set("x-ratelimit-remaining-"+limit, strconv.Itoa(900_000_000_000+1_000_000_000*l.member.index))
			h.Set("x-ratelimit-reset-"+limit, "10h")
		}
		l.Observe(h)
		if l.member.index == len(p.members)-1 {
			return verdict.Success(), nil
		}
		return verdict.Verdict{Action: verdict.NextKey}, refusal("")
	})
	if err != nil {
		tb.Fatal(err)
	}
	for _, m := range p.members {
		m.key.inflight = 0 // the last lease was not given back
	}
	return p
}

// oneCools takes out the key that a strategy would ask first.
func oneCools(p *Pool) {
	now := time.Now()
	p.members[0].key.block("m", now).cool(verdict.Verdict{Mark: verdict.Cool, Until: now.Add(time.Hour), Sent: now}, now)
	p.book.resettle(now)
}

func serve(_ context.Context, l *Lease) (verdict.Verdict, error) {
	l.Release(Usage{InputTokens: 1000, OutputTokens: 100})
	return verdict.Success(), nil
}

// BenchmarkWalk50 is a whole call over 50 keys: walk, judgement, release. It is to
// take less than 2 µs and to allocate nothing but the lease.
func BenchmarkWalk50(b *testing.B) {
	for _, s := range strategies {
		for _, trouble := range []bool{false, true} {
			name := string(s) + "/healthy"
			if trouble {
				name = string(s) + "/one_cools"
			}
			b.Run(name, func(b *testing.B) {
				p := benchPool(b, s)
				if trouble {
					oneCools(p)
				}
				ctx, want := context.Background(), Want{Model: "m", Endpoint: "/e", Tokens: 1000}
				b.ReportAllocs()
				for b.Loop() {
					if err := p.Do(ctx, want, serve); err != nil {
						b.Fatal(err)
					}
				}
			})
		}
	}
}

// BenchmarkWalk50Half is the same with every other key out.
func BenchmarkWalk50Half(b *testing.B) {
	for _, s := range strategies {
		b.Run(string(s), func(b *testing.B) {
			p := benchPool(b, s)
			now := time.Now()
			for i, m := range p.members {
				if i%2 == 0 {
					m.key.block("m", now).cool(verdict.Verdict{Mark: verdict.Cool, Until: now.Add(time.Hour), Sent: now}, now)
				}
			}
			p.book.resettle(now)
			ctx, want := context.Background(), Want{Model: "m", Endpoint: "/e"}
			b.ReportAllocs()
			for b.Loop() {
				_ = p.Do(ctx, want, serve)
			}
		})
	}
}

// BenchmarkWalk50Parallel is what the pool's lock costs those who share it.
func BenchmarkWalk50Parallel(b *testing.B) {
	for _, s := range strategies {
		b.Run(string(s), func(b *testing.B) {
			p := benchPool(b, s)
			ctx, want := context.Background(), Want{Model: "m", Endpoint: "/e"}
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					_ = p.Do(ctx, want, serve)
				}
			})
		})
	}
}

func BenchmarkObserve(b *testing.B) {
	p := benchPool(b, Headroom)
	h := http.Header{
		"Openai-Organization": {"org-0"}, "Openai-Project": {"proj-0"},
		"X-Ratelimit-Limit-Requests": {"1000"}, "X-Ratelimit-Remaining-Requests": {"999"}, "X-Ratelimit-Reset-Requests": {"60ms"},
		"X-Ratelimit-Limit-Tokens": {"1000000"}, "X-Ratelimit-Remaining-Tokens": {"99999"}, "X-Ratelimit-Reset-Tokens": {"54.01s"},
	}
	l := &Lease{pool: p, member: p.members[0], model: "m", sent: time.Now()}
	b.ReportAllocs()
	for b.Loop() {
		l.Observe(h)
	}
}

// A call over a healthy pool, whatever the strategy, allocates nothing but its lease.
func TestWalkAllocatesTheLeaseOnly(t *testing.T) {
	for _, s := range strategies {
		for _, session := range []string{"", "a"} {
			p := benchPool(t, s)
			ctx, want := t.Context(), Want{Model: "m", Endpoint: "/e", Session: session, Tokens: 1000}
			call := func() {
				if err := p.Do(ctx, want, serve); err != nil {
					t.Fatal(err)
				}
			}
			call() // a new session is remembered
			if n := testing.AllocsPerRun(100, call); n > 1 {
				t.Errorf("%s, session %q: %v allocations a call", s, session, n)
			}
			oneCools(p)
			call()
			if n := testing.AllocsPerRun(100, call); n > 1 {
				t.Errorf("%s, session %q, one key cooling: %v allocations a call", s, session, n)
			}
		}
	}
}
