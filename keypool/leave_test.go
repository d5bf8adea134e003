package keypool

import (
	"context"
	"errors"
	"testing"

	"keybridge/keypool/verdict"
)

// An attempt whose client has left need not give its key back, and whatever it
// says of the key is the leaving's doing.
func TestClientWhoLeavesCostsNothing(t *testing.T) {
	gone := errors.New("the client has left")
	for name, answer := range map[string]reply{
		"broken": broken("cut"), "rejected": rejected(), "limited": unstated(), "refused": bad("400"),
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			p := r.pool(2)
			ctx, leave := context.WithCancelCause(t.Context())
			err := p.Do(ctx, Want{Model: "m"}, func(context.Context, *Lease) (verdict.Verdict, error) {
				leave(gone)
				return answer.verdict, answer.err
			})
			if !errors.Is(err, gone) {
				t.Errorf("the error is %v, want the client's leaving", err)
			}
			r.families(&expect{keys: map[string]State{"k0": Valid, "k1": Valid}, attempts: []int{1}})
			idle(t, p)
		})
	}
}
