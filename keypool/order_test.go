package keypool

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

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
