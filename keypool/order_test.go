package keypool

import (
	"context"
	"net/http"
	"strconv"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"keybridge/keypool/verdict"
)

// left is what an answer tells of a key's hundred requests a minute.
func left(requests string) http.Header {
	full := time.Now().Add(time.Minute).UTC().Format(time.RFC3339)
	h := http.Header{}
	for name, value := range map[string]string{"Limit": "100", "Remaining": requests, "Reset": full} {
		h.Set("Anthropic-Ratelimit-Requests-"+name, value)
	}
	return h
}

// TestKeysWithoutRoomComeLast: a key whose limits are known to be used up is asked
// when no other can, whatever the strategy, and again when they have filled.
func TestKeysWithoutRoomComeLast(t *testing.T) {
	for _, s := range []Strategy{Priority, RoundRobin, LeastBusy, Weighted, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(3, func(o *Options) { o.Strategy = s })
				rest, asked := map[string]string{"k0": "0", "k1": "50", "k2": "0"}, 0
				err := p.Do(t.Context(), Want{Model: "m", Endpoint: "/v1/messages"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					defer l.Release(Usage{})
					l.Observe(left(rest[l.Key()]))
					if asked++; asked < len(rest) {
						r := tooLarge("not here")
						return r.verdict, r.err
					}
					return verdict.Success(), nil
				})
				if err != nil {
					t.Fatal(err)
				}
				for range 4 {
					call(t, p, script{"k1": {good()}}, "k1", nil)
				}
				time.Sleep(2 * time.Minute)
				asks := func() string {
					var key string
					_ = p.Do(t.Context(), Want{Model: "m"}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
						defer l.Release(Usage{})
						key = l.Key()
						return verdict.Success(), nil
					})
					return key
				}
				for range 6 {
					if asks() == "k0" {
						return
					}
				}
				t.Error("k0 is not asked although its limits have filled")
			})
		})
	}
}

// tokens is what an answer tells of a key's hundred thousand input tokens a minute.
func tokens(remaining int64) http.Header {
	full := time.Now().Add(time.Duration(100_000-remaining) * time.Minute / 100_000).UTC()
	h := http.Header{}
	for name, value := range map[string]string{"Limit": "100000", "Remaining": strconv.FormatInt(remaining, 10), "Reset": full.Format(time.RFC3339)} {
		h.Set("Anthropic-Ratelimit-Input-Tokens-"+name, value)
	}
	return h
}

// serves is a good answer after which so many tokens are left.
func serves(remaining int64) reply {
	return reply{verdict: verdict.Success(), header: tokens(remaining)}
}

// TestMovedSessionNeedsRoomForItsPrompt: where a session's prompt is not cached, the
// limits take it as a whole, so a key that has room for less is passed over.
func TestMovedSessionNeedsRoomForItsPrompt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		turn := func(begins bool) Want {
			return Want{Model: "m", Caller: "c", Session: "s", Begins: begins, Tokens: 50_000}
		}
		for _, asked := range []script{
			{"k0": {serves(90_000)}},
			{"k0": {tooLarge("")}, "k1": {serves(30_000)}},
			{"k0": {tooLarge("")}, "k1": {tooLarge("")}, "k2": {serves(90_000)}},
		} {
			if _, err := do(t, p, Want{}, asked); err != nil {
				t.Fatal(err)
			}
		}
		err := p.Do(t.Context(), turn(true), func(_ context.Context, l *Lease) (verdict.Verdict, error) {
			defer l.Release(Usage{InputTokens: 50_000, CachedTokens: 50_000, CacheReadTokens: 48_000})
			return verdict.Success(), nil
		})
		if err != nil {
			t.Fatal(err)
		}
		keys, err := do(t, p, turn(false), script{"k0": {limited(time.Hour)}, "k2": {good()}})
		if diff := cmp.Diff([]string{"k0", "k2"}, keys); diff != "" || err != nil {
			t.Errorf("asked (-want +got):\n%s%v", diff, err)
		}
	})
}

