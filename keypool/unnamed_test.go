package keypool

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"keybridge/keypool/verdict"
)

// TestUnnamedModel: a request that names no model is admitted by any key, and what
// it is refused for keeps the key from that route only.
func TestUnnamedModel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newRig(t).pool(1, func(o *Options) { o.Keys[0].Models = []string{"gpt-*"} })
		ask := func(w Want, r reply) error {
			return p.Do(t.Context(), w, func(_ context.Context, l *Lease) (verdict.Verdict, error) {
				defer l.Release(Usage{})
				return r.verdict, r.err
			})
		}
		models, files, chat := Want{Endpoint: "/v1/models"}, Want{Endpoint: "/v1/files"}, Want{Model: "gpt-5", Endpoint: "/v1/chat/completions"}
		if err := ask(models, good()); err != nil {
			t.Errorf("a key with a list of models does not serve a request without one: %v", err)
		}
		sameError(t, ask(models, limited(time.Minute)), exhausted(OutcomeRateLimited, time.Minute))
		sameError(t, ask(models, good()), exhausted(OutcomeRateLimited, time.Minute))
		for _, w := range []Want{files, chat} {
			if err := ask(w, good()); err != nil {
				t.Errorf("%+v, while another route is limited: %v", w, err)
			}
		}
		if err := ask(Want{Model: "o3", Endpoint: "/v1/responses"}, good()); !isModelError(err) {
			t.Errorf("a model that no key admits: %v, want a *ModelError", err)
		}
	})
}

func isModelError(err error) bool {
	_, ok := errors.AsType[*ModelError](err)
	return ok
}
