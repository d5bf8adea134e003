package storm

import (
	"net/http"
	"time"

	"keybridge/test/storm/world"
)

// result is what one run came to.
type result struct {
	turns    int // of the sessions
	requests int // that clients sent, retries too
	failed   int // of those, answered with an error
	lost     int // turns whose client gave up
	attempts int // calls sent upstream
	wasted   map[string]int
	prompt   int64 // tokens of the turns served
	read     int64 // of those, from a prompt cache
	cost     int64 // pico-dollars
	least    int64 // the same had each session stayed where its cache was
	waited   time.Duration
	used     []time.Duration // from the end of a fault to a good answer of its key
	held     []time.Duration // the same to when the policy would have used it
}

// sent counts a call that was sent upstream.
func (r *result) sent(a world.Answer) {
	r.attempts++
	if a.Status == http.StatusOK {
		return
	}
	if r.wasted == nil {
		r.wasted = map[string]int{}
	}
	kind := a.Short
	if a.Fault != nil {
		kind = string(a.Fault.Trouble)
	}
	r.wasted[kind]++
}

// served counts a turn that was answered. cached is what a cache would have held
// of the session wherever it was.
func (r *result) served(t world.Turn, a world.Answer, cached int64, m *world.Model) {
	r.prompt += t.Prompt
	r.read += a.Read
	r.cost += a.Cost
	r.least += cached*m.Read + (t.Prompt-cached)*m.Write + t.Output*m.Output
}

func (r *result) waste() int {
	n := 0
	for _, k := range r.wasted {
		n += k
	}
	return n
}
