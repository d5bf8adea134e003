package app_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"keybridge/internal/ledger"
	"keybridge/internal/simulator"
)

// cell is one case of the matrix.
type cell struct {
	endpoint endpoint
	trouble  trouble
	position position
}

func cells() []cell {
	var all []cell
	for _, e := range endpoints {
		for _, t := range troubles {
			for _, p := range positions {
				all = append(all, cell{e, t, p})
			}
		}
	}
	return all
}

func (c cell) String() string {
	return c.endpoint.name + "/" + c.trouble.name + "/" + c.position.name
}

func (c cell) effect() effect {
	if c.endpoint.opaque && c.trouble.inBody {
		return unmoved // the head was good, and the rest is not read
	}
	if c.endpoint.provider == simulator.Anthropic {
		return c.trouble.anthropic
	}
	return c.trouble.openAI
}

// resendAfter is key-pool.md §3: up to two more sends.
var resendAfter = []time.Duration{200 * time.Millisecond, time.Second}

// forecast is what key-pool.md says will happen in a cell.
type forecast struct {
	cell   cell
	effect effect

	sends    []int // the keys, by index
	took     time.Duration
	answerOf int // the key whose answer the client gets; negative: it is the gateway's
	own      ownAnswer
	status   ledger.Status

	states      []string // of each key
	deadlines   map[int]time.Duration
	transitions map[string]int
	exhaustions map[string]int
	failovers   map[string]int
	scoped      map[string]int
}

// ownAnswer is an error of the gateway.
type ownAnswer struct {
	status     int
	retryAfter int // seconds; 0: none
	never      bool
	message    string
}

const nobody = -1

// foresee plays the cell over a pool that is all healthy, in configured order.
func (c cell) foresee() *forecast {
	f := &forecast{
		cell: c, effect: c.effect(), status: ledger.Failed, states: slices.Repeat([]string{"valid"}, c.position.keys),
		deadlines: map[int]time.Duration{}, transitions: map[string]int{}, exhaustions: map[string]int{}, failovers: map[string]int{}, scoped: map[string]int{},
	}
	last := c.position.keys - 1
	for key := 0; ; {
		f.sends = append(f.sends, key)
		if key >= c.position.bad {
			f.served(key)
			return f
		}
		sent := f.took
		f.took += c.trouble.takes
		switch f.effect.step {
		case handOver:
			f.handedOver(key)
			return f
		case askAnother:
			f.mark(key, sent)
			if key == last {
				f.exhausted(key)
				return f
			}
			f.failovers[f.effect.reason]++
			key++
		case sendAgain:
			tries := len(f.sends) - 1
			if tries == len(resendAfter) || c.trouble.unclear && c.endpoint.creates {
				f.failed(key)
				return f
			}
			f.took += resendAfter[tries]
			if key < last {
				f.failovers[f.effect.reason]++
				key++
			}
		}
	}
}

// served is a good answer. It makes evidence of what the keys before refused.
func (f *forecast) served(key int) {
	f.answerOf, f.status = key, ledger.Completed
	for bad := range key {
		switch f.effect.mark {
		case denies:
			f.scoped[f.effect.scope]++
		case suspects:
			f.cool(bad, f.took)
			f.scoped[f.effect.scope]++
		case nothing, cools, suspends, condemns:
		}
	}
}

func (f *forecast) mark(key int, sent time.Duration) {
	switch f.effect.mark {
	case cools:
		f.cool(key, sent)
		f.scoped[f.effect.scope]++
	case suspends:
		f.cool(key, sent)
	case condemns:
		f.states[key] = "permanent"
		f.transitions[f.effect.reason]++
	case nothing, denies, suspects: // not without evidence
	}
}

func (f *forecast) cool(key int, since time.Duration) {
	f.states[key] = "temporary"
	f.deadlines[key] = since + f.effect.wait
	f.transitions[f.effect.reason]++
}

// handedOver is an answer that no other key would better.
func (f *forecast) handedOver(key int) {
	f.answerOf = key
	if f.cell.trouble.inBody && f.cell.trouble.fault.Name != "truncate" {
		f.status = ledger.Completed // as far as one can tell who does not read it
	}
}

// failed is an upstream that has failed too often.
func (f *forecast) failed(key int) {
	f.answerOf = key
	switch f.effect.status {
	case http.StatusBadGateway:
		f.answerOf, f.own = nobody, ownAnswer{status: http.StatusBadGateway, message: "The upstream broke the connection or could not be reached."}
	case http.StatusGatewayTimeout:
		f.answerOf, f.own = nobody, ownAnswer{status: http.StatusGatewayTimeout, message: "The upstream did not answer in time."}
	}
}