// TestSessionWaitsForRoom: a key without room for a while is waited for if to write
// the session's cache anew elsewhere is dearer.
func TestSessionWaitsForRoom(t *testing.T) {
	for _, tt := range []struct {
		name   string
		cached int64
		key    string
		waits  bool
	}{
		{"a long prompt", 60_000, "k0", true},
		{"a short prompt", 6_000, "k1", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, func(o *Options) { o.MaxWait = 10 * time.Second })
				turn := func(begins bool) (key string, waited time.Duration) {
					start := time.Now()
					err := p.Do(t.Context(), Want{Model: "m", Session: "s", Begins: begins}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
						key, waited = l.Key(), time.Since(start)
						l.Observe(tokens(0))
						defer l.Release(Usage{InputTokens: tt.cached, CachedTokens: tt.cached, CacheReadTokens: tt.cached - 5_000})
						return verdict.Success(), nil
					})
					if err != nil {
						t.Fatal(err)
					}
					return key, waited
				}
				turn(true)
				key, waited := turn(false)
				if key != tt.key || (waited > 0) != tt.waits {
					t.Errorf("served by %s after %v, want by %s, waiting: %v", key, waited, tt.key, tt.waits)
				}
			})
		})
	}
}

// TestForeseenRefusalMarksNothing: a call for which no key has room is refused where
// it is asked all the same. That says nothing of calls that need less.
func TestForeseenRefusalMarksNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		p := r.pool(1)
		if _, err := do(t, p, Want{}, script{"k0": {serves(20_000)}}); err != nil {
			t.Fatal(err)
		}
		_, err := do(t, p, Want{Tokens: 50_000}, script{"k0": {limited(30 * time.Second)}})
		sameError(t, err, refusal("429"))
		if s := p.Status().Keys[0]; s.State != Valid {
			t.Errorf("the key is %s", s.State)
		}
		if _, err := do(t, p, Want{Tokens: 5_000}, script{"k0": {limited(30 * time.Second)}}); err == nil || p.Status().Keys[0].State != Temporary {
			t.Errorf("an unforeseen refusal marks nothing: %v", err)
		}
	})
}

// TestFullKeyIsNotAsked: the limits of the only key are waited for, also by a call
// that is alone.
func TestFullKeyIsNotAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, func(o *Options) { o.MaxWait = 10 * time.Second })
		if _, err := do(t, p, Want{}, script{"k0": {serves(0)}}); err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		if _, err := do(t, p, Want{Tokens: 10_000}, script{"k0": {good()}}); err != nil {
			t.Fatal(err)
		}
		if waited := time.Since(start); waited < 6*time.Second || waited > 6500*time.Millisecond {
			t.Errorf("asked after %v, want as long as the limit needs to fill for it: 6s", waited)
		}
	})
}

// TestGuessesAreLearntFrom: how far guesses were off is known from what came out, so
// a call that would only just fit goes where there is room for certain.
func TestGuessesAreLearntFrom(t *testing.T) {
	l := lane{}
	if got := l.takes(1_000); got != 1_000 {
		t.Errorf("at first a guess of 1000 counts %v", got)
	}
	for i := range 200 {
		used := int64(1_200)
		if i%2 == 0 {
			used = 1_400
		}
		l.learn(Usage{InputTokens: used, OutputTokens: 100}, 1_000)
	}
	if got := l.takes(1_000); got < 1_500 || got > 1_650 {
		t.Errorf("a guess of 1000 counts %v where 1300 to 1500 came out", got)
	}
	l.learn(Usage{InputTokens: 9}, 0)
	l.learn(Usage{}, 1_000)
	if got := l.takes(1_000); got < 1_500 {
		t.Errorf("what nobody guessed, or nobody knows, is learnt from: %v", got)
	}
}

