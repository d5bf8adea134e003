package gateway

import "keybridge/internal/ledger"

// explain puts what was decided about the exchange into its record.
func (x *exchange) explain() {
	decisions := x.trail.Decisions()
	if len(decisions) == 0 || x.byok() {
		return
	}
	x.record.Decisions = make([]ledger.Decision, len(decisions))
	for i, d := range decisions {
		x.record.Decisions[i] = ledger.Decision(d)
	}
	x.record.Eventful, x.record.Undecided = x.trail.Eventful(), x.trail.Lost()
}