// exhausted is key-pool.md §6.
func (f *forecast) exhausted(key int) {
	f.answerOf = nobody
	pool := "All configured keys of the provider " + f.cell.endpoint.provider
	switch e := f.effect; {
	case len(f.deadlines) > 0:
		f.exhaustions["rate_limited"]++
		seconds := max(1, int((f.soonest()+time.Second-1)/time.Second))
		f.own = ownAnswer{
			status: http.StatusTooManyRequests, retryAfter: seconds, never: seconds > 60,
			message: fmt.Sprintf("%s are rate-limited for this request. Retry after %d s.", pool, seconds),
		}
	case e.mark != condemns:
		f.answerOf = key
	case e.reason == "quota_exhausted":
		f.exhaustions["quota_exhausted"]++
		f.own = ownAnswer{status: http.StatusBadGateway, never: true, message: pool + " are out of credit or refused. Contact your administrator."}
	default:
		f.exhaustions["auth_failed"]++
		f.own = ownAnswer{status: http.StatusBadGateway, never: true, message: pool + " failed authentication. Contact your administrator."}
	}
}

// soonest is until the first cooling key may be used.
func (f *forecast) soonest() time.Duration {
	first := time.Duration(-1)
	for _, d := range f.deadlines {
		if first < 0 || d < first {
			first = d
		}
	}
	return first - f.took
}

// handed is how many keys the call was handed.
func (f *forecast) handed() int {
	keys := map[int]bool{}
	for _, k := range f.sends {
		keys[k] = true
	}
	return len(keys)
}

// metrics writes all families of the pool, except those without a series, which
// absent names.
func (f *forecast) metrics() (text string, families, absent []string) {
	p := f.cell.endpoint.provider
	w := &familyWriter{provider: p}
	reasons := []string{"rate_limited", "unauthorized", "forbidden", "quota_exhausted"}
	w.family("state", "gauge")
	for _, s := range []string{"valid", "temporary", "permanent"} {
		n := 0
		for _, is := range f.states {
			if is == s {
				n++
			}
		}
		w.series("state", n, "state", s)
	}
	w.labelled("state_transitions_total", "counter", "reason", reasons, f.transitions)
	w.labelled("exhaustions_total", "counter", "outcome", []string{"rate_limited", "auth_failed", "quota_exhausted"}, f.exhaustions)
	w.labelled("failovers_total", "counter", "reason", append(reasons, "model_access", "too_large", "upstream_error", "timeout"), f.failovers)
	w.labelled("recoveries_total", "counter", "via", []string{"cooldown", "probe", "trial", "operator"}, nil)
	w.labelled("scoped_cooldowns", "gauge", "scope", []string{"key", "project", "organization"}, f.scoped)
	w.histogram("failover_attempts", f.handed())
	w.histogram("call_attempts", f.handed())
	w.family("key_state", "gauge")
	for i, s := range f.states {
		w.series("key_state", 1, "key", fmt.Sprintf("k%d", i), "state", s)
	}
	if len(f.deadlines) > 0 {
		w.family("next_recovery_seconds", "gauge")
		w.series("next_recovery_seconds", f.soonest().Seconds())
	} else {
		absent = append(absent, familyPrefix+"next_recovery_seconds")
	}
	return w.text.String(), w.families, absent
}

const familyPrefix = "keybridge_key_pool_"

// familyWriter writes the text format of one provider's series.
type familyWriter struct {
	provider string
	text     strings.Builder
	families []string
}

func (w *familyWriter) family(name, kind string) {
	w.families = append(w.families, familyPrefix+name)
	fmt.Fprintf(&w.text, "# TYPE %s%s %s\n", familyPrefix, name, kind)
}

func (w *familyWriter) series(name string, value any, labels ...string) {
	fmt.Fprintf(&w.text, "%s%s{provider=%q", familyPrefix, name, w.provider)
	for i := 0; i < len(labels); i += 2 {
		fmt.Fprintf(&w.text, ",%s=%q", labels[i], labels[i+1])
	}
	fmt.Fprintf(&w.text, "} %v\n", value)
}

func (w *familyWriter) labelled(name, kind, label string, words []string, values map[string]int) {
	w.family(name, kind)
	for _, word := range words {
		w.series(name, values[word], label, word)
	}
}

// histogram has one sample.
func (w *familyWriter) histogram(name string, sample int) {
	w.family(name, "histogram")
	for _, le := range []int{1, 2, 3, 4, 5, 10, 25} {
		n := 0
		if sample <= le {
			n = 1
		}
		w.series(name+"_bucket", n, "le", strconv.Itoa(le))
	}
	w.series(name+"_bucket", 1, "le", "+Inf")
	w.series(name+"_sum", sample)
	w.series(name+"_count", 1)
}
