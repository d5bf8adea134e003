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

// organizations are whom the keys belong to, and how much each is granted. Nobody
// tells the gateway but the headers of the answers.
var organizations = map[string][keysEach]organization{ //nolint:gochecknoglobals // a constant table
	simulator.Anthropic: {{shared, 13}, {shared, 13}, {"org-b", 13}, {"org-c", 13}},
	simulator.OpenAI:    {{"org-d", 2}, {"org-e", 4}, {"org-f", 1}, {"org-g", 5}},
}

type organization struct {
	name  string
	parts int64
}

// shared is the organization that has several keys.
const shared = "org-a"

func cast() []simulator.Key {
	keys := simulator.Keys(keysEach)
	for i := range keys {
		keys[i].Organization = organizations[keys[i].Provider][i%keysEach].name
	}
	return keys
}

// limits are such that all keys of OpenAI together can do it: of all that their
// limits let through in the show's time, the traffic takes two thirds.
func limits(length time.Duration) (all []simulator.Limit) {
	part := 1.2 * length.Seconds() / (1 + length.Minutes())
	for provider, orgs := range organizations {
		before := ""
		for _, o := range orgs {
			if o.name != before {
				all = append(all, simulator.Limit{Provider: provider, Organization: o.name, Requests: o.parts * int64(part)})
			}
			before = o.name
		}
	}
	return all
}

// act is one trouble of one key, in twentieths of the run.
type act struct {
	provider, key string
	class         class
	fault         string
	wait          time.Duration // that a limit states; the providers round up to seconds
	from, to      float64
	hand          bool // no call of the gateway's finds out that it has healed: the operator says so
}

// script never touches k3: a pool can serve as long as one of its keys can. It takes a
// key out where another is out already, so that calls need several moves. At most one
// key at a time breaks its answers without being at fault: such a call is sent three
// times at the most. What strikes an organization strikes both its keys, and only
// after each has told whose it is.
var script = []act{ //nolint:gochecknoglobals // a constant table
	{simulator.OpenAI, "k0", limited, "rate_limit_message", time.Second, 0.5, 3, false},
	{simulator.OpenAI, "k1", revoked, "invalid_key", 0, 2, 4.4, false},
	{simulator.OpenAI, "k1", overloaded, "overloaded", 0, 7.2, 8.3, false},
	{simulator.OpenAI, "k0", drained, "rate_limit_date", 1200 * time.Millisecond, 8.4, 10.8, false},
	{simulator.OpenAI, "k1", cut, "truncate", 0, 8.7, 10.5, false},
	{simulator.OpenAI, "k1", drained, "rate_limit_date", 1200 * time.Millisecond, 12.3, 14, false},
	{simulator.OpenAI, "k2", drained, "quota", 0, 12.6, 16.5, true},
	{simulator.OpenAI, "k0", revoked, "revoked", 0, 12.9, 14.4, false},

	{simulator.Anthropic, "k0", revoked, "invalid_key", 0, 0.8, 2.6, false},
	{simulator.Anthropic, "k1", overloaded, "overloaded", 0, 1.6, 2.8, false},
	{simulator.Anthropic, "k1", overloaded, "error_first", 0, 3.4, 4.6, false},
	{simulator.Anthropic, "k0", limited, "rate_limit_retry_after", time.Second, 5.4, 7.8, false},
	{simulator.Anthropic, "k1", limited, "rate_limit_retry_after", time.Second, 5.4, 7.8, false},
	{simulator.Anthropic, "k0", cut, "truncate", 0, 8.8, 10.3, false},
	{simulator.Anthropic, "k0", drained, "credit", 0, 10.6, 12.8, false},
	{simulator.Anthropic, "k1", drained, "credit", 0, 10.6, 12.8, false},
	{simulator.Anthropic, "k2", revoked, "revoked", 0, 11.1, 12.6, false},
	{simulator.Anthropic, "k0", limited, "rate_limit_retry_after_fraction", 1500 * time.Millisecond, 16, 18.2, false},
	{simulator.Anthropic, "k1", limited, "rate_limit_retry_after_fraction", 1500 * time.Millisecond, 16, 18.2, false},
	{simulator.Anthropic, "k2", drained, "billing", 0, 17, 18.5, false},
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
		cues = append(cues, cue{s.at(a.from), a, false}, cue{s.at(a.to), a, true})
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
			s.watch.struck(c.act, time.Now())
		}
		if c.heal && c.act.hand && !s.o.WithoutFailover {
			s.revive(ctx, c.act)
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