// TestNoRoomAnywhere: a call for which no key has room is sent once, because estimates
// are no refusals. When that was refused it is not sent to the others, which would
// refuse it, too.
func TestNoRoomAnywhere(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(3)
		first := script{"k0": {tooLarge("")}, "k1": {tooLarge("")}, "k2": {serves(50_000)}}
		first["k0"][0].header, first["k1"][0].header = tokens(40_000), tokens(30_000)
		if _, err := do(t, p, Want{}, first); err != nil {
			t.Fatal(err)
		}
		keys, err := do(t, p, Want{Tokens: 100_000}, script{"k2": {limited(20 * time.Second)}})
		if diff := cmp.Diff([]string{"k2"}, keys); diff != "" {
			t.Errorf("asked (-want +got):\n%s", diff)
		}
		sameError(t, err, refusal("429"))
		keys, err = do(t, p, Want{Tokens: 20_000}, script{"k0": {good()}})
		if diff := cmp.Diff([]string{"k0"}, keys); diff != "" || err != nil {
			t.Errorf("then asked (-want +got):\n%s%v", diff, err)
		}
	})
}

// TestSessionAtItsKeyPassesThoseWhoLook: a call whose prompt is cached at its session's
// key does not stand behind one that waits until some key takes its prompt as a whole.
func TestSessionAtItsKeyPassesThoseWhoLook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(2, func(o *Options) { o.MaxWait = 10 * time.Second })
		turn := func(session string, begins bool, guess int64) (waited time.Duration) {
			start := time.Now()
			_ = p.Do(t.Context(), Want{Model: "m", Session: session, Begins: begins, Tokens: guess}, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
				waited = time.Since(start)
				l.Observe(tokens(40_000))
				l.Release(Usage{InputTokens: 30_000, CachedTokens: 30_000, CacheReadTokens: 29_000})
				return verdict.Success(), nil
			})
			return waited
		}
		turn("warm", true, 30_000)
		if _, err := do(t, p, Want{}, script{"k0": {tooLarge("")}, "k1": {serves(40_000)}}); err != nil {
			t.Fatal(err)
		}
		var looking sync.WaitGroup
		var looked time.Duration
		looking.Go(func() { looked = turn("new", true, 45_000) })
		synctest.Wait()
		if waited := turn("warm", false, 31_000); waited > 0 {
			t.Errorf("the session waited %v at its own key", waited)
		}
		looking.Wait()
		if looked == 0 {
			t.Error("nobody was looking for room")
		}
	})
}

// TestNewSessionsLeaveRoom: a session that looks for a key goes where enough is left for
// those that are there already; other calls use what there is.
func TestNewSessionsLeaveRoom(t *testing.T) {
	for _, s := range []Strategy{Priority, RoundRobin, LeastBusy, Weighted, Headroom} {
		t.Run(string(s), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				p := newRig(t).pool(2, func(o *Options) { o.Strategy = s })
				asked := 0
				teach := func(_ context.Context, l *Lease) (verdict.Verdict, error) {
					defer l.Release(Usage{})
					l.Observe(tokens(map[string]int64{"k0": 20_000, "k1": 60_000}[l.Key()]))
					if asked++; asked < 2 {
						r := tooLarge("")
						return r.verdict, r.err
					}
					return verdict.Success(), nil
				}
				if err := p.Do(t.Context(), Want{Model: "m"}, teach); err != nil {
					t.Fatal(err)
				}
				for i := range 3 {
					keys, err := do(t, p, Want{Session: strconv.Itoa(i), Begins: true, Tokens: 1_000}, script{"k1": {good()}})
					if len(keys) != 1 || err != nil {
						t.Errorf("session %d asked %v: %v", i, keys, err)
					}
				}
				if s == Priority {
					if _, err := do(t, p, Want{Tokens: 1_000}, script{"k0": {good()}}); err != nil {
						t.Error(err)
					}
				}
			})
		})
	}
}
