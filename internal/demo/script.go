package demo

import (
	"cmp"
	"context"
	"slices"
	"time"

	"keybridge/internal/simulator"
	"keybridge/keypool"
)

// class is a kind of trouble.
type class uint8

const (
	limited class = iota
	revoked
	drained
	overloaded
	cut
	classes
)

var words = [classes]string{"rate-limited", "revoked", "out of credit", "overloaded", "cut mid-answer"} //nolint:gochecknoglobals // a constant table

// marks tells which trouble is a key's own and takes it out of the pool.
func (c class) marks() bool { return c <= drained }

// act is one trouble of one key, in twentieths of the run.
type act struct {
	provider, key string
	class         class
	fault         string
	wait          time.Duration // that a limit states; the providers round up to seconds
	from, to      float64       // to 0: it does not heal
}

// script never touches k3: a pool can serve as long as one of its keys can. It takes a key out where another is out already, so that calls need several
// moves. At most one key at a time breaks its answers without being at fault:
// such a call is sent three times at the most.
var script = []act{ //nolint:gochecknoglobals // a constant table
	{simulator.OpenAI, "k0", limited, "rate_limit", time.Second, 0.5, 4.5},
	{simulator.OpenAI, "k1", revoked, "invalid_key", 0, 2, 4.5},
	{simulator.OpenAI, "k0", overloaded, "overloaded", 0, 5.8, 7.2},
	{simulator.OpenAI, "k0", drained, "rate_limit_date", 2 * time.Second, 7.5, 9.4},
	{simulator.OpenAI, "k1", cut, "truncate", 0, 8.2, 10.5},
	{simulator.OpenAI, "k0", revoked, "revoked", 0, 12.2, 14.7},
	{simulator.OpenAI, "k1", limited, "rate_limit_reset_header", 900 * time.Millisecond, 12.6, 15},
	{simulator.OpenAI, "k2", drained, "quota", 0, 12.9, 0},

	{simulator.Anthropic, "k0", drained, "credit", 0, 1, 3.5},
	{simulator.Anthropic, "k1", overloaded, "overloaded", 0, 1.8, 3.4},
	{simulator.Anthropic, "k1", limited, "rate_limit", time.Second, 3.8, 6},
	{simulator.Anthropic, "k0", cut, "truncate", 0, 7.3, 9.2},
	{simulator.Anthropic, "k0", revoked, "revoked", 0, 9.6, 12},
	{simulator.Anthropic, "k1", drained, "billing", 0, 10.2, 12.6},
	{simulator.Anthropic, "k2", limited, "rate_limit_retry_after_fraction", 1500 * time.Millisecond, 10.8, 13},
	{simulator.Anthropic, "k0", overloaded, "error_first", 0, 17.6, 19},
}

func (s *show) at(twentieths float64) time.Duration {
	return time.Duration(twentieths / 20 * float64(s.o.Length))
}

// cue is the beginning or the end of an act.
type cue struct {
	at   time.Duration
	act  *act
	heal bool
}

func (s *show) cues() []cue {
	var cues []cue
	for i := range script {
		a := &script[i]
		cues = append(cues, cue{s.at(a.from), a, false})
		if a.to > 0 {
			cues = append(cues, cue{s.at(a.to), a, true})
		}
	}
	slices.SortStableFunc(cues, func(a, b cue) int { return cmp.Compare(a.at, b.at) })
	return cues
}

// play lets the script happen.
func (s *show) play(ctx context.Context) {
	now := map[*act]bool{}
	for _, c := range s.cues() {
		if !sleepUntil(ctx, s.begin.Add(c.at)) {
			return
		}
		if c.heal {
			delete(now, c.act)
		} else {
			now[c.act] = true
		}
		var faults []simulator.Fault
		for i := range script {
			if a := &script[i]; now[a] {
				faults = append(faults, simulator.Fault{Provider: a.provider, Key: a.key, Name: a.fault, Wait: a.wait})
			}
		}
		if err := s.sim.Rearm(faults...); err != nil {
			panic(err) // the script is our own
		}
		if c.heal {
			s.watch.healed(c.act, time.Now())
		} else {
			s.watch.struck(c.act)
		}
	}
}

// sleepUntil tells whether it came to that.
func sleepUntil(ctx context.Context, t time.Time) bool {
	timer := time.NewTimer(time.Until(t))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// await lets the script end and the last keys come back, within reason.
func (s *show) await(ctx context.Context) {
	end := time.Now().Add(patience)
	for time.Now().Before(end) && (time.Since(s.begin) < s.o.Length || s.watch.waiting()) {
		if !sleepUntil(ctx, time.Now().Add(look)) {
			return
		}
	}
}

// statuses reads the pools.
func (s *show) statuses() []keypool.Status {
	pools := s.app.KeyPools()
	out := make([]keypool.Status, len(pools))
	for i, p := range pools {
		out[i] = p.Status()
	}
	return out
}
