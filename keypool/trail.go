package keypool

import (
	"time"

	"keybridge/keypool/verdict"
)

// maxTrail bounds the decisions that one exchange keeps.
const maxTrail = 256

// Trail is the list of what was decided about one client request, and why. The
// zero value is ready; so is nil, which keeps nothing. Like a Tally it is for one
// request with all its calls, and for the goroutine that serves it. It holds no
// secret, no hint and nothing a client has written.
type Trail struct {
	some [3]Decision // as many as a request without trouble needs, without an allocation
	n    int         // how many of some
	more []Decision  // all of them, once some is full
	lost int
}

// Decision is one entry of a Trail.
type Decision struct {
	At     time.Time
	Key    string        // the operator's name of the key; empty if it is about no single one
	What   string        // what was decided: one of the words below
	Why    string        // a word of a closed set; empty if there is nothing to say
	Action string        // of a verdict
	Scope  string        // of a verdict: whom it is about
	Until  time.Time     // how long what it says holds; zero: unknown, or it does not end by itself
	For    time.Duration // how long it took
}

// What can be decided.
const (
	Skipped   = "skipped"   // the key was passed over
	Leased    = "leased"    // the key was handed out
	Judged    = "verdict"   // what its answer was taken for
	Waited    = "waited"    // the call stood in line
	Resent    = "resend"    // the call paused before an upstream in trouble is asked again
	Restarted = "restarted" // a key had come back: the call goes over the pool once more
	Began     = "began"     // the session is new, or forgotten: its key is chosen by the strategy
	Stayed    = "stayed"    // the session has its key
	Moved     = "moved"     // the session leaves its key
	Pinned    = "pinned"    // only the keys of one project can serve the call
	Exhausted = "exhausted" // no key can serve the call
)

// Why a key is skipped, where no verdict.Reason says it.
const (
	WhyModels   = "models"    // it is not configured for the model
	WhyDenied   = "denied"    // the provider does not let it use the model or the endpoint
	WhyScope    = "scope"     // it shares the limits, or the project, of one that was refused
	WhyTrial    = "trial"     // another call is trying it
	WhyDraining = "draining"  // the operator lets it finish its sessions
	WhyLineFull = "line_full" // too many calls wait already
	WhyAgain    = "again"     // leased to a call that its upstream has failed before
)

// Decisions lists what was decided, in order. It is the trail's own: do not change
// it, nor read it while a call goes on.
func (t *Trail) Decisions() []Decision {
	switch {
	case t == nil:
		return nil
	case t.more != nil:
		return t.more
	}
	return t.some[:t.n]
}

// Lost is how many decisions the trail had no room for.
func (t *Trail) Lost() int {
	if t == nil {
		return 0
	}
	return t.lost
}

// Add appends a decision. A wait that goes on for the same lengthens the last one.
func (t *Trail) Add(d Decision) {
	switch {
	case t == nil:
	case t.waitsOn(&d):
	case t.more == nil && t.n < len(t.some):
		t.some[t.n] = d
		t.n++
	case len(t.more) >= maxTrail:
		t.lost++
	case t.more == nil:
		t.more = append(make([]Decision, 0, 4*len(t.some)), t.some[:]...)
		t.more = append(t.more, d)
	default:
		t.more = append(t.more, d)
	}
}

func (t *Trail) waitsOn(d *Decision) bool {
	all := t.Decisions()
	if d.What != Waited || len(all) == 0 || t.lost > 0 {
		return false
	}
	last := &all[len(all)-1]
	if last.What != Waited || last.Why != d.Why {
		return false
	}
	last.At = d.At
	last.For += d.For
	return true
}

// Eventful says that the trail tells of more than one key which served at once.
func (t *Trail) Eventful() bool {
	leased := 0
	for _, d := range t.Decisions() {
		switch d.What {
		case Leased:
			leased++
		case Judged:
			if d.Action != verdict.Relay.String() {
				return true
			}
		case Began, Stayed, Pinned:
		default:
			return true
		}
	}
	return leased != 1
}

func (t *Trail) judged(l *Lease, v verdict.Verdict) {
	if t == nil {
		return
	}
	now := time.Now()
	d := Decision{At: now, Key: l.Key(), What: Judged, Why: string(v.Reason), Action: v.Action.String(), Until: v.Until, For: now.Sub(l.sent)}
	if v.Action == verdict.NextKey {
		d.Scope = v.Scope.Level.String()
	}
	t.Add(d)
}

// leased notes that the call has got a key.
func (w *walk) leased(l *Lease, now time.Time) {
	d := Decision{At: now, Key: l.member.id, What: Leased}
	switch {
	case len(l.trials) > 0:
		d.Why = WhyTrial
	case w.asked.of(l.member) == failed:
		d.Why = WhyAgain
	}
	w.want.Trail.Add(d)
}

// skipped notes that a key cannot be asked now: once for as long as that is so.
func (w *walk) skipped(m *member, r readiness, now time.Time) {
	t := w.want.Trail
	if t == nil || w.asked.of(m) != unasked || !w.within(m) { // what binds the call is told once
		return
	}
	d := Decision{At: now, Key: m.id, What: Skipped}
	switch {
	case w.isOutside(m):
		d.Why = WhyScope
	case !w.admits(m):
		d.Why = WhyModels
	case w.drained(m):
		d.Why = WhyDraining
	case r == busy:
		d.Why = WhyTrial
	case r == blocked:
		d.Why, d.Until = m.why(clip(w.want.Model), now)
	default:
		d.Why = WhyDenied
	}
	if !w.explained || !t.has(&d, w.begun) {
		t.Add(d)
	}
}

// has says that a decision is in the trail already, from a place on.
func (t *Trail) has(d *Decision, from int) bool {
	for _, known := range t.Decisions()[min(from, len(t.Decisions())):] {
		if known.What == d.What && known.Key == d.Key && known.Why == d.Why && known.Until.Equal(d.Until) {
			return true
		}
	}
	return false
}

// why is what keeps the key out for the model the longest; of several rejections the
// one of the widest domain.
func (m *member) why(model string, now time.Time) (reason string, until time.Time) {
	var longest *block
	m.blocks(model, func(b *block) {
		if b.inForce(now) && (longest == nil || b.permanent || b.outlasts(longest)) {
			longest = b
		}
	})
	if longest == nil {
		return "", time.Time{}
	}
	return string(longest.reason), longest.until
}
